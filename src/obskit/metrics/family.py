"""
Give a metric its label sets: the look-up that updates take, the cap on its miss path, the page's samples.
"""

from __future__ import annotations

import sys
import weakref
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, aclosing
from dataclasses import replace
from functools import wraps
from threading import RLock, get_ident
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

from obskit.block_entries import Entries
from obskit.catalogue import Metric
from obskit.errors import LabelError
from obskit.forks import at_fork
from obskit.metrics.cells import CounterCell, GaugeCell, Guard, HistogramCell, MemoryExemplars, Values, in_memory
from obskit.observation import as_called, kind_of
from obskit.operation import OVERFLOW
from obskit.recorder import recorder
from obskit.redaction.redactor import Redactor

P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V")
C = TypeVar("C", CounterCell, GaugeCell, HistogramCell)
Labels = tuple[str, ...]

# Longer values are cut: a label is a name, and Prometheus keeps each value in memory for every series.
MAX_LABEL_LENGTH = 256
_redactor = Redactor()

_families: weakref.WeakSet[Family[Any]] = weakref.WeakSet()


class Home(Protocol):
    """
    Give the figures of cells their place.
    """

    def allocate(self, family: Family[Any], key: Labels, size: int) -> Values:
        """
        Give so many zeros a place.
        """

    def exemplars(self, family: Family[Any], key: Labels, slots: int) -> Any:
        """
        Give a cell's exemplars room: something with the `put()` of `MemoryExemplars`.
        """


class _Memory:
    def allocate(self, family: Family[Any], key: Labels, size: int) -> Values:
        return in_memory(size)

    def exemplars(self, family: Family[Any], key: Labels, slots: int) -> Any:
        return MemoryExemplars()


MEMORY: Home = _Memory()


class _Cells(dict[Labels, V]):
    """
    Find cells by label set, and ask for those that are not there.
    """

    __slots__ = ("_missing",)
    _missing: Callable[[tuple[Any, ...]], V]

    def __init__(self, missing: Callable[[tuple[Any, ...]], V], cells: Mapping[Labels, V]) -> None:
        super().__init__(cells)
        self._missing = missing

    def __missing__(self, key: Labels) -> V:
        return self._missing(key)


