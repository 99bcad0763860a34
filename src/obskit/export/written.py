"""
The rules in force, rendered.
"""

from __future__ import annotations

from dataclasses import replace

from obskit.export.annotations import description_of, label_template, summary_of
from obskit.export.cases import cases_of
from obskit.export.objective_files import burn_cases
from obskit.export.rule_tests import INSTANCE
from obskit.export.scenes import bare, leaves
from obskit.export.waiting import reason_to_wait
from obskit.export.written_rule import WrittenRule
from obskit.rules import objectives
from obskit.rules.burn_rates import Pace, window_text
from obskit.rules.in_force import rules_in_force
from obskit.rules.indicators import Indicator
from obskit.rules.rule import Outside, Rule
from obskit.signals.page import Page
from obskit.signals.samples import LabelPairs


def written_rules(page: Page) -> tuple[list[WrittenRule], dict[str, str]]:
    """
    Return the rules, and the reason for each that is left out, by name.
    """
    found, left_out = rules_in_force(page)
    reasons, rules = dict(left_out), []
    burning = {rule: (indicator, pace) for it in objectives.declared.values() for indicator, pace, rule in it.rules()}
    for rule in found:
        if rule in burning:
            rules.append(_of_objective(rule, *burning[rule], page))
        elif rule.judged == "inside":
            zone = rule.hours.zone if rule.hours else ""
            reasons[rule.name] = f"judged by the application alone: Prometheus cannot follow the clock of {zone}"
        else:
            rules.append(_written(rule, page))
    return rules, reasons


def _written(rule: Rule, page: Page) -> WrittenRule:
    return replace(_rendered(rule, page), waits_for=reason_to_wait(rule), cases=tuple(cases_of(rule, page)))


def _rendered(rule: Rule, page: Page) -> WrittenRule:
    """
    Render all of a rule but what it is tried with, and what it waits for.
    """
    condition, labels = rule.condition, rule.fixed_labels(page)
    found = [] if isinstance(condition, Outside) else list(leaves(condition.signal))
    names = [page.name_of(it.selection.metric) for it in found if page.has(it.selection.metric)]
    if isinstance(condition, Outside):
        names, shown = ["up"] if "{up}" in condition.text else [], condition.promql(page)
    else:
        shown = bare(condition.signal).promql(page)
    target = {} if isinstance(condition, Outside) and not names else {"job": page.service}
    if names == ["up"] or any(it.grouping.keeps_instance for it in found):
        target["instance"] = INSTANCE

    def labels_of(key: LabelPairs) -> dict[str, str]:
        return {"alertname": rule.name, **target, **rule.labels_of(key, page)}

    return WrittenRule(
        name=rule.name,
        severity=rule.severity,
        area=rule.area,
        expression=rule.promql(page),
        for_seconds=rule.for_seconds,
        keep_firing_seconds=rule.keep_firing_seconds,
        every_seconds=rule.every_seconds,
        labels={name: label_template(text, rule, page) for name, text in labels.items()},
        labels_of=labels_of,
        summary=summary_of(rule, page),
        description=description_of(rule, page),
        runbook=rule.runbook,
        shown=shown,
        metrics=tuple(dict.fromkeys(names)),
        waits_for="",
    )


def _of_objective(rule: Rule, indicator: Indicator, pace: Pace, page: Page) -> WrittenRule:
    """
    Render a rule on what is recorded of an objective.
    """
    return replace(
        _rendered(rule, page),
        area="objectives",
        metrics=tuple(page.name_of(it) for it in indicator.metrics),
        waits_for=f"nine tenths of {window_text(pace.long_seconds)} must be recorded",
        cases=burn_cases(indicator, pace),
    )
