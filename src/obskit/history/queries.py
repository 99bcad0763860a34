"""
What is asked of the history: figures over time, totals, and which part of the time was really seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil, fsum, inf, isfinite
from pathlib import Path
from threading import RLock
from typing import Any

from obskit.errors import HistoryError
from obskit.forks import at_fork
from obskit.history.files import DAY_SECONDS, HOUR_SECONDS, MINUTE_SECONDS, SeriesFiles
from obskit.history.plots import Plots
from obskit.history.reader import FileReader, Reader
from obskit.history.record_reader import each_told, read_errors, read_records, told
from obskit.history.record_slot import record_files
from obskit.history.record_tables import KINDS
from obskit.history.samples import HistorySamples
from obskit.history.settings import KEEP
from obskit.recorder import recorder
from obskit.signals.counted import Rise
from obskit.signals.samples import LabelPairs, Series
from obskit.signals.signal import Signal
from obskit.storage.periods import Span
from obskit.time.clock import clock
from obskit.time.durations import seconds_of

MOST_STEPS = 5000
# Which steps are added up, and of how many seconds at most.
_TOTALS_FROM = ((MINUTE_SECONDS, 2 * HOUR_SECONDS), (HOUR_SECONDS, 40 * DAY_SECONDS), (DAY_SECONDS, inf))


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
        between: Of a quantile, by labels, the start of each step and the two values between which it lies.
    """

    signal: str
    step_seconds: float
    covers: Covered
    points: Mapping[LabelPairs, tuple[tuple[float, float], ...]]
    unfinished: float | None
    between: Mapping[LabelPairs, tuple[tuple[float, float, float], ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """
        Return it as JSON has it.
        """
        series = []
        for labels, points in self.points.items():
            found: dict[str, Any] = {"labels": dict(labels), "points": [list(point) for point in points]}
            if self.unfinished is not None and points and points[-1][0] == self.unfinished:
                found["unfinished"] = True
            if labels in self.between:
                found["between"] = [
                    [start, low, high if isfinite(high) else None] for start, low, high in self.between[labels]
                ]
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
        folder: Where its records are.
        on_error: Told of a file that cannot be read; the others are.
    """

    def __init__(self, reader: Reader, folder: Path, on_error: Callable[[Exception], object]) -> None:
        self._reader, self._records, self._on_error = reader, record_files(folder, KEEP, 0), on_error
        self.samples = HistorySamples(reader)
        self._plots, self._turn = Plots(reader), RLock()

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
        with self._turn:
            found = self._plots.steps(signal, starts, length, now)
            seen = self._plots.seen.spans
        points: dict[LabelPairs, list[tuple[float, float]]] = {}
        between: dict[LabelPairs, list[tuple[float, float, float]]] = {}
        for start, (values, ends) in zip(starts, found, strict=True):
            for labels, value in values.items():
                points.setdefault(labels, []).append((start, value))
            for labels, it in ends.items():
                between.setdefault(labels, []).append((start, it.low, it.high))
        return SignalSeries(
            signal.promql(),
            length,
            covered(seen, first, now),
            {labels: tuple(told) for labels, told in points.items()},
            starts[-1] if starts and starts[-1] + length > now else None,
            {labels: tuple(told) for labels, told in between.items()},
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
        step = next(step for step, most_seconds in _TOTALS_FROM if back <= most_seconds)
        found: dict[LabelPairs, list[float]] = {}
        for it in self._reader.points(selection.metric.name, Span(now - back, now), step):
            series = Series(dict(zip(it.metric.labels, it.key, strict=True)), (), ())
            if all(matcher.accepts(series.labels.get(label, "")) for label, matcher in selection.where):
                found.setdefault(signal.grouping.key(series), []).append(it.point.value or 0.0)
        return {labels: fsum(values) for labels, values in found.items()}

    def records(
        self,
        kind: str = "request",
        *,
        since: str | timedelta = "24h",
        endpoint: str | None = None,
        slowest: int | None = None,
        latest: int = 100,
    ) -> list[dict[str, Any]]:
        """
        List what was kept of single requests and others, the latest first: see `obskit.history.records()`.

        Raises:
            HistoryError: There is no such kind, or it has nothing of what is asked.
        """
        if kind not in (*KINDS, "error"):
            raise HistoryError(f"records({kind!r}): there are {', '.join((*KINDS, 'error'))}")
        if latest < 1 or (slowest is not None and slowest < 1):
            raise HistoryError("records(): slowest= and latest= are whole numbers above 0")
        if endpoint is not None and kind != "request":
            raise HistoryError(f"records({kind!r}, endpoint=...): endpoint= is of requests alone")
        if slowest is not None and kind in ("error", "event"):
            raise HistoryError(f"records({kind!r}, slowest=...): {kind}s take no time")
        now = clock.wall()
        span = Span(now - seconds_of(since, "since"), now + 1)
        if kind == "error":
            return [told(error) for error in read_errors(self._records, span, on_error=self._on_error)[:latest]]
        found = read_records(
            self._records, kind, span, on_error=self._on_error, key=endpoint, slowest=slowest, latest=latest
        )
        return [told(record) for record in found]

    def covers(self, *, since: str | timedelta = "24h") -> Covered:
        """
        Return which part of a stretch of time up to now was seen.

        Raises:
            HistoryError: Reading takes too long.
        """
        back, now = seconds_of(since, "since"), clock.wall()
        with self._turn:
            self._plots.seen.load(now - back, now)
            return covered(self._plots.seen.spans, now - back, now)

    def export(self, *, since: str | timedelta) -> Iterator[dict[str, Any]]:
        """
        Yield each point once, at the finest step that is kept, then records, then what was seen.
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
        yield from each_told(self._records, Span(now - back, now + 1), on_error=self._on_error)
        yield {"covers": self.covers(since=since).to_dict()}


def covered(seen: Iterable[tuple[float, float]], since: float, until: float) -> Covered:
    """
    Cut what was seen to a stretch of time.
    """
    spans = ((max(start, since), min(end, until)) for start, end in seen)
    return Covered(since, until, tuple((start, end) for start, end in spans if start < end))


_files: Callable[[], SeriesFiles] | None = None
# It remembers what it has read.
_history: History | None = None


def bind(files: Callable[[], SeriesFiles] | None) -> None:
    """
    Take the files of the active runtime's history; None where there is none.
    """
    global _files, _history
    _files, _history = files, None


def _active_files() -> SeriesFiles:
    if _files is None:
        raise HistoryError(
            "no history is kept here: configure with history=True, or read a folder with obskit.history.open(folder)"
        )
    return _files()


def active() -> History:
    """
    Return the history of the active runtime.

    Raises:
        HistoryError: There is none.
    """
    global _history
    files, history = _active_files(), _history
    if history is None:
        history = _history = History(FileReader(files, _count), files.folder, _count)
    return history


def _count(error: Exception) -> None:
    recorder.failed("history", error)


def _start_over() -> None:
    global _history
    _history = None


at_fork(after_in_child=_start_over)


def open_folder(folder: Path, on_error: Callable[[Exception], object]) -> History:
    """
    Return the history in a folder, to a process that configured nothing.

    Raises:
        HistoryError: There is none.
    """
    if not folder.is_dir():
        raise HistoryError(f"there is no history in {folder}: it is no folder")
    return History(FileReader(SeriesFiles(folder, every_of(folder)), on_error), folder, on_error)


def every_of(folder: Path) -> int:
    """
    Return the seconds of the finest step in a folder.
    """
    return FileReader(SeriesFiles(folder), lambda error: None).last_step()
