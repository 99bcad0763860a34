"""
What a metric's cells say, of this process or of all workers, before it has a name on a page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from obskit.catalogue import Metric
from obskit.catalogue.http import COUNTED
from obskit.metrics.cell_format import LabelSet
from obskit.metrics.cells import Cell, HistogramCell
from obskit.metrics.family import Family, Histogram
from obskit.metrics.family_renderer import CellValues, Exemplars
from obskit.metrics.merge import FineRows, can_merge, exact_sum, latest_by_bucket

if TYPE_CHECKING:
    from obskit.metrics.directory import MergedFamily, Snapshot

CellExemplars = Mapping[LabelSet, Exemplars]
# What a metric is asked for under, as by its name on the page; None: it is not asked for.
NameOf = Callable[[Metric], str | None]


class Figures(NamedTuple):
    """
    One metric's figures.

    Attributes:
        name: What they are asked for under.
        spec: Its row in the catalogue.
        cells: Label set and values of each cell; iterated once, and a histogram's before its counter's. Generated, for
            thousands of live tuples would trigger the garbage collector.
        exemplars: Of some cells, by label set.
    """

    name: str
    spec: Metric
    cells: Iterable[tuple[LabelSet, CellValues]]
    exemplars: CellExemplars = MappingProxyType({})


class CellColumns(NamedTuple):
    """
    One metric's label sets, and what their values are read from, in the same order.

    Two plain lists, for the same reason.
    """

    keys: Sequence[LabelSet]
    sources: Sequence[Any]
    read: Callable[[Any], CellValues]

    def shown(self, spec: Metric) -> Iterable[tuple[LabelSet, CellValues]]:
        """
        Return pairs of label set and values; a gauge's without the time it was set, which only merging needs.
        """
        if spec.kind == "histogram":
            return zip(self.keys, map(self.read, self.sources), strict=True)
        return zip(self.keys, zip([self.read(source)[0] for source in self.sources], strict=True), strict=True)


def local(family: Family[Any], exemplars: bool) -> tuple[Metric, CellColumns, CellExemplars]:
    """
    Return a family's cells in this process, and the row that they are by.
    """
    keys, cells = family.keys_and_cells()
    found = {key: cell.exemplars for key, cell in family.items() if cell.exemplars} if exemplars else {}
    read = HistogramCell.read_values if isinstance(family, Histogram) and family.has_fine else Cell.read_values
    return family.cell_spec, CellColumns(keys, cells, read), found


def merged(family: Family[Any], shared: MergedFamily | None) -> tuple[Metric, CellColumns, CellExemplars]:
    """
    Return a family's cells in all workers, and the row that they are by; None: no worker has any.
    """
    spec = shared.spec if shared is not None and not can_merge(shared.spec, family.cell_spec) else family.cell_spec
    if shared is not None and (shared.keys or family.spec.labels):
        return spec, columns_of(shared), shared.exemplars
    keys = [] if family.spec.labels else [()]
    return spec, CellColumns(keys, [[0.0] * (len(family.spec.buckets) + 3) for _ in keys], _identity), {}


def finer(families: Iterable[Family[Any]], reading: Snapshot | None) -> Iterator[tuple[str, FineRows]]:
    """
    Yield what there is on fine buckets, by the metric's name.

    Args:
        families: Of this process.
        reading: Of all workers; None: there are no others.
    """
    return _local_fine(families) if reading is None else _merged_fine(reading)


def _local_fine(families: Iterable[Family[Any]]) -> Iterator[tuple[str, FineRows]]:
    for family in families:
        if not isinstance(family, Histogram) or not family.has_fine:
            continue
        items = family.items()
        cells = [(key, cell) for key, cell in items if cell.fold_down is not None and cell.values]
        if cells:
            spec = replace(family.cell_spec, buckets=cells[0][1].bounds)
            found = FineRows(spec, [key for key, _ in cells], [tuple(cell.read_fine_values()) for _, cell in cells])
            is_counted = family.cell_spec is not family.spec
            yield family.spec.name, _summed(found, [key for key, _ in items], family.spec) if is_counted else found


def _merged_fine(reading: Snapshot) -> Iterator[tuple[str, FineRows]]:
    for name, shared in reading.families.items():
        if shared.fine is not None:
            rows = counted_by_others(shared.spec)
            yield name, shared.fine if rows is None else _summed(shared.fine, shared.keys, rows[0])


def _summed(fine: FineRows, keys: Iterable[LabelSet], own: Metric) -> FineRows:
    """
    Sum those of a counted histogram over the last label, where all that are added have fine buckets.

    Args:
        keys: All label sets, those without fine buckets too.
        own: The row of the histogram.
    """
    rows: dict[LabelSet, list[CellValues]] = {}
    for key, row in zip(fine.keys, fine.rows, strict=True):
        rows.setdefault(key[:-1], []).append(row)
    for key in {*keys}.difference(fine.keys):
        rows.pop(key[:-1], None)
    found = [tuple(some[0] if len(some) == 1 else _sum_rows(some)) for some in rows.values()]
    return FineRows(replace(own, buckets=fine.spec.buckets), list(rows), found)


def counted_by_others(spec: Metric) -> tuple[Metric, Metric] | None:
    """
    Return the rows of a counted histogram and its counter by that of their cells; None of any other metric.
    """
    rows = COUNTED.get(spec.name)
    if rows is None or spec.labels != (*rows[0].labels, rows[1].labels[-1]):
        return None
    return replace(rows[0], buckets=spec.buckets), rows[1]


def columns_of(shared: MergedFamily) -> CellColumns:
    """
    Return what the files of all workers say of one metric.
    """
    return CellColumns(shared.keys, shared.rows, _identity)


def _identity(row: CellValues) -> CellValues:
    return row


class CountedGroups:
    """
    Label sets of a counted histogram, grouped by that of the histogram; kept while the label sets are the same.
    """

    def __init__(self, keys: Sequence[LabelSet]) -> None:
        self.keys = keys
        self.members: dict[LabelSet, list[int]] = {}
        for index, key in enumerate(keys):
            self.members.setdefault(key[:-1], []).append(index)

    def figures(
        self,
        specs: tuple[Metric, Metric],
        cells: CellColumns,
        exemplars: CellExemplars,
        name_of: NameOf,
    ) -> Iterator[Figures]:
        """
        Yield the histogram, summed over the last label, and the counter of its observations, as far as asked for.

        Args:
            specs: The histogram's row, and the counter's.
            cells: Those of both.
            exemplars: Of these cells.
            name_of: Names those that are asked for.
        """
        histogram, counter = specs
        totals: list[float | None] = [None] * len(cells.keys)
        if (name := name_of(histogram)) is not None:
            shown: dict[LabelSet, Exemplars] = {}
            for key, found in exemplars.items():
                known = shown.get(key[:-1])
                shown[key[:-1]] = found if known is None else latest_by_bucket(known, found)
            yield Figures(name, histogram, self._histograms(cells, totals), shown)
        if (name := name_of(counter)) is not None:
            yield Figures(name, counter, self._counters(cells, totals))

    def _histograms(self, cells: CellColumns, totals: list[float | None]) -> Iterator[tuple[LabelSet, CellValues]]:
        """
        Yield the histograms, and write the number of observations of each label set into `totals`.
        """
        for key, members in self.members.items():
            rows = [cells.read(cells.sources[index]) for index in members]
            for index, row in zip(members, rows, strict=True):
                totals[index] = sum(row[2:])
            yield key, rows[0] if len(rows) == 1 else _sum_rows(rows)

    def _counters(self, cells: CellColumns, totals: list[float | None]) -> Iterator[tuple[LabelSet, CellValues]]:
        """
        Yield the counters from the histograms' totals, so that both agree; read now where those are not asked for.
        """
        for key, source, total in zip(cells.keys, cells.sources, totals, strict=True):
            yield key, (sum(cells.read(source)[2:]) if total is None else total,)


class CountedFigures:
    """
    The figures of histograms whose observations a counter shows.
    """

    def __init__(self) -> None:
        self._groups: dict[str, CountedGroups] = {}

    def clear(self) -> None:
        """
        Drop what is kept of their label sets.
        """
        self._groups.clear()

    def figures(
        self,
        rows: tuple[Metric, Metric],
        cells: CellColumns,
        exemplars: CellExemplars,
        counts: dict[LabelSet, float],
        name_of: NameOf,
    ) -> Iterator[Figures]:
        """
        Yield a histogram and its counter, and write the number of label sets into `counts`.
        """
        key = rows[0].name
        groups = self._groups.get(key)
        if groups is None or groups.keys != cells.keys:
            groups = self._groups[key] = CountedGroups(cells.keys)
        if name_of(rows[0]) is not None:
            counts[key,] = len(groups.members)
        yield from groups.figures(rows, cells, exemplars, name_of)


def _sum_rows(rows: list[CellValues]) -> CellValues:
    """
    Return the sum of several histograms. Their order may change between pages, and the sum must not decrease for that.
    """
    joined: list[float] = [*map(sum, zip(*rows, strict=True))]
    joined[1] = exact_sum([row[1] for row in rows])
    return joined
