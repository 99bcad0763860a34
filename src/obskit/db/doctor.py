"""
The SQLite doctor, with what this application knows of its database: `python -m obskit.db.doctor shop.db`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, fields
from os import PathLike

from obskit.context import current
from obskit.db.connections import PragmaSurvey, survey_connections
from obskit.db.query_watch import NEVER, thresholds
from obskit.db.slow_log import SlowStatement, slow_statements
from obskit.errors import SqliteDoctorError
from obskit.operation import HttpOperation
from obskit.sqlite_doctor import doctor
from obskit.sqlite_doctor.advice import Bounds
from obskit.sqlite_doctor.backup import Backup
from obskit.sqlite_doctor.backup import backup as copy_database
from obskit.sqlite_doctor.cli import main
from obskit.sqlite_doctor.doctor import ApplicationFacts
from obskit.sqlite_doctor.report import SqliteFindings
from obskit.time.clock import Deadline

__all__ = ["SqliteReport", "main", "sqlite_doctor"]

# How long connections that are used in other threads have to say what they have set.
_ANSWER_SECONDS = 0.5
_ANSWER_PAUSE_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class SqliteReport(SqliteFindings):
    __doc__ = SqliteFindings.__doc__

    slow_statements: tuple[SlowStatement, ...] = ()

    def optimize(self) -> SqliteReport:
        """
        Gather the statistics that SQLite's planner needs, and examine the file again. This writes to the file.

        Runs `PRAGMA optimize(0x10002)`, or before SQLite 3.46, where that sees only tables which the connection has
        used, `ANALYZE` with a limit of 400 rows an index. Other connections see the new statistics when they open the
        database anew.

        Raises:
            SqliteDoctorError: It is locked, cannot be written, or this is a request.
        """
        return optimize(self.path)

    def backup(self, to: str | PathLike[str], *, overwrite: bool = False) -> Backup:
        """
        Copy the database to another file while it is in use, and check the copy with `PRAGMA integrity_check`.

        The copy is of one moment, has the access rights of the original, and gets its name only when it is found
        sound; until then its name ends in `.partial`. In WAL mode writers go on meanwhile; with a rollback journal
        they wait, so that a busy application needs a `timeout` that is longer than the copy takes.

        Args:
            to: The new file, on a disk with room for it.
            overwrite: Replace a file that is there.

        Raises:
            SqliteDoctorError: There is a file already, or a WAL or journal of one, which SQLite would apply to the
                copy; or there is no room, no right to write, a lock for more than ten seconds; or the copy is not
                sound; or this is a request. Nothing is left behind, and a file that was to be replaced stays.
        """
        return backup(self.path, to, overwrite=overwrite)


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
        large_bytes: The size from which the file is a finding.
        many_rows: The number of rows from which a table is a finding.
        many_slow_queries: The number from which the slow queries of this process that name its tables are a finding.

    Raises:
        SqliteDoctorError: This is a request.
    """
    _refuse_in_request(path, "examined")
    whole = os.path.abspath(os.fspath(path))
    deadline = Deadline(_ANSWER_SECONDS)
    with survey_connections() as survey:
        found = doctor.examine(
            whole,
            quick_check=quick_check,
            integrity_check=integrity_check,
            schema=schema,
            try_write=try_write,
            timeout_seconds=timeout_seconds,
            bounds=Bounds(large_bytes, many_rows, many_slow_queries),
            ask_application=lambda: _ask_application(survey, whole, deadline),
        )
    return SqliteReport(**{field.name: getattr(found, field.name) for field in fields(found)})


def _ask_application(survey: PragmaSurvey, path: str, deadline: Deadline) -> ApplicationFacts:
    """
    Collect what is known of the file here; connections of other threads have a moment to answer.
    """
    while survey.unanswered() and not deadline.is_over():
        deadline.rest(_ANSWER_PAUSE_SECONDS)
    unanswered = survey.unanswered()
    is_known = survey.has_answers or unanswered
    watched = thresholds.slow_seconds != NEVER
    return ApplicationFacts(
        connections=survey.found(path) if is_known else None,
        silent_connections=unanswered,
        slow_statements=[one for one in slow_statements() if one.slowest.system == "sqlite"] if watched else None,
    )


def optimize(path: str) -> SqliteReport:
    """
    Optimise a file and examine it again; see `SqliteReport.optimize()`.
    """
    _refuse_in_request(path, "optimised")
    doctor.optimize(path)
    return sqlite_doctor(path)


def backup(path: str, to: str | PathLike[str], *, overwrite: bool = False) -> Backup:
    """
    Copy a file and check the copy; see `SqliteReport.backup()`.
    """
    _refuse_in_request(path, "copied")
    return copy_database(path, to, overwrite=overwrite)


def _refuse_in_request(path: str | PathLike[str], what: str) -> None:
    """
    Raise where this is a request, which would wait for every page of the file.
    """
    operation = current.get()
    root = operation.root if operation is not None else None
    if isinstance(root, HttpOperation) and not root.ended:
        raise SqliteDoctorError(
            f"{os.fspath(path)} was not {what}: this is a {root.method} request, which would wait for "
            "every page of the file. Do it in a scheduled job, in a thread that was started outside of requests, or by "
            "`python -m obskit.db.doctor`."
        )


if __name__ == "__main__":
    sys.exit(main())
