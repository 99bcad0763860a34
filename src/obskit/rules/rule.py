"""
A rule: a condition, for how long it must hold, how bad it is, and what is said of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from obskit.rules.alert_labels import moved_aside, of_guides
from obskit.rules.hours_promql import hours_promql, law_of
from obskit.signals.matching import quoted
from obskit.signals.page import Page, page_in_force
from obskit.signals.samples import LabelPairs
from obskit.signals.signal import Condition, enclosed
from obskit.time.service_hours import ServiceHours

Severity: TypeAlias = Literal["critical", "high", "warning", "info"]
Area: TypeAlias = Literal[
    "http", "database", "ai", "system", "health", "security", "audit", "jobs", "business", "obskit"
]
NoData: TypeAlias = Literal["ok", "firing", "keep"]
Judged: TypeAlias = Literal["both", "outside", "inside"]


@dataclass(frozen=True)
class Outside:
    """
    What only Prometheus can tell of a service, such as that it does not answer.

    Attributes:
        text: PromQL, with `{up}` for the selector of the scrape job's `up`.
    """

    text: str

    def promql(self, page: Page | None = None) -> str:
        """
        Render it.
        """
        return self.text.format(up=(page or page_in_force()).selector("up"))


@dataclass(frozen=True)
class Rule:
    """
    When somebody is told of what.

    Attributes:
        name: In CamelCase. Two rules of one name are bands; name and severity are the key.
        condition: What is judged, here and by Prometheus, or by Prometheus only.
        severity: How bad it is.
        area: What it is about.
        for_seconds: How long the condition must hold.
        keep_firing_seconds: How long an alert goes on once it does not hold any more.
        no_data: What it means that nothing is known: all is well, an alert, or whatever was before.
        hours: When it is judged at all; None means always.
        every_seconds: How often it is judged; 0 means as often as the others.
        summary: What has happened, without figures.
        description: The same with `{value}`, `{threshold}`, `{window}`, `{component}`, and labels by their names.
        runbook: Where it is written what to do; empty for the page that is exported with the rule.
        component: What an alert is about, with labels in braces: `disk:{path}`. A label `component` of the signal's own
            goes before it.
        labels: Further labels of its alerts, sorted.
        mutes: Components whose other alerts say nothing new while this one fires; `database` is `database:orders`
            too, and `*` is every component.
        is_default: Whether it is in force unless a setting says otherwise.
    """

    name: str
    condition: Condition | Outside
    severity: Severity
    area: Area
    for_seconds: float = 0.0
    keep_firing_seconds: float = 0.0
    no_data: NoData = "ok"
    hours: ServiceHours | None = None
    every_seconds: float = 0.0
    summary: str = ""
    description: str = ""
    runbook: str = ""
    component: str = ""
    labels: LabelPairs = ()
    mutes: tuple[str, ...] = ()
    is_default: bool = True

    @property
    def key(self) -> tuple[str, str]:
        """
        Return name and severity.
        """
        return self.name, self.severity

    @property
    def judged(self) -> Judged:
        """
        Return who judges it: this process and Prometheus, or one of them only.
        """
        if isinstance(self.condition, Outside):
            return "outside"
        return "inside" if self.hours and law_of(self.hours.zone) is None else "both"

    @property
    def by(self) -> tuple[str, ...]:
        """
        Return the labels that its alerts are told apart by, by the catalogue's names.
        """
        return () if isinstance(self.condition, Outside) else self.condition.signal.labels

    @property
    def sums_instances(self) -> bool:
        """
        Return whether the figures of all instances of the service are one to Prometheus, and not one each.
        """
        return isinstance(self.condition, Condition) and not self.keeps_instance

    @property
    def keeps_instance(self) -> bool:
        """
        Return whether to Prometheus each instance of the service has alerts of its own.
        """
        return isinstance(self.condition, Condition) and self.condition.signal.keeps_instance

    def fixed_labels(self, page: Page) -> dict[str, str]:
        """
        Return the labels that are the rule's own: `component` with the signal's labels in braces, and none of the
        names of the signal's labels.
        """
        own = {"severity": self.severity, "area": self.area, "app": page.service, "component": self.component}
        own |= of_guides(page.service, self.area)
        hidden = {*self.label_names(page).values()}
        return {name: text for name, text in {**own, **dict(self.labels)}.items() if name not in hidden}

    def labels_of(self, values: LabelPairs, page: Page) -> dict[str, str]:
        """
        Return all labels of an alert, as the exported one has them, without `alertname`, `job` and `instance`.

        Args:
            values: The label set that the condition holds for.
            page: Whose names the signal's labels have.
        """
        fixed = {name: filled(text, dict(values)) for name, text in self.fixed_labels(page).items()}
        names = self.label_names(page)
        return {**fixed, **{names.get(label, label): text for label, text in values}}

    def label_names(self, page: Page) -> dict[str, str]:
        """
        Return the names that the signal's labels have on an alert, by the catalogue's.
        """
        return {} if isinstance(self.condition, Outside) else moved_aside(self.condition.signal.label_names(page))

    def promql(self, page: Page) -> str:
        """
        Render when an alert is there: the condition, and what is kept, in the hours in which it is judged. Labels of
        metrics that those of an alert would hide have another name.
        """
        if isinstance(self.condition, Outside):
            return self.condition.promql(page)
        asked = self._renamed(self.condition.promql(page), page)
        if self.no_data == "keep":
            asked = f"{enclosed(asked)} or {enclosed(self._kept(self.condition, page))}"
        on = hours_promql(self.hours) if self.hours else None
        return f"{enclosed(asked)} and on () {enclosed(on)}" if on else asked

    def _kept(self, condition: Condition, page: Page) -> str:
        """
        Render the alerts that were there before, without a value, whose figure is not known now.
        """
        on = ", ".join(["job", *(["instance"] if self.keeps_instance else []), *self.label_names(page).values()])
        who = {"alertname": self.name, "severity": self.severity, "job": page.service}
        matchers = ", ".join(f"{label}={quoted(text)}" for label, text in who.items())
        known = self._renamed(condition.compared[0].promql(page), page)
        return f"max by ({on}) (ALERTS{{{matchers}}}) * NaN unless on ({on}) {enclosed(known)}"

    def _renamed(self, asked: str, page: Page) -> str:
        on_page = {} if isinstance(self.condition, Outside) else self.condition.signal.label_names(page)
        for label, name in self.label_names(page).items():
            if name != on_page[label]:
                asked = f'label_replace({asked}, "{name}", "$1", "{on_page[label]}", "(.*)")'
        return asked


def filled(text: str, values: Mapping[str, str]) -> str:
    """
    Return a text with values for what is in braces.
    """
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text
