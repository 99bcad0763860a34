"""
All figures of all workers at one moment, as data: what the page says, under the catalogue's names.

    snapshot = obskit.metrics.snapshot()
    for family in snapshot.families.values():
        for labels, row in zip(family.keys, family.rows):
            ...

Names and labels are the catalogue's and those of declarations, whatever namespace and renames the page has, and what
the page leaves out is there too. Metrics that the application has declared with `prometheus_client` itself are not:
their values are that library's, and of one worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from obskit.catalogue import Metric
from obskit.errors import LabelError
from obskit.metrics.cell_format import LabelSet, Row
from obskit.metrics.grids import FoldDown
from obskit.time.clock import clock

if TYPE_CHECKING:
    from obskit.metrics.collector import MetricCollector
    from obskit.metrics.figures import Figures
    from obskit.metrics.merge import FineRows


class Exemplar(NamedTuple):
    """
    One observation in a bucket, and the trace in which it was made.

    Attributes:
        trace_id: Of the trace, in 32 hexadecimal digits.
        value: What was observed.
        at: When, in seconds since the epoch.
    """

    trace_id: str
    value: float
    at: float


@dataclass(frozen=True, slots=True)
class FamilySnapshot:
    """
    One metric's figures.

    Attributes:
        spec: Its row in the catalogue, or its declaration: `name`, `kind`, `unit`, `help`, `labels`, `buckets`, and
            `values`, which says what the numbers of a state stand for.
        keys: Label sets, as values in the order of `spec.labels`.
        rows: In the same order: `(value,)`, of a histogram `(count, sum, bucket, ..., +Inf bucket)`, not cumulative.
        exemplars: Of the histograms' buckets that have one, by label set and number of the bucket, from 0; empty where
            they were not asked for.
        fine: Of a histogram in seconds, where finer buckets are kept: the same on these, for quantiles, of the label
            sets whose observations all have them.
    """

    spec: Metric
    keys: Sequence[LabelSet]
    rows: Sequence[Row]
    exemplars: Mapping[LabelSet, Mapping[int, Exemplar]] = field(default_factory=dict)
    fine: FamilySnapshot | None = None

    @property
    def cells(self) -> dict[LabelSet, Row]:
        """
        The figures by label set.
        """
        return dict(zip(self.keys, self.rows, strict=True))

    def value(self, **labels: str) -> Row | None:
        """
        Return the figures of one label set; None: there are none.

        Raises:
            LabelError: The metric has other labels.
        """
        if labels.keys() != set(self.spec.labels):
            raise LabelError(f"{self.spec.name} has the labels {self.spec.labels}, and was asked for {tuple(labels)}")
        return self.cells.get(tuple(labels[name] for name in self.spec.labels))


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """
    All figures of one instance.

    Attributes:
        at: When they were read, in seconds since the epoch.
        families: By the metric's name in the catalogue, or as it was declared. What nothing is known of is not there.
        pids: Process ids of the workers whose figures they are, by the label `worker`.
        is_whole: Whether they are of all workers: False where these cannot be merged, a file could not be read,
            workers have declared a metric differently, or no metrics are kept.
    """

    at: float
    families: Mapping[str, FamilySnapshot]
    pids: Mapping[str, int]
    is_whole: bool


# That of the active runtime.
_collector: MetricCollector | None = None


def bind(collector: MetricCollector | None) -> None:
    """
    Take the collector of the runtime that becomes active; None: there is none any more.
    """
    global _collector
    _collector = collector


def snapshot(*, exemplars: bool = False) -> MetricsSnapshot:
    """
    Read the figures of all workers of this instance, as `/metrics` shows them, under the names of the catalogue.

    It takes some milliseconds for thousands of label sets: from a coroutine, call it in a thread.

    Where obskit is off, or `metrics` is, there are no families, and it is not whole.

    Args:
        exemplars: With the exemplars of histograms.
    """
    if _collector is None:
        return MetricsSnapshot(clock.wall(), {}, {}, is_whole=False)
    return take(_collector, exemplars=exemplars)


def take(collector: MetricCollector, *, exemplars: bool = False) -> MetricsSnapshot:
    """
    Read the figures of all workers, of a collector. No update waits for more than one cell's reading.
    """
    at, reading = clock.wall(), collector.read(exemplars=exemplars)
    found = collector.figures(reading, attrgetter("name"), exemplars=exemplars)
    families = {figures.name: _family(figures) for figures in found}
    for name, fine in collector.fine_figures(reading):
        families[name] = with_fine(families[name], fine)
    is_whole = not collector.is_degraded and (reading is None or not (reading.unreadable or reading.conflicts))
    return MetricsSnapshot(at, families, collector.pids(reading), is_whole)


def _family(figures: Figures) -> FamilySnapshot:
    keys: list[LabelSet] = []
    rows: list[Row] = []
    for key, values in figures.cells:
        keys.append(key)
        rows.append(_histogram(values) if figures.spec.kind == "histogram" else (float(values[0]),))
    marks = {key: {index: Exemplar(*one) for index, one in marks.items()} for key, marks in figures.exemplars.items()}
    return FamilySnapshot(figures.spec, keys, rows, marks)


def _histogram(values: Sequence[float]) -> Row:
    return (sum(values[2:]), *values[1:])


def with_fine(family: FamilySnapshot, fine: FineRows) -> FamilySnapshot:
    """
    Add what there is on fine buckets. It may be a moment younger, in memory: of these label sets it is what counts.
    """
    fold_down = FoldDown(fine.spec.buckets, family.spec.buckets)
    rows = [_histogram(row) for row in fine.rows]
    own = dict(zip(fine.keys, map(fold_down, rows), strict=True))
    shown = [own.get(key, row) for key, row in zip(family.keys, family.rows, strict=True)]
    return replace(family, rows=shown, fine=FamilySnapshot(fine.spec, fine.keys, rows))
