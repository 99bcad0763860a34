"""
Keep this process's figures where the other workers of its server read them, or in memory where there are none.

Which it is is settled by the first update, or the first scrape, after the last fork: a process that a server forks
does not know before that whom it works for.
"""

from __future__ import annotations

import errno
import weakref
from collections.abc import Callable
from importlib.util import find_spec
from threading import RLock
from typing import TYPE_CHECKING, Any

from obskit import background
from obskit.forks import at_fork
from obskit.metrics.cells import MemoryExemplars, Values, in_memory
from obskit.metrics.family import Family, Labels
from obskit.operation import Event
from obskit.recorder import recorder

if TYPE_CHECKING:
    from obskit.metrics.cell_file import CellFile, Exemplars
    from obskit.metrics.directory import Directory, Snapshot

# Workers that come and go see different label sets; so many times the cap of one is kept of those that are gone.
_KEPT = 10


def _nothing() -> None:
    """
    Tell nobody.
    """


class Workers:
    """
    Be the home of a store's figures.

    Args:
        service: Keeps apart what is served by one server.
        path: `metrics_dir`, which names the directory by hand; None looks for the server.
        max_label_sets: The cap of a metric in one worker. Of workers that are dead, ten times as many are kept.

    Attributes:
        is_settled: Whether it is known whose worker this is.
        degraded: Whether this worker answers for itself alone, since the directory cannot be used.
        settled: Called once it is known whether the figures are shared.
    """

    def __init__(self, service: str, path: str | None, max_label_sets: int = 1000) -> None:
        self._service = service
        self._path = path
        self._most = _KEPT * max_label_sets
        self.on_resolved: Callable[[], None] = _nothing
        self.start_over()
        _all.add(self)

    def start_over(self) -> None:
        """
        Forget what a forked process's parent settled; its file lets go of itself.
        """
        self._lock = RLock()
        self._is_busy = False  # whether somebody is at the file: nobody but its own thread may find it so
        self._early: list[tuple[Family[Any], Labels]] = []  # cells that a finaliser made meanwhile
        self._directory: Directory | None = None
        self._file: CellFile | None = None
        self._is_leader = False
        self._unsaid: Event | None = None
        self.degraded = self.is_resolved = False

    def resolve(self) -> None:
        """
        Find out, once, whose worker this is.
        """
        if self.is_resolved:
            return
        found = self._looked_for()
        with self._lock:
            if self.is_resolved or self._is_busy:
                return
            self._is_busy = True
            try:
                if isinstance(found, Exception):
                    raise found
                self._file = found.join() if found else None
                self._directory = found
            except Exception as error:  # no right, no space, or a system like none that was thought of
                self._degrade(error)
            finally:
                self.is_resolved, self._is_busy = True, False
        self._take_in()
        self._say()
        self.on_resolved()

    def _looked_for(self) -> Directory | Exception | None:
        """
        Find the directory, or say why there is none: without the lock, since it imports.
        """
        try:
            return self._find()
        except Exception as error:
            return error

    def _take_in(self) -> None:
        """
        Give the cells a place that could have none, since they were made in the middle of making another.
        """
        while self._early:
            try:
                family, key = self._early.pop()
            except IndexError:  # another thread was faster
                return
            cell = family.cell(key)
            cell.detach()
            cell.attach()

    def _find(self) -> Directory | None:
        from obskit.metrics.instances import instance

        found = instance() if self._path is None else None
        if self._path is None and found is None:
            return None
        if find_spec("fcntl") is None:
            raise OSError(errno.ENOTSUP, "this system has no locks that end with their process (fcntl)")
        from obskit.metrics.directory import Directory
        from obskit.metrics.locations import directory

        if found is not None:
            return directory(self._service, found, max_label_sets=self._most)
        return Directory(self._path or "", max_label_sets=self._most)

    def _degrade(self, error: Exception) -> None:
        if self.degraded:
            return
        self._directory, self.degraded = None, True
        message = "the figures of several workers cannot be added up: each worker answers for itself alone"
        self._unsaid = Event("metrics.degraded", "WARNING", message, {"reason": str(error)})

    def _say(self) -> None:
        """
        Tell what is wrong, in a thread, since whoever updates a metric may hold a lock that a sink wants too.
        """
        unsaid = self._unsaid
        if unsaid is not None and background.start(recorder.emit, unsaid, name="obskit-warning", ends=True) is not None:
            self._unsaid = None

    @property
    def are_shared(self) -> bool:
        """
        Tell whether other workers may read figures of this one; False before it is settled. A directory that fails
        later changes nothing in that: what lies in it already stays in use.
        """
        return self._file is not None

    @property
    def slot(self) -> str:
        """
        Give the label `worker` of this process: a small number, which another may have once this one is dead.
        """
        return str(self._file.slot if self._file else 0)

    @property
    def set_aside(self) -> dict[str, int]:
        """
        Count the files that this process could not read, by reason.
        """
        return self._directory.set_aside if self._directory else {}

    def allocate(self, family: Family[Any], key: Labels, size: int) -> Values:
        """
        Give so many zeros a place.
        """
        self.resolve()
        with self._lock:
            file = self._file
            if self._is_busy:
                self._early.append((family, key))
                return in_memory(size)
            if self._directory is None or file is None:
                return in_memory(size)
            self._is_busy = True
            try:
                values: Values = file.allocate(file.family(family.stored, family.name), key, size)
            except OSError as error:
                self._degrade(error)
                values = in_memory(size)
            finally:
                self._is_busy = False
        self._take_in()
        self._say()
        return values

    def exemplars(self, family: Family[Any], key: Labels, slots: int) -> Exemplars | MemoryExemplars:
        """
        Give a cell's exemplars room beside it.
        """
        with self._lock:
            file = self._file
            if self._directory is None or file is None or self._is_busy:
                return MemoryExemplars()
            self._is_busy = True
            try:
                return file.exemplars(file.family(family.stored, family.name), key, slots)
            except (OSError, KeyError):  # no space, or its figures are in memory
                return MemoryExemplars()
            finally:
                self._is_busy = False

    def snapshot(self, *, exemplars: bool = False) -> Snapshot | None:
        """
        Add the figures of all workers up; None where this process has its own alone.
        """
        self.resolve()
        self._say()
        try:
            return self._directory.snapshot(self._file, exemplars=exemplars) if self._directory else None
        except Exception as error:  # of a directory that somebody has taken away
            recorder.failed("metrics", error)
            return None

    def is_leader(self) -> bool:
        """
        Tell whether this worker does what one of them does for all: the first that asks, until it dies.
        """
        self.resolve()
        with self._lock:
            if self._directory is not None and self._file is not None and not self._is_leader:
                if self._directory.acquire_leadership(self._file):
                    self._is_leader = True
                return self._is_leader
            return True

    def close(self) -> None:
        """
        End this worker: others add its counters to what is left of the dead.
        """
        with self._lock:
            file, self._file, self._directory = self._file, None, None
            self._is_leader, self.on_resolved = False, _nothing
            if file is not None:
                file.close()


_all: weakref.WeakSet[Workers] = weakref.WeakSet()


def _start_over_in_child() -> None:
    for workers in list(_all):
        workers.start_over()


at_fork(after_in_child=_start_over_in_child)
