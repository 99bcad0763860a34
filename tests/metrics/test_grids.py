"""
Fine buckets: what is known of quantiles while history is on, and what stays as it was.
"""

import random
from bisect import bisect_left
from dataclasses import replace
from itertools import accumulate, pairwise

import pytest

import obskit
from forked import in_child
from obskit.catalogue import Metric, http
from obskit.metrics import declare, grids
from obskit.metrics.cell_file import CellFile
from obskit.metrics.cells import HistogramCell
from obskit.metrics.collector import MetricCollector
from obskit.metrics.directory import FOLDED_FILE
from obskit.metrics.family import CountedHistogram, Histogram
from obskit.metrics.grids import FoldDown, fine_bounds
from obskit.metrics.snapshots import take
from obskit.metrics.workers import Workers
from obskit.operation import HttpOperation
from obskit.recorder import recorder
from obskit.testing import isolated_runtime

OWN = (0.1, 0.5, 2.0)
WAIT = Metric("wait_seconds", "histogram", "Wait.", ("crop",), buckets=OWN)
VALUES = [10 ** random.Random(7).uniform(-4, 2) for _ in range(500)] + [0.0, 0.1, 0.5, 2.0, 100.0, 1000.0]


@pytest.fixture(autouse=True)
def fine(monkeypatch):
    """
    Cells that are made meanwhile have fine buckets; the application's metrics of other tests are gone.
    """
    monkeypatch.setattr(declare, "declared", {})
    grids.grids.switch(True)
    yield grids.grids
    grids.grids.switch(False)


def counted(bounds, values=VALUES):
    """
    Count these values as a histogram does.
    """
    row = [float(len(values)), 0.0, *(0.0 for _ in (*bounds, None))]
    for value in values:
        row[2 + bisect_left(bounds, value)] += 1
        row[1] += value
    return row


def collectors(folder, number=1):
    return [MetricCollector("", {}, 1000, Workers("shop", folder)) for _ in range(number)]


def close(made):
    for collector in made:
        collector.close()


def test_the_bounds_are_the_metrics_own_and_a_grid():
    """
    Each step is 2^(1/8), from 0.1 ms to 100 s; only what is in seconds has them.
    """
    bounds = fine_bounds(WAIT)
    steps = [bound for bound in bounds if bound not in OWN]

    assert (161, 164, 1e-4, 100.0) == (len(steps), len(bounds), bounds[0], bounds[-1])
    assert max(high / low for low, high in pairwise(steps)) == pytest.approx(2 ** (1 / 8))
    assert set(OWN) < set(bounds)
    assert () == fine_bounds(Metric("upload_bytes", "histogram", "Upload.", buckets=OWN))


def test_own_buckets_are_exact():
    """
    Fine buckets are added up to what the metric's own would have counted, and the other way nothing is guessed.
    """
    bounds = fine_bounds(WAIT)

    assert counted(OWN) == list(FoldDown(bounds, OWN)(counted(bounds)))
    with pytest.raises(ValueError, match="none of the fine ones"):
        FoldDown(bounds, (0.1, 0.3))


def test_a_quantile_is_known_within_the_bound_that_is_printed():
    """
    The middle of its bucket is at most 4.4 % from each value in it.
    """
    bounds = fine_bounds(WAIT)
    for value in VALUES:
        place = bisect_left(bounds, value)
        if bounds[0] < value <= bounds[-1]:
            middle = (bounds[place - 1] * bounds[place]) ** 0.5

            assert abs(middle / value - 1) < 0.0443


