"""
Metric families: the look-up of cells by label set, with the cap on its miss path.
"""

from __future__ import annotations

import weakref
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from threading import RLock
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

from obskit.catalogue import Metric
from obskit.errors import LabelError
from obskit.forks import at_fork
from obskit.metrics.cell_format import LabelSet
from obskit.metrics.cells import (
    CounterCell,
    GaugeCell,
    HistogramCell,
    LockLike,
    MemoryExemplars,
    Values,
    allocate_in_memory,
)
from obskit.metrics.grids import FoldDown, fine_bounds, grids
from obskit.metrics.timer import Timer
from obskit.operation import OVERFLOW
from obskit.redaction.redactor import Redactor

P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V")
C = TypeVar("C", CounterCell, GaugeCell, HistogramCell)

# Longer values are truncated: a label is a name, and Prometheus keeps each value in memory for every series.
MAX_LABEL_LENGTH = 256
_redactor = Redactor()

_families: weakref.WeakSet[Family[Any]] = weakref.WeakSet()


class CellAllocator(Protocol):
    """
    Where the values of cells are kept.
    """

    def allocate(self, family: Family[Any], key: LabelSet, size: int) -> Values:
        """
        Return `size` zeros for a label set.
        """

    def allocate_exemplars(self, family: Family[Any], key: LabelSet, slots: int) -> Any:
        """
        Return storage for a cell's exemplars, with the `put()` of `MemoryExemplars`.
        """


class _MemoryAllocator:
    def allocate(self, family: Family[Any], key: LabelSet, size: int) -> Values:
        return allocate_in_memory(size)

    def allocate_exemplars(self, family: Family[Any], key: LabelSet, slots: int) -> Any:
        return MemoryExemplars()


MEMORY_ALLOCATOR: CellAllocator = _MemoryAllocator()


class _CellTable(dict[LabelSet, V]):
    """
    Cells by label set; a missing one is created on access.
    """

    __slots__ = ("_on_missing",)
    _on_missing: Callable[[tuple[Any, ...]], V]

    def __init__(self, missing: Callable[[tuple[Any, ...]], V], cells: Mapping[LabelSet, V]) -> None:
        super().__init__(cells)
        self._on_missing = missing

    def __missing__(self, key: LabelSet) -> V:
        return self._on_missing(key)