class Family(Generic[C]):
    """
    Hold the cells of one metric.

    Attributes:
        spec: Its row: name, type, labels.
        stored: The row as its cells have it, which may have a label more.
        name: The name on the page, with namespace and renames; set when a runtime takes it up.
        max_label_sets: The cap; label sets beyond it share one whose labels are all `_OVERFLOW`.
        overflowed: Updates that went there.
        lock: Guards the figures of all cells.
        home: Where their figures lie.
        cell: Finds the cell of a label set, or makes it while the cap allows. Ask the family for it each time.
    """

    cell: Callable[[Labels], C]

    def __init__(self, spec: Metric, new_cell: Callable[[Guard, Callable[[int], Values]], C]) -> None:
        self.spec = self.stored = spec
        self.name = spec.name
        self.max_label_sets = 1000
        self.overflowed = 0
        self.on_overflow: Callable[[Family[Any]], None] = _nothing
        self.lock: Guard = RLock()
        self.home = MEMORY
        self._new_cell: Callable[[Guard, Callable[[int], Values]], C] = new_cell
        self._keep({})
        self._handles: set[C] = set()
        self._lock = RLock()  # a finaliser may make a label set while its thread makes one
        if not spec.labels:
            self.labels()
        _families.add(self)

    def _keep(self, cells: Mapping[Labels, C]) -> None:
        self._cells: _Cells[C] = _Cells(self._missing, cells)
        # The dict's own method: a Python function around it would cost as much as all the rest of the look-up.
        self.cell = self._cells.__getitem__

    def _make(self, key: Labels) -> C:
        cell: C = self._new_cell(self.lock, lambda size: self.home.allocate(self, key, size))
        cell.key = key
        return cell

    def move(self, home: Home) -> None:
        """
        Let the figures find a place elsewhere, each with its next update.
        """
        self.home = home
        for _, cell in self.items():
            cell.detach()

    def labels(self, *values: Any, **named: Any) -> C:
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

    def named(self, labels: Mapping[str, Any]) -> C:
        """
        Find the cell of the label set that an update named.
        """
        try:
            return self._cells[self._key(labels)]
        except TypeError:  # no string: lists have no hash
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

    def _missing(self, key: tuple[Any, ...]) -> C:
        cut = tuple(map(label_text, key))
        cell = self._cells.get(cut)
        if cell is None:
            made = self._make(cut)
            with self._lock:
                if cut in self._cells or len(self._cells) < self.max_label_sets:
                    return self._cells.setdefault(cut, made)
                made = self._make((OVERFLOW,) * len(cut))
                cell = self._cells.setdefault(made.key, made)
            self._overflow()
        return cell

    def _overflow(self) -> None:
        self.overflowed += 1
        self.on_overflow(self)

    def items(self) -> list[tuple[Labels, C]]:
        """
        List label sets and cells as they are at this moment.
        """
        with self._lock:
            cells = self._cells.copy()  # in one step: a finaliser may add to them at the next
        return list(cells.items())

    def listed(self) -> tuple[list[Labels], list[C]]:
        """
        List label sets, and cells in the same order.
        """
        with self._lock:
            cells = self._cells.copy()
        return list(cells), list(cells.values())

    def clear(self) -> None:
        """
        Zero the handles that were given out, and forget every other label set.
        """
        self._lock, self.lock = RLock(), RLock()
        self.overflowed = 0
        kept = {key: cell for key, cell in self._cells.copy().items() if cell in self._handles}
        for cell in kept.values():
            cell.zero(self.lock)
        self._keep(kept)


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
        size = 2 if spec.workers == "latest" else 1
        super().__init__(spec, lambda lock, allocate: GaugeCell(lock, allocate, size))

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

    def set_to_current_time(self, **labels: Any) -> None:
        """
        Set the figure of one label set to now, in seconds since the epoch.
        """
        self.named(labels).set_to_current_time()

    def track_inprogress(self, **labels: Any) -> AbstractContextManager[None]:
        """
        Count up in one label set while the block runs, and down after it.
        """
        return self.named(labels).track_inprogress()

    def replace(self, figures: Mapping[Labels, float]) -> None:
        """
        Take these label sets and figures for all there are; label sets that are not among them vanish.
        """
        for key in figures:
            if len(key) != len(self.spec.labels):
                raise self._wrong(key)
        with self._lock:
            cells = self._cells.copy()
            gone = [cell for key, cell in cells.items() if key not in figures]
            self._keep({key: cell for key, cell in cells.items() if key in figures})
        for cell in gone:
            cell.vanish()
        for key, value in figures.items():
            self.cell(key).set(value)

    def leave_out(self, key: Labels) -> None:
        """
        Take one label set away, until it is set again.
        """
        with self._lock:
            cells = self._cells.copy()
            gone = cells.pop(key, None)
            self._keep(cells)
        if gone is not None:
            gone.vanish()


class Histogram(Family[HistogramCell]):
    """
    Count observations by size: `observe(seconds, **labels)`, or `time(...)` around a function or block.
    """

    def __init__(self, spec: Metric) -> None:
        super().__init__(spec, lambda lock, allocate: HistogramCell(spec.buckets, lock, allocate))

    def observe(self, value: float, **labels: Any) -> None:
        """
        Count one observation of one label set.
        """
        self.named(labels).observe(value)

    def mark(self, key: Labels, value: float, trace_id: str | None, at: float) -> None:
        """
        Keep an observation as its bucket's exemplar, until the next one.

        Args:
            key: The label set, which has been updated before.
            value: What was observed.
            trace_id: 32 hexadecimal digits, of a trace that somebody keeps.
            at: Seconds since the epoch.
        """
        cell = self.cell(key)
        made = self.home.exemplars(self, cell.key, len(self.spec.buckets) + 1) if cell.exemplars is None else None
        index = bisect_left(self.spec.buckets, value)
        with cell.lock:
            if cell.exemplars is None:
                cell.exemplars = made
            exemplars = cell.exemplars
            if exemplars is not None:
                exemplars.put(index, trace_id or "", value, at)

    def time(self, **labels: Any) -> Timer:
        """
        Time a function or a block, in seconds; a label `status` that is not given becomes success or error.
        """
        return Timer(self, labels)


