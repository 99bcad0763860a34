"""
Reading of series files: over all slots, those of the dead included, each moment once.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, TypeVar

from obskit.errors import HistoryError
from obskit.history.files import HOUR_SECONDS, MINUTE_SECONDS, SeriesFiles
from obskit.history.increments import Point
from obskit.history.tables import SERIES, MetricRow, read_metrics
from obskit.metrics.cell_format import LabelSet, Row, decode_doubles
from obskit.storage.own_sqlite import reading
from obskit.storage.periods import PeriodFile, Span
from obskit.time.clock import Deadline

T = TypeVar("T")

_COLUMNS = ", ".join(f"point.{name}" for name in Point._fields)
# Point by point in the key's order, without those of other metrics that lie between.
_OF_ONE = f"""
SELECT point.at, sampling.step, point.label_set, {_COLUMNS} FROM sampling CROSS JOIN point ON point.at = sampling.at
WHERE sampling.at >= ? AND sampling.at <= ? AND point.metric = ?
"""
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
    """

    @property
    def every(self) -> int: ...

    def samplings(self, span: Span, step: int) -> list[StoredSampling]:
        """
        List what was sampled in a stretch of time, in steps that are as long, or as they are kept.
        """

    def points(self, name: str, span: Span, step: int) -> Iterator[StoredPoint]:
        """
        Yield the points of a metric in such steps, each moment of a slot once.
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


class _Due(NamedTuple):
    """
    Of one slot: the minutes and hours that are yet to be put together, and those that shorter steps have.
    """

    minutes: set[int]
    hours: set[int]
    fine_minutes: set[int]
    fine_hours: set[int]


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
        self._files, self._on_error, self._limit_seconds = files, on_error, limit_seconds

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

    def points(self, name: str, span: Span, step: int) -> Iterator[StoredPoint]:
        """
        Yield the points of a metric.

        Raises:
            HistoryError: It takes too long.
        """

        def read(source: _Source) -> list[StoredPoint]:
            found: list[StoredPoint] = []
            runs = _wanted_runs(source, span)
            for number, metric in _of_name(source.db, name) if runs else ():
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
        due = {str(number): self._due(str(number), span) for number in sorted(self._files.slots())}
        for kind, files in self._files.by_step.items():
            for file in files.overlapping(Span(span.start - kind, span.end)):
                if deadline.is_over():
                    raise HistoryError(
                        f"reading {self._files.folder} takes over {self._limit_seconds:g} s: ask for less"
                    )
                if file.writer in due:
                    wants = _wanted(due[file.writer], kind, step)
                    yield from self._guarded(
                        file,
                        lambda db, file=file, kind=kind, wants=wants: read(  # type: ignore[misc]
                            _Source(db, file.writer, kind, wants)
                        ),
                    )

    def _guarded(self, file: PeriodFile, read: Callable[[sqlite3.Connection], list[T]]) -> list[T]:
        try:
            with reading(file.path, SERIES) as db:
                return read(db)
        except FileNotFoundError:  # it was unlinked meanwhile
            return []
        except (OSError, sqlite3.Error, ValueError, KeyError, TypeError) as error:
            self._on_error(error)
            return []

    def _due(self, slot: str, span: Span) -> _Due:
        """
        Read what of a slot's files is yet to be put together.
        """
        minutes, fine_minutes = self._due_in(self._files.every, slot, span, MINUTE_SECONDS)
        hours, fine_hours = self._due_in(MINUTE_SECONDS, slot, span, HOUR_SECONDS)
        hours.update(at - at % HOUR_SECONDS for at in minutes)
        fine_hours.update(at - at % HOUR_SECONDS for at in fine_minutes)
        return _Due(minutes, hours, fine_minutes, fine_hours)

    def _due_in(self, step: int, slot: str, span: Span, longer: int) -> tuple[set[int], set[int]]:
        due: set[int] = set()
        fine: set[int] = set()

        def read(db: sqlite3.Connection) -> list[None]:
            due.update(at for (at,) in db.execute("SELECT at FROM due"))
            fine.update(at for (at,) in db.execute("SELECT DISTINCT at - at % ? FROM sampling", (longer,)))
            return []

        for file in self._files.by_step[step].overlapping(Span(span.start - HOUR_SECONDS, span.end + HOUR_SECONDS)):
            if file.writer == slot:
                self._guarded(file, read)
        return due, fine


def _wanted(due: _Due, kind: int, step: int) -> Callable[[int], bool]:
    """
    Return which moments are taken from files of one step, so that each is taken once, where steps of `step` are asked.
    """
    if kind == HOUR_SECONDS:
        without = due.hours if step >= HOUR_SECONDS else due.fine_hours
        return lambda at: at not in without
    if kind == MINUTE_SECONDS:
        if step >= HOUR_SECONDS:
            return lambda at: at - at % HOUR_SECONDS in due.hours and at not in due.minutes
        without = due.minutes if step >= MINUTE_SECONDS else due.fine_minutes
        return lambda at: at not in without
    if step >= MINUTE_SECONDS:
        return lambda at: at - at % MINUTE_SECONDS in due.minutes
    return lambda at: True


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


def _of_name(db: sqlite3.Connection, name: str) -> list[tuple[int, MetricRow]]:
    return [(number, metric) for number, metric in read_metrics(db).items() if metric.name == name]


def _keys(db: sqlite3.Connection, metric: int) -> dict[int, LabelSet]:
    asked = "SELECT id, labels FROM label_set WHERE metric = ?"
    return {number: tuple(json.loads(labels)) for number, labels in db.execute(asked, (metric,))}
