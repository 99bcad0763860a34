"""
What label sets have counted, added up by the labels that are asked for and by steps. What is over does not change any
more: it is read once, and remembered.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from math import inf
from typing import NamedTuple, TypeAlias

from obskit.history.files import HOUR_SECONDS, MINUTE_SECONDS
from obskit.history.lanes import unpack
from obskit.history.reader import Reader, StoredPoint
from obskit.history.tables import GRID, MetricRow
from obskit.history.tallies import Tally
from obskit.metrics.cell_format import LabelSet
from obskit.signals.matching import Matcher
from obskit.signals.samples import LabelPairs
from obskit.storage.periods import Span

# Of a sampling that is due now: it may take that long until it is stored.
_LATE_SECONDS = 25.0
# Points of a metric in a stretch of time, in steps of which the length is given, perhaps with its fine buckets.
PointsOf: TypeAlias = Callable[[str, Span, int, bool], Iterable[StoredPoint]]
Sums: TypeAlias = dict[LabelPairs, float]
Tallies: TypeAlias = dict[LabelPairs, Tally]


class Asked(NamedTuple):
    """
    What is added up.

    Attributes:
        name: Of the metric.
        suffix: `_count`, `_sum` or `_bucket` of a histogram, else nothing.
        where: What labels must be.
        labels: By which it is told apart.
        bound: Of a histogram's buckets, those up to this one; None: each, as a tally.
    """

    name: str
    suffix: str
    where: tuple[tuple[str, Matcher], ...]
    labels: tuple[str, ...]
    bound: float | None = None

    @property
    def is_tally(self) -> bool:
        """
        Whether each bucket is asked for.
        """
        return self.suffix == "_bucket" and self.bound is None

    def group_of(self, metric: MetricRow, key: LabelSet) -> LabelPairs | None:
        """
        Return where a label set belongs; None: it is not asked for.
        """
        if metric.kind not in (("histogram", GRID) if self.suffix else ("counter",)):
            return None
        labels = dict(zip(metric.labels, key, strict=True))
        if not all(matcher.accepts(labels.get(label, "")) for label, matcher in self.where):
            return None
        return tuple((label, labels.get(label, "")) for label in self.labels)


class Stretch:
    """
    What was counted in one step, which is longer than what is asked for where shorter ones are not kept any more.
    """

    __slots__ = ("end", "sums", "tallies")

    def __init__(self, end: int) -> None:
        self.end = end
        self.sums: Sums = {}
        self.tallies: Tallies = {}


class Taken(NamedTuple):
    """
    What was counted in a window.

    Attributes:
        sums: By group; of those that are known, 0 where nothing was counted.
        tallies: The same, where buckets were asked for.
        share: Which part of the time that the steps in it have is in the window: less than 1 where steps are too long.
    """

    sums: Sums
    tallies: Tallies
    share: float


def settled_until(now: float) -> int:
    """
    Return up to when nothing will be added any more: the start of a minute, so that no minute is cut in two.
    """
    return int((now - _LATE_SECONDS) // MINUTE_SECONDS) * MINUTE_SECONDS


class Column:
    """
    The increases of what is asked for, step by step.

    Args:
        asked: What.
        step: Seconds of a step.
    """

    def __init__(self, asked: Asked, step: int) -> None:
        self._asked, self._step = asked, step
        self._groups: dict[tuple[MetricRow, LabelSet], LabelPairs | None] = {}
        self._clear(0.0)

    def _clear(self, since: float) -> None:
        self._since = self._until = since
        self._settled: dict[int, Stretch] = {}
        self._open: dict[int, Stretch] = {}
        self._starts: list[int] = []
        self._longest = self._step
        self._first: dict[LabelPairs, float] = {}
        self._first_read = 0.0

    def load(self, reader: Reader, points_of: PointsOf, since: float, now: float) -> None:
        """
        Have what there is since a moment; of what is settled, only what is not known.
        """
        settled, step = settled_until(now), reader.every
        if not (self._since <= since and settled - HOUR_SECONDS <= self._until <= settled):
            self._clear(since)
            step = self._step
        asked = points_of(self._asked.name, Span(self._until, now), step, self._asked.is_tally)
        found = [it for it in asked if it.at + it.step > self._until]
        self._until = min([settled, *(it.at for it in found if it.at < settled < it.at + it.step)])
        self._open = {}
        self._add(_finest(found) if self._asked.is_tally else found)
        self._forget_before(since)
        self._starts = sorted({*self._settled, *self._open})
        if abs(now - self._first_read) >= MINUTE_SECONDS:
            self._note_first(reader, Span(self._until if self._first_read else since, now))
            self._first_read = now

    def _add(self, points: Iterable[StoredPoint]) -> None:
        groups: dict[tuple[int, LabelSet], LabelPairs | None] = {}  # by the row itself, which has a slow hash
        for it in points:
            place = id(it.metric), it.key
            if place not in groups:
                groups[place] = self._group_of(it.metric, it.key)
            if (group := groups[place]) is not None:
                stretches = self._settled if it.at < self._until else self._open
                start = it.at - it.at % self._step if it.step < self._step else it.at
                if start not in stretches:
                    stretches[start] = Stretch(start + max(self._step, it.step))
                    self._longest = max(self._longest, it.step)
                self._add_to(stretches[start], group, it)

    def _add_to(self, stretch: Stretch, group: LabelPairs, it: StoredPoint) -> None:
        if self._asked.is_tally:
            stretch.tallies.setdefault(group, Tally()).add(it.metric.bounds, it.point.lanes or b"")
        else:
            stretch.sums[group] = stretch.sums.get(group, 0.0) + self._amount(it)

    def _amount(self, it: StoredPoint) -> float:
        if self._asked.suffix == "_count":
            return float(it.point.n or 0)
        if self._asked.suffix != "_bucket":
            return it.point.value or 0.0
        counts = unpack(it.point.lanes or b"", len(it.metric.bounds) + 1)
        within = bisect_right(it.metric.bounds, self._asked.bound if self._asked.bound is not None else inf)
        return float(sum(counts[:within] if self._asked.bound in it.metric.bounds else ()))

    def _group_of(self, metric: MetricRow, key: LabelSet) -> LabelPairs | None:
        place = metric, key
        if place not in self._groups:
            self._groups[place] = self._asked.group_of(metric, key)
        return self._groups[place]

    def _note_first(self, reader: Reader, span: Span) -> None:
        for (_, metric, key), at in reader.first_seen(self._asked.name, span).items():
            if (group := self._group_of(metric, key)) is not None:
                self._first[group] = min(at, self._first.get(group, at))

    def _forget_before(self, since: float) -> None:
        for start in [start for start, stretch in self._settled.items() if stretch.end <= since]:
            del self._settled[start]
        self._since = since

    def taken(self, start: float, end: float, last: float) -> Taken:
        """
        Add up what was counted from a moment on and before another.

        Args:
            last: When the last sampling was.
        """
        sums: Sums = {group: 0.0 for group, at in self._first.items() if at < end}
        tallies: Tallies = {}
        first, beyond = start, end
        for index in range(bisect_left(self._starts, start - self._longest), bisect_left(self._starts, end)):
            at = self._starts[index]
            for stretch in (self._settled.get(at), self._open.get(at)):
                if stretch is not None and stretch.end > start:
                    first, beyond = min(first, at), max(beyond, min(stretch.end, last))
                    for group, amount in stretch.sums.items():
                        sums[group] = sums.get(group, 0.0) + amount
                    for group, tally in stretch.tallies.items():
                        tallies.setdefault(group, Tally()).add_all(tally)
        return Taken(sums, tallies, (end - start) / (beyond - first))


def _finest(points: Iterable[StoredPoint]) -> list[StoredPoint]:
    """
    Leave out each histogram's own buckets where all of its observations are in fine ones, and else these.
    """
    found: dict[tuple[str, int, LabelSet], StoredPoint] = {}
    for it in sorted(points, key=lambda it: it.metric.kind != GRID):
        place = it.slot, it.at, it.key
        fine = found.get(place)
        if fine is None or fine.metric.kind != GRID or fine.point.n != it.point.n:
            found[place] = it
    return list(found.values())
