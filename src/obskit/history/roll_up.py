"""
Longer steps from shorter ones: minutes from the finest, hours from minutes, days from hours.

A file knows which minutes, or hours, of it are due: those that were written to since they were last put together. Where
a process is killed on the way, the next one does it again, with the same result.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from math import fsum
from typing import TypeAlias

from obskit.history.files import MINUTE_SECONDS, SeriesFiles
from obskit.history.increments import Point
from obskit.history.lanes import add_up, pack
from obskit.history.series_slot import SeriesSlot, add_points, note_sampling
from obskit.history.tables import GRID, Ids, MetricRow
from obskit.metrics.cell_format import LabelSet


class LongerStepError(OSError):
    """
    Report that a longer step cannot be written, which says nothing of the file that has the shorter ones.
    """


Places: TypeAlias = dict[tuple[MetricRow, LabelSet], list[tuple[int, Point]]]


def roll_up(slot: SeriesSlot, files: SeriesFiles, until: int) -> None:
    """
    Put together what is due in a slot, and over.

    Args:
        slot: Whose files.
        files: Of all slots.
        until: The moment up to which there is nothing more to come, in seconds since the epoch.

    Raises:
        OSError, sqlite3.Error: A file cannot be used; what is due in it stays so, and what others have is done.
    """
    failed = _roll_up_all(slot, files, until)
    if slot.lost:
        _make_due_again(slot, files)
        failed = _roll_up_all(slot, files, until)
    if failed:
        raise failed[0]


def _roll_up_all(slot: SeriesSlot, files: SeriesFiles, until: int) -> list[OSError | sqlite3.Error]:
    """
    Put together what is due in each file; return what has failed.
    """
    failed: list[OSError | sqlite3.Error] = []
    for step, longer in pairwise(files.by_step):
        for file in files.by_step[step].files():
            if file.writer == str(slot.number) and file.path not in slot.complete:
                try:
                    _roll_up_file(slot, int(file.span.start), step, longer, until)
                except (OSError, sqlite3.Error) as error:
                    failed.append(error)
                    continue
                if file.span.end <= until:
                    slot.complete.add(file.path)
    return failed


def _make_due_again(slot: SeriesSlot, files: SeriesFiles) -> None:
    """
    Have what was in damaged files put together again, as far as shorter steps are still kept.
    """
    steps = list(files.by_step)
    for step, at in list(slot.lost):
        shorter = steps[steps.index(step) - 1]
        span = files.by_step[step].span_of(files.by_step[step].path_at(at, str(slot.number)))

        def work(db: sqlite3.Connection, ids: Ids) -> None:
            asked = "INSERT OR IGNORE INTO due SELECT DISTINCT at - at % ? FROM sampling WHERE at >= ? AND at < ?"
            db.execute(asked, (step, *span))  # noqa: B023

        for file in files.by_step[shorter].overlapping(span):
            if file.writer == str(slot.number):
                slot.write(shorter, int(file.span.start), work)
        slot.lost.discard((step, at))


def _roll_up_file(slot: SeriesSlot, at: int, step: int, longer: int, until: int) -> None:
    due: list[int] = []
    slot.write(step, at, lambda db, ids: due.extend(_due(db, until - longer)))
    for start in due:
        slot.write(step, at, lambda db, ids, start=start: _lengthen(slot, db, ids, start, step, longer))  # type: ignore[misc]


def _due(db: sqlite3.Connection, latest: int) -> list[int]:
    return [at for (at,) in db.execute("SELECT at FROM due WHERE at <= ? ORDER BY at", (latest,))]


def _lengthen(slot: SeriesSlot, db: sqlite3.Connection, ids: Ids, start: int, step: int, longer: int) -> None:
    """
    Write one longer step, then forget that it is due: killed in between, it is written again.
    """
    samplings = db.execute(
        "SELECT at, samples FROM sampling WHERE at >= ? AND at < ?", (start, start + longer)
    ).fetchall()
    found = list(combined(read_places(db, ids, start, start + longer), [at for at, _ in samplings], step))
    samples = sum(number for _, number in samplings)

    beyond = next((step for step in slot.steps if step > longer), None)

    def work(target: sqlite3.Connection, target_ids: Ids) -> None:
        target.execute("DELETE FROM point WHERE at = ?", (start,))
        target.execute("DELETE FROM sampling WHERE at = ?", (start,))
        add_points(target, target_ids, start, found)
        note_sampling(target, start, samples, longer)
        if beyond is not None:
            target.execute("INSERT OR IGNORE INTO due VALUES (?)", (start - start % beyond,))

    try:
        slot.write(longer, start, work)
    except (OSError, sqlite3.Error) as error:
        raise LongerStepError(str(error)) from error
    db.execute("DELETE FROM due WHERE at = ?", (start,))


def read_places(db: sqlite3.Connection, ids: Ids, start: int, end: int) -> Places:
    """
    Read the points of a stretch of time, by metric and label set, each list from the oldest on.
    """
    by_number = {number: place for place, number in ids.label_sets.items()}
    asked = f"SELECT at, label_set, {', '.join(Point._fields)} FROM point WHERE at >= ? AND at < ? ORDER BY at"
    found: Places = {}
    for at, number, *row in db.execute(asked, (start, end)):
        found.setdefault(by_number[number], []).append((at, Point(*row)))
    return found


def combined(places: Places, samplings: Sequence[int], step: int) -> Iterator[tuple[MetricRow, LabelSet, Point]]:
    """
    Yield the point of one longer step for each label set that has any.

    Args:
        places: Points of its steps.
        samplings: The steps that were sampled, in order.
        step: Seconds of each.
    """
    for (metric, key), points in places.items():
        if metric.kind == "gauge" and step < MINUTE_SECONDS:
            points = carried(points, samplings)
        if point := join(metric, points):
            yield metric, key, point


def carried(points: Sequence[tuple[int, Point]], samplings: Iterable[int]) -> list[tuple[int, Point]]:
    """
    Return a gauge's value at each sampling: only changes are stored.
    """
    by_moment, value, found = dict(points), None, []
    for at in samplings:
        if at in by_moment:
            value = by_moment[at].value
        if value is not None:
            found.append((at, Point(value, 1, None, value, value, at - at % MINUTE_SECONDS, value)))
    return found


def join(metric: MetricRow, points: Sequence[tuple[int, Point]]) -> Point | None:
    """
    Join the points of one label set, from the oldest on.
    """
    if not points:
        return None
    if metric.kind == "gauge":
        return _gauge([(at, point) for at, point in points if point.value is not None])
    value = fsum(point.value or 0.0 for _, point in points)
    if metric.kind == "counter":
        at, top = max(points, key=lambda it: it[1].value or 0.0)
        return Point(value, highest=top.value, highest_at=at - at % MINUTE_SECONDS)
    lanes = pack(add_up((point.lanes or b"" for _, point in points), len(metric.bounds) + 1))
    if metric.kind == GRID:
        return Point(None, sum(it.n or 0 for _, it in points), lanes)
    at, top = max(points, key=lambda it: it[1].n or 0)
    return Point(value, sum(it.n or 0 for _, it in points), lanes, highest=top.n, highest_at=at - at % MINUTE_SECONDS)


def _gauge(points: Sequence[tuple[int, Point]]) -> Point | None:
    if not points:
        return None
    lowest = min(point.lowest for _, point in points if point.lowest is not None)
    top = max((point for _, point in points if point.highest is not None), key=lambda it: it.highest or 0.0)
    number, total = sum(it.n or 0 for _, it in points), fsum(it.total or 0.0 for _, it in points)
    return Point(points[-1][1].value, number, None, lowest, top.highest, top.highest_at, total)