class Family(Generic[C]):
    """
    The cells of one metric, by label set.

    Attributes:
        spec: Its row in the catalogue: name, type, labels.
        cell_spec: The row as its cells have it, perhaps with one more label.
        max_label_sets: The cap; label sets beyond it share one whose label values are all `_OVERFLOW`.
        overflowed: Number of updates that went there.
        lock: Guards the values of all cells.
        allocator: Where their values are kept.
        cell: Returns the cell of a label set, created while the cap allows. Look the attribute up for each call.
    """

    cell: Callable[[LabelSet], C]

    def __init__(self, spec: Metric, new_cell: Callable[[LockLike, Callable[[int], Values]], C]) -> None:
        self.spec = self.cell_spec = spec
        self.max_label_sets = 1000
        self.overflowed = 0
        self.on_overflow: Callable[[Family[Any]], None] = _ignore
        self.lock: LockLike = RLock()
        self.allocator = MEMORY_ALLOCATOR
        self._new_cell: Callable[[LockLike, Callable[[int], Values]], C] = new_cell
        self._set_cells({})
        self._handles: set[C] = set()
        self._lock = RLock()  # a finaliser may create a label set while its thread creates one
        if not spec.labels:
            self.labels()
        _families.add(self)

    def _set_cells(self, cells: Mapping[LabelSet, C]) -> None:
        self._cells: _CellTable[C] = _CellTable(self._on_missing, cells)
        # The dict's own method: a Python function around it would cost as much as all the rest of the look-up.
        self.cell = self._cells.__getitem__

    def _create_cell(self, key: LabelSet) -> C:
        cell: C = self._new_cell(self.lock, lambda size: self.allocator.allocate(self, key, size))
        cell.key = key
        return cell

    def move_to(self, allocator: CellAllocator) -> None:
        """
        Move to other cells from now on; each moves with its next update.
        """
        self.allocator = allocator
        for _, cell in self.items():
            cell.detach()
            self._refit(cell)

    def _refit(self, cell: C) -> None:
        pass

    def fine_bounds_of(self, size: int) -> tuple[float, ...]:
        """
        Return the fine bounds of a cell of so many values; empty where it has the metric's own.
        """
        return ()

    def labels(self, *values: Any, **named: Any) -> C:
        """
        Return the cell of one label set, by position or by name. Keep it: an update on it costs a third of a look-up.

        Raises:
            LabelError: The labels are not the metric's.
        """
        key = tuple(map(str, values)) if values and not named else self._key(named, values)
        if len(key) != len(self.spec.labels):
            raise self._label_error(values or named)
        cell = self.cell(key)
        self._handles.add(cell)
        return cell

    bind = labels

    def cell_for(self, labels: Mapping[str, Any]) -> C:
        """
        Return the cell of the label set that an update named.
        """
        try:
            return self._cells[self._key(labels)]
        except TypeError:  # no string: lists have no hash
            return self._on_missing(self._key(labels))

    def _key(self, named: Mapping[str, Any], values: tuple[Any, ...] = ()) -> LabelSet:
        try:
            key = tuple([named[label] for label in self.spec.labels])
        except KeyError:
            raise self._label_error(named) from None
        if len(named) != len(key) or values:
            raise self._label_error(named)
        return key

    def check_label_names(self, names: Iterable[str]) -> None:
        """
        Raise LabelError unless these are the metric's label names.
        """
        if set(names) != set(self.spec.labels):
            raise self._label_error(names)

    def _label_error(self, given: Iterable[object]) -> LabelError:
        found = ", ".join(map(str, given)) or "none"
        wanted = ", ".join(self.spec.labels) or "none"
        return LabelError(f"{self.spec.name} has the labels {wanted}; this update gave {found}")

    def _on_missing(self, key: tuple[Any, ...]) -> C:
        cut = tuple(map(sanitize_label_value, key))
        cell = self._cells.get(cut)
        if cell is None:
            made = self._create_cell(cut)
            with self._lock:
                if cut in self._cells or len(self._cells) < self.max_label_sets:
                    return self._cells.setdefault(cut, made)
                made = self._create_cell((OVERFLOW,) * len(cut))
                cell = self._cells.setdefault(made.key, made)
            self._overflow()
        return cell

    def _overflow(self) -> None:
        self.overflowed += 1
        self.on_overflow(self)

    def items(self) -> list[tuple[LabelSet, C]]:
        """
        Return a copy of the label sets and their cells.
        """
        with self._lock:
            cells = self._cells.copy()  # in one step: a finaliser may add one at the next
        return list(cells.items())

    def keys_and_cells(self) -> tuple[list[LabelSet], list[C]]:
        """
        Return the label sets, and their cells in the same order.
        """
        with self._lock:
            cells = self._cells.copy()
        return list(cells), list(cells.values())

    def clear(self) -> None:
        """
        Reset the cells that `labels()` has returned, and drop all others.
        """
        self._lock, self.lock = RLock(), RLock()
        self.overflowed = 0
        kept = {key: cell for key, cell in self._cells.copy().items() if cell in self._handles}
        for cell in kept.values():
            cell.reset(self.lock)
            self._refit(cell)
        self._set_cells(kept)


class Counter(Family[CounterCell]):
    """
    A value that only grows: `inc(**labels)`, or `labels(...)` once and `inc()` on what it returns.
    """

    def __init__(self, spec: Metric) -> None:
        super().__init__(spec, CounterCell)

    def inc(self, amount: float = 1.0, **labels: Any) -> None:
        """
        Increment the counter of one label set.
        """
        self.cell_for(labels).inc(amount)


class Gauge(Family[GaugeCell]):
    """
    A value that goes up and down, by label set.
    """

    def __init__(self, spec: Metric) -> None:
        size = 2 if spec.workers == "latest" else 1
        super().__init__(spec, lambda lock, allocate: GaugeCell(lock, allocate, size))

    def inc(self, amount: float = 1.0, **labels: Any) -> None:
        """
        Increment the value of one label set.
        """
        self.cell_for(labels).inc(amount)

    def dec(self, amount: float = 1.0, **labels: Any) -> None:
        """
        Decrement the value of one label set.
        """
        self.cell_for(labels).dec(amount)

    def set(self, value: float, **labels: Any) -> None:
        """
        Set the value of one label set.
        """
        self.cell_for(labels).set(value)

    def set_to_current_time(self, **labels: Any) -> None:
        """
        Set the value of one label set to the current time, in seconds since the epoch.
        """
        self.cell_for(labels).set_to_current_time()

    def track_inprogress(self, **labels: Any) -> AbstractContextManager[None]:
        """
        Return a context manager that increments one label set on entry and decrements it on exit.
        """
        return self.cell_for(labels).track_inprogress()

    def replace(self, values: Mapping[LabelSet, float]) -> None:
        """
        Set these label sets, and remove all others.
        """
        for key in values:
            if len(key) != len(self.spec.labels):
                raise self._label_error(key)
        with self._lock:
            cells = self._cells.copy()
            gone = [cell for key, cell in cells.items() if key not in values]
            self._set_cells({key: cell for key, cell in cells.items() if key in values})
        for cell in gone:
            cell.mark_absent()
        for key, value in values.items():
            self.cell(key).set(value)

    def remove(self, key: LabelSet) -> None:
        """
        Remove one label set, until it is set again.
        """
        with self._lock:
            cells = self._cells.copy()
            gone = cells.pop(key, None)
            self._set_cells(cells)
        if gone is not None:
            gone.mark_absent()


