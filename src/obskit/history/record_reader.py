"""
Read records of all slots, those of dead processes included.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from obskit.history.record_slot import read_error
from obskit.history.record_tables import KINDS, RECORDS, ErrorRecord, Record
from obskit.storage.own_sqlite import reading
from obskit.storage.periods import PeriodFile, PeriodFiles, Span

T = TypeVar("T")

_COLUMNS = ", ".join(Record._fields)
_ASKED = f"SELECT {_COLUMNS} FROM record WHERE kind = ? AND at >= ?"


def read_records(
    files: Mapping[str, PeriodFiles],
    kind: str,
    span: Span,
    *,
    on_error: Callable[[Exception], object],
    key: str | None = None,
    slowest: int | None = None,
    latest: int = 100,
) -> list[Record]:
    """
    Read the records of a kind and of a stretch of time, the latest first.

    Args:
        files: Of a history folder, by kind.
        kind: One of `KINDS`.
        span: When they ended.
        on_error: Told of a file that cannot be read; the others are.
        key: Only those of one route, model, job or event.
        slowest: How many of the slowest instead, the slowest first.
        latest: How many of the latest.
    """
    asked, given = f"{_ASKED} AND at < ?", [kind, span.start, span.end]
    if key is not None:
        asked, given = f"{asked} AND key = ?", [*given, key]
    order, most = ("at", latest) if slowest is None else ("seconds", slowest)
    asked = f"{asked} ORDER BY {order} DESC LIMIT {int(most)}"

    def read(db: sqlite3.Connection) -> list[Record]:
        return [_record(row) for row in db.execute(asked, given)]

    found = _read_each(files[KINDS[kind][1]].overlapping(span), read, on_error)
    return sorted(found, key=lambda one: getattr(one, order) or 0.0, reverse=True)[:most]


def read_errors(
    files: Mapping[str, PeriodFiles], span: Span, *, on_error: Callable[[Exception], object]
) -> list[ErrorRecord]:
    """
    Read the errors of the days of a stretch of time by fingerprint, the latest first.
    """
    asked = "SELECT * FROM error WHERE last_at >= ? AND first_at < ?"

    def read(db: sqlite3.Connection) -> list[ErrorRecord]:
        return [read_error(row) for row in db.execute(asked, (span.start, span.end))]

    found: dict[str, ErrorRecord] = {}
    for error in _read_each(files["records"].overlapping(span), read, on_error):
        known = found.get(error.fingerprint)
        found[error.fingerprint] = error if known is None else known.plus(error)
    return sorted(found.values(), key=lambda one: one.last_at, reverse=True)


def each_told(
    files: Mapping[str, PeriodFiles], span: Span, *, on_error: Callable[[Exception], object]
) -> Iterator[dict[str, Any]]:
    """
    Yield all records of a stretch of time, file by file, as `told()` has them, each with its kind as `record`; then the
    errors.
    """

    def read(db: sqlite3.Connection) -> list[Record]:
        rows = db.execute(f"SELECT {_COLUMNS} FROM record WHERE at >= ? AND at < ? ORDER BY at", span)
        return [_record(row) for row in rows]

    for kind in files.values():
        for file in kind.overlapping(span):
            for record in _read_each([file], read, on_error):
                found = told(record)
                yield {"record": found.pop("kind"), **found}
    for error in read_errors(files, span, on_error=on_error):
        yield {"record": "error", **told(error)}


def told(record: Record | ErrorRecord) -> dict[str, Any]:
    """
    Return a record as one dict: its columns, the key by its own name, and its fields.
    """
    if isinstance(record, ErrorRecord):
        return record._asdict()
    columns = record._asdict()
    fields, key = columns.pop("fields"), columns.pop("key")
    return {**fields, KINDS[record.kind][0]: key, **columns}


def _record(row: Sequence[Any]) -> Record:
    kind, at, key, seconds, failed, user, identity, fields = row
    return Record(kind, at, key, seconds, bool(failed), user, identity, json.loads(fields))


def _read_each(
    files: Iterable[PeriodFile],
    read: Callable[[sqlite3.Connection], list[T]],
    on_error: Callable[[Exception], object],
) -> list[T]:
    found: list[T] = []
    for file in files:
        try:
            with reading(file.path, RECORDS) as db:
                found += read(db)
        except FileNotFoundError:
            continue  # it is being made, or was removed meanwhile
        except (OSError, sqlite3.Error, ValueError) as error:
            on_error(error)
    return found
