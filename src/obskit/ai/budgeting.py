"""
The former name of `budget_book`, for programs that flush or clear budgets by it.
"""

from __future__ import annotations

from obskit.ai.budget_book import BudgetBook as Keeper
from obskit.ai.budget_book import budget_book as keeper

__all__ = ["Keeper", "keeper"]
