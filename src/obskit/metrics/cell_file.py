"""
Write one worker's figures into a file that other processes read.

The writer maps the file; everyone else reads it, so that a file that goes away hurts nobody. Space is reserved before
it is mapped: a full disk is an error where the space is asked for, never a signal in an update. Where the file system
copies on writing, or hands out space that it does not have, that promise is as good as the file system's.

Stores to a histogram are bucket first, then sum, then `done`, by a thread that holds the cell's lock; `reader` says
what that is good for.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import sys
import weakref
from threading import RLock
from typing import Any

from obskit.catalogue import Metric
from obskit.forks import at_fork
from obskit.metrics.cell_format import (
    ABSENT,
    EXEMPLARS,
    FILLER,
    HEADER,
    LIMIT,
    RECORD,
    SLOT,
    USED,
    Exemplar,
    Labels,
    cell_record,
    exemplars_record,
    family_record,
    header,
    slot,
)

__all__ = ["ABSENT", "CHUNK", "LIMIT", "CellFile", "CellSpaceError", "Exemplar", "Exemplars"]

# The first chunk; each later one is as long as the file until then, up to the second. Both are multiples of the
# largest page, so that each chunk can be mapped by itself and stay where it is.
CHUNK, CHUNK_MAX = 64 * 1024, 1024 * 1024
_NOT_SUPPORTED = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENODEV}
# Before 3.13 a mapping keeps a descriptor.
_MAP: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}


class CellSpaceError(OSError):
    """
    Say that there is no room for a cell: the disk is full, read-only or forbidden, or the file is at its limit.
    """


class Exemplars:
    """
    Hold the exemplars of one cell, one slot a bucket.
    """

    __slots__ = ("_view",)

    def __init__(self, view: memoryview) -> None:
        self._view = view

    def put(self, index: int, trace_id: str, value: float, timestamp: float) -> None:
        """
        Replace a slot. A reader that comes in between finds its checksum wrong, and does without.

        Args:
            index: The bucket's.
            trace_id: 32 hexadecimal digits.
            value: What was observed.
            timestamp: Seconds since the epoch.
        """
        start = index * SLOT.size
        self._view[start : start + SLOT.size] = slot(Exemplar(trace_id, value, timestamp))


class CellFile:
    """
    Write a file of cells. Memoryviews of it stay valid, and in place, for as long as somebody holds them.

    A forked child lets go of its parent's by itself; what the parent's cells point at is the parent's still, so the
    child must not write there.

    Attributes:
        path: Where it is; whoever renames it says so here.
        slot: The worker's number.
    """

    def __init__(self, path: str, slot: int, limit: int) -> None:
        self.path = path
        self.slot = slot
        self._limit = limit
        self._kept: list[int] = []
        self._reading = self._writing = -1
        self._lock = RLock()  # `Workers` keeps who comes again, further down in the same thread, from writing here
        self._size = 0
        self._let_go()
        _files.add(self)

    @classmethod
    def create(cls, path: str | os.PathLike[str], *, slot: int = 0, limit: int = LIMIT) -> CellFile:
        """
        Make a file that is not there yet, and hold its lock for as long as it is open.

        Raises:
            CellSpaceError: There is no space, or no right to write there.
        """
        file = cls(os.fspath(path), slot, limit)
        try:
            file._start()
        except OSError as error:
            made = file._writing >= 0
            file.close()
            if made:
                _unlink(file.path)
            raise _no_space(error, file.path) from error
        return file

    def _start(self) -> None:
        flags = os.O_CLOEXEC | os.O_NOFOLLOW
        self._writing = os.open(self.path, flags | os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        # A description of its own: a mapping keeps a duplicate of its descriptor, in forked children too, and the
        # lock must end with the worker.
        self._reading = os.open(self.path, flags | os.O_RDONLY)
        fcntl.flock(self._reading, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._grow(0)
        self._chunk[: HEADER.size] = header(self.slot, HEADER.size)
        self._used = self._chunk[USED : HEADER.size].cast("Q")

    @property
    def descriptor(self) -> int:
        """
        Give the descriptor that holds the lock, to read the file by; -1 when it is closed.
        """
        return self._reading

    def keep(self, descriptor: int) -> None:
        """
        Keep a descriptor open for as long as the file is.
        """
        self._kept.append(descriptor)

    def family(self, spec: Metric, name: str) -> int:
        """
        Give a metric its number; the same metric under the same name has one number.

        Raises:
            CellSpaceError: There is no room for its record; the file is as it was.
        """
        with self._lock:
            number = self._families.get((spec, name))
            if number is None:
                number = len(self._families)
                self._append(family_record(spec, name))
                self._families[spec, name] = number
            return number

    def allocate(self, family: int, labels: Labels, size: int) -> memoryview[float]:
        """
        Give a label set its cell: so many doubles, all zero. Asked again, it gives the same cell as it is then.

        Raises:
            CellSpaceError: There is no room for it; the file is as it was.
        """
        with self._lock:
            if known := self._cells.get((family, labels)):
                return known[1]
            packed, place = cell_record(family, labels, bytes(8 * size))
            at = self._append(packed)
            start = at - self._chunk_start + place
            doubles = self._chunk[start : start + 8 * size].cast("d")
            self._cells[family, labels] = at, doubles
            return doubles

    def exemplars(self, family: int, labels: Labels, slots: int) -> Exemplars:
        """
        Give so many slots for exemplars to a cell that was allocated before. Ask once for a cell.

        Raises:
            CellSpaceError: There is no room for them; the file is as it was.
        """
        with self._lock:
            self._check_open()
            at = self._append(exemplars_record(self._cells[family, labels][0], slots))
            start = at - self._chunk_start + RECORD.size + EXEMPLARS.size
            return Exemplars(self._chunk[start : start + SLOT.size * slots])

    def _check_open(self) -> None:
        if self._reading < 0:
            raise CellSpaceError(errno.EBADF, "the file is closed", self.path)

    def _append(self, packed: bytes) -> int:
        """
        Write a record where no reader looks yet, then move `used` past it.
        """
        self._check_open()
        at = self._used[0]
        left = self._size - at
        if len(packed) > left:
            end_of_chunk = self._chunk[at - self._chunk_start :]
            self._grow(len(packed))
            if left:
                RECORD.pack_into(end_of_chunk, 0, FILLER, left)
            at = self._chunk_start
        start = at - self._chunk_start
        self._chunk[start : start + len(packed)] = packed
        self._used[0] = at + len(packed)
        return at

    def _grow(self, needed: int) -> None:
        size = max(CHUNK, min(self._size, CHUNK_MAX), needed + -needed % CHUNK)
        if self._size + size > self._limit:
            raise CellSpaceError(errno.EFBIG, f"the file has reached its limit of {self._limit} bytes", self.path)
        try:
            _reserve(self._writing, self._size, size)
            mapped = mmap.mmap(self._writing, size, offset=self._size, **_MAP)
        except OSError as error:
            _give_back(self._writing, self._size)
            raise _no_space(error, self.path) from error
        self._chunk, self._chunk_start = memoryview(mapped), self._size
        self._size += size

    def close(self) -> None:
        """
        End the worker: its figures stay, and others may fold them. What is written to its cells from now on is lost.
        """
        if self._reading >= 0:
            # Said aloud, since a child that another thread is forking at this moment shares the lock.
            fcntl.flock(self._reading, fcntl.LOCK_UN)
        self.abandon()

    def abandon(self) -> None:
        """
        Let go of everything without touching the data. The mapping goes when the last memoryview of it does.
        """
        descriptors = [self._reading, self._writing, *self._kept]
        self._reading = self._writing = -1
        self._kept = []
        self._lock = RLock()
        self._let_go()
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)

    def _let_go(self) -> None:
        self._chunk = memoryview(b"")
        self._chunk_start = 0
        self._used = memoryview(bytes(8)).cast("Q")
        self._families: dict[tuple[Metric, str], int] = {}
        self._cells: dict[tuple[int, Labels], tuple[int, memoryview[float]]] = {}


_files: weakref.WeakSet[CellFile] = weakref.WeakSet()


def _abandon_in_child() -> None:
    for file in list(_files):
        file.abandon()


at_fork(after_in_child=_abandon_in_child)


def _reserve(descriptor: int, start: int, size: int) -> None:
    """
    Make the file so much longer, in blocks that are really there.
    """
    try:
        os.posix_fallocate(descriptor, start, size)
        return
    except AttributeError:  # macOS has none
        pass
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise
    zeros = bytes(CHUNK)
    for at in range(start, start + size, len(zeros)):
        if os.pwrite(descriptor, zeros, at) < len(zeros):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _give_back(descriptor: int, size: int) -> None:
    try:
        os.ftruncate(descriptor, size)
    except OSError:
        pass


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def _no_space(error: OSError, path: str) -> CellSpaceError:
    if isinstance(error, CellSpaceError):
        return error
    number = error.errno or errno.EIO
    return CellSpaceError(number, os.strerror(number), path)
