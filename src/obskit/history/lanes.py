"""
The counts of a histogram's buckets as bytes: whole numbers, side by side, without the zeros at both ends.

    lanes = bytes of: the first lane's index (2 bytes), a lane's width in bytes (1, 2, 4 or 8), the lanes

Many are added by big integers, 8 bytes a lane: one addition a label set, whatever the number of buckets.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

_HEADER = struct.Struct("<HB")
_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}  # by width
_SUM_WIDTH = 8


def pack(counts: Sequence[float]) -> bytes:
    """
    Write the counts of all buckets, which are whole numbers from 0 below 2^64.
    """
    found = [int(count) for count in counts]
    filled = [index for index, count in enumerate(found) if count]
    if not filled:
        return b""
    first, last = filled[0], filled[-1] + 1
    widest = max(found)
    width = 1 if widest < 1 << 8 else 2 if widest < 1 << 16 else 4 if widest < 1 << 32 else 8
    return _HEADER.pack(first, width) + struct.pack(f"<{last - first}{_CODES[width]}", *found[first:last])


def unpack(packed: bytes, size: int) -> list[int]:
    """
    Read the counts of a histogram that has so many buckets.

    Raises:
        ValueError: These are no such counts.
    """
    return add_up([packed], size)


def add_up(many: Iterable[bytes], size: int) -> list[int]:
    """
    Add the counts of several histograms with the same buckets, bucket by bucket; a sum stays below 2^64.

    Args:
        many: As `pack()` has written them.
        size: How many buckets each has.

    Raises:
        ValueError: One has other buckets, or is damaged.
    """
    return list(counts_of(sum(as_number(packed, size) for packed in many), size))


def as_number(packed: bytes, size: int) -> int:
    """
    Return the counts of so many buckets as one number, 8 bytes a count: sums of such numbers are those of each count.

    Raises:
        ValueError: It has other buckets, or is damaged.
    """
    if not packed:
        return 0
    first, lanes = _spread(packed, size)
    return int.from_bytes(lanes, "little") << (8 * _SUM_WIDTH * first)


def counts_of(number: int, size: int) -> tuple[int, ...]:
    """
    Return the counts of which such a number is made.
    """
    return struct.unpack(f"<{size}Q", number.to_bytes(_SUM_WIDTH * size, "little"))


def _spread(packed: bytes, size: int) -> tuple[int, bytes]:
    """
    Return the first lane's index, and the lanes at 8 bytes each.
    """
    if len(packed) < _HEADER.size:
        raise ValueError("counts of buckets without their header")
    first, width = _HEADER.unpack_from(packed)
    number, rest = divmod(len(packed) - _HEADER.size, width) if width in _CODES else (0, 1)
    if rest or first + number > size:
        raise ValueError(f"{len(packed)} bytes are no counts of {size} buckets")
    lanes = bytearray(_SUM_WIDTH * number)
    for place in range(width):
        lanes[place::_SUM_WIDTH] = packed[_HEADER.size + place :: width]
    return first, bytes(lanes)
