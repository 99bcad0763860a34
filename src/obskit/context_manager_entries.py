"""
Find the entry of a shared block that an exit belongs to.

One `observe("x")` object may be entered by many threads and tasks at once, and left in another context than it was
entered in: FastAPI leaves a dependency that yields in another thread. A `with` statement is left by the frame that
entered it, whatever runs there; where blocks are entered by hand, or by an `ExitStack`, what runs here tells. An exit
that could be of several entries ends none of them, until the others have been left.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Generic, TypeVar

from obskit.recorder import recorder

T = TypeVar("T")
MAX_AMBIGUOUS = 1000


class BlockEntries(Generic[T]):
    """
    The entries of a block that have not been left. Thread-safe.

    Attributes:
        ambiguous: For each exit that may be of several entries, what ends one.
    """

    __slots__ = ("_open", "ambiguous")

    def __init__(self) -> None:
        # Each with the frame's id, since a reference would keep its variables alive, and its code, since another frame
        # may get that id once this one is gone.
        self._open: list[tuple[int, CodeType, T]] = []
        self.ambiguous: list[Callable[[T], object]] = []

    def put(self, frame: FrameType, value: T) -> None:
        self._open.append((id(frame), frame.f_code, value))

    def take(self, depth: int, runs_here: Callable[[T], bool]) -> T | None:
        """
        Remove and return the entry that a frame leaves, the innermost of several; None where it is ambiguous, or gone.

        Args:
            depth: Of the frame: 1 is the caller's.
            runs_here: Whether an entry, or something inside of it, is current.
        """
        entries = self._open
        if len(entries) != 1:
            entries = self._of(sys._getframe(depth), runs_here)
        try:
            entry = entries[0]
            self._open.remove(entry)
        except (IndexError, ValueError):  # there is none, or another thread has left it
            return None
        return entry[2]

    def _of(self, frame: FrameType, runs_here: Callable[[T], bool]) -> list[tuple[int, CodeType, T]]:
        entries = self._open.copy()
        by_frame = [entry for entry in entries if entry[0] == id(frame) and entry[1] is frame.f_code] or entries
        return by_frame if len(by_frame) == 1 else [entry for entry in by_frame if runs_here(entry[2])][-1:]

    def add_ambiguous(self, end: Callable[[T], object]) -> None:
        """
        Store an exit that may be of several entries, until one is left that it can belong to.
        """
        if self._open:
            self.ambiguous.append(end)

    def resolve(self) -> None:
        """
        End the entry of an ambiguous exit where only one is left; drop and count those that cannot be told apart.
        """
        exits, entries = self.ambiguous, self._open
        if len(exits) == len(entries) == 1:
            exits.pop()(entries.pop()[2])
        elif len(exits) >= len(entries):
            recorder.dropped.inc(("observe", "ambiguous"), len(entries))
            exits.clear()
            entries.clear()
        elif len(exits) > MAX_AMBIGUOUS:
            recorder.dropped.inc(("observe", "ambiguous"))
            del exits[0], entries[0]
