"""
Callbacks of gauges, called in a background thread, so that no request and no scrape waits for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event, RLock
from typing import Any

from obskit.background import Ticks
from obskit.forks import at_fork
from obskit.metrics.cell_format import LabelSet
from obskit.metrics.family import Gauge
from obskit.recorder import recorder
from obskit.time.clock import clock
from obskit.workers.leadership import ASK_EVERY_SECONDS


@dataclass(eq=False)
class GaugeCallback:
    """
    The callback of one gauge, its interval, and when it is due on the monotonic clock.
    """

    gauge: Gauge
    callback: Callable[[], Mapping[Any, float] | float]
    every_seconds: float
    due: float = float("-inf")
    has_run: Event = field(default_factory=Event)

    def skip(self) -> None:
        """
        Skip this run, which is the leader's, and check soon whether there is one.
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
        self._lock = RLock()
        self._running = False
        self._is_leader: Callable[[], bool] = _always
        self.thread = Ticks(
            name="obskit-gauges", step=self._call_due, failed=recorder.failed, part="gauge_query", drained=False
        )

    def add(self, callback: GaugeCallback) -> None:
        """
        Add a callback, replacing an earlier one of the same gauge.
        """
        with self._lock:
            self._callbacks = [known for known in self._callbacks if known.gauge is not callback.gauge] + [callback]
        self.thread.wake()
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
        if self._running and self._callbacks:
            self.thread.start()

    def stop(self) -> None:
        """
        End the thread without waiting for it, since a callback may hang.
        """
        self._running, self._is_leader = False, _always
        self.thread.stop()
        self._make_all_due()

    def clear(self) -> None:
        self._callbacks = []

    def start_over(self) -> None:
        """
        Drop the parent's lock, which a forked child may never get, and have the child call all anew.
        """
        self._lock = RLock()
        self._make_all_due()

    def _make_all_due(self) -> None:
        for callback in self._callbacks:
            callback.due = float("-inf")
            callback.has_run.clear()

    def _call_due(self) -> float | None:
        now = clock.monotonic()
        for callback in [callback for callback in self._callbacks if callback.due <= now]:
            if self._is_leader():
                callback.run()
            else:
                callback.skip()
        return min((callback.due - clock.monotonic() for callback in self._callbacks), default=None)


gauge_callbacks = GaugeCallbacks()
at_fork(after_in_child=gauge_callbacks.start_over)
