"""
Which of the rules that are shipped are in force.
"""

from __future__ import annotations

from typing import Any

from obskit.fields import Section, checked, items, matching, one_of, section, setting

_ALERTS = "'default', 'all', or names of rules, such as ['default', 'HighCPUUsage']"


def _names(value: Any) -> Any:
    return (value,) if value in ("default", "all") else value


@section
class RuleSettings(Section, subject="Alerts"):
    """
    Which of the rules that are shipped are in force.
    """

    alerts: tuple[str, ...] = setting(
        ("default",),
        checked(_ALERTS, _names, items(matching(r"default|all|[A-Z][A-Za-z0-9]*", _ALERTS), _ALERTS)),
        "Which of the rules that are shipped are in force: `default`, `all`, or names, `default` among them or not; an "
        "empty list is none. Those of `obskit.alerts.rule()` always are.",
    )
    alert_labels: str = setting(
        "obskit",
        one_of("obskit", "guides"),
        "What alerts are told apart by: `severity`, `area`, `app`, `component`; with `guides` also `service`, such "
        "as `shop-ai`, which monitoring guides route by; a label `service` of a metric is `exported_service` then.",
    )
