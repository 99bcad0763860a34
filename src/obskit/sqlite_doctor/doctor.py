"""
Examine, optimise and back up a SQLite file: `python -m obskit.sqlite_doctor.doctor app.db`.

It reads, unless it is asked to do more, and works on connections of its own. It may take seconds, so it does not run
in a request.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from obskit.context import current
from obskit.db.connections import Question, asked
from obskit.db.query_watch import NEVER, limits
from obskit.db.slow_log import SlowQuery, slow_statements
from obskit.errors import SqliteDoctorError
from obskit.operation import HttpOperation
from obskit.sqlite_doctor.advice import Bounds, advise
from obskit.sqlite_doctor.inspection import Checkup, connect
from obskit.sqlite_doctor.report import Backup, SqliteReport, Table, moment, size

# lang_analyze.html recommends 100 to 1000.
_ANALYSIS_LIMIT = 400
# From here on PRAGMA optimize looks at tables that this connection has not used.
_OPTIMIZE_VERSION = (3, 46, 0)
# A copy waits so long for a lock.
_LOCK_SECONDS = 10.0
_PAUSE_SECONDS = 0.001
# So long connections that are used in other threads have to say what they have set.
_ANSWER_SECONDS = 0.5
_ANSWER_PAUSE_SECONDS = 0.01
MAX_SLOW_STATEMENTS = 5
_COMPANIONS = ("-wal", "-journal")


def sqlite_doctor(
    path: str | os.PathLike[str],
    *,
    quick_check: bool = False,
    integrity_check: bool = False,
    schema: bool = False,
    try_write: bool = False,
    timeout_seconds: float = 10.0,
    large_bytes: int = 1_000_000_000,
    many_rows: int = 100_000,
    many_slow_queries: int = 10,
) -> SqliteReport:
    """
    Examine a SQLite file: sizes, tables, indexes, pragmas, statistics, and what to do about it.

    The file is opened read-only (`mode=ro`, never `immutable`) on a connection of its own, which no hook times, and is
    not changed; where a WAL database is open nowhere else, SQLite leaves an empty `-wal` and a `-shm` beside it.
    Whatever is wrong with the file is in the report. Not for a request or a health check: sizes need a look at
    every page: half a second for each gigabyte in the cache, and the disk's time for what is not.

    Args:
        path: The file. It is not created.
        quick_check: Run `PRAGMA quick_check` too: a second for a gigabyte in the cache, whatever the timeout.
        integrity_check: Run `PRAGMA integrity_check` too, which also holds indexes against their tables: several
            seconds for a gigabyte in the cache, whatever the timeout.
        schema: Quote the text of tables, indexes, views and triggers.
        try_write: Take the write lock for a moment, to know whether it can be had.
        timeout_seconds: For counting rows (to a million a table) and measuring tables; what it cuts is `unfinished`.
        large_bytes: From this size on the file is a finding.
        many_rows: From so many rows on a table is one.
        many_slow_queries: From so many on the slow queries of this process that name its tables are one.

    Raises:
        SqliteDoctorError: This is a request.
    """
    whole = _allowed(path, "examined")
    started = time.monotonic()
    checks = ("quick_check",) * quick_check + ("integrity_check",) * integrity_check
    checkup = Checkup(whole, timeout_seconds, checks, schema, try_write)
    with asked() as question:
        checkup.run()
        connections = _connections(question, whole, started)
    report = SqliteReport(
        path=whole,
        sqlite_version=sqlite3.sqlite_version,
        examined_at=moment(time.time()),
        took_seconds=round(time.monotonic() - started, 3),
        **checkup.found,
        **connections,
    )
    tables = tuple(sorted(report.tables, key=lambda table: (-(table.size_bytes or 0), table.name)))
    report = replace(report, tables=tables, **_slow(tables))
    bounds = Bounds(large_bytes, many_rows, many_slow_queries)
    return replace(report, advice=advise(report, checkup.estimates, checkup.foreign_keys, bounds))


def _connections(question: Question, path: str, started: float) -> dict[str, Any]:
    """
    Collect what connections have set; those of other threads have a moment to say so.
    """
    while question.silent() and time.monotonic() < started + _ANSWER_SECONDS:
        time.sleep(_ANSWER_PAUSE_SECONDS)
    silent = question.silent()
    if not question.has_answers and not silent:
        return {}
    return {"connections": question.found(path), "silent_connections": silent}


def _slow(tables: tuple[Table, ...]) -> dict[str, Any]:
    """
    Find the slow queries of this process whose tables are all here.
    """
    if limits.slow_from == NEVER:
        return {}
    names = {table.name.lower() for table in tables}
    found = [one for one in slow_statements() if _is_for(one.slowest, names)]
    return {"slow_queries": sum(one.count for one in found), "slow_statements": tuple(found[:MAX_SLOW_STATEMENTS])}


def _is_for(query: SlowQuery, names: set[str]) -> bool:
    named = {_plain(table) for table in query.tables}
    return query.system == "sqlite" and bool(named) and named <= names


def _plain(table: str) -> str:
    """
    Give the name of a table as the file has it: without `main.` and quotes.
    """
    return table.lower().removeprefix("main.").strip('"`[]')


def optimize(path: str) -> SqliteReport:
    """
    Carry out `SqliteReport.optimize()`.
    """
    whole = _allowed(path, "optimised")
    with _told(f"{whole} was not optimised"), closing(connect(whole, "rw")) as connection:
        connection.execute(f"PRAGMA analysis_limit = {_ANALYSIS_LIMIT}")
        is_new = sqlite3.sqlite_version_info >= _OPTIMIZE_VERSION
        connection.execute("PRAGMA optimize(0x10002)" if is_new else "ANALYZE")
    return sqlite_doctor(whole)


def backup(path: str, to: str | os.PathLike[str], *, overwrite: bool = False) -> Backup:
    """
    Carry out `SqliteReport.backup()`.
    """
    whole, target = _allowed(path, "copied"), os.path.abspath(os.fspath(to))
    started = time.monotonic()
    what = f"{whole} was not copied to {target}"
    folder, name = os.path.split(target)
    with _told(what):
        _refuse_target(what, whole, target, overwrite)
        opened, partial = tempfile.mkstemp(prefix=f"{name}.", suffix=".partial", dir=folder)
        os.close(opened)
        try:
            _copy(what, whole, partial)
            shutil.copymode(whole, partial)
            taken = os.stat(partial).st_size
            os.replace(partial, target)
        except BaseException:
            for suffix in ("", *_COMPANIONS, "-shm"):
                Path(partial + suffix).unlink(missing_ok=True)
            raise
        _sync(folder)
    return Backup(target, taken, round(time.monotonic() - started, 3))


def _copy(what: str, path: str, partial: str) -> None:
    deadline = time.monotonic() + _LOCK_SECONDS

    def give_up(status: int, _remaining: int, _total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > deadline:
            raise SqliteDoctorError(f"{what}: locked for {_LOCK_SECONDS:.0f} s. Find the connection that does.")

    # SQLite's own waiting has pauses of a tenth of a second, and would miss the moments that a busy writer leaves.
    with closing(connect(path, "ro", 0.0)) as source, closing(connect(partial, "rw")) as copy:
        # All pages in one step: in several, each write of another process would begin it anew.
        source.backup(copy, progress=give_up, sleep=_PAUSE_SECONDS)
        findings = [row[0] for row in copy.execute("PRAGMA integrity_check(1)").fetchall()]
    if findings != ["ok"]:
        raise SqliteDoctorError(
            f"{what}: the copy is not sound, as it is itself ({findings[0]}). Restore an older backup, or save what "
            "can be read with `.recover` of the sqlite3 shell."
        )


def _refuse_target(what: str, path: str, target: str, overwrite: bool) -> None:
    folder, needed = os.path.dirname(target), os.stat(path).st_size
    if not os.path.isdir(folder):
        raise SqliteDoctorError(f"{what}: there is no folder {folder}. Make it first.")
    if os.path.exists(target) and (not overwrite or not os.path.isfile(target) or os.path.samefile(path, target)):
        raise SqliteDoctorError(
            f"{what}: that is there already. Choose another name, or say overwrite=True to replace another file."
        )
    if any(os.path.exists(target + suffix) for suffix in _COMPANIONS):
        raise SqliteDoctorError(
            f"{what}: there is a {target}-wal or -journal, which SQLite would apply to the copy. Close the database "
            "that it belongs to, or remove it."
        )
    if (free := shutil.disk_usage(folder).free) < needed:
        raise SqliteDoctorError(f"{what}: it has {size(needed)}, and {size(free)} are free in {folder}.")


def _sync(folder: str) -> None:
    """
    Put the new name on the disk; the content is there already, SQLite has seen to that.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise SqliteDoctorError(
            f"{what}: {error}. Nothing was left behind; see sqlite_doctor() for its state."
        ) from error


