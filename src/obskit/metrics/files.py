"""
Keep one worker's figures in a file that other processes read.

The writer maps the file; everyone else reads it, so that nobody is hurt when a file goes away under his feet. Space is
reserved before it is mapped: a full disk is an error where the space is asked for, never a signal in an update.

A header of `HEADER.size` bytes, then records, each 8-byte aligned and never moved:

    family     name, kind, labels, buckets as JSON; families are numbered in the order of their records
    cell       family, label values as JSON, and its doubles, all zero at first
    exemplars  the cell they belong to, and so many slots of trace id, value, timestamp and checksum
    folded     names of the files that were added up into this one
    filler     the end of a chunk that the next record did not fit in

The header's `used` is written when a record is complete, so nobody sees half a record.

Doubles of a cell: a counter has its value; a gauge its value, and where the latest counts its time in seconds since
the epoch; a histogram `done, sum, bucket, bucket, ..., +Inf bucket`, where buckets are not cumulative and `done`
counts observations. The writer stores bucket, then sum, then done. A reader takes all `done`, then all sums, then all
buckets, in three reads, and a cell is whole when its buckets add up to `done`:

- each of the `done` observations had stored its bucket and its sum before `done` was read, so both are there;
- an observation beyond those that is in the sum had stored its bucket before the sum was read, hence before the
  buckets were; the buckets would add up to more than `done`. There is none, so the sum has exactly those in `done`;
- the buckets hold the `done` observations and add up to as many: they hold no other.

A cell that is not whole is read again, by itself, a few times. Where it never becomes whole its writer was killed in
mid-update; the buckets win, and `done` becomes what they add up to. Buckets only grow, so neither way goes backwards.

The three stores of an update come from one thread that holds a lock, and the reads are system calls apart: a store
that a processor holds back becomes visible long before the next read.
"""

from __future__ import annotations

import errno
import fcntl
import json
import mmap
import os
import stat
import struct
import sys
import time
import weakref
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from operator import itemgetter
from threading import Lock
from typing import Any, Literal, NamedTuple, TypeAlias

from obskit.catalogue import Metric
from obskit.errors import MetricNameError

Labels: TypeAlias = tuple[str, ...]
Reason: TypeAlias = Literal["truncated", "foreign", "newer", "corrupt"]

VERSION = 1
MAGIC = b"obskit\r\n"
ORDER = 0x01020304
# magic, version, byte order, process, slot, made (nanoseconds since the epoch), random token, used
HEADER = struct.Struct("=8sIIQQQQQ")
_USED = HEADER.size - 8
_RECORD = struct.Struct("=II")  # kind, size with this header
_TEXT = struct.Struct("=II")  # length, checksum
_CELL = struct.Struct("=IIII")  # family, doubles, length of labels, checksum of labels and the numbers before
_EXEMPLARS = struct.Struct("=QII")  # offset of the cell's record, slots, checksum of both
_SLOT = struct.Struct("=32sddI4x")  # trace id, value, time, checksum
_FAMILY, _CELLS, _EXEMPLAR, _FOLDED, _FILLER = 1, 2, 3, 4, 5

# The first chunk; each later one is as long as the file, between these.
CHUNK, CHUNK_MAX = 64 * 1024, 1024 * 1024
# A worker's file stops here: about 130,000 histograms of 15 buckets.
LIMIT = 32 * 1024 * 1024
# Readers refuse more: a damaged length must not become an allocation.
READ_LIMIT = 16 * LIMIT
# The value of a gauge that is not there: a quiet NaN that no arithmetic gives. Write it to take a label set away.
ABSENT: float = struct.unpack("=d", struct.pack("=Q", 0x7FF8_0B5C_1700_0B5C))[0]
_ABSENT_BITS = struct.pack("=d", ABSENT)
_NO_SPACE_RESERVED = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENODEV}
_AGAIN = (0.0, 0.0, 0.0005, 0.002)  # seconds before a torn cell is read again: the writer may wait for a processor


class CellFileError(Exception):
    """
    Say why a file cannot be read: it is truncated, foreign, newer than this code, or corrupt.
    """

    def __init__(self, reason: Reason, what: str) -> None:
        super().__init__(f"{reason}: {what}")
        self.reason = reason


class CellSpaceError(OSError):
    """
    Say that there is no room for a cell: the disk is full, read-only or forbidden, or the file is at its limit.
    """


