"""
Types of requests to budgets, of reservations and of their figures.
"""

from __future__ import annotations

from typing import NamedTuple


class UnavailableError(Exception):
    """
    A ledger that cannot be used; the message says why.
    """


class ReservationRequest(NamedTuple):
    """
    A request to reserve dollars of one budget.

    Attributes:
        key: The budget, by all that tells its periods from those of another declaration.
        start: Of the period, by the clock.
        usd: 0 asks whether anything is left at all.
        limit: Of the period.
        blocks: False takes whatever is left.
    """

    key: str
    start: float
    usd: float
    limit: float
    blocks: bool


class ReservedAmount(NamedTuple):
    """
    What was reserved of one budget, to be settled or released.
    """

    id: int | None
    key: str
    start: float
    usd: float
    limit: float


class Settlement(NamedTuple):
    """
    A write to the file that is still pending.

    Attributes:
        usd: What the call cost each budget.
        estimated: That is an estimate.
        name: The provider's, of a reply that may be asked for again: what it cost is spent once among all processes.
        labels: Of a call whose reply comes later, to be told by its name; until then nothing is spent.
    """

    amounts: tuple[ReservedAmount, ...]
    usd: tuple[float, ...]
    estimated: bool = False
    name: str | None = None
    labels: tuple[str, ...] | None = None


class PendingReply(NamedTuple):
    """
    A call whose reply is fetched later, by any process.

    Attributes:
        labels: As the call had them; none where its own process told what it used.
        amounts: What it has reserved.
        is_reported: True once a process has told what it used.
    """

    labels: tuple[str, ...]
    amounts: tuple[ReservedAmount, ...]
    is_reported: bool


class ReservationRefusal(NamedTuple):
    """
    Which request was refused, and the figures that refused it.

    Attributes:
        place: Of the ask, counted from 0.
        is_first: True for the first refusal of its period.
        is_lost: True where the count of the period was lost with a broken file.
    """

    place: int
    start: float
    spent: float
    reserved: float
    is_first: bool
    is_lost: bool


class BudgetFigures(NamedTuple):
    """
    The figures of one budget in its period.

    Attributes:
        start: Of the period that counts.
        rate: Dollars a second, lately; None where there is less than a day of data.
    """

    start: float
    spent: float
    estimated: float
    reserved: float
    rate: float | None


class ThresholdCrossing(NamedTuple):
    """
    The first time in a period that a budget reaches a share of its limit.
    """

    key: str
    start: float
    percent: int
    spent: float
