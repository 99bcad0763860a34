"""
Examine a SQLite file on a connection of its own, without changing it.

The file is never opened but by SQLite. On POSIX systems, closing any other descriptor of it would drop the locks that
this process' own connections hold (sqlite.org/howtocorrupt.html, 2.2).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from obskit.errors import SqliteDoctorError
from obskit.sqlite_doctor.report import Index, SchemaText, Table
from obskit.time.clock import Deadline, clock
from obskit.time.timestamps import to_the_second

# Rows are counted to here, some tens of milliseconds; beyond, the estimate of the last ANALYZE is taken.
MAX_COUNTED_ROWS = 1_000_000
MAX_SCHEMA_LENGTH = 10_000  # of one statement
# Steps of SQLite's machine between two looks at the clock: some tens of microseconds.
_STEPS = 10_000
_BUSY_SECONDS = 1.0
_STATUS = {
    sqlite3.SQLITE_NOTADB: "not_a_database",
    sqlite3.SQLITE_CORRUPT: "corrupt",
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
}
_AUTO_VACUUM = {0: "none", 1: "full", 2: "incremental"}


class _Unfinished(Exception):
    pass


def connect(path: str, mode: str, busy_seconds: float = _BUSY_SECONDS) -> sqlite3.Connection:
    """
    Open a file that is there, as `ro` or `rw`; not by `sqlite3.connect()`, which may be hooked.
    """
    uri = f"{Path(path).as_uri()}?mode={mode}"
    connection = sqlite3.Connection(uri, uri=True, timeout=busy_seconds, isolation_level=None)
    connection.text_factory = lambda text: text.decode("utf-8", "replace")
    connection.execute("PRAGMA trusted_schema = OFF")  # the file may be anybody's
    return connection


@contextmanager
def errors_named(failure: str) -> Iterator[None]:
    """
    Raise what SQLite or the system raises in the block as a `SqliteDoctorError` that begins with `failure`.
    """
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise SqliteDoctorError(
            f"{failure}: {error}. Nothing was left behind; see sqlite_doctor() for its state."
        ) from error


def status_of(error: sqlite3.Error) -> str:
    """
    Return the status of a file that raised this error.
    """
    return _STATUS.get((getattr(error, "sqlite_errorcode", None) or 0) & 0xFF, "unreadable")


class Inspection:
    """
    The steps of one examination.

    Args:
        path: The file, absolute.
        timeout_seconds: For counting rows and measuring tables, together.
        checks: Of `quick_check` and `integrity_check` those to run, which take as long as they take.
        schema: Whether to quote the schema.
        try_write: Whether to take the write lock for a moment.

    Attributes:
        found: Field of `SqliteFindings` -> what the steps found.
        unfinished: What time ran out for.
        foreign_keys: Table, its columns, and the table they refer to.
        estimates: Rows of each table when ANALYZE last ran.
    """

    def __init__(
        self, path: str, timeout_seconds: float, checks: tuple[str, ...], schema: bool, try_write: bool
    ) -> None:
        self.path = path
        self.checks = checks
        self.schema = schema
        self.try_write = try_write
        self.deadline = Deadline(timeout_seconds)
        self.found: dict[str, Any] = {"status": "ok", "problem": None}
        self.unfinished: list[str] = []
        self.foreign_keys: list[tuple[str, tuple[str, ...], str]] = []
        self.estimates: dict[str, int] = {}

    def run(self) -> None:
        """
        Examine the file from outside, and then, where SQLite opens it, from inside.
        """
        if not self._outside():
            return
        try:
            with closing(connect(self.path, "ro")) as connection:
                self._inside(connection)
        except sqlite3.Error as error:
            self._problem(error)
        self._writable()
        self.found["unfinished"] = tuple(self.unfinished)

    def _problem(self, error: sqlite3.Error) -> None:
        if self.found["status"] != "corrupt":
            self.found.update(status=status_of(error), problem=str(error))

    def _outside(self) -> bool:
        try:
            about = os.stat(self.path)
        except OSError as error:
            status = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
            self.found.update(status=status, problem=error.strerror)
            return False
        if not os.path.isfile(self.path):
            self.found.update(status="unreadable", problem="not a file")
            return False
        wal, journal = _about(self.path + "-wal"), _about(self.path + "-journal")
        times = [about.st_mtime] + ([wal.st_mtime] if wal is not None and wal.st_size else [])
        self.found.update(
            size_bytes=about.st_size,
            wal_bytes=wal.st_size if wal else None,
            journal_bytes=journal.st_size if journal else None,
            modified_at=to_the_second(max(times)),
            disk_free_bytes=shutil.disk_usage(os.path.dirname(self.path)).free,
        )
        self.written_at = max(times)
        return True

    def _inside(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA query_only = ON")
        pragma = _Pragmas(connection)
        if pragma("page_count") == 0:
            is_empty = self.found["size_bytes"] == 0
            self.found["status"] = "empty" if is_empty else "not_a_database"
            self.found["problem"] = None if is_empty else "it is shorter than any page"
        self.found.update(
            page_size=pragma("page_size"),
            page_count=pragma("page_count"),
            free_pages=pragma("freelist_count"),
            journal_mode=pragma("journal_mode"),
            auto_vacuum=_AUTO_VACUUM.get(pragma("auto_vacuum")),
            encoding=pragma("encoding"),
            user_version=pragma("user_version"),
            application_id=pragma("application_id"),
        )
        tables, indexes = self._schema(connection)
        if self.schema:
            self.found["schema"] = tuple(_texts(connection))
        self._statistics(connection, tables)
        connection.set_progress_handler(self.deadline.is_over, _STEPS)
        counts = dict(self._counts(connection, tables))
        sizes = self._sizes(connection)
        connection.set_progress_handler(None, 0)
        self.found["tables"] = tuple(_sized(Table(**table, **counts.get(table["name"], {})), sizes) for table in tables)
        self.found["indexes"] = tuple(_sized(Index(**index), sizes) for index in indexes)
        for check in self.checks:
            rows = connection.execute(f"PRAGMA {check}(100)").fetchall()
            self.found[check] = tuple(str(row[0]) for row in rows)
            if self.found[check] != ("ok",):
                self.found.update(status="corrupt", problem=self.found[check][0])

    def _schema(self, connection: sqlite3.Connection) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        rows = connection.execute("SELECT type, name, tbl_name, rootpage FROM sqlite_master").fetchall()
        own = [row for row in rows if row[0] == "table" and not row[1].startswith("sqlite_")]
        tables = [{"name": name, "kind": "table" if root else "virtual"} for _, name, _, root in own]
        indexes: list[dict[str, Any]] = []
        for table in tables:
            if table["kind"] == "table":
                indexes += self._indexes(connection, table["name"])
                self.foreign_keys += _foreign_keys(connection, table["name"])
        return tables, indexes

    def _indexes(self, connection: sqlite3.Connection, table: str) -> Iterator[dict[str, Any]]:
        for row in connection.execute(f"PRAGMA index_list({_quoted(table)})").fetchall():
            columns = connection.execute(f"PRAGMA index_info({_quoted(row[1])})").fetchall()
            yield {
                "name": row[1],
                "table": table,
                "columns": tuple(column[2] or "<expression>" for column in columns),
                "is_unique": bool(row[2]),
                "is_partial": bool(row[4]),
            }

    def _statistics(self, connection: sqlite3.Connection, tables: list[dict[str, Any]]) -> None:
        """
        Read what the last ANALYZE left: for each table, the rows that its indexes had then.
        """
        has_any = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_stat1'").fetchone()
        for name, stat in connection.execute("SELECT tbl, stat FROM sqlite_stat1").fetchall() if has_any else ():
            first = str(stat).split(" ", 1)[0]
            if first.isdecimal():
                self.estimates[name] = max(int(first), self.estimates.get(name, 0))
        self.found["analyzed_tables"] = sum(table["name"] in self.estimates for table in tables)
        if self.found["analyzed_tables"]:
            self.found["analyze_age_at_least_seconds"] = max(0.0, round(clock.wall() - self.written_at, 1))

    def _counts(
        self, connection: sqlite3.Connection, tables: list[dict[str, Any]]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        limited = f"LIMIT {MAX_COUNTED_ROWS + 1})"
        for table in tables:
            name = table["name"]
            estimate = {"rows": self.estimates[name], "rows_are": "estimated"} if name in self.estimates else {}
            if table["kind"] == "virtual":
                continue
            try:
                with self._step(f"rows of {name}"):
                    counted = connection.execute(f"SELECT count(*) FROM (SELECT 1 FROM {_quoted(name)} {limited}")
                    rows = counted.fetchone()[0]
            except _Unfinished:
                yield name, estimate
                continue
            if rows <= MAX_COUNTED_ROWS:
                yield name, {"rows": rows, "rows_are": "exact"}
            else:
                yield name, estimate or {"rows": MAX_COUNTED_ROWS, "rows_are": "at least"}

    def _sizes(self, connection: sqlite3.Connection) -> dict[str, tuple[int, int]]:
        query = "SELECT name, sum(pgsize), sum(unused) FROM dbstat GROUP BY name"
        try:
            with self._step("sizes of tables"):
                return {name: (taken, unused) for name, taken, unused in connection.execute(query)}
        except _Unfinished:  # or SQLite was built without dbstat
            return {}

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        """
        Run one step that may run out of time, or find the file corrupt.
        """
        try:
            yield
        except sqlite3.DatabaseError as error:
            if status_of(error) == "locked":
                raise
            if status_of(error) == "corrupt":
                self._problem(error)
            is_late = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT
            self.unfinished.append(name if is_late else f"{name} ({error})")
            raise _Unfinished from None

    def _writable(self) -> None:
        folder = os.path.dirname(self.path)
        can, because = True, "this user may write to the file and its folder"
        if not _may_write(self.path):
            can, because = False, "this user may not write to the file"
        elif not _may_write(folder):
            can, because = False, f"this user may not write to {folder}, where the journal must be"
        elif self.try_write:
            can, because = self._tried()
        self.found.update(can_write=can, can_write_because=because)

    def _tried(self) -> tuple[bool, str]:
        try:
            with closing(connect(self.path, "rw")) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            return False, str(error)
        return True, "the write lock was taken and given back"


class _Pragmas:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __call__(self, name: str) -> Any:
        row = self._connection.execute(f"PRAGMA {name}").fetchone()
        return row[0] if row else None


def _about(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _may_write(path: str) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _foreign_keys(connection: sqlite3.Connection, table: str) -> list[tuple[str, tuple[str, ...], str]]:
    columns: dict[int, list[str]] = {}
    parents: dict[int, str] = {}
    for key, _, parent, column, *_ in connection.execute(f"PRAGMA foreign_key_list({_quoted(table)})").fetchall():
        columns.setdefault(key, []).append(column)
        parents[key] = parent
    return [(table, tuple(names), parents[key]) for key, names in columns.items()]


def _texts(connection: sqlite3.Connection) -> Iterator[SchemaText]:
    """
    Quote the schema, tables first; SQLite's own tables, and what it makes of constraints, have no text to quote.
    """
    order = "CASE type WHEN 'table' THEN 1 WHEN 'index' THEN 2 WHEN 'view' THEN 3 ELSE 4 END"
    query = (
        f"SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY {order}, tbl_name, name"
    )
    for kind, name, table, sql in connection.execute(query).fetchall():
        if not name.startswith("sqlite_"):
            text = str(sql)
            yield SchemaText(
                *(kind, name, table), text if len(text) <= MAX_SCHEMA_LENGTH else text[:MAX_SCHEMA_LENGTH] + "..."
            )


def _sized(thing: Any, sizes: dict[str, tuple[int, int]]) -> Any:
    taken = sizes.get(thing.name)
    return replace(thing, size_bytes=taken[0], unused_bytes=taken[1]) if taken else thing
