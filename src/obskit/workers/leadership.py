"""
What one of several processes has: the lock on a file in a folder that they share.
"""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock

from obskit.forks import at_fork
from obskit.workers.file_lock import FileLock

# A process that asks at least so often takes over within 5 seconds of its predecessor's death.
ASK_EVERY_SECONDS = 2.0
# How long a thread waits for another that asks: it may hang, where the disk does, or be what this one interrupts.
_PATIENCE_SECONDS = 1.0


class Leadership:
    """
    Has at most one holder among all processes that ask in the same folder; it is free again when that one ends.

    A holder that is stopped, or sleeps with its machine, stays it: when it wakes, nobody has acted in its place.

    Args:
        file: Name of the file that is locked.
    """

    def __init__(self, file: str) -> None:
        self._name = file
        self._lock: FileLock | None = None
        self.start_over()
        at_fork(after_in_child=self.start_over)

    def start_over(self) -> None:
        """
        Leave the lock to the parent of a forked process.
        """
        self._asking = Lock()
        self._pid = os.getpid()
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.abandon()

    def is_held(self, folder: Path) -> bool:
        """
        Return whether this process is the holder, and become it where nobody is. It waits for no other process.

        Raises:
            OSError: The folder cannot be written to, or its file system has no such locks.
        """
        if self._pid != os.getpid():
            self.start_over()  # a server has forked without telling Python, as uWSGI does
        path, lock = folder / self._name, self._lock
        if lock is not None and lock.path == path and lock.is_held():
            return True
        if not self._asking.acquire(timeout=_PATIENCE_SECONDS):
            return False
        try:
            if self._lock is None or self._lock is lock:
                self._release()
                self._lock = FileLock.take(path)
            return self._lock is not None and self._lock.path == path
        finally:
            self._asking.release()

    def release(self) -> None:
        """
        Release it: another process may have it.
        """
        if self._pid != os.getpid():
            self.start_over()
        if self._asking.acquire(timeout=_PATIENCE_SECONDS):
            try:
                self._release()
            finally:
                self._asking.release()

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()
