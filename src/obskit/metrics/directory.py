"""
Add up the files of all workers of one instance.

    worker-<slot>-<pid>-<token>.cells   one worker's figures; he holds its lock for as long as he lives
    folded.cells                        counters and histograms of workers that are dead
    lock                                held by the one that folds
    slots                               byte n is locked by the worker whose slot is n
    *.tmp, *.bad                        on the way; set aside

A snapshot takes no lock, so nobody who is stopped or killed in mid-fold holds up a scrape. It lists the files, then
reads `folded.cells`, then the listed files that are not named in it:

- a file goes away only after `folded.cells` has it; when the listing had it and it cannot be opened any more, the
  snapshot starts over, and a newer `folded.cells` has it then;
- a file that went before the listing was made is in the `folded.cells` that is read after it;
- a file that `folded.cells` names and that is still there, since its folder was killed, is left out.

So each worker's figures are in a snapshot exactly once, and no figure goes backwards from one to the next.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import struct
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, compress
from math import fsum, isfinite
from operator import itemgetter, ne
from pathlib import Path
from struct import iter_unpack
from threading import Lock
from typing import TypeAlias

from obskit.catalogue import Metric
from obskit.metrics.files import (
    ABSENT,
    BATCH,
    CellFile,
    CellFileError,
    CellSpaceError,
    Contents,
    Exemplar,
    Figures,
    Labels,
    Reader,
    Row,
    dump,
    is_absent,
    unpack,
)

FOLDED = "folded.cells"
_worker = re.compile(r"worker-(\d{1,9})-(\d{1,19})-[0-9a-f]{16}\.cells").fullmatch
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
# Files that are set aside are for somebody to look at; a handful is enough.
BAD_KEPT = 5
# Dead files that a new worker leaves to the next scrape: folding them takes time from a request.
DEAD_LEFT = 8
# Snapshots that start over since somebody folded in between, before one keeps others from folding.
_TRIES = 8
_STALE = 60  # seconds after which a file on the way has lost its maker


class DirectoryError(OSError):
    """
    Say that a directory cannot be trusted or made, and what to do about it.
    """


@dataclass(slots=True)
class Family:
    """
    Hold one metric's figures of all workers.

    Attributes:
        keys: Label sets.
        rows: Their doubles, in the same order: `(value,)`, `(value, time)` or `(count, sum, *buckets)`. A row that has
            not changed since the snapshot before is the same object.
        exemplars: By label set, one a bucket, None where there is none.
    """

    spec: Metric
    name: str
    keys: Sequence[Labels]
    rows: Sequence[Row]
    exemplars: dict[Labels, list[Exemplar | None]] = field(default_factory=dict)

    @property
    def cells(self) -> dict[Labels, Row]:
        """
        Give the doubles by label set.
        """
        return dict(zip(self.keys, self.rows, strict=True))


@dataclass(frozen=True, slots=True)
class Worker:
    """
    Name a living worker.

    Attributes:
        slot: A small number that no other living worker has; the next worker after him gets it.
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
        conflicts: Files' families left out since a newer worker has another metric under the name.
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
    Hold the files of the workers of one instance. One object for a process; its methods may be called from any thread.

    Attributes:
        path: The directory; private to the user.
        set_aside: Files that this process has set aside, by reason.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.set_aside: dict[str, int] = {}
        self._lock = Lock()
        self._readers: dict[str, Reader] = {}
        self._sums: dict[str, _Sum] = {}
        make(self.path)
        _directories.add(self)

    def join(self) -> CellFile:
        """
        Make this worker's file.

        Raises:
            CellSpaceError: There is no space, or no right to write there.
            DirectoryError: The directory is gone and cannot be made again.
        """
        make(self.path)
        if len([name for name in self._names() if self._is_dead(name)]) > DEAD_LEFT:
            self.fold()
        slots, slot = _claim(self.path / "slots")
        try:
            file = self._create(slot)
        except OSError:
            os.close(slots)
            raise
        file.keep(slots)
        return file

    def _create(self, slot: int) -> CellFile:
        for _ in range(3):
            token = os.urandom(8).hex()
            path = self.path / f"worker-{slot}-{os.getpid()}-{token}.cells"
            file = CellFile.create(path.with_suffix(".tmp"), slot=slot)
            try:
                os.rename(file.path, path)
            except FileNotFoundError:  # somebody took it for a left-over before it was locked
                file.close()
                continue
            file.path = str(path)
            return file
        raise CellSpaceError(errno.ENOENT, "the file went away three times", str(self.path))

    def snapshot(self, own: CellFile | None = None, *, exemplars: bool = False) -> Snapshot:
        """
        Read all files, and add up; then fold the files of dead workers, unless somebody else does.

        Args:
            own: This process's file, which counts wherever it is.
            exemplars: Read exemplars too.
        """
        with self._lock:
            snapshot = Snapshot()
            reads = self._read_all(own, exemplars, snapshot)
            self._add_up(reads, snapshot)
            if any(not read.live and read.name != FOLDED for read in reads):
                self._fold()
            return snapshot

    def _add_up(self, reads: list[_Read], snapshot: Snapshot) -> None:
        """
        Add files up. Where two have different metrics under one name, that of the newest living worker is shown.
        """
        parts: dict[str, list[Figures]] = {}
        for read in sorted(reads, key=lambda read: (read.name != FOLDED, read.live, read.contents.made), reverse=True):
            if read.live:
                snapshot.workers.append(Worker(read.contents.slot, read.contents.pid, read.contents.made))
            for figures in read.contents.families:
                if figures.spec.kind == "gauge" and not read.live:
                    continue
                known = parts.setdefault(figures.name, [figures])
                if not _same(known[0].spec, figures.spec):
                    snapshot.conflicts += 1
                elif known[0] is not figures:
                    known.append(figures)
        snapshot.workers.sort(key=lambda worker: worker.slot)
        self._sums = {name: self._sum(name, found) for name, found in parts.items()}
        for name, found in parts.items():
            keys, rows = self._sums[name].update(found)
            snapshot.families[name] = Family(found[0].spec, name, keys, rows, _exemplars(found))

    def _sum(self, name: str, parts: list[Figures]) -> _Sum:
        known = self._sums.get(name)
        return known if known is not None and known.fits(parts) else _Sum(parts)

    def fold(self) -> bool:
        """
        Add the files of dead workers to `folded.cells`, and remove them; False when somebody else is at it.
        """
        with self._lock:
            return self._fold()

    def _names(self) -> list[str]:
        try:
            return sorted(filter(_worker, os.listdir(self.path)))
        except OSError:
            return []

    def _read_all(self, own: CellFile | None, exemplars: bool, snapshot: Snapshot) -> list[_Read]:
        for _ in range(_TRIES):
            try:
                return self._read_once(own, exemplars, snapshot)
            except FileNotFoundError:  # folded since it was listed
                snapshot.unread = 0
        with _held(self.path / "lock", wait=True):
            return self._read_once(own, exemplars, snapshot)

    def _read_once(self, own: CellFile | None, exemplars: bool, snapshot: Snapshot) -> list[_Read]:
        names = self._names()
        reads: list[_Read] = []
        try:
            folded = self._read(FOLDED)
            reads.append(folded)
            taken = folded.contents.folded
        except FileNotFoundError:
            taken = frozenset()
        except (CellFileError, OSError) as error:
            taken = frozenset()
            self._refuse(FOLDED, error, snapshot)
        mine = os.path.basename(own.path) if own and own.descriptor >= 0 else None
        for name in dict.fromkeys([*names, *([mine] if mine else [])]):
            try:
                if own and name == mine:
                    contents = self._reader(name).read(own.descriptor, exemplars=exemplars)
                    reads.append(_Read(name, contents, True))
                elif name not in taken:
                    reads.append(self._read(name, exemplars))
            except FileNotFoundError:
                raise
            except (CellFileError, OSError) as error:
                self._refuse(name, error, snapshot)
        self._readers = {read.name: self._reader(read.name) for read in reads}
        return reads

    def _reader(self, name: str) -> Reader:
        return self._readers.setdefault(name, Reader())

    def _read(self, name: str, exemplars: bool = False) -> _Read:
        with _opened(self.path / name) as descriptor:
            live = name != FOLDED and not _is_free(descriptor)
            reader = self._reader(name)
            try:
                contents = reader.read(descriptor, final=not live, exemplars=exemplars)
            except CellFileError as error:
                if not live or error.reason == "newer":
                    raise
                time.sleep(0.01)  # a living writer may be in the middle of something
                contents = reader.read(descriptor, exemplars=exemplars)
            return _Read(name, contents, live)

    def _is_dead(self, name: str) -> bool:
        try:
            with _opened(self.path / name) as descriptor:
                return _is_free(descriptor)
        except OSError:
            return False

    def _refuse(self, name: str, error: Exception, snapshot: Snapshot | None = None) -> None:
        """
        Set a file aside that cannot be read. That of a living worker of a newer version is only left out.
        """
        if snapshot:
            snapshot.unread += 1
        self._readers.pop(name, None)
        reason = "foreign" if getattr(error, "errno", None) == errno.ELOOP else getattr(error, "reason", None)
        if reason is None or (reason == "newer" and name != FOLDED and not self._is_dead(name)):
            return
        try:
            os.rename(self.path / name, self.path / f"{name}.{os.urandom(4).hex()}.bad")
        except OSError:
            return
        self.set_aside[reason] = self.set_aside.get(reason, 0) + 1
        self._drop_bad()

    def _drop_bad(self) -> None:
        bad = []
        for entry in os.scandir(self.path):
            if entry.name.endswith(".bad"):
                try:
                    bad.append((entry.stat(follow_symlinks=False).st_ctime_ns, entry.path))
                except OSError:
                    pass
        for _, path in sorted(bad, reverse=True)[BAD_KEPT:]:
            _remove(path)

    def _fold(self) -> bool:
        try:
            with _held(self.path / "lock") as held:
                if held:
                    self._fold_held()
                return held
        except OSError:  # full, or read-only: the files stay, and are read one by one
            return False

    def _fold_held(self) -> None:
        """
        Fold, alone. Killed at any point, it leaves each figure in exactly one place that a snapshot counts.
        """
        for name in os.listdir(self.path):
            self._drop_left_over(name)
        try:
            folded = self._read(FOLDED)
        except FileNotFoundError:
            folded = None
        except CellFileError as error:
            self._refuse(FOLDED, error)
            folded = None
        taken = folded.contents.folded if folded else frozenset()
        names = self._names()
        remaining = {name for name in names if name in taken and not _remove(self.path / name)}
        dead = [read for name in names if name not in taken and (read := self._read_dead(name))]
        if not dead:
            return
        figures = _outlast([*([folded] if folded else []), *dead])
        temporary = self.path / f"folded-{os.urandom(8).hex()}.tmp"
        try:
            _write(temporary, dump(figures, remaining | {read.name for read in dead}))
            os.rename(temporary, self.path / FOLDED)
        except OSError:
            _remove(temporary)
            raise
        for read in dead:
            _remove(self.path / read.name)
            self._readers.pop(read.name, None)

    def _read_dead(self, name: str) -> _Read | None:
        try:
            if not self._is_dead(name):
                return None
            return self._read(name)
        except CellFileError as error:
            self._refuse(name, error)
        except OSError:
            pass
        return None

    def _drop_left_over(self, name: str) -> None:
        """
        Remove a file that was on the way when its maker was killed.
        """
        if not name.endswith(".tmp"):
            return
        path = self.path / name
        try:
            if name.startswith("folded-") or (time.time() - path.lstat().st_mtime > _STALE and self._is_dead(name)):
                _remove(path)
        except OSError:
            pass


