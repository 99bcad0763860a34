"""
Duration, usage and cost of AI calls, for any client.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from obskit.ai.advice import Recommendation
    from obskit.ai.budget_book import Budget, BudgetStatus
    from obskit.ai.budget_declaration import budget, budgets
    from obskit.ai.observe import record
    from obskit.ai.pricing import Price, PriceData
    from obskit.ai.rate_limit_headers import RateLimit, rate_limits
    from obskit.ai.report_figures import CallGroup, FailedCall, Projection, Spread
    from obskit.ai.reporting import AiReport, report
    from obskit.ai.token_kinds import Usage

_HOME = {
    "AiReport": "reporting",
    "Budget": "budget_book",
    "BudgetStatus": "budget_book",
    "CallGroup": "report_figures",
    "FailedCall": "report_figures",
    "Price": "pricing",
    "PriceData": "pricing",
    "Projection": "report_figures",
    "RateLimit": "rate_limit_headers",
    "Recommendation": "advice",
    "Spread": "report_figures",
    "Usage": "token_kinds",
    "budget": "budget_declaration",
    "budgets": "budget_declaration",
    "rate_limits": "rate_limit_headers",
    "record": "observe",
    "report": "reporting",
}

__all__ = [
    "AiReport",
    "Budget",
    "BudgetStatus",
    "CallGroup",
    "FailedCall",
    "Price",
    "PriceData",
    "Projection",
    "RateLimit",
    "Recommendation",
    "Spread",
    "Usage",
    "budget",
    "budgets",
    "rate_limits",
    "record",
    "report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'obskit.ai' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"obskit.ai.{_HOME[name]}"), name)
    globals()[name] = value
    return value
