"""
The clock that a test gives to all of obskit: operations, threads, leases, stamps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from obskit.time.clock import Waitable, system_clock


@runtime_checkable
class MovableClock(Protocol):
    """
    A clock that shows what it was set to: `obskit.testing.FakeClock`.
    """

    now: float

    def __call__(self) -> float:
        """
        Return it.
        """

    def wait(self, event: Waitable, seconds: float | None) -> None:
        """
        Wait as a `Clock` does.
        """


class FakeTime:
    """
    The clock of a test, made of what the test gives.

    Args:
        monotonic: Gives monotonic seconds, such as a `FakeClock`.
        wall: Gives seconds since the epoch. None: the system's at first, from where it goes on as `monotonic` does.
    """

    def __init__(self, monotonic: Callable[[], float] | None, wall: Callable[[], float] | None) -> None:
        self.monotonic = monotonic or system_clock.monotonic
        self.wall = wall or (system_clock.wall if monotonic is None else _following(monotonic))

    def wait(self, event: Waitable, seconds: float | None) -> None:
        """
        Wait by the test's clock where it is a `FakeClock`; by the system's where it is any other function.
        """
        if isinstance(self.monotonic, MovableClock):
            self.monotonic.wait(event, seconds)
        else:
            system_clock.wait(event, seconds)

    def move_to(self, moment: float) -> None:
        """
        Move to this moment of the monotonic clock, and the wall clock by as much, without waking those who wait.

        Raises:
            TypeError: The clock is no `FakeClock`.
        """
        if not isinstance(self.monotonic, MovableClock):
            raise TypeError(f"expected a FakeClock, found {type(self.monotonic).__name__}")
        passed = moment - self.monotonic.now
        if isinstance(self.wall, MovableClock) and self.wall is not self.monotonic:
            self.wall.now += passed
        self.monotonic.now = moment


def _following(monotonic: Callable[[], float]) -> Callable[[], float]:
    offset = system_clock.wall() - monotonic()
    return lambda: monotonic() + offset
