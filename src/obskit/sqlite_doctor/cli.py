"""
The command line of the SQLite doctor.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from obskit.errors import SqliteDoctorError
from obskit.sqlite_doctor.backup import backup
from obskit.sqlite_doctor.doctor import examine, optimize
from obskit.sqlite_doctor.report import size


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Print a report; return 1 where the file is not healthy or something asked for was not done, else 0.
    """
    parser = argparse.ArgumentParser(prog="python -m obskit.db.doctor", description="Examine a SQLite file.")
    add_arguments(parser)
    return run(parser.parse_args(arguments))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Add what can be asked of the doctor.
    """
    parser.add_argument("path", metavar="FILE", help="the database; it is not created")
    parser.add_argument("--quick-check", action="store_true", help="run PRAGMA quick_check too")
    parser.add_argument("--integrity-check", action="store_true", help="run PRAGMA integrity_check too")
    parser.add_argument("--schema", action="store_true", help="quote tables, indexes, views and triggers")
    parser.add_argument("--try-write", action="store_true", help="take the write lock for a moment")
    parser.add_argument("--optimize", action="store_true", help="gather statistics; this writes to the file")
    parser.add_argument("--backup", metavar="FILE", help="copy the database while it is in use, and check the copy")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS", help="for counting and measuring")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(wanted: argparse.Namespace) -> int:
    """
    Do what was asked for, and print a report; return as `main()` does.
    """
    try:
        if wanted.optimize:
            optimize(wanted.path)
        if wanted.backup:
            copy = backup(wanted.path, wanted.backup)
            print(f"{copy.path}: {size(copy.size_bytes)}, checked, in {copy.took_seconds:.2f} s", file=sys.stderr)
    except SqliteDoctorError as error:
        print(error, file=sys.stderr)
        return 1
    report = examine(
        wanted.path,
        quick_check=wanted.quick_check,
        integrity_check=wanted.integrity_check,
        schema=wanted.schema,
        try_write=wanted.try_write,
        timeout_seconds=wanted.timeout,
    )
    print(report.to_json(indent=2) if wanted.json else report.render(), end="\n" if wanted.json else "")
    return 0 if report.is_healthy else 1
