"""
What keeps the budgets' state, whatever it is kept in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from obskit.ai.reservations import BudgetFigures, PendingReply, ReservationRefusal, ReservationRequest, ReservedAmount


class StateEngine(Protocol):
    """
    The state of budgets: what was spent and what is reserved, for all processes that share it. `Ledger` is the one in
    a SQLite file. Thread-safe, and usable in a forked child.

    All but `settle()`, `release()` and `expect_reply()` raise `UnavailableError` where the state cannot be reached.
    """

    def reserve(
        self, requests: Sequence[ReservationRequest], now: float
    ) -> tuple[ReservedAmount, ...] | ReservationRefusal:
        """
        Reserve of all budgets or of none, in one step for all processes. A period never goes back.
        """

    def settle(
        self,
        amounts: tuple[ReservedAmount, ...],
        usd: Sequence[float],
        estimated: bool = False,
        name: str | None = None,
    ) -> None:
        """
        Settle what was reserved by what it cost. It is queued: nothing waits, and nothing raises. What has the name of
        a reply is spent once, however many processes tell it.
        """

    def release(self, amounts: tuple[ReservedAmount, ...]) -> None:
        """
        Free what was reserved, in the way of `settle()`.
        """

    def expect_reply(self, name: str, labels: tuple[str, ...], amounts: tuple[ReservedAmount, ...]) -> None:
        """
        Record that a reply is fetched later, by any process, in the way of `settle()`.
        """

    def pending_reply(self, name: str, *, may_wait: bool) -> PendingReply | None:
        """
        Return what is known of such a reply; None where nothing is.
        """

    def write(self) -> None:
        """
        Carry out what is queued.
        """

    def figures(self, key: str, start: float, now: float) -> BudgetFigures:
        """
        Return how a budget stands in its period.
        """

    def current_refusal(self, request: ReservationRequest) -> ReservationRefusal | None:
        """
        Return a refusal where nothing is left, without waiting for anybody.
        """

    def before_fork(self) -> None:
        """
        Prepare for a fork of this process: called by obskit, as the next two are.
        """

    def after_fork(self) -> None:
        """
        Go on in the parent.
        """

    def start_over(self) -> None:
        """
        Begin anew in the child: what is queued is the parent's to carry out.
        """

    def close(self) -> None:
        """
        Carry out what is queued, if possible, and let go of what is held; the next use takes it up again.
        """
