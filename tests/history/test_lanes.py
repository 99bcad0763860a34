"""
Counts of buckets are written small, and added up exactly.
"""

import random

import pytest

from obskit.history.lanes import add_up, pack


@pytest.mark.parametrize("size", [1, 2, 16, 171, 330])
def test_counts_come_back(size):
    """
    Whatever the counts, wherever their zeros lie, up to eight bytes each.
    """
    chance = random.Random(size)
    for _ in range(50):
        counts = [chance.choice([0, 0, 0, 1, 255, 256, 65_536, 1 << 32, (1 << 56) - 1]) for _ in range(size)]

        assert counts == add_up([pack(counts)], size)


def test_many_are_added_bucket_by_bucket():
    """
    The sum of many is the sum of each bucket, with empty ones among them.
    """
    chance = random.Random(7)
    many = [[chance.choice([0, 0, 3, 70_000]) for _ in range(171)] for _ in range(100)]
    many[3] = [0] * 171

    assert [sum(lane) for lane in zip(*many, strict=True)] == add_up(map(pack, many), 171)


def test_few_take_few_bytes():
    """
    An observation takes four bytes, and nothing takes none.
    """
    assert (4, b"") == (len(pack([0.0] * 100 + [1.0] + [0.0] * 70)), pack([0.0] * 171))


@pytest.mark.parametrize("damaged", [b"\0", b"\0\0", b"\0\0\3abc", b"\0\0\2a", b"\4\0\1ab"])
def test_damaged_counts_are_refused(damaged):
    """
    What is no count of five buckets is told, not added.
    """
    with pytest.raises(ValueError, match="counts of"):
        add_up([damaged], 5)
