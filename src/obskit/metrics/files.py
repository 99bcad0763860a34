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
from itertools import compress
from operator import itemgetter, ne
from struct import iter_unpack
from threading import Lock
from typing import Any, Literal, NamedTuple, TypeAlias

from obskit.catalogue import Metric
from obskit.errors import MetricNameError

Labels: TypeAlias = tuple[str, ...]
Row: TypeAlias = tuple[float, ...]
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
_ABSENT = struct.pack("=d", ABSENT)
# Cells that are taken in one go: enough to pay, and short enough that other threads hardly wait for them.
BATCH = 512
# Where the byte with the sign is in a double, and the most that a double counts by ones.
_SIGN = 7 if sys.byteorder == "little" else 0
_MOST = 2.0**53
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
        size: Doubles of a cell.
        width: Doubles of a cell in this file. A folded one has one more: what rounding took from its sum.
        keys: Label values of the cells; it grows with the file.
        raws: The cells' doubles as bytes, histograms whole. Bytes that have not changed are the same object.
        exemplars: By the cell's index: one a bucket, None where there is none.
    """

    spec: Metric
    name: str
    size: int
    width: int
    keys: Sequence[Labels]
    raws: Sequence[bytes]
    exemplars: dict[int, list[Exemplar | None]] = field(default_factory=dict)

    @property
    def rows(self) -> list[Row]:
        """
        Give the doubles of each cell.
        """
        return list(map(unpack, self.raws))


@dataclass(slots=True)
class Contents:
    """
    Hold what a file says.

    Attributes:
        pid: The process that made it.
        made: When, in nanoseconds since the epoch.
        folded: Names of files that are added up in this one.
        repaired: Cells whose writer was in mid-update and stayed there, in this reading.
    """

    pid: int
    slot: int
    made: int
    families: list[Figures]
    folded: frozenset[str]
    repaired: int = 0


def unpack(raw: bytes) -> Row:
    """
    Give the doubles of a cell.
    """
    return struct.unpack(f"={len(raw) // 8}d", raw)


def is_absent(gauge: Row) -> bool:
    """
    Tell whether a gauge's row says that it is not there, or, where the latest counts, that it was never set.
    """
    value = gauge[0]
    return (value != value and struct.pack("=d", value) == _ABSENT) or gauge[1:] == (0.0,)


def size_of(spec: Metric) -> int:
    """
    Tell how many doubles a cell of this metric has.
    """
    if spec.kind == "histogram":
        return len(spec.buckets) + 3
    return 2 if spec.kind == "gauge" and spec.workers == "latest" else 1


class _Family:
    """
    Know where the cells of one metric are, and what they held when they were read last.
    """

    def __init__(self, spec: Metric, name: str) -> None:
        self.spec = spec
        self.name = name
        self.size = self.width = size_of(spec)
        self.keys: list[Labels] = []
        self.starts: list[int] = []
        self.places: list[slice] = []
        self.raws: list[bytes] = []
        self.exemplars: list[tuple[int, int, int]] = []  # index of the cell, start, slots
        self._pick: Callable[[bytes], Sequence[bytes]] = _nothing

    def add(self, key: Labels, start: int, width: int) -> None:
        """
        Take a cell up.
        """
        if not self.keys:
            self.width = width
        if width != self.width or width - self.size not in (0, 1):
            raise CellFileError("corrupt", f"a cell of {self.name} has {width} doubles")
        self.keys.append(key)
        self.starts.append(start)
        self.places.append(slice(start, start + 8 * width))

    def read(self, passes: _Passes) -> Figures:
        """
        Take the cells that have changed.

        A histogram whose bytes are as they were when it was found whole is whole: its buckets had changed first.
        """
        if len(self.raws) < len(self.places):
            self.raws += [b""] * (len(self.places) - len(self.raws))
            self._pick = _picker(self.places)
        raws = self._pick(passes.third)
        if changed := list(compress(range(len(raws)), map(ne, raws, self.raws))):
            if self.spec.kind == "histogram":
                self._take_histograms(changed, raws, passes)
            else:
                self._take_values(changed, raws)
        return Figures(self.spec, self.name, self.size, self.width, self.keys, self.raws)

    def _take_values(self, changed: list[int], raws: Sequence[bytes]) -> None:
        for index in changed:
            value = unpack(raws[index])[0]
            if self.spec.kind == "counter" and not value >= 0:
                raise CellFileError("corrupt", f"{self.name}{list(self.keys[index])} counts {value}")
            self.raws[index] = raws[index]

    def _take_histograms(self, changed: list[int], raws: Sequence[bytes], passes: _Passes) -> None:
        for start in range(0, len(changed), BATCH):
            batch = changed[start : start + BATCH]
            done, sums = passes.before([self.starts[index] for index in batch])
            if not self._whole([raws[index] for index in batch], done, sums):
                for index, n, total in zip(batch, done, sums, strict=True):
                    self.raws[index] = self._made_whole(index, raws[index], n, total, passes)
            else:
                for index in batch:
                    self.raws[index] = raws[index]

    def _whole(self, raws: list[bytes], done: list[float], sums: list[float]) -> bool:
        """
        Tell whether these histograms are whole as they stand, in a handful of calls.
        """
        packed, rest = b"".join(raws), 8 * (self.width - self.size)
        return (
            packed[_SIGN::8].isascii()  # no sign is set
            and max(done) <= _MOST
            and list(map(sum, iter_unpack(f"=16x{self.size - 2}d{rest}x", packed))) == done
            and list(iter_unpack(f"=2d{8 * self.width - 16}x", packed)) == list(zip(done, sums, strict=True))
        )

    def _made_whole(self, index: int, raw: bytes, done: float, total: float, passes: _Passes) -> bytes:
        row = unpack(raw)
        if not sum(row[2 : self.size]) == done <= _MOST or min(row[2 : self.size]) < 0:
            return passes.again(self, index)
        if row[:2] != (done, total):
            return struct.pack("=dd", done, total) + raw[16:]
        return raw

    def check(self, row: Row, index: int) -> None:
        """
        Refuse what no histogram can hold.
        """
        for count in (row[0], *row[2 : self.size]):
            if not 0 <= count <= _MOST or count != int(count):
                raise CellFileError("corrupt", f"{self.name}{list(self.keys[index])} counts {count}")


def _nothing(content: bytes) -> Sequence[bytes]:
    return ()


def _picker(places: Sequence[slice]) -> Callable[[bytes], Sequence[bytes]]:
    """
    Make a function that cuts all these places out in one call.
    """
    if len(places) > 1:
        return itemgetter(*places)
    return lambda content: (content[places[0]],)


class _Passes:
    """
    Hold the three reads of a file; one will do where the writer is dead.
    """

    def __init__(self, descriptor: int, used: int, final: bool) -> None:
        self._descriptor = descriptor
        self._used = used
        self._final = final
        self.repaired = 0
        self.first = b"" if final else self._read()
        self.second = b"" if final else self._read()
        self.third = self._read()
        if final:
            self.first = self.second = self.third

    def _read(self) -> bytes:
        return self._exactly(self._used, 0)

    def _exactly(self, size: int, at: int) -> bytes:
        content = os.pread(self._descriptor, size, at)
        if len(content) != size:
            raise CellFileError("truncated", f"{at + len(content)} of {self._used} bytes")
        return content

    def before(self, starts: list[int]) -> tuple[list[float], list[float]]:
        """
        Give what `done` and the sum of these cells were before their buckets were read.
        """
        first, second = memoryview(self.first).cast("d"), memoryview(self.second).cast("d")
        return [first[start // 8] for start in starts], [second[start // 8 + 1] for start in starts]

    def again(self, family: _Family, index: int) -> bytes:
        """
        Read one histogram until it is whole, or repair it.
        """
        start, size = family.starts[index], 8 * family.width
        raw, n, added = b"", 0.0, 0.0
        for pause in (0.0,) if self._final else _AGAIN:
            if pause:
                time.sleep(pause)
            parts = ((start, 8), (start + 8, 8), (start + 16, size - 16))
            raw = b"".join([self._exactly(length, at) for at, length in parts])
            row = unpack(raw)
            family.check(row, index)
            n, added = row[0], sum(row[2 : family.size])
            if n == added:
                return raw
        if n > added:
            raise CellFileError("corrupt", f"{family.name}{list(family.keys[index])} counts more than its buckets")
        self.repaired += 1
        return struct.pack("=d", added) + raw[8:]


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
        passes = _Passes(descriptor, used, final)
        if used > self._parsed:
            self._parse(passes.third, used)
        families = [family.read(passes) for family in self._families]
        if exemplars:
            for family, figures in zip(self._families, families, strict=True):
                _read_exemplars(family, figures, passes.third)
        return Contents(pid, slot, made, families, self._folded, passes.repaired)

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
        if end != (start + 8 * size + length + 7) // 8 * 8 or checksum != zlib.crc32(text, zlib.crc32(head)):
            raise CellFileError("corrupt", f"a cell at {at}")
        key = tuple(json.loads(text))
        if len(key) != len(family.spec.labels) or not all(type(value) is str for value in key):
            raise CellFileError("corrupt", f"labels at {at}")
        self._cells[at] = (family, len(family.keys))
        family.add(key, start, size)


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
        records += [_cell_record(number, *cell) for cell in zip(family.keys, family.raws, strict=True)]
    body = b"".join(records)
    token = int.from_bytes(os.urandom(8), sys.byteorder)
    head = HEADER.pack(MAGIC, VERSION, ORDER, os.getpid(), 0, time.time_ns(), token, HEADER.size + len(body))
    return head + body
