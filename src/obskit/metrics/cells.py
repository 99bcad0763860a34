"""
Hold one label set's figures, each behind one lock.

A cell is also the handle that `labels()` and `bind()` give out: it stays valid for the life of the process, through
`shutdown()` and a new `configure()`. Updates are exact under threads; a forked child starts from zero.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock


class _ValueCell:
    """
    Hold one figure.
    """

    __slots__ = ("lock", "value")

    def __init__(self) -> None:
        self.zero()

    def zero(self) -> None:
        """
        Start over, with a lock that no thread of a forked parent can hold.
        """
        self.lock = Lock()
        self.value = 0.0


class CounterCell(_ValueCell):
    """
    Count upwards.
    """

    __slots__ = ()

    def inc(self, amount: float = 1.0) -> None:
        """
        Add to the count.

        Raises:
            ValueError: A negative amount; a counter never goes down.
        """
        if amount < 0:
            raise ValueError(f"a counter cannot go down: inc({amount}); use a gauge")
        with self.lock:
            self.value += amount


class GaugeCell(_ValueCell):
    """
    Keep a figure that goes up and down.
    """

    __slots__ = ()

    def inc(self, amount: float = 1.0) -> None:
        """
        Add to the figure.
        """
        with self.lock:
            self.value += amount

    def dec(self, amount: float = 1.0) -> None:
        """
        Take from the figure.
        """
        with self.lock:
            self.value -= amount

    def set(self, value: float) -> None:
        """
        Replace the figure.
        """
        with self.lock:
            self.value = float(value)

    def set_to_current_time(self) -> None:
        """
        Set the figure to the present time, in seconds since the epoch.
        """
        self.set(time.time())

    @contextmanager
    def track_inprogress(self) -> Iterator[None]:
        """
        Count up while the block runs, and down after it.
        """
        self.inc()
        try:
            yield
        finally:
            self.dec()


class HistogramCell:
    """
    Count observations by bucket, and add them up. The buckets are not cumulative; the last one is `+Inf`.
    """

    __slots__ = ("bounds", "buckets", "lock", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.zero()

    def zero(self) -> None:
        """
        Start over, with a lock that no thread of a forked parent can hold.
        """
        self.lock = Lock()
        self.buckets = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """
        Count one observation: bucket and sum in one locked update; the count is the buckets' sum.
        """
        index = bisect_left(self.bounds, value)
        with self.lock:
            self.buckets[index] += 1
            self.sum += value

    def read(self) -> tuple[list[int], float]:
        """
        Copy buckets and sum as they were at one moment.
        """
        with self.lock:
            return self.buckets.copy(), self.sum