_directories: weakref.WeakSet[Directory] = weakref.WeakSet()


def _unlock_in_child() -> None:
    for directory in list(_directories):
        directory._lock = Lock()
        directory._readers, directory._sums = {}, {}


os.register_at_fork(after_in_child=_unlock_in_child)


def make(path: Path) -> None:
    """
    Make a directory that only this user may enter, or see that it is one.

    Raises:
        DirectoryError: It is somebody else's, a link, or open to others; or it cannot be made.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _refused(path, f"it cannot be made: {error.strerror}", error.errno) from error
    check(path)


def check(path: Path) -> None:
    """
    See that nobody else can put files into a directory.

    Raises:
        DirectoryError: Somebody can.
    """
    try:
        state = path.lstat()
    except OSError as error:
        raise _refused(path, f"it cannot be looked at: {error.strerror}", error.errno) from error
    if stat.S_ISLNK(state.st_mode):
        raise _refused(path, "it is a symbolic link: name the directory itself")
    if not stat.S_ISDIR(state.st_mode):
        raise _refused(path, "it is no directory")
    if state.st_uid != os.geteuid():
        raise _refused(path, f"it belongs to user {state.st_uid}, and this process runs as {os.geteuid()}")
    if state.st_mode & 0o022:
        raise _refused(path, f"others may write there (mode {state.st_mode & 0o7777:o}): chmod 700 it")


def _refused(path: Path, why: str, number: int | None = None) -> DirectoryError:
    return DirectoryError(number or errno.EPERM, f"workers' figures cannot be kept there, since {why}", str(path))


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, _OPEN)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _held(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """
    Hold a lock for a block; say whether it is held, since somebody else may have it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
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
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise CellSpaceError(error.errno, error.strerror, str(path)) from error
    for slot in range(2**16):
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
            return descriptor, slot
        except (BlockingIOError, PermissionError):
            continue
    return descriptor, os.getpid()


