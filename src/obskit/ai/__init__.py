"""
Duration, usage and cost of AI calls, for any client.
"""

from obskit.lazy_names import lazy_names

__getattr__, __all__ = lazy_names(
    globals(),
    {
        "advice": ("Recommendation",),
        "declared_budget": ("Budget", "BudgetStatus"),
        "budget_declaration": ("budget", "budgets"),
        "observe": ("record",),
        "pricing": ("Price", "PriceData"),
        "rate_limit_headers": ("RateLimit", "rate_limits"),
        "report_figures": ("CallGroup", "FailedCall", "Projection", "Spread"),
        "reporting": ("AiReport", "report"),
        "token_kinds": ("Usage",),
    },
)