@pytest.mark.parametrize("is_shared", [False, True], ids=["memory", "files"])
def test_the_page_is_as_without(tmp_path, fine, is_shared):
    """
    With and without fine buckets it has the same samples, of obskit's metrics and of the application's, and a snapshot
    has both.
    """
    pages = []
    recorder.plan(HttpOperation)  # whose metrics are made then
    for is_on in (True, False):
        fine.switch(is_on)
        folder = {"metrics_dir": str(tmp_path / f"workers{is_on}")} if is_shared else {}
        with isolated_runtime(metric_buckets={http.DURATION.name: OWN}, **folder) as isolated:
            wait = obskit.histogram("wait_seconds", "Wait.", ["crop"], buckets=OWN)
            size = obskit.histogram("upload_bytes", "Upload.", ["crop"], buckets=OWN)
            duration = isolated.runtime._collector._families[http.DURATION.name]
            for value in VALUES:
                wait.observe(value, crop="rose")
                size.observe(value, crop="rose")
                duration.cell(("GET", "/", "200" if value < 1 else "500")).observe(value)
            snapshot = obskit.metrics.snapshot()
            text = isolated.runtime._collector.render_page(isolated.registry, "", None, False)[1].decode()
            pages.append([line for line in text.splitlines() if "wait_" in line or "upload" in line or "http_" in line])
        found = snapshot.families["wait_seconds"]
        if is_on:
            bounds = fine_bounds(WAIT)
            requests = snapshot.families[http.DURATION.name]

            assert bounds == found.fine.spec.buckets == requests.fine.spec.buckets
            assert pytest.approx(counted(bounds)) == found.fine.value(crop="rose")
            assert pytest.approx(counted(bounds)) == requests.fine.value(method="GET", endpoint="/")
            assert pytest.approx(counted(OWN)) == requests.value(method="GET", endpoint="/")
            assert snapshot.families["upload_bytes"].fine is None
        assert pytest.approx(counted(OWN)) == found.value(crop="rose")
        declare.declared.clear()

    assert pages[0] == pages[1]
    assert len(pages[0]) > 20
    assert found.fine is None


def test_files_with_and_without_add_up(tmp_path, fine):
    """
    On the metric's own buckets they are exact, and what is fine is told only where all of a label set is.
    """
    made = collectors(str(tmp_path / "workers"), 3)
    for number, collector in enumerate(made):
        fine.switch(number < 2)
        wait = collector.add(Histogram(WAIT))
        for value in VALUES:
            wait.observe(value, crop="rose" if number < 2 else "tulip")
            wait.observe(value, crop="both")
    snapshots = [take(collector).families["wait_seconds"] for collector in made for _ in range(2)]
    close(made)
    sizes = {"rose": 2, "tulip": 1, "both": 3}
    for found in snapshots:
        assert {key: pytest.approx([n * one for one in counted(OWN)]) for key, n in sizes.items()} == {
            key: row for (key,), row in found.cells.items()
        }
        assert {("rose",)} == found.fine.cells.keys()
        assert pytest.approx([2 * one for one in counted(fine_bounds(WAIT))]) == found.fine.value(crop="rose")


def test_what_a_dead_worker_counted_stays_fine(tmp_path):
    """
    Its file is folded with its fine buckets, and adds up with those that live.
    """
    folder = str(tmp_path / "workers")
    [collector] = made = collectors(folder)
    wait = collector.add(Histogram(WAIT))

    def work():
        for value in VALUES:
            wait.observe(value, crop="rose")

    wait.observe(0.3, crop="rose")
    in_child(work)
    rows = [take(collector).families["wait_seconds"] for _ in range(3)]
    folded = (tmp_path / "workers" / FOLDED_FILE).exists()
    close(made)

    assert folded
    for found in rows:
        assert pytest.approx(counted(OWN, [*VALUES, 0.3])) == found.value(crop="rose")
        assert pytest.approx(counted(fine_bounds(WAIT), [*VALUES, 0.3])) == found.fine.value(crop="rose")


def test_rows_that_have_not_changed_are_the_same_objects(tmp_path):
    """
    So that whoever renders or compares them sees at once that nothing is to be done.
    """
    [collector] = made = collectors(str(tmp_path / "workers"))
    wait = collector.add(Histogram(WAIT))
    for crop in ("rose", "tulip"):
        wait.observe(0.3, crop=crop)
    one = collector.read().families["wait_seconds"]
    wait.observe(0.3, crop="tulip")
    two = collector.read().families["wait_seconds"]
    close(made)

    assert [True, False] == [before is after for before, after in zip(one.rows, two.rows, strict=True)]
    assert [True, False] == [before is after for before, after in zip(one.fine.rows, two.fine.rows, strict=True)]


def test_a_worker_gives_them_to_its_first_label_sets(monkeypatch, fine):
    """
    Later ones have the metric's own buckets, and are counted.
    """
    monkeypatch.setattr(grids, "MAX_LABEL_SETS", 2)
    wait = Histogram(WAIT)
    sizes = [len(wait.cell((crop,)).bounds) for crop in "abc"]
    fine.start_over()
    fine.is_full = True
    sizes.append(len(wait.cell(("d",)).bounds))

    assert [164, 164, 3, 3] == sizes
    assert (0, 1) == (fine.given, fine.refused)


