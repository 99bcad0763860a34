"""
A clock that tests move, and what is done on the way.
"""

from __future__ import annotations

from datetime import timedelta
from threading import Thread

from obskit import background
from obskit.deferred_endings import drain
from obskit.errors import ConfigurationError
from obskit.time.clock import Deadline, Waitable
from obskit.time.clock import clock as _clock
from obskit.time.durations import seconds_of
from obskit.time.fake_time import FakeTime

_STEPS_AT_ONCE = 10_000
# How long `advance()` lets a step, and what a step has started, take on the machine's clock.
_STEP_PATIENCE_SECONDS = 10.0
_PIECE_PATIENCE_SECONDS = 5.0


class FakeClock:
    """
    A clock that shows the time that a test sets, in seconds.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self._waiting: list[tuple[float, Waitable]] = []

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """
        Advance the clock. Threads that wait for what is due by now are woken, and not waited for.
        """
        self.now += seconds
        for due, event in self._waiting.copy():
            if due <= self.now:
                event.set()

    def wait(self, event: Waitable, seconds: float | None) -> None:
        """
        Return once the event is set, be it since the time has come.
        """
        waiting = (float("inf") if seconds is None else self.now + seconds), event
        self._waiting.append(waiting)
        try:
            if self.now < waiting[0]:
                event.wait()
        finally:
            self._waiting.remove(waiting)


def advance(duration: str | timedelta) -> None:
    """
    Move the clock on, and run what is due on the way: `advance("1h")`.

    Each step of a background thread is taken here, at its moment and in the order of the moments, so that nothing
    sleeps and the same test gives the same results: callbacks of gauges, checks in the background, what is tried again.
    What only expires, such as a budget's period or the age of a heartbeat, has expired at its moment. With a strict
    runtime, what a step raises is raised.

    Args:
        duration: Text with a unit, or a `timedelta`.

    Raises:
        ConfigurationError: No runtime has a `FakeClock`.
        DurationError: The duration is none, or a bare number.
        AssertionError: A step does not end, or is due again and again at one moment.
    """
    seconds, time = seconds_of(duration, "duration"), _clock.source
    if not isinstance(time, FakeTime) or not isinstance(time.monotonic, FakeClock):
        raise ConfigurationError("advance() moves a FakeClock: use isolated_runtime(clock=FakeClock()) around it")
    end = time.monotonic() + seconds
    with background.moved_by_a_test():
        _take_steps(time, end)
        time.move_to(end)
    drain()


def _take_steps(time: FakeTime, end: float) -> None:
    hung: list[Thread] = []
    steps_at_once = 0
    for thread in background.ticking():  # what began before is of the present moment
        _awaited(thread, thread.await_step(Deadline(_STEP_PATIENCE_SECONDS)))
    while (ticking := background.ticking()) and (due := ticking[0].next_step) <= end:
        steps_at_once += 1
        if due > time.monotonic():
            time.move_to(due)
            steps_at_once = 0
        if steps_at_once > _STEPS_AT_ONCE:
            raise AssertionError(f"{ticking[0].name} is due again and again at {time.monotonic()}")
        _awaited(ticking[0], ticking[0].take_due_step(Deadline(_STEP_PATIENCE_SECONDS)))
        hung += background.join_pieces(Deadline(_PIECE_PATIENCE_SECONDS), hung)


def _awaited(thread: background.Ticks, has_ended: bool) -> None:
    if not has_ended:
        raise AssertionError(f"{thread.name} is at a step that has not ended in {_STEP_PATIENCE_SECONDS:.0f} s")
