"""
Examine and optimise a SQLite file. See `obskit.db.sqlite_doctor()`, which adds what the application knows of it.

A file is only read, unless more is asked for, on connections of the doctor's own. It may take seconds, so it does not
run in a request.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from obskit.sqlite_doctor.advice import DEFAULT_BOUNDS, Bounds, advise
from obskit.sqlite_doctor.inspection import Inspection, connect, errors_named
from obskit.sqlite_doctor.report import ConnectionPragmas, MeasuredStatement, SqliteFindings, Table
from obskit.time.clock import clock
from obskit.time.timestamps import to_the_second

# lang_analyze.html recommends 100 to 1000.
_ANALYSIS_LIMIT = 400
# From this version on PRAGMA optimize looks at tables that this connection has not used.
_OPTIMIZE_VERSION = (3, 46, 0)
MAX_SLOW_STATEMENTS = 5


@dataclass(frozen=True, slots=True)
class ApplicationFacts:
    """
    What an application knows of its own database, and its file cannot tell.

    Attributes:
        connections: What its open connections to this file have set; None where it knows of no connection at all.
        silent_connections: How many connections, to any file, have not answered.
        slow_statements: Its slow queries of SQLite by statement, what took the most time first; None where it does not
            watch for slow queries.
    """

    connections: tuple[ConnectionPragmas, ...] | None = None
    silent_connections: int = 0
    slow_statements: Sequence[MeasuredStatement] | None = None


def examine(
    path: str | os.PathLike[str],
    *,
    quick_check: bool = False,
    integrity_check: bool = False,
    schema: bool = False,
    try_write: bool = False,
    timeout_seconds: float = 10.0,
    bounds: Bounds = DEFAULT_BOUNDS,
    ask_application: Callable[[], ApplicationFacts] = ApplicationFacts,
) -> SqliteFindings:
    """
    Examine a file. The arguments are those of `obskit.db.sqlite_doctor()`.

    Args:
        ask_application: Called once, when the file has been read.
    """
    whole = os.path.abspath(os.fspath(path))
    started = clock.monotonic()
    checks = ("quick_check",) * quick_check + ("integrity_check",) * integrity_check
    inspection = Inspection(whole, timeout_seconds, checks, schema, try_write)
    inspection.run()
    facts = ask_application()
    findings = SqliteFindings(
        path=whole,
        sqlite_version=sqlite3.sqlite_version,
        examined_at=to_the_second(clock.wall()),
        took_seconds=round(clock.monotonic() - started, 3),
        connections=facts.connections,
        silent_connections=facts.silent_connections,
        **inspection.found,
    )
    tables = tuple(sorted(findings.tables, key=lambda table: (-(table.size_bytes or 0), table.name)))
    findings = replace(findings, tables=tables, **_slow(facts.slow_statements, tables))
    return replace(findings, advice=advise(findings, inspection.estimates, inspection.foreign_keys, bounds))


def _slow(statements: Sequence[MeasuredStatement] | None, tables: tuple[Table, ...]) -> dict[str, Any]:
    """
    Return the fields about slow queries, of those whose tables are all in the file.
    """
    if statements is None:
        return {}
    names = {table.name.lower() for table in tables}
    found = [one for one in statements if one.slowest.tables and {*map(_plain, one.slowest.tables)} <= names]
    return {"slow_queries": sum(one.count for one in found), "slow_statements": tuple(found[:MAX_SLOW_STATEMENTS])}


def _plain(table: str) -> str:
    """
    Return the name of a table as the file has it: without `main.` and quotes.
    """
    return table.lower().removeprefix("main.").strip('"`[]')


def optimize(path: str | os.PathLike[str]) -> None:
    """
    Gather the statistics that SQLite's planner needs. This writes to the file.

    Raises:
        SqliteDoctorError: It is locked, or cannot be written.
    """
    whole = os.path.abspath(os.fspath(path))
    with errors_named(f"{whole} was not optimised"), closing(connect(whole, "rw")) as connection:
        connection.execute(f"PRAGMA analysis_limit = {_ANALYSIS_LIMIT}")
        is_new = sqlite3.sqlite_version_info >= _OPTIMIZE_VERSION
        connection.execute("PRAGMA optimize(0x10002)" if is_new else "ANALYZE")
