"""
A budget as it is declared, its periods, and how it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

from obskit.ai import budget_periods, pricing
from obskit.ai.pricing import Price
from obskit.errors import BudgetError

if TYPE_CHECKING:
    from obskit.ai.reservations import ReservationRequest


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """
    The state of a budget, over all processes of this machine.

    Attributes:
        name: Of the budget.
        limit_usd: Of a period.
        spent_usd: In this period, estimates included; None where `problem` says why.
        estimated_usd: The part of it that is an estimate.
        reserved_usd: By calls that are under way.
        projected_usd: At the end of the period, if the next hours are like the last days; None while there is less
            than a day of data: too early.
        starts_at: When the period began, in the budget's time zone.
        resets_at: When the next one begins.
        problem: Why nothing is known; None where all is well.
    """

    name: str
    limit_usd: float
    spent_usd: float | None
    estimated_usd: float | None
    reserved_usd: float | None
    projected_usd: float | None
    starts_at: datetime
    resets_at: datetime
    problem: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """
        Return the fields ready for JSON, times in ISO 8601.
        """
        moments = {"starts_at": self.starts_at.isoformat(), "resets_at": self.resets_at.isoformat()}
        return {**asdict(self), **moments}


@dataclass(frozen=True, slots=True)
class Budget:
    """
    A budget, as declared by `budget()`.

    Attributes:
        name: The label `budget`.
        usd: Dollars a period.
        per: `hour`, `day`, `week` or `month`.
        timezone: Whose midnights begin its periods.
        services: The services that it counts; None is every call.
        action: `warn` or `block`.
        unknown_price: `allow`, `block`, or the price of models that have none.
    """

    name: str
    usd: float
    per: budget_periods.Per
    timezone: str
    services: frozenset[str] | None
    action: Literal["warn", "block"]
    unknown_price: Literal["allow", "block"] | Price

    @property
    def blocks(self) -> bool:
        """
        Whether it refuses calls.
        """
        return self.action == "block"

    def status(self) -> BudgetStatus:
        """
        Read how it stands now. This reads a file: in asynchronous code, run it in a thread.
        """
        return _read_status(self)


_read_status: Callable[[Budget], BudgetStatus]


def read_status_by(read: Callable[[Budget], BudgetStatus]) -> None:
    """
    Have `Budget.status()` read by what counts.
    """
    global _read_status
    _read_status = read


def key_of(budget: Budget) -> str:
    """
    Return the name of a budget's row in the file.
    """
    return f"{budget.name}/{budget.per}/{budget.timezone}"


def _zone(budget: Budget) -> tzinfo:
    return ZoneInfo(budget.timezone)


def bounds_of(budget: Budget, moment: float) -> tuple[float, float]:
    """
    Return the period around a moment, in seconds since the epoch.
    """
    return budget_periods.around(moment, budget.per, _zone(budget))


def period_of(budget: Budget, start: float) -> tuple[datetime, datetime]:
    """
    Return the period that begins then, in the budget's time zone.
    """
    zone, (_, end) = _zone(budget), bounds_of(budget, start)
    return datetime.fromtimestamp(start, zone), datetime.fromtimestamp(end, zone)


def request_for(budget: Budget, usd: float, now: float) -> ReservationRequest:
    """
    Return what asks for dollars of a budget.
    """
    from obskit.ai.reservations import ReservationRequest

    return ReservationRequest(key_of(budget), bounds_of(budget, now)[0], usd, budget.usd, budget.blocks)


def event_fields(budget: Budget, start: float) -> dict[str, Any]:
    """
    Return what every event of a budget says.
    """
    resets_at = period_of(budget, start)[1].isoformat()
    return {"budget": budget.name, "limit_usd": budget.usd, "per": budget.per, "resets_at": resets_at}


def refuse_without_price(budget: Budget) -> None:
    """
    Raise for a budget that blocks, where nothing has a price to count by.

    Raises:
        BudgetError: There is none.
    """
    if budget.blocks and not isinstance(budget.unknown_price, Price) and not pricing.has_source():
        raise BudgetError(
            f"the budget {budget.name!r} blocks, and there is no price to count by: pip install 'obskit[ai]', fill the "
            "setting prices, or declare it with unknown_price=obskit.ai.Price(...)"
        )


def description_of(budget: Budget) -> str:
    """
    Return how a budget was declared, as error messages say it.
    """
    return f"usd={budget.usd:g}, per={budget.per!r}, timezone={budget.timezone!r}, action={budget.action!r}"