class Timer:
    """
    Observe the seconds of a block, or of a function, coroutine function, generator or asynchronous generator.

    A generator is timed from the first value asked for to its end.
    """

    def __init__(self, histogram: Histogram, labels: dict[str, Any]) -> None:
        self._fills_status = "status" in histogram.spec.labels and "status" not in labels
        histogram.check(labels.keys() | ({"status"} if self._fills_status else set()))
        self._histogram = histogram
        self._labels = labels
        self._entries: Entries[tuple[float, int]] = Entries()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        if isinstance(function, (classmethod, staticmethod)):
            return type(function)(self(function.__func__))
        wrap: Callable[[Callable[..., Any]], Callable[..., Any]] = {
            "function": self._function,
            "coroutine": self._coroutine,
            "generator": self._generator,
            "async generator": self._async_generator,
        }[kind_of(function)]
        return as_called(function, wraps(function)(wrap(function)))

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
                    step, sent = stream.asend, None
                    while True:
                        try:
                            piece = await step(sent)
                        except StopAsyncIteration:
                            return
                        try:
                            step, sent = stream.asend, (yield piece)
                        except GeneratorExit:
                            raise
                        except BaseException as thrown:
                            step, sent = stream.athrow, thrown

        return timed

    def __enter__(self) -> Timer:
        self._entries.put(sys._getframe(1), (recorder.clock(), get_ident()))
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        at, labels = recorder.clock(), self._labels
        if self._fills_status:
            labels = {**labels, "status": "success" if kind in (None, GeneratorExit) else "error"}

        def observe(entered: tuple[float, int]) -> None:
            self._histogram.observe(at - entered[0], **labels)

        found = self._entries.take(2, lambda entered: entered[1] == get_ident())
        observe(found) if found is not None else self._entries.note(observe)
        if self._entries.noted:
            self._entries.settle()


class CountedHistogram(Histogram):
    """
    Give a histogram and the counter of its observations from one update.

    Its cells carry one label more than the histogram shows, last: the counter shows it, the histogram adds up over
    it. The cap is taken before that label, so that counter and histogram always agree.
    """

    def __init__(self, spec: Metric, counted: Metric) -> None:
        super().__init__(spec)
        self.counted = counted
        self.stored = replace(spec, labels=(*spec.labels, counted.labels[-1]))
        self.forget: Callable[[], None] = _nothing
        self._shown: set[Labels] = set()

    def holds(self, *shown: str) -> bool:
        """
        Tell whether these labels are within the cap, so that their cells may be kept.
        """
        return shown in self._shown

    def _missing(self, key: tuple[Any, ...]) -> HistogramCell:
        *shown, last = map(label_text, key)
        cut = tuple(shown)
        with self._lock:
            is_over = cut not in self._shown and len(self._shown) >= self.max_label_sets
            if is_over:
                cut = (cut[0], *(OVERFLOW for _ in cut[1:]))
            self._shown.add(cut)
        if is_over:
            self._overflow()
        made = self._make((*cut, last))
        return self._cells.setdefault(made.key, made)

    def clear(self) -> None:
        """
        Forget every label set.
        """
        super().clear()
        self._shown = set()
        self.forget()


def label_text(value: object) -> str:
    """
    Cut a label's value, hide what looks like a secret, and replace what UTF-8 cannot say: the names of odd files and
    variables hold surrogates.
    """
    text = _redactor.short(str(value), MAX_LABEL_LENGTH)
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _nothing(*given: object) -> None:
    return None


def _start_over_in_child() -> None:
    for family in list(_families):
        family.clear()


at_fork(after_in_child=_start_over_in_child)
