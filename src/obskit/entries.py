"""
Tell which entry of a block that is shared an exit belongs to.

One `observe("x")` object may be entered by many threads and tasks at once, and left in another context than it was
entered in: FastAPI leaves a dependency that yields in another thread. A `with` statement is left by the frame that
entered it, whatever runs there; where blocks are entered by hand, or by an `ExitStack`, what runs here tells. An exit
that could be of several entries ends none of them, until the others have been left.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FrameType
from typing import Generic, NamedTuple, TypeVar

from obskit.recorder import recorder

T = TypeVar("T")
MOST_NOTED = 1000


class _Entry(NamedTuple, Generic[T]):
    frame: int  # the id: a reference would keep its variables alive
    code: CodeType  # since another frame may get that id once this one is gone
    value: T


class Entries(Generic[T]):
    """
    Hold the entries that have not been left. Thread-safe.

    Attributes:
        noted: What ends an entry, for each exit that may be of several.
    """

    __slots__ = ("_open", "noted")

    def __init__(self) -> None:
        self._open: list[_Entry[T]] = []
        self.noted: list[Callable[[T], object]] = []

    def put(self, frame: FrameType, value: T) -> None:
        """
        Note an entry: what a frame has entered.
        """
        self._open.append(_Entry(id(frame), frame.f_code, value))

    def take(self, frame: FrameType, runs_here: Callable[[T], bool]) -> T | None:
        """
        Take the entry that a frame leaves, the innermost of several; None where there is none, or no telling which.

        Args:
            frame: It leaves one.
            runs_here: Tells whether an entry, or something inside of it, is what runs here.
        """
        entries = self._open.copy()
        if len(entries) > 1:
            own = [entry for entry in entries if entry.frame == id(frame) and entry.code is frame.f_code]
            entries = own or entries
        if len(entries) > 1:
            entries = [entry for entry in entries if runs_here(entry.value)][-1:]
        for entry in entries:
            try:
                self._open.remove(entry)
            except ValueError:  # another thread has left it
                return None
            return entry.value
        return None

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
            noted.pop()(entries.pop().value)
        elif len(noted) >= len(entries):
            recorder.dropped.inc(("observe", "ambiguous"), len(entries))
            noted.clear()
            entries.clear()
        elif len(noted) > MOST_NOTED:
            recorder.dropped.inc(("observe", "ambiguous"))
            del noted[0], entries[0]
