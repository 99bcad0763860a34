"""
The directory of the workers of one instance: their files, and the merged values of all.

    worker-<slot>-<pid>-<token>.cells   one worker's values; it holds its lock for as long as it lives
    folded.cells                        counters and histograms of dead workers
    lock                                held by the worker that folds
    slots                               byte n is locked by the worker whose slot is n
    leader                              locked by the leader, which acts for all workers
    *.tmp, *.bad                        being written; set aside since unreadable

A snapshot takes no lock, so a worker that is stopped or killed while it folds delays no scrape. It lists the files,
then reads `folded.cells`, then those listed files that `folded.cells` does not name:

- a file is removed only once `folded.cells` includes it. If it was listed and cannot be opened any more, the snapshot
  starts again, and finds it in `folded.cells`;
- a file that was removed before the listing is in the `folded.cells` that is read after it;
- a file that `folded.cells` names and that still exists, since its folder was killed, is left out.

So each worker is in a snapshot exactly once, and no counter decreases between snapshots.

The directory must be on a local file system: on NFS these locks do not hold.
"""

from __future__ import annotations

import errno
import os
import re
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from threading import RLock

from obskit.catalogue import Metric
from obskit.forks import at_fork
from obskit.metrics.cell_file import CellFile, CellSpaceError
from obskit.metrics.cell_format import BucketExemplars, CellFileError, FamilyData, LabelSet, Row, encode_file
from obskit.metrics.merge import FineRows, Merger, MixedMerger, can_merge, fold, latest_exemplars
from obskit.metrics.reader import FileContents, Reader
from obskit.time.clock import clock, rest
from obskit.workers.file_lock import is_file_unlocked, is_unlocked, locked_file, opened_file
from obskit.workers.private_folder import make_private_directory, write_new_file
from obskit.workers.slots import claim_slot

FOLDED_FILE = "folded.cells"
# Files that are set aside are kept for diagnosis; a few are enough.
MAX_BAD_FILES = 5
# Files of dead workers that a starting worker leaves to the next scrape: folding would delay its first request.
MAX_DEAD_FILES = 8
_is_cell_file = re.compile(r"worker-\d{1,9}-\d{1,19}-[0-9a-f]{16}\.cells").fullmatch
# Attempts at a snapshot that a concurrent fold interrupts, before it takes the lock against folding.
_MAX_ATTEMPTS = 8
_STALE_SECONDS = 60  # after which a temporary file is taken for abandoned


@dataclass(slots=True)
class MergedFamily:
    """
    One metric's values of all workers. They are shared with the next snapshot: do not change them.

    Attributes:
        keys: Label sets.
        rows: Their values, in the same order: `(value,)`, or `(count, sum, bucket, ..., +Inf bucket)`, not cumulative.
            A row that has not changed since the snapshot before is the same object.
        exemplars: By label set, then by the index of the bucket.
        fine: Of a histogram, what there is on finer buckets.
    """

    spec: Metric
    name: str
    keys: Sequence[LabelSet]
    rows: Sequence[Row]
    exemplars: dict[LabelSet, BucketExemplars]
    fine: FineRows | None = None

    @property
    def cells(self) -> dict[LabelSet, Row]:
        """
        The values by label set.
        """
        return dict(zip(self.keys, self.rows, strict=True))


@dataclass(frozen=True, slots=True)
class LiveWorker:
    """
    A worker that lives.

    Attributes:
        slot: A small number that no other living worker has; it is reused once this one is dead.
        created_ns: When its file was created, in nanoseconds since the epoch.
    """

    slot: int
    pid: int
    created_ns: int


@dataclass(slots=True)
class Snapshot:
    """
    The values of all workers of an instance at one moment.

    Attributes:
        families: By name in the catalogue, whatever a page calls them.
        workers: Those that live, by slot.
        conflicts: Number of metrics left out, since a newer worker has a different one of that name.
        unreadable: Number of files that could not be read: set aside, of a newer version, or refused by the system.
    """

    families: dict[str, MergedFamily] = field(default_factory=dict)
    workers: list[LiveWorker] = field(default_factory=list)
    conflicts: int = 0
    unreadable: int = 0


@dataclass(slots=True)
class _FileRead:
    name: str
    contents: FileContents
    live: bool


