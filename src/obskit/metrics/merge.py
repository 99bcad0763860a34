"""
Add up what the files of several workers say of one metric.

Counts are whole numbers, and exact. Other sums are not: the result of adding floats depends on the order, and a sum
that is a rounding error less than the one before looks like a restart to Prometheus. So all parts of a sum are added
in one go, correctly rounded, and a folded file keeps what rounding took away.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, compress
from math import fsum, isfinite
from operator import itemgetter, ne
from struct import iter_unpack
from typing import TypeAlias, TypeVar

from obskit.catalogue import Metric
from obskit.metrics.cell_format import ABSENT, Figures, Labels, Row, Slots, is_absent, size_of, unpack
from obskit.metrics.reader import batches
from obskit.operation import OVERFLOW

# Trace id, observed value, seconds since the epoch.
E = TypeVar("E", bound=tuple[str, float, float])
# Some cells of several files: for each file its figures, and the bytes of those cells in the common order.
_Add: TypeAlias = Callable[[Sequence[Figures], Sequence[Sequence[bytes]]], Sequence[Row | None]]
_NOT_THERE = struct.pack("=d", ABSENT)


def same(one: Metric, other: Metric) -> bool:
    """
    Tell whether the figures of two metrics can be added up.
    """
    return (one.kind, one.labels, one.buckets, one.workers) == (other.kind, other.labels, other.buckets, other.workers)


class Sum:
    """
    Add up the same files again and again; only what has changed is added again.
    """

    def __init__(self, parts: Sequence[Figures], add: _Add | None = None) -> None:
        self._spec = parts[0].spec
        self._sources = [part.keys for part in parts]
        self._lengths = [len(part.keys) for part in parts]
        self._keys = list(dict.fromkeys(chain.from_iterable(self._sources)))
        place = {key: index for index, key in enumerate(self._keys)}
        self._picks = [_in_order(place, part.keys) for part in parts]
        self._groups: list[tuple[bytes, ...]] = [()] * len(self._keys)
        self._rows: list[Row | None] = [None] * len(self._keys)
        self._add = add or (_GAUGES[self._spec.workers] if self._spec.kind == "gauge" else _add)

    def fits(self, parts: Sequence[Figures]) -> bool:
        """
        Tell whether these are the files, with as many cells.
        """
        return (
            len(parts) == len(self._sources)
            and all(part.keys is source for part, source in zip(parts, self._sources, strict=True))
            and [len(part.keys) for part in parts] == self._lengths
            and same(parts[0].spec, self._spec)
        )

    def update(self, parts: Sequence[Figures]) -> tuple[Sequence[Labels], Sequence[Row]]:
        """
        Give label sets and rows. A row that has not changed since the update before is the same object.
        """
        ordered = [pick([*part.raws, _nothing(part)]) for pick, part in zip(self._picks, parts, strict=True)]
        groups = list(zip(*ordered, strict=True))
        changed = list(compress(range(len(groups)), map(ne, groups, self._groups)))
        for batch in batches(changed):
            added = self._add(parts, [[raws[index] for index in batch] for raws in ordered])
            for index, row in zip(batch, added, strict=True):
                self._rows[index] = row
        self._groups = groups
        rows = [row for row in self._rows if row is not None]
        if len(rows) == len(self._keys):
            return self._keys, rows
        return [key for key, row in zip(self._keys, self._rows, strict=True) if row is not None], rows


def _in_order(place: dict[Labels, int], keys: Sequence[Labels]) -> Callable[[Sequence[bytes]], Sequence[bytes]]:
    """
    Make a function that brings a file's cells into the common order, with the last of all where it has none.
    """
    order = [len(keys)] * len(place)
    for index, key in enumerate(keys):
        order[place[key]] = index
    return itemgetter(*order) if len(order) > 1 else lambda raws: [raws[index] for index in order]


def _nothing(part: Figures) -> bytes:
    return _NOT_THERE if part.spec.kind == "gauge" else bytes(8 * part.width)


def _add(parts: Sequence[Figures], raws: Sequence[Sequence[bytes]]) -> list[Row]:
    """
    Add up counters or histograms.
    """
    return _totals(parts, raws)[0]


def _add_and_keep(parts: Sequence[Figures], raws: Sequence[Sequence[bytes]]) -> list[Row]:
    """
    Add up counters or histograms, and append to each what rounding took from its sum.
    """
    rows, columns = _totals(parts, raws)
    place = _place_of_sum(parts[0].spec)
    rests = map(exact, zip([-row[place] for row in rows], *columns, strict=True))
    return [(*row, rest if isfinite(rest) else 0.0) for row, rest in zip(rows, rests, strict=True)]


def _totals(parts: Sequence[Figures], raws: Sequence[Sequence[bytes]]) -> tuple[list[Row], list[Sequence[float]]]:
    """
    Give all figures added up, and all that belongs to their sums, file by file.
    """
    size, place = size_of(parts[0].spec), _place_of_sum(parts[0].spec)
    flats: list[Sequence[float]] = []
    rests: list[Sequence[float]] = []
    for part, some in zip(parts, raws, strict=True):
        packed = b"".join(some)
        if part.width == size:
            flats.append(unpack(packed))
        else:
            flats.append(list(chain.from_iterable(iter_unpack(f"={size}d8x", packed))))
            rests.append(list(chain.from_iterable(iter_unpack(f"={8 * size}xd", packed))))
    columns = [*(flat[place::size] for flat in flats), *rests]
    total: list[float] = list(map(sum, zip(*flats, strict=True)))
    total[place::size] = map(exact, zip(*columns, strict=True))
    return list(zip(*[iter(total)] * size, strict=True)), columns


def _place_of_sum(spec: Metric) -> int:
    return 1 if spec.kind == "histogram" else 0


def exact(parts: Sequence[float]) -> float:
    """
    Add up in one go, rounded once: the result does not depend on the order.
    """
    try:
        return fsum(parts)
    except (OverflowError, ValueError):  # infinities
        return sum(parts)


def _gauges(choose: Callable[[list[Row]], Row]) -> _Add:
    def add(parts: Sequence[Figures], raws: Sequence[Sequence[bytes]]) -> list[Row | None]:
        there = [[row for row in map(unpack, cell) if not is_absent(row)] for cell in zip(*raws, strict=True)]
        return [choose(rows) if rows else None for rows in there]

    return add


_GAUGES = {
    "sum": _gauges(lambda rows: (exact([row[0] for row in rows]),)),
    "min": _gauges(min),
    "max": _gauges(max),
    "latest": _gauges(lambda rows: max(rows, key=itemgetter(1))[:1]),
}


def latest_exemplars(parts: Iterable[Figures]) -> dict[Labels, Slots]:
    """
    Give the latest exemplar of each bucket, by label set.
    """
    found: dict[Labels, Slots] = {}
    for part in parts:
        for cell, slots in part.exemplars.items():
            known = found.get(part.keys[cell])
            found[part.keys[cell]] = slots if known is None else latest(known, slots)
    return found


def latest(one: Mapping[int, E], other: Mapping[int, E]) -> dict[int, E]:
    """
    Give the latest exemplar of each bucket that either has.
    """
    found = dict(one)
    for index, exemplar in dict(other).items():
        if index not in found or exemplar[2] > found[index][2]:
            found[index] = exemplar
    return found


def fold(figures: Iterable[Figures], most: int) -> list[Figures]:
    """
    Add up what outlives its workers: counters and histograms, each with its own labels and buckets.

    Args:
        most: Label sets of a metric; those beyond share one whose labels are all `_OVERFLOW`.
    """
    families: list[list[Figures]] = []
    for some in figures:
        if some.spec.kind == "gauge" or not some.keys:
            continue
        for parts in families:
            if parts[0].name == some.name and same(parts[0].spec, some.spec):
                parts.append(some)
                break
        else:
            families.append([some])
    return [_folded(parts, most) for parts in families]


def _folded(parts: list[Figures], most: int) -> Figures:
    spec, width = parts[0].spec, size_of(parts[0].spec) + 1
    keys, rows = Sum(parts, _add_and_keep).update(parts)
    cells, overflow = dict(zip(keys, rows, strict=True)), (OVERFLOW,) * len(spec.labels)
    if len(cells) > most:
        beyond = [row for key in (*keys[most:], overflow) if (row := cells.pop(key, None))]
        cells[overflow] = _joined(beyond, spec)
    raws = [struct.pack(f"={width}d", *row) for row in cells.values()]
    return Figures(spec, parts[0].name, width, list(cells), raws)


def _joined(rows: list[Row], spec: Metric) -> Row:
    """
    Make one row of several that have the rest of their sum at their end.
    """
    place = _place_of_sum(spec)
    parts = [row[index] for row in rows for index in (place, -1)]
    total: list[float] = list(map(sum, zip(*rows, strict=True)))
    total[place] = exact(parts)
    rest = exact([-total[place], *parts])
    return (*total[:-1], rest if isfinite(rest) else 0.0)
