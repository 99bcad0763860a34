"""
Measure the lag of asyncio's event loop: how long after its due time a callback runs, since something held the loop.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING

from obskit.forks import at_fork
from obskit.health.outcome import Outcome, limited, passed
from obskit.time.clock import system_clock

if TYPE_CHECKING:
    import asyncio

# Seconds between two looks: at most so long after its begin a blockage is counted, for 2 wake-ups a second.
TICK = 0.5
_KEPT_MEASUREMENTS = 20  # looks: the figure is the worst of the last ten seconds


class LoopLag:
    """
    The lag of one event loop, measured from inside, twice a second.
    """

    def __init__(self) -> None:
        self._lags: deque[float] = deque(maxlen=_KEPT_MEASUREMENTS)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due = 0.0

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """
        Measure this loop from now on; called on it, and as often as you like.
        """
        if self._loop is loop:
            return
        self._loop = loop
        self._lags.clear()
        self._schedule(loop)

    def watch_running(self) -> asyncio.AbstractEventLoop | None:
        """
        Measure the loop that runs here, and return it; None where it is none of asyncio's.
        """
        if "asyncio" not in sys.modules:  # servers without an event loop do not pay for it
            return None
        import asyncio

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return None
        self.watch(loop)
        return loop

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = system_clock.monotonic() + TICK
        loop.call_later(TICK, self._measure, loop)

    def _measure(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is loop:
            self._lags.append(max(0.0, system_clock.monotonic() - self._due))
            self._schedule(loop)

    def seconds(self) -> float | None:
        """
        Return the worst lag of the last ten seconds, in seconds, with one that still goes on; None: no loop is watched.
        """
        loop = self._loop
        if loop is None or not loop.is_running():
            return None
        return max(max(self._lags.copy(), default=0.0), system_clock.monotonic() - self._due, 0.0)

    def start_over(self) -> None:
        """
        Stop measuring.
        """
        self._loop = None
        self._lags.clear()


lag = LoopLag()
at_fork(after_in_child=lag.start_over)


def event_loop(*, warn: float = 0.1, fail: float | None = 5.0) -> EventLoop:
    """
    Check that the server's event loop comes to its work in time; this one belongs into `live`.

    Args:
        warn, fail: Seconds of lag: the worst of the last ten seconds.
    """
    return EventLoop(warn, fail)


class EventLoop:
    """
    The check of the event loop that is watched.
    """

    def __init__(self, warn: float | None, fail: float | None) -> None:
        self.warn = warn
        self.fail = fail

    def __call__(self) -> Outcome:
        seconds = lag.seconds()
        if seconds is None:
            return passed(note="no event loop is watched")
        return limited(round(seconds, 4), self.warn, self.fail, "event-loop lag, seconds,", lag_s=round(seconds, 4))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EventLoop) and (self.warn, self.fail) == (other.warn, other.fail)

    def __hash__(self) -> int:
        return hash((self.warn, self.fail))