def test_a_large_file_gives_no_more(tmp_path, monkeypatch, fine):
    """
    What counts is the file of the worker, whatever made it large.
    """
    monkeypatch.setattr("obskit.metrics.workers.MAX_FILE_BYTES", 64 * 1024)
    [collector] = made = collectors(str(tmp_path / "workers"))
    wait = collector.add(Histogram(WAIT))
    wait.observe(1, crop="a")
    wait.observe(1, crop="b")
    given = fine.given
    families = take(collector).families["wait_seconds"]
    close(made)

    assert (True, 1) == (fine.is_full, given)
    assert ({("a",)}, 2) == (families.fine.cells.keys(), len(families.keys))


def test_a_metric_that_was_declared_before_has_them_too(fine):
    """
    A cell in which nothing was observed takes them when the runtime starts, and gives them back when it ends.
    """
    fine.switch(False)
    wait = obskit.histogram("wait_seconds", "Wait.", buckets=OWN)
    cell, sizes = wait.labels(), []
    fine.switch(True)
    with isolated_runtime():
        sizes.append(len(cell.bounds))
        wait.observe(0.3)
        found = obskit.metrics.snapshot().families["wait_seconds"]
        fine.switch(False)
    sizes.append(len(cell.bounds))

    assert [164, 3] == sizes
    assert (1.0, 0.3, 0.0, 1.0, 0.0, 0.0) == found.value()
    assert 1.0 == found.fine.value()[0]


def test_a_cell_with_observations_keeps_its_buckets():
    """
    What was counted is in them.
    """
    cell = HistogramCell(OWN)
    cell.observe(0.3)
    cell.refit(fine_bounds(WAIT), FoldDown(fine_bounds(WAIT), OWN))
    cell.observe(0.3)

    assert (OWN, [2.0, 0.6, 0.0, 2.0, 0.0, 0.0]) == (cell.bounds, cell.read_values())


def test_exemplars_lie_in_the_metrics_own_buckets(tmp_path):
    """
    The page shows them at its own bounds.
    """
    [collector] = made = collectors(str(tmp_path / "workers"))
    wait = collector.add(Histogram(WAIT))
    wait.observe(0.3, crop="rose")
    wait.record_exemplar(("rose",), 0.3, "0af7651916cd43dd8448eb211c80319c", 1_800_000_000.0)
    found = take(collector, exemplars=True).families["wait_seconds"].exemplars
    close(made)

    assert [1] == list(found["rose",])


def test_a_counted_histogram_is_fine_where_all_of_it_is(tmp_path, monkeypatch):
    """
    Of an endpoint whose statuses have other buckets, in one worker, nothing is told but the metric's own.
    """
    monkeypatch.setattr(grids, "MAX_LABEL_SETS", 2)
    [collector] = made = collectors(str(tmp_path / "workers"))
    requests = collector.add(CountedHistogram(replace(http.DURATION, buckets=OWN), http.REQUESTS))
    for endpoint, status in (("/a", "200"), ("/b", "200"), ("/b", "500")):
        requests.cell(("GET", endpoint, status)).observe(0.3)
    found = take(collector).families[http.DURATION.name]
    close(made)

    assert {("GET", "/a")} == found.fine.cells.keys()
    assert (2.0, 0.6, 0.0, 2.0, 0.0, 0.0) == found.value(method="GET", endpoint="/b")


def test_a_file_says_both_bounds(tmp_path):
    """
    The record of the metric has its own bounds and the fine ones, and cells without them have a record beside it.
    """
    bounds = fine_bounds(WAIT)
    file = CellFile.create(tmp_path / "a.cells")
    numbers = [file.family(WAIT, WAIT.name, fine) for fine in (bounds, (), bounds)]
    file.close()

    assert [0, 1, 0] == numbers


def test_cumulative_counts_never_fall():
    """
    Own buckets that are made of fine ones add up to all.
    """
    row = FoldDown(fine_bounds(WAIT), OWN)(counted(fine_bounds(WAIT)))
    total = [*accumulate(row[2:])]

    assert total == sorted(total)
    assert total[-1] == row[0] == len(VALUES)
