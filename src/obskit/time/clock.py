"""
The one clock, which every thread, tick, lease and stamp of obskit takes.

    from obskit.time.clock import clock

    deadline = clock.monotonic() + 5.0

Tests have it tell theirs (`obskit.testing`). What waits for another process, a thread or a disk is not to be moved by
that, and takes `Patience`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """
    What tells the time.
    """

    def monotonic(self) -> float:
        """
        Return seconds since some moment, which only grow; durations, deadlines and ticks are counted in them.
        """

    def wall(self) -> float:
        """
        Return seconds since the epoch, as the machine has them: they jump where its clock is set.
        """

    def wait(self, event: threading.Event, seconds: float | None) -> None:
        """
        Return once the event is set, or that many seconds of this clock have passed; None: only then. It may return
        earlier: who waits looks again whether it is time.
        """


class SystemClock:
    """
    The machine's clock.
    """

    # The functions of C themselves: a request pays for a call of them, and for nothing around it.
    monotonic = staticmethod(time.perf_counter)
    wall = staticmethod(time.time)
    wall_ns = staticmethod(time.time_ns)

    def wait(self, event: threading.Event, seconds: float | None) -> None:
        """
        Sleep.
        """
        event.wait(None if seconds is None else min(max(0.0, seconds), threading.TIMEOUT_MAX))


class CurrentClock:
    """
    The clock of this process: the system's, or for as long as a test wants it, that of the test.

    Attributes:
        monotonic, wall, wait: Those of the clock in use. Who calls one often may keep it, until the next `configure()`.
    """

    __slots__ = ("is_system", "monotonic", "wait", "wall")

    def __init__(self) -> None:
        self.use(system_clock)

    def use(self, source: Clock) -> None:
        """
        Take the time from this clock from now on.
        """
        self.is_system = source is system_clock
        self.monotonic: Callable[[], float] = source.monotonic
        self.wall: Callable[[], float] = source.wall
        self.wait: Callable[[threading.Event, float | None], None] = source.wait


class Patience:
    """
    How long something is waited for that no test can hurry: a lock of another process, a thread, a disk.

    Args:
        seconds: From now on.
    """

    __slots__ = ("_end",)

    def __init__(self, seconds: float) -> None:
        self._end = system_clock.monotonic() + seconds

    def left(self) -> float:
        """
        Return the seconds that are left; 0 once it is over.
        """
        return max(0.0, self._end - system_clock.monotonic())

    def is_over(self) -> bool:
        """
        Whether nothing is left.
        """
        return system_clock.monotonic() >= self._end

    def rest(self, seconds: float) -> None:
        """
        Sleep before the next try, and not beyond the end.
        """
        rest(min(seconds, self.left()))


system_clock = SystemClock()
clock = CurrentClock()
rest = time.sleep  # between two looks at what another process does
