"""
Ask slow gauges in a background thread, so that no request and no scrape waits for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import TIMEOUT_MAX, Condition, Event, Thread, current_thread
from typing import Any

from obskit import background
from obskit.forks import at_fork
from obskit.metrics.family import Gauge, Labels
from obskit.recorder import recorder


@dataclass(eq=False)
class Query:
    """
    Hold one gauge's question and when it is due, on the monotonic clock.
    """

    gauge: Gauge
    ask: Callable[[], Mapping[Any, float] | float]
    every_seconds: float
    due: float = 0.0
    answered: Event = field(default_factory=Event)

    def rest(self) -> None:
        """
        Leave it to another worker, this time.
        """
        self.due = time.monotonic() + self.every_seconds
        self.answered.set()

    def run(self) -> None:
        """
        Ask once; an error keeps the last good answer and is counted.
        """
        self.due = time.monotonic() + self.every_seconds
        try:
            answer = self.ask()
            figures = answer if isinstance(answer, Mapping) else {(): answer}
            self.gauge.replace({_key(labels): float(figure) for labels, figure in figures.items()})
        except Exception as error:
            recorder.failed("gauge_query", error)
        else:
            self.answered.set()


def _key(labels: Any) -> Labels:
    return tuple(map(str, labels)) if isinstance(labels, tuple) else (str(labels),)


def _alone() -> bool:
    """
    Ask: nobody else does.
    """
    return True


class Queries:
    """
    Run the queries of every gauge, one after another, in one daemon thread a process.

    The thread starts with the runtime, is missed by forked children and started again by their first scrape, and
    stops with the runtime. A query that hangs delays the others, never a request.
    """

    def __init__(self) -> None:
        self._queries: list[Query] = []
        self._wake = Condition()
        self._thread: Thread | None = None
        self._running = False
        self.lead: Callable[[], bool] = _alone  # whether this worker asks for all of them

    def add(self, query: Query) -> None:
        """
        Ask this query from now on, instead of an earlier one of the same gauge.
        """
        with self._wake:
            self._queries = [known for known in self._queries if known.gauge is not query.gauge] + [query]
            self._wake.notify()
        self.ensure_running()

    def start(self) -> None:
        """
        Ask while a runtime stands.
        """
        self._running = True
        self.ensure_running()

    def ensure_running(self) -> None:
        """
        Start the thread where this process has none, and there is something to ask; where none can be had, next time.
        """
        if self._thread or not (self._running and self._queries):
            return
        with self._wake:
            if self._thread is not None or not self._running:
                return
            thread = self._thread = background.made(self._run, name="obskit-gauges")
        if not background.begins(thread):
            with self._wake:
                self._thread = None if self._thread is thread else self._thread

    def stop(self) -> None:
        """
        Let the thread end; it is not waited for, since a query may hang.
        """
        with self._wake:
            self._running, self.lead = False, _alone
            self._thread = None
            self._wake.notify()
        self._ask_all_anew()

    def forget(self) -> None:
        """
        Ask nothing any more.
        """
        self._queries = []

    def start_over(self) -> None:
        """
        Forget the parent's thread and lock, which a forked child does not have and may never get.
        """
        self._wake = Condition()
        self._thread = None
        self._ask_all_anew()

    def _ask_all_anew(self) -> None:
        for query in self._queries:
            query.due = 0.0
            query.answered.clear()

    def _run(self) -> None:
        while True:
            with self._wake:
                if self._thread is not current_thread():
                    return
                now = time.monotonic()
                due = [query for query in self._queries if query.due <= now]
                if not due:
                    self._wake.wait(min(TIMEOUT_MAX, *(query.due - now for query in self._queries)))
                    continue
            for query in due:
                if self.lead():
                    query.run()
                else:
                    query.rest()


queries = Queries()
at_fork(after_in_child=queries.start_over)
