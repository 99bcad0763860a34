"""
Keep the calls that this process made, as the report needs them: in a ring of so many bytes a call, and no text.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator
from math import nan
from struct import Struct
from threading import RLock
from typing import Any, NamedTuple

from obskit.ai.operation import AiOperation
from obskit.deferred import drain
from obskit.forks import at_fork
from obskit.recorder import recorder
from obskit.redaction.redactor import Redactor

# With the names, at most about 14 MB, reached after as many calls; an application that makes none pays nothing.
MAX_CALLS = 100_000
MAX_NAMES = 10_000  # label sets, feature and user included
MAX_LENGTH = 100  # characters of a name
_redactor = Redactor()
OTHER = "_OTHER"
_NOTHING: dict[str, Any] = {}

# at, seconds, dollars, dollars saved, seconds to the first chunk, waited, 4 kinds of tokens, status, attempts, flags
_ROW = Struct("<ddddff4QHHH")
ERROR, ESTIMATED, HAS_TOKENS, HAS_COST, WASTED, OWN, TOLD = 1, 2, 4, 8, 16, 32, 64
LATER, OF_KNOWN, UNANSWERED = 128, 256, 512
_SOURCES = {"own": OWN, "told": TOLD}


class Names(NamedTuple):
    """
    Say who made a call, to whom, and what became of it.
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


class Row(NamedTuple):
    """
    Be one call as it is kept; what is not known is None.
    """

    names: Names
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
    is_of_known: bool  # that call is another row
    was_unanswered: bool  # an attempt broke before its answer, and may have been billed beside the cost


class Calls:
    """
    Be the ring. Thread-safe.
    """

    def __init__(self) -> None:
        self.start_over()

    def start_over(self) -> None:
        """
        Forget everything, and begin to know from now on.
        """
        self._lock = RLock()
        self._coming: deque[tuple[tuple[str, ...], bytes]] = deque()
        self._is_busy = False  # whether somebody is at the ring: nobody but his own thread may find it so
        self.since = recorder.wall_clock()
        self.forgotten = 0
        self._rows = bytearray()
        self._places = array("H")
        self._next = 0
        self._found: dict[tuple[str, ...], int] = {}
        self._names: list[Names] = []
        self._free: list[int] = []
        self._sweep_at = 0

    def add(self, op: AiOperation) -> None:
        """
        Keep a call that has ended; the oldest goes where there is no room.
        """
        self._coming.append(_packed(op))
        self._take()

    def _take(self) -> None:
        with self._lock:
            if self._is_busy:  # further down, in this thread: it goes on with this one
                return
            self._is_busy = True
            try:
                while self._coming:
                    self._put(*self._coming.popleft())
            finally:
                self._is_busy = False

    def _put(self, key: tuple[str, ...], row: bytes) -> None:
        place = self._found.get(key)
        if place is None:
            place = self._place(key)
        at = self._next
        if at == len(self._places):
            self._rows += row
            self._places.append(place)
        else:
            self._rows[at * _ROW.size : (at + 1) * _ROW.size] = row
            self._places[at] = place
            self.forgotten += 1
        self._next = (at + 1) % MAX_CALLS

    def _place(self, key: tuple[str, ...]) -> int:
        """
        Find room for names: of their own, else without feature and user, else with those who have none either.
        """
        key = tuple(_redactor.short(name, MAX_LENGTH) for name in key)
        for names in (key, (*key[:4], OTHER, OTHER, *key[6:]), (OTHER,) * 6 + ("",) * 3):
            found = self._found.get(names)
            if found is not None:
                return found
            # What everybody shares always has room.
            if len(self._names) - len(self._free) < MAX_NAMES or names[0] == OTHER == names[3] or self._sweep():
                break
        if self._free:
            found = self._free.pop()
            self._names[found] = Names(*names)
        else:
            found = len(self._names)
            self._names.append(Names(*names))
        self._found[names] = found
        return found

    def _sweep(self) -> bool:
        """
        Free the names that no call in the ring has any more. It takes milliseconds, so not for each call.
        """
        added = len(self._places) + self.forgotten
        if added < self._sweep_at:
            return False
        self._sweep_at = added + MAX_CALLS // 10
        used = set(self._places)
        self._found = {names: place for names, place in self._found.items() if place in used}
        self._free = [place for place in range(len(self._names)) if place not in used]
        return bool(self._free)

    def rows(self, last: int = MAX_CALLS) -> Iterator[Row]:
        """
        Read what is kept, the oldest first.

        Args:
            last: At most so many, the latest.
        """
        drain()
        self._take()
        with self._lock:  # what comes now waits for the next
            is_inside, self._is_busy = self._is_busy, True
            size, count = _ROW.size, len(self._places)
            # In a full ring, the oldest is where the next will be; until then, the next is the end.
            begin, end = max(self._next - last, 0), self._next
            tail = max(count - max(last - end, 0), end)
            kept = bytes(self._rows[tail * size : count * size] + self._rows[begin * size : end * size])
            places, names = self._places[tail:count] + self._places[begin:end], list(self._names)
            self._is_busy = is_inside
        for place, row in zip(places, _ROW.iter_unpack(kept), strict=True):
            at, seconds, usd, saved, first, waited, i, r, w, o, status, attempts, flags = row
            yield Row(
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
                not flags & LATER,
                bool(flags & OF_KNOWN),
                bool(flags & UNANSWERED),
            )


def _source(flags: int) -> str:
    return "own" if flags & OWN else "told" if flags & TOLD else "list"


def _packed(op: AiOperation) -> tuple[tuple[str, ...], bytes]:
    """
    Give the names of a call, and its figures as they are kept.
    """
    get = (op.sparse or _NOTHING).get
    bound = None if op.root.sparse is None else op.root.fields
    feature = user = ""
    if bound:
        feature, user = bound.get("feature", ""), bound.get("user", "")
        if type(feature) is not str or type(user) is not str:
            feature, user = str(feature), str(user)
    error, aborted, first = get("error"), get("aborted"), get("first_chunk_seconds")
    usd, used = op.cost_usd, op.tokens
    flags = (ERROR if error else 0) | (ESTIMATED if get("estimated") else 0) | _SOURCES.get(get("cost_source", ""), 0)
    if not get("is_call", True):
        flags |= LATER | OF_KNOWN if op.is_known_call else LATER
    if "error" in get("failed_attempts", ()):
        flags |= UNANSWERED
    reason = ""
    if usd is None:
        usd, reason = nan, op.cost_reason or "unknown"
    else:
        flags |= HAS_COST | WASTED if usd and (error or aborted) else HAS_COST
    if used is None:
        i = r = w = o = 0
    else:
        flags |= HAS_TOKENS
        i, r, w, o = used.tokens()
    key = (op.service, op.provider, op.model, op.endpoint, feature, user, error or "", aborted or "", reason)
    row = _ROW.pack(
        recorder.wall_clock(),
        op.duration_seconds,
        usd,
        get("savings_usd", 0.0),
        nan if first is None else first,
        get("retry_wait_seconds", 0.0),
        i,
        r,
        w,
        o,
        (get("status_code") or 0) & 0xFFFF,
        op.attempts & 0xFFFF,
        flags,
    )
    return key, row


calls = Calls()  # of this process
at_fork(after_in_child=calls.start_over)
