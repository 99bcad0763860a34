"""
Cells: the values of one label set, behind the lock of its metric.

A cell is also the handle that `labels()` and `bind()` return: it stays valid for the life of the process, through
`shutdown()` and a new `configure()`. Its values are in memory, or in a file that the other workers read; its first
update decides which. Updates are exact under threads; a forked child starts from zero.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import fsum, inf
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeAlias

from obskit.metrics.cell_format import ABSENT
from obskit.recorder import recorder
from obskit.time.clock import clock

if TYPE_CHECKING:
    from obskit.metrics.grids import FoldDown

LockLike: TypeAlias = Any  # what `RLock()` makes: `threading.RLock` is no class
# A list, or a memoryview of a worker's file: anything that `values[0] += 1.0` works on.
Values = Any
# What a cell has before its first update, and again after a fork: any index into it is an IndexError.
_UNALLOCATED: Values = ()


def allocate_in_memory(size: int) -> Values:
    """
    Return zeros in memory, which no other process reads.
    """
    return [0.0] * size


class MemoryExemplars(dict[int, tuple[str, float, float]]):
    """
    The exemplars of one cell, by bucket index.
    """

    def put(self, index: int, trace_id: str, value: float, timestamp: float) -> None:
        """
        Replace the exemplar of a bucket.
        """
        self[index] = trace_id, value, timestamp


class Cell:
    """
    The values of one label set.

    Args:
        lock: Guards the values; all cells of a metric share it. A finaliser or a signal handler may run between any two
            calls made under it and update the same cell, so only plain steps run there.
        allocate: Returns the given number of zeros; called without the lock, by the first update.
    """

    __slots__ = ("_allocate", "_carried", "exemplars", "key", "lock", "size", "values")

    def __init__(
        self, lock: LockLike | None = None, allocate: Callable[[int], Values] = allocate_in_memory, size: int = 1
    ) -> None:
        self.lock = lock or RLock()
        self.size = size
        self.values = _UNALLOCATED
        self.key: tuple[str, ...] = ()
        self.exemplars: Any = None
        self._allocate = allocate
        self._carried: Sequence[float] = ()

    def attach(self) -> Values:
        """
        Allocate the values where they are not yet; called without the lock.
        """
        while not self.values:
            values, carried = self._allocate(self.size), self._carried
            packed = carried if type(values) is list else array("d", carried)
            where = slice(len(carried))
            with self.lock:  # nothing is called, or made, from here on
                if not self.values and self._carried is carried:
                    if values[0] != values[0]:  # a gauge that was marked absent
                        values[0] = 0.0
                    if carried:
                        values[where] = packed
                    self.values, self._carried = values, ()
        return self.values

    def detach(self) -> None:
        """
        Drop the allocation; the next update allocates again and carries the values over.
        """
        with self.lock:
            if self.values:
                self._carried, self.values, self.exemplars = list(self.values), _UNALLOCATED, None

    def reset(self, lock: LockLike | None = None) -> None:
        """
        Set to zero, with a lock that no thread of a forked parent holds.
        """
        self.lock = lock or RLock()
        self._carried, self.values, self.exemplars = (), _UNALLOCATED, None

    def read_values(self) -> list[float]:
        """
        Return a copy of the values, taken in one step.
        """
        with self.lock:
            return list(self.values) or list(self._carried) or [0.0] * self.size


class _ValueCell(Cell):
    __slots__ = ()

    @property
    def value(self) -> float:
        return self.read_values()[0]


class CounterCell(_ValueCell):
    """
    A counter's value of one label set.
    """

    __slots__ = ()

    def inc(self, amount: float = 1.0) -> None:
        """
        Increment the counter.

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

    def set_total(self, total: float) -> None:
        """
        Take over a count that is kept elsewhere. Of two threads that have read it, the later to come may be the one
        that has read it earlier: the counter does not go down.
        """
        with self.lock:
            values = self.values
            if values:
                if total > values[0]:
                    values[0] = total
                return
        self.attach()
        self.set_total(total)


