"""
Keep the book of budgets: what was spent and reserved, in the transaction of whoever holds the file.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from typing import Any

from obskit.ai.reservations import Ask, Awaited, Crossing, Figures, Held, Refused, Settlement
from obskit.process_identity import is_dead
from obskit.recorder import recorder

RESERVE_SECONDS = 3600.0  # after which a call is taken for lost: the SDKs give up after ten minutes
KEPT_SECONDS = 100 * 86_400.0  # of past periods, for the projection
SHARE_SECONDS = 7 * 86_400.0  # what the projection looks back on
MAX_AWAITED = 10_000  # calls whose reply comes later, told or not; the oldest goes
LEVELS = ((1, 50), (2, 80), (4, 100))  # bit of `told`, percent
BLOCKED = 8
# What reading a row raises that somebody has changed by hand.
EDITED = (ValueError, TypeError, AttributeError, OverflowError)
_AHEAD_SECONDS = 400 * 86_400.0  # so far a clock may have been ahead, in an earlier period


class Book:
    """
    Read and write the rows.

    Attributes:
        crossings: That hold if the transaction does.
    """

    def __init__(self) -> None:
        self.crossings: list[Crossing] = []
        self._last: dict[str, tuple[float, float, float]] = {}

    def reserve(
        self, db: sqlite3.Connection, asks: Sequence[Ask], now: float, owner: tuple[int, str]
    ) -> tuple[Held, ...] | Refused:
        """
        Take from all budgets or from none.

        Args:
            owner: The process that asks, by its id and its identity.
        """
        starts = []
        for index, ask in enumerate(asks):
            start = self._start(db, ask.key, ask.start)
            starts.append(start)
            if not ask.blocks:
                continue
            spent, reserved, told = self._sums(db, ask.key, start)
            if _is_too_much(spent + reserved, ask) and reserved:
                self._give_back(db, now)
                spent, reserved, told = self._sums(db, ask.key, start)
            is_lost = self._is_lost(db, start)
            if is_lost or _is_too_much(spent + reserved, ask):
                self._row(db, ask.key, start, now)
                db.execute(
                    "UPDATE spent SET told = told | ? WHERE budget = ? AND period_start = ?", (BLOCKED, ask.key, start)
                )
                return Refused(index, start, spent, reserved, not told & BLOCKED, is_lost)
        held = []
        for ask, start in zip(asks, starts, strict=True):
            self._row(db, ask.key, start, now)
            id = None
            if ask.usd:
                # No counter: those of a file that was set aside would come again.
                id = int.from_bytes(os.urandom(8), "big") >> 2
                row = (id, ask.key, start, ask.usd, *owner, now)
                db.execute("INSERT INTO reserve VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            held.append(Held(id, ask.key, start, ask.usd, ask.limit))
        return tuple(held)

    def glance(self, db: sqlite3.Connection, ask: Ask) -> Refused | None:
        """
        Refuse where nothing is left at all; this writes nothing.
        """
        start = self._start(db, ask.key, ask.start)
        spent, reserved, _ = self._sums(db, ask.key, start)
        is_lost = self._is_lost(db, start)
        is_used_up = is_lost or spent + reserved >= ask.limit
        return Refused(0, start, spent, reserved, True, is_lost) if is_used_up else None

    def remembered(self, ask: Ask) -> Refused | None:
        """
        Refuse by what was last known.
        """
        start, spent, reserved = self._last.get(ask.key, (0.0, 0.0, 0.0))
        is_used_up = start >= ask.start and spent + reserved >= ask.limit
        return Refused(0, start, spent, reserved, True, False) if is_used_up else None

    def _start(self, db: sqlite3.Connection, key: str, start: float) -> float:
        [latest] = db.execute("SELECT max(period_start) FROM spent WHERE budget = ?", (key,)).fetchone()
        if latest is None:
            return start
        latest = _number(latest, f"period_start of {key}")
        if latest > start + _AHEAD_SECONDS:
            raise ValueError(f"a row was changed by somebody else: period_start of {key} is {latest}")
        return max(start, latest)

    def _row(self, db: sqlite3.Connection, key: str, start: float, now: float) -> None:
        made = db.execute(
            "INSERT OR IGNORE INTO spent (budget, period_start, began) VALUES (?, ?, ?)", (key, start, now)
        )
        if made.rowcount:
            db.execute("DELETE FROM spent WHERE budget = ? AND period_start < ?", (key, start - KEPT_SECONDS))

    def _sums(self, db: sqlite3.Connection, key: str, start: float) -> tuple[float, float, int]:
        row = db.execute("SELECT usd, told FROM spent WHERE budget = ? AND period_start = ?", (key, start)).fetchone()
        [reserved] = db.execute(
            "SELECT total(usd) FROM reserve WHERE budget = ? AND period_start = ?", (key, start)
        ).fetchone()
        spent, told = row or (0.0, 0)
        spent, reserved = _number(spent, f"usd of {key}"), _number(reserved, f"usd that is reserved of {key}")
        self._last[key] = start, spent, reserved
        return spent, reserved, int(told)

    def _is_lost(self, db: sqlite3.Connection, start: float) -> bool:
        return db.execute("SELECT 1 FROM lost WHERE at >= ?", (start,)).fetchone() is not None

    def _give_back(self, db: sqlite3.Connection, now: float) -> None:
        """
        Free what dead processes, and calls that were lost, have reserved.
        """
        db.execute("DELETE FROM reserve WHERE at < ?", (now - RESERVE_SECONDS,))
        for pid, pid_start in db.execute("SELECT DISTINCT pid, pid_start FROM reserve").fetchall():
            if is_dead(pid, pid_start):
                db.execute("DELETE FROM reserve WHERE pid = ? AND pid_start = ?", (pid, pid_start))

    def settle(self, db: sqlite3.Connection, made: Settlement) -> None:
        """
        Put what a call cost in the place of what it has reserved; or note that this comes later.
        """
        if made.labels is not None:
            row = (made.name, json.dumps(made.labels), json.dumps(made.held))
            db.execute("INSERT OR IGNORE INTO awaited (name, told, labels, held) VALUES (?, 0, ?, ?)", row)
            _forget_the_oldest(db)
            return
        is_first = made.name is None or _claim(db, made.name)
        for entry, dollars in zip(made.held, made.usd, strict=True):
            if entry.id is not None:
                db.execute("DELETE FROM reserve WHERE id = ? AND budget = ?", (entry.id, entry.key))
            if dollars and is_first:
                self._spend(db, entry, dollars, made.estimated)

    def awaited(self, db: sqlite3.Connection, name: str) -> Awaited | None:
        """
        Say what is known of a reply; None where nothing is.
        """
        row = db.execute("SELECT told, labels, held FROM awaited WHERE name = ?", (name,)).fetchone()
        if row is None:
            return None
        told, labels, held = row
        return Awaited(tuple(map(str, json.loads(labels))), tuple(Held(*one) for one in json.loads(held)), bool(told))

    def _spend(self, db: sqlite3.Connection, entry: Held, usd: float, estimated: bool) -> None:
        where = (entry.key, entry.start)
        self._row(db, *where, recorder.wall_clock())
        db.execute(
            "UPDATE spent SET usd = usd + ?, estimated_usd = estimated_usd + ? WHERE budget = ? AND period_start = ?",
            (usd, usd if estimated else 0.0, *where),
        )
        spent, _, told = self._sums(db, *where)
        for bit, percent in LEVELS:
            if spent * 100 >= entry.limit * percent and not told & bit:
                told |= bit
                db.execute("UPDATE spent SET told = ? WHERE budget = ? AND period_start = ?", (told, *where))
                self.crossings.append(Crossing(*where, percent, spent))

    def figures(self, db: sqlite3.Connection, key: str, start: float, now: float) -> Figures:
        """
        Read how a budget stands, after whatever is to be given back was.
        """
        start = self._start(db, key, start)
        self._give_back(db, now)
        spent, reserved, _ = self._sums(db, key, start)
        row = db.execute(
            "SELECT estimated_usd FROM spent WHERE budget = ? AND period_start = ?", (key, start)
        ).fetchone()
        since = min(start, now - SHARE_SECONDS)
        usd, began = db.execute(
            "SELECT total(usd), min(began) FROM spent WHERE budget = ? AND period_start >= ?", (key, since)
        ).fetchone()
        seconds = 0.0 if began is None else now - began
        rate = _number(usd, f"usd of {key}") / seconds if seconds >= 86_400 else None
        estimated = _number(row[0] if row else 0.0, f"estimated_usd of {key}")
        return Figures(start, spent, estimated, reserved, rate)


def _claim(db: sqlite3.Connection, name: str) -> bool:
    """
    Note that a reply has been told; False where it had been before.
    """
    if db.execute("UPDATE awaited SET told = 1 WHERE name = ? AND told = 0", (name,)).rowcount:
        return True
    is_new = db.execute("INSERT OR IGNORE INTO awaited (name, told) VALUES (?, 1)", (name,)).rowcount > 0
    _forget_the_oldest(db)
    return is_new


def _forget_the_oldest(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM awaited WHERE place <= (SELECT max(place) FROM awaited) - ?", (MAX_AWAITED,))


def _is_too_much(taken: float, ask: Ask) -> bool:
    return taken + ask.usd > ask.limit or taken >= ask.limit


def _number(found: Any, what: str) -> float:
    """
    Read what may have been written by hand.
    """
    if not isinstance(found, (int, float)) or not 0 <= found < float("inf"):
        shown = repr(found)
        raise ValueError(f"a row was changed by somebody else: {what} is {shown[:40]}")
    return float(found)