class Histogram(Family[HistogramCell]):
    """
    Observations by bucket: `observe(seconds, **labels)`, or `time(...)` around a function or block.
    """

    def __init__(self, spec: Metric) -> None:
        self.has_fine = False  # whether some cells have finer buckets than its own
        super().__init__(spec, self._make)

    def _make(self, lock: LockLike, allocate: Callable[[int], Values]) -> HistogramCell:
        bounds, fold_down = self._buckets()
        return HistogramCell(bounds, lock, allocate, fold_down)

    def _refit(self, cell: HistogramCell) -> None:
        """
        Replace the buckets of a cell in which nothing was observed by those that a new one would have.
        """
        if cell.is_unused:
            cell.refit(*self._buckets())

    def _buckets(self) -> tuple[tuple[float, ...], FoldDown | None]:
        """
        Return the bounds for one more cell, and what adds them up to the metric's own where they are finer.
        """
        if grids.is_on and self._fine is not None and grids.take():
            self.has_fine = True
            return self._fine
        return self.spec.buckets, None

    @cached_property
    def _fine(self) -> tuple[tuple[float, ...], FoldDown] | None:
        bounds = fine_bounds(self.spec)
        return (bounds, FoldDown(bounds, self.spec.buckets)) if bounds else None

    def fine_bounds_of(self, size: int) -> tuple[float, ...]:
        return self._fine[0] if size != len(self.spec.buckets) + 3 and self._fine is not None else ()

    def observe(self, value: float, **labels: Any) -> None:
        """
        Record one observation of one label set.
        """
        self.cell_for(labels).observe(value)

    def record_exemplar(self, key: LabelSet, value: float, trace_id: str | None, at: float) -> None:
        """
        Set the exemplar of the observation's bucket.

        Args:
            key: The label set; its cell must have been updated before.
            value: What was observed.
            trace_id: 32 hexadecimal digits, of a trace that is sampled.
            at: Seconds since the epoch.
        """
        cell = self.cell(key)
        made = (
            self.allocator.allocate_exemplars(self, cell.key, len(self.spec.buckets) + 1)
            if cell.exemplars is None
            else None
        )
        index = bisect_left(self.spec.buckets, value)
        with cell.lock:
            if cell.exemplars is None:
                cell.exemplars = made
            exemplars = cell.exemplars
            if exemplars is not None:
                exemplars.put(index, trace_id or "", value, at)

    def time(self, **labels: Any) -> Timer:
        """
        Return a decorator and context manager that observes seconds. A label `status` that is not given is `success` or
        `error`, by how it ended.
        """
        return Timer(self, labels)


class CountedHistogram(Histogram):
    """
    A histogram and the counter of its observations, from one update.

    Its cells have one more label than the histogram, the last: the counter shows it, the histogram is the sum over it.
    The cap counts label sets without that label, so that counter and histogram always agree.
    """

    def __init__(self, spec: Metric, counted: Metric) -> None:
        super().__init__(spec)
        self.counter_spec = counted
        self.cell_spec = replace(spec, labels=(*spec.labels, counted.labels[-1]))
        self.on_clear: Callable[[], None] = _ignore
        self._histogram_keys: set[LabelSet] = set()

    def is_within_cap(self, *shown: str) -> bool:
        """
        Return whether these labels are within the cap, so that a caller may cache their cells.
        """
        return shown in self._histogram_keys

    def _on_missing(self, key: tuple[Any, ...]) -> HistogramCell:
        *shown, last = map(sanitize_label_value, key)
        cut = tuple(shown)
        with self._lock:
            is_over = cut not in self._histogram_keys and len(self._histogram_keys) >= self.max_label_sets
            if is_over:
                cut = (cut[0], *(OVERFLOW for _ in cut[1:]))
            self._histogram_keys.add(cut)
        if is_over:
            self._overflow()
        made = self._create_cell((*cut, last))
        return self._cells.setdefault(made.key, made)

    def clear(self) -> None:
        super().clear()
        self._histogram_keys = set()
        self.on_clear()


def sanitize_label_value(value: object) -> str:
    """
    Return a label value truncated, with secrets redacted and surrogates, as in odd file names, replaced for UTF-8.
    """
    text = _redactor.short(str(value), MAX_LABEL_LENGTH)
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _ignore(*given: object) -> None:
    return None


def _start_over_in_child() -> None:
    for family in list(_families):
        family.clear()


at_fork(after_in_child=_start_over_in_child)
