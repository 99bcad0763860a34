"""
Which rules are in force: those that are shipped, as far as the page has their figures, and the application's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import cache
from typing import NamedTuple

from obskit.errors import RuleError, SignalError
from obskit.rules.declared import declared
from obskit.rules.defaults import LEFT_OUT, OFF, ON, Row
from obskit.rules.rule import Outside, Rule
from obskit.signals.page import Page, page_in_force
from obskit.signals.signal import Condition
from obskit.signals.units import threshold_in
from obskit.time.durations import seconds_of

_PAST = "{value} over {window} at {component}, where the threshold is {threshold}"
_NOW = "{value} at {component}, where the threshold is {threshold}"


class InForce(NamedTuple):
    """
    The rules in force, by name and severity, and the reason for each name that is not.
    """

    rules: tuple[Rule, ...]
    left_out: dict[str, str]


def rules_in_force(page: Page | None = None, alerts: str | Iterable[str] = "default") -> InForce:
    """
    Return the rules in force.

    Args:
        page: What the service's metrics page has; that of the active runtime by default.
        alerts: `default`, `all`, or the names of those that are shipped which are in force.

    Raises:
        RuleError: No rule of that name is shipped.
    """
    page = page or page_in_force()
    rules, left_out = [], dict(LEFT_OUT)
    wanted = _wanted(alerts)
    own = {name for name, _ in declared}
    for rule in shipped():
        if rule.name in own:  # the application's take the place of ours
            left_out.pop(rule.name, None)
        elif rule.name not in wanted:
            left_out[rule.name] = f"off by default; alerts='all' or alerts=['{rule.name}'] switches it on"
        else:
            try:
                rule.condition.promql(page)
            except SignalError as error:
                left_out[rule.name] = str(error)
            else:
                rules.append(rule)
    return InForce(tuple(sorted([*rules, *declared.values()], key=lambda rule: rule.key)), left_out)


def _wanted(alerts: str | Iterable[str]) -> set[str]:
    names = {row.name for row in (*ON, *OFF)}
    if isinstance(alerts, str):
        if alerts == "all":
            return names
        if alerts == "default":
            return {row.name for row in ON}
        raise RuleError(f"alerts={alerts!r}: expected 'default', 'all', or a list of names")
    wanted = set(alerts)
    for name in sorted(wanted - names):
        near = get_close_matches(name, names, n=1)
        reason = LEFT_OUT.get(name) or (f"did you mean {near[0]!r}?" if near else "no rule of that name is shipped")
        raise RuleError(f"alerts names {name!r}: {reason}")
    return wanted


@cache
def shipped() -> tuple[Rule, ...]:
    """
    Return all rules that are shipped.
    """
    return tuple(_made())


def _made() -> Iterator[Rule]:
    for row in (*ON, *OFF):
        yield Rule(
            name=row.name,
            condition=_condition(row),
            severity=row.severity,
            area=row.area,
            for_seconds=seconds_of(row.held),
            summary=row.summary,
            description=_description(row),
            component=row.component or row.area,
            mutes=row.mutes,
            is_default=row in ON,
        )


def _condition(row: Row) -> Condition | Outside:
    if isinstance(row.signal, Outside):
        return row.signal
    return Condition(row.signal, row.sign, threshold_in(row.signal.unit, row.threshold))


def _description(row: Row) -> str:
    if isinstance(row.signal, Outside):
        return row.summary
    return f"{row.summary}: {_PAST if any(row.signal.spans()) else _NOW}"
