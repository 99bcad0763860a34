"""
Ask slow gauges in a background thread, so that no request and no scrape waits for them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Condition, Event, Thread
from typing import Any

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
        self._pid = 0
        self._running = False

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
        Start the thread where this process has none, and there is something to ask.
        """
        if not (self._running and self._queries) or (self._pid == os.getpid() and self._thread):
            return
        if self._pid != os.getpid():
            self._wake = Condition()  # the parent's may have been held while it forked
        self._pid = os.getpid()
        self._thread = Thread(target=self._run, name="obskit-gauges", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """
        Let the thread end; it is not waited for, since a query may hang.
        """
        with self._wake:
            self._running = False
            self._thread = None
            self._wake.notify()
        for query in self._queries:
            query.due = 0.0
            query.answered.clear()

    def _run(self) -> None:
        me = self._thread
        while True:
            with self._wake:
                if self._thread is not me:
                    return
                now = time.monotonic()
                due = [query for query in self._queries if query.due <= now]
                if not due:
                    self._wake.wait(min(query.due for query in self._queries) - now)
                    continue
            for query in due:
                query.run()


queries = Queries()
