"""
The file of one worker's values, which other processes read.

The writer maps the file; all others read it, so a file that is truncated or removed cannot crash a reader. Space is
reserved before it is mapped: a full disk is an error at the allocation, never a SIGBUS in an update. On file systems
that copy on write or overcommit, that guarantee is as good as theirs.

Stores to a histogram are bucket first, then sum, then `done`, by a thread that holds the cell's lock; `reader` explains
why.
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
    EXEMPLAR_SLOT,
    EXEMPLARS_HEADER,
    FILLER_KIND,
    HEADER,
    MAX_FILE_BYTES,
    RECORD_HEADER,
    USED_OFFSET,
    Exemplar,
    LabelSet,
    encode_cell,
    encode_exemplar,
    encode_exemplars,
    encode_family,
    encode_header,
)

__all__ = ["ABSENT", "CHUNK", "MAX_FILE_BYTES", "CellFile", "CellSpaceError", "Exemplar", "ExemplarSlots"]

# Sizes of the first and of the largest chunk: each doubles the file, up to the largest. Both are multiples of the
# largest page size, so that each chunk is mapped by itself and never moves.
CHUNK, CHUNK_MAX = 64 * 1024, 1024 * 1024
_NOT_SUPPORTED = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENODEV}
# Before 3.13 a mapping keeps a descriptor.
_MAP: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}


class CellSpaceError(OSError):
    """
    No space for a cell: the disk is full, read-only or forbidden, or the file has reached its limit.
    """


class ExemplarSlots:
    """
    The exemplars of one cell in the file, one slot per bucket.
    """

    __slots__ = ("_view",)

    def __init__(self, view: memoryview) -> None:
        self._view = view

    def put(self, index: int, trace_id: str, value: float, timestamp: float) -> None:
        """
        Replace the exemplar of a bucket. A concurrent reader finds a wrong checksum and leaves it out.

        Args:
            index: The bucket's index.
            trace_id: 32 hexadecimal digits.
            value: What was observed.
            timestamp: Seconds since the epoch.
        """
        start = index * EXEMPLAR_SLOT.size
        self._view[start : start + EXEMPLAR_SLOT.size] = encode_exemplar(Exemplar(trace_id, value, timestamp))


class CellFile:
    """
    The writer of a file of cells. Memoryviews of it stay valid, and in place, for as long as they are referenced.

    A forked child abandons its parent's files by itself; the parent's cells still point into them, so the child must
    not write there.

    Attributes:
        path: Its path; set it after a rename.
        slot: The worker's slot.
    """

    def __init__(self, path: str, slot: int, limit: int) -> None:
        self.path = path
        self.slot = slot
        self._limit = limit
        self._kept: list[int] = []
        self._reading = self._writing = -1
        self._lock = RLock()  # `Workers` prevents re-entry from the same thread
        self._size = 0
        self._release()
        _files.add(self)

    @classmethod
    def create(cls, path: str | os.PathLike[str], *, slot: int = 0, limit: int = MAX_FILE_BYTES) -> CellFile:
        """
        Create a new file, locked for as long as it is open.

        Raises:
            CellSpaceError: No space, or no permission to write.
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
        # A second open file description: a mapping keeps a duplicate of its descriptor, in forked children too, and
        # the lock must end with the worker.
        self._reading = os.open(self.path, flags | os.O_RDONLY)
        fcntl.flock(self._reading, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._grow(0)
        self._chunk[: HEADER.size] = encode_header(self.slot, HEADER.size)
        self._used = self._chunk[USED_OFFSET : HEADER.size].cast("Q")

    @property
    def descriptor(self) -> int:
        """
        The descriptor that holds the lock, for reading; -1 when closed.
        """
        return self._reading

    def keep(self, descriptor: int) -> None:
        """
        Add a descriptor that stays open until the file is closed.
        """
        self._kept.append(descriptor)

    @property
    def size_bytes(self) -> int:
        """
        How large it is.
        """
        return self._size

    def family(self, spec: Metric, name: str, fine: tuple[float, ...] = ()) -> int:
        """
        Return the family number of a metric under its name, appending its record the first time.

        Args:
            spec: Its row.
            name: What it is merged by.
            fine: The bounds of cells that have finer buckets than the metric's own.

        Raises:
            CellSpaceError: No space for its record; the file is unchanged.
        """
        with self._lock:
            number = self._families.get((spec, name, fine))
            if number is None:
                number = len(self._families)
                self._append(encode_family(spec, name, fine))
                self._families[spec, name, fine] = number
            return number

    def allocate(self, family: int, labels: LabelSet, size: int) -> memoryview[float]:
        """
        Return the cell of a label set: `size` doubles, zero at first. Called again, it returns the same cell.

        Raises:
            CellSpaceError: No space for it; the file is unchanged.
        """
        with self._lock:
            if known := self._cells.get((family, labels)):
                return known[1]
            packed, place = encode_cell(family, labels, bytes(8 * size))
            at = self._append(packed)
            start = at - self._chunk_start + place
            doubles = self._chunk[start : start + 8 * size].cast("d")
            self._cells[family, labels] = at, doubles
            return doubles

    def allocate_exemplars(self, family: int, labels: LabelSet, slots: int) -> ExemplarSlots:
        """
        Append exemplar slots for a cell that was allocated before; call it once per cell.

        Raises:
            CellSpaceError: No space for them; the file is unchanged.
        """
        with self._lock:
            self._check_open()
            at = self._append(encode_exemplars(self._cells[family, labels][0], slots))
            start = at - self._chunk_start + RECORD_HEADER.size + EXEMPLARS_HEADER.size
            return ExemplarSlots(self._chunk[start : start + EXEMPLAR_SLOT.size * slots])

    def _check_open(self) -> None:
        if self._reading < 0:
            raise CellSpaceError(errno.EBADF, "the file is closed", self.path)

    def _append(self, packed: bytes) -> int:
        """
        Write a record beyond `used`, where no reader looks, then move `used` past it; return its offset.
        """
        self._check_open()
        at = self._used[0]
        left = self._size - at
        if len(packed) > left:
            end_of_chunk = self._chunk[at - self._chunk_start :]
            self._grow(len(packed))
            if left:
                RECORD_HEADER.pack_into(end_of_chunk, 0, FILLER_KIND, left)
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
        Unlock and close the file: other workers may fold its values. Later updates of its cells are lost.
        """
        if self._reading >= 0:
            # Unlocked explicitly: a child that another thread is forking at this moment shares the lock.
            fcntl.flock(self._reading, fcntl.LOCK_UN)
        self.abandon()

    def abandon(self) -> None:
        """
        Close all descriptors without touching the data. The mapping ends with the last memoryview of it.
        """
        descriptors = [self._reading, self._writing, *self._kept]
        self._reading = self._writing = -1
        self._kept = []
        self._lock = RLock()
        self._release()
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)

    def _release(self) -> None:
        self._chunk = memoryview(b"")
        self._chunk_start = 0
        self._used = memoryview(bytes(8)).cast("Q")
        self._families: dict[tuple[Metric, str, tuple[float, ...]], int] = {}
        self._cells: dict[tuple[int, LabelSet], tuple[int, memoryview[float]]] = {}


_files: weakref.WeakSet[CellFile] = weakref.WeakSet()


def _abandon_in_child() -> None:
    for file in list(_files):
        file.abandon()


at_fork(after_in_child=_abandon_in_child)


def _reserve(descriptor: int, start: int, size: int) -> None:
    """
    Extend the file by `size` bytes, with blocks that are allocated on disk.
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