class Exemplars:
    """
    Hold the exemplars of one cell, one slot a bucket. The caller keeps two threads from the same slot.
    """

    __slots__ = ("_view",)

    def __init__(self, view: memoryview) -> None:
        self._view = view

    def put(self, slot: int, trace_id: str, value: float, timestamp: float) -> None:
        """
        Replace a slot. A reader that comes in between finds the checksum wrong and leaves the slot out.

        Args:
            slot: Index of the bucket.
            trace_id: 32 hexadecimal digits.
            value: What was observed.
            timestamp: Seconds since the epoch.
        """
        packed = _slot_head.pack(trace_id.encode("ascii"), value, timestamp)
        _SLOT.pack_into(self._view, slot * _SLOT.size, trace_id.encode("ascii"), value, timestamp, zlib.crc32(packed))


_slot_head = struct.Struct("=32sdd")


class CellFile:
    """
    Write a file of cells. Its memoryviews stay valid, and in place, for as long as somebody holds them.

    Attributes:
        path: Where it is now; whoever renames it says so here.
        slot: The worker's number.
        full: Whether an allocation has failed for want of space.
    """

    def __init__(self, path: str, slot: int, limit: int) -> None:
        self.path = path
        self.slot = slot
        self.full = False
        self._limit = limit
        self._reading = self._writing = -1
        self._kept: list[int] = []
        self._lock = Lock()
        self._size = 0
        self._chunk = memoryview(b"")
        self._chunk_start = 0
        self._used = memoryview(bytes(8)).cast("Q")
        self._families: dict[tuple[Metric, str], int] = {}
        self._cells: dict[tuple[int, Labels], tuple[int, memoryview[float]]] = {}
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
        token = int.from_bytes(os.urandom(8), sys.byteorder)
        HEADER.pack_into(
            self._chunk, 0, MAGIC, VERSION, ORDER, os.getpid(), self.slot, time.time_ns(), token, HEADER.size
        )
        self._used = self._chunk[_USED : HEADER.size].cast("Q")

    def keep(self, descriptor: int) -> None:
        """
        Keep a descriptor open for as long as the file is.
        """
        self._kept.append(descriptor)

    @property
    def descriptor(self) -> int:
        """
        Give the descriptor that holds the lock, to read the file by; -1 when it is closed.
        """
        return self._reading

    def family(self, spec: Metric, name: str) -> int:
        """
        Give a metric its number; the same metric under the same name has one number.

        Raises:
            CellSpaceError: There is no room for its record.
        """
        with self._lock:
            known = self._families.get((spec, name))
            if known is None:
                self._append(_family_record(spec, name))
                known = self._families[spec, name] = len(self._families)
            return known

    def allocate(self, family: int, labels: Labels, size: int) -> memoryview[float]:
        """
        Give a cell of so many doubles to a label set, all zero; the same cell when it is asked for again.

        Raises:
            CellSpaceError: There is no room for it; the file is as it was.
        """
        with self._lock:
            if known := self._cells.get((family, labels)):
                return known[1]
            at = self._append(_cell_record(family, labels, bytes(8 * size)))
            start = at - self._chunk_start + _RECORD.size + _CELL.size
            view = self._chunk[start : start + 8 * size].cast("d")
            self._cells[family, labels] = at, view
            return view

    def exemplars(self, family: int, labels: Labels, slots: int) -> Exemplars:
        """
        Give slots for exemplars to a cell that was allocated before.

        Raises:
            CellSpaceError: There is no room for them; the file is as it was.
        """
        with self._lock:
            head = _EXEMPLARS.pack(self._cells[family, labels][0], slots, 0)
            head = head[:12] + struct.pack("=I", zlib.crc32(head[:12]))
            at = self._append(_record(_EXEMPLAR, head + bytes(_SLOT.size * slots)))
            start = at - self._chunk_start + _RECORD.size + _EXEMPLARS.size
            return Exemplars(self._chunk[start : start + _SLOT.size * slots])

    def _append(self, record: bytes) -> int:
        """
        Write a record where no reader looks yet, then move `used` past it.
        """
        if self._reading < 0:
            raise CellSpaceError(errno.EBADF, "the file is closed", self.path)
        at = self._used[0]
        left = self._size - at
        if len(record) > left:
            filler = self._chunk[at - self._chunk_start :]
            self._grow(len(record))
            if left:
                _RECORD.pack_into(filler, 0, _FILLER, left)
            at = self._chunk_start
        start = at - self._chunk_start
        self._chunk[start : start + len(record)] = record
        self._used[0] = at + len(record)
        return at

    def _grow(self, needed: int) -> None:
        size = max(CHUNK, min(self._size, CHUNK_MAX), -(-needed // CHUNK) * CHUNK)
        if self._size + size > self._limit:
            self.full = True
            raise CellSpaceError(errno.EFBIG, f"the file has reached its limit of {self._limit} bytes", self.path)
        try:
            _reserve(self._writing, self._size, size)
            mapped = mmap.mmap(self._writing, size, offset=self._size, **_MAP)
        except (OSError, ValueError) as error:
            self.full = True
            _give_back(self._writing, self._size)
            raise _no_space(error, self.path) from error
        self._chunk, self._chunk_start = memoryview(mapped), self._size
        self._size += size

    def close(self) -> None:
        """
        End the worker: its figures stay, and are nobody's. Memoryviews remain valid, and lead nowhere that counts.
        """
        if self._reading >= 0:
            # Said aloud, since a child that another thread is forking at this moment shares the lock.
            fcntl.flock(self._reading, fcntl.LOCK_UN)
        self.abandon()

    def abandon(self) -> None:
        """
        Let go of everything without touching the data, as a forked child does by itself.

        The mapping goes when the last memoryview does.
        """
        descriptors = [self._reading, self._writing, *self._kept]
        self._reading = self._writing = -1
        self._kept = []
        self._chunk = memoryview(b"")
        self._used = memoryview(bytes(8)).cast("Q")
        self._cells, self._families = {}, {}
        self._lock = Lock()
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)


_files: weakref.WeakSet[CellFile] = weakref.WeakSet()


def _abandon_in_child() -> None:
    for file in list(_files):
        file.abandon()


os.register_at_fork(after_in_child=_abandon_in_child)

# From 3.13 on a mapping need not keep a descriptor.
_MAP: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}


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
        if error.errno not in _NO_SPACE_RESERVED:
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


