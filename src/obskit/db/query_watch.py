"""
Watch what each request asks of its databases: how often, how long, how slowly, and again and again.

`limits` is decided at `configure()`; the hot path reads it. Repeated statements are told of when their request ends,
slow ones at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

from obskit.db import explain, n_plus_one, slow_log
from obskit.db.n_plus_one import Repeats
from obskit.db.operation import DbOperation
from obskit.forks import at_fork
from obskit.operation import HttpOperation, Operation, Totals
from obskit.recorder import Sink, Step, recorder
from obskit.settings import Settings

NEVER = float("inf")


class Limits:
    """
    Hold what the settings say of slow and of repeated queries.

    Attributes:
        slow_from: Seconds from which on a query is told of; infinite where none is.
        error_from: Seconds from which on that is an ERROR.
        repeats: How often a request may make one statement from one place; None where nobody counts.
        explain: Whether databases are asked for the plans of slow queries.
        questions: Who asks SQLite connections for their pragmas just now.
        looks: Whether `sqlite3` connections have anything to do for one of these two.
    """

    __slots__ = ("error_from", "explain", "looks", "questions", "repeats", "slow_from")

    def __init__(self) -> None:
        self.questions: list[Any] = []
        self.reset()

    def reset(self) -> None:
        """
        Watch nothing.
        """
        self.slow_from = self.error_from = NEVER
        self.repeats: int | None = None
        self.explain = False
        self.look()

    def look(self) -> None:
        """
        Decide anew whether connections have anything to do.
        """
        self.looks = self.explain or bool(self.questions)


limits = Limits()
_lock = RLock()


def totals_of(root: Operation) -> Totals | None:
    """
    Find what the queries of a request add up to, or make it with its first one; None for what is no request.
    """
    if not isinstance(root, HttpOperation):
        return None
    totals = root.totals
    if totals is None:
        made = Totals()
        sparse: dict[str, Any] = {}
        made.repeats = Repeats() if limits.repeats is not None else None
        with _lock:  # a request's first queries may run in two threads, or one in a finaliser
            if root.sparse is None:
                root.sparse = sparse
            totals = root.sparse.setdefault("totals", made)
    return totals


# Tests that look at queries as they begin.
watchers: list[Callable[[DbOperation], None]] = []


def show(op: DbOperation) -> None:
    """
    Show a query to those who watch.
    """
    for watcher in watchers:
        watcher(op)


@contextmanager
def watching(watcher: Callable[[DbOperation], None]) -> Iterator[None]:
    """
    Watch the queries of this process while a block runs, whichever runtimes stand meanwhile.
    """
    plan = recorder.plan(DbOperation)
    before = plan.start

    def start(op: DbOperation) -> None:
        before(op)
        show(op)

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
    Set the limits while its runtime stands, and tell at the end of a request what it repeated.
    """

    name = "queries"
    sparse_only = True
    guards = True

    def __init__(self, settings: Settings) -> None:
        slow_ms, warning_ms = settings.slow_query_ms, settings.slow_query_warning_ms
        limits.error_from = NEVER if slow_ms is None else slow_ms / 1000
        limits.slow_from = limits.error_from if warning_ms is None else min(warning_ms / 1000, limits.error_from)
        limits.repeats = settings.n_plus_one
        limits.explain = settings.explain_slow_queries
        limits.look()
        self._allowed = settings.n_plus_one_allow

    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]:
        """
        Look at the repeats of each request when it ends, and show each query to those who watch.
        """
        if kind is DbOperation and watchers:
            return show, None
        return None, self._tell_repeats if kind is HttpOperation and limits.repeats is not None else None

    def _tell_repeats(self, op: HttpOperation) -> None:
        try:
            totals = None if op.sparse is None else op.sparse.get("totals")
            if totals is None or totals.repeats is None or limits.repeats is None:
                return
            for site in totals.repeats.above(limits.repeats, self._allowed):
                slow_log.tell(op, n_plus_one.event_of(site, op.endpoint))
        except Exception as error:
            recorder.failed(self.name, error)

    def close(self) -> None:
        """
        Watch nothing any more.
        """
        limits.reset()
        slow_log.forget()
        explain.forget()


def _start_over_in_child() -> None:
    global _lock
    _lock = RLock()
    slow_log.forget()


at_fork(after_in_child=_start_over_in_child)
