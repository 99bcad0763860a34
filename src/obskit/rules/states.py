"""
The states of one condition's alerts, from evaluation to evaluation.

Source: `AlertingRule.Eval` in rules/alerting.go of Prometheus 2.42 and 3.5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from obskit.signals.samples import LabelPairs, Samples
from obskit.signals.selection import Values
from obskit.signals.signal import Condition
from obskit.time.service_hours import ServiceHours

State: TypeAlias = Literal["pending", "firing"]


@dataclass
class Alert:
    """
    One label set for which a condition holds, or held until a short time ago.

    Attributes:
        state: `pending` until the condition has held for long enough.
        since: When the condition began to hold, in seconds.
        value: The signal's latest value.
        absent_since: Since when it does not hold any more; None while it does.
    """

    state: State
    since: float
    value: float
    absent_since: float | None = None


class AlertStates:
    """
    Follow a condition. Evaluations come in the order of time.

    Args:
        condition: What is judged.
        for_seconds: How long it must hold before an alert fires; from 0, with which it fires at once.
        keep_firing_seconds: How long an alert goes on once it does not hold any more.
        hours: When it can hold at all; None means always.
        keeps: Whether an alert stays as it is while nothing is known of its label set.
        every_seconds: How often it is judged, at whole multiples; alerts are as they were in between. 0: each time.
    """

    def __init__(
        self,
        condition: Condition,
        for_seconds: float = 0.0,
        keep_firing_seconds: float = 0.0,
        hours: ServiceHours | None = None,
        keeps: bool = False,
        every_seconds: float = 0.0,
    ) -> None:
        self._condition = condition
        self._hours = hours
        self._keeps = keeps
        self._for_seconds = for_seconds
        self._keep_firing_seconds = keep_firing_seconds
        self._every_seconds = every_seconds
        self._judged_in: int | None = None
        self._alerts: dict[LabelPairs, Alert] = {}

    def evaluate(self, samples: Samples, at: float) -> dict[LabelPairs, Alert]:
        """
        Judge the samples at a moment, and return the alerts that there are then, by label set.
        """
        if self._is_due(at):
            self._judge(samples, at)
        return {labels: replace(alert) for labels, alert in self._alerts.items()}

    def _is_due(self, at: float) -> bool:
        if not self._every_seconds:
            return True
        before, self._judged_in = self._judged_in, int(at // self._every_seconds)
        return before != self._judged_in

    def _judge(self, samples: Samples, at: float) -> None:
        is_on = self._hours is None or self._hours.is_open(at)
        holding = self._condition.evaluate(samples, at) if is_on else {}
        if is_on and self._keeps and self._alerts.keys() - holding.keys():
            known = self._condition.compared[0].evaluate(samples, at)
            holding |= {labels: alert.value for labels, alert in self._alerts.items() if labels not in known}
        self._end(holding, at)
        for labels, value in holding.items():
            alert = self._alerts.setdefault(labels, Alert("pending", at, value))
            alert.value, alert.absent_since = value, None
            if at - alert.since >= self._for_seconds:
                alert.state = "firing"

    def _end(self, holding: Values, at: float) -> None:
        for labels, alert in list(self._alerts.items()):
            if labels in holding:
                continue
            if alert.absent_since is None:
                alert.absent_since = at
            if alert.state == "pending" or at - alert.absent_since >= self._keep_firing_seconds:
                del self._alerts[labels]
