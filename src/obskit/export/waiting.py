"""
What has no figures yet in the first minute of an application that serves ordinary requests, and why.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from obskit.catalogue import CATALOGUE, Metric, ai, budgets, db, function, health, http, internal, pools
from obskit.export.scenes import Leaf, bare, leaves
from obskit.export.written_rule import WrittenRule
from obskit.rules.burn_rates import window_text
from obskit.rules.rule import Outside, Rule
from obskit.signals.derived import Ratio
from obskit.signals.signal import Against, Signal

# By metric, what must have happened before the page has figures of it. Those of requests and of the machine are there.
_EVENTS: dict[str, str] = {
    **{row.name: "an AI call must have been made" for row in ai.METRICS},
    **{row.name: "an AI budget must have been spent of" for row in budgets.METRICS},
    **{row.name: "a query must have been made" for row in db.METRICS},
    **{row.name: "a pool must have given a connection" for row in pools.METRICS},
    **{row.name: "a function that is observed must have been called" for row in function.METRICS},
    **{row.name: "a health check must have run" for row in health.METRICS},
    health.CERTIFICATE_EXPIRY.name: "a health check of a certificate must have run",
    http.EXCEPTIONS.name: "an exception must have left the application",
    http.ABORTED.name: "a reply must have been aborted",
    http.FIRST_BYTE.name: "a reply must have been streamed",
    internal.DROPPED.name: "a line or span must have been dropped",
    internal.ERRORS.name: "an error inside obskit must have been caught",
    internal.OVERFLOW.name: "a metric must have reached max_label_sets",
    internal.SET_ASIDE.name: "a worker's file must have been set aside",
}
_OWN = {row.name for row in CATALOGUE}


def reason_to_wait(rule: Rule) -> str:
    """
    Return what must have happened before a rule has figures; nothing where a minute is enough.
    """
    if isinstance(rule.condition, Outside):
        return "the target must be down" if "{up}" in rule.condition.text else ""
    signal = rule.condition.signal
    guarded = [span.window for span in signal.spans() if span.is_guarded]
    told = [f"nine tenths of {window_text(max(guarded))} must have passed"] if guarded else []
    told += (_event(leaf.selection.metric) for leaf in _needed(bare(signal)))
    return ", and ".join(dict.fromkeys(it for it in told if it))


def _event(metric: Metric) -> str:
    if metric.name in _OWN:
        return _EVENTS.get(metric.name, "")
    return f"{metric.name} must have been {'set' if metric.kind == 'gauge' else 'counted'}"


def _needed(signal: Signal) -> Iterator[Leaf]:
    """
    Yield what there is no value without: a part that is missing is 0.
    """
    match signal:
        case Against():
            yield from _needed(bare(signal.now))
        case Ratio() if not signal.needs_part:
            yield from _needed(bare(signal.whole))
        case _:
            yield from leaves(signal)


def waiting_text(rules: Iterable[WrittenRule]) -> str:
    """
    Return the list as JSON: of each its name, kind, metrics and reason.
    """
    found = [
        {"name": rule.name, "kind": "rule", "metrics": list(rule.metrics), "reason": rule.waits_for}
        for rule in sorted(rules, key=lambda rule: (rule.name, rule.severity))
        if rule.waits_for
    ]
    once = [it for place, it in enumerate(found) if it not in found[:place]]
    return json.dumps(once, indent=2, ensure_ascii=False) + "\n"
