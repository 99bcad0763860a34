"""
Locks on files that end with their process, however it ends.

They are `flock` locks. They belong to the open file, so a forked child shares those that its parent holds until it
closes its descriptor: whoever keeps one open says so to `forks`. On NFS they hold between machines, if at all.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from obskit.storage.private_files import HAS_LOCKS, fcntl

OPEN_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


@contextmanager
def locked_file(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """
    Lock a file for the block; yield whether it was locked, since another process may hold it.
    """
    descriptor = open_to_lock(path)
    try:
        with locked(descriptor, wait=wait) as is_locked:
            yield is_locked
    finally:
        os.close(descriptor)


@contextmanager
def locked(descriptor: int, *, wait: bool = False) -> Iterator[bool]:
    """
    Lock an open file or folder likewise.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        yield False
        return
    try:
        yield True
    finally:
        # Unlocked explicitly: a child that another thread is forking at this moment shares the lock.
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def open_to_lock(path: Path) -> int:
    """
    Open a file that is only locked, never read; it is made where it is missing.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | OPEN_FLAGS, 0o600)


@contextmanager
def opened_file(path: Path) -> Iterator[int]:
    """
    Open a file for reading, through no link, and without waiting for a writer where it is a FIFO.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | OPEN_FLAGS)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_unlocked(descriptor: int) -> bool:
    """
    Return whether no process holds a file's lock. The test takes a shared lock: two tests do not disturb each other.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_file_unlocked(path: Path) -> bool:
    """
    Return whether a file is there and can be read, and no process holds its lock.
    """
    try:
        with opened_file(path) as descriptor:
            return is_unlocked(descriptor)
    except OSError:
        return False


class FileLock:
    """
    A lock that this process keeps until it releases it, or ends.
    """

    __slots__ = ("_descriptor", "_file", "path")

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._file = _file_of(os.fstat(descriptor))

    @classmethod
    def take(cls, path: Path) -> FileLock | None:
        """
        Lock a file, which is made where it is missing; None where another process holds it.

        Raises:
            OSError: The file cannot be made, or its file system has no such locks.
        """
        if not HAS_LOCKS:
            raise OSError(errno.ENOTSUP, "this system has no locks that end with their process (fcntl)")
        descriptor = open_to_lock(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock = cls(path, descriptor)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return None
            raise
        if lock.is_held():
            return lock
        lock.release()  # it was removed meanwhile, and the next one may be somebody else's already
        return None

    def is_held(self) -> bool:
        """
        Return whether this lock still keeps others out: the file that is locked is the one that they would open.
        """
        try:
            return self._file == _file_of(os.fstat(self._descriptor)) == _file_of(os.lstat(self.path))
        except OSError:
            return False

    def release(self) -> None:
        """
        Unlock. A child that another thread is forking at this moment shares the lock, so closing would not do.
        """
        if self._is_open():
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self.abandon()

    def abandon(self) -> None:
        """
        Close the descriptor alone, as a forked child does: its parent keeps the lock.
        """
        if self._is_open():
            os.close(self._descriptor)
        self._descriptor = -1

    def _is_open(self) -> bool:
        """
        Return whether the descriptor is still the lock's: what becomes a daemon closes all, and their numbers go round.
        """
        try:
            return self._file == _file_of(os.fstat(self._descriptor))
        except OSError:
            return False


def _file_of(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
