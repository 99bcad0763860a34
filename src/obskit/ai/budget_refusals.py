"""
What is said where a budget refuses a call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from obskit.ai.ai_operation import AiOperation
from obskit.ai.declared_budget import Budget, bounds_of, period_of
from obskit.errors import BudgetExceededError

if TYPE_CHECKING:
    from obskit.ai.reservations import ReservationRefusal


def refusal(budget: Budget, refused: ReservationRefusal, op: AiOperation, usd: float) -> BudgetExceededError:
    """
    Return the error of a call for which too little is left.

    Args:
        usd: What the call asked for; 0.0 where that is not known.
    """
    resets_at = period_of(budget, refused.start)[1]
    if refused.is_lost:
        figures = "its count was lost with a broken file"
    else:
        figures = f"${refused.spent:.4f} spent and ${refused.reserved:.4f} reserved"
    spent, reserved = (None, None) if refused.is_lost else (refused.spent, refused.reserved)
    return BudgetExceededError(
        f"the budget {budget.name!r} allows ${budget.usd:g} per {budget.per}: {figures}; the call was not sent. "
        f"It resets at {resets_at.isoformat()}. {_requested_text(op, usd)}",
        budget=budget.name,
        limit_usd=budget.usd,
        spent_usd=spent,
        reserved_usd=reserved,
        resets_at=resets_at,
        reason="state" if refused.is_lost else "limit",
        asked_usd=usd or None,
    )


def uncountable(budget: Budget, error: Exception, now: float) -> BudgetExceededError:
    """
    Return the error of a call whose budget's figures cannot be read.
    """
    message = (
        f"the budget {budget.name!r} blocks, and what was spent is not known: {error}. The call was not "
        "sent; put that right, or set state_dir to a directory that can be written to"
    )
    return _without_figures(budget, now, message, "state")


def without_price(budget: Budget, op: AiOperation, now: float) -> BudgetExceededError:
    """
    Return the error of a call whose model has no price.
    """
    message = (
        f"the budget {budget.name!r} blocks calls of unknown price, and there is none for the model "
        f"{_requested_model(op)}: the call was not sent. Add the model to the setting prices, or "
        'declare the budget with unknown_price="allow" or a Price'
    )
    return _without_figures(budget, now, message, "unknown_price")


def _without_figures(
    budget: Budget, now: float, message: str, reason: Literal["state", "unknown_price"]
) -> BudgetExceededError:
    resets_at = period_of(budget, bounds_of(budget, now)[0])[1]
    return BudgetExceededError(message, budget=budget.name, limit_usd=budget.usd, resets_at=resets_at, reason=reason)


def _requested_model(op: AiOperation) -> str:
    """
    Return the requested model and provider, as error messages name them.
    """
    provider, model = (op.provider, op.model) if op.billed_as is None else op.billed_as
    return f"{model!r} of {provider!r}"


def _requested_text(op: AiOperation, usd: float) -> str:
    if not usd:
        return f"It asked for {_requested_model(op)}"
    return f"It asked for {_requested_model(op)}, which may cost ${usd:.4f}"
