"""
Watch the queries of each request: how many, how long, which are slow, and which are repeated.

`thresholds` is set at `configure()`; the hot path reads it. Repeated statements are reported when their request ends,
slow ones at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING, Any

from obskit.db.n_plus_one import RepeatCounter, n_plus_one_event
from obskit.db.settings import DatabaseSettings
from obskit.forks import at_fork
from obskit.operation import HttpOperation, Operation, RequestTotals
from obskit.recorder import Sink, Step, no_op, recorder

if TYPE_CHECKING:
    from obskit.db.db_operation import DbOperation

NEVER = float("inf")


class QueryThresholds:
    """
    When a query is slow or repeated, as the settings say, and whether connections are asked for more.

    Attributes:
        slow_seconds: The duration from which a query is reported; infinite where none is.
        way_seconds: The duration from which one is part of its request's way, of which `note_way` is told, as of those
            that fail; infinite where nobody asks.
        watched_seconds: The less of the two: what most queries are compared with, once.
        error_seconds: The duration from which the report is an ERROR.
        repeats: How often a request may make one statement from one line; None where repeats are not counted.
        explain: Whether databases are asked for the plans of slow queries.
        surveys: The surveys of SQLite connections' pragmas that are running.
        watches_connections: Whether `sqlite3` connections have anything to do for `explain` or `surveys`.
    """

    __slots__ = (
        *("error_seconds", "explain", "note_way", "repeats", "slow_seconds", "surveys", "watched_seconds"),
        *("watches_connections", "way_seconds"),
    )

    def __init__(self) -> None:
        self.surveys: list[Any] = []
        self.reset()

    def reset(self) -> None:
        self.slow_seconds = self.error_seconds = self.way_seconds = NEVER
        self.note_way: Callable[[DbOperation], object] = no_op
        self.repeats: int | None = None
        self.explain = False
        self.update()

    def watch_way(self, seconds: float, note_way: Callable[[DbOperation], object]) -> None:
        self.way_seconds, self.note_way = seconds, note_way
        self.update()

    def update(self) -> None:
        self.watches_connections = self.explain or bool(self.surveys)
        self.watched_seconds = min(self.slow_seconds, self.way_seconds)


thresholds = QueryThresholds()
_lock = RLock()


def totals_of(root: Operation) -> RequestTotals | None:
    """
    Return the totals of a request's queries, made with the first; None where the root is not a request.
    """
    if not isinstance(root, HttpOperation):
        return None
    totals = root.totals
    if totals is None:
        made = RequestTotals()
        sparse: dict[str, Any] = {}
        made.repeats = RepeatCounter() if thresholds.repeats is not None else None
        with _lock:  # a request's first queries may run in two threads, or one in a finaliser
            if root.sparse is None:
                root.sparse = sparse
            totals = root.sparse.setdefault("totals", made)
    return totals


# Called with each query as it begins; tests use them.
watchers: list[Callable[[DbOperation], None]] = []


def notify_watchers(op: DbOperation) -> None:
    """
    Pass a query to each watcher.
    """
    for watcher in watchers:
        watcher(op)


@contextmanager
def watching(watcher: Callable[[DbOperation], None]) -> Iterator[None]:
    """
    Watch the queries of this process while a block runs, whichever runtimes are active meanwhile.
    """
    from obskit.db.db_operation import DbOperation

    plan = recorder.plan(DbOperation)
    before = plan.start

    def start(op: DbOperation) -> None:
        before(op)
        notify_watchers(op)

    is_bound = bool(watchers)
    watchers.append(watcher)
    if not is_bound:
        plan.start = start
    try:
        yield
    finally:
        watchers.remove(watcher)
        if plan.start is start:
            plan.start = before


class QueryWatch(Sink):
    """
    A sink that sets the thresholds while its runtime is active, and reports repeated queries at the end of a request.
    """

    name = "queries"
    wants = frozenset[str]()
    sparse_only = True
    guards = True

    def __init__(self, settings: DatabaseSettings) -> None:
        slow_ms, warning_ms = settings.slow_query_ms, settings.slow_query_warning_ms
        thresholds.error_seconds = NEVER if slow_ms is None else slow_ms / 1000
        thresholds.slow_seconds = (
            thresholds.error_seconds if warning_ms is None else min(warning_ms / 1000, thresholds.error_seconds)
        )
        thresholds.repeats = settings.n_plus_one
        thresholds.explain = settings.explain_slow_queries
        thresholds.update()
        self._allowed = settings.n_plus_one_allow

    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]:
        """
        Report the repeats of each request at its end, and pass each query to the watchers.
        """
        if watchers and kind is sys.modules["obskit.db.db_operation"].DbOperation:  # as watchers watch it
            return notify_watchers, None
        return None, self._report_repeats if kind is HttpOperation and thresholds.repeats is not None else None

    def _report_repeats(self, op: HttpOperation) -> None:
        try:
            totals = None if op.sparse is None else op.sparse.get("totals")
            if totals is None or totals.repeats is None or thresholds.repeats is None:
                return
            for site in totals.repeats.exceeding(thresholds.repeats, self._allowed):
                sys.modules["obskit.db.slow_log"].emit_for(op, n_plus_one_event(site, op.endpoint))
        except Exception as error:
            recorder.failed(self.name, error)

    def close(self) -> None:
        """
        Stop watching, and drop what was found.
        """
        thresholds.reset()
        _forget("slow_log", "explain")


def _start_over_in_child() -> None:
    global _lock
    _lock = RLock()
    _forget("slow_log")


def _forget(*modules: str) -> None:
    """
    Have modules forget what they found, where queries have had them imported.
    """
    for name in modules:
        if module := sys.modules.get(f"obskit.db.{name}"):
            module.forget()


at_fork(after_in_child=_start_over_in_child)
