"""
What is said of an alert, as Prometheus' templates say it.
"""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter

from obskit.export.scenes import bare
from obskit.rules.burn_rates import window_text
from obskit.rules.rule import Outside, Rule
from obskit.signals.counted import Quantile
from obskit.signals.page import Page
from obskit.signals.signal import Condition, number_text
from obskit.signals.units import COUNT, PER_SECOND, SECONDS, SHARE, TIMES
from obskit.time.durations import duration_text

# By unit, how Prometheus writes the value. Source: "Template reference" of Prometheus' documentation.
_VALUES = {
    COUNT: "{{ $value | humanize }}",
    SECONDS: "{{ $value | humanizeDuration }}",
    SHARE: "{{ $value | humanizePercentage }}",
    TIMES: "{{ $value | humanize }} times",
    "bytes": "{{ $value | humanize1024 }}B",
    "percent": "{{ $value | humanize }}%",
    "usd": '${{ $value | printf "%.2f" }}',
}


def description_of(rule: Rule, page: Page) -> str:
    """
    Return the description as a template.
    """
    return _filled(rule.description, {**_labels(rule, page), **_words(rule, page)})


def summary_of(rule: Rule, page: Page) -> str:
    """
    Return the summary as a template.
    """
    return _filled(rule.summary, {**_labels(rule, page), **_words(rule, page)})


def label_template(text: str, rule: Rule, page: Page) -> str:
    """
    Return a label's text as a template.
    """
    escaped = _literal(text)
    for label, template in _labels(rule, page).items():
        escaped = escaped.replace(f"{{{label}}}", template)
    return escaped


def _labels(rule: Rule, page: Page) -> dict[str, str]:
    return {label: f"{{{{ $labels.{name} }}}}" for label, name in rule.label_names(page).items()}


def _words(rule: Rule, page: Page) -> dict[str, str]:
    component = "{{ $labels.component }}" if "component" in rule.by else label_template(rule.component, rule, page)
    if isinstance(rule.condition, Outside):
        return {"component": component}
    spans = [window_text(span.window) for span in rule.condition.signal.spans()]
    value, threshold = _compared(rule.condition)
    return {"component": component, "value": value, "threshold": threshold, "window": spans[0] if spans else "now"}


def _compared(condition: Condition) -> tuple[str, str]:
    """
    Return value and threshold, of a quantile as the share of what is within the bound.
    """
    of, threshold = bare(condition.signal), threshold_text(condition.signal.unit, condition.threshold)
    if isinstance(of, Quantile):
        return f"{_VALUES[SHARE]} within {threshold}", threshold_text(SHARE, of.share)
    unit = of.unit.removesuffix(PER_SECOND)
    value = _VALUES.get(unit, "{{ $value | humanize }} " + unit)
    return (f"{value} per second" if of.unit.endswith(PER_SECOND) else value), threshold


def threshold_text(unit: str, threshold: float) -> str:
    """
    Return a threshold for people.
    """
    base, each = unit.removesuffix(PER_SECOND), " per second" if unit.endswith(PER_SECOND) else ""
    match base:
        case "share":
            return f"{number_text(round(threshold * 100, 9))}%{each}"
        case "seconds" if threshold > 0:
            return duration_text(threshold) + each
        case "percent":
            return f"{number_text(threshold)}%"
        case "usd":
            return f"${threshold:.2f}{each}"
        case "times" | "count":
            return f"{threshold:.4g}{' times' if base == 'times' else ''}{each}"
    return f"{threshold:.6g} {base}{each}"


def _filled(text: str, words: Mapping[str, str]) -> str:
    """
    Put templates in the place of fields; what is written in the text itself is none.
    """
    parts = []
    for literal, name, _, _ in Formatter().parse(text):
        parts += [_literal(literal), "" if name is None else words.get(name, _literal(f"{{{name}}}"))]
    return "".join(parts)


def _literal(text: str) -> str:
    return text.replace("{{", '{{ "{{" }}')
