"""
What is asked of the history: figures over time, totals, and which part of the time was really seen.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import ceil, fsum
from pathlib import Path
from typing import Any

from obskit.errors import HistoryError
from obskit.history.files import HOUR_SECONDS, MINUTE_SECONDS, SeriesFiles
from obskit.history.reader import FileReader, Reader, StoredSampling
from obskit.history.samples import HistorySamples
from obskit.recorder import recorder
from obskit.signals.counted import Rise
from obskit.signals.samples import LabelPairs, Series
from obskit.signals.signal import Signal
from obskit.storage.periods import Span
from obskit.time.clock import clock
from obskit.time.durations import seconds_of

MOST_STEPS = 5000


@dataclass(frozen=True)
class Covered:
    """
    Which part of a stretch of time was seen.

    Attributes:
        since, until: The stretch, in seconds since the epoch.
        spans: The parts that were seen, from the oldest on; both ends are exact to one sampling.
    """

    since: float
    until: float
    spans: tuple[tuple[float, float], ...]

    @property
    def share(self) -> float:
        """
        From 0, where nothing was seen, to 1.
        """
        whole = self.until - self.since
        return fsum(end - start for start, end in self.spans) / whole if whole > 0 else 0.0

    def to_dict(self) -> list[list[float]]:
        """
        Return the parts as pairs of seconds.
        """
        return [[start, end] for start, end in self.spans]


@dataclass(frozen=True)
class SignalSeries:
    """
    A signal over time.

    Attributes:
        signal: What was asked, in PromQL.
        step_seconds: Of each point.
        covers: Which part was seen.
        points: By labels, the start of each step and the value at its end. No point: no data.
        unfinished: The start of the last step, where it is not over.
    """

    signal: str
    step_seconds: float
    covers: Covered
    points: Mapping[LabelPairs, tuple[tuple[float, float], ...]]
    unfinished: float | None

    def to_dict(self) -> dict[str, Any]:
        """
        Return it as JSON has it.
        """
        series = []
        for labels, points in self.points.items():
            found: dict[str, Any] = {"labels": dict(labels), "points": [list(point) for point in points]}
            if self.unfinished is not None and points and points[-1][0] == self.unfinished:
                found["unfinished"] = True
            series.append(found)
        return {
            "signal": self.signal,
            "step_seconds": self.step_seconds,
            "covers": self.covers.to_dict(),
            "series": series,
        }


class History:
    """
    The history of one service, to read.

    Args:
        reader: Of its figures.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.samples = HistorySamples(reader)

    def series(self, signal: Signal, *, since: str | timedelta = "24h", step: str | timedelta = "5m") -> SignalSeries:
        """
        Compute a signal at the end of each step.

        Args:
            signal: What is asked: see `obskit.signals`.
            since: How far back.
            step: How far apart; at most 5,000 steps.

        Raises:
            HistoryError: The steps are too many, or too short; or reading takes too long.
        """
        back, length = seconds_of(since, "since"), seconds_of(step, "step")
        if length < self._reader.every or back / length > MOST_STEPS:
            raise HistoryError(
                f"step={step!r}: expected {self._reader.every}s or more, and at most {MOST_STEPS} steps since {since!r}"
            )
        now = clock.wall()
        first = (now - back) // length * length
        starts = [first + length * index for index in range(ceil((now - first) / length))]
        loaded = _Loaded(self.samples, self._reader, Span(first - _reach(signal), now))
        points: dict[LabelPairs, list[tuple[float, float]]] = {}
        for start in starts:
            end = start + length
            at = loaded.last if start < loaded.last < end else end
            for labels, value in signal.evaluate(loaded, at).items():
                points.setdefault(labels, []).append((start, value))
        return SignalSeries(
            signal.promql(),
            length,
            covered(loaded.samplings, first, now, self._reader.every),
            {labels: tuple(found) for labels, found in points.items()},
            starts[-1] if starts and starts[-1] + length > now else None,
        )

    def totals(self, signal: Signal, *, since: str | timedelta = "24h") -> dict[LabelPairs, float]:
        """
        Add up what was counted, exactly, by the labels of the signal: `increase("http_requests_total", by=["status"])`.

        Args:
            signal: What `obskit.signals.increase()` or `rate()` has made; its own window is not used.
            since: How far back.

        Raises:
            HistoryError: It is another kind of signal; or reading takes too long.
        """
        if not isinstance(signal, Rise) or signal.selection.suffix:
            raise HistoryError("totals() adds up what is counted: give it increase('...') of a counter")
        selection, back = signal.selection, seconds_of(since, "since")
        now = clock.wall()
        step = MINUTE_SECONDS if back <= 2 * HOUR_SECONDS else HOUR_SECONDS
        found: dict[LabelPairs, list[float]] = {}
        for it in self._reader.points(selection.metric.name, Span(now - back, now), step):
            series = Series(dict(zip(it.metric.labels, it.key, strict=True)), (), ())
            if all(matcher.accepts(series.labels.get(label, "")) for label, matcher in selection.where):
                found.setdefault(signal.grouping.key(series), []).append(it.point.value or 0.0)
        return {labels: fsum(values) for labels, values in found.items()}

    def covers(self, *, since: str | timedelta = "24h") -> Covered:
        """
        Return which part of a stretch of time up to now was seen.

        Raises:
            HistoryError: Reading takes too long.
        """
        back, now = seconds_of(since, "since"), clock.wall()
        samplings = self._reader.samplings(Span(now - back, now), self._reader.every)
        return covered(samplings, now - back, now, self._reader.every)

    def export(self, *, since: str | timedelta) -> Iterator[dict[str, Any]]:
        """
        Yield each point once, at the finest step that is kept, then what was seen.
        """
        back, now = seconds_of(since, "since"), clock.wall()
        span = Span(now - back, now)
        for name in self._reader.names(span):
            for it in self._reader.points(name, span, self._reader.every):
                labels = dict(zip(it.metric.labels, it.key, strict=True))
                said: dict[str, Any] = {"metric": name, "labels": labels, "at": it.at, "step_seconds": it.step}
                if it.metric.kind == "gauge":
                    yield {**said, "value": it.point.value}
                else:
                    counted = {"count": it.point.n, "sum": it.point.value}
                    yield {**said, "increase": it.point.value if it.metric.kind == "counter" else counted}
        yield {"covers": self.covers(since=since).to_dict()}