def _allowed(path: str | os.PathLike[str], what: str) -> str:
    """
    Give the absolute path, unless this is a request.
    """
    operation = current.get()
    root = operation.root if operation is not None else None
    if isinstance(root, HttpOperation) and not root.ended:
        raise SqliteDoctorError(
            f"{os.fspath(path)} was not {what}: this is a {root.method} request, which would wait for "
            "every page of the file. Do it in a scheduled job, in a thread that was started outside of requests, or by "
            "`python -m obskit.sqlite_doctor.doctor`."
        )
    return os.path.abspath(os.fspath(path))


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Print a report, and give 1 where the file is not healthy or something asked for was not done.
    """
    parser = argparse.ArgumentParser(prog="python -m obskit.sqlite_doctor.doctor", description="Examine a SQLite file.")
    parser.add_argument("path")
    parser.add_argument("--quick-check", action="store_true", help="run PRAGMA quick_check too")
    parser.add_argument("--integrity-check", action="store_true", help="run PRAGMA integrity_check too")
    parser.add_argument("--schema", action="store_true", help="quote tables, indexes, views and triggers")
    parser.add_argument("--try-write", action="store_true", help="take the write lock for a moment")
    parser.add_argument("--optimize", action="store_true", help="gather statistics; this writes to the file")
    parser.add_argument("--backup", metavar="FILE", help="copy the database while it is in use, and check the copy")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS", help="for counting and measuring")
    parser.add_argument("--json", action="store_true", help="print JSON")
    wanted = parser.parse_args(arguments)
    try:
        if wanted.optimize:
            optimize(wanted.path)
        if wanted.backup:
            copy = backup(wanted.path, wanted.backup)
            print(f"{copy.path}: {size(copy.size_bytes)}, checked, in {copy.took_seconds:.2f} s", file=sys.stderr)
    except SqliteDoctorError as error:
        print(error, file=sys.stderr)
        return 1
    report = sqlite_doctor(
        wanted.path,
        quick_check=wanted.quick_check,
        integrity_check=wanted.integrity_check,
        schema=wanted.schema,
        try_write=wanted.try_write,
        timeout_seconds=wanted.timeout,
    )
    print(report.to_json(indent=2) if wanted.json else report.render(), end="\n" if wanted.json else "")
    return 0 if report.is_healthy else 1


if __name__ == "__main__":
    sys.exit(main())
