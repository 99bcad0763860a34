"""
Merging of one metric's values from the files of several workers.

Counts are whole numbers, and exact. Other sums are not: the result of adding floats depends on the order, and a sum
that decreases by a rounding error looks like a counter reset to Prometheus. So all parts of a sum are added at once,
correctly rounded, and a folded file keeps the rounding error.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, compress
from math import fsum, isfinite
from operator import is_not, itemgetter, ne
from struct import iter_unpack
from typing import NamedTuple, TypeAlias, TypeVar

from obskit.catalogue import Metric
from obskit.metrics.cell_format import (
    ABSENT,
    BucketExemplars,
    FamilyData,
    LabelSet,
    Row,
    decode_doubles,
    doubles_per_cell,
    is_absent,
)
from obskit.metrics.grids import FoldDown
from obskit.metrics.reader import batches
from obskit.operation import OVERFLOW

# Trace id, observed value, seconds since the epoch.
ExemplarT = TypeVar("ExemplarT", bound=tuple[str, float, float])
# Some cells of several files: for each file its family, and the bytes of those cells in the common order.
_AddRows: TypeAlias = Callable[[Sequence[FamilyData], Sequence[Sequence[bytes]]], Sequence[Row | None]]
_ABSENT_CELL = struct.pack("=d", ABSENT)


def can_merge(one: Metric, other: Metric) -> bool:
    """
    Return whether the values of two metrics can be merged.
    """
    return (one.kind, one.labels, one.buckets, one.workers) == (other.kind, other.labels, other.buckets, other.workers)


class Merger:
    """
    Merges the same files repeatedly; only cells that have changed are added again.
    """

    def __init__(self, parts: Sequence[FamilyData], add: _AddRows | None = None) -> None:
        self._spec = parts[0].spec
        self._sources = [part.keys for part in parts]
        self._lengths = [len(part.keys) for part in parts]
        self._keys = list(dict.fromkeys(chain.from_iterable(self._sources)))
        index_of = {key: index for index, key in enumerate(self._keys)}
        self._picks = [_reorder(index_of, part.keys) for part in parts]
        self._groups: list[tuple[bytes, ...]] = [()] * len(self._keys)
        self._rows: list[Row | None] = [None] * len(self._keys)
        self._add = add or (_GAUGES[self._spec.workers] if self._spec.kind == "gauge" else _add)

    def matches(self, parts: Sequence[FamilyData]) -> bool:
        """
        Return whether these are the same files, with the same number of cells.
        """
        return (
            len(parts) == len(self._sources)
            and all(part.keys is source for part, source in zip(parts, self._sources, strict=True))
            and [len(part.keys) for part in parts] == self._lengths
            and can_merge(parts[0].spec, self._spec)
        )

    def merge(self, parts: Sequence[FamilyData]) -> tuple[Sequence[LabelSet], Sequence[Row]]:
        """
        Return label sets and rows. A row that has not changed since the last call is the same object.
        """
        ordered = [pick([*part.raws, _empty_cell(part)]) for pick, part in zip(self._picks, parts, strict=True)]
        groups = list(zip(*ordered, strict=True))
        changed = list(compress(range(len(groups)), map(ne, groups, self._groups)))
        for batch in batches(changed, parts[0].width):
            added = self._add(parts, [[raws[index] for index in batch] for raws in ordered])
            for index, row in zip(batch, added, strict=True):
                self._rows[index] = row
        self._groups = groups
        rows = [row for row in self._rows if row is not None]
        if len(rows) == len(self._keys):
            return self._keys, rows
        return [key for key, row in zip(self._keys, self._rows, strict=True) if row is not None], rows


class FineRows(NamedTuple):
    """
    Histograms on finer buckets than the metric's own, of the label sets whose observations all have them.

    Attributes:
        spec: The metric, with these buckets.
    """

    spec: Metric
    keys: Sequence[LabelSet]
    rows: Sequence[Row]


class MixedMerger:
    """
    Merges files of which some have finer buckets than the metric's own: what is shown of all are its own.

    Attributes:
        fine: What the last merge has on fine buckets.
    """

    def __init__(self, parts: Sequence[FamilyData]) -> None:
        self._buckets = [part.spec.buckets for part in parts]
        own = parts[0].metric.buckets
        self._folds = {bounds: FoldDown(bounds, own) if bounds != own else None for bounds in self._buckets}
        self._mergers = {bounds: Merger(self._with(bounds, parts)) for bounds in self._folds}
        self._folded: dict[tuple[tuple[float, ...], LabelSet], tuple[Row, Row]] = {}
        self._joined: dict[LabelSet, tuple[tuple[Row, ...], Row]] = {}
        self.fine: FineRows | None = None

    def _with(self, bounds: tuple[float, ...], parts: Sequence[FamilyData]) -> list[FamilyData]:
        return [part for part in parts if part.spec.buckets == bounds]

    def matches(self, parts: Sequence[FamilyData]) -> bool:
        """
        Return whether these are the same files, with the same number of cells.
        """
        return [part.spec.buckets for part in parts] == self._buckets and all(
            merger.matches(self._with(bounds, parts)) for bounds, merger in self._mergers.items()
        )

    def merge(self, parts: Sequence[FamilyData]) -> tuple[Sequence[LabelSet], Sequence[Row]]:
        """
        Return label sets and rows. A row that has not changed since the last call is the same object.
        """
        found: dict[LabelSet, tuple[Row, ...]] = {}
        fine: list[tuple[Metric, dict[LabelSet, Row]]] = []
        for bounds, merger in self._mergers.items():
            group = self._with(bounds, parts)
            keys, rows = merger.merge(group)
            fold_down = self._folds[bounds]
            if fold_down is not None:
                fine.append((group[0].spec, dict(zip(keys, rows, strict=True))))
                rows = [self._fold(bounds, key, row, fold_down) for key, row in zip(keys, rows, strict=True)]
            for key, row in zip(keys, rows, strict=True):
                found[key] = (*found.get(key, ()), row)
        self.fine = None
        if len(fine) == 1:
            [(spec, cells)] = fine
            alone = [key for key in cells if len(found[key]) == 1]
            self.fine = FineRows(spec, alone, [cells[key] for key in alone])
        return list(found), [self._join(key, rows) for key, rows in found.items()]

    def _fold(self, bounds: tuple[float, ...], key: LabelSet, row: Row, fold_down: FoldDown) -> Row:
        known = self._folded.get((bounds, key))
        if known is None or known[0] is not row:
            known = self._folded[bounds, key] = row, fold_down(row)
        return known[1]

    def _join(self, key: LabelSet, rows: tuple[Row, ...]) -> Row:
        if len(rows) == 1:
            return rows[0]
        known = self._joined.get(key)
        if known is None or len(known[0]) != len(rows) or any(map(is_not, known[0], rows)):
            total: list[float] = list(map(sum, zip(*rows, strict=True)))
            total[1] = exact_sum([row[1] for row in rows])
            known = self._joined[key] = rows, tuple(total)
        return known[1]


def _reorder(index_of: dict[LabelSet, int], keys: Sequence[LabelSet]) -> Callable[[Sequence[bytes]], Sequence[bytes]]:
    """
    Return a function that brings a file's cells into the common order; a missing cell is the last item.
    """
    order = [len(keys)] * len(index_of)
    for index, key in enumerate(keys):
        order[index_of[key]] = index
    return itemgetter(*order) if len(order) > 1 else lambda raws: [raws[index] for index in order]


def _empty_cell(part: FamilyData) -> bytes:
    return _ABSENT_CELL if part.spec.kind == "gauge" else bytes(8 * part.width)


def _add(parts: Sequence[FamilyData], raws: Sequence[Sequence[bytes]]) -> list[Row]:
    return _add_columns(parts, raws)[0]


def _add_with_rest(parts: Sequence[FamilyData], raws: Sequence[Sequence[bytes]]) -> list[Row]:
    """
    Add counters or histograms, and append the rounding error of its sum to each.
    """
    rows, columns = _add_columns(parts, raws)
    index_of = _sum_index(parts[0].spec)
    rests = map(exact_sum, zip([-row[index_of] for row in rows], *columns, strict=True))
    return [(*row, rest if isfinite(rest) else 0.0) for row, rest in zip(rows, rests, strict=True)]


def _add_columns(
    parts: Sequence[FamilyData], raws: Sequence[Sequence[bytes]]
) -> tuple[list[Row], list[Sequence[float]]]:
    """
    Return the added rows, and the parts of their sums, file by file.
    """
    size, index_of = doubles_per_cell(parts[0].spec), _sum_index(parts[0].spec)
    flats: list[Sequence[float]] = []
    rests: list[Sequence[float]] = []
    for part, cells in zip(parts, raws, strict=True):
        packed = b"".join(cells)
        if part.width == size:
            flats.append(decode_doubles(packed))
        else:
            flats.append(list(chain.from_iterable(iter_unpack(f"={size}d8x", packed))))
            rests.append(list(chain.from_iterable(iter_unpack(f"={8 * size}xd", packed))))
    columns = [*(flat[index_of::size] for flat in flats), *rests]
    total: list[float] = list(map(sum, zip(*flats, strict=True)))
    total[index_of::size] = map(exact_sum, zip(*columns, strict=True))
    return list(zip(*[iter(total)] * size, strict=True)), columns


def _sum_index(spec: Metric) -> int:
    return 1 if spec.kind == "histogram" else 0


def exact_sum(parts: Sequence[float]) -> float:
    """
    Return the sum, rounded once: it does not depend on the order.
    """
    try:
        return fsum(parts)
    except (OverflowError, ValueError):  # infinities
        return sum(parts)


def _gauges(choose: Callable[[list[Row]], Row]) -> _AddRows:
    def add(parts: Sequence[FamilyData], raws: Sequence[Sequence[bytes]]) -> list[Row | None]:
        there = [[row for row in map(decode_doubles, cell) if not is_absent(row)] for cell in zip(*raws, strict=True)]
        return [choose(rows) if rows else None for rows in there]

    return add


_GAUGES = {
    "sum": _gauges(lambda rows: (exact_sum([row[0] for row in rows]),)),
    "min": _gauges(min),
    "max": _gauges(max),
    "latest": _gauges(lambda rows: max(rows, key=itemgetter(1))[:1]),
}


def latest_exemplars(parts: Iterable[FamilyData]) -> dict[LabelSet, BucketExemplars]:
    """
    Return the latest exemplar of each bucket, by label set.
    """
    found: dict[LabelSet, BucketExemplars] = {}
    for part in parts:
        for cell, slots in part.exemplars.items():
            known = found.get(part.keys[cell])
            found[part.keys[cell]] = slots if known is None else latest_by_bucket(known, slots)
    return found


def latest_by_bucket(one: Mapping[int, ExemplarT], other: Mapping[int, ExemplarT]) -> dict[int, ExemplarT]:
    """
    Return the latest exemplar of each bucket of both.
    """
    found = dict(one)
    for index, exemplar in dict(other).items():
        if index not in found or exemplar[2] > found[index][2]:
            found[index] = exemplar
    return found


def fold(families: Iterable[FamilyData], max_label_sets: int) -> list[FamilyData]:
    """
    Merge what outlives its workers: counters and histograms, by name, labels and buckets.

    Args:
        max_label_sets: Cap per metric; those beyond are merged into one whose label values are all `_OVERFLOW`.
    """
    groups: list[list[FamilyData]] = []
    for family in families:
        if family.spec.kind == "gauge" or not family.keys:
            continue
        for parts in groups:
            if parts[0].name == family.name and can_merge(parts[0].spec, family.spec):
                parts.append(family)
                break
        else:
            groups.append([family])
    return [_folded(parts, max_label_sets) for parts in groups]


def _folded(parts: list[FamilyData], max_label_sets: int) -> FamilyData:
    spec, width = parts[0].spec, doubles_per_cell(parts[0].spec) + 1
    keys, rows = Merger(parts, _add_with_rest).merge(parts)
    cells, overflow = dict(zip(keys, rows, strict=True)), (OVERFLOW,) * len(spec.labels)
    if len(cells) > max_label_sets:
        beyond = [row for key in (*keys[max_label_sets:], overflow) if (row := cells.pop(key, None))]
        cells[overflow] = _sum_rows(beyond, spec)
    raws = [struct.pack(f"={width}d", *row) for row in cells.values()]
    return FamilyData(spec, parts[0].name, width, list(cells), raws, own=parts[0].own)


def _sum_rows(rows: list[Row], spec: Metric) -> Row:
    """
    Add several rows that have the rounding error of their sum at their end.
    """
    index_of = _sum_index(spec)
    parts = [row[index] for row in rows for index in (index_of, -1)]
    total: list[float] = list(map(sum, zip(*rows, strict=True)))
    total[index_of] = exact_sum(parts)
    rest = exact_sum([-total[index_of], *parts])
    return (*total[:-1], rest if isfinite(rest) else 0.0)
