"""
Say what is asked of budgets, what they give, and how they stand.
"""

from __future__ import annotations

from typing import NamedTuple


class UnavailableError(Exception):
    """
    Report a ledger that cannot be asked; the message says why.
    """


class Ask(NamedTuple):
    """
    Ask one budget for dollars.

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


class Held(NamedTuple):
    """
    Be what was given: to be settled or released.
    """

    id: int | None
    key: str
    start: float
    usd: float
    limit: float


class Refused(NamedTuple):
    """
    Say which ask was refused, and by what figures.

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


class Figures(NamedTuple):
    """
    Say how a budget stands.

    Attributes:
        start: Of the period that counts.
        rate: Dollars a second, lately; None where there is less than a day of data.
    """

    start: float
    spent: float
    estimated: float
    reserved: float
    rate: float | None


class Crossing(NamedTuple):
    """
    Say that a budget has come to a share of its limit, for the first time in a period.
    """

    key: str
    start: float
    percent: int
    spent: float
