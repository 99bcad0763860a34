"""
The allocator of this process's values: in a file that the other workers of its server read, or in memory.

Which of the two is resolved by the first update, or the first scrape, after the last fork: a process that a server
forks does not know earlier whose worker it is.
"""

from __future__ import annotations

import errno
import weakref
from collections.abc import Callable
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from obskit import background
from obskit.catalogue import events
from obskit.forks import at_fork
from obskit.metrics.cell_format import VERSION, LabelSet
from obskit.metrics.cells import MemoryExemplars, Values, allocate_in_memory
from obskit.metrics.family import Family
from obskit.metrics.grids import MAX_FILE_BYTES, grids
from obskit.operation import Event, HttpOperation
from obskit.recorder import recorder
from obskit.storage.private_files import HAS_LOCKS
from obskit.workers.instance_leader import samples
from obskit.workers.instances import current_instance

if TYPE_CHECKING:
    from obskit.metrics.cell_file import CellFile, ExemplarSlots
    from obskit.metrics.directory import Directory, Snapshot

# Successive workers see different label sets; of dead ones this many times the cap of one worker is kept.
_DEAD_WORKERS_FACTOR = 10


class Workers:
    """
    Allocates the cells of a collector's families, and merges the values of all workers.

    Args:
        service: Separates several services of one server.
        path: `metrics_dir`, the directory; None detects the server.
        max_label_sets: The cap of a metric in one worker. Of dead workers, ten times as many are kept.

    Attributes:
        is_resolved: Whether it is known whose worker this is.
        degraded: Whether this worker exposes its own values only, since the directory cannot be used.
        on_resolved: Called once that is known, and so in each process anew.
    """

    def __init__(self, service: str, path: str | None, max_label_sets: int = 1000) -> None:
        self._service = service
        self._path = path
        self._max_dead_label_sets = _DEAD_WORKERS_FACTOR * max_label_sets
        self.on_resolved: Callable[[], object] = _ignore
        self.start_over()
        _all.add(self)

    def start_over(self) -> None:
        """
        Drop what the parent of a forked process resolved; its file abandons itself.
        """
        self._lock = RLock()
        self._is_busy = False  # while a thread uses the file: only that thread itself, re-entering, can see it set
        self._early: list[tuple[Family[Any], LabelSet]] = []  # cells that a finaliser created meanwhile
        self._directory: Directory | None = None
        self._file: CellFile | None = None
        self._unreported: Event | None = None
        self.degraded = self.is_resolved = False

    def resolve(self) -> None:
        """
        Determine, once, whose worker this is, and open the file that it shares.
        """
        if self.is_resolved:
            return
        found = self._find_or_error()
        with self._lock:
            if self.is_resolved or self._is_busy:
                return
            self._is_busy = True
            try:
                if isinstance(found, Exception):
                    raise found
                self._file = found.join() if found else None
                self._directory = found
            except Exception as error:  # no permission, no space, or an unforeseen system
                self._degrade(error)
            finally:
                self.is_resolved, self._is_busy = True, False
        self._allocate_early()
        self._report()
        recorder.rebind(HttpOperation)  # to steps for what has been resolved
        self.on_resolved()

    def _find_or_error(self) -> Directory | Exception | None:
        """
        Return the directory, None where nothing is shared, or the error; without the lock, since it imports.
        """
        try:
            return self._find()
        except Exception as error:
            return error

    def _allocate_early(self) -> None:
        """
        Allocate the cells that a finaliser created while another was being allocated.
        """
        while self._early:
            try:
                family, key = self._early.pop()
            except IndexError:  # another thread took it
                return
            cell = family.cell(key)
            cell.detach()
            cell.attach()

    def _find(self) -> Directory | None:
        found = current_instance() if self._path is None else None
        if self._path is None and found is None:
            return None
        if not HAS_LOCKS:
            raise OSError(errno.ENOTSUP, "this system has no locks that end with their process (fcntl)")
        from obskit.metrics.directory import Directory
        from obskit.workers.instance_folders import open_instance_folder

        path = self._path if found is None else open_instance_folder(self._service, found, VERSION)
        return Directory(path or "", max_label_sets=self._max_dead_label_sets)

    def _degrade(self, error: Exception) -> None:
        if self.degraded:
            return
        self._directory, self.degraded = None, True
        message = "the values of several workers cannot be merged: each worker answers for itself alone"
        self._unreported = events.DEGRADED.event(message, {"reason": str(error)})

    def _report(self) -> None:
        """
        Emit the warning, in a thread, since the caller may hold a lock that a sink needs.
        """
        unsaid = self._unreported
        if unsaid is not None and background.start(recorder.emit, unsaid, name="obskit-warning", ends=True) is not None:
            self._unreported = None

    @property
    def are_shared(self) -> bool:
        """
        Whether other workers can read values of this one; False before it is resolved. It stays True where the
        directory fails later: cells that are in the file stay in use.
        """
        return self._file is not None

    @property
    def slot(self) -> str:
        """
        The label `worker` of this process: a small number, which is reused once this one is dead.
        """
        return str(self._file.slot if self._file else 0)

    @property
    def set_aside(self) -> dict[str, int]:
        """
        Number of files that this process has set aside, by reason.
        """
        return self._directory.set_aside if self._directory else {}

    def allocate(self, family: Family[Any], key: LabelSet, size: int) -> Values:
        """
        Return `size` zeros for a label set: in the file, or in memory where nothing is shared.
        """
        self.resolve()
        with self._lock:
            file = self._file
            if self._is_busy:
                self._early.append((family, key))
                return allocate_in_memory(size)
            if self._directory is None or file is None:
                return allocate_in_memory(size)
            self._is_busy = True
            try:
                values: Values = file.allocate(_number(file, family, size), key, size)
                grids.is_full = file.size_bytes >= MAX_FILE_BYTES
            except OSError as error:
                self._degrade(error)
                values = allocate_in_memory(size)
            finally:
                self._is_busy = False
        self._allocate_early()
        self._report()
        return values

    def allocate_exemplars(self, family: Family[Any], key: LabelSet, slots: int) -> ExemplarSlots | MemoryExemplars:
        """
        Return storage for a cell's exemplars, where its values are.
        """
        with self._lock:
            file = self._file
            if self._directory is None or file is None or self._is_busy:
                return MemoryExemplars()
            self._is_busy = True
            try:
                return file.allocate_exemplars(_number(file, family, family.cell(key).size), key, slots)
            except (OSError, KeyError):  # no space, or its values are in memory
                return MemoryExemplars()
            finally:
                self._is_busy = False

    def snapshot(self, *, exemplars: bool = False) -> Snapshot | None:
        """
        Return the merged values of all workers; None where this process has only its own.
        """
        self.resolve()
        self._report()
        try:
            return self._directory.snapshot(self._file, exemplars=exemplars) if self._directory else None
        except Exception as error:  # the directory was removed
            recorder.failed("metrics", error)
            return None

    def folder(self) -> Path | None:
        """
        Return the folder that the workers share; None where this process has its values for itself.
        """
        self.resolve()
        directory = self._directory
        return directory.path if directory is not None and self._file is not None else None

    def asks_for_all(self) -> bool:
        """
        Return whether this worker asks what one asks for all; a process that has its values for itself does.
        """
        return self.folder() is None or samples()

    def close(self) -> None:
        """
        Close this worker's file: others fold its counters and histograms.
        """
        with self._lock:
            file, self._file, self._directory = self._file, None, None
            if file is not None:
                file.close()


def _number(file: CellFile, family: Family[Any], size: int) -> int:
    """
    Return the number of a metric in the file, of its cells that have so many values.
    """
    return file.family(family.cell_spec, family.spec.name, family.fine_bounds_of(size))


def _ignore() -> None:
    return None


_all: weakref.WeakSet[Workers] = weakref.WeakSet()


def _start_over_in_child() -> None:
    for workers in list(_all):
        workers.start_over()


at_fork(after_in_child=_start_over_in_child)
