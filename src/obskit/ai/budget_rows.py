"""
The rows of the budgets' file: what was spent and reserved. Each method runs in the caller's transaction.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from obskit.ai.reservations import (
    BudgetFigures,
    PendingReply,
    ReservationRefusal,
    ReservationRequest,
    ReservedAmount,
    Settlement,
    ThresholdCrossing,
)
from obskit.process_identity import is_dead
from obskit.recorder import recorder

RESERVE_SECONDS = 3600.0  # after which a call is taken for lost: the SDKs give up after ten minutes
RETENTION_SECONDS = 100 * 86_400.0  # of past periods, for the projection
RATE_WINDOW_SECONDS = 7 * 86_400.0  # what the projection looks back on
MAX_PENDING_REPLIES = 10_000  # calls whose reply comes later, told or not; the oldest goes
LEVELS = ((1, 50), (2, 80), (4, 100))  # bit of `told`, percent
BLOCKED_BIT = 8
# What reading a row raises that somebody has changed by hand.
INVALID_ROW_ERRORS = (ValueError, TypeError, AttributeError, OverflowError)
_AHEAD_SECONDS = 400 * 86_400.0  # so far a clock may have been ahead, in an earlier period
# One statement: a call waits for each.
_STANDING = """
SELECT
    (SELECT usd FROM spent WHERE budget = ?1 AND period_start = ?2),
    (SELECT total(usd) FROM reserve WHERE budget = ?1 AND period_start = ?2),
    (SELECT told FROM spent WHERE budget = ?1 AND period_start = ?2),
    EXISTS (SELECT 1 FROM lost WHERE at >= ?2)
