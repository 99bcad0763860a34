"""
Declarations of checks and heartbeats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from obskit.health.declaration import READY, declare
from obskit.health.heartbeats import Heartbeat
from obskit.health.heartbeats import heartbeat as _heartbeat
from obskit.health.registry import registry

F = TypeVar("F", bound=Callable[[], Any])


def add(
    name: str,
    function: Callable[[], Any],
    *,
    groups: Iterable[str] = (READY,),
    timeout: float = 2.0,
    every: float = 5.0,
    critical: bool = True,
    failures: int = 1,
    successes: int = 1,
    needs: str | None = None,
    background: bool = False,
) -> None:
    """
    Declare a check: a function without arguments, or one of the ready-made. At import if you like.

    A function says `pass` by returning anything, figures for the authorised as a dictionary, `warn` and `fail` with
    `obskit.health.warned()` and `failed()`, and `fail` by raising; `skipped()` says that there is nothing to ask. A
    coroutine function runs on the server's event loop where there is one, a plain one in a thread of its own; neither
    has two runs at a time.

    Args:
        name: Its name in probes, metrics and lines: up to 64 letters, digits, `_`, `.` and `-`.
        function: The check.
        groups: Whose probes it counts for: `ready`, `live`, `startup`, or one of `health_groups`.
        timeout: Seconds after which a run is a failure; the default is below what Kubernetes' probes are given.
        every: Seconds that an answer holds, with a tenth of jitter; the default keeps a dead dependency in service
            no longer than a probe's usual period. 0: each probe asks.
        critical: False: its failure is a warning of the group.
        failures: Failures in a row that take it down.
        successes: Answers in a row, other than failures, that take it up again.
        needs: A check without which this one is not run, and fails.
        background: Run it also without probes, so that these only read memory and metrics stay fresh.

    Raises:
        HealthCheckError: An argument is wrong, or another check has the name.
        UnknownGroupError: Nobody declared the group; raised by `configure()` for what was declared before.
    """
    registry.add(
        declare(
            name,
            function,
            groups=groups,
            timeout=timeout,
            every=every,
            critical=critical,
            failures=failures,
            successes=successes,
            needs=needs,
            background=background,
        )
    )


def check(
    name: str,
    *,
    groups: Iterable[str] = (READY,),
    timeout: float = 2.0,
    every: float = 5.0,
    critical: bool = True,
    failures: int = 1,
    successes: int = 1,
    needs: str | None = None,
    background: bool = False,
) -> Callable[[F], F]:
    """
    Declare a function as a check: `obskit.health.add()` as a decorator, with the same arguments.

    Returns:
        A decorator that returns the function unchanged.
    """

    def declared(function: F) -> F:
        add(
            name,
            function,
            groups=groups,
            timeout=timeout,
            every=every,
            critical=critical,
            failures=failures,
            successes=successes,
            needs=needs,
            background=background,
        )
        return function

    return declared


def remove(name: str) -> None:
    """
    Remove a check; an unknown name is ignored.
    """
    registry.remove(name)


def heartbeat(
    name: str,
    *,
    max_age: float | str,
    path: str | None = None,
    groups: Iterable[str] = (READY,),
    critical: bool = False,
) -> Heartbeat:
    """
    Declare a check that a job has run lately: `nightly = obskit.health.heartbeat("nightly-backup", max_age="26h")`.

    The job says so with `nightly.beat()` at its end, or is decorated with `@nightly`, or runs in `with nightly:`; the
    latter two count it only where nothing is raised.

    Args:
        name: Of the check.
        max_age: How long ago the last run may be: seconds, or `"30s"`, `"15m"`, `"26h"`, `"7d"`. A job that has never
            run is given as long from the start of the process.
        path: A file whose time of change is the beat. Give it where the job runs in another process, or under several
            workers. Default: memory.
        groups: As for `add()`.
        critical: As for `add()`; a late job does not stop requests from being served.

    Returns:
        The heartbeat; the same name again gives the same one.

    Raises:
        HealthCheckError: As for `add()`.
    """
    made = _heartbeat(name, max_age, path)
    add(name, made, groups=groups, critical=critical)
    return made
