"""
Copy a SQLite database while it is in use, and check the copy.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from obskit.errors import SqliteDoctorError
from obskit.sqlite_doctor.inspection import connect, errors_named
from obskit.sqlite_doctor.report import size
from obskit.time.clock import Deadline, clock

# How long a copy waits for a lock.
_LOCK_SECONDS = 10.0
_PAUSE_SECONDS = 0.001
_COMPANIONS = ("-wal", "-journal")


@dataclass(frozen=True, slots=True)
class Backup:
    """
    A copy that was made and checked.
    """

    path: str
    size_bytes: int
    took_seconds: float


def backup(path: str | os.PathLike[str], to: str | os.PathLike[str], *, overwrite: bool = False) -> Backup:
    """
    Copy a database while it is in use, and check the copy, as the `backup()` of a report describes.

    Raises:
        SqliteDoctorError: The copy could not be made, or is not sound. Nothing is left behind.
    """
    whole, target = os.path.abspath(os.fspath(path)), os.path.abspath(os.fspath(to))
    started = clock.monotonic()
    what = f"{whole} was not copied to {target}"
    folder, name = os.path.split(target)
    with errors_named(what):
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
    return Backup(target, taken, round(clock.monotonic() - started, 3))


def _copy(what: str, path: str, partial: str) -> None:
    deadline = Deadline(_LOCK_SECONDS)

    def give_up(status: int, _remaining: int, _total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and deadline.is_over():
            raise SqliteDoctorError(f"{what}: locked for {_LOCK_SECONDS:.0f} s. Find the connection that does.")

    # SQLite's own waiting has pauses of a tenth of a second, and would miss the moments that a busy writer leaves.
    with closing(connect(path, "ro", 0.0)) as source, closing(connect(partial, "rw")) as copy:
        # All pages in one step: in several, each write of another process would begin it anew.
        source.backup(copy, progress=give_up, sleep=_PAUSE_SECONDS)
        findings = [row[0] for row in copy.execute("PRAGMA integrity_check(1)").fetchall()]
    if findings != ["ok"]:
        raise SqliteDoctorError(
            f"{what}: the copy is not sound, nor is the original ({findings[0]}). Restore an older backup, or save "
            "what can be read with `.recover` of the sqlite3 shell."
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
    Sync the folder, so that the new name is on the disk; SQLite has synced the content.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
