"""
Write lines to a file that several processes share, and start a new one when it is full.

A line is one write to a descriptor that appends, with no lock. A new file is started by renaming the old one, under a
lock on its folder; the other processes notice by the inode. Each process holds a shared lock on the file that it writes
to, so that what compresses or deletes old files can tell that nobody writes to them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from obskit.errors import ConfigurationError
from obskit.file_modes import make_file, make_folder, refuse_foreign
from obskit.forks import at_fork
from obskit.logs.rotated_files import RotatedFiles
from obskit.recorder import recorder
from obskit.time.clock import Deadline
from obskit.time.clock import clock as current_clock
from obskit.workers.file_lock import locked

# The interval in seconds at which a process checks that its file is still the one at the path.
CHECK_INTERVAL_SECONDS = 1.0
# It also checks after this fraction of the bytes that are left: several processes together then end close to the
# limit, and a file of 250,000 lines costs fewer than 1,000 checks.
_CHECK_FRACTION = 32
_DAY = 86_400
_MAX_OPEN_TRIES = 100
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | getattr(os, "O_NOCTTY", 0)


class LogFile:
    """
    A log file without a buffer: what `put()` has taken outlives the process.

    Safe with several processes and threads, on a file system of this machine. A file that is renamed, deleted or
    truncated from outside is reopened within `CHECK_INTERVAL_SECONDS`. On a full disk lines are refused, and are
    accepted again as soon as there is space. A new file has the mode and the group of the one before, and its owner
    where this process is root; the first one has 0640, whatever the umask.

    Args:
        path: The file. Its folder is made where it is missing, for the owner and the group (0750).
        rotate_bytes: Size in bytes from which a new file is started. None: no limit.
        rotate_daily: Start a new file each day, in UTC.
        keep_files: Old files to keep, beside the one that is written. None: all.
        keep_days: Days after its last line when an old file is deleted, archived or not. None: never.
        gzip: Compress old files, at once or from an age on.
        archive_dir: A folder, of this or of another file system, that old files go to, compressed, when they are as old
            as `archive_after` says, or are more than `keep_files`. None: with `archive_after`, `archive` beside the
            file.
        archive_after: That age. None: with `archive_dir`, at once.
        clock: Gives the seconds since the epoch.

    Raises:
        ConfigurationError: The folder cannot be made, or the file not be opened for writing, or it belongs to another
            user who is not root, while this process is not root's.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        rotate_bytes: int | None = 50_000_000,
        rotate_daily: bool = False,
        keep_files: int | None = 10,
        keep_days: int | None = None,
        gzip: bool | timedelta = False,
        archive_dir: str | None = None,
        archive_after: timedelta | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        # The file itself is renamed, not a link to it; and a process may change its folder.
        self.path = os.path.realpath(path)
        self._rotate_bytes, self._rotate_daily = rotate_bytes, rotate_daily
        self._clock = clock or current_clock.wall
        archive = self._archive_path(archive_dir) if archive_dir is not None or archive_after is not None else None
        self._rotated = RotatedFiles(
            self.path, keep_files, keep_days, gzip, self._clock, archive, archive_after or timedelta(0)
        )
        # One descriptor for the lifetime of this object: no thread may find it closed, or another's, between its check
        # and its write. Files are put behind it with dup2().
        self._descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor).atexit = False
        self._closed = False
        self._reset()
        try:
            self._open()
        except OSError as error:
            raise ConfigurationError(
                f"log file {os.fspath(path)!r} cannot be written: {error.strerror or error}; choose a path "
                "where this process may create and write files"
            ) from error
        try:
            self._rotated.make_archive()
        except OSError as error:
            self._release()
            raise ConfigurationError(
                f"old log files cannot be put into {archive!r}: {error.strerror or error}; choose a folder of their "
                "own where this process may create files"
            ) from error
        self._cleaned_day = self._clock() // _DAY
        self._rotated.clean_up()
        _files.add(self)

    def _archive_path(self, given: str | None) -> str:
        return os.path.join(os.path.dirname(self.path), "archive") if given is None else os.path.realpath(given)

    def _reset(self) -> None:
        self._check_lock = threading.RLock()  # a signal's handler may log while its thread looks
        self._file_id: tuple[int, int] | None = None  # device and inode of the file that is written
        self._day = 0.0  # of its lines
        self._end = 0  # of the last line that this process wrote
        self._bytes_until_check = -1.0  # and no later than `_check_due`
        self._is_cleanup_due = False  # there is a file more, or a day is over, since the old ones were looked at
        self._checked_at = self._check_due = 0.0

    def notice(self) -> str | None:
        """
        Return a warning where this process cannot start new files in the folder and the settings ask for it; else None.
        """
        if self._rotate_bytes is None and not self._rotate_daily:
            return None
        folder = os.path.dirname(self.path)
        above, user = os.stat(folder), os.geteuid()
        is_others = bool(above.st_mode & stat.S_ISVTX) and user not in (0, above.st_uid, os.stat(self.path).st_uid)
        if os.access(folder, os.R_OK | os.W_OK | os.X_OK) and not is_others:
            return None
        return (
            f"log file {self.path} will never be rotated, since user {user} may not rename files in {folder}; give it "
            "that right, or set log_rotate_bytes and log_rotate_daily to none and let logrotate do it"
        )

    def put(self, line: bytes) -> int:
        """
        Write a line and return how many of its bytes were written; `write_rest()` handles what is missing.

        Raises:
            OSError: Nothing of the line was taken.
            ValueError: The file was closed by `close()`.
        """
        descriptor = self._descriptor
        self._bytes_until_check -= len(line)
        if self._bytes_until_check < 0 or not self._checked_at <= self._clock() < self._check_due:
            self._check_file(len(line))
        taken = os.write(descriptor, line)
        end = os.lseek(descriptor, 0, os.SEEK_CUR)
        if end - taken != self._end:
            self._rewrite_if_torn(line, end - taken)
        self._end = end
        return taken

    def _rewrite_if_torn(self, line: bytes, start: int) -> None:
        """
        Write a line again that follows a torn one, left by a process that was killed in the middle of its write.

        Others have written since this process last did, so what is before the line is theirs. Where another thread
        has moved the position, the line is not found there, and nothing is done.
        """
        descriptor = self._descriptor
        if start <= 0 or os.pread(descriptor, 1, start - 1) == b"\n":
            return
        if os.pread(descriptor, len(line), start) == line:
            os.write(descriptor, line)

    def write_rest(self, line: bytes, taken: int | None) -> None:
        """
        Rewrite a line of which only the start was written, since the disk is full; or remove that start.

        Raises:
            OSError: The line could not be written whole.
        """
        self._remove_partial(line[:taken])
        taken = os.write(self._descriptor, line)
        if taken != len(line):
            self._remove_partial(line[:taken])
            raise OSError(errno.ENOSPC, "the log file takes the line in part only")

    def _remove_partial(self, start: bytes) -> None:
        """
        Truncate the start of a line from the end of the file, so that the next line, of any process, is whole.
        """
        end = os.fstat(self._descriptor).st_size - len(start)
        if end >= 0 and os.pread(self._descriptor, len(start), end) == start:
            os.ftruncate(self._descriptor, end)

    def write(self, line: bytes) -> None:
        """
        Write one line.

        Raises:
            OSError: The line could not be written whole.
            ValueError: The file was closed.
        """
        taken = self.put(line)
        if taken != len(line):
            self.write_rest(line, taken)

    def for_level(self, level: int) -> LogFile:
        return self

    def flush(self, deadline: Deadline | None = None) -> None: ...

    def close(self, deadline: Deadline | None = None) -> None:
        """
        Release the file; later lines are refused.
        """
        self._closed = True
        self._rotated.stop()
        with self._check_lock:
            self._reset()
            self._release()

    def _release(self) -> None:
        with suppress(OSError):  # no descriptor is left; then the file is held until the process ends
            nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            os.dup2(nothing, self._descriptor, inheritable=False)
            os.close(nothing)

    def _check_file(self, size: int) -> None:
        """
        Check that the file is still the one at the path, and that a line of this size fits.
        """
        if self._closed:
            raise ValueError("this log file was closed")
        if not self._check_lock.acquire(blocking=self._file_id is None):
            return  # another thread looks; what it changes holds from the next line on
        try:
            self._reopen_or_rotate(size)
        except OSError as error:
            if self._file_id is None:
                raise
            self._checked_at, self._bytes_until_check = self._clock(), float("inf")
            self._check_due = self._clock() + CHECK_INTERVAL_SECONDS
            failure: OSError | None = error  # the file that is open goes on, wherever it is
        else:
            failure = None
        finally:
            self._check_lock.release()
        if self._is_cleanup_due:
            self._is_cleanup_due = False
            self._rotated.clean_up()
        if failure is not None:
            recorder.failed("logs", failure)

    def _reopen_or_rotate(self, size: int) -> None:
        now = self._clock()
        found = self._stat_path()
        if found is None or (found.st_dev, found.st_ino) != self._file_id:
            found = self._open()  # another process has started it, or an outside rotation
        if found.st_size and self._is_rotation_due(found.st_size + size, now):
            found = self._rotate(found, now)
        left = float("inf") if self._rotate_bytes is None else self._rotate_bytes - found.st_size - size
        self._bytes_until_check = left / _CHECK_FRACTION
        self._checked_at, self._check_due = now, min(now + CHECK_INTERVAL_SECONDS, (now // _DAY + 1) * _DAY)
        if now // _DAY != self._cleaned_day or now > self._rotated.next_due:
            self._cleaned_day, self._is_cleanup_due = now // _DAY, True

    def _is_rotation_due(self, size: int, now: float) -> bool:
        if self._rotate_bytes is not None and size > self._rotate_bytes:
            return True
        return self._rotate_daily and now // _DAY != self._day

    def _stat_path(self) -> os.stat_result | None:
        try:
            return os.stat(self.path)
        except FileNotFoundError:
            return None

    def _open(self) -> os.stat_result:
        """
        Open or create the file at the path, and hold a shared lock on it.
        """
        for _ in range(_MAX_OPEN_TRIES):
            descriptor = self._open_or_create()
            try:
                opened = os.fstat(descriptor)
                if not stat.S_ISREG(opened.st_mode):
                    raise OSError(errno.EINVAL, "it is no regular file")
                refuse_foreign(opened, self.path)
                # Without the lock, or at another path: it has just been rotated.
                if _lock_shared(descriptor) and _is_same_file(self._stat_path(), opened):
                    os.dup2(descriptor, self._descriptor, inheritable=False)
                    self._file_id = opened.st_dev, opened.st_ino
                    self._day = (opened.st_mtime if opened.st_size else self._clock()) // _DAY
                    return opened
            finally:
                os.close(descriptor)
        raise OSError(errno.ESTALE, "it is moved away whenever it is opened")

    def _open_or_create(self) -> int:
        with suppress(FileNotFoundError):
            return os.open(self.path, _FLAGS)
        make_folder(os.path.dirname(self.path), 0o750)
        like = None if self._file_id is None else os.fstat(self._descriptor)
        try:
            return make_file(self.path, _FLAGS, 0o640, like)
        except FileExistsError:  # another process was faster
            return os.open(self.path, _FLAGS)

    def _rotate(self, found: os.stat_result, now: float) -> os.stat_result:
        """
        Rename the file and start a new one; where another process is rotating, keep the current one until it is done.
        """
        with _folder_lock(os.path.dirname(self.path)) as alone:
            if not alone:
                return found
            if _is_same_file(self._stat_path(), found):
                os.rename(self.path, self._rotated.path_for(min(now, found.st_mtime)))
        found = self._open()
        self._is_cleanup_due = True
        return found


def _is_same_file(found: os.stat_result | None, other: os.stat_result) -> bool:
    return found is not None and os.path.samestat(found, other)


def _lock_shared(descriptor: int) -> bool:
    """
    Lock a file as one of its writers; False where a process holds it exclusively, to compress or delete it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # this file system has no locks; old files then wait until they are abandoned
    return True


@contextmanager
def _folder_lock(folder: str) -> Iterator[bool]:
    """
    Lock a folder for a rename; False where another process holds the lock.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with locked(descriptor) as is_locked:
            yield is_locked
    finally:
        os.close(descriptor)


_files: weakref.WeakSet[LogFile] = weakref.WeakSet()


def _reset_in_child() -> None:
    # The parent's lock is the child's too, for as long as the child has its descriptor.
    for file in list(_files):
        if not file._closed:
            file._reset()
            file._release()


at_fork(after_in_child=_reset_in_child)
