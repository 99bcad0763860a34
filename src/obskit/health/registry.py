"""
Every check of the process, by name.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from obskit.background import Ticks
from obskit.catalogue import events
from obskit.errors import HealthCheckError, UnknownGroupError
from obskit.forks import at_fork
from obskit.health.check_runs import Check, Run, Transition
from obskit.health.declaration import GROUPS, RESERVED_NAMES, STARTUP, CheckDeclaration
from obskit.health.event_loop_lag import lag
from obskit.health.outcome import Status, worst
from obskit.recorder import recorder

if TYPE_CHECKING:
    import asyncio

KEPT_TRANSITIONS = 100
_BACKGROUND = "\0background"  # no group's name
_LEVELS = {"pass": "INFO", "skipped": "INFO", "warn": "WARNING", "fail": "ERROR"}


class Registry:
    """
    The checks, by name. There is one registry a process; checks outlive `shutdown()`, what they found does not.

    Attributes:
        transitions: The last 100 changes of status, the oldest first.
        loop: The server's event loop, where there is one: coroutine functions run there.
        changed: Called with the name of a check that was added while a runtime is active.
    """

    def __init__(self) -> None:
        self.checks: dict[str, Check] = {}
        self.transitions: deque[Transition] = deque(maxlen=KEPT_TRANSITIONS)
        self.loop: asyncio.AbstractEventLoop | None = None
        self.changed: Callable[[str], None] = _ignore
        self._groups: frozenset[str] | None = None  # None while no runtime is active
        self._members: dict[str | None, tuple[Check, ...]] = {}
        self._started = False
        self.thread = Ticks(
            name="obskit-health", step=self._keep_fresh, failed=recorder.failed, part="health", drained=False
        )

    def add(self, declared: CheckDeclaration) -> None:
        """
        Add a check; the same declaration again changes nothing.

        Raises:
            HealthCheckError: Another check has the name, or is needed and not there.
            UnknownGroupError: Nobody declared its group.
        """
        known = self.checks.get(declared.name)
        if known is not None:
            if known.declared == declared:
                return
            raise HealthCheckError(
                f"a check {declared.name!r} is declared already, differently: give this one another name, or take the "
                f"first one back with obskit.health.remove({declared.name!r})"
            )
        if self._groups is not None:
            self._validate(declared, self._groups)
        self.checks[declared.name] = Check(declared, self._record_transition)
        self._members.clear()
        self.changed(declared.name)
        self.ensure_running()
        self.thread.wake()

    def remove(self, name: str) -> None:
        """
        Remove a check; an unknown name is ignored.
        """
        check = self.checks.pop(name, None)
        self._members.clear()
        if check is not None:
            check.start_over()

    def bind(self, groups: Sequence[str], changed: Callable[[str], None]) -> None:
        """
        Validate the checks for a runtime, and report new ones to it.

        Args:
            groups: The setting `health_groups`.
            changed: Called with the name of each check that is added from now on.
        """
        allowed = frozenset((*GROUPS, *groups))
        if clash := sorted(set(groups) & (RESERVED_NAMES | self.checks.keys())):
            raise HealthCheckError(f"health_groups has {clash[0]!r}, which is a route or a check already")
        for check in self.checks.values():
            self._validate(check.declared, allowed)
        self._groups, self.changed = allowed, changed
        self.ensure_running()

    def unbind(self) -> None:
        """
        Discard what was found: no runtime is active any longer.
        """
        self._groups, self.changed = None, _ignore
        self.thread.stop()
        self._forget()

    def start_over(self) -> None:
        """
        Discard what a forked process's parent found; its threads are gone.
        """
        self._forget()

    def _forget(self) -> None:
        self.loop, self._started = None, False
        lag.start_over()
        self.transitions.clear()
        self._members.clear()
        for check in self.checks.values():
            check.start_over()

    def _validate(self, declared: CheckDeclaration, groups: frozenset[str]) -> None:
        if unknown := sorted(declared.groups - groups):
            there = ", ".join(sorted(groups))
            raise UnknownGroupError(
                f"the check {declared.name!r} is in the group {unknown[0]!r}, and there are {there}: "
                f"use one of these, or declare it with health_groups=({unknown[0]!r},)"
            )
        if declared.name in groups:
            raise HealthCheckError(f"{declared.name!r} is a group, and so no name for a check: both would be one route")
        if declared.needs is not None and declared.needs not in self.checks:
            raise HealthCheckError(
                f"the check {declared.name!r} needs {declared.needs!r}, and there is no such check: declare that first"
            )
        chain = [declared.name]
        while declared.needs is not None and (need := self.checks.get(declared.needs)) is not None:
            chain.append(need.declared.name)
            if chain.count(need.declared.name) > 1:
                raise HealthCheckError(f"checks need each other in a circle: {' -> '.join(chain)}")
            declared = need.declared

    def members(self, group: str | None) -> tuple[Check, ...]:
        """
        Return a group's checks in the order of their declaration; None is all.
        """
        found = self._members.get(group)
        if found is None:
            found = self._members[group] = tuple(
                check for check in list(self.checks.values()) if group is None or group in check.declared.groups
            )
        return found

    def refresh(self, checks: Sequence[Check]) -> list[Run]:
        """
        Begin what is due; return the runs that a probe waits for. Where nothing is due this reads memory only.
        """
        now = recorder.clock()
        runs: list[Run] = []
        for check in checks:
            if now >= check.due:
                need = self.checks.get(check.declared.needs) if check.declared.needs is not None else None
                failed = need.declared.name if need is not None and self._is_down(need, now, runs) else None
                run = check.refresh(now, self.loop, failed)
                if run is not None:
                    runs.append(run)
        return runs

    def _is_down(self, need: Check, now: float, runs: list[Run]) -> bool:
        """
        Return whether a needed check was down when it last ran, and begin a new run of it where one is due.
        """
        runs += self.refresh([need]) if now >= need.due else []
        return need.result is not None and need.result.status == "fail"

    def status(self, checks: Sequence[Check]) -> Status:
        """
        Return the worst status; the failure of a check that is not critical is a warning.
        """
        found: list[Status] = []
        for check in checks:
            answer = check.result
            status: Status = "pass" if answer is None else answer.status
            counted: Status = "pass" if status == "skipped" else status
            found.append("warn" if counted == "fail" and not check.declared.critical else counted)
        return worst(*found)

    def latch(self, status: Status) -> None:
        """
        Record that startup is over, unless something still fails.
        """
        if status != "fail":
            self._started = True

    def startup(self) -> tuple[Check, ...]:
        """
        Return the checks that a startup probe still has to ask.
        """
        return () if self._started else self.members(STARTUP)

    def _record_transition(self, transition: Transition) -> None:
        self.transitions.append(transition)
        if transition.was is None and transition.now == "pass":
            return  # the first result, a pass, is no change worth a line
        message = f"{transition.component} is {transition.now}" + (
            f": {transition.reason}" if transition.reason else ""
        )
        fields: dict[str, Any] = {"component": transition.component, "health": transition.now}
        fields |= {"health_before": transition.was} if transition.was else {}
        fields |= {"reason": transition.reason} if transition.reason else {}
        check = self.checks.get(transition.component)
        if check is not None and check.result is not None and (error := check.result.outcome.details.get("error")):
            fields["error"] = error
        recorder.emit(events.HEALTH_TRANSITION.event(message, fields, level=_LEVELS[transition.now]))

    # In the background

    def ensure_running(self) -> None:
        """
        Start the thread that runs checks in the background, where this process has none and a check asks for it.
        """
        if self._groups is not None and self._in_background():
            self.thread.start()

    def _in_background(self) -> tuple[Check, ...]:
        found = self._members.get(_BACKGROUND)
        if found is None:
            found = self._members[_BACKGROUND] = tuple(
                check for check in list(self.checks.values()) if check.declared.background
            )
        return found

    def _keep_fresh(self) -> float:
        self.refresh(self._in_background())
        now = recorder.clock()
        dues = [check.next_due() for check in self._in_background()]
        return max(0.05, min(dues, default=now + 60.0) - now)


def _ignore(name: str) -> None:  # a new check, while no runtime is active
    return


registry = Registry()
at_fork(after_in_child=registry.start_over)
checks = registry.checks  # since `obskit.health.registry` is this module or, in older programs, that object
