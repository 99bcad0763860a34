"""
The binary format of a worker's file of cells.

A header of `HEADER.size` bytes, then records, each 8-byte aligned and never moved:

    family     name, kind, labels, buckets as JSON; families are numbered in the order of their records
    cell       its family, its label values as JSON, and its doubles, zero at first
    exemplars  the cell they belong to, and a slot for each bucket: trace id, value, time, checksum
    folded     the names of the files that were merged into this one
    filler     the rest of a chunk that the next record did not fit into

The header's `used` is written when a record is complete, so no reader sees half a record. All numbers are in the byte
order of the machine, which the header records. Text has a checksum; doubles change and have none.

A counter's doubles are its value; a gauge's its value and, where the latest worker's counts, its time in seconds
since the epoch; a histogram's `done, sum, bucket, bucket, ..., +Inf bucket`, where `done` counts observations and
buckets are not cumulative.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from obskit.catalogue import Metric
from obskit.catalogue.spec import Kind, Workers
from obskit.time.clock import system_clock

LabelSet: TypeAlias = tuple[str, ...]
Row: TypeAlias = tuple[float, ...]
Reason: TypeAlias = Literal["truncated", "foreign", "newer", "corrupt"]

# What is written, and the first that is read: the version before, once there is one.
VERSION, OLDEST_VERSION = 1, 1
MAGIC = b"obskit\r\n"
BYTE_ORDER = 0x01020304
# magic, version, byte order, process, slot, made (nanoseconds since the epoch), random token, checksum, used
HEADER = struct.Struct("=8sIIQQQQI4xQ")
USED_OFFSET = HEADER.size - 8
_HEADER_CHECKED_BYTES = USED_OFFSET - 8
RECORD_HEADER = struct.Struct("=4sI")  # kind, size with this header
JSON_HEADER = struct.Struct("=II")  # checksum, length
CELL_HEADER = struct.Struct("=IIII")  # checksum of all but the doubles, family, doubles, length of the labels
EXEMPLARS_HEADER = struct.Struct("=IIQ")  # checksum of the rest, slots, offset of the cell's record
EXEMPLAR_SLOT = struct.Struct("=32sddI4x")  # trace id, value, time, checksum
EXEMPLAR_CHECKED_BYTES = 48
FAMILY_KIND, CELL_KIND, EXEMPLARS_KIND, FOLDED_KIND, FILLER_KIND = b"FAMI", b"CELL", b"EXEM", b"DONE", b"SKIP"

# The limit of a worker's file: about 150,000 histograms of 15 buckets.
MAX_FILE_BYTES = 32 * 1024 * 1024
# Readers reject larger ones: a damaged length must not become an allocation.
MAX_READ_BYTES = 16 * MAX_FILE_BYTES
# The value of a gauge whose label set was removed: a NaN that no arithmetic produces.
ABSENT: float = struct.unpack("=d", struct.pack("=Q", 0x7FF8_0B5C_1700_0B5C))[0]
_ABSENT = struct.pack("=d", ABSENT)


class CellFileError(Exception):
    """
    A file cannot be read: it is truncated, foreign, newer than this code, or corrupt.
    """

    def __init__(self, reason: Reason, what: str) -> None:
        super().__init__(f"{reason}: {what}")
        self.reason = reason


class Exemplar(NamedTuple):
    """
    One observation of a bucket and its trace.
    """

    trace_id: str
    value: float
    timestamp: float


# By the index of the bucket.
BucketExemplars: TypeAlias = dict[int, Exemplar]


@dataclass(slots=True)
class FamilyData:
    """
    One metric's cells in one file.

    Attributes:
        width: Number of doubles of a cell in this file. A folded file has one more: the rounding error of the sum.
        keys: Label sets of the cells; the list grows with the file.
        raws: The cells' doubles as bytes, histograms consistent. Unchanged bytes are the same object.
        exemplars: By cell index, then by bucket index, of the metric's own buckets.
        own: The metric with its own buckets, where those of the cells are finer.
    """

    spec: Metric
    name: str
    width: int
    keys: Sequence[LabelSet]
    raws: Sequence[bytes]
    exemplars: dict[int, BucketExemplars] = field(default_factory=dict)
    own: Metric | None = None

    @property
    def metric(self) -> Metric:
        return self.own or self.spec

    @property
    def rows(self) -> list[Row]:
        return list(map(decode_doubles, self.raws))


def doubles_per_cell(spec: Metric) -> int:
    """
    Return the number of doubles of a cell of this metric.
    """
    if spec.kind == "histogram":
        return len(spec.buckets) + 3
    return 2 if spec.kind == "gauge" and spec.workers == "latest" else 1


def decode_doubles(raw: bytes) -> Row:
    """
    Decode the doubles of a cell.
    """
    return struct.unpack(f"={len(raw) // 8}d", raw)


def is_absent(gauge: Row) -> bool:
    """
    Return whether a gauge's row was marked absent or, where the latest worker's counts, was never set.
    """
    value = gauge[0]
    return (value != value and struct.pack("=d", value) == _ABSENT) or gauge[1:] == (0.0,)


def encode_header(slot: int, used: int) -> bytes:
    """
    Encode the header of a file of this process.
    """
    token = int.from_bytes(os.urandom(8), sys.byteorder)
    head = HEADER.pack(MAGIC, VERSION, BYTE_ORDER, os.getpid(), slot, system_clock.wall_ns(), token, 0, used)
    return (
        head[:_HEADER_CHECKED_BYTES]
        + struct.pack("=I4x", zlib.crc32(head[:_HEADER_CHECKED_BYTES]))
        + head[USED_OFFSET:]
    )


def decode_header(head: bytes) -> tuple[int, int, int, int, int]:
    """
    Decode process id, slot, creation time in nanoseconds, token and bytes used.

    Raises:
        CellFileError: It is not a valid header.
    """
    if len(head) < HEADER.size:
        raise CellFileError("truncated", f"{len(head)} bytes")
    magic, version, order, pid, slot, created_ns, token, checksum, used = HEADER.unpack(head)
    if magic != MAGIC:
        raise CellFileError("foreign", "no file of cells")
    if order != BYTE_ORDER:
        raise CellFileError("foreign", "written by a machine of another byte order")
    if zlib.crc32(head[:_HEADER_CHECKED_BYTES]) != checksum:
        raise CellFileError("corrupt", "its header")
    if version > VERSION:
        raise CellFileError("newer", f"version {version}, and this is {VERSION}")
    if version < OLDEST_VERSION or used < HEADER.size or used % 8 or used > MAX_READ_BYTES:
        raise CellFileError("corrupt", f"version {version}, {used} bytes used")
    return pid, slot, created_ns, token, used


def encode_record(kind: bytes, body: bytes) -> bytes:
    """
    Encode a record, padded to 8 bytes.
    """
    padding = -len(body) % 8
    return RECORD_HEADER.pack(kind, RECORD_HEADER.size + len(body) + padding) + body + bytes(padding)


def encode_json(kind: bytes, content: object) -> bytes:
    """
    Encode a record of JSON.
    """
    text = json.dumps(content, separators=(",", ":")).encode()
    return encode_record(kind, JSON_HEADER.pack(zlib.crc32(text), len(text)) + text)


def decode_json(content: bytes, start: int, end: int) -> Any:
    """
    Decode the JSON of a record.

    Raises:
        CellFileError: Its checksum or length is wrong.
    """
    checksum, length = JSON_HEADER.unpack_from(content, start)
    start += JSON_HEADER.size
    text = content[start : start + length]
    if end != start + length + -length % 8 or zlib.crc32(text) != checksum:
        raise CellFileError("corrupt", f"text at {start}")
    return json.loads(text)


def encode_family(spec: Metric, name: str, fine: tuple[float, ...] = ()) -> bytes:
    """
    Encode the record of a metric under its name, and the bounds of its cells where these are finer than its own.
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
        "unit": spec.unit,
        **({"fine": fine} if fine else {}),
    }
    return encode_json(FAMILY_KIND, content)


