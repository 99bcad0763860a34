"""
Give a metric its label sets: the look-up that updates take, the cap on its miss path, the page's samples.
"""

from __future__ import annotations

import inspect
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from functools import wraps
from threading import Lock
from typing import Any, Generic, ParamSpec, TypeVar, cast

from obskit.catalogue import Metric
from obskit.errors import LabelError
from obskit.metrics.cells import CounterCell, GaugeCell, HistogramCell
from obskit.operation import OVERFLOW
from obskit.recorder import recorder

P = ParamSpec("P")
R = TypeVar("R")
Cell = TypeVar("Cell", CounterCell, GaugeCell, HistogramCell)
Labels = tuple[str, ...]

# Longer values are cut: a label is a name, and Prometheus keeps each value in memory for every series.
MAX_LABEL_LENGTH = 256

_families: weakref.WeakSet[Family[Any]] = weakref.WeakSet()


class Family(Generic[Cell]):
    """
    Hold the cells of one metric.

    Attributes:
        spec: Its row: name, type, labels.
        name: The name on the page, with namespace and renames; set when a runtime takes it up.
        max_label_sets: The cap; label sets beyond it share one whose labels are all `_OVERFLOW`.
        overflowed: Updates that went there.
    """

    def __init__(self, spec: Metric, new_cell: Callable[[], Cell]) -> None:
        self.spec = spec
        self.name = spec.name
        self.max_label_sets = 1000
        self.overflowed = 0
        self._new_cell: Callable[[], Cell] = new_cell
        self._cells: dict[Labels, Cell] = {}
        self._handles: set[Cell] = set()
        self._lock = Lock()
        if not spec.labels:
            self.labels()
        _families.add(self)

    def labels(self, *values: Any, **named: Any) -> Cell:
        """
        Give the handle of one label set, by position or by name. Keep it: its updates cost a third of a look-up.

        Raises:
            LabelError: The labels are not the metric's.
        """
        key = tuple(map(str, values)) if values and not named else self._key(named, values)
        if len(key) != len(self.spec.labels):
            raise self._wrong(values or named)
        cell = self.cell(key)
        self._handles.add(cell)
        return cell

    bind = labels

    def cell(self, key: Labels) -> Cell:
        """
        Find the cell of a label set, or make it while the cap allows.
        """
        try:
            return self._cells[key]
        except KeyError:
            return self._missing(key)

    def named(self, labels: Mapping[str, Any]) -> Cell:
        """
        Find the cell of the label set that an update named.
        """
        try:
            return self._cells[self._key(labels)]
        except (KeyError, TypeError):  # not there yet, or no string: lists have no hash
            return self._missing(self._key(labels))

    def _key(self, named: Mapping[str, Any], values: tuple[Any, ...] = ()) -> Labels:
        try:
            key = tuple([named[label] for label in self.spec.labels])
        except KeyError:
            raise self._wrong(named) from None
        if len(named) != len(key) or values:
            raise self._wrong(named)
        return key

    def check(self, names: Iterable[str]) -> None:
        """
        Refuse label names that are not the metric's.
        """
        if set(names) != set(self.spec.labels):
            raise self._wrong(names)

    def _wrong(self, given: Iterable[object]) -> LabelError:
        found = ", ".join(map(str, given)) or "none"
        wanted = ", ".join(self.spec.labels) or "none"
        return LabelError(f"{self.spec.name} has the labels {wanted}; this update gave {found}")

    def _missing(self, key: tuple[Any, ...]) -> Cell:
        cut = tuple(map(_text, key))
        with self._lock:
            cell = self._cells.get(cut)
            if cell is None:
                if len(self._cells) >= self.max_label_sets:
                    cut = (OVERFLOW,) * len(cut)
                    self.overflowed += 1
                    cell = self._cells.get(cut)
                if cell is None:
                    cell = self._cells[cut] = self._new_cell()
            return cell

    def label_sets(self) -> int:
        """
        Count the label sets, the one for overflow included.
        """
        return len(self._cells)

    def items(self) -> list[tuple[Labels, Cell]]:
        """
        List label sets and cells as they are at this moment.
        """
        with self._lock:
            return list(self._cells.items())

    def clear(self) -> None:
        """
        Zero the handles that were given out, and forget every other label set.
        """
        self._lock = Lock()
        self.overflowed = 0
        kept = {key: cell for key, cell in self._cells.items() if cell in self._handles}
        for cell in kept.values():
            cell.zero()
        self._cells = kept


class Counter(Family[CounterCell]):
    """
    Count what happens: `inc(**labels)`, or `labels(...)` once and `inc()` on the handle.
    """

    def __init__(self, spec: Metric) -> None:
        super().__init__(spec, CounterCell)

    def inc(self, amount: float = 1.0, **labels: Any) -> None:
        """
        Add to the count of one label set.
        """
        self.named(labels).inc(amount)


