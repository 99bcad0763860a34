"""
The findings of the SQLite doctor, as a dictionary, as JSON, as a table.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from obskit.text_table import table_lines

SEVERITIES = ("critical", "warn", "info")


@dataclass(frozen=True, slots=True)
class Table:
    """
    One table.

    Attributes:
        kind: `table` or `virtual`; a virtual table's rows are not counted.
        rows: None where they are not known.
        rows_are: `exact`; `estimated`, by the last ANALYZE; `at least`, where the count was cut; `unknown`.
        size_bytes: Pages of the table alone; None where SQLite was built without `dbstat`, or time ran out.
        unused_bytes: Of these pages.
    """

    name: str
    kind: str
    rows: int | None = None
    rows_are: str = "unknown"
    size_bytes: int | None = None
    unused_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Index:
    """
    One index.

    Attributes:
        columns: Its columns in their order; an expression is `<expression>`.
        is_unique: Whether it stands for a constraint.
        is_partial: Whether it has a WHERE.
    """

    name: str
    table: str
    columns: tuple[str, ...]
    is_unique: bool
    is_partial: bool
    size_bytes: int | None = None
    unused_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ConnectionPragmas:
    """
    The pragmas of connections of the application.

    Attributes:
        connections: How many of those that were open have just these.
        synchronous: `off`, `normal`, `full` or `extra`.
        foreign_keys: Whether foreign keys are enforced.
        busy_timeout_ms: How long they wait for a lock.
        cache_size: In pages; below 0, in KiB.
        mmap_size_bytes: Of the file, that are read by mapping it.
        temp_store: `default`, `file` or `memory`.
        locking_mode: `normal` or `exclusive`.
        wal_autocheckpoint_pages: After how many pages of WAL there is a checkpoint; 0 or less for never.
    """

    connections: int
    synchronous: str
    foreign_keys: bool
    busy_timeout_ms: int
    cache_size: int
    mmap_size_bytes: int
    temp_store: str
    locking_mode: str
    wal_autocheckpoint_pages: int


@dataclass(frozen=True, slots=True)
class SchemaText:
    """
    One statement of the schema.

    Attributes:
        kind: `table`, `index`, `view` or `trigger`.
        table: That it belongs to; of a table or a view its own name.
        sql: As SQLite keeps it, with the literals of its defaults and conditions; cut at 10,000 characters.
    """

    kind: str
    name: str
    table: str
    sql: str


@dataclass(frozen=True, slots=True)
class Advice:
    """
    One recommendation.

    Attributes:
        severity: `critical`, `warn` or `info`.
        code: A short name that stays the same, to filter by: `wal-reset-bug`.
        text: What was found, with its figures, and what to do.
        source: Where SQLite's documentation says so; empty where the advice is this library's own.
    """

    severity: str
    code: str
    text: str
    source: str = ""


class MeasuredQuery(Protocol):
    """
    One slow query of the application.
    """

    @property
    def tables(self) -> tuple[str, ...]: ...
    @property
    def call_site(self) -> str | None: ...


class MeasuredStatement(Protocol):
    """
    The slow queries of the application that share a statement.
    """

    @property
    def summary(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def count(self) -> int: ...
    @property
    def mean_ms(self) -> float: ...
    @property
    def max_ms(self) -> float: ...
    @property
    def total_ms(self) -> float: ...
    @property
    def slowest(self) -> MeasuredQuery: ...
    @property
    def plan(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class SqliteFindings:
    """
    What `sqlite_doctor()` found. What is not known is None, never zero.

    Attributes:
        path: The file, made absolute.
        status: `ok`, `missing`, `empty`, `not_a_database` (which an encrypted one looks like), `locked`, `unreadable`
            or `corrupt`. That a file is sound is known only where `quick_check`, or `integrity_check`, is `("ok",)`.
        problem: What SQLite or the system said, where the status is not `ok`.
        sqlite_version: Of the library that Python uses.
        examined_at: UTC, ISO 8601.
        took_seconds: Of the examination.
        modified_at: The last write to the file or its WAL; UTC, ISO 8601.
        size_bytes, wal_bytes, journal_bytes: Of the file, its write-ahead log and its rollback journal.
        disk_free_bytes: For this user, on the file's disk.
        can_write: Whether this user may write to the file and to its folder, which needs to hold the journal.
        can_write_because: Why not, or how that is known.
        page_size, page_count, free_pages: The database's pages; the free ones are in the file and hold nothing.
        journal_mode, auto_vacuum, encoding, user_version, application_id: Pragmas that are stored in the file. Those
            of a connection, such as `synchronous`, are in `connections`.
        tables, indexes: In the order of their size, or name.
        analyzed_tables: Tables that have statistics; None where that is not known.
        analyze_age_at_least_seconds: SQLite does not record when ANALYZE ran. It was a write, so it is at least as
            old as the last one; None where it never ran.
        quick_check: `("ok",)` or what is wrong, in SQLite's words; None where it was not asked for.
        integrity_check: Likewise, of `PRAGMA integrity_check`, which also holds indexes against their tables.
        schema: The text of tables, indexes, views and triggers; None where it was not asked for. The indexes that
            SQLite makes for constraints have none.
        slow_queries: How many slow queries of this process name tables that are all in this file; which file a query
            was for is not known. None where slow queries are not recorded.
        slow_statements: What they come to by statement, the five that took the most time together.
        connections: What the application's own connections to this file have set, those that were open in this process
            meanwhile, and were opened with `instrument_sqlite3()`; None where there is none, to any file.
        silent_connections: How many of those, to whatever file, have not answered: another thread's does so between
            two statements, for half a second and as long as the examination takes.
        unfinished: What time ran out for.
        advice: The most severe first.
    """

    path: str
    status: str
    problem: str | None
    sqlite_version: str
    examined_at: str
    took_seconds: float
    modified_at: str | None = None
    size_bytes: int | None = None
    wal_bytes: int | None = None
    journal_bytes: int | None = None
    disk_free_bytes: int | None = None
    can_write: bool | None = None
    can_write_because: str = ""
    page_size: int | None = None
    page_count: int | None = None
    free_pages: int | None = None
    journal_mode: str | None = None
    auto_vacuum: str | None = None
    encoding: str | None = None
    user_version: int | None = None
    application_id: int | None = None
    tables: tuple[Table, ...] = ()
    indexes: tuple[Index, ...] = ()
    analyzed_tables: int | None = None
    analyze_age_at_least_seconds: float | None = None
    quick_check: tuple[str, ...] | None = None
    integrity_check: tuple[str, ...] | None = None
    schema: tuple[SchemaText, ...] | None = None
    slow_queries: int | None = None
    slow_statements: tuple[MeasuredStatement, ...] = ()
    connections: tuple[ConnectionPragmas, ...] | None = None
    silent_connections: int = 0
    unfinished: tuple[str, ...] = ()
    advice: tuple[Advice, ...] = ()

    @property
    def is_healthy(self) -> bool:
        """
        Whether the file could be read and nothing critical was found.
        """
        return self.status == "ok" and all(advice.severity != "critical" for advice in self.advice)

    def to_dict(self) -> dict[str, Any]:
        """
        Return the fields, with tables, indexes and advice as dictionaries, ready for JSON.
        """
        return {**asdict(self), "is_healthy": self.is_healthy}

    def to_json(self, *, indent: int | None = None) -> str:
        """
        Return the fields as one JSON object.
        """
        return json.dumps(self.to_dict(), indent=indent)

    def render(self) -> str:
        """
        Return the report as text for people, with tables as wide as their names.
        """
        return "\n".join(_lines(self)) + "\n"


def size(count: float | None) -> str:
    """
    Format bytes for people: `548.0 kB`, in steps of 1000.
    """
    if count is None:
        return "?"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def age(seconds: float) -> str:
    """
    Format seconds for people: `3 h`.
    """
    for length, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _lines(report: SqliteFindings) -> Iterator[str]:
    yield f"{report.path}: {report.status}"
    if report.problem:
        yield f"  {report.problem}"
    for name, value in _facts(report):
        yield f"  {name:<12}{value}"
    if report.tables:
        yield ""
        yield from _columns(report)
    if report.slow_statements:
        yield ""
        yield from _slow(report.slow_statements)
    for text in report.schema or ():
        yield ""
        yield text.sql
    for advice in report.advice:
        yield ""
        yield f"{advice.severity}: {advice.text}"
        if advice.source:
            yield f"  {advice.source}"


def _slow(statements: Sequence[MeasuredStatement]) -> Iterator[str]:
    rows = [("slow", "mean", "max", "total", "statement")]
    for one in statements:
        text = " ".join((one.text or one.summary).split())
        shown = text if len(text) <= 100 else text[:97] + "..."
        rows.append((f"{one.count:,}", _ms(one.mean_ms), _ms(one.max_ms), _ms(one.total_ms), shown))
    return table_lines(rows, left={4})


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:,.0f} ms"


def _facts(report: SqliteFindings) -> Iterator[tuple[str, str]]:
    if report.size_bytes is not None:
        pages = "" if report.page_count is None else f", {report.page_count:,} pages of {report.page_size:,} B"
        yield "file", size(report.size_bytes) + pages
    if report.free_pages is not None and report.page_count:
        yield "free", f"{report.free_pages:,} pages, {100 * report.free_pages / report.page_count:.0f} %"
    if report.wal_bytes is not None:
        yield "WAL", size(report.wal_bytes)
    if report.journal_mode:
        yield "journal", f"{report.journal_mode}, auto_vacuum {report.auto_vacuum}, {report.encoding}"
    if report.can_write is not None:
        yield "writable", f"{'yes' if report.can_write else 'no'}: {report.can_write_because}"
    if report.disk_free_bytes is not None:
        yield "disk", f"{size(report.disk_free_bytes)} free"
    if report.modified_at:
        yield "written", report.modified_at
    if report.analyzed_tables is not None:
        yield "ANALYZE", _analyze(report)
    if report.quick_check is not None:
        yield "quick_check", "; ".join(report.quick_check[:3])
    if report.integrity_check is not None:
        yield "integrity", "; ".join(report.integrity_check[:3])
    for pragmas in report.connections or ():
        yield "connections", _pragmas(pragmas)
    if report.silent_connections:
        yield "", f"{report.silent_connections:,} open ones, to whatever file, have not answered"
    if report.slow_queries:
        yield "slow", f"{report.slow_queries:,} queries of this process name its tables"
    if report.unfinished:
        yield "unfinished", ", ".join(report.unfinished)
    yield "SQLite", f"{report.sqlite_version}, examined {report.examined_at} in {report.took_seconds:.2f} s"


def _pragmas(found: ConnectionPragmas) -> str:
    keys = "on" if found.foreign_keys else "off"
    return (
        f"{found.connections:,}: synchronous {found.synchronous}, foreign_keys {keys}, busy_timeout "
        f"{found.busy_timeout_ms:,} ms, cache_size {found.cache_size}, temp_store {found.temp_store}"
    )


def _analyze(report: SqliteFindings) -> str:
    if not report.analyzed_tables or report.analyze_age_at_least_seconds is None:
        return "never"
    return f"{report.analyzed_tables} tables, at least {age(report.analyze_age_at_least_seconds)} ago"


def _columns(report: SqliteFindings) -> Iterator[str]:
    rows = [("table", "rows", "size", "unused")]
    for table in report.tables:
        count = "?" if table.rows is None else f"{table.rows:,}"
        mark = {"estimated": "~", "at least": ">="}.get(table.rows_are, "")
        rows.append((table.name, mark + count, size(table.size_bytes), size(table.unused_bytes)))
        for index in report.indexes:
            if index.table == table.name:
                name = f"  {index.name} ({', '.join(index.columns)})"
                rows.append((name, "", size(index.size_bytes), size(index.unused_bytes)))
    return table_lines(rows)