def _remove(path: str | os.PathLike[str]) -> bool:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)


def _same(one: Metric, other: Metric) -> bool:
    return (one.kind, one.labels, one.buckets, one.workers) == (other.kind, other.labels, other.buckets, other.workers)


class _Sum:
    """
    Add one metric up over the same files again and again; only what has changed is added again.
    """

    def __init__(self, parts: list[Figures]) -> None:
        self.spec = parts[0].spec
        self._sources = [part.keys for part in parts]
        self._lengths = [len(part.keys) for part in parts]
        self._keys = list(dict.fromkeys(chain.from_iterable(self._sources)))
        place = {key: index for index, key in enumerate(self._keys)}
        self._picks = [_in_order(place, part.keys) for part in parts]
        self._groups: list[tuple[bytes, ...]] = [()] * len(self._keys)
        self._rows: list[Row | None] = [None] * len(self._keys)
        self._add: _Add = _GAUGES[self.spec.workers] if self.spec.kind == "gauge" else _add

    def fits(self, parts: list[Figures]) -> bool:
        """
        Tell whether these are the files, with as many cells.
        """
        return (
            len(parts) == len(self._sources)
            and all(part.keys is source for part, source in zip(parts, self._sources, strict=True))
            and [len(part.keys) for part in parts] == self._lengths
            and _same(parts[0].spec, self.spec)
        )

    def update(self, parts: list[Figures]) -> tuple[Sequence[Labels], Sequence[Row]]:
        """
        Give label sets and rows.
        """
        ordered = [
            pick([*part.raws, _NOT_THERE if part.spec.kind == "gauge" else bytes(8 * part.width)])
            for pick, part in zip(self._picks, parts, strict=True)
        ]
        groups = list(zip(*ordered, strict=True))
        changed = list(compress(range(len(groups)), map(ne, groups, self._groups)))
        for start in range(0, len(changed), BATCH):
            batch = changed[start : start + BATCH]
            added = self._add(parts, [[raws[index] for index in batch] for raws in ordered])
            for index, row in zip(batch, added, strict=True):
                self._rows[index] = row
        self._groups = groups
        rows = [row for row in self._rows if row is not None]
        if len(rows) == len(self._keys):
            return self._keys, rows
        return [key for key, row in zip(self._keys, self._rows, strict=True) if row is not None], rows