class Gauge(Family[GaugeCell]):
    """
    Keep a figure that goes up and down, by label set.
    """

    def __init__(self, spec: Metric) -> None:
        super().__init__(spec, GaugeCell)

    def inc(self, amount: float = 1.0, **labels: Any) -> None:
        """
        Add to the figure of one label set.
        """
        self.named(labels).inc(amount)

    def dec(self, amount: float = 1.0, **labels: Any) -> None:
        """
        Take from the figure of one label set.
        """
        self.named(labels).dec(amount)

    def set(self, value: float, **labels: Any) -> None:
        """
        Replace the figure of one label set.
        """
        self.named(labels).set(value)

    def replace(self, figures: Mapping[Labels, float]) -> None:
        """
        Take these label sets and figures for all there are; label sets that are not among them vanish.
        """
        for key in figures:
            if len(key) != len(self.spec.labels):
                raise self._wrong(key)
        with self._lock:
            self._cells = {key: cell for key, cell in self._cells.items() if key in figures}
        for key, value in figures.items():
            self.cell(key).set(value)


class Histogram(Family[HistogramCell]):
    """
    Count observations by size: `observe(seconds, **labels)`, or `time(...)` around a function or block.
    """

    def __init__(self, spec: Metric) -> None:
        super().__init__(spec, lambda: HistogramCell(spec.buckets))

    def observe(self, value: float, **labels: Any) -> None:
        """
        Count one observation of one label set.
        """
        self.named(labels).observe(value)

    def time(self, **labels: Any) -> Timer:
        """
        Time a function or a block, in seconds; a label `status` that is not given becomes success or error.
        """
        return Timer(self, labels)


class Timer:
    """
    Observe the seconds of a block, or of a function, coroutine function, generator or asynchronous generator.

    A generator is timed from the first value asked for to its end. `asend()` does not reach an asynchronous one.
    """

    def __init__(self, histogram: Histogram, labels: dict[str, Any]) -> None:
        self._fills_status = "status" in histogram.spec.labels and "status" not in labels
        histogram.check(labels.keys() | ({"status"} if self._fills_status else set()))
        self._histogram = histogram
        self._labels = labels
        self._started: list[float] = []

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        wrap: Callable[[Callable[..., Any]], Callable[..., Any]] = self._function
        if inspect.iscoroutinefunction(function):
            wrap = self._coroutine
        elif inspect.isgeneratorfunction(function):
            wrap = self._generator
        elif inspect.isasyncgenfunction(function):
            wrap = self._async_generator
        return cast(Callable[P, R], wraps(function)(wrap(function)))

    def _function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            with Timer(self._histogram, self._labels):
                return function(*args, **kwargs)

        return timed

    def _coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def timed(*args: Any, **kwargs: Any) -> Any:
            with Timer(self._histogram, self._labels):
                return await function(*args, **kwargs)

        return timed

    def _generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            with Timer(self._histogram, self._labels):
                return (yield from function(*args, **kwargs))

        return timed

    def _async_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def timed(*args: Any, **kwargs: Any) -> Any:
            with Timer(self._histogram, self._labels):
                async with aclosing(function(*args, **kwargs)) as stream:
                    async for piece in stream:
                        yield piece

        return timed

    def __enter__(self) -> Timer:
        self._started.append(recorder.clock())
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        seconds = recorder.clock() - self._started.pop()
        labels = self._labels
        if self._fills_status:
            labels = {**labels, "status": "success" if kind in (None, GeneratorExit) else "error"}
        self._histogram.observe(seconds, **labels)


class CountedHistogram(Histogram):
    """
    Give a histogram and the counter of its observations from one update.

    Its cells carry one label more than the histogram shows, last: the counter shows it, the histogram adds up over
    it. The cap is taken before that label, so that counter and histogram always agree.
    """

    def __init__(self, spec: Metric, counted: Metric) -> None:
        super().__init__(spec)
        self.counted = counted
        self.forget: Callable[[], None] = _nothing
        self._shown: set[Labels] = set()

    def holds(self, *shown: str) -> bool:
        """
        Tell whether these labels are within the cap, so that their cells may be kept.
        """
        return shown in self._shown

    def _missing(self, key: tuple[Any, ...]) -> HistogramCell:
        *shown, last = map(_text, key)
        with self._lock:
            cut = tuple(shown)
            if cut not in self._shown:
                if len(self._shown) >= self.max_label_sets:
                    cut = (cut[0], *(OVERFLOW for _ in cut[1:]))
                    self.overflowed += 1
                self._shown.add(cut)
            return self._cells.setdefault((*cut, last), self._new_cell())

    def label_sets(self) -> int:
        """
        Count the label sets of the histogram.
        """
        return len(self._shown)

    def clear(self) -> None:
        """
        Forget every label set.
        """
        super().clear()
        self._shown = set()
        self.forget()

    def merged(self) -> Iterator[tuple[Labels, list[int], float]]:
        """
        Add the cells up over the last label.
        """
        merged: dict[Labels, tuple[list[int], float]] = {}
        for key, cell in self.items():
            buckets, total = cell.read()
            known, sum_ = merged.get(key[:-1], ([0] * len(buckets), 0.0))
            merged[key[:-1]] = [a + b for a, b in zip(known, buckets, strict=True)], sum_ + total
        for key, (buckets, total) in merged.items():
            yield key, buckets, total


def _text(value: object) -> str:
    """
    Cut a label's value, and replace what UTF-8 cannot say: the names of odd files and variables hold surrogates.
    """
    text = str(value)[:MAX_LABEL_LENGTH]
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _nothing() -> None:
    return None


def _start_over_in_child() -> None:
    for family in list(_families):
        family.clear()


os.register_at_fork(after_in_child=_start_over_in_child)
