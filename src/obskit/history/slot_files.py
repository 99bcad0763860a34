"""
The files of a slot that are open in the process that holds it, and what becomes of them when it forks.
"""

from __future__ import annotations

import weakref
from pathlib import Path
from threading import RLock

from obskit.forks import at_fork
from obskit.storage.own_sqlite import BUSY_SECONDS, OwnDatabase
from obskit.workers.file_lock import FileLock


class SlotFiles:
    """
    The files of one slot. Not thread-safe; a forked child leaves its parent's alone.

    Args:
        lock: On the slot, held until `close()`.
        number: The slot.
    """

    def __init__(self, lock: FileLock, number: int) -> None:
        self.number = number
        self._lock = lock
        self._open: dict[Path, OwnDatabase] = {}
        self._turn = RLock()  # a fork waits for what is at the files
        self._is_locked_for_fork = False
        _all.add(self)

    @property
    def is_held(self) -> bool:
        """
        Whether the slot is still this process's: its folder may have been removed.
        """
        return self._lock.is_held()

    def _close_others_beside(self, path: Path) -> None:
        """
        Close the files of the same kind, which have other moments.
        """
        for other in [other for other in self._open if other.parent == path.parent]:
            self._forget(other)

    def _forget(self, path: Path) -> None:
        self._open.pop(path).close()

    def close(self) -> None:
        """
        Close the files, and leave the slot to others.
        """
        for path in list(self._open):
            self._forget(path)
        self._lock.release()

    def before_fork(self) -> None:
        """
        Close the files, once nobody is at them, which takes no longer than a few seconds: SQLite would take the
        parent's locks for the child's.
        """
        self._is_locked_for_fork = self._turn.acquire(timeout=BUSY_SECONDS)
        for database in list(self._open.values()):
            database.before_fork()

    def after_fork(self) -> None:
        """
        Go on, in the parent.
        """
        for database in list(self._open.values()):
            database.after_fork()
        if self._is_locked_for_fork:
            self._is_locked_for_fork = False
            self._turn.release()

    def abandon(self) -> None:
        """
        Leave the slot and its files to the parent, in a forked child.
        """
        for database in self._open.values():
            database.start_over()
        self._turn, self._is_locked_for_fork = RLock(), False
        self._open.clear()
        self._lock.abandon()


_all: weakref.WeakSet[SlotFiles] = weakref.WeakSet()


def _before_fork() -> None:
    for slot in list(_all):
        slot.before_fork()


def _after_fork() -> None:
    for slot in list(_all):
        slot.after_fork()


def _abandon_in_child() -> None:
    for slot in list(_all):
        slot.abandon()


at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_abandon_in_child)
