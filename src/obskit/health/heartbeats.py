"""
Heartbeats: checks of when a job last ran.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from obskit.errors import DurationError, HealthCheckError
from obskit.file_modes import make_file, refuse_foreign
from obskit.health.outcome import Outcome, failed, passed, warned
from obskit.observation import as_called, kind_of
from obskit.time.clock import clock
from obskit.time.durations import seconds_of

P = ParamSpec("P")
R = TypeVar("R")

# Share of `max_age` from which a late job is a warning.
_WARN_SHARE = 0.95

_known: dict[str, Heartbeat] = {}


class Heartbeat:
    """
    A check that a job has run within `max_age_seconds`. Thread-safe.
    """

    def __init__(self, max_age_seconds: float, path: str | None) -> None:
        self.max_age_seconds = max_age_seconds
        self.path = path
        self._since = clock.wall()
        self._last_beat: float | None = None

    def beat(self) -> None:
        """
        Record that the job has run to its end.

        Raises:
            OSError: The file that `path` names cannot be written, or belongs to another user who is not root, while
                this process is not root's.
        """
        self._last_beat = clock.wall()
        if self.path is not None:
            _touch(self.path)

    def __enter__(self) -> Heartbeat:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        if kind is None:
            self.beat()

    def __call__(self, function: Callable[P, R] | None = None) -> Any:
        # Two callers: a decorator has a function, the registry asks without one.
        return self.look() if function is None else self._decorate(function)

    def _decorate(self, function: Callable[P, R]) -> Callable[P, R]:
        asked: Callable[..., Any] = function
        kind = kind_of(function)
        if kind == "coroutine":

            @functools.wraps(function)
            async def run_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                with self:
                    return await asked(*args, **kwargs)

            return as_called(function, run_async)
        if kind == "generator":

            @functools.wraps(function)
            def run_through(*args: P.args, **kwargs: P.kwargs) -> Any:
                with self:
                    return (yield from asked(*args, **kwargs))

            return as_called(function, run_through)
        if kind == "async generator":
            raise HealthCheckError(f"{function!r} is an asynchronous generator: call beat() at its end")

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                return function(*args, **kwargs)

        return run

    def last(self) -> float | None:
        """
        Return when it last ran, in seconds since the epoch; None: not known to have run.
        """
        if self.path is not None:
            try:
                return os.stat(self.path).st_mtime
            except FileNotFoundError:
                return None
        return self._last_beat

    def look(self) -> Outcome:
        """
        Compare the age of the last run with `max_age_seconds`.
        """
        last = self.last()
        age = clock.wall() - (self._since if last is None else last)
        details = {"age_s": round(age, 1), "max_age_s": self.max_age_seconds, "has_run": last is not None}
        if age >= self.max_age_seconds:
            return failed("late" if last is not None else "has never run", **details)
        return warned("nearly late", **details) if age >= self.max_age_seconds * _WARN_SHARE else passed(**details)


def _touch(path: str) -> None:
    """
    Set a file's time to now; a missing one is made with mode 0644, whatever the umask, since others read its time.
    """
    try:
        os.close(make_file(path, os.O_WRONLY, 0o644))
    except FileExistsError:
        refuse_foreign(os.stat(path), path)
        os.utime(path)


def heartbeat(name: str, max_age: float | str, path: str | None) -> Heartbeat:
    """
    Return the heartbeat of a name: the same object where it is declared again in the same way.
    """
    seconds, known = _seconds(name, max_age), _known.get(name)
    if known is None or (known.max_age_seconds, known.path) != (seconds, path):
        known = _known[name] = Heartbeat(seconds, path)
    return known


def _seconds(name: str, age: float | str) -> float:
    seconds: object = age
    if isinstance(age, str):
        with suppress(DurationError):
            seconds = seconds_of(age)
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and seconds > 0:
        return float(seconds)
    raise HealthCheckError(
        f"max_age={age!r} of the heartbeat {name!r}: expected seconds, or such as '15m', '26h', '7d'"
    )
