"""
The metrics of AI budgets.
"""

from obskit.catalogue.spec import Metric

_LABELS = ("budget",)

LIMIT = Metric(
    "ai_budget_limit_usd", "gauge", "US dollars that a budget allows per period.", labels=_LABELS, is_shared=True
)
SPENT = Metric(
    "ai_budget_spent_usd",
    "gauge",
    "US dollars spent in the current period by all processes of this machine, estimates included.",
    labels=_LABELS,
    is_shared=True,
)
PROJECTED = Metric(
    "ai_budget_projected_usd",
    "gauge",
    "Projected US dollars at the end of the period, at the rate of the last days.",
    labels=_LABELS,
    note="From a day of data on.",
    is_shared=True,
)
BLOCKED = Metric(
    "ai_budget_blocked_total", "counter", "AI calls that a budget refused before they were sent.", labels=_LABELS
)

METRICS = (LIMIT, SPENT, PROJECTED, BLOCKED)
