"""
The history folder: which files of figures it has, the slots of their writers, and how much of it is kept.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

from obskit.history.settings import KEEP
from obskit.history.tables import SERIES
from obskit.storage.own_sqlite import primary_code, reading
from obskit.storage.periods import Period, PeriodFiles
from obskit.workers.file_lock import FileLock

MINUTE_SECONDS, HOUR_SECONDS, DAY_SECONDS = 60, 3600, 86_400
MAX_SLOTS = 256
MAX_BYTES = 512 << 20
_REFUSED = (errno.ELOOP, errno.EPERM, errno.EACCES)  # a link, and what another user has
BESIDE = ("-wal", "-shm", "-journal", ".lock")


class SeriesFiles:
    """
    The series files of all slots.

    Args:
        folder: The history folder; it need not be there.
        every: Seconds of the finest step, of which a minute has a whole number.
        keep: How long each kind stays.
        max_bytes: Of all that is kept.

    Attributes:
        by_step: Files by the seconds of their step, the finest first.
    """

    def __init__(
        self, folder: Path, every: int = 10, keep: Mapping[str, timedelta] = KEEP, max_bytes: int = MAX_BYTES
    ) -> None:
        self.folder, self.every, self.max_bytes = folder, every, max_bytes
        kinds: tuple[tuple[int, str, str, Period], ...] = (
            (every, "10s", "10s", "hour"),
            (MINUTE_SECONDS, "1m", "1m", "day"),
            (HOUR_SECONDS, "1h", "1h", "month"),
            (DAY_SECONDS, "1d", "1h", "month"),  # as long as hours: a year is read of it in a moment
        )
        self.by_step = {
            step: PeriodFiles(folder / f"series-{name}", period, max_bytes, keep[kept])
            for step, name, kept, period in kinds
        }

    def claim_slot(
        self, at: float = 0.0, on_refused: Callable[[Path], object] = lambda path: None
    ) -> tuple[FileLock, int]:
        """
        Lock the first slot that no living process has, and of which the files of a moment, if any, can be used.

        Args:
            at: Seconds since the epoch.
            on_refused: Told of each file, or lock, for which a slot is left alone.

        Raises:
            OSError: There is none, or the folder cannot be used.
        """
        failed: OSError | None = None
        for number in range(MAX_SLOTS):
            try:
                lock = self.take_slot(number)
            except OSError as error:  # a link or a folder is in place of the lock
                failed = failed or error
                on_refused(self._lock_path(number))
                continue
            if lock is None:
                continue
            paths = [files.path_at(at, str(number)) for files in self.by_step.values()]
            if not (refused := [path for path in paths if _is_refused(path)]):
                return lock, number
            lock.release()
            on_refused(refused[0])
        raise failed or OSError(f"all {MAX_SLOTS} slots of {self.folder} are taken")

    def take_slot(self, number: int) -> FileLock | None:
        """
        Lock a slot; None where another process has it.

        Raises:
            OSError: The folder cannot be used.
        """
        return FileLock.take(self._lock_path(number))

    def _lock_path(self, number: int) -> Path:
        return self.folder / f"slot-{number}.lock"

    def slots(self) -> set[int]:
        """
        Return the slots that have files.
        """
        writers = {file.writer for files in self.by_step.values() for file in files.files()}
        return {int(writer) for writer in writers if writer.isascii() and writer.isdigit()}


def _is_refused(path: Path) -> bool:
    """
    Return whether a file is there that is neither ours nor damaged, such as one of a newer version: it stays. So does
    what is no file beside it, where SQLite or the lock should have one.
    """
    if any(_is_no_file(path.with_name(f"{path.name}{end}")) for end in BESIDE):
        return True
    try:
        with reading(path, SERIES):
            return False
    except sqlite3.Error as error:
        return path.stat().st_size > 0 and primary_code(error) == 0  # not SQLite's own: it is of another version
    except OSError as error:
        return error.errno in _REFUSED


def _is_no_file(path: Path) -> bool:
    try:
        return not stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False