def _no_space(error: Exception, path: str) -> CellSpaceError:
    if isinstance(error, CellSpaceError):
        return error
    number = getattr(error, "errno", None) or errno.ENOMEM
    return CellSpaceError(number, os.strerror(number), path)


def _record(kind: int, body: bytes) -> bytes:
    size = _RECORD.size + len(body)
    padding = -size % 8
    return _RECORD.pack(kind, size + padding) + body + bytes(padding)


def _json_record(kind: int, content: object) -> bytes:
    text = json.dumps(content, separators=(",", ":")).encode()
    return _record(kind, _TEXT.pack(len(text), zlib.crc32(text)) + text)


def _family_record(spec: Metric, name: str) -> bytes:
    content = {
        "name": name,
        "spec": spec.name,
        "kind": spec.kind,
        "help": spec.help,
        "labels": spec.labels,
        "buckets": spec.buckets,
        "workers": spec.workers,
        "prefixed": spec.prefixed,
    }
    return _json_record(_FAMILY, content)


def _cell_record(family: int, labels: Labels, doubles: bytes) -> bytes:
    text = json.dumps(labels, separators=(",", ":")).encode()
    head = struct.pack("=III", family, len(doubles) // 8, len(text))
    checksum = zlib.crc32(text, zlib.crc32(head))
    return _record(_CELLS, _CELL.pack(family, len(doubles) // 8, len(text), checksum) + doubles + text)


class Exemplar(NamedTuple):
    """
    Tie one observation of a bucket to its trace.
    """

    trace_id: str
    value: float
    timestamp: float


@dataclass(slots=True)
class Figures:
    """
    Hold what a file says of one metric.

    Attributes:
        keys: Label values, in the order of the cells.
        rows: The doubles of each cell, in the same order; histograms are whole.
        exemplars: By the cell's index: one a bucket, None where there is none.
    """

    spec: Metric
    name: str
    keys: Sequence[Labels]
    rows: list[list[float]]
    exemplars: dict[int, list[Exemplar | None]] = field(default_factory=dict)


@dataclass(slots=True)
class Contents:
    """
    Hold what a file says.

    Attributes:
        pid: The process that made it.
        made: When, in nanoseconds since the epoch.
        folded: Names of files that are added up in this one.
        repaired: Cells whose writer was in mid-update, and stayed there.
    """

    pid: int
    slot: int
    made: int
    families: list[Figures]
    folded: frozenset[str]
    repaired: int = 0


class _Family:
    """
    Remember where the cells of one metric are.
    """

    def __init__(self, spec: Metric, name: str) -> None:
        self.spec = spec
        self.name = name
        self.size = {"counter": 1, "gauge": 1 + (spec.workers == "latest")}.get(spec.kind, len(spec.buckets) + 3)
        self.keys: list[Labels] = []
        self.starts: list[int] = []  # in doubles from the start of the file
        self.exemplars: list[tuple[int, int, int]] = []  # index of the cell, start, slots
        self._known = 0

    def _plan(self) -> None:
        """
        Make one call that picks a figure of every cell; a metric's cells are read in a handful of such calls.
        """
        if self._known == len(self.starts):
            return
        self._known = len(self.starts)
        self._firsts = _picker(self.starts)
        if self.spec.kind == "histogram":
            self._seconds = _picker([start + 1 for start in self.starts])
            self._rest = _picker([slice(start + 2, start + self.size) for start in self.starts])
        elif self.size == 2:
            self._rest = _picker([slice(start, start + 2) for start in self.starts])

    def read(self, reader: _Pass) -> Figures:
        self._plan()
        keys, rows = self.keys[:], []
        if self.starts:
            if self.spec.kind == "histogram":
                rows = self._histograms(reader)
            elif self.spec.kind == "counter":
                rows = self._counters(reader)
            else:
                keys, rows = self._gauges(reader)
        return Figures(self.spec, self.name, keys, rows)

    def _counters(self, reader: _Pass) -> list[list[float]]:
        values = self._firsts(reader.third)
        if not min(values) >= 0 or any(value != value for value in values):
            raise CellFileError("corrupt", f"a counter of {self.name} is negative or no number")
        return [[value] for value in values]

    def _gauges(self, reader: _Pass) -> tuple[list[Labels], list[list[float]]]:
        rows = (
            list(map(list, self._rest(reader.doubles))) if self.size == 2 else [[v] for v in self._firsts(reader.third)]
        )
        there = [row[0] == row[0] or struct.pack("=d", row[0]) != _ABSENT_BITS for row in rows]
        if self.size == 2:
            there = [present and row[1] != 0 for present, row in zip(there, rows, strict=True)]
        if all(there):
            return self.keys[:], rows
        kept = [index for index, present in enumerate(there) if present]
        return [self.keys[index] for index in kept], [rows[index] for index in kept]

    def _histograms(self, reader: _Pass) -> list[list[float]]:
        done, sums = list(self._firsts(reader.first)), self._seconds(reader.second)
        buckets = self._rest(reader.doubles)
        rows = [[n, total, *counts] for n, total, counts in zip(done, sums, buckets, strict=True)]
        added = list(map(sum, buckets))
        if added != done or not isfinite(sum(done)):
            for index, (n, total) in enumerate(zip(added, done, strict=True)):
                if n != total or not isfinite(n):
                    rows[index] = reader.again(self, self.starts[index])
        if min(map(min, buckets)) < 0:
            for index, row in enumerate(rows):
                self._check(row, index)
        return rows

    def _check(self, row: list[float], index: int) -> None:
        for count in row[2:]:
            if not 0 <= count < 2**53 or count != int(count):
                raise CellFileError("corrupt", f"{self.name}{list(self.keys[index])} has a bucket of {count}")


def _picker(places: Sequence[Any]) -> Callable[[Any], Sequence[Any]]:
    """
    Make a function that picks all these places from a sequence in one call.
    """
    if len(places) > 1:
        return itemgetter(*places)
    return lambda sequence: (sequence[places[0]],)


class _Pass:
    """
    Hold the three reads of a file.
    """

    def __init__(self, descriptor: int, used: int, final: bool) -> None:
        self._descriptor = descriptor
        self._final = final
        self._used = used
        self.repaired = 0
        self.first = self._read()
        self.second = self._read()
        self.bytes = self._bytes()
        self.third = memoryview(self.bytes).cast("d")
        self.doubles = self.third.tolist()

    def _bytes(self) -> bytes:
        content = os.pread(self._descriptor, self._used, 0)
        if len(content) != self._used:
            raise CellFileError("truncated", f"{len(content)} of {self._used} bytes")
        return content

    def _read(self) -> memoryview[float]:
        return memoryview(self._bytes()).cast("d")

    def again(self, family: _Family, start: int) -> list[float]:
        """
        Read one histogram until it is whole, or repair it.
        """
        at, counts = 8 * start, struct.Struct(f"={family.size - 2}d")
        for pause in (0.0,) if self._final else _AGAIN:
            if pause:
                time.sleep(pause)
            row: list[float] = []
            for part, size in ((at, 8), (at + 8, 8), (at + 16, counts.size)):
                content = os.pread(self._descriptor, size, part)
                if len(content) != size:
                    raise CellFileError("truncated", f"a cell of {family.name}")
                row += struct.unpack(f"={size // 8}d", content)
            family._check(row, family.starts.index(start))
            if sum(row[2:]) == row[0]:
                return row
        if not row[0] <= sum(row[2:]):
            raise CellFileError("corrupt", f"a cell of {family.name} counts more than its buckets")
        self.repaired += 1
        row[0] = sum(row[2:])
        return row


class Reader:
    """
    Read one file again and again. It parses a record once: records never change, only their doubles do.

    Not for two threads at once.
    """

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._identity: tuple[int, ...] | None = None
        self._parsed = HEADER.size
        self._families: list[_Family] = []
        self._cells: dict[int, tuple[_Family, int]] = {}
        self._folded: frozenset[str] = frozenset()

    def read(self, descriptor: int, *, final: bool = False, exemplars: bool = False) -> Contents:
        """
        Say what the file holds now.

        Args:
            descriptor: An open file; its position is left alone.
            final: The writer is dead, so that waiting for it to finish an update is no use.
            exemplars: Read exemplars too.

        Raises:
            CellFileError: It says why the file cannot be read.
            OSError: The file system does.
        """
        try:
            return self._read(descriptor, final, exemplars)
        except CellFileError:
            self._forget()
            raise
        except (ValueError, TypeError, KeyError, IndexError, struct.error, RecursionError, MetricNameError) as error:
            self._forget()
            raise CellFileError("corrupt", repr(error)) from error

    def _read(self, descriptor: int, final: bool, exemplars: bool) -> Contents:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise CellFileError("foreign", "not a regular file")
        pid, slot, made, token, used = _header(os.pread(descriptor, HEADER.size, 0))
        if used > state.st_size:
            raise CellFileError("truncated", f"{state.st_size} of {used} bytes")
        identity = (state.st_dev, state.st_ino, pid, made, token)
        if identity != self._identity or used < self._parsed:
            self._forget()
            self._identity = identity
        content = _Pass(descriptor, used, final)
        if used > self._parsed:
            self._parse(content.bytes, used)
        families = [family.read(content) for family in self._families]
        if exemplars:
            for family, figures in zip(self._families, families, strict=True):
                _read_exemplars(family, figures, content.bytes)
        return Contents(pid, slot, made, families, self._folded, content.repaired)

    def _parse(self, content: bytes, used: int) -> None:
        while self._parsed < used:
            kind, size = _RECORD.unpack_from(content, self._parsed)
            end = self._parsed + size
            if size < _RECORD.size or size % 8 or end > used:
                raise CellFileError("corrupt", f"a record of {size} bytes at {self._parsed}")
            self._record(kind, content, self._parsed, end)
            self._parsed = end

    def _record(self, kind: int, content: bytes, at: int, end: int) -> None:
        start = at + _RECORD.size
        if kind == _CELLS:
            self._cell(content, at, end)
        elif kind == _FAMILY:
            self._families.append(_family_of(_json(content, start, end)))
        elif kind == _EXEMPLAR:
            where, slots, checksum = _EXEMPLARS.unpack_from(content, start)
            start += _EXEMPLARS.size
            family, index = self._cells[where]
            if (
                checksum != zlib.crc32(content[start - _EXEMPLARS.size : start - 4])
                or end - start != slots * _SLOT.size
            ):
                raise CellFileError("corrupt", f"exemplars at {at}")
            family.exemplars.append((index, start, slots))
        elif kind == _FOLDED:
            names = _json(content, start, end)
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise CellFileError("corrupt", f"names at {at}")
            self._folded |= frozenset(names)
        elif kind != _FILLER:
            raise CellFileError("corrupt", f"a record of kind {kind} at {at}")

    def _cell(self, content: bytes, at: int, end: int) -> None:
        number, size, length, checksum = _CELL.unpack_from(content, at + _RECORD.size)
        start = at + _RECORD.size + _CELL.size
        text = content[start + 8 * size : start + 8 * size + length]
        family = self._families[number]
        head = content[at + _RECORD.size : at + _RECORD.size + 12]
        if (
            size != family.size
            or end != (start + 8 * size + length + 7) // 8 * 8
            or checksum != zlib.crc32(text, zlib.crc32(head))
        ):
            raise CellFileError("corrupt", f"a cell at {at}")
        key = tuple(json.loads(text))
        if len(key) != len(family.spec.labels) or not all(type(value) is str for value in key):
            raise CellFileError("corrupt", f"labels at {at}")
        self._cells[at] = (family, len(family.keys))
        family.keys.append(key)
        family.starts.append(start // 8)


def _header(head: bytes) -> tuple[int, int, int, int, int]:
    if len(head) < HEADER.size:
        raise CellFileError("truncated", f"{len(head)} bytes")
    magic, version, order, pid, slot, made, token, used = HEADER.unpack(head)
    if magic != MAGIC:
        raise CellFileError("foreign", "no file of cells")
    if order != ORDER:
        raise CellFileError("foreign", "written by a machine of the other byte order")
    if version > VERSION:
        raise CellFileError("newer", f"version {version}, and this is {VERSION}")
    if version < VERSION or used < HEADER.size or used % 8 or used > READ_LIMIT:
        raise CellFileError("corrupt", f"version {version}, {used} bytes used")
    return pid, slot, made, token, used


def _json(content: bytes, start: int, end: int) -> Any:
    length, checksum = _TEXT.unpack_from(content, start)
    start += _TEXT.size
    text = content[start : start + length]
    if end != (start + length + 7) // 8 * 8 or zlib.crc32(text) != checksum:
        raise CellFileError("corrupt", f"text at {start}")
    return json.loads(text)


def _family_of(content: dict[str, Any]) -> _Family:
    spec = Metric(
        name=content["spec"],
        kind=content["kind"],
        help=content["help"],
        labels=tuple(content["labels"]),
        buckets=tuple(map(float, content["buckets"])),
        workers=content["workers"],
        prefixed=content["prefixed"],
    )
    name = content["name"]
    if (
        spec.kind not in ("counter", "gauge", "histogram")
        or spec.workers not in ("sum", "min", "max", "latest")
        or list(spec.buckets) != sorted(set(spec.buckets))
        or not isinstance(spec.help, str)
        or not isinstance(spec.prefixed, bool)
    ):
        raise CellFileError("corrupt", f"the family {name!r}")
    replace(spec, name=name)  # checks the name on the page
    return _Family(spec, name)


def _read_exemplars(family: _Family, figures: Figures, content: bytes) -> None:
    for index, start, slots in family.exemplars:
        found: list[Exemplar | None] = []
        part = content[start : start + slots * _SLOT.size]
        for number, (trace_id, value, timestamp, checksum) in enumerate(_SLOT.iter_unpack(part)):
            at = number * _SLOT.size
            whole = checksum and checksum == zlib.crc32(part[at : at + _slot_head.size])
            found.append(Exemplar(trace_id.decode("ascii", "replace"), value, timestamp) if whole else None)
        if any(found):
            figures.exemplars[index] = found


def dump(families: Iterable[Figures], folded: Iterable[str]) -> bytes:
    """
    Make a file's bytes from figures, for a file that nobody goes on writing.
    """
    records = [_json_record(_FOLDED, sorted(folded))]
    for number, family in enumerate(families):
        records.append(_family_record(family.spec, family.name))
        pack = struct.Struct(f"={len(family.rows[0]) if family.rows else 0}d").pack
        for key, row in zip(family.keys, family.rows, strict=True):
            records.append(_cell_record(number, key, pack(*row)))
    body = b"".join(records)
    token = int.from_bytes(os.urandom(8), sys.byteorder)
    head = HEADER.pack(MAGIC, VERSION, ORDER, os.getpid(), 0, time.time_ns(), token, HEADER.size + len(body))
    return head + body
