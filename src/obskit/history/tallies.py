"""
Observations by bucket, added up over label sets, workers and time, and the quantiles that they tell.

Whatever buckets there are, a quantile is known to lie between two values; both are said.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from math import inf, sqrt
from typing import NamedTuple

from obskit.history import lanes
from obskit.history.tables import Bounds

# Of a bucket that is no wider, the middle is said, which is at most half of it, by its logarithm, from every value.
_NARROW = 1.1


class Between(NamedTuple):
    """
    What is known of a quantile.

    Attributes:
        value: The best guess: of a narrow bucket the middle, of another what Prometheus says.
        low, high: Between which it lies; `high` is infinite beyond the last bound. No observation is taken to be below
            0 where the first bound is above.
    """

    value: float
    low: float
    high: float


class Tally:
    """
    How many observations there are in each bucket.
    """

    __slots__ = ("_lanes",)

    def __init__(self) -> None:
        self._lanes: dict[Bounds, int] = {}  # by bounds, as one number: one addition for all buckets

    def add(self, bounds: Bounds, packed: bytes) -> None:
        """
        Add counts as `lanes.pack()` has written them.

        Raises:
            ValueError: They are no counts of so many buckets.
        """
        self._lanes[bounds] = self._lanes.get(bounds, 0) + lanes.as_number(packed, len(bounds) + 1)

    def add_all(self, other: Tally) -> None:
        """
        Add those of another.
        """
        for bounds, number in other._lanes.items():
            self._lanes[bounds] = self._lanes.get(bounds, 0) + number

    def quantile(self, share: float) -> Between | None:
        """
        Return what is known of a quantile; None where nothing was observed.

        The lowest value that it can have is found as if each observation were at the lower end of its bucket, the
        highest as if each were at the upper end: so it is right for buckets of several kinds together, too.
        """
        found = list(self._filled())
        total = sum(count for _, _, count in found)
        if not total:
            return None
        rank = share * total
        low = _reached(sorted((low, count) for low, _, count in found), rank)
        high = _reached(sorted((high, count) for _, high, count in found), rank)
        if high == inf:
            return Between(low, low, high)
        if low > 0 and high <= low * _NARROW:
            return Between(sqrt(low * high), low, high)
        if low == -inf:
            return Between(high, low, high)
        below = sum(count for _, end, count in found if end <= low)
        through = sum(count for start, _, count in found if start < high)
        return Between(low + (high - low) * (rank - below) / (through - below), low, high)

    def _filled(self) -> Iterator[tuple[float, float, int]]:
        """
        Yield both ends of each bucket that has observations, and how many.
        """
        for bounds, number in self._lanes.items():
            lowest = 0.0 if bounds and bounds[0] > 0 else -inf
            for low, high, count in zip(
                (lowest, *bounds), (*bounds, inf), lanes.counts_of(number, len(bounds) + 1), strict=True
            ):
                if count:
                    yield low, high, count


def _reached(ends: list[tuple[float, int]], rank: float) -> float:
    """
    Return the first end up to which there are as many observations.
    """
    reached = accumulate(count for _, count in ends)
    return next((end for (end, _), count in zip(ends, reached, strict=True) if count >= rank), ends[-1][0])
