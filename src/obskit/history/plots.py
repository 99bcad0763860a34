"""
Signals at the end of each step of a stretch of time. A step that is over has the same value whenever it is asked for:
it is remembered, so that whoever looks at a plot again and again pays for its last step alone.

What is counted is added up exactly, each increase once; other signals are evaluated as rules are.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from math import inf
from typing import Any, NamedTuple

from obskit.history.columns import Asked, Column, settled_until
from obskit.history.files import HOUR_SECONDS, MINUTE_SECONDS
from obskit.history.reader import Reader, StoredPoint, StoredSampling
from obskit.history.samples import HistorySamples
from obskit.history.tallies import Between
from obskit.signals.counted import Quantile, Rise
from obskit.signals.page import Page
from obskit.signals.samples import LabelPairs, Samples, Series
from obskit.signals.selection import Values
from obskit.signals.signal import Signal
from obskit.signals.windows import Span as Window
from obskit.storage.periods import Span

# Values that are remembered, of all plots together: some 20 MB.
MAX_VALUES = 100_000


class Step(NamedTuple):
    """
    A signal at one step.

    Attributes:
        values: At its end, by label set.
        between: Of a quantile, between what it lies.
    """

    values: Values
    between: dict[LabelPairs, Between]


class Plots:
    """
    Steps of signals, as far as they are remembered. Not thread-safe.

    Args:
        reader: Of the history.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.seen = Seen(reader)
        self._plots: OrderedDict[tuple[Signal, float], Plot] = OrderedDict()

    def steps(self, signal: Signal, starts: Sequence[float], length: float, now: float) -> list[Step]:
        """
        Return a signal at the end of each step, or of what there is of the last one.

        Raises:
            HistoryError: Reading takes too long.
        """
        key = signal, length
        plot = self._plots.pop(key, None) or Plot(self._reader, self.seen, signal, length)
        found = plot.steps(starts, now)
        self._plots[key] = plot
        while len(self._plots) > 1 and sum(plot.size for plot in self._plots.values()) > MAX_VALUES:
            self._plots.popitem(last=False)
        return found


class Plot:
    """
    One signal in steps of one length.
    """

    def __init__(self, reader: Reader, seen: Seen, signal: Signal, length: float) -> None:
        self._reader, self._seen, self._signal, self._length = reader, seen, signal, length
        self._windows = [_widened(window, length) for window in _windows_of(signal)]
        self._step = _step_for(reader, [length, *(it for window in self._windows for it in window if it)])
        self._columns: dict[Asked, Column] = {}
        self._steps: dict[float, Step] = {}

    @property
    def size(self) -> int:
        """
        How many values are remembered.
        """
        return sum(len(step.values) + 2 * len(step.between) for step in self._steps.values())

    def steps(self, starts: Sequence[float], now: float) -> list[Step]:
        """
        Return what there is at the end of each step.
        """
        missing = [start for start in starts if start not in self._steps]
        if missing:
            unread = self._reader.unread
            found = self._evaluated(missing, now)
            if unread == self._reader.unread:
                settled = settled_until(now)
                known = {start: step for start, step in found.items() if start + self._length <= settled}
                self._steps = {start: step for start, step in self._steps.items() if start >= starts[0]} | known
        else:
            found = {}
        return [found[start] if start in found else self._steps[start] for start in starts]

    def _evaluated(self, starts: Sequence[float], now: float) -> dict[float, Step]:
        reach = max((sum(window) for window in self._windows), default=0.0)
        evaluation = _Evaluation(self, self._reader, self._seen, starts[0] - reach - self._step, now)
        told = evaluation.told(self._signal)
        return {start: evaluation.step(told, start) for start in starts}

    def column(self, asked: Asked) -> Column:
        """
        Return what is added up of a metric.
        """
        return self._columns.setdefault(asked, Column(asked, self._step))

    @property
    def length(self) -> float:
        """
        Seconds of a step.
        """
        return self._length

    @property
    def step(self) -> int:
        """
        Seconds of the steps that are read.
        """
        return self._step


