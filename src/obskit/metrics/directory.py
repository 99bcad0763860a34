"""
Keep the files of all workers of one instance, and add them up.

    worker-<slot>-<pid>-<token>.cells   one worker's figures; he holds its lock for as long as he lives
    folded.cells                        counters and histograms of workers that are dead
    lock                                held by whoever folds
    slots                               byte n is locked by the worker whose slot is n
    leader                              locked by the worker that does something for all
    *.tmp, *.bad                        on the way; set aside since it cannot be read

A snapshot takes no lock, so nobody who is stopped or killed while he folds holds a scrape up. It lists the files, then
reads `folded.cells`, then those listed files that `folded.cells` does not name:

- a file goes away only when `folded.cells` has it. If it was listed and cannot be opened any more, the snapshot
  starts over, and finds it in `folded.cells`;
- a file that went away before the listing is in the `folded.cells` that is read after it;
- a file that `folded.cells` names and that is still there, since its folder was killed, is left out.

So each worker is in a snapshot exactly once, and no counter goes backwards from one snapshot to the next.

The directory must be on a file system of this machine: on NFS a lock does not mean what it means here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from threading import RLock

from obskit.catalogue import Metric
from obskit.file_modes import make_folder
from obskit.forks import at_fork
from obskit.metrics.cell_file import CellFile, CellSpaceError
from obskit.metrics.cell_format import CellFileError, Figures, Labels, Row, Slots, dump
from obskit.metrics.merge import Sum, fold, latest_exemplars, same
from obskit.metrics.reader import Contents, Reader

FOLDED = "folded.cells"
# Files that are set aside are for somebody to look at; a handful is enough.
BAD_KEPT = 5
# Dead files that a new worker leaves to the next scrape: folding takes time from its first request.
DEAD_LEFT = 8
_is_worker = re.compile(r"worker-\d{1,9}-\d{1,19}-[0-9a-f]{16}\.cells").fullmatch
_PRIVATE = os.O_CLOEXEC | os.O_NOFOLLOW
# Snapshots that start over since somebody folded in between, before one keeps others from folding.
_TRIES = 8
_STALE = 60  # seconds after which a file on the way has lost its maker
_SLOTS = 65536


class DirectoryError(OSError):
    """
    Say that a directory cannot be trusted or made, and what to do about it.
    """


@dataclass(slots=True)
class Family:
    """
    Hold one metric's figures of all workers. They are shared with the next snapshot: leave them as they are.

    Attributes:
        keys: Label sets.
        rows: Their figures, in the same order: `(value,)`, or `(count, sum, bucket, ..., +Inf bucket)`, not cumulative.
            A row that has not changed since the snapshot before is the same object.
        exemplars: By label set, then by the index of the bucket.
    """

    spec: Metric
    name: str
    keys: Sequence[Labels]
    rows: Sequence[Row]
    exemplars: dict[Labels, Slots]

    @property
    def cells(self) -> dict[Labels, Row]:
        """
        Give the figures by label set.
        """
        return dict(zip(self.keys, self.rows, strict=True))


@dataclass(frozen=True, slots=True)
class Worker:
    """
    Name a living worker.

    Attributes:
        slot: A small number that no other living worker has; once he is dead, another may.
        made: When he made his file, in nanoseconds since the epoch.
    """

    slot: int
    pid: int
    made: int


@dataclass(slots=True)
class Snapshot:
    """
    Hold the figures of an instance.

    Attributes:
        families: By name on the page.
        workers: Those that live, by slot.
        conflicts: How often a file had a metric that is left out, since a newer worker has another under its name.
        unread: Files that could not be read: set aside, of a newer version, or refused by the system.
    """

    families: dict[str, Family] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)
    conflicts: int = 0
    unread: int = 0


@dataclass(slots=True)
class _Read:
    name: str
    contents: Contents
    live: bool


class Directory:
    """
    Hold the files of the workers of one instance. One object for a process; its methods may be called by any thread.

    Attributes:
        path: The directory; private to the user.
        max_label_sets: Label sets of a metric that outlive their workers; the figures of those beyond are kept under
            labels that are all `_OVERFLOW`. By default ten times what one worker may have.
        set_aside: Files that this process has set aside, by reason: truncated, foreign, newer, corrupt.

    Raises:
        DirectoryError: It is somebody else's, a link, or open to others; or it cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_label_sets: int = 10_000) -> None:
        self.path = Path(path)
        self.max_label_sets = max_label_sets
        self.set_aside: dict[str, int] = {}
        make(self.path)
        self.start_over()
        _directories.add(self)

    def start_over(self) -> None:
        """
        Forget what was read, and have a lock that no thread of a forked parent can hold.
        """
        self._lock = RLock()
        self._is_busy = False  # whether somebody reads or folds: nobody but his own thread may find it so
        self._readers: dict[str, Reader] = {}
        self._last: dict[str, _Read] = {}
        self._sums: dict[str, Sum] = {}

    def join(self) -> CellFile:
        """
        Make this worker's file.

        Raises:
            CellSpaceError: There is no space, or no right to write there.
            DirectoryError: The directory is gone, and cannot be made again.
        """
        make(self.path)
        slots, slot = _claim(self.path / "slots")
        try:
            if sum(_is_dead(self.path / name) for name in _names(self.path)) > DEAD_LEFT:
                self.fold()
            file = self._create(slot)
        except OSError as error:
            os.close(slots)
            if isinstance(error, CellSpaceError):
                raise
            raise CellSpaceError(error.errno, error.strerror, str(self.path)) from error
        file.keep(slots)
        return file

    def _create(self, slot: int) -> CellFile:
        for _ in range(3):
            path = self.path / f"worker-{slot}-{os.getpid()}-{os.urandom(8).hex()}.cells"
            file = CellFile.create(path.with_suffix(".tmp"), slot=slot)
            try:
                os.rename(file.path, path)
            except FileNotFoundError:  # somebody took it for a left-over before it was locked
                file.close()
                continue
            file.path = str(path)
            return file
        raise CellSpaceError(errno.ENOENT, "the file went away three times", str(self.path))

    def acquire_leadership(self, own: CellFile) -> bool:
        """
        Make this worker the one that does something for all, unless another is; it stays it while its file is open.
        """
        descriptor = os.open(self.path / "leader", os.O_RDWR | os.O_CREAT | _PRIVATE, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        own.keep(descriptor)
        return True

    def snapshot(self, own: CellFile | None = None, *, exemplars: bool = False) -> Snapshot:
        """
        Read all files, and add up; then fold the files of dead workers, unless somebody else does.

        Args:
            own: This process's file, which counts even where its name is gone.
            exemplars: Read exemplars too.
        """
        with self._lock:
            if not self._is_busy:
                self._is_busy = True
                try:
                    return self._snapshot(own, exemplars)
                finally:
                    self._is_busy = False
        # A finaliser, or a signal's handler, asks in the middle of it: what is half read is not for him.
        return Directory(self.path, max_label_sets=self.max_label_sets).snapshot(own, exemplars=exemplars)

    def _snapshot(self, own: CellFile | None, exemplars: bool) -> Snapshot:
        snapshot = Snapshot()
        reads = self._read_all(own, exemplars, snapshot)
        self._add_up(reads, snapshot)
        if any(not read.live and read.name != FOLDED for read in reads):
            self._fold()
        return snapshot

    def fold(self) -> bool:
        """
        Add the files of dead workers to `folded.cells`, and remove them; False when somebody else is at it.
        """
        with self._lock:
            if self._is_busy:
                return False
            self._is_busy = True
            try:
                return self._fold()
            finally:
                self._is_busy = False

    def _read_all(self, own: CellFile | None, exemplars: bool, snapshot: Snapshot) -> list[_Read]:
        for _ in range(_TRIES):
            try:
                return self._read_once(own, exemplars, snapshot)
            except FileNotFoundError:
                snapshot.unread = 0
            except OSError:
                return self._read_before(own, exemplars, snapshot)
        with held(self.path / "lock", wait=True):
            return self._read_once(own, exemplars, snapshot)

    def _read_before(self, own: CellFile | None, exemplars: bool, snapshot: Snapshot) -> list[_Read]:
        """
        Give what was read the last time, where no file can be opened now: too many are, and nothing may go backwards.
        """
        snapshot.unread += 1
        if own and own.descriptor >= 0:
            name = os.path.basename(own.path)
            self._last[name] = self._read_by(own.descriptor, name, exemplars, live=True)
        return list(self._last.values())

    def _read_once(self, own: CellFile | None, exemplars: bool, snapshot: Snapshot) -> list[_Read]:
        mine = os.path.basename(own.path) if own and own.descriptor >= 0 else None
        names = dict.fromkeys([*_names(self.path), *([mine] if mine else [])])
        folded = self._read_folded(snapshot)
        taken = folded.contents.folded if folded else frozenset()
        reads = {FOLDED: folded} if folded else {}
        for name in names:
            try:
                # By its own descriptor: where locks are a process's, closing another one would end the lock.
                if own and name == mine:
                    reads[name] = self._read_by(own.descriptor, name, exemplars, live=True)
                elif name not in taken:
                    reads[name] = self._read(name, exemplars)
            except FileNotFoundError:
                raise
            except (CellFileError, OSError) as error:
                if not self._refuse(name, error, snapshot) and name in self._last:
                    reads[name] = self._last[name]
        self._readers = {name: self._readers[name] for name in reads}
        self._last = reads
        return list(reads.values())

    def _read_folded(self, snapshot: Snapshot) -> _Read | None:
        try:
            return self._read(FOLDED)
        except FileNotFoundError:
            pass
        except CellFileError as error:
            self._refuse(FOLDED, error, snapshot)
        return None

    def _read(self, name: str, exemplars: bool = False) -> _Read:
        with _opened(self.path / name) as descriptor:
            return self._read_by(descriptor, name, exemplars, live=name != FOLDED and not _is_free(descriptor))

    def _read_by(self, descriptor: int, name: str, exemplars: bool, *, live: bool) -> _Read:
        reader = self._readers.setdefault(name, Reader())
        try:
            return _Read(name, reader.read(descriptor, final=not live, exemplars=exemplars), live)
        except CellFileError as error:
            if not live or error.reason == "newer":
                raise
        time.sleep(0.01)  # before a living worker's file is set aside for good
        return _Read(name, reader.read(descriptor, exemplars=exemplars), live)

    def _add_up(self, reads: list[_Read], snapshot: Snapshot) -> None:
        """
        Add files up. Where two have different metrics under one name, that of the newest living worker is shown.
        """
        parts: dict[str, list[Figures]] = {}
        for read in sorted(reads, key=lambda read: (read.name != FOLDED, read.live, read.contents.made), reverse=True):
            contents = read.contents
            if read.live:
                snapshot.workers.append(Worker(contents.slot, contents.pid, contents.made))
            for figures in contents.families:
                if read.live or figures.spec.kind != "gauge":
                    found = parts.setdefault(figures.name, [])
                    if found and not same(found[0].spec, figures.spec):
                        snapshot.conflicts += 1
                    else:
                        found.append(figures)
        snapshot.workers.sort(key=lambda worker: worker.slot)
        sums, self._sums = self._sums, {}
        for name, found in parts.items():
            known = sums.get(name)
            self._sums[name] = known if known and known.fits(found) else Sum(found)
            keys, rows = self._sums[name].update(found)
            snapshot.families[name] = Family(found[0].spec, name, keys, rows, latest_exemplars(found))

    def _refuse(self, name: str, error: Exception, snapshot: Snapshot | None = None) -> bool:
        """
        Set a file aside that cannot be read; False where it is left, as that of a living worker of a newer version.
        """
        if snapshot:
            snapshot.unread += 1
        reason = "foreign" if getattr(error, "errno", None) == errno.ELOOP else getattr(error, "reason", None)
        if reason is None or (reason == "newer" and name != FOLDED and not _is_dead(self.path / name)):
            return False
        self._readers.pop(name, None)
        try:
            os.rename(self.path / name, self.path / f"{name}.{os.urandom(4).hex()}.bad")
        except OSError:
            return False
        self.set_aside[reason] = self.set_aside.get(reason, 0) + 1
        self._drop_bad()
        return True

    def _drop_bad(self) -> None:
        bad = []
        for path in self.path.glob("*.bad"):
            try:
                bad.append((path.lstat().st_ctime_ns, path))
            except OSError:
                pass
        for _, path in sorted(bad, reverse=True)[BAD_KEPT:]:
            _remove(path)

    def _fold(self) -> bool:
        try:
            with held(self.path / "lock") as alone:
                if alone:
                    self._fold_alone()
                return alone
        except OSError:  # full, or read-only: the files stay, and are read one by one
            return False

    def _fold_alone(self) -> None:
        """
        Fold. Killed at any point, it leaves each worker in exactly one place that a snapshot counts.
        """
        for path in self.path.glob("*.tmp"):
            self._drop_left_over(path)
        try:
            folded = [self._read(FOLDED)]
        except FileNotFoundError:
            folded = []
        except CellFileError as error:
            self._refuse(FOLDED, error)
            folded = []
        taken = folded[0].contents.folded if folded else frozenset()
        names = _names(self.path)
        left = {name for name in names if name in taken and not _remove(self.path / name)}
        dead = [read for name in names if name not in taken and (read := self._read_dead(name))]
        if not dead:
            return
        figures = chain.from_iterable(read.contents.families for read in [*folded, *dead])
        temporary = self.path / f"folded-{os.urandom(8).hex()}.tmp"
        try:
            write(temporary, dump(fold(figures, self.max_label_sets), left | {read.name for read in dead}))
            os.rename(temporary, self.path / FOLDED)
        except OSError:
            _remove(temporary)
            raise
        for read in dead:
            _remove(self.path / read.name)

    def _read_dead(self, name: str) -> _Read | None:
        try:
            return self._read(name) if _is_dead(self.path / name) else None
        except CellFileError as error:
            self._refuse(name, error)
        except OSError:
            pass
        return None

    def _drop_left_over(self, path: Path) -> None:
        """
        Remove a file that was on the way when its maker was killed. One that is being folded is ours to remove.
        """
        try:
            stale = time.time() - path.lstat().st_mtime > _STALE and _is_dead(path)
            if stale or path.name.startswith("folded-"):
                _remove(path)
        except OSError:
            pass


_directories: weakref.WeakSet[Directory] = weakref.WeakSet()


def _start_over_in_child() -> None:
    for directory in list(_directories):
        directory.start_over()


at_fork(after_in_child=_start_over_in_child)


def make(path: Path) -> None:
    """
    Make a directory that only this user may enter, or see that nobody else can put files into the one that is there.

    Raises:
        DirectoryError: It is somebody else's, a link, or open to others; or it cannot be made.
    """
    try:
        make_folder(path.parent, 0o700)
        make_folder(path, 0o700)
        state, above = path.lstat(), path.parent.stat()
    except OSError as error:
        raise _refused(path, f"it cannot be made: {error.strerror}", error.errno) from error
    if stat.S_ISLNK(state.st_mode):
        raise _refused(path, "it is a symbolic link: name the directory itself")
    if state.st_uid != os.geteuid():
        raise _refused(path, f"it belongs to user {state.st_uid}, and this process is user {os.geteuid()}")
    if state.st_mode & 0o022:
        raise _refused(path, f"others may write there, mode {stat.S_IMODE(state.st_mode):o}: chmod 700 it")
    if above.st_mode & 0o002 and not above.st_mode & stat.S_ISVTX:
        raise _refused(path, f"anybody may replace it, by the mode of {path.parent}: chmod o-w that")


def _refused(path: Path, why: str, number: int | None = None) -> DirectoryError:
    return DirectoryError(number or errno.EPERM, f"the workers' figures cannot be kept there, since {why}", str(path))


def is_in_use(path: Path) -> bool:
    """
    Tell whether a worker lives that has a file in the directory.
    """
    return any(not _is_dead(path / name) for name in _names(path))


def _names(path: Path) -> list[str]:
    try:
        return sorted(filter(_is_worker, os.listdir(path)))
    except FileNotFoundError:
        return []


def _is_dead(path: Path) -> bool:
    try:
        with _opened(path) as descriptor:
            return _is_free(descriptor)
    except OSError:
        return False


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | _PRIVATE)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def held(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """
    Hold a lock for a block; say whether it is held, since somebody else may have it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _PRIVATE, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            # Said aloud, since a child that another thread is forking at this moment shares the lock.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _is_free(descriptor: int) -> bool:
    """
    Tell whether a file's worker is dead. The test is a shared lock, so that two who test do not see each other.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _claim(path: Path) -> tuple[int, int]:
    """
    Lock the first free byte; give the descriptor, and the byte's number.

    Such a lock is the process's: a forked child does not have it, and it ends with the process.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _PRIVATE, 0o600)
        for slot in range(_SLOTS):
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
                return descriptor, slot
            except (BlockingIOError, PermissionError):
                continue
        return descriptor, _SLOTS + os.getpid()
    except OSError as error:
        raise CellSpaceError(error.errno, error.strerror, str(path)) from error


def _remove(path: Path) -> bool:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def write(path: Path, content: bytes) -> None:
    """
    Make a file that is not there yet.
    """
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _PRIVATE, 0o600), "wb") as file:
        file.write(content)
