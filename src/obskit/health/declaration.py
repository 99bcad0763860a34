"""
Declarations of checks: what is called, how often, how long it may take, and what its failure means.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from obskit.errors import HealthCheckError
from obskit.observation import kind_of

LIVE, READY, STARTUP = GROUPS = ("live", "ready", "startup")
# Paths below `health_path` that are no component's.
RESERVED_NAMES = frozenset({*GROUPS, "detailed"})

_valid_name = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}").fullmatch


@dataclass(frozen=True, slots=True)
class CheckDeclaration:
    """
    A check as it was declared; two that are equal are one.

    Attributes:
        name: Its name in probes and metrics.
        function: Asks, and answers or raises.
        groups: Whose probes it counts for.
        timeout_seconds: How long a run may take.
        every_seconds: How long an answer holds.
        critical: Whether its failure fails the group; otherwise it is a warning there.
        failures, successes: Runs in a row that take it down, and up again.
        needs: The check without which this one is not run.
        background: Whether it also runs without probes.
    """

    name: str
    function: Callable[[], Any]
    groups: frozenset[str]
    timeout_seconds: float
    every_seconds: float
    critical: bool
    failures: int
    successes: int
    needs: str | None
    background: bool

    @property
    def is_async(self) -> bool:
        """
        Return whether calling it returns an awaitable.
        """
        declared = getattr(self.function, "is_async", None)  # by ready-made checks
        return declared if isinstance(declared, bool) else kind_of(self.function) == "coroutine"


def declare(
    name: str,
    function: Callable[[], Any],
    *,
    groups: Iterable[str],
    timeout: float,
    every: float,
    critical: bool,
    failures: int,
    successes: int,
    needs: str | None,
    background: bool,
) -> CheckDeclaration:
    """
    Validate the arguments, and return the declaration.

    Raises:
        HealthCheckError: It says which argument, what was found, and what is expected.
    """
    _check_name(name)
    _check_function(name, function)
    chosen = _chosen(groups, name, function)
    _check_seconds(name, "timeout", timeout, 0.001)
    _check_seconds(name, "every", every, 0.0)
    _check_runs(name, "failures", failures)
    _check_runs(name, "successes", successes)
    return CheckDeclaration(
        name,
        function,
        chosen,
        float(timeout),
        float(every),
        bool(critical),
        failures,
        successes,
        needs,
        bool(background),
    )


def _check_function(name: str, function: object) -> None:
    if not callable(function):
        raise HealthCheckError(
            f"the check {name!r} was given {type(function).__name__}, which cannot be called: give a function "
            "without arguments, or a ready-made check such as obskit.health.sqlite('app.db')"
        )
    if isinstance(function, type):
        raise HealthCheckError(f"the check {name!r} was given the class {function.__name__}: give an object of it")
    if kind_of(function) in ("generator", "async generator"):
        raise HealthCheckError(f"the check {name!r} was given a {kind_of(function)}, of which a call asks nothing")


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not _valid_name(name) or name in RESERVED_NAMES:
        raise HealthCheckError(
            f"{name!r} is no name for a check: use up to 64 letters, digits, '_', '.' and '-', and none of "
            f"{', '.join(sorted(RESERVED_NAMES))}, which are routes"
        )


def _chosen(groups: Iterable[str], name: str, function: Callable[[], Any]) -> frozenset[str]:
    """
    Read the groups of a check; one that asks a dependency may not decide whether the server lives.
    """
    if isinstance(groups, str):
        raise HealthCheckError(f"groups={groups!r} of the check {name!r} is one string: give a list, [{groups!r}]")
    chosen = frozenset(groups)
    if LIVE in chosen and getattr(function, "is_dependency", False):
        raise HealthCheckError(
            f"the check {name!r} asks a dependency, and is in the group 'live': a server that is restarted for a "
            "database that is down comes back to a database that is down. Put it into 'ready'"
        )
    return chosen


def _check_seconds(name: str, argument: str, value: object, low: float) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= 86_400:
        raise HealthCheckError(f"{argument}={value!r} of the check {name!r}: expected seconds, {low:g} to 86400")


def _check_runs(name: str, argument: str, count: object) -> None:
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= 1000:
        raise HealthCheckError(f"{argument}={count!r} of the check {name!r}: expected a whole number, 1 to 1000")
