"""
Adding up: exact, in any order, and never less than before.
"""

import random
import struct
from fractions import Fraction
from math import inf, isnan, nan

import pytest

from obskit.metrics.cell_format import ABSENT, Exemplar, FamilyData, doubles_per_cell
from obskit.metrics.merge import Merger, can_merge, fold, latest_exemplars
from workers import HITS, PLAIN, SECONDS, TEMPERATURES

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def part(spec, cells, exemplars=()):
    """
    Return what a file says of a metric.
    """
    rows = [row if isinstance(row, tuple) else (row,) for row in cells.values()]
    raws = [struct.pack(f"{len(row)}d", *row) for row in rows]
    return FamilyData(spec, spec.name, doubles_per_cell(spec), [(key,) for key in cells], raws, dict(exemplars))


def added(*parts):
    keys, rows = Merger(parts).merge(parts)
    return {key[0]: row if len(row) > 1 else row[0] for key, row in zip(keys, rows, strict=True)}


def test_counters_and_histograms_are_added_by_label_set():
    """
    A label set has the sum of its cells, whichever files have it, and in whichever order.
    """
    assert {"/a": 3.0, "/b": 12.0, "/c": 7.0} == added(
        part(HITS, {"/a": 1, "/b": 5}), part(HITS, {"/c": 7, "/b": 7}), part(HITS, {}), part(HITS, {"/a": 2})
    )
    assert {"/a": (3.0, 7.25, 1.0, 0.0, 1.0, 1.0), "/b": (1.0, 0.5, 0.0, 1.0, 0.0, 0.0)} == added(
        part(SECONDS, {"/a": (2, 5, 1, 0, 1, 0)}),
        part(SECONDS, {"/b": (1, 0.5, 0, 1, 0, 0), "/a": (1, 2.25, 0, 0, 0, 1)}),
    )


def test_many_cells_are_added_as_few_are():
    """
    The result does not depend on how many cells there are, nor on how many have changed.
    """
    many = {str(number): number for number in range(3000)}
    backwards = dict(reversed(many.items()))
    figures = [part(HITS, many), part(HITS, backwards)]
    total = Merger(figures)
    keys, rows = total.merge(figures)
    first = list(rows)
    figures[0].raws[1234] = struct.pack("d", 5000)
    _, rows = total.merge(figures)

    assert [(2.0 * number,) for number in range(3000)] == first
    assert [("1234",)] == [key for key, row, old in zip(keys, rows, first, strict=True) if row is not old]
    assert (6234.0,) == rows[1234]


@pytest.mark.parametrize(("how", "expected"), [("sum", 8.0), ("min", -2.0), ("max", 9.0), ("latest", 1.0)])
def test_gauges_add_up_as_the_catalogue_says(how, expected):
    """
    Workers' gauges are summed, or the least, the greatest or the latest counts; the absent never do.
    """
    figures = [(9.0, 20.0), (1.0, 30.0), (-2.0, 10.0), (ABSENT, 40.0)]
    spec = TEMPERATURES[how]
    parts = [part(spec, {"hall": row if how == "latest" else row[0]}) for row in figures]

    assert {"hall": expected} == added(*parts)
    assert {} == added(parts[-1])


def test_a_latest_gauge_that_was_never_set_is_not_there():
    """
    A cell whose time is zero was only made.
    """
    spec = TEMPERATURES["latest"]

    assert {"b": 0.0} == added(part(spec, {"a": (0.0, 0.0), "b": (0.0, 5.0)}))


def test_a_gauge_that_is_no_number_is_there():
    """
    NaN is a figure that an application may set; only the one NaN that says so is absent.
    """
    assert isnan(added(part(TEMPERATURES["sum"], {"a": nan}))["a"])
    assert isnan(added(part(TEMPERATURES["sum"], {"a": inf}), part(TEMPERATURES["sum"], {"a": -inf}))["a"])


def test_help_and_prefix_do_not_keep_metrics_apart():
    """
    Metrics add up when kind, labels, buckets and the way of gauges are the same.
    """
    assert can_merge(HITS, HITS)
    assert not can_merge(HITS, PLAIN)
    assert not can_merge(TEMPERATURES["min"], TEMPERATURES["max"])


