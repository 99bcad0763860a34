"""
Reading of series files: over all slots, those of the dead included, each moment once.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

from obskit.errors import HistoryError
from obskit.history.files import MINUTE_SECONDS, SeriesFiles
from obskit.history.increments import Point
from obskit.history.open_files import OpenFiles
from obskit.history.tables import GRID, MetricRow, read_metrics
from obskit.metrics.cell_format import LabelSet, Row, decode_doubles
from obskit.storage.periods import PeriodFile, Span
from obskit.time.clock import Deadline, clock

T = TypeVar("T")

_COLUMNS = ", ".join(f"point.{name}" for name in Point._fields)
# Point by point in the key's order, without those of other metrics that lie between.
_OF_ONE = f"""
SELECT point.at, sampling.step, point.label_set, {_COLUMNS} FROM sampling CROSS JOIN point ON point.at = sampling.at
WHERE sampling.at >= ? AND sampling.at <= ? AND point.metric = ?
"""
# What is younger lies in the finest steps, which are kept for an hour at least.
_LATEST_SECONDS = 300
_TOTALS = """
SELECT total.label_set, total.figures FROM total JOIN label_set ON label_set.id = total.label_set
WHERE label_set.metric = ?
"""


class StoredSampling(NamedTuple):
    """
    A step that was sampled.
    """

    slot: str
    at: int
    step: int


class StoredPoint(NamedTuple):
    """
    What a label set has in one step of one slot.
    """

    slot: str
    metric: MetricRow
    key: LabelSet
    at: int
    step: int
    point: Point


class Reader(Protocol):
    """
    What is asked of whoever keeps series.

    Attributes:
        every: Seconds of the finest step.
        steps: Seconds of each step that is kept, the finest first.
        unread: How often something could not be read, and was left out.
    """

    @property
    def every(self) -> int: ...

    @property
    def steps(self) -> Sequence[int]: ...

    @property
    def unread(self) -> int: ...

    def samplings(self, span: Span, step: int) -> list[StoredSampling]:
        """
        List what was sampled in a stretch of time, in steps that are as long, or as they are kept.
        """

    def points(self, name: str, span: Span, step: int, *, with_fine: bool = False) -> Iterator[StoredPoint]:
        """
        Yield the points of a metric in such steps, each moment of a slot once.

        Args:
            name: Of the metric.
            span: The stretch of time.
            step: In seconds.
            with_fine: With those of a histogram's fine buckets, whose metric is of the kind `grid`.
        """

    def first_seen(self, name: str, span: Span) -> dict[tuple[str, MetricRow, LabelSet], int]:
        """
        Return since when label sets are known in a stretch of time, by slot.
        """

    def totals(self, name: str) -> dict[tuple[MetricRow, LabelSet], Row]:
        """
        Return what the instances that are sampled now have counted of a metric since they began.
        """

    def names(self, span: Span) -> list[str]:
        """
        List the metrics that have points.
        """


class _Levels(NamedTuple):
    """
    Of one slot, by the seconds of a step, which of its steps are not to be taken from files of that step.

    Attributes:
        stale: That are yet to be put together from shorter ones.
        split: That shorter ones have.
    """

    stale: dict[int, set[int]]
    split: dict[int, set[int]]


class _Source(NamedTuple):
    """
    An open file, and which of its moments are to be taken.
    """

    db: sqlite3.Connection
    slot: str
    step: int
    wants: Callable[[int], bool]


class FileReader:
    """
    Reads the series files of a folder.

    Args:
        files: Of all slots.
        on_error: Told of each file that cannot be read; it is left out.
        limit_seconds: How long one question may take.
    """

    def __init__(
        self, files: SeriesFiles, on_error: Callable[[Exception], object], limit_seconds: float = 10.0
    ) -> None:
        self._files, self._told, self._limit_seconds = files, on_error, limit_seconds
        self.unread = 0

    def _on_error(self, error: Exception) -> None:
        self.unread += 1
        self._told(error)

    @property
    def steps(self) -> Sequence[int]:
        """
        Seconds of each step that is kept, the finest first.
        """
        return tuple(self._files.by_step)

    @property
    def every(self) -> int:
        """
        Seconds of the finest step.
        """
        return self._files.every

    def samplings(self, span: Span, step: int) -> list[StoredSampling]:
        """
        List what was sampled in a stretch of time.

        Raises:
            HistoryError: It takes too long.
        """

        def read(source: _Source) -> list[StoredSampling]:
            asked = "SELECT at, step FROM sampling WHERE at > ? AND at < ?"
            rows = source.db.execute(asked, (span.start - source.step, span.end)).fetchall()
            return [StoredSampling(source.slot, at, length) for at, length in rows if source.wants(at)]

        return sorted(self._read(span, step, read), key=lambda it: (it.at, it.slot))

    def points(self, name: str, span: Span, step: int, *, with_fine: bool = False) -> Iterator[StoredPoint]:
        """
        Yield the points of a metric, and where it is asked for those of its fine buckets.

        Raises:
            HistoryError: It takes too long.
        """

        def read(source: _Source) -> list[StoredPoint]:
            found: list[StoredPoint] = []
            runs = _wanted_runs(source, span)
            for number, metric in _of_name(source.db, name, with_fine=with_fine) if runs else ():
                keys = _keys(source.db, number)
                for run in runs:
                    found += [
                        StoredPoint(source.slot, metric, keys[label_set], at, length, Point(*row))
                        for at, length, label_set, *row in source.db.execute(_OF_ONE, (*run, number)).fetchall()
                    ]
            return found

        return self._read(span, step, read)

    def first_seen(self, name: str, span: Span) -> dict[tuple[str, MetricRow, LabelSet], int]:
        """
        Return since when label sets are known, by slot.

        Raises:
            HistoryError: It takes too long.
        """

        def read(source: _Source) -> list[tuple[tuple[str, MetricRow, LabelSet], int]]:
            asked = "SELECT labels, first_at FROM label_set WHERE metric = ?"
            return [
                ((source.slot, metric, tuple(json.loads(labels))), at)
                for number, metric in _of_name(source.db, name)
                for labels, at in source.db.execute(asked, (number,)).fetchall()
            ]

        found: dict[tuple[str, MetricRow, LabelSet], int] = {}
        for place, at in self._read(span, self._files.every, read):
            found[place] = min(at, found.get(place, at))
        return found

    def totals(self, name: str) -> dict[tuple[MetricRow, LabelSet], Row]:
        """
        Return what the instances have counted of a metric that the newest file of each slot knows.
        """
        found: dict[tuple[MetricRow, LabelSet], Row] = {}

        def read(db: sqlite3.Connection) -> list[None]:
            for number, metric in _of_name(db, name):
                keys = _keys(db, number)
                for label_set, figures in db.execute(_TOTALS, (number,)).fetchall():
                    row, place = decode_doubles(figures), (metric, keys[label_set])
                    known = found.get(place)
                    found[place] = row if known is None else tuple(map(sum, zip(row, known, strict=True)))
            return []

        newest = {file.writer: file for file in self._files.by_step[self._files.every].files()}
        for file in newest.values():
            self._guarded(file, read)
        return found

    def names(self, span: Span) -> list[str]:
        """
        List the metrics that have points in files of a stretch of time.

        Raises:
            HistoryError: It takes too long.
        """

        def read(source: _Source) -> list[str]:
            return [metric.name for metric in read_metrics(source.db).values()]

        return sorted(set(self._read(span, self._files.every, read)))

    def last_step(self) -> int:
        """
        Return the seconds of the finest step that was sampled last; where nothing was, of the default.
        """
        found: list[int] = []

        def read(db: sqlite3.Connection) -> list[None]:
            found.extend(step for (step,) in db.execute("SELECT step FROM sampling ORDER BY at DESC LIMIT 1"))
            return []

        for file in reversed(self._files.by_step[self._files.every].files()):
            if not found:
                self._guarded(file, read)
        return found[0] if found else self._files.every

    def _read(self, span: Span, step: int, read: Callable[[_Source], list[T]]) -> Iterator[T]:
        """
        Yield what each file says that may know something; what cannot be read is left out.
        """
        deadline = Deadline(self._limit_seconds)
        with OpenFiles(self._on_error) as opened:
            kinds = self._kinds_for(span, step)
            listed = {kind: self._files.by_step[kind].overlapping(_widened(span, longer)) for kind, longer in kinds}
            levels: dict[str, _Levels] = {}
            for kind, longer in kinds:
                for file in listed[kind]:
                    if not (file.span.start < span.end and span.start - kind < file.span.end):
                        continue
                    if deadline.is_over():
                        raise HistoryError(
                            f"reading {self._files.folder} takes over {self._limit_seconds:g} s: ask for less"
                        )
                    if file.writer not in levels:
                        levels[file.writer] = _levels(opened, kinds, listed, file.writer, step)
                    wants = _wanted(levels[file.writer], kind, longer, step)
                    yield from opened.read(
                        file,
                        lambda db, file=file, kind=kind, wants=wants: read(  # type: ignore[misc]
                            _Source(db, file.writer, kind, wants)
                        ),
                    )

    def _kinds_for(self, span: Span, step: int) -> list[tuple[int, int]]:
        """
        Return the steps of which files are looked at, each with the next longer one.
        """
        kinds = list(self._files.by_step)
        if step < MINUTE_SECONDS and span.start >= clock.wall() - _LATEST_SECONDS:
            kinds = kinds[:1]  # the finest are not that short-lived
        return list(zip(kinds, [*self._files.by_step, kinds[-1]][1:], strict=False))

    def _guarded(self, file: PeriodFile, read: Callable[[sqlite3.Connection], list[T]]) -> list[T]:
        with OpenFiles(self._on_error) as opened:
            return opened.read(file, read)


def _widened(span: Span, step: int) -> Span:
    return Span(span.start - step, span.end + step)


def _levels(
    opened: OpenFiles,
    kinds: Sequence[tuple[int, int]],
    listed: Mapping[int, Sequence[PeriodFile]],
    slot: str,
    step: int,
) -> _Levels:
    """
    Read what of a slot's files is yet to be put together, and what shorter steps have.
    """
    found = _Levels({kind: set() for kind, _ in kinds}, {kind: set() for kind, _ in kinds})
    level = _level(kinds, step)
    for kind, longer in kinds:
        files = [file for file in listed[kind] if file.writer == slot]
        if kind < level:
            due = _moments(opened, files, "SELECT at FROM due")
            found.stale[longer].update(due, (at - at % longer for at in found.stale[kind]))
        else:
            for beyond in [other for other, _ in kinds if other > kind]:
                found.split[beyond].update(_moments(opened, files, f"SELECT DISTINCT at - at % {beyond} FROM sampling"))
    return found


def _moments(opened: OpenFiles, files: Iterable[PeriodFile], asked: str) -> set[int]:
    return {at for file in files for (at,) in opened.read(file, lambda db: db.execute(asked).fetchall())}


def _level(kinds: Sequence[tuple[int, int]], step: int) -> int:
    """
    Return the longest step that is kept and not longer than what is asked for.
    """
    return max((kind for kind, _ in kinds if kind <= step), default=kinds[0][0])


def _wanted(levels: _Levels, kind: int, longer: int, step: int) -> Callable[[int], bool]:
    """
    Return which moments are taken from files of one step, so that each is taken once, where steps of `step` are asked:
    of steps as long, what is up to date; of shorter ones, what longer ones do not have yet; of longer ones, what
    shorter ones do not have any more.
    """
    stale, split = levels.stale[kind], levels.split[kind]
    if kind > step:
        return lambda at: at not in split
    if longer > step or longer == kind:
        return lambda at: at not in stale
    above = levels.stale[longer]
    return lambda at: at not in stale and at - at % longer in above


def _wanted_runs(source: _Source, span: Span) -> list[tuple[int, int]]:
    """
    Return the first and the last step of each run of those that are to be taken: others are not read.
    """
    runs: list[tuple[int, int]] = []
    is_going_on = False
    asked = "SELECT at FROM sampling WHERE at > ? AND at < ? ORDER BY at"
    for (at,) in source.db.execute(asked, (span.start - source.step, span.end)).fetchall():
        if is_wanted := source.wants(at):
            runs[len(runs) - is_going_on :] = [(runs[-1][0] if is_going_on else at, at)]
        is_going_on = is_wanted
    return runs


def _of_name(db: sqlite3.Connection, name: str, *, with_fine: bool = False) -> list[tuple[int, MetricRow]]:
    found = [(number, metric) for number, metric in read_metrics(db).items() if metric.name == name]
    return [(number, metric) for number, metric in found if with_fine or metric.kind != GRID]


def _keys(db: sqlite3.Connection, metric: int) -> dict[int, LabelSet]:
    asked = "SELECT id, labels FROM label_set WHERE metric = ?"
    return {number: tuple(json.loads(labels)) for number, labels in db.execute(asked, (metric,))}
