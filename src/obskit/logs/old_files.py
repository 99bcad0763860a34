"""
Name, compress and delete the files that a log file left behind, beside whoever writes.

`app.jsonl` becomes `app.jsonl.20261104T235959.123456Z`, by the time of its last line, then the same with `.gz`. Any
process may stop at any point: what it leaves undone is done by the next one, and no line is missing or there twice.
"""

from __future__ import annotations

import fcntl
import gzip
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import BinaryIO, NamedTuple

from obskit.background import start
from obskit.permissions import make_alike, make_file
from obskit.recorder import recorder

# After this many seconds nobody writes to an old file any more, whatever locks there are: who writes looks each second
# for the file's new place, so the lock is that of a process that has nothing to say.
ABANDONED = 3600.0
# The thread looks again so many seconds after it had to leave a file alone; the last is repeated.
_WAITS = (1.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
_DAY = 86_400
_CHUNK = 1 << 20
_COMPRESSED = b"\x1f\x8b"  # no line starts like this
_LEVEL = 6  # of zlib: a tenth of the size of JSON lines; 9 takes thrice the time for a twentieth less


class _Old(NamedTuple):
    """
    Be one old file: the time in its name, and its path.
    """

    stamp: str
    path: str

    @property
    def compressed(self) -> bool:
        return self.path.endswith(".gz")


class OldFiles:
    """
    Keep the old files of one path in order, from a thread that ends when there is nothing left to do.

    Args:
        path: The log file.
        keep_files: Old files to keep. None: all.
        keep_days: Days to keep them, by the time in their name. None: for ever.
        compress: Whether to gzip them.
        clock: Gives the seconds since the epoch.
    """

    def __init__(
        self, path: str, keep_files: int | None, keep_days: int | None, compress: bool, clock: Callable[[], float]
    ) -> None:
        self._folder, self._name = os.path.split(path)
        self._keep_files, self._keep_days, self._compress, self._clock = keep_files, keep_days, compress, clock
        self._is_old = re.compile(re.escape(self._name) + r"\.(\d{8}T\d{6}\.\d{6}Z)(?:\.gz)?").fullmatch
        self.start_over()

    def start_over(self) -> None:
        """
        Forget the thread: a forked child has none.
        """
        self._lock = threading.RLock()  # a signal's handler, or a finaliser, may log while its thread holds it
        self._wake = threading.Event()
        self._stopped = self._is_starting = False
        self._thread: threading.Thread | None = None

    def path_for(self, last_line: float) -> str:
        """
        Give the path of a file whose last line was written at this time. Whoever asks holds the lock on the folder.
        """
        while True:
            stamp = datetime.fromtimestamp(last_line, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
            path = os.path.join(self._folder, f"{self._name}.{stamp}")
            if not (os.path.lexists(path) or os.path.lexists(path + ".gz")):
                return path
            last_line += 1e-6

    def found(self) -> list[_Old]:
        """
        List the old files, the oldest first. What has such a name and is no file, such as a FIFO, is not ours.
        """
        with os.scandir(self._folder) as entries:
            names = [self._is_old(entry.name) for entry in entries if entry.is_file(follow_symlinks=False)]
        return sorted(_Old(name[1], os.path.join(self._folder, name[0])) for name in names if name)

    def tidy(self) -> None:
        """
        Have the thread look at the old files soon.
        """
        if self._keep_files is None and self._keep_days is None and not self._compress:
            return
        with self._lock:
            self._wake.set()
            if self._thread is not None or self._stopped or self._is_starting:
                return
            self._is_starting = True
            # Without a thread the next file has it done, or the next process.
            self._thread = start(self._run, name="obskit-old-files")
            self._is_starting = False

    def stop(self) -> None:
        """
        End the thread; what it is at is left to the next process.
        """
        with self._lock:
            self._stopped, thread = True, self._thread
            self._wake.set()
        if thread is not None and thread is not threading.current_thread():
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
        Delete and compress what can be now; True: something has to wait, since somebody may write to it.
        """
        files = self.found()
        surplus = set(files[: -self._keep_files] if self._keep_files else ())
        if self._keep_days is not None:
            horizon = datetime.fromtimestamp(self._clock() - self._keep_days * _DAY, UTC)
            surplus |= {old for old in files if old.stamp < horizon.strftime("%Y%m%dT%H%M%S.%fZ")}
        left = False
        for old in files:
            if self._stopped:
                return False
            try:
                if old in surplus:
                    left |= not self._delete(old)
                elif self._compress and not old.compressed:
                    left |= not self._gzip(old)
            except OSError as error:  # this one stays, and the others have their turn
                recorder.failed("logs", error)
        return left

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