def covered(samplings: Iterable[StoredSampling], since: float, until: float, every: int) -> Covered:
    """
    Join what was sampled to the parts that were seen: a gap is where no sample was for over two intervals.
    """
    spans: list[list[float]] = []
    for it in sorted(samplings, key=lambda it: it.at):
        start, end = max(float(it.at), since), min(float(it.at + it.step), until)
        if start >= end:
            continue
        if spans and start - spans[-1][1] <= every:
            spans[-1][1] = max(spans[-1][1], end)
        else:
            spans.append([start, end])
    return Covered(since, until, tuple((start, end) for start, end in spans))


def _reach(signal: Signal) -> float:
    """
    Return how far back a signal looks.
    """
    before = getattr(signal, "before_seconds", 0.0)
    return max((span.start for span in signal.spans()), default=HOUR_SECONDS) + before + MINUTE_SECONDS


class _Loaded:
    """
    Samples of which each name is read once, for all moments that are asked for.
    """

    def __init__(self, samples: HistorySamples, reader: Reader, span: Span) -> None:
        self.every = samples.every
        self._samples, self._span = samples, span
        self.samplings = reader.samplings(span, reader.every)
        self._moments = sorted({(it.at, it.at + it.step) for it in self.samplings})
        self.last = float(max((end for _, end in self._moments), default=span.end))
        self._names: dict[str, list[Series]] = {}

    def latest(self) -> float:
        """
        Return when the last sampling was.
        """
        return self.last

    def was_sampled(self, at: float) -> bool:
        """
        Return whether there was a sampling in the `every` seconds that end at a moment.
        """
        place = bisect_right(self._moments, (int(at - self.every), int(at + HOUR_SECONDS)))
        near = self._moments[max(0, place - 1) : place]
        return any(start + self.every <= at < end + self.every for start, end in near)

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


_files: Callable[[], SeriesFiles] | None = None


def bind(files: Callable[[], SeriesFiles] | None) -> None:
    """
    Take the files of the active runtime's history; None where there is none.
    """
    global _files
    _files = files


def active() -> History:
    """
    Return the history of the active runtime.

    Raises:
        HistoryError: There is none.
    """
    if _files is None:
        raise HistoryError(
            "no history is kept here: configure with history=True, or read a folder with obskit.history.open(folder)"
        )
    return History(FileReader(_files(), lambda error: recorder.failed("history", error)))


def open_folder(folder: Path, on_error: Callable[[Exception], object]) -> History:
    """
    Return the history in a folder, to a process that configured nothing.

    Raises:
        HistoryError: There is none.
    """
    if not folder.is_dir():
        raise HistoryError(f"there is no history in {folder}: it is no folder")
    return History(FileReader(SeriesFiles(folder, every_of(folder)), on_error))


def every_of(folder: Path) -> int:
    """
    Return the seconds of the finest step in a folder.
    """
    return FileReader(SeriesFiles(folder), lambda error: None).last_step()