class _Evaluation:
    """
    One evaluation of a plot's steps: each metric is read once.
    """

    def __init__(self, plot: Plot, reader: Reader, seen: Seen, since: float, now: float) -> None:
        self._plot, self._reader, self.seen = plot, reader, seen
        self._since, self._now = since, now
        self._points: dict[tuple[str, Span, int, bool], list[StoredPoint]] = {}
        self._loaded: set[Asked] = set()
        self._samples = _Loaded(HistorySamples(reader, plot.step), Span(since - MINUTE_SECONDS, now), seen)
        self._start = self._end = 0.0
        seen.load(since, now)

    def told(self, signal: Signal) -> Signal:
        """
        Return the signal with all that is counted in place of how it would be estimated from samples.
        """
        if isinstance(signal, Rise) and (signal.selection.suffix != "_bucket" or signal.selection.bound is not None):
            return _Told(signal, self)
        if isinstance(signal, Quantile):
            return _Told(signal, self)
        parts: dict[str, Any] = (
            {
                field.name: self.told(getattr(signal, field.name))
                for field in fields(signal)
                if isinstance(getattr(signal, field.name), Signal)
            }
            if is_dataclass(signal)
            else {}
        )
        return replace(signal, **parts) if parts and is_dataclass(signal) else signal

    def step(self, told: Signal, start: float) -> Step:
        """
        Return what there is at the end of a step, or of what there is of it.
        """
        end = start + self._plot.length
        last = self.seen.last
        self._start, self._end = start, last if start < last < end else end
        if not all(
            window.is_covered(self.seen, self._end)
            for window in told.spans()
            if window.is_guarded and window.window > self._plot.length
        ):
            return Step({}, {})
        between = self.between(told.signal) if isinstance(told, _Told) and isinstance(told.signal, Quantile) else {}
        return Step({key: it.value for key, it in between.items()} or told.values(self._samples, self._end), between)

    def risen(self, signal: Rise) -> Values:
        """
        Return by how much counters rose in the window of the present step.
        """
        selection = signal.selection
        asked = Asked(selection.metric.name, selection.suffix, selection.where, signal.grouping.labels, selection.bound)
        start, end = self._window(signal.span)
        if end <= start or not self.seen.has_any(start, end):
            return {}
        found = self._column(asked).taken(start, end, self.seen.last)
        divisor = end - start if signal.per_second else 1.0
        return {group: amount * found.share / divisor for group, amount in found.sums.items()}

    def between(self, signal: Quantile) -> dict[LabelPairs, Between]:
        """
        Return what is known of a quantile in the window of the present step.
        """
        asked = Asked(signal.selection.metric.name, "_bucket", signal.selection.where, signal.grouping.labels)
        start, end = self._window(signal.span)
        if end <= start:
            return {}
        tallies = self._column(asked).taken(start, end, self.seen.last).tallies
        found = {group: tally.quantile(signal.share) for group, tally in tallies.items()}
        return {group: it for group, it in found.items() if it is not None}

    def _window(self, span: Window) -> tuple[float, float]:
        window, offset = _widened(span, self._plot.length)
        end = self._end - offset
        is_of_the_step = window == self._plot.length and not offset
        return (self._start if is_of_the_step else end - window), end

    def _column(self, asked: Asked) -> Column:
        column = self._plot.column(asked)
        if asked not in self._loaded:
            column.load(self._reader, self._points_of, self._since, self._now)
            self._loaded.add(asked)
        return column

    def _points_of(self, name: str, span: Span, step: int, with_fine: bool) -> list[StoredPoint]:
        key = name, span, step, with_fine
        if key not in self._points:
            self._points[key] = list(self._reader.points(name, span, step, with_fine=with_fine))
        return self._points[key]


@dataclass(frozen=True, eq=False)
class _Told(Signal):
    """
    A signal of what is counted, by exact sums.
    """

    signal: Rise | Quantile
    evaluation: _Evaluation

    @property
    def unit(self) -> str:
        return self.signal.unit

    @property
    def labels(self) -> tuple[str, ...]:
        return self.signal.labels

    def spans(self) -> Iterator[Window]:
        yield from self.signal.spans()

    def requests(self) -> Signal | None:
        found = self.signal.requests()
        return None if found is None else self.evaluation.told(found)

    def render(self, page: Page) -> str:
        return self.signal.render(page)

    def values(self, samples: Samples, at: float) -> Values:
        if isinstance(self.signal, Rise):
            return self.evaluation.risen(self.signal)
        return {key: it.value for key, it in self.evaluation.between(self.signal).items()}


