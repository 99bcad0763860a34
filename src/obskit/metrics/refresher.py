"""
Keeps in the workers' files what only the process itself knows, such as the lag of its event loop and its pools' sizes,
so that whoever reads the figures of all workers finds it, and not only of the one that reads.
"""

from __future__ import annotations

from collections.abc import Callable

from obskit.background import OVER, Ticks
from obskit.metrics.workers import Workers
from obskit.recorder import recorder
from obskit.time.clock import Deadline
from obskit.workers.candidates import is_candidate, when_serving

EVERY_SECONDS = 5.0  # an operator looks at what is older than a scrape interval as at the past


class Refresher:
    """
    Refreshes the figures of this process in a thread, where other workers read them and it serves. A process that has
    them for itself needs none: each reading is its own.

    Args:
        workers: Where the figures are.
        refresh: Writes them.
    """

    def __init__(self, workers: Workers, refresh: Callable[[], object]) -> None:
        self._workers, self._refresh = workers, refresh
        self._thread = Ticks(name="obskit-refresh", step=self._step, failed=recorder.failed, part="metrics")

    def start(self) -> None:
        """
        Start as soon as this process serves.
        """
        self._workers.on_resolved = self._thread.wake
        when_serving(self._thread.start, "metrics")

    def ensure_running(self) -> None:
        """
        Start the thread where it is missed, since none was to be had before.
        """
        if self._workers.are_shared and is_candidate():
            self._thread.start()

    def stop(self, deadline: Deadline) -> None:
        """
        End the thread.
        """
        self._thread.stop(deadline)

    def _step(self) -> float | None:
        if not self._workers.is_resolved:
            return None  # until it is
        if not self._workers.are_shared:
            return OVER
        self._refresh()
        return EVERY_SECONDS
