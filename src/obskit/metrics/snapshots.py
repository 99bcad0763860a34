"""
All figures of all workers at one moment, as data: what the page says, under the catalogue's names.

    snapshot = take(collector)
    for family in snapshot.families.values():
        for labels, row in zip(family.keys, family.rows):
            ...

Names and labels are the catalogue's and those of declarations, whatever namespace and renames the page has, and what
the page leaves out is there too. Metrics that the application has declared with `prometheus_client` itself are not:
their values are that library's, and of one worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from obskit.catalogue import Metric
from obskit.metrics.cell_format import LabelSet, Row
from obskit.time.clock import clock

if TYPE_CHECKING:
    from obskit.metrics.collector import MetricCollector
    from obskit.metrics.figures import Figures


@dataclass(frozen=True, slots=True)
class FamilySnapshot:
    """
    One metric's figures.

    Attributes:
        spec: Its row: name, type, unit, labels, buckets, and what the numbers of a state stand for.
        keys: Label sets, as values in the order of the row's labels.
        rows: In the same order: `(value,)`, of a histogram `(count, sum, bucket, ..., +Inf bucket)`, not cumulative.
    """

    spec: Metric
    keys: Sequence[LabelSet]
    rows: Sequence[Row]

    @property
    def cells(self) -> dict[LabelSet, Row]:
        """
        The figures by label set.
        """
        return dict(zip(self.keys, self.rows, strict=True))


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """
    All figures of one instance.

    Attributes:
        at: When they were read, in seconds since the epoch.
        families: By the metric's name in the catalogue, or as it was declared. What nothing is known of is not there.
        pids: Process ids of the workers whose figures they are, by the label `worker`.
        is_whole: Whether they are of all workers: False where these cannot be merged, a file could not be read, or
            workers have declared a metric differently.
    """

    at: float
    families: Mapping[str, FamilySnapshot]
    pids: Mapping[str, int]
    is_whole: bool


def take(collector: MetricCollector) -> MetricsSnapshot:
    """
    Read the figures of all workers. It takes no lock that an update or another process waits for; a large number of
    label sets takes milliseconds: call it in a thread.
    """
    at, reading = clock.wall(), collector.read()
    families = {figures.name: _family(figures) for figures in collector.figures(reading, attrgetter("name"))}
    is_whole = not collector.is_degraded and (reading is None or not (reading.unreadable or reading.conflicts))
    return MetricsSnapshot(at, families, collector.pids(reading), is_whole)


def _family(figures: Figures) -> FamilySnapshot:
    keys: list[LabelSet] = []
    rows: list[Row] = []
    for key, values in figures.cells:
        keys.append(key)
        rows.append(_histogram(values) if figures.spec.kind == "histogram" else (float(values[0]),))
    return FamilySnapshot(figures.spec, keys, rows)


def _histogram(values: Sequence[float]) -> Row:
    return (sum(values[2:]), *values[1:])
