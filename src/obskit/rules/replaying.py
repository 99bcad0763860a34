"""
Judge rules on samples of the past, as if they had been in force.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import ceil, floor

from obskit.errors import RuleError
from obskit.rules.rule import Outside, Rule
from obskit.rules.states import AlertStates, State
from obskit.signals.page import Page, page_in_force
from obskit.signals.samples import LabelPairs, MemorySamples
from obskit.time.durations import seconds_of


@dataclass(frozen=True)
class Verdict:
    """
    What a rule said at a moment of a label set.

    Attributes:
        at: The moment, in seconds as the samples have them.
        rule: The rule's name.
        labels: All labels of the alert, as Prometheus has them, without `alertname`, `job` and `instance`.
        state: `pending` or `firing`.
        value: The signal's, in its unit.
    """

    at: float
    rule: str
    labels: Mapping[str, str]
    state: State
    value: float


def replay(
    rules: Rule | Iterable[Rule],
    samples: Mapping[tuple[str, LabelPairs], Iterable[tuple[float, float]]],
    every: str | timedelta = "15s",
) -> list[Verdict]:
    """
    Judge rules at the whole multiples of `every` from the first sample to the last.

    Args:
        rules: What `obskit.alerts.rule()` or `rules()` returned. Rules that are judged outside only are refused.
        samples: By name and sorted pairs of labels, pairs of seconds and value; names are the catalogue's, without the
            namespace, and histograms are their `_bucket`, `_sum` and `_count`. A moment at which no series has a sample
            is a failed sampling; a series without one where others have one has left the page.
        every: How often samples are taken and rules are judged.

    Returns:
        A verdict for each alert that is pending or firing, by moment, then by rule, severity and labels.
    """
    asked = [rules] if isinstance(rules, Rule) else list(rules)
    kept = MemorySamples({key: list(pairs) for key, pairs in samples.items()}, every)
    if not kept.times:
        return []
    seconds, page = seconds_of(every, "every"), page_in_force()
    followed = [(rule, _states(rule)) for rule in sorted(asked, key=lambda rule: rule.key)]
    first, last = ceil(kept.times[0] / seconds), floor(kept.times[-1] / seconds)
    return [
        verdict
        for place in range(first, last + 1)
        for rule, states in followed
        for verdict in _judged(rule, states, kept, place * seconds, page)
    ]


def _states(rule: Rule) -> AlertStates:
    if isinstance(rule.condition, Outside):
        raise RuleError(f"rule {rule.name!r} is judged outside only: no samples of the service tell")
    held, kept_on, keeps = rule.for_seconds, rule.keep_firing_seconds, rule.no_data == "keep"
    return AlertStates(rule.condition, held, kept_on, rule.hours, keeps, rule.every_seconds)


def _judged(rule: Rule, states: AlertStates, samples: MemorySamples, at: float, page: Page) -> Iterator[Verdict]:
    for values, alert in sorted(states.evaluate(samples, at).items()):
        yield Verdict(at, rule.name, rule.labels_of(values, page), alert.state, alert.value)
