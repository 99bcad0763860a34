"""
Lay down how a worker's figures stand in a file.

A header of `HEADER.size` bytes, then records, each 8-byte aligned and never moved:

    family     name, kind, labels, buckets as JSON; families are numbered in the order of their records
    cell       its family, its label values as JSON, and its doubles, all zero at first
    exemplars  the cell they belong to, and a slot for each bucket: trace id, value, time, checksum
    folded     the names of the files that were added up into this one
    filler     the end of a chunk that the next record did not fit in

The header's `used` is written when a record is complete, so nobody sees half a record. All numbers are in the byte
order of the machine, and the header says which that is. Text has a checksum; doubles change and have none.

A counter's doubles are its value; a gauge's its value, and its time in seconds since the epoch where the latest
counts; a histogram's `done, sum, bucket, bucket, ..., +Inf bucket`, where `done` counts observations and buckets are
not cumulative.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from obskit.catalogue import Metric
from obskit.catalogue.spec import Kind, Workers

Labels: TypeAlias = tuple[str, ...]
Row: TypeAlias = tuple[float, ...]
Reason: TypeAlias = Literal["truncated", "foreign", "newer", "corrupt"]

VERSION = 1
MAGIC = b"obskit\r\n"
ORDER = 0x01020304
# magic, version, byte order, process, slot, made (nanoseconds since the epoch), random token, checksum, used
HEADER = struct.Struct("=8sIIQQQQI4xQ")
USED = HEADER.size - 8
_CHECKED = USED - 8
RECORD = struct.Struct("=4sI")  # kind, size with this header
TEXT = struct.Struct("=II")  # checksum, length
CELL = struct.Struct("=IIII")  # checksum of all but the doubles, family, doubles, length of the labels
EXEMPLARS = struct.Struct("=IIQ")  # checksum of the rest, slots, offset of the cell's record
SLOT = struct.Struct("=32sddI4x")  # trace id, value, time, checksum
SLOT_CHECKED = 48
FAMILY, CELLS, EXEMPLAR, FOLDED, FILLER = b"FAMI", b"CELL", b"EXEM", b"DONE", b"SKIP"

# A worker's file stops here: some 150,000 histograms of 15 buckets.
LIMIT = 32 * 1024 * 1024
# Readers refuse more: a damaged length must not become an allocation.
READ_LIMIT = 16 * LIMIT
# The value of a gauge that is not there, a NaN that no arithmetic gives. Write it to take a label set away.
ABSENT: float = struct.unpack("=d", struct.pack("=Q", 0x7FF8_0B5C_1700_0B5C))[0]
_ABSENT = struct.pack("=d", ABSENT)


class CellFileError(Exception):
    """
    Say why a file cannot be read: it is truncated, foreign, newer than this code, or corrupt.
    """

    def __init__(self, reason: Reason, what: str) -> None:
        super().__init__(f"{reason}: {what}")
        self.reason = reason


class Exemplar(NamedTuple):
    """
    Tie one observation of a bucket to its trace.
    """

    trace_id: str
    value: float
    timestamp: float


# By the index of the bucket.
Slots: TypeAlias = dict[int, Exemplar]


@dataclass(slots=True)
class Figures:
    """
    Hold what a file says of one metric.

    Attributes:
        width: Doubles of a cell in this file. A folded one has one more than others: what rounding took from its sum.
        keys: Label values of the cells; it grows with the file.
        raws: The cells' doubles as bytes, histograms whole. Bytes that have not changed are the same object.
        exemplars: By the cell's index, then by the bucket's.
    """

    spec: Metric
    name: str
    width: int
    keys: Sequence[Labels]
    raws: Sequence[bytes]
    exemplars: dict[int, Slots] = field(default_factory=dict)

    @property
    def rows(self) -> list[Row]:
        """
        Give the doubles of each cell.
        """
        return list(map(unpack, self.raws))


def size_of(spec: Metric) -> int:
    """
    Tell how many doubles a cell of this metric has.
    """
    if spec.kind == "histogram":
        return len(spec.buckets) + 3
    return 2 if spec.kind == "gauge" and spec.workers == "latest" else 1


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


def header(slot: int, used: int) -> bytes:
    """
    Make the header of a file of this process.
    """
    token = int.from_bytes(os.urandom(8), sys.byteorder)
    head = HEADER.pack(MAGIC, VERSION, ORDER, os.getpid(), slot, time.time_ns(), token, 0, used)
    return head[:_CHECKED] + struct.pack("=I4x", zlib.crc32(head[:_CHECKED])) + head[USED:]


def read_header(head: bytes) -> tuple[int, int, int, int, int]:
    """
    Give process, slot, time made, token and bytes used.

    Raises:
        CellFileError: It is none.
    """
    if len(head) < HEADER.size:
        raise CellFileError("truncated", f"{len(head)} bytes")
    magic, version, order, pid, slot, made, token, checksum, used = HEADER.unpack(head)
    if magic != MAGIC:
        raise CellFileError("foreign", "no file of cells")
    if order != ORDER:
        raise CellFileError("foreign", "written by a machine of another byte order")
    if zlib.crc32(head[:_CHECKED]) != checksum:
        raise CellFileError("corrupt", "its header")
    if version > VERSION:
        raise CellFileError("newer", f"version {version}, and this is {VERSION}")
    if version < VERSION or used < HEADER.size or used % 8 or used > READ_LIMIT:
        raise CellFileError("corrupt", f"version {version}, {used} bytes used")
    return pid, slot, made, token, used


def record(kind: bytes, body: bytes) -> bytes:
    """
    Make a record.
    """
    padding = -len(body) % 8
    return RECORD.pack(kind, RECORD.size + len(body) + padding) + body + bytes(padding)


def text_record(kind: bytes, content: object) -> bytes:
    """
    Make a record of JSON.
    """
    text = json.dumps(content, separators=(",", ":")).encode()
    return record(kind, TEXT.pack(zlib.crc32(text), len(text)) + text)


def read_text(content: bytes, start: int, end: int) -> Any:
    """
    Give what the text of a record says.

    Raises:
        CellFileError: It is not as it was written.
    """
    checksum, length = TEXT.unpack_from(content, start)
    start += TEXT.size
    text = content[start : start + length]
    if end != start + length + -length % 8 or zlib.crc32(text) != checksum:
        raise CellFileError("corrupt", f"text at {start}")
    return json.loads(text)


def family_record(spec: Metric, name: str) -> bytes:
    """
    Make the record of a metric under its name on the page.
    """
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
    return text_record(FAMILY, content)


def read_family(content: dict[str, Any]) -> tuple[Metric, str]:
    """
    Give the metric and the name that a record says.

    Raises:
        CellFileError: They are none.
    """
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
        spec.kind not in get_args(Kind)
        or spec.workers not in get_args(Workers)
        or list(spec.buckets) != sorted(set(spec.buckets))
        or (type(spec.help), type(spec.prefixed)) != (str, bool)
    ):
        raise CellFileError("corrupt", f"the metric {name!r}")
    replace(spec, name=name)  # checks the name on the page, too
    return spec, name


def cell_record(family: int, labels: Labels, doubles: bytes) -> tuple[bytes, int]:
    """
    Make the record of a cell; tell where in it the doubles begin.
    """
    text = json.dumps(labels, separators=(",", ":")).encode()
    checked = CELL.pack(0, family, len(doubles) // 8, len(text))[4:] + text
    head = struct.pack("=I", zlib.crc32(checked)) + checked + bytes(-len(text) % 8)
    return record(CELLS, head + doubles), RECORD.size + len(head)


def exemplars_record(cell: int, slots: int) -> bytes:
    """
    Make the record of a cell's exemplars, all empty.
    """
    checked = EXEMPLARS.pack(0, slots, cell)[4:]
    return record(EXEMPLAR, struct.pack("=I", zlib.crc32(checked)) + checked + bytes(SLOT.size * slots))


def slot(exemplar: Exemplar) -> bytes:
    """
    Pack an exemplar.
    """
    packed = SLOT.pack(exemplar.trace_id.encode("ascii", "replace"), exemplar.value, exemplar.timestamp, 0)
    return packed[:SLOT_CHECKED] + struct.pack("=I4x", zlib.crc32(packed[:SLOT_CHECKED]))


def read_slots(packed: bytes) -> Slots:
    """
    Give a cell's exemplars, without those that are half written.
    """
    found: Slots = {}
    for index, (trace_id, value, timestamp, checksum) in enumerate(SLOT.iter_unpack(packed)):
        at = index * SLOT.size
        if timestamp and checksum == zlib.crc32(packed[at : at + SLOT_CHECKED]):
            found[index] = Exemplar(trace_id.decode("ascii", "replace"), value, timestamp)
    return found


def dump(families: Iterable[Figures], folded: Iterable[str]) -> bytes:
    """
    Make a file from figures, for a file that nobody goes on writing.
    """
    records = [text_record(FOLDED, sorted(folded))]
    for number, family in enumerate(families):
        records.append(family_record(family.spec, family.name))
        records += [cell_record(number, *cell)[0] for cell in zip(family.keys, family.raws, strict=True)]
    body = b"".join(records)
    return header(0, HEADER.size + len(body)) + body