_Add: TypeAlias = Callable[[Sequence[Figures], Sequence[Sequence[bytes]]], Sequence[Row | None]]
_NOT_THERE = struct.pack("=d", ABSENT)


def _in_order(place: dict[Labels, int], keys: Sequence[Labels]) -> Callable[[Sequence[bytes]], Sequence[bytes]]:
    """
    Make a function that brings a file's cells into the common order, with the last of all where it has none.
    """
    order = [len(keys)] * len(place)
    for index, key in enumerate(keys):
        order[place[key]] = index
    return itemgetter(*order) if len(order) > 1 else lambda raws: [raws[index] for index in order]


def _add(parts: Sequence[Figures], raws: Sequence[Sequence[bytes]]) -> list[Row]:
    """
    Add counters or histograms up, some cells of several files.

    Counts are whole numbers and exact. Sums are not, so all that belongs to one is added in one go, whose result
    does not depend on the order: a sum that were a rounding error less than before would look like a restart.
    """
    size = parts[0].size
    place = 1 if parts[0].spec.kind == "histogram" else 0
    flats: list[Sequence[float]] = []
    rests: list[Sequence[float]] = []
    for part, some in zip(parts, raws, strict=True):
        packed = b"".join(some)
        if part.width == size:
            flats.append(struct.unpack(f"={len(packed) // 8}d", packed))
        else:
            flats.append(list(chain.from_iterable(iter_unpack(f"={size}d8x", packed))))
            rests.append(list(chain.from_iterable(iter_unpack(f"={8 * size}xd", packed))))
    total: list[float] = list(map(sum, zip(*flats, strict=True)))
    total[place::size] = map(_exact, zip(*[flat[place::size] for flat in flats], *rests, strict=True))
    return list(zip(*[iter(total)] * size, strict=True))


