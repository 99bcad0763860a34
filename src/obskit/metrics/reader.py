"""
Read a file of cells that another process is writing, and never see half an update.

The writer of a histogram stores bucket, then sum, then `done`. A reader takes all `done`, then all sums, then all
buckets, in three reads, and a cell is whole when its buckets add up to `done`:

- each of the `done` observations had stored its bucket and its sum before `done` was read, so both are there;
- an observation beyond those that is in the sum had stored its bucket before the sum was read, hence before the
  buckets were; the buckets would add up to more than `done`. There is none, so the sum has exactly those in `done`;
- the buckets hold the `done` observations and add up to as many: they hold no other.

A cell that is not whole is read again by itself, in the same order, for a tenth of a second. If it does not become
whole, its writer was killed or stopped in mid-update; the buckets win, and `done` becomes what they add up to. Only
the sum may then lack that one observation. Buckets only grow, so that neither way goes backwards.

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
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, compress
from math import isfinite
from operator import ne, sub
from struct import iter_unpack

from obskit.catalogue import Metric
from obskit.errors import MetricNameError
from obskit.metrics.cell_format import (
    CELL,
    CELLS,
    EXEMPLAR,
    EXEMPLARS,
    FAMILY,
    FILLER,
    FOLDED,
    HEADER,
    RECORD,
    SLOT,
    CellFileError,
    Figures,
    Labels,
    Row,
    Slots,
    read_family,
    read_header,
    read_slots,
    read_text,
    size_of,
    unpack,
)

# Cells that are taken in one go, which is less than a millisecond; then other threads may have the interpreter.
BATCH = 512
_REST_SECONDS = 0.00005
# Where the byte with the sign is in a double, and the most that a double counts by ones.
_SIGN = 7 if sys.byteorder == "little" else 0
_MOST = 2.0**53
# Seconds that one reading waits, all in all, for writers in mid-update; another thread may have the interpreter for
# five milliseconds, and then a third. The pauses double from the second number on.
_PATIENCE, _PAUSE = 0.1, 0.0002
_GARBAGE = (ValueError, TypeError, KeyError, IndexError, RecursionError, struct.error, MetricNameError)


@dataclass(slots=True)
class Contents:
    """
    Hold what a file says.

    Attributes:
        pid: The process that made it.
        made: When, in nanoseconds since the epoch.
        folded: Names of files that are added up in this one.
        repaired: Histograms whose writer was in mid-update, and stayed there while they were read.
    """

    pid: int
    slot: int
    made: int
    families: list[Figures]
    folded: frozenset[str]
    repaired: int


class Reader:
    """
    Read one file again and again. Records never change and are parsed once; only their doubles do.

    Not for two threads at once.
    """

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._identity: tuple[int, ...] | None = None
        self._parsed = HEADER.size
        self._families: list[_Family] = []
        self._cells: dict[int, int] = {}  # a cell's index among its metric's, and its metric's below
        self._folded: frozenset[str] = frozenset()

    def read(self, descriptor: int, *, final: bool = False, exemplars: bool = False) -> Contents:
        """
        Say what the file holds now.

        Args:
            descriptor: An open file; its position is left alone.
            final: The writer is dead: one read will do, and it is no use waiting for him.
            exemplars: Read exemplars too.

        Raises:
            CellFileError: It says why the file cannot be read.
            OSError: The system refuses.
        """
        try:
            return self._read(descriptor, final, exemplars)
        except CellFileError:
            self._forget()
            raise
        except _GARBAGE as error:
            self._forget()
            raise CellFileError("corrupt", repr(error)) from error

    def _read(self, descriptor: int, final: bool, exemplars: bool) -> Contents:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise CellFileError("foreign", "not a regular file")
        pid, slot, made, token, used = read_header(os.pread(descriptor, HEADER.size, 0))
        if used > state.st_size:
            raise CellFileError("truncated", f"{state.st_size} of {used} bytes")
        identity = (state.st_dev, state.st_ino, pid, made, token)
        if identity != self._identity or used < self._parsed:
            self._forget()
            self._identity = identity
        passes = _Passes(descriptor, used, final)
        if used > self._parsed:
            self._parse(passes.third, used)
        families = [family.read(passes, exemplars) for family in self._families]
        return Contents(pid, slot, made, families, self._folded, passes.repaired)

    def _parse(self, content: bytes, used: int) -> None:
        """
        Take up the records that were written since.
        """
        at, view = self._parsed, memoryview(content)
        families: list[_Family] = []
        texts: list[bytes] = []
        while at < used:
            kind, size = RECORD.unpack_from(content, at)
            end = at + size
            if size < RECORD.size or size % 8 or end > used:
                raise CellFileError("corrupt", f"a record of {size} bytes at {at}")
            if kind == CELLS:
                checksum, number, width, length = CELL.unpack_from(content, at + RECORD.size)
                text = at + RECORD.size + CELL.size
                start = text + length + -length % 8
                if end != start + 8 * width or zlib.crc32(view[text - 12 : text + length]) != checksum:
                    raise CellFileError("corrupt", f"a cell at {at}")
                family = self._families[number]
                self._cells[at] = family.add(start, width) << 32 | number
                families.append(family)
                texts.append(content[text : text + length])
            else:
                self._take(kind, content, at, end)
            at = end
            if len(texts) == BATCH or at == used:
                for family, key in zip(families, _labels(texts), strict=True):
                    family.name_next(key)
                families, texts = [], []
                time.sleep(_REST_SECONDS)
        self._parsed = at

    def _take(self, kind: bytes, content: bytes, at: int, end: int) -> None:
        start = at + RECORD.size
        if kind == FAMILY:
            self._families.append(_Family(*read_family(read_text(content, start, end))))
        elif kind == EXEMPLAR:
            checksum, slots, cell = EXEMPLARS.unpack_from(content, start)
            start += EXEMPLARS.size
            if end != start + slots * SLOT.size or checksum != zlib.crc32(content[start - 12 : start]):
                raise CellFileError("corrupt", f"exemplars at {at}")
            index, number = divmod(self._cells[cell], 1 << 32)
            self._families[number].exemplars[index] = slice(start, end)
        elif kind == FOLDED:
            names = read_text(content, start, end)
            if type(names) is not list or not set(map(type, names)) <= {str}:
                raise CellFileError("corrupt", f"names at {at}")
            self._folded |= frozenset(names)
        elif kind != FILLER:
            raise CellFileError("corrupt", f"a record of an unknown kind at {at}")


def _labels(texts: list[bytes]) -> list[Labels]:
    """
    Parse many cells' labels in one go.
    """
    found = json.loads(b"[" + b",".join(texts) + b"]")
    if not set(map(type, found)) <= {list} or not set(map(type, chain.from_iterable(found))) <= {str}:
        raise CellFileError("corrupt", "labels that are no texts")
    return list(map(tuple, found))


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
        self.exemplars: dict[int, slice] = {}
        self._raws: list[bytes] = []
        self._pick = _picker([], 0)
        self._slots: dict[int, tuple[bytes, Slots]] = {}

    def add(self, start: int, width: int) -> int:
        """
        Take a cell up; give its index.
        """
        if not self.starts:
            self.width = width
        if width != self.width or width - self.size not in (0, 1):
            raise CellFileError("corrupt", f"a cell of {self.name} has {width} doubles")
        self.starts.append(start)
        return len(self.starts) - 1

    def name_next(self, key: Labels) -> None:
        """
        Give the labels of the first cell that has none yet.
        """
        if len(key) != len(self.spec.labels):
            raise CellFileError("corrupt", f"a cell of {self.name} has {len(key)} labels")
        self.keys.append(key)

    def read(self, passes: _Passes, exemplars: bool) -> Figures:
        """
        Take the cells that have changed.
        """
        if len(self._raws) < len(self.starts):
            self._raws += [b""] * (len(self.starts) - len(self._raws))
            self._pick = _picker(self.starts, 8 * self.width)
        raws = self._pick(passes.third)
        if changed := list(compress(range(len(raws)), map(ne, raws, self._raws))):
            take = self._take_histograms if self.spec.kind == "histogram" else self._take_values
            take(changed, raws, passes)
        found = self._exemplars(passes.third) if exemplars else {}
        return Figures(self.spec, self.name, self.width, self.keys, self._raws, found)

    def _take_values(self, changed: list[int], raws: Sequence[bytes], passes: _Passes) -> None:
        for index in chain.from_iterable(batches(changed)):
            row = unpack(raws[index])
            if self.spec.kind == "counter" and not (row[0] >= 0 and self._is_exact(row)):
                raise CellFileError("corrupt", f"{self.name}{list(self.keys[index])} counts {row}")
            self._raws[index] = raws[index]

    def _take_histograms(self, changed: list[int], raws: Sequence[bytes], passes: _Passes) -> None:
        for batch in batches(changed):
            if self.width > self.size and not all(self._is_exact(unpack(raws[index])) for index in batch):
                raise CellFileError("corrupt", f"{self.name} has sums that are no numbers")
            done, sums = passes.before([self.starts[index] for index in batch])
            if self._are_whole([raws[index] for index in batch], done, sums):
                for index in batch:
                    self._raws[index] = raws[index]
            else:
                for index, n, total in zip(batch, done, sums, strict=True):
                    self._raws[index] = self._whole(index, raws[index], n, total, passes)

    def _are_whole(self, raws: list[bytes], done: list[float], sums: list[float]) -> bool:
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

    def _whole(self, index: int, raw: bytes, done: float, total: float, passes: _Passes) -> bytes:
        row = unpack(raw)
        buckets = row[2 : self.size]
        if sum(buckets) != done or min(buckets) < 0 or done > _MOST:
            return passes.again(self, index)
        if row[:2] != (done, total):
            return struct.pack("=dd", done, total) + raw[16:]
        return raw

    def _is_exact(self, row: Row) -> bool:
        """
        Tell whether what rounding took from a sum of dead workers, where that is kept, is a number.
        """
        return self.width == self.size or isfinite(row[-1])

    def check(self, row: Row, index: int) -> None:
        """
        Refuse what no histogram can hold.
        """
        for count in (row[0], *row[2 : self.size]):
            if not 0 <= count <= _MOST or count != int(count):
                raise CellFileError("corrupt", f"{self.name}{list(self.keys[index])} counts {count}")

    def _exemplars(self, content: bytes) -> dict[int, Slots]:
        for index, place in self.exemplars.items():
            packed = content[place]
            if index not in self._slots or self._slots[index][0] != packed:
                self._slots[index] = packed, read_slots(packed)
        return {index: slots for index, (_, slots) in self._slots.items() if slots}


def batches(items: list[int]) -> Iterator[list[int]]:
    """
    Cut a list into pieces, and rest before each where there are several.
    """
    for first in range(0, len(items), BATCH):
        if len(items) > BATCH:
            time.sleep(_REST_SECONDS)
        yield items[first : first + BATCH]


def _picker(starts: list[int], size: int) -> Callable[[bytes], Sequence[bytes]]:
    """
    Make a function that cuts so many bytes out at each of these places, in one call.
    """
    gaps = map(sub, starts, (0, *(start + size for start in starts)))
    return struct.Struct("=" + "".join([f"{gap}x{size}s" for gap in gaps])).unpack_from


class _Passes:
    """
    Hold the three reads of a file; one will do where the writer is dead.
    """

    def __init__(self, descriptor: int, used: int, final: bool) -> None:
        self._descriptor = descriptor
        self._used = used
        self._patience = 0.0 if final else _PATIENCE
        self.repaired = 0
        self.first = self._read(used, 0)
        self.second = self.first if final else self._read(used, 0)
        self.third = self.first if final else self._read(used, 0)

    def _read(self, size: int, at: int) -> bytes:
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
        start, size, pause = family.starts[index], 8 * family.width, _PAUSE
        while True:
            raw = b"".join([self._read(*part) for part in ((8, start), (8, start + 8), (size - 16, start + 16))])
            row = unpack(raw)
            family.check(row, index)
            done, added = row[0], sum(row[2 : family.size])
            if done == added:
                return raw
            if done > added:
                raise CellFileError("corrupt", f"{family.name}{list(family.keys[index])} counts more than its buckets")
            if self._patience <= 0:
                self.repaired += 1
                return struct.pack("=d", added) + raw[8:]
            time.sleep(pause)
            self._patience -= pause
            pause *= 2