class Directory:
    """
    The files of the workers of one instance. One object per process; thread-safe.

    Attributes:
        path: The directory; private to the user.
        max_label_sets: Cap on a metric's label sets of dead workers; those beyond are merged into one whose label
            values are all `_OVERFLOW`. Default: ten times the cap of one worker.
        set_aside: Number of files that this process has set aside, by reason: truncated, foreign, newer, corrupt.

    Raises:
        DirectoryError: It belongs to another user, is a link, or is writable by others; or it cannot be created.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_label_sets: int = 10_000) -> None:
        self.path = Path(path)
        self.max_label_sets = max_label_sets
        self.set_aside: dict[str, int] = {}
        make_private_directory(self.path)
        self.start_over()
        _directories.add(self)

    def start_over(self) -> None:
        """
        Drop what was read, and make a lock that no thread of a forked parent holds.
        """
        self._lock = RLock()
        self._is_busy = False  # while a thread reads or folds: only that thread itself, re-entering, can see it set
        self._readers: dict[str, Reader] = {}
        self._last_reads: dict[str, _FileRead] = {}
        self._mergers: dict[str, Merger | MixedMerger] = {}

    def join(self) -> CellFile:
        """
        Create this worker's file, and claim a slot.

        Raises:
            CellSpaceError: No space, or no permission to write.
            DirectoryError: The directory is gone, and cannot be created again.
        """
        make_private_directory(self.path)
        try:
            slots, slot = claim_slot(self.path / "slots")
        except OSError as error:
            raise CellSpaceError(error.errno, error.strerror, str(self.path / "slots")) from error
        try:
            if sum(is_file_unlocked(self.path / name) for name in _names(self.path)) > MAX_DEAD_FILES:
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
            except FileNotFoundError:  # another worker took it for abandoned before it was locked
                file.close()
                continue
            file.path = str(path)
            return file
        raise CellSpaceError(errno.ENOENT, "the file went away three times", str(self.path))

    def snapshot(self, own: CellFile | None = None, *, exemplars: bool = False) -> Snapshot:
        """
        Read and merge all files; then fold the files of dead workers, unless another process does.

        Args:
            own: This process's file, which is included even if its name was removed.
            exemplars: With exemplars.
        """
        with self._lock:
            if not self._is_busy:
                self._is_busy = True
                try:
                    return self._snapshot(own, exemplars)
                finally:
                    self._is_busy = False
        # A finaliser or signal handler asks in the middle of a read: it gets a reader of its own.
        return Directory(self.path, max_label_sets=self.max_label_sets).snapshot(own, exemplars=exemplars)

    def _snapshot(self, own: CellFile | None, exemplars: bool) -> Snapshot:
        snapshot = Snapshot()
        reads = self._read_all(own, exemplars, snapshot)
        self._merge(reads, snapshot)
        if any(not read.live and read.name != FOLDED_FILE for read in reads):
            self._fold()
        return snapshot

    def fold(self) -> bool:
        """
        Merge the files of dead workers into `folded.cells`, and remove them; False where another process does.
        """
        with self._lock:
            if self._is_busy:
                return False
            self._is_busy = True
            try:
                return self._fold()
            finally:
                self._is_busy = False

    def _read_all(self, own: CellFile | None, exemplars: bool, snapshot: Snapshot) -> list[_FileRead]:
        for _ in range(_MAX_ATTEMPTS):
            try:
                return self._read_once(own, exemplars, snapshot)
            except FileNotFoundError:
                snapshot.unreadable = 0
            except OSError:
                return self._last_readable(own, exemplars, snapshot)
        with locked_file(self.path / "lock", wait=True):
            return self._read_once(own, exemplars, snapshot)

    def _last_readable(self, own: CellFile | None, exemplars: bool, snapshot: Snapshot) -> list[_FileRead]:
        """
        Return what was read last, where no file can be opened (too many open files): no value may decrease.
        """
        snapshot.unreadable += 1
        if own and own.descriptor >= 0:
            name = os.path.basename(own.path)
            self._last_reads[name] = self._read_by(own.descriptor, name, exemplars, live=True)
        return list(self._last_reads.values())

    def _read_once(self, own: CellFile | None, exemplars: bool, snapshot: Snapshot) -> list[_FileRead]:
        mine = os.path.basename(own.path) if own and own.descriptor >= 0 else None
        names = dict.fromkeys([*_names(self.path), *([mine] if mine else [])])
        folded = self._read_folded(snapshot)
        taken = folded.contents.folded if folded else frozenset()
        reads = {FOLDED_FILE: folded} if folded else {}
        for name in names:
            try:
                # By its own descriptor: where locks belong to the process, closing another descriptor would release it.
                if own and name == mine:
                    reads[name] = self._read_by(own.descriptor, name, exemplars, live=True)
                elif name not in taken:
                    reads[name] = self._read(name, exemplars)
            except FileNotFoundError:
                raise
            except (CellFileError, OSError) as error:
                if not self._reject(name, error, snapshot) and name in self._last_reads:
                    reads[name] = self._last_reads[name]
        self._readers = {name: self._readers[name] for name in reads}
        self._last_reads = reads
        return list(reads.values())

    def _read_folded(self, snapshot: Snapshot) -> _FileRead | None:
        try:
            return self._read(FOLDED_FILE)
        except FileNotFoundError:
            pass
        except CellFileError as error:
            self._reject(FOLDED_FILE, error, snapshot)
        return None

    def _read(self, name: str, exemplars: bool = False) -> _FileRead:
        with opened_file(self.path / name) as descriptor:
            return self._read_by(descriptor, name, exemplars, live=name != FOLDED_FILE and not is_unlocked(descriptor))

    def _read_by(self, descriptor: int, name: str, exemplars: bool, *, live: bool) -> _FileRead:
        reader = self._readers.setdefault(name, Reader())
        try:
            return _FileRead(name, reader.read(descriptor, final=not live, exemplars=exemplars), live)
        except CellFileError as error:
            if not live or error.reason == "newer":
                raise
        rest(0.01)  # once more, before a living worker's file is set aside
        return _FileRead(name, reader.read(descriptor, exemplars=exemplars), live)

    def _merge(self, reads: list[_FileRead], snapshot: Snapshot) -> None:
        """
        Merge files. Where two have different metrics of one name, that of the newest living worker is kept.
        """
        parts: dict[str, list[FamilyData]] = {}
        for read in sorted(
            reads, key=lambda read: (read.name != FOLDED_FILE, read.live, read.contents.created_ns), reverse=True
        ):
            contents = read.contents
            if read.live:
                snapshot.workers.append(LiveWorker(contents.slot, contents.pid, contents.created_ns))
            for family in contents.families:
                if read.live or family.spec.kind != "gauge":
                    found = parts.setdefault(family.name, [])
                    if found and not can_merge(found[0].metric, family.metric):
                        snapshot.conflicts += 1
                    else:
                        found.append(family)
        snapshot.workers.sort(key=lambda worker: worker.slot)
        sums, self._mergers = self._mergers, {}
        for name, found in parts.items():
            known = sums.get(name)
            merger = known if known and known.matches(found) else _merger_of(found)
            self._mergers[name] = merger
            keys, rows = merger.merge(found)
            fine = merger.fine if isinstance(merger, MixedMerger) else None
            marks = latest_exemplars(found)
            snapshot.families[name] = MergedFamily(found[0].metric, name, keys, rows, marks, fine)

    def _reject(self, name: str, error: Exception, snapshot: Snapshot | None = None) -> bool:
        """
        Set an unreadable file aside; False where it stays, as that of a living worker of a newer version.
        """
        if snapshot:
            snapshot.unreadable += 1
        reason = "foreign" if getattr(error, "errno", None) == errno.ELOOP else getattr(error, "reason", None)
        if reason is None or (reason == "newer" and name != FOLDED_FILE and not is_file_unlocked(self.path / name)):
            return False
        self._readers.pop(name, None)
        try:
            os.rename(self.path / name, self.path / f"{name}.{os.urandom(4).hex()}.bad")
        except OSError:
            return False
        self.set_aside[reason] = self.set_aside.get(reason, 0) + 1
        self._remove_old_bad_files()
        return True

    def _remove_old_bad_files(self) -> None:
        bad = []
        for path in self.path.glob("*.bad"):
            try:
                bad.append((path.lstat().st_ctime_ns, path))
            except OSError:
                pass
        for _, path in sorted(bad, reverse=True)[MAX_BAD_FILES:]:
            _remove(path)

    def _fold(self) -> bool:
        try:
            with locked_file(self.path / "lock") as alone:
                if alone:
                    self._fold_locked()
                return alone
        except OSError:  # full, or read-only: the files stay, and are read one by one
            return False

    def _fold_locked(self) -> None:
        """
        Fold, under the lock. Killed at any point, it leaves each worker in exactly one place that a snapshot reads.
        """
        for path in self.path.glob("*.tmp"):
            self._remove_stale(path)
        try:
            folded = [self._read(FOLDED_FILE)]
        except FileNotFoundError:
            folded = []
        except CellFileError as error:
            self._reject(FOLDED_FILE, error)
            folded = []
        taken = folded[0].contents.folded if folded else frozenset()
        names = _names(self.path)
        left = {name for name in names if name in taken and not _remove(self.path / name)}
        dead = [read for name in names if name not in taken and (read := self._read_dead(name))]
        if not dead:
            return
        families = chain.from_iterable(read.contents.families for read in [*folded, *dead])
        temporary = self.path / f"folded-{os.urandom(8).hex()}.tmp"
        try:
            write_new_file(
                temporary, encode_file(fold(families, self.max_label_sets), left | {read.name for read in dead})
            )
            os.rename(temporary, self.path / FOLDED_FILE)
        except OSError:
            _remove(temporary)
            raise
        for read in dead:
            _remove(self.path / read.name)

    def _read_dead(self, name: str) -> _FileRead | None:
        try:
            return self._read(name) if is_file_unlocked(self.path / name) else None
        except CellFileError as error:
            self._reject(name, error)
        except OSError:
            pass
        return None

    def _remove_stale(self, path: Path) -> None:
        """
        Remove a temporary file whose writer was killed. Those of a fold are ours, under the lock.
        """
        try:
            stale = clock.wall() - path.lstat().st_mtime > _STALE_SECONDS and is_file_unlocked(path)
            if stale or path.name.startswith("folded-"):
                _remove(path)
        except OSError:
            pass


_directories: weakref.WeakSet[Directory] = weakref.WeakSet()


def _start_over_in_child() -> None:
    for directory in list(_directories):
        directory.start_over()


at_fork(after_in_child=_start_over_in_child)


def _names(path: Path) -> list[str]:
    try:
        return sorted(filter(_is_cell_file, os.listdir(path)))
    except FileNotFoundError:
        return []


def _remove(path: Path) -> bool:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _merger_of(parts: list[FamilyData]) -> Merger | MixedMerger:
    return MixedMerger(parts) if any(part.own is not None for part in parts) else Merger(parts)
