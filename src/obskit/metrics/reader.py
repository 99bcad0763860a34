"""
The reader of a file of cells that another process is writing, which never sees half an update.

The writer of a histogram stores bucket, then sum, then `done`. A reader takes all `done`, then all sums, then all
buckets, in three reads, and a cell is whole when its buckets add up to `done`:

- each of the `done` observations had stored its bucket and its sum before `done` was read, so both are there;
- an observation beyond those that is in the sum had stored its bucket before the sum was read, hence before the
  buckets were; the buckets would add up to more than `done`. There is none, so the sum has exactly those in `done`;
- the buckets hold the `done` observations and add up to as many: they hold no other.

A cell that is not whole is read again by itself, in the same order, for a tenth of a second. If it does not become
whole, its writer was killed or stopped within an update; the buckets win, and `done` becomes what they add up to. Only
the sum may then lack that one observation. Buckets only grow, so neither way decreases.

The three stores come from one thread, and the reads are system calls apart: a store that a processor holds back
becomes visible long before the next read.

A whole cell whose bytes have not changed since is whole still: an update begins with a bucket.
"""

from __future__ import annotations

import json
import os
import stat
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, compress
from math import isfinite
from operator import ne, sub
from struct import iter_unpack

from obskit.catalogue import Metric
from obskit.errors import MetricNameError
from obskit.metrics.cell_format import (
    CELL_HEADER,
    CELL_KIND,
    EXEMPLAR_SLOT,
    EXEMPLARS_HEADER,
    EXEMPLARS_KIND,
    FAMILY_KIND,
    FILLER_KIND,
    FOLDED_KIND,
    HEADER,
    RECORD_HEADER,
    BucketExemplars,
    CellFileError,
    FamilyData,
    LabelSet,
    Row,
    decode_doubles,
    decode_exemplars,
    decode_family,
    decode_header,
    decode_json,
    doubles_per_cell,
)
from obskit.time.clock import rest

# Cells handled at once, in less than a millisecond; then other threads may run.
BATCH, _BATCH_DOUBLES = 512, 512 * 18
_REST_SECONDS = 0.00005
# The index of the byte with the sign in a double, and the largest integer up to which a double is exact.
_SIGN = 7 if sys.byteorder == "little" else 0
_MAX_COUNT = 2.0**53
# Seconds that one read waits in total for writers within an update: threads switch every five milliseconds, and
# several may run in between. Pauses double from the second number on.
_MAX_WAIT_SECONDS, _FIRST_PAUSE_SECONDS = 0.1, 0.0002
_DECODE_ERRORS = (ValueError, TypeError, KeyError, IndexError, RecursionError, struct.error, MetricNameError)


@dataclass(slots=True)
class FileContents:
    """
    The contents of a file.

    Attributes:
        pid: The process that created it.
        created_ns: When, in nanoseconds since the epoch.
        folded: Names of the files that are merged into this one.
        repaired: Number of histograms whose writer did not finish its update while they were read.
    """

    pid: int
    slot: int
    created_ns: int
    families: list[FamilyData]
    folded: frozenset[str]
    repaired: int