class Seen:
    """
    Which part of the time was sampled, of which all that is settled is remembered.

    Attributes:
        every: Seconds between two samplings.
        last: When the last sampling was.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader, self.every = reader, float(reader.every)
        self._since, self._until, self.last = inf, inf, 0.0
        self._settled: list[tuple[float, float]] = []
        self.spans: list[tuple[float, float]] = []

    def load(self, since: float, now: float) -> None:
        """
        Have what there is since a moment.

        Raises:
            HistoryError: Reading takes too long.
        """
        settled = settled_until(now)
        if not (self._since <= since and settled - HOUR_SECONDS <= self._until <= settled):
            self._since = self._until = min(since, self._since)
            self._settled = []
        found = self._reader.samplings(Span(self._until, now), self._reader.every)
        self._until = min([settled, *(float(it.at) for it in found if it.at < settled < it.at + it.step)])
        self._settled = joined(self._settled, (it for it in found if it.at < self._until), self._reader.every)
        self.spans = joined(self._settled, (it for it in found if it.at >= self._until), self._reader.every)
        self.last = self.spans[-1][1] if self.spans else now

    def has_any(self, start: float, end: float) -> bool:
        """
        Return whether there was a sampling in a window.
        """
        place = bisect_right(self.spans, (end, end)) - 1
        return place >= 0 and self.spans[place][1] > start and self.spans[place][0] < end

    def was_sampled(self, at: float) -> bool:
        """
        Return whether there was a sampling in the `every` seconds that end at a moment.
        """
        return self.has_any(at - self.every, at)

    def latest(self) -> float:
        """
        Return when the last sampling was.
        """
        return self.last

    def select(self, name: str, start: float, end: float) -> Iterator[Series]:
        """
        Yield nothing: this knows when there were samplings, and not of what.
        """
        yield from ()


def joined(
    spans: Sequence[tuple[float, float]], samplings: Iterator[StoredSampling], every: int
) -> list[tuple[float, float]]:
    """
    Add samplings to parts that were seen: a gap is where no sample was for over two intervals.
    """
    found = list(spans)
    for at, end in sorted((float(it.at), float(it.at + it.step)) for it in samplings):
        if found and at - found[-1][1] <= every:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((at, end))
    return found


class _Loaded:
    """
    Samples of which each name is read once, for all moments that are asked for.
    """

    def __init__(self, samples: HistorySamples, span: Span, seen: Seen) -> None:
        self.every = samples.every
        self._samples, self._span, self._seen = samples, span, seen
        self._names: dict[str, list[Series]] = {}

    def latest(self) -> float:
        """
        Return when the last sampling was.
        """
        return self._seen.last

    def was_sampled(self, at: float) -> bool:
        """
        Return whether there was a sampling in the `every` seconds that end at a moment.
        """
        return self._seen.has_any(at - self.every, at)

    def select(self, name: str, start: float, end: float) -> Iterator[Series]:
        """
        Yield the label sets of a name that have samples after `start` and not after `end`, with those samples.
        """
        if name not in self._names:
            self._names[name] = list(self._samples.select(name, self._span.start, self._span.end))
        for series in self._names[name]:
            first, last = bisect_right(series.times, start), bisect_right(series.times, end)
            if first < last:
                yield Series(series.labels, series.times[first:last], series.values[first:last])


def _windows_of(signal: object) -> Iterator[Window]:
    """
    Yield the windows of a signal, and of all that it is made of.
    """
    for part in vars(signal).values() if isinstance(signal, Signal) else ():
        if isinstance(part, Window):
            yield part
        yield from _windows_of(part)
    if (before := getattr(signal, "before_seconds", None)) is not None:
        yield Window(before, before)


def _widened(window: Window, length: float) -> tuple[float, float]:
    """
    Return a window and its offset, made as long as a step where they are shorter: else most of a step would not be
    looked at.
    """
    if window.window >= length:
        return window.window, window.offset
    return length, window.offset * length / window.window


def _step_for(reader: Reader, lengths: Sequence[float]) -> int:
    """
    Return the longest step that is kept of which all these lengths are made.
    """
    fitting = [step for step in reader.steps if all(length % step == 0 for length in lengths)]
    return max(fitting, default=reader.every)
