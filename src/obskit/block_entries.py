"""
Tell which entry of a block that is shared an exit belongs to.

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
MOST_NOTED = 1000


class Entries(Generic[T]):
    """
    Hold the entries that have not been left. Thread-safe.

    Attributes:
        noted: What ends an entry, for each exit that may be of several.
    """

    __slots__ = ("_open", "noted")

    def __init__(self) -> None:
        # Each with the frame's id, since a reference would keep its variables alive, and its code, since another frame
        # may get that id once this one is gone.
        self._open: list[tuple[int, CodeType, T]] = []
        self.noted: list[Callable[[T], object]] = []

    def put(self, frame: FrameType, value: T) -> None:
        """
        Note an entry: what a frame has entered.
        """
        self._open.append((id(frame), frame.f_code, value))

    def take(self, depth: int, runs_here: Callable[[T], bool]) -> T | None:
        """
        Take the entry that a frame leaves, the innermost of several; None where there is none, or no telling which.

        Args:
            depth: Of the frame: 1 is that of who calls this.
            runs_here: Tells whether an entry, or something inside of it, is what runs here.
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
        own = [entry for entry in entries if entry[0] == id(frame) and entry[1] is frame.f_code] or entries
        return own if len(own) == 1 else [entry for entry in own if runs_here(entry[2])][-1:]

    def note(self, end: Callable[[T], object]) -> None:
        """
        Keep an exit of nobody knows which entry, until only one is left that it can belong to.
        """
        if self._open:
            self.noted.append(end)

    def settle(self) -> None:
        """
        Let an exit that was noted end its entry, once that is told; let go of those that never will be.
        """
        noted, entries = self.noted, self._open
        if len(noted) == len(entries) == 1:
            noted.pop()(entries.pop()[2])
        elif len(noted) >= len(entries):
            recorder.dropped.inc(("observe", "ambiguous"), len(entries))
            noted.clear()
            entries.clear()
        elif len(noted) > MOST_NOTED:
            recorder.dropped.inc(("observe", "ambiguous"))
            del noted[0], entries[0]
