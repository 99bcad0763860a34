"""
Hold one label set's figures, behind its metric's lock.

A cell is also the handle that `labels()` and `bind()` give out: it stays valid for the life of the process, through
`shutdown()` and a new `configure()`. Its figures lie in memory, or in a file that the other workers read; where is
settled by its first update. Updates are exact under threads; a forked child starts from zero.
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import fsum
from threading import RLock
from typing import Any, TypeAlias

from obskit.metrics.cell_format import ABSENT
from obskit.recorder import recorder

Guard: TypeAlias = Any  # what `RLock()` makes: `threading.RLock` is no class
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
        lock: Guards the figures; the metric's cells share it. A finaliser, or a signal's handler, may come between any
            two calls that are made under it and update the same cell: nothing but plain steps stands there.
        allocate: Gives so many zeros a place, with the first update; without the lock.
    """

    __slots__ = ("_allocate", "_carried", "exemplars", "key", "lock", "size", "values")

    def __init__(self, lock: Guard | None = None, allocate: Callable[[int], Values] = in_memory, size: int = 1) -> None:
        self.lock = lock or RLock()
        self.size = size
        self.values = _NOWHERE
        self.key: tuple[str, ...] = ()
        self.exemplars: Any = None
        self._allocate = allocate
        self._carried: Sequence[float] = ()

    def attach(self) -> Values:
        """
        Find the figures their place; called without the lock.
        """
        while not self.values:
            values, carried = self._allocate(self.size), self._carried
            packed = carried if type(values) is list else array("d", carried)
            where = slice(len(carried))
            with self.lock:  # nothing is called, or made, from here on
                if not self.values and self._carried is carried:
                    if values[0] != values[0]:  # a gauge that had vanished
                        values[0] = 0.0
                    if carried:
                        values[where] = packed
                    self.values, self._carried = values, ()
        return self.values

    def detach(self) -> None:
        """
        Let the next update find another place; the figures go there.
        """
        with self.lock:
            if self.values:
                self._carried, self.values, self.exemplars = list(self.values), _NOWHERE, None

    def zero(self, lock: Guard | None = None) -> None:
        """
        Start over, with a lock that no thread of a forked parent can hold.
        """
        self.lock = lock or RLock()
        self._carried, self.values, self.exemplars = (), _NOWHERE, None

    def figures(self) -> list[float]:
        """
        Copy the figures as they were at one moment.
        """
        with self.lock:
            return list(self.values) or list(self._carried) or [0.0] * self.size


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
                return
            except IndexError:
                pass
        self.attach()
        self.inc(amount)

    def show(self, total: float) -> None:
        """
        Take a total that somebody else counts.
        """
        with self.lock:
            values = self.values
            if values:
                values[0] = total
                return
        self.attach()
        self.show(total)


class GaugeCell(_ValueCell):
    """
    Keep a figure that goes up and down. With room for two, the second is when it was set, since the latest counts.
    """

    __slots__ = ()

    def inc(self, amount: float = 1.0) -> None:
        """
        Add to the figure.
        """
        now = time.time() if self.size > 1 else 0.0
        with self.lock:
            try:
                self.values[0] += amount
                if self.size > 1:
                    self.values[1] = now
                return
            except IndexError:
                pass
        self.attach()
        self.inc(amount)

    def dec(self, amount: float = 1.0) -> None:
        """
        Take from the figure.
        """
        self.inc(-amount)

    def set(self, value: float) -> None:
        """
        Replace the figure.
        """
        value = float(value)
        now = time.time() if self.size > 1 else 0.0
        with self.lock:
            values = self.values
            if values:
                values[0] = value
                if self.size > 1:
                    values[1] = now
                return
        self.attach()
        self.set(value)

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
        self, bounds: tuple[float, ...], lock: Guard | None = None, allocate: Callable[[int], Values] = in_memory
    ) -> None:
        super().__init__(lock, allocate, len(bounds) + 3)
        self.bounds = bounds
        self.edges = edges_of(bounds)

    def observe(self, value: float) -> None:
        """
        Count one observation, in one locked update. NaN is no observation: it is left out, and counted as dropped.
        """
        if value != value:
            recorder.dropped.inc(("metrics", "nan"))
            return
        index = bisect_left(self.edges, value)
        with self.lock:
            try:
                values = self.values
                values[index] += 1.0
                values[1] += value
                values[0] += 1.0
                return
            except IndexError:
                pass
            except BaseException:  # what is compared like a number, and is none
                values[index] -= 1.0
                raise
        self.attach()
        self.observe(value)

    def read(self) -> tuple[list[int], float]:
        """
        Copy buckets and sum as they were at one moment.
        """
        figures = self.figures()
        return [int(count) for count in figures[2:]], figures[1]


class ObservationBuffer(list[float]):
    """
    Hold observations of one cell until it counts them, where nobody else looks at its figures.

    To append one is a single step that needs no lock; `flush()` finds their buckets together, which costs each a
    third of what it costs alone. Whoever appends asks for it once there are more than MOST, and whoever reads asks
    before.
    """

    CAPACITY = 64  # more would cost no less, and a metric of 1,000 label sets has room for 2 MB of them so

    __slots__ = ("_is_flushing", "cell")

    def __init__(self, cell: HistogramCell) -> None:
        super().__init__()
        self.cell = cell
        self._is_flushing = False

    def flush(self) -> None:
        """
        Count what waits. What is appended meanwhile, by other threads or a finaliser, waits for the next time.
        """
        cell, edges = self.cell, self.cell.edges
        cell.attach()
        with cell.lock:
            values = cell.values
            if self._is_flushing or not values:  # further down, in this thread; or it has moved since
                return
            self._is_flushing = True
            try:
                seconds = self[: len(self)]
                del self[: len(seconds)]
                for one in seconds:
                    values[bisect_left(edges, one)] += 1.0
                total, count = fsum(seconds), float(len(seconds))
                values[1] += total
                values[0] += count
            finally:
                self._is_flushing = False


def edges_of(bounds: tuple[float, ...]) -> tuple[float, ...]:
    """
    Write bounds so that `bisect_left()` gives the index of the bucket among a cell's figures.
    """
    return (float("-inf"), float("-inf"), *bounds)
