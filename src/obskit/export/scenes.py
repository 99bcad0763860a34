"""
Figures that make a condition hold, just, and just not: what rules are tried with.

A scene is made of stretches. In each, every figure grows evenly or stays, so that the signal settles where it is
wanted: under the threshold, over it, and under it again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from obskit.catalogue import Metric
from obskit.errors import SignalError
from obskit.metrics.family_renderer import go_float
from obskit.signals.counted import First, Quantile, Rise
from obskit.signals.derived import Difference, Ratio
from obskit.signals.gauged import Age, Forecast, Growth, Level, TimeLeft
from obskit.signals.matching import Matcher
from obskit.signals.page import Page
from obskit.signals.samples import LabelPairs, MemorySamples
from obskit.signals.selection import Selection
from obskit.signals.signal import Against, AtLeast, Signal
from obskit.signals.units import SHARE
from obskit.time.durations import duration_text

# How far from the threshold a figure is, as shares of it: less than a threshold of half or twice as much. No window
# has the threshold itself on its way from one to the other, where versions of Prometheus would differ by a rounding.
NEAR_BELOW, NEAR_ABOVE = 0.3, 0.2618
# Values of labels that read well; the first is usual.
_VALUES = {
    "component": ("database", "disk"),
    "endpoint": ("/orders", "/reports"),
    "exception": ("ValueError", "KeyError"),
    "method": ("GET", "POST"),
    "model": ("small", "large"),
    "path": ("/", "data"),
    "service": ("assistant", "search"),
    "status": ("200", "500", "404", "403", "success", "error", "failed", "aborted", "ok"),
}
_OTHERS = ("one", "two", "three", "0", "1", "a", "b")

Labels: TypeAlias = Mapping[str, str]


class Piece(NamedTuple):
    """
    Samples of one series that follow each other: the first value, what each next one has more, how many there are.
    """

    value: float
    step: float
    length: int


class SeriesKey(NamedTuple):
    """
    One series, by the catalogue's names.
    """

    metric: Metric
    suffix: str
    labels: LabelPairs

    @property
    def name(self) -> str:
        """
        Return the name that samples have it under.
        """
        return self.metric.name + self.suffix


@dataclass
class Scene:
    """
    Series over stretches of time.

    Attributes:
        counts: How many samples each stretch has.
        every_seconds: Between two samples.
        series: The pieces of each series, a stretch each; None where it is not there.
    """

    counts: tuple[int, ...]
    every_seconds: float
    series: dict[SeriesKey, list[Piece | None]] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """
        Return when the last sample is.
        """
        return (sum(self.counts) - 1) * self.every_seconds

    def samples(self) -> MemorySamples:
        """
        Return the samples, for signals.
        """
        found = {(key.name, key.labels): list(self._points(pieces)) for key, pieces in self.series.items()}
        found["up", ()] = [(place * self.every_seconds, 1.0) for place in range(sum(self.counts))]
        return MemorySamples(found, duration_text(self.every_seconds))

    def _points(self, pieces: Iterable[Piece | None]) -> Iterator[tuple[float, float]]:
        place = 0
        for piece, count in zip(pieces, self.counts, strict=True):
            if piece is not None:
                value = piece.value
                for after in range(count):
                    yield (place + after) * self.every_seconds, value
                    value += piece.step
            place += count

    def add_counter(self, key: SeriesKey, steps: Sequence[float]) -> None:
        """
        Add what grows by so much a sample, a figure a stretch.
        """
        value, pieces = 0.0, []
        for step, count in zip(steps, self.counts, strict=True):
            pieces.append(Piece(value + step, step, count))
            value += step * count
        self.series[key] = [*pieces]

    def add_slope(self, key: SeriesKey, steps: Sequence[float]) -> None:
        """
        Add a gauge that grows by so much a sample, or shrinks, and stays above 0.
        """
        self.add_counter(key, steps)
        far = 2 * sum(abs(step) * count for step, count in zip(steps, self.counts, strict=True))
        self.series[key] = [it and it._replace(value=it.value + far) for it in self.series[key]]

    def add_gauge(self, key: SeriesKey, values: Sequence[float | None]) -> None:
        """
        Add what stays where it is in each stretch; None: it is not there.
        """
        self.series[key] = [
            None if value is None else Piece(value, 0.0, count)
            for value, count in zip(values, self.counts, strict=True)
        ]

    def add_moment(self, key: SeriesKey, ages: Sequence[float]) -> None:
        """
        Add a time that is always so many seconds ago.
        """
        place, pieces = 0, []
        for age, count in zip(ages, self.counts, strict=True):
            pieces.append(Piece(place * self.every_seconds - age, self.every_seconds, count))
            place += count
        self.series[key] = [*pieces]


class Play:
    """
    Fill a scene so that a signal has the values that are wanted.

    Args:
        scene: What is filled.
        page: Whose bounds histograms have.
        volume: How many are counted in a window where a share is wanted of them.
    """

    def __init__(self, scene: Scene, page: Page, volume: float) -> None:
        self._scene, self._page, self._volume = scene, page, volume

    def play(self, signal: Signal, wanted: Sequence[float], labels: Labels) -> None:
        """
        Add the series of one label set.

        Args:
            signal: What is to have a value.
            wanted: It, in each stretch.
            labels: Of the signal.
        """
        match signal:
            case AtLeast():
                self.play(signal.signal, wanted, labels)
            case Against():
                self._against(signal, wanted, labels)
            case Ratio():
                self._ratio(signal, wanted, labels)
            case Rise():
                per_window = [value * (signal.span.window if signal.per_second else 1.0) for value in wanted]
                self._rise(signal, per_window, labels)
            case First():
                self._first(signal, wanted, labels)
            case Level():
                self._level(signal, wanted, labels)
            case Age():
                self._scene.add_moment(self.key(signal.selection, labels), wanted)
            case TimeLeft():
                self._scene.add_moment(self.key(signal.selection, labels), [-left for left in wanted])
            case Growth():
                self._growth(signal, wanted, labels)
            case _:
                raise SignalError(f"no figures are known for {type(signal).__name__}")

    def _against(self, signal: Against, wanted: Sequence[float], labels: Labels) -> None:
        usual, now = self._volume, bare(signal.now)
        if not isinstance(now, Rise):
            usual = 0.01 if now.unit == SHARE else 1.0
        elif now.per_second:
            usual /= now.span.window
        self.play(signal.now, [usual * value for value in wanted], labels)

    def _ratio(self, signal: Ratio, wanted: Sequence[float], labels: Labels) -> None:
        part, whole = signal.part, signal.whole
        if isinstance(part, Level) and isinstance(whole, Level):
            size = 1e9 if whole.unit == "bytes" else 1000.0
            self._level(whole, [size for _ in wanted], labels)
            self._level(part, [size * value for value in wanted], labels)
        elif isinstance(part, Forecast) and isinstance(whole, Level):
            self._level(whole, [1e9 for _ in wanted], labels)
            self._forecast(part, [1e9 * value for value in wanted], labels)
        elif not isinstance(part, Rise) or not isinstance(whole, Rise):
            raise SignalError("no figures are known for such a ratio")
        elif part.selection.bound is not None:
            self._rise(whole, [self._volume for _ in wanted], labels)
            self.within(part.selection, part.span.window, wanted, labels)
        elif (part.selection.metric, part.selection.suffix) == (whole.selection.metric, whole.selection.suffix):
            self._rise(part, [self._volume * value for value in wanted], labels, whole.selection)
            rest = [self._volume * (1.0 - value) for value in wanted]
            self.grow(self._rest(part.selection, whole.selection, labels), rest, whole.span.window)
        else:
            self._rise(part, [self._volume * value for value in wanted], labels)
            self._rise(whole, [self._volume for _ in wanted], labels)

    def within(self, selection: Selection, window: float, shares: Sequence[float], labels: Labels) -> None:
        """
        Add the buckets of a histogram: more than within a bound is just over it, and much is well below.
        """
        for bound in (*self._page.bounds_of(selection.metric), math.inf):
            near = selection.bound or 0.0
            amounts = [1.0 if bound > near else share * (1.0 if bound == near else 0.5) for share in shares]
            bucket = replace(selection, bound=bound)
            self.grow(self.key(bucket, labels), [self._volume * amount for amount in amounts], window)

    def _rise(self, rise: Rise, amounts: Sequence[float], labels: Labels, within: Selection | None = None) -> None:
        also = within.where if within else ()
        self.grow(self.key(rise.selection, labels, also), amounts, rise.span.window)
        whole = within or rise.selection
        for other in self._others(rise.selection, labels, whole.where):
            self.grow(other, [self._volume * 3 for _ in amounts], rise.span.window)

    def grow(self, key: SeriesKey, amounts: Sequence[float], window: float) -> None:
        """
        Add a counter that rises by so much in a window.
        """
        steps = [amount / window * self._scene.every_seconds for amount in amounts]
        if key not in self._scene.series:
            self._scene.add_counter(key, steps)

    def _first(self, signal: First, wanted: Sequence[float], labels: Labels) -> None:
        came = next((place for place, value in enumerate(wanted) if value > 0), len(wanted))
        values = [None if place < came else 1.0 for place in range(len(wanted))]
        if came < len(wanted):
            self._scene.add_gauge(self.key(signal.selection, labels), values)
        else:
            self._scene.add_gauge(self.key(signal.selection, labels), [1.0 for _ in wanted])

    def _level(self, signal: Level, wanted: Sequence[float], labels: Labels) -> None:
        self._scene.add_gauge(self.key(signal.selection, labels), wanted)
        for place, other in enumerate(self._others(signal.selection, labels, signal.selection.where)):
            extremes = max(map(abs, wanted)) * 10, 0.0
            self._scene.add_gauge(other, [extremes[(place + stretch) % 2] for stretch in range(len(wanted))])

    def _growth(self, signal: Growth, wanted: Sequence[float], labels: Labels) -> None:
        steps = [value / signal.span.window * self._scene.every_seconds for value in wanted]
        self._scene.add_slope(self.key(signal.selection, labels), steps)
        for other in self._others(signal.selection, labels, signal.selection.where):
            self._scene.add_slope(other, [step * 10 for step in steps])

    def _forecast(self, signal: Forecast, wanted: Sequence[float], labels: Labels) -> None:
        now = min(map(abs, wanted)) / 2
        key = self.key(signal.selection, labels)
        self._scene.add_counter(
            key, [(value - now) / signal.ahead_seconds * self._scene.every_seconds for value in wanted]
        )
        self._scene.series[key] = [it and it._replace(value=it.value + now) for it in self._scene.series[key]]

    def key(self, selection: Selection, labels: Labels, also: Iterable[tuple[str, Matcher]] = ()) -> SeriesKey:
        """
        Return a series that is meant, with the labels that are given and usual ones.
        """
        matchers = [*selection.where, *also]
        found = {
            label: labels.get(label) or _value(label, [it for name, it in matchers if name == label])
            for label in selection.metric.labels
        }
        return _series_key(selection, found)

    def _rest(self, part: Selection, whole: Selection, labels: Labels) -> SeriesKey:
        """
        Return a series of the whole that is none of the part.
        """
        found = dict(self.key(whole, labels).labels)
        for label, matcher in part.where:
            other = _value(label, [it for name, it in whole.where if name == label], [matcher])
            if other and label not in labels:
                return _series_key(whole, {**found, label: other})
        raise SignalError(f"the part of {part.metric.name} is all of the whole")

    def _others(
        self, selection: Selection, labels: Labels, where: Iterable[tuple[str, Matcher]]
    ) -> Iterator[SeriesKey]:
        """
        Yield series that are not meant, one for each matcher.
        """
        found = dict(self.key(selection, labels, where).labels)
        for label, matcher in where:
            if (other := _value(label, [], [matcher])) is not None:
                yield _series_key(selection, {**found, label: other})


def _series_key(selection: Selection, labels: Mapping[str, str | None]) -> SeriesKey:
    bound = {} if selection.bound is None else {"le": go_float(selection.bound)}
    found = {name: value or "one" for name, value in labels.items()}
    return SeriesKey(selection.metric, selection.suffix, tuple(sorted({**found, **bound}.items())))


def _value(label: str, accepted: Iterable[Matcher], refused: Iterable[Matcher] = ()) -> str | None:
    accepted, refused = list(accepted), list(refused)
    own = [it.text for it in accepted if not it.is_pattern]
    shaped = [text for it in accepted if it.is_pattern for text in _like(it.text)]
    for text in (*own, *_VALUES.get(label, ()), *_OTHERS, *shaped):
        if all(it.accepts(text) for it in accepted) and not any(it.accepts(text) for it in refused):
            return text
    return None


def _like(pattern: str) -> Iterator[str]:
    for choice in pattern.strip("^$()").split("|"):
        for some in ("", "x"):
            yield choice.replace("\\", "").replace(".*", some).replace(".+", "x").replace(".", "0")


def label_sets(signal: Signal, where: Callable[[str], Sequence[Matcher]]) -> tuple[dict[str, str], dict[str, str]]:
    """
    Return two label sets of a signal, which differ in each label in which they can.
    """
    one: dict[str, str] = {}
    other: dict[str, str] = {}
    for label in signal.labels:
        matchers = where(label)
        one[label] = _value(label, matchers) or "one"
        other[label] = _value(label, matchers, [Matcher(one[label])]) or one[label]
    return one, other


Leaf: TypeAlias = Rise | Quantile | First | Level | Age | TimeLeft | Growth | Forecast


def leaves(signal: Signal) -> Iterator[Leaf]:
    """
    Yield the signals of metrics that a signal is made of.
    """
    match signal:
        case AtLeast():
            yield from leaves(signal.signal)
        case Against():
            yield from leaves(signal.now)
        case Ratio() | Difference():
            yield from leaves(signal.whole)
            yield from leaves(signal.part)
        case Rise() | Quantile() | First() | Level() | Age() | TimeLeft() | Growth() | Forecast():
            yield signal


def bare(signal: Signal) -> Signal:
    """
    Return a signal without its floors.
    """
    while isinstance(signal, AtLeast):
        signal = signal.signal
    return signal
