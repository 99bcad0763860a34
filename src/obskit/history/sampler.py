"""
The sampler of an instance: it reads the merged cells of its workers, and stores what has changed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import NamedTuple

from obskit.history.files import SeriesFiles
from obskit.history.increments import Totals, changes
from obskit.history.series_slot import Sampled, SeriesSlot, read_totals
from obskit.history.tables import SERIES
from obskit.metrics.snapshots import FamilySnapshot
from obskit.storage.own_sqlite import reading


class Known(NamedTuple):
    """
    What is stored of an instance.

    Attributes:
        totals: By metric and label set.
        sequence: Of its last sampling; 0: nothing was ever stored.
        at: The start of the step of that.
    """

    totals: Totals
    sequence: int
    at: int = 0


class StoredSampling(NamedTuple):
    """
    What came of one sampling.

    Attributes:
        at: The start of its step.
        sequence: Its number.
        fallen: How many totals were less than before.
    """

    at: int
    sequence: int
    fallen: int


class InstanceTotals:
    """
    What is stored of one instance, and is therefore no increment any more.

    Args:
        instance: Its id.
        known: As it was found.
        counts_from_zero: False where something was stored that is lost: all counts from now on.
    """

    def __init__(self, instance: str, known: Known, *, counts_from_zero: bool = True) -> None:
        self.instance = instance
        self.sequence, self.at = known.sequence, known.at
        self._totals, self._counts_from_zero = known.totals, counts_from_zero

    def store(
        self, families: Mapping[str, FamilySnapshot], slot: SeriesSlot, at: int, *, is_whole: bool = True
    ) -> StoredSampling:
        """
        Store what has changed since, in a step that starts at a moment.

        Args:
            families: The figures of all workers.
            slot: Whose files it goes to.
            at: The start of the step.
            is_whole: False where not all workers could be read.

        Raises:
            OSError, sqlite3.Error: It cannot be stored; the next call has it.
        """
        found = list(changes(families, self._totals, counts_from_zero=self._counts_from_zero, is_whole=is_whole))
        slot.store(Sampled(at, self.instance, self.sequence + 1, found, self._totals))
        for change in found:
            if change.figures is None:
                del self._totals[change.metric, change.key]
            else:
                self._totals[change.metric, change.key] = change.figures
        self.sequence, self.at, self._counts_from_zero = self.sequence + 1, at, True
        return StoredSampling(at, self.sequence, sum(change.has_fallen for change in found))


def find_totals(files: SeriesFiles, instance: str, on_error: Callable[[Exception], object]) -> Known:
    """
    Find what is stored of an instance, by whichever process, in whichever slot.

    Args:
        files: Of all slots.
        instance: Its id.
        on_error: Told of each file that cannot be read.
    """
    best = Known({}, 0)
    for file in reversed(files.by_step[files.every].files()):
        try:
            with reading(file.path, SERIES) as db:
                row = db.execute("SELECT sequence, at FROM instance WHERE id = ?", (instance,)).fetchone()
                if row is not None and row[0] > best.sequence:
                    best = Known(read_totals(db, instance), *row)
        except (OSError, sqlite3.Error, ValueError, KeyError) as error:
            on_error(error)
    return best


def step_start(wall: float, every: int, last: int) -> int:
    """
    Return the start of the step that a sampling belongs to: the last one that is over by the clock, or the last one
    that was stored, until a clock that was set back has passed it.
    """
    return max(int(wall // every) * every - every, last)