def decode_family(content: dict[str, Any]) -> tuple[Metric, str, tuple[float, ...]]:
    """
    Decode a metric, its name, and the bounds of its cells where these are finer than its own.

    Raises:
        CellFileError: They are not valid.
    """
    spec = Metric(
        name=content["spec"],
        kind=content["kind"],
        help=content["help"],
        labels=tuple(content["labels"]),
        buckets=tuple(map(float, content["buckets"])),
        workers=content["workers"],
        prefixed=content["prefixed"],
        unit=content.get("unit", ""),  # of an obskit from before units there is none
    )
    name = content["name"]
    if (
        spec.kind not in get_args(Kind)
        or spec.workers not in get_args(Workers)
        or list(spec.buckets) != sorted(set(spec.buckets))
        or (type(spec.help), type(spec.prefixed)) != (str, bool)
    ):
        raise CellFileError("corrupt", f"the metric {name!r}")
    replace(spec, name=name, unit="")  # validates the name, too
    fine = tuple(map(float, content.get("fine", ())))
    if fine and (spec.kind != "histogram" or list(fine) != sorted({*fine, *spec.buckets})):
        raise CellFileError("corrupt", f"the fine buckets of {name!r}")
    return spec, name, fine


def encode_cell(family: int, labels: LabelSet, doubles: bytes) -> tuple[bytes, int]:
    """
    Encode the record of a cell; return it, and the offset of the doubles in it.
    """
    text = json.dumps(labels, separators=(",", ":")).encode()
    checked = CELL_HEADER.pack(0, family, len(doubles) // 8, len(text))[4:] + text
    head = struct.pack("=I", zlib.crc32(checked)) + checked + bytes(-len(text) % 8)
    return encode_record(CELL_KIND, head + doubles), RECORD_HEADER.size + len(head)


def encode_exemplars(cell: int, slots: int) -> bytes:
    """
    Encode the record of a cell's exemplars, all empty.
    """
    checked = EXEMPLARS_HEADER.pack(0, slots, cell)[4:]
    return encode_record(
        EXEMPLARS_KIND, struct.pack("=I", zlib.crc32(checked)) + checked + bytes(EXEMPLAR_SLOT.size * slots)
    )


def encode_exemplar(exemplar: Exemplar) -> bytes:
    """
    Encode an exemplar with its checksum.
    """
    packed = EXEMPLAR_SLOT.pack(exemplar.trace_id.encode("ascii", "replace"), exemplar.value, exemplar.timestamp, 0)
    return packed[:EXEMPLAR_CHECKED_BYTES] + struct.pack("=I4x", zlib.crc32(packed[:EXEMPLAR_CHECKED_BYTES]))


def decode_exemplars(packed: bytes) -> BucketExemplars:
    """
    Decode a cell's exemplars, without those that are being written.
    """
    found: BucketExemplars = {}
    for index, (trace_id, value, timestamp, checksum) in enumerate(EXEMPLAR_SLOT.iter_unpack(packed)):
        at = index * EXEMPLAR_SLOT.size
        if timestamp and checksum == zlib.crc32(packed[at : at + EXEMPLAR_CHECKED_BYTES]):
            found[index] = Exemplar(trace_id.decode("ascii", "replace"), value, timestamp)
    return found


def encode_file(families: Iterable[FamilyData], folded: Iterable[str]) -> bytes:
    """
    Encode a whole file, which is never appended to.
    """
    records = [encode_json(FOLDED_KIND, sorted(folded))]
    for number, family in enumerate(families):
        fine = family.spec.buckets if family.own is not None else ()
        records.append(encode_family(family.metric, family.name, fine))
        records += [encode_cell(number, *cell)[0] for cell in zip(family.keys, family.raws, strict=True)]
    body = b"".join(records)
    return encode_header(0, HEADER.size + len(body)) + body
