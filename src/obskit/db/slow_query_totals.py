"""
Slow queries in bounded memory: the last, the slowest, and the totals of each statement.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from heapq import heappush, heappushpop, nsmallest
from threading import RLock
from typing import Generic, Protocol, TypeVar

MAX_QUERIES = 100  # of the last, and of the slowest
MAX_STATEMENTS = 500  # the text of each may have some kilobytes
_EVICTED = MAX_STATEMENTS // 10  # at once, so that sorting all of them is rare


class SlowQueryFields(Protocol):
    """
    The fields of a slow query that are read here.
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
    The totals of slow queries.
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
    The slow queries of a process. Thread-safe, also where a finaliser or a signal handler interrupts it.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._pending: deque[Q] = deque()
        self._is_busy = False  # only the thread that holds the lock can see it set
        self._latest: deque[Q] = deque(maxlen=MAX_QUERIES)
        self._slowest: list[tuple[float, int, Q]] = []  # a heap, with a number so that queries are never compared
        self._statements: dict[tuple[str, str | None, str], StatementTotal[Q]] = {}
        self._others: StatementTotal[Q] | None = None
        self._count = 0

    def add(self, query: Q) -> None:
        self._pending.append(query)
        self._add_pending()

    def explain(self, query: Q, plan: str) -> None:
        """
        Set the plan of a query's statement, which arrived after the query was added.
        """
        self._add_pending()
        with self._lock:
            known = self._statements.get(_key(query))
            if known is not None:
                known.plan = plan

    def latest(self) -> list[Q]:
        self._add_pending()
        return list(self._latest)

    def slowest(self) -> list[Q]:
        """
        Return the slowest ones, the slowest first; of equal ones the latest first.
        """
        self._add_pending()
        return [query for _, _, query in sorted(self._slowest.copy(), key=lambda one: one[:2], reverse=True)]

    def by_statement(self) -> tuple[list[StatementTotal[Q]], StatementTotal[Q] | None]:
        """
        Return the totals of each statement, in no order, and the totals of evicted statements.
        """
        with self._lock:
            self._add_pending()
            is_inside, self._is_busy = self._is_busy, True  # what is added meanwhile stays pending
            found = [replace(total) for total in self._statements.values()]
            rest = None if self._others is None else replace(self._others)
            self._is_busy = is_inside
        return found, rest

    def _add_pending(self) -> None:
        with self._lock:
            if self._is_busy:  # a caller on this thread's stack adds what is pending
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
        Merge the statements with the smallest totals into `_others`, to make room.
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
