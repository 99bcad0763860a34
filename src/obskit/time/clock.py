"""
The one clock, which every thread, tick, lease and stamp of obskit takes.

    from obskit.time.clock import clock

    deadline = clock.monotonic() + 5.0

Tests have it tell theirs (`obskit.testing`). What waits for another process, a thread or a disk is not to be moved by
that, and takes `Deadline`.
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

    def wait(self, event: Waitable, seconds: float | None) -> None:
        """
        Return once the event is set, or that many seconds of this clock have passed; None: only then. It may return
        earlier: who waits looks again whether it is time.
        """


class Waitable(Protocol):
    """
    What a thread waits for: a `WakeUp`, or an `Event`.
    """

    def set(self) -> None:
        """
        Wake those who wait.
        """

    def wait(self, timeout: float | None = None, /) -> bool:
        """
        Wait, no longer than these seconds; return whether it was set.
        """


class WakeUp:
    """
    Wakes one thread, once for however many times it is set. A signal's handler and a finaliser may set it, on top of
    whatever they interrupt: each method is one call in C.
    """

    __slots__ = ("_is_unset",)

    def __init__(self) -> None:
        self._is_unset = threading.Lock()
        self._is_unset.acquire()

    def set(self) -> None:
        """
        Wake the thread that waits, or that waits next.
        """
        try:
            self._is_unset.release()
        except RuntimeError:  # it is set already
            return

    def wait(self, timeout: float | None = None, /) -> bool:
        """
        Wait until it is set, and unset it; return whether it was, in time.
        """
        return self._is_unset.acquire(timeout=-1 if timeout is None else min(max(0.0, timeout), threading.TIMEOUT_MAX))


class SystemClock:
    """
    The machine's clock.
    """

    # The functions of C themselves: a request pays for a call of them, and for nothing around it.
    monotonic = staticmethod(time.perf_counter)
    wall = staticmethod(time.time)
    wall_ns = staticmethod(time.time_ns)

    def wait(self, event: Waitable, seconds: float | None) -> None:
        """
        Sleep.
        """
        event.wait(None if seconds is None else min(max(0.0, seconds), threading.TIMEOUT_MAX))


class CurrentClock:
    """
    The clock of this process: the system's, or for as long as a test wants it, that of the test.

    Attributes:
        source: The clock in use.
        monotonic, wall, wait: Its own. Who calls one often may keep it, until the next `configure()`.
    """

    __slots__ = ("monotonic", "source", "wait", "wall")

    def __init__(self) -> None:
        self.use(system_clock)

    def use(self, source: Clock) -> None:
        """
        Use this clock from now on.
        """
        self.source = source
        self.monotonic: Callable[[], float] = source.monotonic
        self.wall: Callable[[], float] = source.wall
        self.wait: Callable[[Waitable, float | None], None] = source.wait


class Deadline:
    """
    The end of a wait that no test can hurry: for a lock of another process, a thread, a disk.

    Args:
        seconds: From now on.
    """

    __slots__ = ("_end",)

    def __init__(self, seconds: float) -> None:
        self._end = system_clock.monotonic() + seconds

    def remaining(self) -> float:
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
        rest(min(seconds, self.remaining()))


system_clock = SystemClock()
clock = CurrentClock()
rest = time.sleep  # between two looks at what another process does