def test_exemplars_are_the_latest_of_each_bucket():
    """
    Of several workers' exemplars each bucket shows the last one seen.
    """
    old, new = Exemplar(TRACE, 0.5, 10.0), Exemplar(TRACE, 0.6, 20.0)
    one = part(SECONDS, {"/a": (0,) * 6}, {0: {1: old, 2: new}})
    other = part(SECONDS, {"/b": (0,) * 6, "/a": (0,) * 6}, {1: {0: old, 1: new, 2: old}})

    assert {("/a",): {0: old, 1: new, 2: new}} == latest_exemplars([one, other])


def test_folding_keeps_counters_and_histograms_and_drops_gauges():
    """
    What outlives a worker is added up by metric; another's buckets under the same name stay apart.
    """
    other = part(SECONDS, {"/a": (1, 0.5, 0, 1, 0, 0)})
    other.spec = PLAIN
    folded = fold(
        [
            part(HITS, {"/a": 1}),
            part(TEMPERATURES["sum"], {"hall": 20}),
            part(SECONDS, {"/a": (1, 0.5, 0, 1, 0, 0)}),
            part(HITS, {"/b": 2, "/a": 4}),
            part(PLAIN, {}),
        ],
        10,
    )

    assert [(HITS, [("/a",), ("/b",)]), (SECONDS, [("/a",)])] == [(one.spec, list(one.keys)) for one in folded]
    assert [[(5.0, 0.0), (2.0, 0.0)], [(1.0, 0.5, 0.0, 1.0, 0.0, 0.0, 0.0)]] == [one.rows for one in folded]


@pytest.mark.parametrize("seed", range(30))
def test_folding_never_changes_a_sum(seed):
    """
    However workers come, count and are folded, what is shown is the correctly rounded sum of all that was counted.

    A sum that were a rounding error less than before would look like a restart, and a rate would jump.
    """
    chance, live, dead, folded, shown = random.Random(seed), [], [], [], 0.0
    for _ in range(60):
        match chance.randrange(3):
            case 0:
                live.append(part(HITS, {"/a": 0.0}))
            case 1 if live:
                figures = chance.choice(live)
                amount = chance.random() * 10 ** chance.randrange(-6, 7)
                figures.raws = [struct.pack("d", figures.rows[0][0] + amount)]
            case 2 if live:
                dead.append(live.pop(chance.randrange(len(live))))
                folded = fold([*folded, dead[-1]], 10)
        if live or folded:
            total = added(*live, *folded)["/a"]

            assert total == float(sum(Fraction(figures.rows[0][0]) for figures in (*live, *dead)))
            assert total >= shown
            shown = total


def test_folding_infinities_keeps_them():
    """
    A sum that is infinite stays so, and one that is no number too.
    """
    once = fold([part(HITS, {"/a": inf}), part(HITS, {"/a": 1.0})], 10)
    twice = fold([*once, part(HITS, {"/a": 2.0})], 10)
    odd = fold([part(SECONDS, {"/a": (1, inf, 0, 1, 0, 0)}), part(SECONDS, {"/a": (1, -inf, 0, 1, 0, 0)})], 10)

    assert {"/a": inf} == added(*twice)
    assert isnan(added(*odd)["/a"][1])
    assert (2.0, 0.0, 2.0, 0.0, 0.0) == tuple(value for value in added(*odd)["/a"] if not isnan(value))


@pytest.mark.parametrize("spec", [HITS, SECONDS])
def test_folding_keeps_so_many_label_sets_and_all_that_was_counted(spec):
    """
    However many label sets come and go, so many stay with their figures; the rest is kept in one, to the last bit.
    """

    def row(value):
        return (1, value, 0, 1, 0, 0) if spec is SECONDS else (value,)

    chance, folded, counted = random.Random(1), [], []
    for number in range(50):
        values = {f"/{number}/{index}": chance.random() * 10 ** chance.randrange(9) for index in range(3)}
        counted += values.values()
        folded = fold([*folded, part(spec, {path: row(value) for path, value in values.items()})], 7)
    [kept] = folded
    shown = added(kept)
    values = [row[1] if spec is SECONDS else row for row in shown.values()]

    assert 8 == len(shown)
    assert ["/0/0", "/0/1", "/0/2", "/1/0", "/1/1", "/1/2", "/2/0", "_OVERFLOW"] == list(shown)
    assert counted[:7] == values[:7]
    assert float(sum(map(Fraction, counted[7:]))) == values[7]
    if spec is SECONDS:
        assert (143.0, 143.0) == (shown["_OVERFLOW"][0], shown["_OVERFLOW"][3])
