"""
Name, compress, archive and delete rotated log files, in the background.

`app.jsonl` becomes `app.jsonl.20261104T235959.123456Z`, by the time of its last line, then the same with `.gz`, which
may move to an archive. Any process may stop at any point: the next one finishes its work, and no line is lost or there
twice.
"""

from __future__ import annotations

import errno
import fcntl
import filecmp
import gzip
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import BinaryIO, NamedTuple

from obskit.background import OVER, Ticks
from obskit.file_modes import make_alike, make_file, make_folder
from obskit.recorder import recorder
from obskit.time.clock import Deadline

# After this many seconds nobody writes to a rotated file any more, whatever locks there are: writers check each second
# for the new file, so the lock is that of an idle process.
ABANDONED_SECONDS = 3600.0
# Seconds until the thread tries again after a file had to wait; the last is repeated.
_RETRY_SECONDS = (1.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
_NO_DELAY = timedelta(0)
_CHUNK = 1 << 20
_COMPRESSED = b"\x1f\x8b"  # no line starts like this
_GZIP_LEVEL = 6  # of zlib: a tenth of the size of JSON lines; 9 takes thrice the time for a twentieth less
_STAMP = "%Y%m%dT%H%M%S.%fZ"


class _RotatedFile(NamedTuple):
    """
    A rotated file: the time in its name, its path, and whether it is archived.
    """

    stamp: str
    path: str
    archived: bool = False

    @property
    def compressed(self) -> bool:
        return self.path.endswith(".gz")


class RotatedFiles:
    """
    The rotated files of one log. A background thread applies the retention policy, and ends when nothing is left to do.

    Args:
        path: The log file.
        keep_files: Old files to keep beside the log. None: all.
        keep_days: Days to keep them, by the time in their name, archived ones too. None: for ever.
        compress: Whether to gzip them, or from which age on.
        clock: Gives the seconds since the epoch.
        archive: The folder that they are put away to, compressed, from an age on, or where there are more than
            `keep_files`. None: they stay beside the log, and what are too many are deleted.
        archive_after: That age.

    Attributes:
        due: When the next file has the age at which something is done with it, in seconds since the epoch.
    """

    def __init__(
        self,
        path: str,
        keep_files: int | None,
        keep_days: int | None,
        compress: bool | timedelta,
        clock: Callable[[], float],
        archive: str | None = None,
        archive_after: timedelta = _NO_DELAY,
    ) -> None:
        self._folder, self._name = os.path.split(path)
        self._keep_files, self._clock = keep_files, clock
        self._keep = None if keep_days is None else timedelta(days=keep_days)
        self._compress_after = (_NO_DELAY if compress else None) if isinstance(compress, bool) else compress
        self._archive, self._archive_after = archive, archive_after
        self._match_name = re.compile(re.escape(self._name) + r"\.(\d{8}T\d{6}\.\d{6}Z)(?:\.gz)?").fullmatch
        self.next_due = float("inf")
        self._stopped = False
        self._waits = iter(_RETRY_SECONDS)
        self.thread = Ticks(
            name="obskit-old-files", step=self._tidy, failed=recorder.failed, part="logs", began=_lower_priority
        )

    def make_archive(self) -> None:
        """
        Create the archive's folder where one is configured and missing.

        Raises:
            OSError: It cannot be made, or is the log's own folder.
        """
        if self._archive is not None:
            make_folder(self._archive, 0o750)
            if os.path.samefile(self._archive, self._folder):
                raise OSError(errno.EINVAL, "it is the folder of the log file itself")

    def path_for(self, last_line: float) -> str:
        """
        Return a free path for a file whose last line was written at this time. The caller holds the folder's lock.
        """
        folders = [self._folder] if self._archive is None else [self._folder, self._archive]
        while True:
            name = f"{self._name}.{datetime.fromtimestamp(last_line, UTC).strftime(_STAMP)}"
            if not any(os.path.lexists(os.path.join(folder, name + end)) for folder in folders for end in ("", ".gz")):
                return os.path.join(self._folder, name)
            last_line += 1e-6

    def list_files(self) -> list[_RotatedFile]:
        """
        List the rotated files beside the log, the oldest first. What has such a name and is no regular file, such as a
        FIFO, is ignored.
        """
        return self._list_folder(self._folder)

    def list_archived(self) -> list[_RotatedFile]:
        """
        List the archived files, the oldest first.
        """
        try:
            return [] if self._archive is None else self._list_folder(self._archive, archived=True)
        except FileNotFoundError:
            return []

    def _list_folder(self, folder: str, archived: bool = False) -> list[_RotatedFile]:
        with os.scandir(folder) as entries:
            names = [self._match_name(entry.name) for entry in entries if entry.is_file(follow_symlinks=False)]
        return sorted(_RotatedFile(name[1], os.path.join(folder, name[0]), archived) for name in names if name)

    def clean_up(self) -> None:
        """
        Start the thread, or wake it.
        """
        asked = self._keep_files, self._keep, self._compress_after, self._archive
        if all(each is None for each in asked):
            return
        if not self._stopped:
            self._waits = iter(_RETRY_SECONDS)
            self.thread.wake()
            self.thread.start()  # where none can be had, the next file has it done, or the next process

    def stop(self) -> None:
        """
        Stop the thread; unfinished work is left to the next process.
        """
        self._stopped = True
        self.thread.stop(Deadline(1.0))

    def _tidy(self) -> float:
        """
        Return the seconds until a file that has to wait is looked at again; `OVER` where none has to.
        """
        try:
            left = self.run_once()
        except Exception as error:
            recorder.failed("logs", error)
            left = False
        return next(self._waits, _RETRY_SECONDS[-1]) if left and not self._stopped else OVER

    def run_once(self) -> bool:
        """
        Delete, compress and archive what is due; return True where a file has to wait, since it may still be written
        to.
        """
        beside, archived = self.list_files(), self.list_archived()
        surplus = set(beside[: -self._keep_files] if self._keep_files else ())
        left, self.next_due = False, float("inf")
        for rotated in [*archived, *beside]:
            if self._stopped:
                return False
            try:
                left |= not self._apply_policy(rotated, rotated in surplus)
            except OSError as error:  # this one stays, and the others have their turn
                recorder.failed("logs", error)
        return left

    def _apply_policy(self, rotated: _RotatedFile, is_surplus: bool) -> bool:
        """
        Apply the retention policy to a file; False where it has to wait.
        """
        if self._is_older_than(rotated, self._keep) or (is_surplus and self._archive is None):
            return self._delete(rotated)
        if rotated.archived:
            return True
        if self._archive is not None and (is_surplus or self._is_older_than(rotated, self._archive_after)):
            return self._archive_file(rotated, self._archive)
        return rotated.compressed or not self._is_older_than(rotated, self._compress_after) or self._gzip(rotated)

    def _is_older_than(self, rotated: _RotatedFile, age: timedelta | None) -> bool:
        """
        Return whether a file is older than an age; where it will be later, `next_due` is updated.
        """
        if not age:
            return age is not None
        now = self._clock()
        if rotated.stamp < datetime.fromtimestamp(now - age.total_seconds(), UTC).strftime(_STAMP):
            return True
        with suppress(ValueError):  # its name holds no valid time
            moment = datetime.strptime(rotated.stamp, _STAMP).replace(tzinfo=UTC).timestamp()
            self.next_due = min(self.next_due, moment + age.total_seconds())
        return False

    def _archive_file(self, rotated: _RotatedFile, archive: str) -> bool:
        """
        Compress a file, and move it to the archive; nothing there is overwritten.
        """
        if not (rotated.compressed or self._gzip(rotated)):
            return False
        source = rotated.path if rotated.compressed else rotated.path + ".gz"
        self.make_archive()
        target = os.path.join(archive, os.path.basename(source))
        try:
            if os.path.lexists(target):
                _require_same_content(source, target)
                os.unlink(source)
            else:
                return self._move(source, target)
        except FileNotFoundError:
            pass  # another process was faster
        return True

    def _move(self, source: str, target: str) -> bool:
        try:
            os.rename(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return self._copy_and_delete(source, target)
        return True

    def _copy_and_delete(self, source_path: str, target: str) -> bool:
        """
        Move a file to another file system, whole or not at all; False where another process is at it.
        """
        part_path = os.path.join(os.path.dirname(target), f".{os.path.basename(target)}.part")
        with (
            open(os.open(source_path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as source,
            self._create_exclusively(part_path) as part,
        ):
            if part is None:
                return False
            try:
                shutil.copyfileobj(source, part, _CHUNK)
                part.flush()
                _copy_attributes(source, part)
                os.fsync(part.fileno())
                os.rename(part_path, target)
            except BaseException:
                os.unlink(part_path)
                raise
            _fsync_folder(os.path.dirname(target))
            os.unlink(source_path)
        return True

    def _delete(self, rotated: _RotatedFile) -> bool:
        try:
            if rotated.compressed:
                os.unlink(rotated.path)
                return True
            with self._open_exclusively(rotated.path) as source:
                if source is None:
                    return False
                os.unlink(rotated.path)
            if os.path.lexists(self._part_path(rotated)):
                os.unlink(self._part_path(rotated))
        except FileNotFoundError:
            pass  # another process was faster
        return True

    def _gzip(self, rotated: _RotatedFile) -> bool:
        """
        Replace the file by its compressed form, then rename it: no line is ever in two files.
        """
        try:
            with self._open_exclusively(rotated.path) as source:
                if source is None:
                    return False
                if source.read(len(_COMPRESSED)) == _COMPRESSED:
                    os.rename(rotated.path, rotated.path + ".gz")  # who compressed it was stopped before
                    return True
                source.seek(0)
                return self._replace(rotated, source)
        except FileNotFoundError:
            return True

    def _replace(self, rotated: _RotatedFile, source: BinaryIO) -> bool:
        part_path = self._part_path(rotated)
        with self._create_exclusively(part_path) as part:
            if part is None:
                return False
            try:
                with gzip.GzipFile(filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=part) as out:
                    shutil.copyfileobj(source, out, _CHUNK)
                part.flush()
                _copy_attributes(source, part)
                os.fsync(part.fileno())
                os.rename(part_path, rotated.path)
            except BaseException:
                os.unlink(part_path)
                raise
            os.rename(rotated.path, rotated.path + ".gz")
        return True

    @contextmanager
    def _create_exclusively(self, path: str) -> Iterator[BinaryIO | None]:
        """
        Create a file for this process alone; None where another process is writing it.
        """
        descriptor = _create(path) or (_create(path) if _remove_stale(path) else None)
        if descriptor is None:
            yield None
            return
        with open(descriptor, "r+b") as file:
            yield file if _try_lock(file) and _is_same_file(file, path) else None

    def _part_path(self, rotated: _RotatedFile) -> str:
        # A leading dot, so that no log shipper takes it for a file of lines.
        return os.path.join(self._folder, f".{os.path.basename(rotated.path)}.gz.part")

    @contextmanager
    def _open_exclusively(self, path: str) -> Iterator[BinaryIO | None]:
        """
        Open a file that nobody writes to; None where somebody may still do so.
        """
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as source:
            try:
                alone = _try_lock(source) or self._clock() - os.fstat(source.fileno()).st_ctime > ABANDONED_SECONDS
                if not _is_same_file(source, path):
                    raise FileNotFoundError(path)
                yield source if alone else None
            finally:
                _unlock(source)


def _lower_priority() -> None:
    if sys.platform == "linux":  # elsewhere it would be the priority of the whole process
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def _require_same_content(source: str, target: str) -> None:
    """
    Check that the file in the archive is the same, since a process may have stopped before it deleted the source.

    Raises:
        FileExistsError: It is something else, which stays, and so does the source.
    """
    if os.path.islink(target) or not filecmp.cmp(source, target, shallow=False):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)


def _fsync_folder(folder: str) -> None:
    """
    Flush a folder, so that a new name in it is on disk before the old one is deleted.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # this file system does so by itself, or never
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create(path: str) -> int | None:
    try:
        return make_file(path, os.O_RDWR, 0o600)
    except FileExistsError:
        return None


def _remove_stale(path: str) -> bool:
    """
    Remove what is at a path, a link too, unless another process holds its lock.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            if not _try_lock(file):
                return False
            os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError:  # a link, or another user's
        os.unlink(path)
    return True


def _try_lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _unlock(file: BinaryIO) -> None:
    # Closing would do, were there no child that was forked meanwhile and has the same lock.
    try:
        fcntl.flock(file, fcntl.LOCK_UN)
    except OSError:
        pass


def _is_same_file(file: BinaryIO, path: str) -> bool:
    return os.path.samestat(os.stat(path), os.fstat(file.fileno()))


def _copy_attributes(source: BinaryIO, part: BinaryIO) -> None:
    """
    Copy mode and times to the compressed file, and the owner where that is permitted.
    """
    status = os.fstat(source.fileno())
    make_alike(part.fileno(), status)
    os.utime(part.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
