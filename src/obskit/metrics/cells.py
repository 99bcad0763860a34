"""
Hold one label set's figures, behind its metric's lock.

A cell is also the handle that `labels()` and `bind()` give out: it stays valid for the life of the process, through
`shutdown()` and a new `configure()`. Its figures lie in memory, or in a file that the other workers read; where is
settled by its first update. Updates are exact under threads; a forked child starts from zero.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import fsum
from threading import Lock
from typing import Any

from obskit.metrics.records import ABSENT
from obskit.recorder import recorder

# A list, or a memoryview of a worker's file: what `values[0] += 1.0` works on.
Values = Any
# What a cell has before its first update, and again after a fork: any index into it is an IndexError.
_NOWHERE: Values = ()


def in_memory(size: int) -> Values:
    """
    Give figures a place in this process, where nobody else looks.
    """
    return [0.0] * size


class MemoryExemplars(dict[int, tuple[str, float, float]]):
    """
    Hold the exemplars of one cell, by the index of the bucket.
    """

    def put(self, index: int, trace_id: str, value: float, timestamp: float) -> None:
        """
        Replace one.
        """
        self[index] = trace_id, value, timestamp


class Cell:
    """
    Hold the figures of one label set.

    Args:
        lock: Guards the figures; the metric's cells share it.
        allocate: Gives so many zeros a place, with the first update.
    """

    __slots__ = ("_allocate", "_carried", "exemplars", "key", "lock", "size", "values")

    def __init__(self, lock: Lock | None = None, allocate: Callable[[int], Values] = in_memory, size: int = 1) -> None:
        self.lock = lock or Lock()
        self.size = size
        self.values = _NOWHERE
        self.key: tuple[str, ...] = ()
        self.exemplars: Any = None
        self._allocate = allocate
        self._carried: list[float] = []

    def attach(self) -> Values:
        """
        Find the figures their place; called with the lock held.
        """
        if not self.values:
            values = self._allocate(self.size)
            if values[0] != values[0]:  # a gauge that had vanished
                values[0] = 0.0
            for index, figure in enumerate(self._carried):
                values[index] = figure
            self._carried = []
            self.values = values
        return self.values

    def detach(self) -> None:
        """
        Let the next update find another place; the figures go there.
        """
        with self.lock:
            self._carried, self.values, self.exemplars = list(self.values), _NOWHERE, None

    def zero(self, lock: Lock | None = None) -> None:
        """
        Start over, with a lock that no thread of a forked parent can hold.
        """
        self.lock = lock or Lock()
        self._carried, self.values, self.exemplars = [], _NOWHERE, None

    def figures(self) -> list[float]:
        """
        Copy the figures as they were at one moment.
        """
        with self.lock:
            return list(self.values) or self._carried.copy() or [0.0] * self.size


class _ValueCell(Cell):
    __slots__ = ()

    @property
    def value(self) -> float:
        """
        Read the figure.
        """
        return self.figures()[0]


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
        if not amount >= 0:
            raise ValueError(f"a counter cannot go down: inc({amount}); use a gauge")
        with self.lock:
            try:
                self.values[0] += amount
            except IndexError:
                self.attach()[0] += amount

    def show(self, total: float) -> None:
        """
        Take a total that somebody else counts.
        """
        with self.lock:
            self.attach()[0] = total


class GaugeCell(_ValueCell):
    """
    Keep a figure that goes up and down. With room for two, the second is when it was set, since the latest counts.
    """

    __slots__ = ()

    def inc(self, amount: float = 1.0) -> None:
        """
        Add to the figure.
        """
        with self.lock:
            try:
                self.values[0] += amount
            except IndexError:
                self.attach()[0] += amount
            if self.size > 1:
                self.values[1] = time.time()

    def dec(self, amount: float = 1.0) -> None:
        """
        Take from the figure.
        """
        self.inc(-amount)

    def set(self, value: float) -> None:
        """
        Replace the figure.
        """
        with self.lock:
            try:
                self.values[0] = float(value)
            except (IndexError, TypeError):  # a tuple takes none
                self.attach()[0] = float(value)
            if self.size > 1:
                self.values[1] = time.time()

    def vanish(self) -> None:
        """
        Take the label set away from other workers' pages; the next update brings it back, from zero.
        """
        with self.lock:
            if self.values:
                self.values[0] = ABSENT
                self.values = _NOWHERE

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


class HistogramCell(Cell):
    """
    Count observations by bucket, and add them up.

    Its figures are `done, sum, bucket, ..., +Inf bucket`, buckets not cumulative. They are stored in the order bucket,
    sum, `done`, so that another process that reads them knows whether it came in between.
    """

    __slots__ = ("bounds", "edges")

    def __init__(
        self, bounds: tuple[float, ...], lock: Lock | None = None, allocate: Callable[[int], Values] = in_memory
    ) -> None:
        super().__init__(lock, allocate, len(bounds) + 3)
        self.bounds = bounds
        self.edges = edges_of(bounds)

    def observe(self, value: float) -> None:
        """
        Count one observation, in one locked update. NaN is no observation: it is left out, and counted as dropped.
        """
        if value != value:
            recorder.dropped["metrics", "nan"] += 1
            return
        index = bisect_left(self.edges, value)
        with self.lock:
            try:
                values = self.values
                values[index] += 1.0
            except IndexError:
                values = self.attach()
                values[index] += 1.0
            values[1] += value
            values[0] += 1.0

    def read(self) -> tuple[list[int], float]:
        """
        Copy buckets and sum as they were at one moment.
        """
        figures = self.figures()
        return [int(count) for count in figures[2:]], figures[1]


class Waiting(list[float]):
    """
    Hold observations of one cell until it counts them, where nobody else looks at its figures.

    To append one is a single step that needs no lock; `settle()` finds their buckets together, which costs each a
    third of what it costs alone. Whoever appends asks for it once there are more than MOST, and whoever reads asks
    before.
    """

    MOST = 64  # more would cost no less, and a metric of 1,000 label sets has room for 2 MB of them so

    __slots__ = ("cell",)

    def __init__(self, cell: HistogramCell) -> None:
        super().__init__()
        self.cell = cell

    def settle(self) -> None:
        """
        Count what waits. What other threads append meanwhile waits for the next time.
        """
        cell, edges = self.cell, self.cell.edges
        with cell.lock:
            seconds = self[: len(self)]
            del self[: len(seconds)]
            values = cell.attach()
            for one in seconds:
                values[bisect_left(edges, one)] += 1.0
            values[1] += fsum(seconds)
            values[0] += len(seconds)


def edges_of(bounds: tuple[float, ...]) -> tuple[float, ...]:
    """
    Write bounds so that `bisect_left()` gives the index of the bucket among a cell's figures.
    """
    return (float("-inf"), float("-inf"), *bounds)
