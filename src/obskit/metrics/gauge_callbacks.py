"""
Callbacks of gauges, called in a background thread, so that no request and no scrape waits for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import TIMEOUT_MAX, Condition, Event, Thread, current_thread
from typing import Any

from obskit import background
from obskit.forks import at_fork
from obskit.metrics.cell_format import LabelSet
from obskit.metrics.family import Gauge
from obskit.recorder import recorder
from obskit.time.clock import clock
from obskit.workers.instance_leader import ASK_EVERY_SECONDS


@dataclass(eq=False)
class GaugeCallback:
    """
    The callback of one gauge, its interval, and when it is due on the monotonic clock.
    """

    gauge: Gauge
    callback: Callable[[], Mapping[Any, float] | float]
    every_seconds: float
    due: float = 0.0
    has_run: Event = field(default_factory=Event)

    def skip(self) -> None:
        """
        Leave this run to the leader, and see soon whether there is one.
        """
        self.due = clock.monotonic() + min(self.every_seconds, ASK_EVERY_SECONDS)
        self.has_run.set()

    def run(self) -> None:
        """
        Call it once and set the gauge; an error keeps the last result and is counted.
        """
        self.due = clock.monotonic() + self.every_seconds
        try:
            answer = self.callback()
            values = answer if isinstance(answer, Mapping) else {(): answer}
            self.gauge.replace({_key(labels): float(value) for labels, value in values.items()})
        except Exception as error:
            recorder.failed("gauge_query", error)
        else:
            self.has_run.set()


def _key(labels: Any) -> LabelSet:
    return tuple(map(str, labels)) if isinstance(labels, tuple) else (str(labels),)


def _always() -> bool:
    return True  # a single process is its own leader


class GaugeCallbacks:
    """
    The callbacks of all gauges, called one after another in one daemon thread per process.

    The thread starts and stops with the runtime; a forked child starts its own with its first scrape. A callback that
    hangs delays the others, never a request.
    """

    def __init__(self) -> None:
        self._callbacks: list[GaugeCallback] = []
        self._wake = Condition()
        self._thread: Thread | None = None
        self._running = False
        self._is_leader: Callable[[], bool] = _always

    def add(self, callback: GaugeCallback) -> None:
        """
        Add a callback, replacing an earlier one of the same gauge.
        """
        with self._wake:
            self._callbacks = [known for known in self._callbacks if known.gauge is not callback.gauge] + [callback]
            self._wake.notify()
        self.ensure_running()

    def start(self, is_leader: Callable[[], bool] = _always) -> None:
        """
        Start calling them; called when a runtime is activated.

        Args:
            is_leader: Whether this worker calls them for all workers.
        """
        self._running, self._is_leader = True, is_leader
        self.ensure_running()

    def ensure_running(self) -> None:
        """
        Start the thread where it is needed and not running; where no thread can be started, the next call tries again.
        """
        if self._thread or not (self._running and self._callbacks):
            return
        with self._wake:
            if self._thread is not None or not self._running:
                return
            thread = self._thread = background.new_thread(self._run, name="obskit-gauges")
        if not background.try_start(thread):
            with self._wake:
                self._thread = None if self._thread is thread else self._thread

    def stop(self) -> None:
        """
        End the thread without waiting for it, since a callback may hang.
        """
        with self._wake:
            self._running, self._is_leader = False, _always
            self._thread = None
            self._wake.notify()
        self._make_all_due()

    def clear(self) -> None:
        self._callbacks = []

    def start_over(self) -> None:
        """
        Drop the parent's thread and lock, which a forked child does not have and may never get.
        """
        self._wake = Condition()
        self._thread = None
        self._make_all_due()

    def _make_all_due(self) -> None:
        for callback in self._callbacks:
            callback.due = 0.0
            callback.has_run.clear()

    def _run(self) -> None:
        while True:
            with self._wake:
                if self._thread is not current_thread():
                    return
                now = clock.monotonic()
                due = [callback for callback in self._callbacks if callback.due <= now]
                if not due:
                    self._wake.wait(min(TIMEOUT_MAX, *(callback.due - now for callback in self._callbacks)))
                    continue
            for callback in due:
                if self._is_leader():
                    callback.run()
                else:
                    callback.skip()


gauge_callbacks = GaugeCallbacks()
at_fork(after_in_child=gauge_callbacks.start_over)