"""
_SPEND = "UPDATE spent SET usd = usd + ?, estimated_usd = estimated_usd + ? WHERE budget = ? AND period_start = ?"


class _Standing(NamedTuple):
    """
    How a budget stands in a period.

    Attributes:
        spent: Dollars.
        reserved: Dollars, by calls that are under way.
        announced: The bits of what was announced; None where there is no row of the period.
        is_lost: Whether its count was lost with a broken file.
    """

    spent: float
    reserved: float
    announced: int | None
    is_lost: bool


class BudgetRows:
    """
    The rows of budgets.

    Attributes:
        crossings: That hold if the transaction does.
    """

    def __init__(self) -> None:
        self.crossings: list[ThresholdCrossing] = []
        self._last: dict[str, tuple[float, float, float]] = {}

    def reserve(
        self, db: sqlite3.Connection, requests: Sequence[ReservationRequest], now: float, owner: tuple[int, str]
    ) -> tuple[ReservedAmount, ...] | ReservationRefusal:
        """
        Reserve of all budgets or of none.

        Args:
            owner: The process that asks, by its id and its identity.
        """
        starts, unrecorded = [], []
        for index, request in enumerate(requests):
            start = self._start(db, request.key, request.start)
            starts.append(start)
            if not request.blocks:
                unrecorded.append((request.key, start))
                continue
            standing = self._standing(db, request.key, start)
            if standing.reserved and _exceeds_limit(standing, request):
                self._free_stale(db, now)
                standing = self._standing(db, request.key, start)
            if standing.announced is None:
                unrecorded.append((request.key, start))
            if standing.is_lost or _exceeds_limit(standing, request):
                self._ensure_row(db, request.key, start, now)
                db.execute(
                    "UPDATE spent SET told = told | ? WHERE budget = ? AND period_start = ?",
                    (BLOCKED_BIT, request.key, start),
                )
                is_first = not (standing.announced or 0) & BLOCKED_BIT
                return ReservationRefusal(index, start, standing.spent, standing.reserved, is_first, standing.is_lost)
        for key, start in unrecorded:
            self._ensure_row(db, key, start, now)
        amounts = []
        for request, start in zip(requests, starts, strict=True):
            id = None
            if request.usd:
                # No counter: those of a file that was set aside would come again.
                id = int.from_bytes(os.urandom(8), "big") >> 2
                row = (id, request.key, start, request.usd, *owner, now)
                db.execute("INSERT INTO reserve VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            amounts.append(ReservedAmount(id, request.key, start, request.usd, request.limit))
        return tuple(amounts)

    def current_refusal(self, db: sqlite3.Connection, request: ReservationRequest) -> ReservationRefusal | None:
        """
        Return a refusal if nothing is left, else None; this writes nothing.
        """
        start = self._start(db, request.key, request.start)
        spent, reserved, _, is_lost = self._standing(db, request.key, start)
        is_used_up = is_lost or spent + reserved >= request.limit
        return ReservationRefusal(0, start, spent, reserved, True, is_lost) if is_used_up else None

    def last_known_refusal(self, request: ReservationRequest) -> ReservationRefusal | None:
        """
        Return a refusal by the last known figures; None if anything was left.
        """
        start, spent, reserved = self._last.get(request.key, (0.0, 0.0, 0.0))
        is_used_up = start >= request.start and spent + reserved >= request.limit
        return ReservationRefusal(0, start, spent, reserved, True, False) if is_used_up else None

    def _start(self, db: sqlite3.Connection, key: str, start: float) -> float:
        [latest] = db.execute("SELECT max(period_start) FROM spent WHERE budget = ?", (key,)).fetchone()
        if latest is None:
            return start
        latest = _checked_number(latest, f"period_start of {key}")
        if latest > start + _AHEAD_SECONDS:
            raise ValueError(f"a row was changed by somebody else: period_start of {key} is {latest}")
        return max(start, latest)

    def _ensure_row(self, db: sqlite3.Connection, key: str, start: float, now: float) -> None:
        settlement = db.execute(
            "INSERT OR IGNORE INTO spent (budget, period_start, began) VALUES (?, ?, ?)", (key, start, now)
        )
        if settlement.rowcount:
            db.execute("DELETE FROM spent WHERE budget = ? AND period_start < ?", (key, start - RETENTION_SECONDS))

    def _standing(self, db: sqlite3.Connection, key: str, start: float) -> _Standing:
        spent, reserved, announced, is_lost = db.execute(_STANDING, (key, start)).fetchone()
        spent = _checked_number(0.0 if spent is None else spent, f"usd of {key}")
        reserved = _checked_number(reserved, f"usd that is reserved of {key}")
        self._last[key] = start, spent, reserved
        return _Standing(spent, reserved, None if announced is None else int(announced), bool(is_lost))

    def _free_stale(self, db: sqlite3.Connection, now: float) -> None:
        """
        Delete reservations of dead processes and of calls that never ended.
        """
        db.execute("DELETE FROM reserve WHERE at < ?", (now - RESERVE_SECONDS,))
        for pid, pid_start in db.execute("SELECT DISTINCT pid, pid_start FROM reserve").fetchall():
            if is_dead(pid, pid_start):
                db.execute("DELETE FROM reserve WHERE pid = ? AND pid_start = ?", (pid, pid_start))

    def settle(self, db: sqlite3.Connection, settlement: Settlement) -> None:
        """
        Replace a call's reservation by its cost, or record that its reply is pending.
        """
        if settlement.labels is not None:
            row = (settlement.name, json.dumps(settlement.labels), json.dumps(settlement.amounts))
            db.execute("INSERT OR IGNORE INTO awaited (name, told, labels, held) VALUES (?, 0, ?, ?)", row)
            _delete_oldest(db)
            return
        is_first = settlement.name is None or _claim(db, settlement.name)
        for entry, dollars in zip(settlement.amounts, settlement.usd, strict=True):
            if entry.id is not None:
                db.execute("DELETE FROM reserve WHERE id = ? AND budget = ?", (entry.id, entry.key))
            if dollars and is_first:
                self._spend(db, entry, dollars, settlement.estimated)

    def pending_reply(self, db: sqlite3.Connection, name: str) -> PendingReply | None:
        """
        Return what is known of a pending reply; None if nothing is.
        """
        row = db.execute("SELECT told, labels, held FROM awaited WHERE name = ?", (name,)).fetchone()
        if row is None:
            return None
        announced, labels, amounts = row
        return PendingReply(
            tuple(map(str, json.loads(labels))),
            tuple(ReservedAmount(*one) for one in json.loads(amounts)),
            bool(announced),
        )

    def _spend(self, db: sqlite3.Connection, entry: ReservedAmount, usd: float, estimated: bool) -> None:
        where = (entry.key, entry.start)
        spent_now = (usd, usd if estimated else 0.0, *where)
        if not db.execute(_SPEND, spent_now).rowcount:
            self._ensure_row(db, *where, recorder.wall_clock())
            db.execute(_SPEND, spent_now)
        standing = self._standing(db, *where)
        spent, announced = standing.spent, standing.announced or 0
        for bit, percent in LEVELS:
            if spent * 100 >= entry.limit * percent and not announced & bit:
                announced |= bit
                db.execute("UPDATE spent SET told = ? WHERE budget = ? AND period_start = ?", (announced, *where))
                self.crossings.append(ThresholdCrossing(*where, percent, spent))

    def figures(self, db: sqlite3.Connection, key: str, start: float, now: float) -> BudgetFigures:
        """
        Read how a budget stands, after whatever is to be given back was.
        """
        start = self._start(db, key, start)
        self._free_stale(db, now)
        spent, reserved, _, _ = self._standing(db, key, start)
        row = db.execute(
            "SELECT estimated_usd FROM spent WHERE budget = ? AND period_start = ?", (key, start)
        ).fetchone()
        since = min(start, now - RATE_WINDOW_SECONDS)
        usd, began = db.execute(
            "SELECT total(usd), min(began) FROM spent WHERE budget = ? AND period_start >= ?", (key, since)
        ).fetchone()
        seconds = 0.0 if began is None else now - began
        rate = _checked_number(usd, f"usd of {key}") / seconds if seconds >= 86_400 else None
        estimated = _checked_number(row[0] if row else 0.0, f"estimated_usd of {key}")
        return BudgetFigures(start, spent, estimated, reserved, rate)


def _claim(db: sqlite3.Connection, name: str) -> bool:
    """
    Mark a reply as reported; False if it was already.
    """
    if db.execute("UPDATE awaited SET told = 1 WHERE name = ? AND told = 0", (name,)).rowcount:
        return True
    is_new = db.execute("INSERT OR IGNORE INTO awaited (name, told) VALUES (?, 1)", (name,)).rowcount > 0
    _delete_oldest(db)
    return is_new


def _delete_oldest(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM awaited WHERE place <= (SELECT max(place) FROM awaited) - ?", (MAX_PENDING_REPLIES,))


def _exceeds_limit(standing: _Standing, request: ReservationRequest) -> bool:
    taken = standing.spent + standing.reserved
    return taken + request.usd > request.limit or taken >= request.limit


def _checked_number(found: Any, what: str) -> float:
    """
    Read what may have been written by hand.
    """
    if not isinstance(found, (int, float)) or not 0 <= found < float("inf"):
        shown = repr(found)
        raise ValueError(f"a row was changed by somebody else: {what} is {shown[:40]}")
    return float(found)
