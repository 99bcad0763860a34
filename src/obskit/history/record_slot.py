"""
The files of records that one process writes: each worker has a slot of its own, so that no two write one file.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from math import isfinite
from pathlib import Path
from types import NoneType
from typing import Any, TypeAlias

from obskit.history.record_tables import FILES, RECORDS, ErrorRecord, Record
from obskit.history.slot_files import SlotFiles
from obskit.storage.own_sqlite import OwnDatabase
from obskit.storage.periods import PeriodFiles
from obskit.workers.file_lock import FileLock

StoredRow: TypeAlias = tuple[object, ...]

MAX_SLOTS = 1024
MAX_JSON = 65_536  # characters of one record
MAX_SHORT, MAX_NAME, MAX_PLAIN = 100, 100, 500  # of its fields where it has more
_PUT = f"INSERT INTO record ({', '.join(Record._fields)}) VALUES ({', '.join('?' * len(Record._fields))})"
_PUT_ERROR = "INSERT OR REPLACE INTO error VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


def record_files(folder: Path, keep: Mapping[str, timedelta], max_bytes: int) -> dict[str, PeriodFiles]:
    """
    Return the files of records in a history folder, by their kind, the one that goes first coming first.
    """
    return {name: PeriodFiles(folder / f"{name}-day", "day", max_bytes, keep[name]) for name in FILES}


class RecordSlot(SlotFiles):
    """
    The files of one process. Not thread-safe; a forked child leaves its parent's alone.

    Args:
        folder: The history folder.
        files: Of all slots, by kind.
        on_problem: As for `OwnDatabase`.

    Raises:
        OSError: No slot is free, or the folder cannot be used.
    """

    def __init__(self, folder: Path, files: Mapping[str, PeriodFiles], on_problem: Callable[[str, str], None]) -> None:
        super().__init__(*_claim(folder))
        self._files, self._on_problem = files, on_problem

    def write(self, at: float, rows: Mapping[str, Sequence[StoredRow]], errors: Sequence[ErrorRecord]) -> None:
        """
        Store records and errors in the files of a moment, those of one file in one transaction.

        Args:
            at: Seconds since the epoch.
            rows: What `stored_row()` has made of records, by kind of file.
            errors: Are added to those of their fingerprint.

        Raises:
            OSError, sqlite3.Error: A file cannot be used.
        """
        for name in {*rows, *(["records"] if errors else [])}:
            database = self._database(name, at)
            told = errors if name == "records" else ()
            with self._turn, database.exclusively():
                database.transaction(partial(_put, rows.get(name, ()), told))

    def _database(self, name: str, at: float) -> OwnDatabase:
        path = self._files[name].path_at(at, str(self.number))
        if path not in self._open:
            self._close_others_beside(path)
            self._open[path] = OwnDatabase(path, RECORDS, self._on_problem, has_one_writer=True)
        return self._open[path]


def _claim(folder: Path) -> tuple[FileLock, int]:
    for number in range(MAX_SLOTS):
        if (lock := FileLock.take(folder / f"records-slot-{number}.lock")) is not None:
            return lock, number
    raise OSError(f"all {MAX_SLOTS} slots of {folder} are taken")


def stored_row(record: Record) -> StoredRow:
    """
    Return a record as its table has it.

    Raises:
        TypeError, ValueError: Its fields cannot be written as JSON.
    """
    kind, at, key, seconds, failed, user, identity, fields = record
    texts = _text(key), seconds, failed, _text(user), _text(identity)
    return kind, at, *texts, _json(fields)


def _json(fields: Mapping[str, Any]) -> str:
    """
    Write fields; where JSON has no word for a value, such as NaN, or they are long, the plain ones alone stay.
    """
    try:
        text = json.dumps(fields, default=str, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        text = json.dumps({str(name): _plain(value) for name, value in fields.items()})
    if len(text) <= MAX_JSON:
        return text
    short = {name: value for name, value in fields.items() if isinstance(value, (str, int, float, NoneType))}
    kept = {str(name)[:MAX_NAME]: _plain(value) for name, value in list(short.items())[:MAX_SHORT]}
    return json.dumps({**kept, "cut": f"[{len(fields) - len(kept)} fields cut]"})


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, int) or (isinstance(value, float) and isfinite(value)):
        return value
    return str(value)[:MAX_PLAIN]


def _text(value: str | None) -> str | None:
    return None if value is None else value.encode("utf-8", "replace").decode()


def _put(rows: Iterable[StoredRow], errors: Iterable[ErrorRecord], db: sqlite3.Connection) -> None:
    db.executemany(_PUT, rows)
    for error in errors:
        _add_error(db, error)


def _add_error(db: sqlite3.Connection, error: ErrorRecord) -> None:
    row = db.execute("SELECT * FROM error WHERE fingerprint = ?", (error.fingerprint,)).fetchone()
    whole = error if row is None else read_error(row).plus(error)
    texts = [_text(text) for text in whole[:3]]
    db.execute(_PUT_ERROR, (*texts, *whole[3:6], json.dumps(whole.routes), json.dumps(whole.example, default=str)))


def read_error(row: Sequence[Any]) -> ErrorRecord:
    """
    Read an error as its table has it.
    """
    fingerprint, kind, place, first_at, last_at, times, routes, example = row
    return ErrorRecord(fingerprint, kind, place, first_at, last_at, times, json.loads(routes), json.loads(example))
