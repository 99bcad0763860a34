"""
Store what budgets have spent and reserved, in a SQLite file that all processes of a machine share.

Whatever takes from a budget does so in one transaction that holds the file's write lock: two processes never take the
same dollar. What was reserved by a process that died, or more than an hour ago, is given back.
"""

from __future__ import annotations

import functools
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from obskit.ai.budget_file import SCHEMA
from obskit.ai.budget_rows import INVALID_ROW_ERRORS, BudgetRows
from obskit.ai.reservations import (
    BudgetFigures,
    PendingReply,
    ReservationRefusal,
    ReservationRequest,
    ReservedAmount,
    Settlement,
    ThresholdCrossing,
    UnavailableError,
)
from obskit.process_identity import identity
from obskit.recorder import recorder
from obskit.storage.own_sqlite import InUseError, OwnDatabase

T = TypeVar("T")

MAX_PENDING = 10_000


class Ledger:
    """
    The shared file of budgets. Thread-safe; a forked child opens it again.

    Args:
        path: Of the file; its directory is made when it is first needed, for this user alone.
        on_problem: Called with a problem of the file, as (kind, message): `ephemeral`, `network`, `unavailable` or
            `lost`.
        on_crossing: Called with each crossing, once among all processes.
    """

    def __init__(
        self, path: Path, on_problem: Callable[[str, str], None], on_crossing: Callable[[ThresholdCrossing], None]
    ) -> None:
        self.path = path
        self._on_problem, self._on_crossing = on_problem, on_crossing
        self._database = OwnDatabase(path, SCHEMA, self._on_database_problem, _remember_loss)
        self._pending: deque[Settlement] = deque()
        self._rows = BudgetRows()
        self._pid, self._identity = 0, ""
        self._is_unavailable = False  # which was reported

    # Requests

    def reserve(
        self, requests: Sequence[ReservationRequest], now: float
    ) -> tuple[ReservedAmount, ...] | ReservationRefusal:
        """
        Reserve of all budgets or of none. A period never goes back, whatever the clock does.

        A finaliser or a signal's handler that asks in the middle of a transaction of its thread is answered by what was
        last known, and reserves nothing.

        Raises:
            UnavailableError: The file cannot be used.
        """
        if self._database.is_reentrant:
            for place, request in enumerate(requests):
                if request.blocks and (refused := self._rows.last_known_refusal(request)) is not None:
                    return refused._replace(place=place)
            return tuple(ReservedAmount(None, request.key, request.start, 0.0, request.limit) for request in requests)
        return self._in_transaction(lambda db: self._rows.reserve(db, requests, now, self._owner()))

    def settle(
        self,
        amounts: tuple[ReservedAmount, ...],
        usd: Sequence[float],
        estimated: bool = False,
        name: str | None = None,
    ) -> None:
        """
        Settle a call by its cost, for each budget that it reserved of. The next `write()` or `reserve()` writes it;
        this neither waits nor raises, so that a finaliser may call it.

        Args:
            name: The provider's, of a reply that another process may tell as well: it is spent once.
        """
        self._append(Settlement(amounts, tuple(usd), estimated, name))

    def expect_reply(self, name: str, labels: tuple[str, ...], amounts: tuple[ReservedAmount, ...]) -> None:
        """
        Record that a reply is fetched later, and its id, in the way of `settle()`.
        """
        self._append(Settlement(amounts, (), False, name, labels))

    def _append(self, settlement: Settlement) -> None:
        if len(self._pending) >= MAX_PENDING:
            recorder.dropped.inc(("ai", "budget_settle"))
            return
        self._pending.append(settlement)

    def release(self, amounts: tuple[ReservedAmount, ...]) -> None:
        """
        Release what was reserved, in the way of `settle()`.
        """
        self.settle(amounts, [0.0] * len(amounts))

    def write(self) -> None:
        """
        Write pending settlements.

        Raises:
            UnavailableError: The file cannot be used; what was settled waits for the next time.
        """
        if self._pending:
            self._in_transaction(lambda db: None)

    def figures(self, key: str, start: float, now: float) -> BudgetFigures:
        """
        Read how a budget stands, after whatever is to be given back was.

        Raises:
            UnavailableError: The file cannot be used.
        """
        return self._in_transaction(lambda db: self._rows.figures(db, key, start, now))

    def current_refusal(self, request: ReservationRequest) -> ReservationRefusal | None:
        """
        Return a refusal if nothing is left, else None, without waiting: if the file is busy, by the last known figures.

        Raises:
            UnavailableError: The file cannot be used.
        """
        return self._read_without_waiting(
            lambda db: self._rows.current_refusal(db, request), lambda: self._rows.last_known_refusal(request)
        )

    def pending_reply(self, name: str, *, may_wait: bool) -> PendingReply | None:
        """
        Return what is known of a pending reply; None if nothing is, or the file is busy and `may_wait` is False.

        Raises:
            UnavailableError: The file cannot be used.
        """
        if may_wait and not self._database.is_reentrant:
            return self._in_transaction(lambda db: self._rows.pending_reply(db, name))
        return self._read_without_waiting(lambda db: self._rows.pending_reply(db, name), lambda: None)

    def _read_without_waiting(self, read: Callable[[sqlite3.Connection], T], otherwise: Callable[[], T]) -> T:
        try:
            return self._database.read_without_waiting(read, otherwise)
        except (sqlite3.Error, OSError, *INVALID_ROW_ERRORS) as error:
            raise self._unavailable(error) from error

    def _owner(self) -> tuple[int, str]:
        """
        Name this process, such that it is told from any other that has had its id.
        """
        if self._pid != os.getpid():
            self._pid, self._identity = os.getpid(), identity(os.getpid())
        return self._pid, self._identity

    def close(self) -> None:
        """
        Write what is pending, if possible, and close the file; the next use opens it again.
        """
        with suppress(UnavailableError):
            self.write()
        self._database.close()

    # Transactions

    def _in_transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """
        Settle what is pending, then work, in one transaction.
        """
        settled = 0

        def settle_and_work(db: sqlite3.Connection) -> T:
            nonlocal settled
            settled, self._rows.crossings = len(self._pending), []
            for index in range(settled):
                self._rows.settle(db, self._pending[index])
            return work(db)

        try:
            with self._database.exclusively():
                found = self._database.transaction(settle_and_work)
                for _ in range(settled):
                    self._pending.popleft()
                for crossing in self._rows.crossings:
                    self._database.call_later(functools.partial(self._on_crossing, crossing))
                self._is_unavailable = False
        except InUseError as error:
            raise UnavailableError(str(error)) from error
        except (sqlite3.Error, OSError, *INVALID_ROW_ERRORS) as error:
            raise self._unavailable(error) from error
        return found

    # Problems

    def _unavailable(self, error: BaseException) -> UnavailableError:
        message = f"{self.path} cannot be used: {error}"
        if not self._is_unavailable:
            self._is_unavailable = True
            self._database.call_later(lambda: self._on_problem("unavailable", message))
        return UnavailableError(message)

    def _on_database_problem(self, kind: str, what: str) -> None:
        if kind == "damaged":
            message = (
                f"{self.path} was broken and is now {what}: what was spent in the current periods is not known any "
                "more. Budgets that block refuse calls until their period ends; to start them at 0 now, remove "
                f"{self.path}"
            )
            self._on_problem("lost", message)
            return
        why = "budgets start anew when that goes" if kind == "ephemeral" else "what is locked there is not for sure"
        where = f"{self.path.parent} is on {what}: {why}; set state_dir to a directory that stays on this machine"
        self._on_problem(kind, where)

    # Forks

    def before_fork(self) -> None:
        """
        Wait until no thread is in a transaction, at most a few seconds, and close the file.
        """
        self._database.before_fork()

    def after_fork(self) -> None:
        """
        Go on, in the parent.
        """
        self._database.after_fork()

    def start_over(self) -> None:
        """
        Begin anew in a forked child: what is pending is the parent's to write.
        """
        self._pending = deque()
        self._database.start_over()


def _remember_loss(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO lost VALUES (?)", (recorder.wall_clock(),))
