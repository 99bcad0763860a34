"""
The history as signals ask for it: figures over time, of all instances, under the names of the catalogue.

Counters grow from sample to sample, over restarts too: increases of all slots are added up. Where only longer steps are
kept, a sample is at the end of each.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from obskit.history.files import HOUR_SECONDS, MINUTE_SECONDS
from obskit.history.increments import Point
from obskit.history.lanes import add_up
from obskit.history.reader import Reader, StoredPoint, StoredSampling
from obskit.history.tables import MetricRow
from obskit.metrics.cell_format import LabelSet, Row
from obskit.metrics.family_renderer import go_float
from obskit.signals.samples import Series
from obskit.storage.periods import Span
from obskit.time.clock import clock

_SUFFIXES = ("_bucket", "_sum", "_count")
# How far back the last sampling is looked for.
_LOOK_BACK_SECONDS = 7200
_RULES: Mapping[str, Callable[[Iterable[float]], float]] = {"sum": sum, "min": min, "max": max}


class HistorySamples:
    """
    Samples that lie in the history.

    Args:
        reader: Of the history.
        step: Seconds between two samples, where those of each sampling would be too many.

    Attributes:
        every: Seconds between two samplings.
    """

    def __init__(self, reader: Reader, step: int | None = None) -> None:
        self._reader = reader
        self.every = float(step or reader.every)
        self._hours: dict[int, tuple[float, list[StoredSampling]]] = {}

    def latest(self) -> float:
        """
        Return when the last sampling was, in seconds since the epoch; 0 where there was none of late.
        """
        now = clock.wall()
        found = self._reader.samplings(Span(now - _LOOK_BACK_SECONDS, now + _LOOK_BACK_SECONDS), int(self.every))
        return float(max((it.at + it.step for it in found), default=0))

    def was_sampled(self, at: float) -> bool:
        """
        Return whether there was a sampling in the `every` seconds that end at a moment.
        """
        hour = int(at // HOUR_SECONDS)
        known, now = self._hours.get(hour), clock.wall()
        # What is older than an hour does not change any more.
        if known is None or (known[0] < at + HOUR_SECONDS and abs(now - known[0]) >= self.every / 2):
            span = Span(hour * HOUR_SECONDS - 2.0 * MINUTE_SECONDS, (hour + 1.0) * HOUR_SECONDS)
            known = self._hours[hour] = now, self._reader.samplings(span, int(self.every))
            while len(self._hours) > 1000:
                del self._hours[next(iter(self._hours))]
        return any(it.at + self.every <= at < it.at + it.step + self.every for it in known[1])

    def select(self, name: str, start: float, end: float) -> Iterator[Series]:
        """
        Yield the label sets of a name that have samples after `start` and not after `end`, with those samples.
        """
        yield from self._select(name, "", start, end)  # a gauge's own name may end as a histogram's parts do
        metric_name, suffix = _split(name)
        if suffix:
            yield from self._select(metric_name, suffix, start, end)

    def _select(self, metric_name: str, suffix: str, start: float, end: float) -> Iterator[Series]:
        # Every minute says all gauges; after that, what has changed.
        span, step = Span(start - MINUTE_SECONDS, end), int(self.every)
        points, samplings = self._points(metric_name, span, step), self._reader.samplings(span, step)
        moments, wide = _Moments(samplings, start, end), _Moments(samplings, span.start, end)
        by_metric: dict[MetricRow, list[StoredPoint]] = {}
        for point in points:
            by_metric.setdefault(point.metric, []).append(point)
        seen = self._reader.first_seen(metric_name, span)
        for metric in {*by_metric, *(metric for _, metric, _ in seen)}:
            found = by_metric.get(metric, [])
            if metric.kind == "gauge" and not suffix:
                yield from _gauges(metric, found, wide, start)
            elif (metric.kind == "histogram") == bool(suffix):
                first = _first_of(metric, seen)
                yield from _counted(metric, suffix, found, moments, first, self._reader.totals(metric_name))

    def _points(self, name: str, span: Span, step: int) -> list[StoredPoint]:
        """
        Read the points of a stretch of time, and of an hour after it: what totals have that were counted later.
        """
        return list(self._reader.points(name, Span(span.start, span.end + HOUR_SECONDS), step))


class _Moments:
    """
    When there were samples after `start` and not after `end`, in all and in each slot.
    """

    def __init__(self, samplings: Iterable[StoredSampling], start: float, end: float) -> None:
        self.start, self.end = start, end
        by_slot: dict[str, set[float]] = {}
        for it in samplings:
            if (moment := self.of(it.at, it.step)) is not None:
                by_slot.setdefault(it.slot, set()).add(moment)
        self.by_slot = {slot: sorted(found) for slot, found in by_slot.items()}
        self.all = sorted(set().union(*by_slot.values()))

    def of(self, at: int, step: int) -> float | None:
        """
        Return the moment of a step's sample; of a step that is longer than what is asked for, the end of that.
        """
        moment = float(at + step)
        if moment > self.end and at < self.end and step >= self.end - self.start:
            moment = self.end
        return moment if self.start < moment <= self.end else None


def _split(name: str) -> tuple[str, str]:
    suffix = next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), "")
    return name.removesuffix(suffix), suffix


def _first_of(metric: MetricRow, seen: Mapping[tuple[str, MetricRow, LabelSet], int]) -> dict[LabelSet, int]:
    first: dict[LabelSet, int] = {}
    for (_, found, key), at in seen.items():
        if found == metric:
            first[key] = min(at, first.get(key, at))
    return first


def _counted(
    metric: MetricRow,
    suffix: str,
    points: Iterable[StoredPoint],
    moments: _Moments,
    first: Mapping[LabelSet, int],
    totals: Mapping[tuple[MetricRow, LabelSet], Row],
) -> Iterator[Series]:
    increases: dict[LabelSet, dict[float, list[Point]]] = {}
    later: dict[LabelSet, list[Point]] = {}
    for it in points:
        if (moment := moments.of(it.at, it.step)) is not None:
            increases.setdefault(it.key, {}).setdefault(moment, []).append(it.point)
        elif it.at + it.step > moments.end:
            later.setdefault(it.key, []).append(it.point)
    for key in {*first, *increases}:
        since = min([first.get(key, float("inf")), *increases.get(key, ())])
        times = moments.all[bisect_right(moments.all, since) if key in first else 0 :]
        if times:
            rows = [_row(metric, suffix, increases.get(key, {}).get(moment, ())) for moment in times]
            was_there = first.get(key, float("inf")) < moments.start
            all_rows = [*rows, _row(metric, suffix, later.get(key, ()))]
            base = _base(totals.get((metric, key)), suffix, all_rows) if was_there else [0.0] * len(rows[0])
            labels = dict(zip(metric.labels, key, strict=True))
            for place, bound in enumerate(_bounds(metric, suffix)):
                values = list(accumulate((row[place] for row in rows), initial=base[place]))[1:]
                yield Series({**labels, **bound}, times, values)


def _bounds(metric: MetricRow, suffix: str) -> list[dict[str, str]]:
    if suffix != "_bucket":
        return [{}]
    return [{"le": go_float(bound)} for bound in (*metric.bounds, float("inf"))]


def _row(metric: MetricRow, suffix: str, points: Sequence[Point]) -> list[float]:
    """
    Return by how much each value grew: one, or one a bucket, cumulative.
    """
    if suffix == "_bucket":
        counts = add_up((point.lanes or b"" for point in points), len(metric.bounds) + 1)
        return list(map(float, accumulate(counts)))
    if suffix == "_count":
        return [float(sum(point.n or 0 for point in points))]
    return [sum(point.value or 0.0 for point in points)]


def _base(total: Row | None, suffix: str, rows: Sequence[Sequence[float]]) -> list[float]:
    """
    Return what was counted before the first sample: what is not from 0 must not look as if it were.
    """
    grown = [sum(column) for column in zip(*rows, strict=True)]
    known = grown if total is None else _cumulative(total, suffix)
    return [max(1.0, now - grew) for now, grew in zip(known, grown, strict=True)]


def _cumulative(total: Row, suffix: str) -> list[float]:
    if suffix == "_bucket":
        return list(accumulate(total[2:]))
    return [total[{"_count": 0, "_sum": 1}.get(suffix, 0)]]


def _gauges(metric: MetricRow, points: Iterable[StoredPoint], moments: _Moments, start: float) -> Iterator[Series]:
    by_key: dict[LabelSet, dict[str, dict[float, float | None]]] = {}
    for it in points:
        if (moment := moments.of(it.at, it.step)) is not None:
            by_key.setdefault(it.key, {}).setdefault(it.slot, {})[moment] = it.point.value
    for key, slots in by_key.items():
        at: dict[float, list[float]] = {}
        for slot, values in slots.items():
            for moment, value in _carried(values, moments.by_slot.get(slot, [])):
                if moment > start:
                    at.setdefault(moment, []).append(value)
        if at:
            times = sorted(at)
            rule = _RULES.get("max" if metric.is_shared else metric.workers, max)
            labels = dict(zip(metric.labels, key, strict=True))
            yield Series(labels, times, [rule(at[moment]) for moment in times])


def _carried(values: Mapping[float, float | None], moments: Sequence[float]) -> Iterator[tuple[float, float]]:
    """
    Yield a value at each sample: only changes are stored.
    """
    value = None
    for moment in moments[bisect_left(moments, min(values)) :]:
        value = values.get(moment, value)
        if value is not None:
            yield moment, value
