"""
The history folder: which files of figures it has, the slots of their writers, and how much of it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from obskit.history.settings import KEEP
from obskit.storage.periods import Period, PeriodFiles
from obskit.workers.file_lock import FileLock

MINUTE_SECONDS, HOUR_SECONDS = 60, 3600
MAX_SLOTS = 256
MAX_BYTES = 512 << 20


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
        kinds: tuple[tuple[int, str, Period], ...] = (
            (every, "10s", "hour"),
            (MINUTE_SECONDS, "1m", "day"),
            (HOUR_SECONDS, "1h", "month"),
        )
        self.by_step = {
            step: PeriodFiles(folder / f"series-{name}", period, max_bytes, keep[name]) for step, name, period in kinds
        }

    def claim_slot(self) -> tuple[FileLock, int]:
        """
        Lock the first slot that no living process has.

        Raises:
            OSError: None is free, or the folder cannot be used.
        """
        for number in range(MAX_SLOTS):
            if (lock := self.take_slot(number)) is not None:
                return lock, number
        raise OSError(f"all {MAX_SLOTS} slots of {self.folder} are taken")

    def take_slot(self, number: int) -> FileLock | None:
        """
        Lock a slot; None where another process has it.

        Raises:
            OSError: The folder cannot be used.
        """
        return FileLock.take(self.folder / f"slot-{number}.lock")

    def slots(self) -> set[int]:
        """
        Return the slots that have files.
        """
        writers = {file.writer for files in self.by_step.values() for file in files.files()}
        return {int(writer) for writer in writers if writer.isascii() and writer.isdigit()}
