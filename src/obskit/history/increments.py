"""
What has changed between two samplings of one instance: increments of counters and histograms, values of gauges.

A total is never an increment: what was counted is the difference to the total that was stored with the last increment.
An instance that is new counts from 0; a counter that runs since the machine started, from its first sample. What a
process counts of itself begins anew with the next process that has its number. Any other total that falls is a fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import NamedTuple, TypeAlias

from obskit.catalogue import Metric
from obskit.history.lanes import pack
from obskit.history.tables import GRID, MetricRow, metric_row
from obskit.metrics.cell_format import LabelSet, Row
from obskit.metrics.snapshots import FamilySnapshot

Totals: TypeAlias = dict[tuple[MetricRow, LabelSet], Row]


class Point(NamedTuple):
    """
    What one label set has in one step.

    Attributes:
        value: Of a counter its increase, of a histogram the increase of its sum, of a gauge its last value; None where
            it has left, and of fine buckets.
        n: Of a histogram how many observations; of a gauge, in longer steps, how many samples.
        lanes: Of a histogram the observations of each bucket.
        lowest, highest, total: Of a gauge, in longer steps; `highest` also of the others, for their largest minute.
        highest_at: The start of that minute.
    """

    value: float | None
    n: int | None = None
    lanes: bytes | None = None
    lowest: float | None = None
    highest: float | None = None
    highest_at: int | None = None
    total: float | None = None


class Change(NamedTuple):
    """
    A label set that has changed, is new, or has gone.

    Attributes:
        figures: Its totals from now on, or its gauge's value; None where it has gone.
        point: What is stored of it; None where it is only known from now on.
        has_fallen: Whether a total is less than it was, which none may be within one instance.
    """

    metric: MetricRow
    key: LabelSet
    figures: Row | None
    point: Point | None
    has_fallen: bool = False


def changes(
    families: Mapping[str, FamilySnapshot], before: Totals, *, counts_from_zero: bool = True, is_whole: bool = True
) -> Iterator[Change]:
    """
    Yield what has changed.

    Args:
        families: Of the snapshot.
        before: What was stored, by metric and label set.
        counts_from_zero: False where something was stored that is lost: what is not in `before` counts from now on.
        is_whole: False where not all workers could be read: what is less than before says nothing then.
    """
    gauges: set[tuple[MetricRow, LabelSet]] = set()
    for family in families.values():
        metric = metric_row(family.spec)
        for key, row in zip(family.keys, family.rows, strict=True):
            known = before.get((metric, key))
            if metric.kind == "gauge":
                if row[0] == row[0]:  # NaN is no value
                    gauges.add((metric, key))
                    if known != row:
                        yield Change(metric, key, row, Point(row[0]))
            elif known is not row and known != row and isfinite(row[0]):
                change = _counted(family.spec, Change(metric, key, row, None), known, counts_from_zero)
                if is_whole or not change.has_fallen:
                    yield change
        if family.fine is not None:
            yield from _fine_changes(family.fine, before, counts_from_zero)
    for metric, key in [place for place in before if place[0].kind == "gauge" and place not in gauges]:
        yield Change(metric, key, None, Point(None))


def _fine_changes(fine: FamilySnapshot, before: Totals, counts_from_zero: bool) -> Iterator[Change]:
    """
    Yield what has changed in fine buckets. A label set is without them while not all workers have them for it.
    """
    grid = metric_row(fine.spec)._replace(kind=GRID)
    for key, row in zip(fine.keys, fine.rows, strict=True):
        known = before.get((grid, key))
        if known is not row and known != row:
            change = _counted(fine.spec, Change(grid, key, row, None), known, counts_from_zero)
            point = change.point._replace(value=None) if change.point is not None and change.point.n else None
            yield change._replace(point=point, has_fallen=False)


def _counted(spec: Metric, change: Change, known: Row | None, counts_from_zero: bool) -> Change:
    row = change.figures or ()
    nothing = (0.0,) * len(row)
    if known is None:
        runs_since_boot = spec.kind == "counter" and spec.is_shared
        return change if runs_since_boot or not counts_from_zero else change._replace(point=_increment(row, nothing))
    if not _has_fallen(spec, row, known):
        return change._replace(point=_increment(row, known))
    if spec.labels == ("worker",):  # of a process, and the next one of its number begins at 0
        return change._replace(point=_increment(row, nothing))
    return change._replace(has_fallen=not spec.is_shared)


def _increment(row: Row, known: Row) -> Point | None:
    if row == known:
        return None
    if len(row) == 1:
        return Point(row[0] - known[0])
    buckets = [now - before for now, before in zip(row[2:], known[2:], strict=True)]
    total = row[1] - known[1]
    return Point(total if isfinite(total) else None, int(row[0] - known[0]), pack(buckets))


def _has_fallen(spec: Metric, row: Row, known: Row) -> bool:
    """
    Return whether a total is less than it was. The sum of a histogram may be, since observations may be below 0.
    """
    counts = row if spec.kind == "counter" else (row[0], *row[2:])
    before = known if spec.kind == "counter" else (known[0], *known[2:])
    return any(now < then for now, then in zip(counts, before, strict=True))