def _exact(parts: Iterable[float]) -> float:
    parts = list(parts)
    try:
        return fsum(parts)
    except (OverflowError, ValueError):  # infinities
        return sum(parts)


def _gauges(choose: Callable[[list[Row]], Row]) -> _Add:
    def add(parts: Sequence[Figures], raws: Sequence[Sequence[bytes]]) -> list[Row | None]:
        there = [[row for row in map(unpack, cell) if not is_absent(row)] for cell in zip(*raws, strict=True)]
        return [choose(rows) if rows else None for rows in there]

    return add


_GAUGES = {
    "sum": _gauges(lambda rows: (_exact([row[0] for row in rows]),)),
    "min": _gauges(min),
    "max": _gauges(max),
    "latest": _gauges(lambda rows: max(rows, key=lambda row: row[1])),
}


def _latest_exemplars(one: list[Exemplar | None], other: list[Exemplar | None]) -> list[Exemplar | None]:
    return [
        a if b is None or (a is not None and a.timestamp >= b.timestamp) else b for a, b in zip(one, other, strict=True)
    ]


def _exemplars(parts: list[Figures]) -> dict[Labels, list[Exemplar | None]]:
    found: dict[Labels, list[Exemplar | None]] = {}
    for part in parts:
        for index, slots in part.exemplars.items():
            key = part.keys[index]
            found[key] = _latest_exemplars(found[key], slots) if key in found else slots
    return found


def _outlast(reads: Iterable[_Read]) -> list[Figures]:
    """
    Add up what outlives its workers: counters and histograms, each with its own labels and buckets.

    Their sums are kept as two numbers, the second being what rounding takes from the first.
    """
    families: list[list[Figures]] = []
    for figures in chain.from_iterable(read.contents.families for read in reads):
        if figures.spec.kind != "gauge" and figures.keys:
            for parts in families:
                if parts[0].name == figures.name and _same(parts[0].spec, figures.spec):
                    parts.append(figures)
                    break
            else:
                families.append([figures])
    return [_folded(parts) for parts in families]


def _folded(parts: list[Figures]) -> Figures:
    first = parts[0]
    cells: dict[Labels, list[tuple[Figures, bytes]]] = {}
    for part in parts:
        for key, raw in zip(part.keys, part.raws, strict=True):
            cells.setdefault(key, []).append((part, raw))
    place, raws = 1 if first.spec.kind == "histogram" else 0, []
    for found in cells.values():
        [total] = _add([part for part, _ in found], [[raw] for _, raw in found])
        rows = [unpack(raw) for _, raw in found]
        rest = _exact([-total[place], *(part for row in rows for part in (row[place], *row[first.size :]))])
        raws.append(struct.pack(f"={first.size + 1}d", *total, rest if isfinite(rest) else 0.0))
    return Figures(first.spec, first.name, first.size, first.size + 1, list(cells), raws)