class Reader:
    """
    Reads one file repeatedly. Records never change and are parsed once; only their doubles change.

    Not thread-safe.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._identity: tuple[int, ...] | None = None
        self._parsed = HEADER.size
        self._families: list[_FamilyReader] = []
        self._cells: dict[int, int] = {}  # by offset: the cell's index in its family, shifted, and the family's number
        self._folded: frozenset[str] = frozenset()

    def read(self, descriptor: int, *, final: bool = False, exemplars: bool = False) -> FileContents:
        """
        Return the contents of the file now.

        Args:
            descriptor: An open file; its position is left alone.
            final: The writer is dead: one read is enough, and waiting for it is not.
            exemplars: With exemplars.

        Raises:
            CellFileError: The file cannot be read; it says why.
            OSError: The system refuses.
        """
        try:
            return self._read(descriptor, final, exemplars)
        except CellFileError:
            self._reset()
            raise
        except _DECODE_ERRORS as error:
            self._reset()
            raise CellFileError("corrupt", repr(error)) from error

    def _read(self, descriptor: int, final: bool, exemplars: bool) -> FileContents:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise CellFileError("foreign", "not a regular file")
        pid, slot, created_ns, token, used = decode_header(os.pread(descriptor, HEADER.size, 0))
        if used > state.st_size:
            raise CellFileError("truncated", f"{state.st_size} of {used} bytes")
        identity = (state.st_dev, state.st_ino, pid, created_ns, token)
        if identity != self._identity or used < self._parsed:
            self._reset()
            self._identity = identity
        passes = _Passes(descriptor, used, final)
        if used > self._parsed:
            self._parse(passes.third, used)
        families = [family.read(passes, exemplars) for family in self._families]
        return FileContents(pid, slot, created_ns, families, self._folded, passes.repaired)

    def _parse(self, content: bytes, used: int) -> None:
        """
        Parse the records that were appended since.
        """
        at, view = self._parsed, memoryview(content)
        families: list[_FamilyReader] = []
        texts: list[bytes] = []
        while at < used:
            kind, size = RECORD_HEADER.unpack_from(content, at)
            end = at + size
            if size < RECORD_HEADER.size or size % 8 or end > used:
                raise CellFileError("corrupt", f"a record of {size} bytes at {at}")
            if kind == CELL_KIND:
                checksum, number, width, length = CELL_HEADER.unpack_from(content, at + RECORD_HEADER.size)
                text = at + RECORD_HEADER.size + CELL_HEADER.size
                start = text + length + -length % 8
                if end != start + 8 * width or zlib.crc32(view[text - 12 : text + length]) != checksum:
                    raise CellFileError("corrupt", f"a cell at {at}")
                family = self._families[number]
                self._cells[at] = family.add(start, width) << 32 | number
                families.append(family)
                texts.append(content[text : text + length])
            else:
                self._parse_record(kind, content, at, end)
            at = end
            if len(texts) == BATCH or at == used:
                for family, key in zip(families, _labels(texts), strict=True):
                    family.add_labels(key)
                families, texts = [], []
                rest(_REST_SECONDS)
        self._parsed = at

    def _parse_record(self, kind: bytes, content: bytes, at: int, end: int) -> None:
        start = at + RECORD_HEADER.size
        if kind == FAMILY_KIND:
            self._families.append(_FamilyReader(*decode_family(decode_json(content, start, end))))
        elif kind == EXEMPLARS_KIND:
            checksum, slots, cell = EXEMPLARS_HEADER.unpack_from(content, start)
            start += EXEMPLARS_HEADER.size
            if end != start + slots * EXEMPLAR_SLOT.size or checksum != zlib.crc32(content[start - 12 : start]):
                raise CellFileError("corrupt", f"exemplars at {at}")
            index, number = divmod(self._cells[cell], 1 << 32)
            self._families[number].exemplars[index] = slice(start, end)
        elif kind == FOLDED_KIND:
            names = decode_json(content, start, end)
            if type(names) is not list or not set(map(type, names)) <= {str}:
                raise CellFileError("corrupt", f"names at {at}")
            self._folded |= frozenset(names)
        elif kind != FILLER_KIND:
            raise CellFileError("corrupt", f"a record of an unknown kind at {at}")


def _labels(texts: list[bytes]) -> list[LabelSet]:
    """
    Parse the labels of many cells at once.
    """
    found = json.loads(b"[" + b",".join(texts) + b"]")
    if not set(map(type, found)) <= {list} or not set(map(type, chain.from_iterable(found))) <= {str}:
        raise CellFileError("corrupt", "labels that are not strings")
    return list(map(tuple, found))


class _FamilyReader:
    """
    Where the cells of one metric are, and what they held when they were last read.
    """

    def __init__(self, spec: Metric, name: str, fine: tuple[float, ...] = ()) -> None:
        self.own = spec if fine else None
        self.spec = spec = replace(spec, buckets=fine) if fine else spec
        self.name = name
        self.size = self.width = doubles_per_cell(spec)
        self.keys: list[LabelSet] = []
        self.starts: list[int] = []
        self.exemplars: dict[int, slice] = {}
        self._raws: list[bytes] = []
        self._slice = _slicer([], 0)
        self._slots: dict[int, tuple[bytes, BucketExemplars]] = {}

    def add(self, start: int, width: int) -> int:
        if not self.starts:
            self.width = width
        if width != self.width or width - self.size not in (0, 1):
            raise CellFileError("corrupt", f"a cell of {self.name} has {width} doubles")
        self.starts.append(start)
        return len(self.starts) - 1

    def add_labels(self, key: LabelSet) -> None:
        if len(key) != len(self.spec.labels):
            raise CellFileError("corrupt", f"a cell of {self.name} has {len(key)} labels")
        self.keys.append(key)

    def read(self, passes: _Passes, exemplars: bool) -> FamilyData:
        """
        Read the cells that have changed; return all.
        """
        if len(self._raws) < len(self.starts):
            self._raws += [b""] * (len(self.starts) - len(self._raws))
            self._slice = _slicer(self.starts, 8 * self.width)
        raws = self._slice(passes.third)
        if changed := list(compress(range(len(raws)), map(ne, raws, self._raws))):
            take = self._read_histograms if self.spec.kind == "histogram" else self._read_values
            take(changed, raws, passes)
        found = self._exemplars(passes.third) if exemplars else {}
        return FamilyData(self.spec, self.name, self.width, self.keys, self._raws, found, self.own)

    def _read_values(self, changed: list[int], raws: Sequence[bytes], passes: _Passes) -> None:
        for index in chain.from_iterable(batches(changed, self.width)):
            row = decode_doubles(raws[index])
            if self.spec.kind == "counter" and not (row[0] >= 0 and self._is_exact(row)):
                raise CellFileError("corrupt", f"{self.name}{list(self.keys[index])} counts {row}")
            self._raws[index] = raws[index]

    def _read_histograms(self, changed: list[int], raws: Sequence[bytes], passes: _Passes) -> None:
        for batch in batches(changed, self.width):
            if self.width > self.size and not all(self._is_exact(decode_doubles(raws[index])) for index in batch):
                raise CellFileError("corrupt", f"{self.name} has sums that are not numbers")
            done, sums = passes.done_and_sums([self.starts[index] for index in batch])
            if self._are_whole([raws[index] for index in batch], done, sums):
                for index in batch:
                    self._raws[index] = raws[index]
            else:
                for index, n, total in zip(batch, done, sums, strict=True):
                    self._raws[index] = self._whole(index, raws[index], n, total, passes)

    def _are_whole(self, raws: list[bytes], done: list[float], sums: list[float]) -> bool:
        """
        Return whether all these histograms are whole, in a few calls.
        """
        packed, rest = b"".join(raws), 8 * (self.width - self.size)
        return (
            packed[_SIGN::8].isascii()  # no sign is set
            and max(done) <= _MAX_COUNT
            and list(map(sum, iter_unpack(f"=16x{self.size - 2}d{rest}x", packed))) == done
            and list(iter_unpack(f"=2d{8 * self.width - 16}x", packed)) == list(zip(done, sums, strict=True))
        )

    def _whole(self, index: int, raw: bytes, done: float, total: float, passes: _Passes) -> bytes:
        row = decode_doubles(raw)
        buckets = row[2 : self.size]
        if sum(buckets) != done or min(buckets) < 0 or done > _MAX_COUNT:
            return passes.reread(self, index)
        if row[:2] != (done, total):
            return struct.pack("=dd", done, total) + raw[16:]
        return raw

    def _is_exact(self, row: Row) -> bool:
        """
        Return whether the rounding error of a folded sum, if there is one, is finite.
        """
        return self.width == self.size or isfinite(row[-1])

    def check(self, row: Row, index: int) -> None:
        """
        Raise CellFileError on counts that no histogram can have.
        """
        for count in (row[0], *row[2 : self.size]):
            if not 0 <= count <= _MAX_COUNT or count != int(count):
                raise CellFileError("corrupt", f"{self.name}{list(self.keys[index])} counts {count}")

    def _exemplars(self, content: bytes) -> dict[int, BucketExemplars]:
        for index, place in self.exemplars.items():
            packed = content[place]
            if index not in self._slots or self._slots[index][0] != packed:
                self._slots[index] = packed, decode_exemplars(packed)
        return {index: slots for index, (_, slots) in self._slots.items() if slots}


def batches(items: list[int], width: int) -> Iterator[list[int]]:
    """
    Yield a list of cells of so many doubles in batches, with a pause before each where there are several.
    """
    size = min(BATCH, max(1, _BATCH_DOUBLES // width))
    for first in range(0, len(items), size):
        if len(items) > size:
            rest(_REST_SECONDS)
        yield items[first : first + size]


def _slicer(starts: list[int], size: int) -> Callable[[bytes], Sequence[bytes]]:
    """
    Return a function that slices `size` bytes at each of these offsets, in one call.
    """
    gaps = map(sub, starts, (0, *(start + size for start in starts)))
    return struct.Struct("=" + "".join([f"{gap}x{size}s" for gap in gaps])).unpack_from


class _Passes:
    """
    The three reads of a file; a single one where the writer is dead.
    """

    def __init__(self, descriptor: int, used: int, final: bool) -> None:
        self._descriptor = descriptor
        self._used = used
        self._wait_seconds = 0.0 if final else _MAX_WAIT_SECONDS
        self.repaired = 0
        self.first = self._read(used, 0)
        self.second = self.first if final else self._read(used, 0)
        self.third = self.first if final else self._read(used, 0)

    def _read(self, size: int, at: int) -> bytes:
        content = os.pread(self._descriptor, size, at)
        if len(content) != size:
            raise CellFileError("truncated", f"{at + len(content)} of {self._used} bytes")
        return content

    def done_and_sums(self, starts: list[int]) -> tuple[list[float], list[float]]:
        """
        Return `done` and the sum of these cells as read before their buckets.
        """
        first, second = memoryview(self.first).cast("d"), memoryview(self.second).cast("d")
        return [first[start // 8] for start in starts], [second[start // 8 + 1] for start in starts]

    def reread(self, family: _FamilyReader, index: int) -> bytes:
        """
        Read one histogram again until it is whole, or repair it; return its bytes.
        """
        start, size, pause = family.starts[index], 8 * family.width, _FIRST_PAUSE_SECONDS
        while True:
            raw = b"".join([self._read(*part) for part in ((8, start), (8, start + 8), (size - 16, start + 16))])
            row = decode_doubles(raw)
            family.check(row, index)
            done, added = row[0], sum(row[2 : family.size])
            if done == added:
                return raw
            if done > added:
                raise CellFileError("corrupt", f"{family.name}{list(family.keys[index])} counts more than its buckets")
            if self._wait_seconds <= 0:
                self.repaired += 1
                return struct.pack("=d", added) + raw[8:]
            rest(pause)
            self._wait_seconds -= pause
            pause *= 2
