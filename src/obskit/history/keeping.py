"""
How much is kept: each kind for as long as the settings say, and all together below a number of bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from obskit.storage.periods import PeriodFiles


class Kept(NamedTuple):
    """
    What is there after old files are gone.

    Attributes:
        size_bytes: Of all files, with their logs.
        removed: How many files are gone.
        fits: Whether all is below the cap; if not, what is left is being written.
    """

    size_bytes: int
    removed: int
    fits: bool


def trim(kinds: Sequence[PeriodFiles], max_bytes: int, now: float) -> Kept:
    """
    Remove what is older than it is kept, or more than its kind may be, then of what goes first the oldest, until all is
    small enough.

    Args:
        kinds: The files of each kind, in the order in which they go: the finest first.
        max_bytes: Of all together.
        now: Seconds since the epoch.
    """
    removed = 0
    for files in kinds:
        removed += len(files.trim(now).removed)
    excess = size_of(kinds) - max_bytes
    for files in kinds:
        if excess > 0:
            size, own = size_of([files]), files.max_bytes
            files.max_bytes = max(0, size - excess)
            trimmed = files.trim(now)
            files.max_bytes = own
            removed += len(trimmed.removed)
            excess -= size - trimmed.size_bytes
    return Kept(max_bytes + excess, removed, excess <= 0)


def size_of(kinds: Iterable[PeriodFiles]) -> int:
    """
    Return the bytes of all files, with their logs.
    """
    return sum(file.size_bytes for files in kinds for file in files.files())