class GaugeCell(_ValueCell):
    """
    A gauge's value of one label set. Of size 2, the second value is the time it was set: the latest worker's counts.
    """

    __slots__ = ()

    def inc(self, amount: float = 1.0) -> None:
        now = clock.wall() if self.size > 1 else 0.0
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
        self.inc(-amount)

    def set(self, value: float) -> None:
        value = float(value)
        now = clock.wall() if self.size > 1 else 0.0
        with self.lock:
            values = self.values
            if values:
                values[0] = value
                if self.size > 1:
                    values[1] = now
                return
        self.attach()
        self.set(value)

    def mark_absent(self) -> None:
        """
        Remove the label set from all workers' pages; the next update brings it back, from zero.
        """
        with self.lock:
            if self.values:
                self.values[0] = ABSENT
                self.values = _UNALLOCATED

    def set_to_current_time(self) -> None:
        """
        Set the value to the current time, in seconds since the epoch.
        """
        self.set(clock.wall())

    @contextmanager
    def track_inprogress(self) -> Iterator[None]:
        """
        Return a context manager that increments on entry and decrements on exit.
        """
        self.inc()
        try:
            yield
        finally:
            self.dec()


class HistogramCell(Cell):
    """
    A histogram's buckets and sum of one label set.

    Its values are `done, sum, bucket, ..., +Inf bucket`, buckets not cumulative. They are stored in the order bucket,
    sum, `done`, so that a process that reads them can tell whether an update is under way.

    Args:
        bounds: The upper bounds of its buckets.
        fold_down: Where these are finer than the metric's own: adds them up to those.
    """

    __slots__ = ("bounds", "edges", "fold_down")

    def __init__(
        self,
        bounds: tuple[float, ...],
        lock: LockLike | None = None,
        allocate: Callable[[int], Values] = allocate_in_memory,
        fold_down: FoldDown | None = None,
    ) -> None:
        super().__init__(lock, allocate, len(bounds) + 3)
        self.bounds, self.fold_down = bounds, fold_down
        self.edges = edges_of(bounds)

    @property
    def is_unused(self) -> bool:
        """
        Whether nothing was observed yet.
        """
        return not self.values and not self._carried

    def refit(self, bounds: tuple[float, ...], fold_down: FoldDown | None) -> None:
        """
        Take other buckets, where nothing was observed yet.
        """
        edges = edges_of(bounds)
        with self.lock:
            if self.is_unused:
                self.size, self.bounds, self.edges, self.fold_down = len(edges) + 1, bounds, edges, fold_down

    def read_values(self) -> list[float]:
        """
        Return a copy of the values, in the metric's own buckets.
        """
        values = super().read_values()
        return values if self.fold_down is None else list(self.fold_down(values))

    def read_fine_values(self) -> list[float]:
        """
        Return a copy of the values, in the buckets that the cell has.
        """
        return super().read_values()

    def observe(self, value: float) -> None:
        """
        Count one observation, in one locked update. NaN is left out, and counted as dropped.
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
            except BaseException:  # a type that compares like a number and does not add like one
                values[index] -= 1.0
                raise
        self.attach()
        self.observe(value)

    def read(self) -> tuple[list[int], float]:
        """
        Return the bucket counts, not cumulative, and the sum, both taken in one step.
        """
        values = self.read_values()
        return [int(count) for count in values[2:]], values[1]


class ObservationBuffer(list[float]):
    """
    Observations of one cell that are not in its buckets yet, where no other process reads them.

    Appending is a single step that needs no lock; `flush()` finds the buckets of all, which costs a third of what it
    costs one by one. The caller flushes once there are more than CAPACITY, and before each read.
    """

    CAPACITY = 64  # larger saves nothing; at this size the buffers of 1,000 label sets hold at most 2 MB

    __slots__ = ("_is_flushing", "above", "cell")

    def __init__(self, cell: HistogramCell) -> None:
        super().__init__()
        self.cell = cell
        self.above = inf  # from how many seconds on whoever appends looks at what took so long
        self._is_flushing = False

    def flush(self) -> None:
        """
        Move all observations into the cell. Those appended meanwhile, by a thread or a finaliser, stay for the next.
        """
        cell, edges = self.cell, self.cell.edges
        cell.attach()
        with cell.lock:
            values = cell.values
            if (
                self._is_flushing or not values
            ):  # this thread flushes already, further down its stack; or the cell was detached
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
    Return the bounds padded so that `bisect_left()` returns the bucket's index among a cell's values.
    """
    return (float("-inf"), float("-inf"), *bounds)
