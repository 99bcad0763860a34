"""
Store the calls that this process made for the report, in a ring buffer with a fixed number of bytes per call.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterator
from math import nan
from struct import Struct
from threading import RLock
from typing import NamedTuple, TypeAlias

from obskit.ai.ai_operation import AiOperation
from obskit.deferred_endings import drain
from obskit.forks import at_fork
from obskit.recorder import recorder
from obskit.redaction.redactor import Redactor
from obskit.rows.ai_calls import AI
from obskit.rows.compiled import row_maker

# With the names, at most about 14 MB, reached after as many calls; an application that makes none pays nothing.
MAX_CALLS = 100_000
MAX_NAMES = 10_000  # label sets, feature and user included
MAX_LENGTH = 100  # characters of a name
_redactor = Redactor()
OTHER = "_OTHER"

# at, seconds, dollars, dollars saved, seconds to the first chunk, waited, 4 kinds of tokens, status, attempts, flags
_ROW = Struct("<ddddff4QHHH")
ERROR, ESTIMATED, HAS_TOKENS, HAS_COST, WASTED, APPLICATION_PRICE, REPORTED_PRICE = 1, 2, 4, 8, 16, 32, 64
FETCHED, OF_OWN_CALL, UNANSWERED = 128, 256, 512
_SOURCES = {"own": APPLICATION_PRICE, "told": REPORTED_PRICE}


class CallLabels(NamedTuple):
    """
    The labels of a call: who made it, to whom, and how it ended.
    """

    service: str
    provider: str
    model: str
    endpoint: str
    feature: str  # as bound with `obskit.bind(feature=...)`; empty where it is not
    user: str
    error: str  # class, or empty
    aborted: str
    reason: str  # why the cost is not known, or empty


class RecentCall(NamedTuple):
    """
    One call, as it is stored; unknown values are None.
    """

    labels: CallLabels
    at: float
    seconds: float
    usd: float | None
    saved_usd: float
    first_chunk_seconds: float | None
    waited_seconds: float
    tokens: tuple[int, int, int, int] | None
    status: int
    attempts: int
    is_error: bool
    is_estimated: bool
    is_wasted: bool
    source: str | None  # whose word the cost is: `own`, `told` or `list`
    is_call: bool  # else what a call of before has used, as it was told later
    is_fetch_of_own_call: bool  # that call is another row
    has_unanswered_attempt: bool  # an attempt broke before its answer, and may have been billed beside the cost

    @property
    def names(self) -> CallLabels:
        """
        The labels, by their former name.
        """
        return self.labels


class RecentCalls:
    """
    A ring buffer of the latest calls. Thread-safe.
    """

    def __init__(self) -> None:
        self.start_over()

    def start_over(self) -> None:
        """
        Clear the buffer and start again from now.
        """
        self._lock = RLock()
        self._pending: deque[tuple[tuple[str, ...], bytes]] = deque()
        self._is_busy = False  # whether the buffer is in use: only its own thread may find it so
        self.since = recorder.wall_clock()
        self.forgotten = 0
        self._rows = bytearray()
        self._label_indices = array("H")
        self._next = 0
        self._index_of: dict[tuple[str, ...], int] = {}
        self._labels: list[CallLabels] = []
        self._free: list[int] = []
        self._next_free_at = 0

    def add(self, op: AiOperation) -> None:
        """
        Store a call that has ended; when full, the oldest is overwritten.
        """
        self._pending.append(_pack(op))
        self._write_pending()

    def _write_pending(self) -> None:
        with self._lock:
            if self._is_busy:  # further down, in this thread: it goes on with this one
                return
            self._is_busy = True
            try:
                while self._pending:
                    self._write_row(*self._pending.popleft())
            finally:
                self._is_busy = False

    def _write_row(self, key: tuple[str, ...], row: bytes) -> None:
        place = self._index_of.get(key)
        if place is None:
            place = self._label_index(key)
        at = self._next
        if at == len(self._label_indices):
            self._rows += row
            self._label_indices.append(place)
        else:
            self._rows[at * _ROW.size : (at + 1) * _ROW.size] = row
            self._label_indices[at] = place
            self.forgotten += 1
        self._next = (at + 1) % MAX_CALLS

    def _label_index(self, key: tuple[str, ...]) -> int:
        """
        Return the index of labels, which are stored once; when full, without feature and user, or as `_OTHER`.
        """
        key = tuple(_redactor.short(name, MAX_LENGTH) for name in key)
        for names in (key, (*key[:4], OTHER, OTHER, *key[6:]), (OTHER,) * 6 + ("",) * 3):
            found = self._index_of.get(names)
            if found is not None:
                return found
            # What everybody shares always has room.
            if (
                len(self._labels) - len(self._free) < MAX_NAMES
                or names[0] == OTHER == names[3]
                or self._free_unused_labels()
            ):
                break
        if self._free:
            found = self._free.pop()
            self._labels[found] = CallLabels(*names)
        else:
            found = len(self._labels)
            self._labels.append(CallLabels(*names))
        self._index_of[names] = found
        return found

    def _free_unused_labels(self) -> bool:
        """
        Free labels that no call in the buffer uses. This takes milliseconds, so it does not run for each call.
        """
        added = len(self._label_indices) + self.forgotten
        if added < self._next_free_at:
            return False
        self._next_free_at = added + MAX_CALLS // 10
        used = set(self._label_indices)
        self._index_of = {names: place for names, place in self._index_of.items() if place in used}
        self._free = [place for place in range(len(self._labels)) if place not in used]
        return bool(self._free)

    def rows(self, last: int = MAX_CALLS) -> Iterator[RecentCall]:
        """
        Read what is kept, the oldest first.

        Args:
            last: The most calls to read, the latest.
        """
        drain()
        self._write_pending()
        with self._lock:  # what comes now waits for the next
            is_inside, self._is_busy = self._is_busy, True
            size, count = _ROW.size, len(self._label_indices)
            # In a full ring, the oldest is where the next will be; until then, the next is the end.
            begin, end = max(self._next - last, 0), self._next
            tail = max(count - max(last - end, 0), end)
            kept = bytes(self._rows[tail * size : count * size] + self._rows[begin * size : end * size])
            places, names = self._label_indices[tail:count] + self._label_indices[begin:end], list(self._labels)
            self._is_busy = is_inside
        for place, row in zip(places, _ROW.iter_unpack(kept), strict=True):
            at, seconds, usd, saved, first, waited, i, r, w, o, status, attempts, flags = row
            yield RecentCall(
                names[place],
                at,
                seconds,
                usd if flags & HAS_COST else None,
                saved,
                None if first != first else first,
                waited,
                (i, r, w, o) if flags & HAS_TOKENS else None,
                status,
                attempts,
                bool(flags & ERROR),
                bool(flags & ESTIMATED),
                bool(flags & WASTED),
                _source(flags) if flags & HAS_COST else None,
                not flags & FETCHED,
                bool(flags & OF_OWN_CALL),
                bool(flags & UNANSWERED),
            )


def _source(flags: int) -> str:
    return "own" if flags & APPLICATION_PRICE else "told" if flags & REPORTED_PRICE else "list"


_labels_of = row_maker(AiOperation, [AI[name] for name in ("service", "provider", "model", "endpoint")])
_figures_of = row_maker(
    AiOperation,
    [
        AI[name]
        for name in (
            *("duration_seconds", "cost_usd", "cost_reason", "cost_source", "savings_usd", "first_chunk_seconds"),
            *("retry_wait_seconds", "status_code", "attempts", "error", "aborted", "estimated", "failed_attempts"),
            *("is_call", "is_known_call", "bound"),
        )
    ],
)


def _pack(op: AiOperation) -> tuple[tuple[str, ...], bytes]:
    """
    Return the labels of a call, and its figures packed as one row.
    """
    seconds, usd, reason, source, saved, first, waited, status, attempts, *rest = _figures_of(op)
    error, aborted, estimated, failed_attempts, is_call, is_known_call, bound = rest
    feature = user = ""
    if bound:
        feature, user = bound.get("feature", ""), bound.get("user", "")
        if type(feature) is not str or type(user) is not str:
            feature, user = str(feature), str(user)
    flags = _SOURCES.get(source, 0) | (ERROR if error else 0) | (ESTIMATED if estimated else 0)
    if "error" in failed_attempts:
        flags |= UNANSWERED
    if not is_call:
        flags |= FETCHED | OF_OWN_CALL if is_known_call else FETCHED
    if usd is None:
        usd, reason = nan, reason or "unknown"
    else:
        reason = ""
        flags |= HAS_COST | WASTED if usd and (error or aborted) else HAS_COST
    used, tokens = op.tokens, (0, 0, 0, 0)
    if used is not None:
        flags |= HAS_TOKENS
        tokens = used.tokens()
    key = (*_labels_of(op), feature, user, error or "", aborted or "", reason)
    first = nan if first is None else first
    figures = recorder.wall_clock(), seconds, usd, saved, first, waited, *tokens
    return key, _ROW.pack(*figures, (status or 0) & 0xFFFF, attempts & 0xFFFF, flags)


class KnownCalls(NamedTuple):
    """
    Calls that are known, the oldest first.

    Attributes:
        calls: Of them.
        since: All are known that were made since, in seconds since the epoch.
        is_of_all: Whether those of all workers are among them.
    """

    calls: list[RecentCall]
    since: float
    is_of_all: bool


# Reads calls of all workers since a moment, from where they are kept; None where that cannot be read.
KeptCalls: TypeAlias = Callable[[float], KnownCalls | None]
_kept: KeptCalls | None = None


def read_from(kept: KeptCalls | None) -> None:
    """
    Have calls read from where those of all workers are kept; None: from this process's memory alone.
    """
    global _kept
    _kept = kept


def known_calls(begin: float) -> KnownCalls:
    """
    Return the calls since a moment, and maybe older ones.
    """
    kept = None if _kept is None else _kept(begin)
    if kept is not None:
        return kept
    rows = list(recent_calls.rows())
    since = recent_calls.since
    return KnownCalls(
        rows, min((row.at for row in rows), default=since) if recent_calls.forgotten else since, is_of_all=False
    )


recent_calls = RecentCalls()  # of this process
at_fork(after_in_child=recent_calls.start_over)
