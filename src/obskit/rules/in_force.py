"""
Which rules are in force: those that are shipped and those of objectives, as far as the page has their figures, and the
application's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import cache
from typing import NamedTuple

from obskit.errors import RuleError, SignalError
from obskit.rules import objectives
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


# What the active runtime was told by its setting `alerts`.
chosen: list[str] = ["default"]


def rules_in_force(page: Page | None = None, alerts: str | Iterable[str] | None = None) -> InForce:
    """
    Return the rules in force.

    Args:
        page: What the service's metrics page has; that of the active runtime by default.
        alerts: `default`, `all`, or names of rules that are shipped; those that the active runtime chose by default.

    Raises:
        RuleError: No rule of that name is shipped.
    """
    page = page or page_in_force()
    rules, left_out = list(declared.values()), dict(LEFT_OUT)
    names, own = wanted(chosen if alerts is None else alerts), {name for name, _ in declared}
    for rule in shipped():
        if rule.name in own:  # the application's take the place of ours
            continue
        if rule.name not in names:
            left_out[rule.name] = f"switched off; alerts=['default', '{rule.name}'] switches it on"
            continue
        try:
            rule.condition.promql(page)
        except SignalError as error:
            left_out[rule.name] = str(error)
        else:
            rules.append(rule)
    for objective in objectives.declared.values():
        for indicator, _, rule in objective.rules():
            if rule.name in own:
                continue
            if reason := indicator.missing(page):
                left_out[rule.name] = reason
            else:
                rules.append(rule)
    for name in own:
        left_out.pop(name, None)
    return InForce(tuple(sorted(rules, key=lambda rule: rule.key)), dict(sorted(left_out.items())))


def rules() -> tuple[Rule, ...]:
    """
    Return the rules in force: those that are shipped and switched on, as far as the page has their figures, those of
    `rule()`, and those of objectives. Each has `name`, `severity`, `area`, and `judged`: `both`, `outside` or `inside`.
    """
    return rules_in_force().rules


def wanted(alerts: str | Iterable[str]) -> set[str]:
    """
    Return the names of the rules that are meant.

    Raises:
        RuleError: No rule of that name is shipped.
    """
    all_of_them = {row.name for row in (*ON, *OFF)}
    asked = {alerts} if isinstance(alerts, str) else set(alerts)
    names = asked - {"default", "all"}
    for name in sorted(names - all_of_them):
        near = get_close_matches(name, all_of_them, n=1)
        reason = LEFT_OUT.get(name) or (f"did you mean {near[0]!r}?" if near else "there is none of that name")
        raise RuleError(f"alerts names {name!r}, which is not shipped: {reason}")
    if "all" in asked:
        return all_of_them
    return names | ({row.name for row in ON} if "default" in asked else set())


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
