"""
The check of an SQLite file.
"""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from obskit.health.outcome import WARN_MS, Outcome, failed, milliseconds_since, passed, warned
from obskit.time.clock import clock

if TYPE_CHECKING:
    import sqlite3


_MEGABYTE = 1_000_000


def sqlite(
    path: str | os.PathLike[str],
    *,
    write: bool = True,
    wal_warn_bytes: int = 100 * _MEGABYTE,
    warn_ms: float | None = WARN_MS,
) -> Sqlite:
    """
    Check an SQLite file: a real query over its schema, with its time, and whether it can be written to.

    Nothing is created and no row is changed: the test of writing takes the write lock, and gives it back. A file that
    somebody else writes to at that moment is a warning, since SQLite has one writer at a time; one that is read-only,
    missing, damaged or full is a failure.

    Args:
        path: The file.
        write: False: being read-only is no failure.
        wal_warn_bytes: A write-ahead log of this size is a warning: no checkpoint has got through for long.
        warn_ms: An answer that takes this many milliseconds or more is a warning; None: never.
    """
    return Sqlite(os.fspath(path), write, wal_warn_bytes, warn_ms)


@dataclass(frozen=True)
class Sqlite:
    """
    The check of one SQLite file.
    """

    path: str = field(repr=False)
    write: bool
    wal_warn_bytes: int
    warn_ms: float | None
    is_dependency = True

    def __call__(self) -> Outcome:
        import sqlite3  # with the first run: most processes that have obskit have no SQLite

        if not os.path.isfile(self.path):
            return failed("missing")
        # `mode=rw` never creates; a connection of its own, since the application's may be in a transaction.
        uri = f"file:{quote(os.path.abspath(self.path))}?mode={'rw' if self.write else 'ro'}"
        try:
            with closing(sqlite3.Connection(uri, timeout=0.0, isolation_level=None, uri=True)) as connection:
                return self._ask(connection)
        except sqlite3.DatabaseError as error:
            reason = _sqlite_reason(error)
            return warned(reason) if reason == "locked" else failed(reason)

    def _ask(self, connection: sqlite3.Connection) -> Outcome:
        began = clock.monotonic()
        tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0]
        details = {
            "query_ms": milliseconds_since(began),
            "tables": tables,
            "size_bytes": os.path.getsize(self.path),
            "journal_mode": connection.execute("PRAGMA journal_mode").fetchone()[0],
        }
        try:
            details["wal_bytes"] = os.path.getsize(self.path + "-wal")
        except OSError:
            pass  # no write-ahead log
        if self.write:
            self._try_to_write(connection)
        if details.get("wal_bytes", 0) >= self.wal_warn_bytes:
            return warned("the write-ahead log is large", **details)
        return passed(**details)

    def _try_to_write(self, connection: sqlite3.Connection) -> None:
        # Setting a header field to the value it has dirties a page: read-only files, directories and full disks show
        # when the journal is made, and ROLLBACK takes it all back. BEGIN IMMEDIATE alone writes nothing.
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(f"PRAGMA user_version = {int(version)}")
            connection.execute("PRAGMA cache_spill")
        finally:
            connection.execute("ROLLBACK")


_SQLITE_REASONS = {
    "SQLITE_BUSY": "locked",
    "SQLITE_LOCKED": "locked",
    "SQLITE_READONLY": "read-only",
    "SQLITE_CORRUPT": "corrupt",
    "SQLITE_NOTADB": "corrupt",
    "SQLITE_FULL": "disk full",
    "SQLITE_CANTOPEN": "cannot be opened",
    "SQLITE_IOERR": "I/O error",
    "SQLITE_PERM": "no permission",
}


def _sqlite_reason(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "")  # a main code, and often a detail: SQLITE_READONLY_DIRECTORY
    return _SQLITE_REASONS.get("_".join(name.split("_")[:2]), type(error).__name__)
