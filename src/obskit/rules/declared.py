"""
Declare rules of one's own, at import if you like. What can never fire is an error here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from string import Formatter
from typing import TypeVar, get_args

from obskit.errors import RuleError
from obskit.rules.rule import Area, NoData, Rule, Severity
from obskit.signals.counted import First, Quantile, Rise
from obskit.signals.derived import Ratio
from obskit.signals.samples import LabelPairs
from obskit.signals.signal import AtLeast, Condition, ConditionOrNoData, Signal
from obskit.signals.units import COUNT
from obskit.signals.windows import Duration, Span, window_seconds
from obskit.time.durations import duration_text, seconds_of
from obskit.time.local_time import zone_named
from obskit.time.service_hours import ServiceHours, service_hours

T = TypeVar("T")

declared: dict[tuple[str, str], Rule] = {}

_is_name = re.compile(r"[A-Z][A-Za-z0-9]{0,79}").fullmatch
_is_label = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*").fullmatch
_is_day = frozenset({"mon", "tue", "wed", "thu", "fri", "sat", "sun"}).__contains__
# An alert has these from elsewhere; a label `component` is the rule's own to say.
_TAKEN = frozenset({"severity", "area", "app", "alertname", "alertstate", "job", "instance"})
# Prometheus looks back five minutes for what was before; one evaluation may be late.
_KEPT_SECONDS = 240.0
_FILLED = ("value", "threshold", "window", "component")


def rule(
    name: str,
    condition: Condition | Signal,
    *,
    for_: Duration = "0s",
    keep_firing: Duration = "0s",
    severity: Severity = "warning",
    area: Area = "business",
    no_data: NoData = "ok",
    hours: str | None = None,
    every: Duration | None = None,
    none_for: Duration | None = None,
    summary: str = "",
    description: str = "",
    runbook: str = "",
    labels: Mapping[str, str] | None = None,
    mutes: str | tuple[str, ...] | list[str] = (),
) -> Rule:
    """
    Declare when somebody is told.

    Args:
        name: In CamelCase, such as `OcrSlow`. Two rules of one name are bands: equal signals, another threshold and
            severity. The name of a rule that is shipped puts this one in its place.
        condition: A signal compared with a threshold; with `none_for`, an increase alone.
        for_: How long it must hold, such as `"5m"`.
        keep_firing: How long an alert goes on once it does not hold any more.
        severity: `critical`, `high`, `warning` or `info`.
        area: `http`, `database`, `ai`, `system`, `health`, `security`, `audit`, `jobs`, `business` or `obskit`.
        no_data: What it means that nothing is known while the service is there: `ok`, `firing`, or `keep` for what was
            before.
        hours: When it is judged, such as `"Mon-Fri 06:00-22:00 Europe/Berlin"`; UTC without a zone. In a zone whose
            clock is changed by no calendar's law, such as `Africa/Casablanca`, it is judged here only.
        every: How often it is judged, from `"1s"` to `"1d"`. Default: as often as the others, 15 s.
        none_for: Fire when the counter of an increase has not risen for this long, or was never there.
        summary: What has happened, without figures. Default: the name in words.
        description: The same with `{value}`, `{threshold}`, `{window}`, `{component}`, and labels of the signal.
        runbook: A URL of what to do.
        labels: Further labels of its alerts; `component` is the area unless it is among them.
        mutes: Components whose other alerts say nothing new while this one fires.

    Raises:
        RuleError: It cannot be declared so, can never fire, or the name is taken.
    """
    asked, fires_without = condition, no_data == "firing"
    if none_for is not None:
        asked, fires_without = _none(name, condition, none_for), True
    if not isinstance(asked, Condition):
        raise RuleError(f"rule {name!r}: expected a condition, such as signal > 5, not {type(condition).__name__}")
    if not isinstance(name, str) or not _is_name(name):
        raise RuleError(f"rule {name!r}: expected a name of letters and digits in CamelCase, such as 'OcrSlow'")
    if fires_without:
        asked = ConditionOrNoData(asked.signal, asked.sign, asked.threshold)
    found = Rule(
        name=name,
        condition=asked,
        severity=_one_of(name, "severity", severity, get_args(Severity)),
        area=_one_of(name, "area", area, get_args(Area)),
        for_seconds=seconds_of(for_, "for_"),
        keep_firing_seconds=seconds_of(keep_firing, "keep_firing"),
        no_data=_one_of(name, "no_data", no_data, get_args(NoData)),
        hours=_hours(hours),
        every_seconds=0.0 if every is None else _every(name, every, no_data),
        summary=_text(name, "summary", summary) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name),
        description=_text(name, "description", description) or "{value} at {component}; the threshold is {threshold}",
        runbook=_text(name, "runbook", runbook),
        component=_component(labels, area),
        labels=_labels(name, labels or {}, asked.signal),
        mutes=(mutes,) if isinstance(mutes, str) else tuple(mutes),
    )
    _check_fields(found, asked)
    _check_can_fire(found, asked)
    return _keep(found)


def _keep(found: Rule) -> Rule:
    before = declared.get(found.key)
    if before is not None and before != found:
        raise RuleError(f"rule {found.name!r} is declared with severity {found.severity!r} already, and otherwise")
    for other in declared.values():
        if other.name == found.name and other.key != found.key:
            _check_bands(found, other)
    return declared.setdefault(found.key, found)


def _check_bands(found: Rule, other: Rule) -> None:
    mine, theirs = found.condition, other.condition
    assert isinstance(mine, Condition)  # the application declares no other
    assert isinstance(theirs, Condition)
    if mine.signal != theirs.signal or mine.threshold == theirs.threshold:
        raise RuleError(
            f"two rules are called {found.name!r}: bands have equal signals and another threshold; call one otherwise"
        )


def _none(name: str, asked: object, none_for: Duration) -> Condition:
    if not isinstance(asked, Rise):
        raise RuleError(f"rule {name!r}: none_for= is of a counter: give increase('..._total') without a threshold")
    risen = replace(asked.in_all(), span=Span(window_seconds(none_for, "none_for")))
    return risen < 1 if risen.unit == COUNT else risen <= 0  # a cent is less than 1 too


def _one_of(name: str, argument: str, value: T, known: tuple[T, ...]) -> T:
    if value not in known:
        near = get_close_matches(str(value), [str(it) for it in known], n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(map(str, known))}"
        raise RuleError(f"rule {name!r}: {argument}={value!r} is unknown; {hint}")
    return value


def _text(name: str, argument: str, text: object) -> str:
    if not isinstance(text, str):
        raise RuleError(f"rule {name!r}: {argument} is a text, not {type(text).__name__}")
    return text


def _every(name: str, every: Duration, no_data: NoData) -> float:
    seconds = seconds_of(every, "every")
    if not 1 <= seconds <= 86_400:
        raise RuleError(f"rule {name!r}: every={every!r} is out of range: expected from '1s' to '1d'")
    if no_data == "keep" and seconds > _KEPT_SECONDS:
        raise RuleError(
            f"rule {name!r}: every={every!r} is too seldom with no_data='keep': Prometheus forgets an alert after five "
            "minutes; expected '4m' at most"
        )
    return seconds


def _hours(text: str | None) -> ServiceHours | None:
    if text is None:
        return None
    words, _, zone = str(text).rpartition(" ")
    if words and zone[:1].isalpha() and not _is_day(zone[:3].lower()):
        return service_hours(words, zone_named(zone))
    return service_hours(text)


def _component(labels: Mapping[str, str] | None, area: str) -> str:
    return str((labels or {}).get("component", area))


def _labels(name: str, labels: Mapping[str, str], signal: Signal) -> LabelPairs:
    for label, text in labels.items():
        if not isinstance(label, str) or not isinstance(text, str) or not _is_label(label):
            raise RuleError(f"rule {name!r}: labels has {label!r}={text!r}; expected a label's name and a text")
        if label in _TAKEN:
            raise RuleError(f"rule {name!r}: labels names {label!r}, which alerts have of their own")
        if label in signal.labels:
            raise RuleError(f"rule {name!r}: labels names {label!r}, a label of its signal, which it would hide")
    return tuple(sorted((label, text) for label, text in labels.items() if label != "component"))


def _check_fields(found: Rule, condition: Condition) -> None:
    known = (*_FILLED, *condition.signal.labels)
    for argument, text in (("summary", found.summary), ("description", found.description)):
        try:
            fields = [field for _, field, _, _ in Formatter().parse(text) if field is not None]
        except ValueError as error:
            raise RuleError(f"rule {found.name!r}: {argument} is {text!r}: {error}") from None
        for field in fields:
            if field not in known:
                raise RuleError(f"rule {found.name!r}: {argument} names {{{field}}}; there are {', '.join(known)}")
            if argument == "summary" and field == "value":
                raise RuleError(f"rule {found.name!r}: a summary has no value, since alerts are grouped by it")


def _check_can_fire(found: Rule, condition: Condition) -> None:
    signal, sign, threshold = condition.signal, condition.sign, condition.threshold
    bare = signal.signal if isinstance(signal, AtLeast) else signal
    if isinstance(bare, First) and found.for_seconds >= bare.span.window:
        raise RuleError(
            f"rule {found.name!r} can never fire: a kind is new for {duration_text(bare.span.window)}, and for_ is "
            f"{duration_text(found.for_seconds)}"
        )
    is_counted = isinstance(bare, First | Rise | Quantile | Ratio) and not _is_of_gauges(bare)
    least = threshold < 0 or (threshold == 0 and sign == "<")
    if not isinstance(condition, ConditionOrNoData) and is_counted and sign in ("<", "<=") and least:
        raise RuleError(f"rule {found.name!r} can never fire: its signal is never {sign} {threshold:.15g}")
    if bare.unit == "percent" and (threshold > 100 or (threshold == 100 and sign == ">")) and sign in (">", ">="):
        raise RuleError(f"rule {found.name!r} can never fire: percent end at 100")


def _is_of_gauges(signal: Signal) -> bool:
    return isinstance(signal, Ratio) and not isinstance(signal.whole, Rise)
