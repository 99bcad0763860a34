"""
Name, compress, put away and delete the files that a log file left behind, beside whoever writes.

`app.jsonl` becomes `app.jsonl.20261104T235959.123456Z`, by the time of its last line, then the same with `.gz`, which
may move on to an archive. Any process may stop at any point: what it leaves undone is done by the next one, and no line
is missing or there twice.
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

from obskit import background
from obskit.file_modes import make_alike, make_file, make_folder
from obskit.recorder import recorder

# After this many seconds nobody writes to an old file any more, whatever locks there are: who writes looks each second
# for the file's new place, so the lock is that of a process that has nothing to say.
ABANDONED = 3600.0
# The thread looks again so many seconds after it had to leave a file alone; the last is repeated.
_WAITS = (1.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
_AT_ONCE = timedelta(0)
_CHUNK = 1 << 20
_COMPRESSED = b"\x1f\x8b"  # no line starts like this
_LEVEL = 6  # of zlib: a tenth of the size of JSON lines; 9 takes thrice the time for a twentieth less
_STAMP = "%Y%m%dT%H%M%S.%fZ"


class _Old(NamedTuple):
    """
    Be one old file: the time in its name, its path, and whether it has been put away.
    """

    stamp: str
    path: str
    archived: bool = False

    @property
    def compressed(self) -> bool:
        return self.path.endswith(".gz")


class OldFiles:
    """
    Keep the old files of one path in order, from a thread that ends when there is nothing left to do.

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
        archive_after: timedelta = _AT_ONCE,
    ) -> None:
        self._folder, self._name = os.path.split(path)
        self._keep_files, self._clock = keep_files, clock
        self._keep = None if keep_days is None else timedelta(days=keep_days)
        self._compress_after = (_AT_ONCE if compress else None) if isinstance(compress, bool) else compress
        self._archive, self._archive_after = archive, archive_after
        self._is_old = re.compile(re.escape(self._name) + r"\.(\d{8}T\d{6}\.\d{6}Z)(?:\.gz)?").fullmatch
        self.due = float("inf")
        self.reset()

    def reset(self) -> None:
        """
        Forget the thread: a forked child has none.
        """
        self._lock = threading.RLock()  # a signal's handler, or a finaliser, may log while its thread holds it
        self._wake = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None

    def make_archive(self) -> None:
        """
        Make the archive's folder where one is asked for, and missing.

        Raises:
            OSError: It cannot be made, or is the log's own folder.
        """
        if self._archive is not None:
            make_folder(self._archive, 0o750)
            if os.path.samefile(self._archive, self._folder):
                raise OSError(errno.EINVAL, "it is the folder of the log file itself")

    def path_for(self, last_line: float) -> str:
        """
        Give the path of a file whose last line was written at this time. Whoever asks holds the lock on the folder.
        """
        folders = [self._folder] if self._archive is None else [self._folder, self._archive]
        while True:
            name = f"{self._name}.{datetime.fromtimestamp(last_line, UTC).strftime(_STAMP)}"
            if not any(os.path.lexists(os.path.join(folder, name + end)) for folder in folders for end in ("", ".gz")):
                return os.path.join(self._folder, name)
            last_line += 1e-6

    def found(self) -> list[_Old]:
        """
        List the old files beside the log, the oldest first. What has such a name and is no file, such as a FIFO, is not
        ours.
        """
        return self._found_in(self._folder)

    def archived(self) -> list[_Old]:
        """
        List the files that have been put away, the oldest first.
        """
        try:
            return [] if self._archive is None else self._found_in(self._archive, archived=True)
        except FileNotFoundError:
            return []

    def _found_in(self, folder: str, archived: bool = False) -> list[_Old]:
        with os.scandir(folder) as entries:
            names = [self._is_old(entry.name) for entry in entries if entry.is_file(follow_symlinks=False)]
        return sorted(_Old(name[1], os.path.join(folder, name[0]), archived) for name in names if name)

    def tidy(self) -> None:
        """
        Have the thread look at the old files soon.
        """
        asked = self._keep_files, self._keep, self._compress_after, self._archive
        if all(each is None for each in asked):
            return
        with self._lock:
            self._wake.set()
            if self._thread is not None or self._stopped:
                return
            thread = self._thread = background.made(self._run, name="obskit-old-files")
        if not background.begins(thread):  # the next file has it done, or the next process
            with self._lock:
                self._thread = None if self._thread is thread else self._thread

    def stop(self) -> None:
        """
        End the thread; what it is at is left to the next process.
        """
        with self._lock:
            self._stopped, thread = True, self._thread
            self._wake.set()
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(1.0)

    def _run(self) -> None:
        if sys.platform == "linux":  # elsewhere it would be the priority of the whole process
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        waits = iter(_WAITS)
        while True:
            self._wake.clear()
            try:
                left = self.pass_over()
            except Exception as error:
                recorder.failed("logs", error)
                left = False
            with self._lock:
                if self._stopped or (not left and not self._wake.is_set()):
                    self._thread = None
                    return
            if self._wake.wait(next(waits, _WAITS[-1])):
                waits = iter(_WAITS)

    def pass_over(self) -> bool:
        """
        Delete, compress and put away what can be now; True: something has to wait, since somebody may write to it.
        """
        beside, archived = self.found(), self.archived()
        surplus = set(beside[: -self._keep_files] if self._keep_files else ())
        left, self.due = False, float("inf")
        for old in [*archived, *beside]:
            if self._stopped:
                return False
            try:
                left |= not self._settle(old, old in surplus)
            except OSError as error:  # this one stays, and the others have their turn
                recorder.failed("logs", error)
        return left

    def _settle(self, old: _Old, is_surplus: bool) -> bool:
        """
        Do with a file what its age asks for; False: it has to wait.
        """
        if self._is_over(old, self._keep) or (is_surplus and self._archive is None):
            return self._delete(old)
        if old.archived:
            return True
        if self._archive is not None and (is_surplus or self._is_over(old, self._archive_after)):
            return self._put_away(old, self._archive)
        return old.compressed or not self._is_over(old, self._compress_after) or self._gzip(old)

    def _is_over(self, old: _Old, age: timedelta | None) -> bool:
        """
        Tell whether a file is older; where it will be one day, that is noted.
        """
        if not age:
            return age is not None
        now = self._clock()
        if old.stamp < datetime.fromtimestamp(now - age.total_seconds(), UTC).strftime(_STAMP):
            return True
        with suppress(ValueError):  # somebody has given it a name that is no time
            moment = datetime.strptime(old.stamp, _STAMP).replace(tzinfo=UTC).timestamp()
            self.due = min(self.due, moment + age.total_seconds())
        return False

    def _put_away(self, old: _Old, archive: str) -> bool:
        """
        Compress a file, and move it to the archive; nothing there is overwritten.
        """
        if not (old.compressed or self._gzip(old)):
            return False
        source = old.path if old.compressed else old.path + ".gz"
        self.make_archive()
        target = os.path.join(archive, os.path.basename(source))
        try:
            if os.path.lexists(target):
                _refuse_another(source, target)
                os.unlink(source)
            else:
                return self._is_moved(source, target)
        except FileNotFoundError:
            pass  # another process was faster
        return True

    def _is_moved(self, source: str, target: str) -> bool:
        try:
            os.rename(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return self._carry(source, target)
        return True

    def _carry(self, source_path: str, target: str) -> bool:
        """
        Move a file to another file system, whole or not at all; False: another process is at it.
        """
        part_path = os.path.join(os.path.dirname(target), f".{os.path.basename(target)}.part")
        with (
            open(os.open(source_path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as source,
            self._new(part_path) as part,
        ):
            if part is None:
                return False
            try:
                shutil.copyfileobj(source, part, _CHUNK)
                part.flush()
                _look_alike(source, part)
                os.fsync(part.fileno())
                os.rename(part_path, target)
            except BaseException:
                os.unlink(part_path)
                raise
            _write_down(os.path.dirname(target))
            os.unlink(source_path)
        return True

    def _delete(self, old: _Old) -> bool:
        try:
            if old.compressed:
                os.unlink(old.path)
                return True
            with self._unwritten(old.path) as source:
                if source is None:
                    return False
                os.unlink(old.path)
            if os.path.lexists(self._part_of(old)):
                os.unlink(self._part_of(old))
        except FileNotFoundError:
            pass  # another process was faster
        return True

    def _gzip(self, old: _Old) -> bool:
        """
        Put the compressed form in the file's place, then give it its name: at no time are there two of the same line.
        """
        try:
            with self._unwritten(old.path) as source:
                if source is None:
                    return False
                if source.read(len(_COMPRESSED)) == _COMPRESSED:
                    os.rename(old.path, old.path + ".gz")  # who compressed it was stopped before
                    return True
                source.seek(0)
                return self._replace(old, source)
        except FileNotFoundError:
            return True

    def _replace(self, old: _Old, source: BinaryIO) -> bool:
        part_path = self._part_of(old)
        with self._new(part_path) as part:
            if part is None:
                return False
            try:
                with gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=part) as out:
                    shutil.copyfileobj(source, out, _CHUNK)
                part.flush()
                _look_alike(source, part)
                os.fsync(part.fileno())
                os.rename(part_path, old.path)
            except BaseException:
                os.unlink(part_path)
                raise
            os.rename(old.path, old.path + ".gz")
        return True

    @contextmanager
    def _new(self, path: str) -> Iterator[BinaryIO | None]:
        """
        Make a file that nobody has; None: another process is at the one that is there.
        """
        descriptor = _made(path) or (_made(path) if _is_given_up(path) else None)
        if descriptor is None:
            yield None
            return
        with open(descriptor, "r+b") as file:
            yield file if _lock(file) and _is_at(file, path) else None

    def _part_of(self, old: _Old) -> str:
        # A leading dot, so that no log shipper takes it for a file of lines.
        return os.path.join(self._folder, f".{os.path.basename(old.path)}.gz.part")

    @contextmanager
    def _unwritten(self, path: str) -> Iterator[BinaryIO | None]:
        """
        Open a file for one who wants it alone; None: somebody may still write to it.
        """
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as source:
            try:
                alone = _lock(source) or self._clock() - os.fstat(source.fileno()).st_ctime > ABANDONED
                if not _is_at(source, path):
                    raise FileNotFoundError(path)
                yield source if alone else None
            finally:
                _unlock(source)


def _refuse_another(source: str, target: str) -> None:
    """
    See that what is in the archive is the same: whoever put it there was stopped before the source went.

    Raises:
        FileExistsError: It is something else, which stays, and so does the source.
    """
    if os.path.islink(target) or not filecmp.cmp(source, target, shallow=False):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)


def _write_down(folder: str) -> None:
    """
    Have the disk know a new name in a folder, before the old one goes.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # this file system does so by itself, or never
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _made(path: str) -> int | None:
    try:
        return make_file(path, os.O_RDWR, 0o600)
    except FileExistsError:
        return None


def _is_given_up(path: str) -> bool:
    """
    Remove what is at a path, a link too, unless another process holds its lock.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            if not _lock(file):
                return False
            os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError:  # a link, or somebody else's
        os.unlink(path)
    return True


def _lock(file: BinaryIO) -> bool:
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


def _is_at(file: BinaryIO, path: str) -> bool:
    return os.path.samestat(os.stat(path), os.fstat(file.fileno()))


def _look_alike(source: BinaryIO, part: BinaryIO) -> None:
    """
    Give the compressed file the rights and the time of the other; the owner where that is allowed.
    """
    status = os.fstat(source.fileno())
    make_alike(part.fileno(), status)
    os.utime(part.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
