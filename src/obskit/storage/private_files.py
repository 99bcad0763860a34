"""
Open files that are this user's alone, and lock them among processes.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from obskit.file_modes import make_file, make_folder, refuse_foreign
from obskit.time.clock import Deadline

try:
    import fcntl as _fcntl
except ImportError:  # Windows, which has no such locks
    _fcntl = None  # type: ignore[assignment]

fcntl: Any = _fcntl
HAS_LOCKS = _fcntl is not None
# A FIFO in place of a file is not waited at.
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.0005, 0.01


class NotAFileError(OSError):
    """
    Report a folder, a FIFO or a device where a file should be.
    """


def make_private_folder(path: Path) -> None:
    """
    Make a folder of this user's alone where it is missing; others get no rights in it.

    Raises:
        OSError: It cannot be made, it is a link, or it belongs to another user.
    """
    make_folder(path, 0o700)
    found = check_folder(path)
    if os.name == "posix" and found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) & 0o077:
        os.chmod(path, found.st_mode & 0o700)


def check_folder(path: Path) -> os.stat_result:
    """
    Refuse a folder through which somebody else may have what is ours, or have us write where he may not.

    Raises:
        OSError: It is missing, it is a link, or it belongs to another user.
    """
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "it is a link, and should be a folder", str(path))
    refuse_foreign(found, path)
    return found


def open_file(path: str | os.PathLike[str]) -> int:
    """
    Open a file of this user's to read and write it, made with 0600 where it is missing; others get no rights in it.

    Raises:
        NotAFileError: It is not a file.
        OSError: It is a link, it belongs to another user, or it cannot be opened.
    """
    try:
        return make_file(path, os.O_RDWR, 0o600)
    except FileExistsError:
        return open_existing(path, os.O_RDWR)


def open_existing(path: str | os.PathLike[str], flags: int = os.O_RDONLY) -> int:
    """
    Open a file of this user's that is there.

    Args:
        path: The file.
        flags: As for `os.open()`.

    Raises:
        FileNotFoundError: It is missing.
        NotAFileError: It is not a file.
        OSError: It is a link, it belongs to another user, or it cannot be opened.
    """
    found = os.lstat(path)  # before it is opened: a device may do something then
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISLNK(found.st_mode):
        raise NotAFileError(errno.EINVAL, "it is no file", os.fspath(path))
    descriptor = os.open(path, flags | _FLAGS)
    try:
        found = os.fstat(descriptor)
        refuse_foreign(found, path)
        if found.st_mode & 0o007 and hasattr(os, "fchmod") and found.st_uid == os.geteuid():
            os.fchmod(descriptor, stat.S_IMODE(found.st_mode) & 0o770)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def inode_of(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """
    Return what tells a file from another at its place, device and inode; None if it does not exist.
    """
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class FileLock:
    """
    A lock that one process at a time holds; it is let go when that dies. Not for several threads at once.

    Where the system has no such locks it is always had.

    Args:
        path: Of the file that is locked; it is made when it is first needed, and stays.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._pid = 0
        self._is_held = False

    @property
    def is_held(self) -> bool:
        """
        Whether this process has it.
        """
        return self._is_held and self._pid == os.getpid()

    def acquire(self, patience_seconds: float) -> bool:
        """
        Wait for the lock, at most so long; False where another process has kept it.

        Raises:
            OSError: Its file cannot be opened.
        """
        if not HAS_LOCKS:
            self._is_held, self._pid = True, os.getpid()
            return True
        descriptor = self._open()
        if not _is_locked_now(descriptor):
            deadline, wait = Deadline(patience_seconds), _FIRST_WAIT_SECONDS
            while not _is_locked_now(descriptor):
                if deadline.is_over():
                    return False
                deadline.rest(wait)
                wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
        self._is_held = True
        return True

    def release(self) -> None:
        """
        Unlock. A child that was forked meanwhile does not keep the lock.
        """
        self._is_held = False
        if self._descriptor is not None and self._pid == os.getpid():
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            except OSError:
                return

    def close(self) -> None:
        """
        Unlock, and close the file. In a forked child, the parent keeps what it has.
        """
        if self._pid == os.getpid():
            self.release()
        self._is_held = False
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)

    def _open(self) -> int:
        if self._descriptor is not None and self._pid != os.getpid():
            self.close()  # a parent and its child would share the lock
        if self._descriptor is None:
            self._descriptor, self._pid = open_file(self._path), os.getpid()
        return self._descriptor


def _is_locked_now(descriptor: int) -> bool:
    """
    Lock a file if nobody else has.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EINTR):
            raise
        return False
    return True
