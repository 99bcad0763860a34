"""
Keep slow queries: the last, the slowest, and what each statement comes to. All of it is bounded.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from heapq import heappush, heappushpop, nsmallest
from threading import RLock
from typing import Generic, Protocol, TypeVar

MAX_QUERIES = 100  # of the last, and of the slowest
MAX_STATEMENTS = 500  # the text of each may have some kilobytes
_EVICTED = MAX_STATEMENTS // 10  # at once, so that a look at all of them is rare


class SlowQueryFields(Protocol):
    """
    Say what is asked of a slow query.
    """

    @property
    def at(self) -> float: ...
    @property
    def duration_ms(self) -> float: ...
    @property
    def system(self) -> str: ...
    @property
    def database(self) -> str | None: ...
    @property
    def summary(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def error(self) -> str | None: ...
    @property
    def plan(self) -> str | None: ...


Q = TypeVar("Q", bound=SlowQueryFields)


@dataclass(slots=True)
class StatementTotal(Generic[Q]):
    """
    Add up slow queries.
    """

    count: int
    errors: int
    total_ms: float
    min_ms: float
    first_at: float
    last_at: float
    slowest: Q
    plan: str | None  # the latest: not each query is asked about

    def add(self, other: StatementTotal[Q]) -> None:
        """
        Add what others come to.
        """
        self.count += other.count
        self.errors += other.errors
        self.total_ms += other.total_ms
        self.min_ms = min(self.min_ms, other.min_ms)
        self.first_at, self.last_at = min(self.first_at, other.first_at), max(self.last_at, other.last_at)
        if other.slowest.duration_ms >= self.slowest.duration_ms:
            self.slowest = other.slowest
        self.plan = other.plan or self.plan


class SlowQueryTotals(Generic[Q]):
    """
    Keep the slow queries of a process. Thread-safe, and right where a finaliser or a signal interrupts it.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._pending: deque[Q] = deque()
        self._is_busy = False  # nobody but the thread that is at it may find it so
        self._latest: deque[Q] = deque(maxlen=MAX_QUERIES)
        self._slowest: list[tuple[float, int, Q]] = []  # a heap, with a number so that queries are never compared
        self._statements: dict[tuple[str, str | None, str], StatementTotal[Q]] = {}
        self._others: StatementTotal[Q] | None = None
        self._count = 0

    def add(self, query: Q) -> None:
        """
        Take a slow query.
        """
        self._pending.append(query)
        self._add_pending()

    def explain(self, query: Q, plan: str) -> None:
        """
        Take a plan that came later.
        """
        self._add_pending()
        with self._lock:
            known = self._statements.get(_key(query))
            if known is not None:
                known.plan = plan

    def latest(self) -> list[Q]:
        """
        Give the last ones, the oldest first.
        """
        self._add_pending()
        return list(self._latest)

    def slowest(self) -> list[Q]:
        """
        Give the slowest ones, the slowest first; of equal ones the later.
        """
        self._add_pending()
        return [query for _, _, query in sorted(self._slowest.copy(), key=lambda one: one[:2], reverse=True)]

    def by_statement(self) -> tuple[list[StatementTotal[Q]], StatementTotal[Q] | None]:
        """
        Give what each statement comes to, in no order, and what those come to for which there was no room.
        """
        with self._lock:
            self._add_pending()
            is_inside, self._is_busy = self._is_busy, True  # what comes meanwhile waits for the next
            found = [replace(total) for total in self._statements.values()]
            rest = None if self._others is None else replace(self._others)
            self._is_busy = is_inside
        return found, rest

    def _add_pending(self) -> None:
        with self._lock:
            if self._is_busy:  # further up, this thread will go on with what has come
                return
            self._is_busy = True
            try:
                while self._pending:
                    self._add(self._pending.popleft())
            finally:
                self._is_busy = False

    def _add(self, query: Q) -> None:
        self._latest.append(query)
        self._count += 1
        put = heappush if len(self._slowest) < MAX_QUERIES else heappushpop
        put(self._slowest, (query.duration_ms, self._count, query))
        took, at = query.duration_ms, query.at
        total = StatementTotal(1, int(query.error is not None), took, took, at, at, query, query.plan)
        key = _key(query)
        known = self._statements.get(key)
        if known is not None:
            known.add(total)
            return
        if len(self._statements) >= MAX_STATEMENTS:
            self._evict()
        self._statements[key] = total

    def _evict(self) -> None:
        """
        Add up the statements that took the least, to make room.
        """
        least = nsmallest(_EVICTED, self._statements.items(), key=lambda item: item[1].total_ms)
        for key, total in least:
            del self._statements[key]
            if self._others is None:
                self._others = total
            else:
                self._others.add(total)


def _key(query: SlowQueryFields) -> tuple[str, str | None, str]:
    return query.system, query.database, query.fingerprint or query.summary
