"""
Quantiles from fine buckets: as close to the exact ones as is printed, whatever the latencies look like.
"""

import random
from dataclasses import replace

import pytest

import obskit
from obskit import history
from obskit.catalogue import Metric
from obskit.history.columns import Asked, Column
from obskit.history.files import SeriesFiles
from obskit.history.reader import FileReader
from obskit.history.sampler import InstanceTotals, find_totals
from obskit.history.series_slot import SeriesSlot
from obskit.metrics.snapshots import FamilySnapshot
from obskit.signals import quantile
from obskit.storage.periods import Span
from obskit.testing import FakeClock, advance, isolated_runtime

NOON = 1_800_014_400.0
START = 1_800_000_000
WITHIN = 0.0443  # as docs/explanation/history.md has it
SHAPES = {
    "log-normal": lambda chance: chance.lognormvariate(-3, 1),
    "cache and disk": lambda chance: chance.gauss(0.002, 0.0002) if chance.random() < 0.8 else chance.gauss(0.3, 0.05),
    "long tail": lambda chance: 0.01 * chance.paretovariate(1.2),
    "constant": lambda chance: 0.0371,
    "even": lambda chance: chance.uniform(0.001, 2.0),
    "exponential": lambda chance: chance.expovariate(5.0),
}


@pytest.fixture
def kept(tmp_path):
    """
    Starts a runtime that keeps its history, at noon.
    """
    clock = FakeClock(1000.0)

    def start(**given):
        settings = {"service": "shop", "serving": True, "state_dir": str(tmp_path), "history": True, **given}
        return isolated_runtime(clock=clock, wall_clock=lambda: NOON + clock.now - 1000.0, **settings)

    return start


def exact(values, share):
    """
    Return the smallest value up to which so many lie.
    """
    return sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]


def test_quantiles_are_as_close_as_is_printed(kept):
    """
    Over six shapes, in steps of each length that is kept, over a restart: the exact quantile lies between the two
    values that are said, and the one that is shown is within 4.4 % of it.
    """
    chance, turns = random.Random(11), []
    wait = obskit.histogram("wait_seconds", "Wait.", ["shape"], buckets=[0.1, 1.0])
    for _ in range(2):
        with kept():
            for _ in range(4):
                turns.append({shape: [max(0.0002, draw(chance)) for _ in range(250)] for shape, draw in SHAPES.items()})
                for shape, values in turns[-1].items():
                    for value in values:
                        wait.observe(value, shape=shape)
                advance("10m")
            found = {
                (share, step): history.series(quantile(share, wait, by=["shape"]), since="85m", step=step)
                for share in (0.5, 0.95, 0.99)
                for step in ("10m", "2h")
            }
    for (share, step), series in found.items():
        for shape in SHAPES:
            by_step = (
                [turn[shape] for turn in turns]
                if step == "10m"
                else [[value for turn in turns for value in turn[shape]]]
            )
            told, ends = series.points[("shape", shape),], series.between[("shape", shape),]

            assert len(by_step) == len(told)
            for values, (_, value), (_, low, high) in zip(by_step, told, ends, strict=True):
                right = exact(values, share)

                assert low < right <= high, (shape, share, step)
                assert abs(value / right - 1) <= WITHIN, (shape, share, step)


def test_other_units_have_their_own_buckets(kept):
    """
    A quantile of bytes lies between two bounds of its metric, and no more is said.
    """
    with kept():
        size = obskit.histogram("upload_bytes", "Upload.", buckets=[10.0, 100.0, 1000.0])
        for number in range(500):
            size.observe(number)
        advance("10m")
        found = history.series(quantile(0.5, size), since="20m", step="10m")

    assert [(100.0, 1000.0)] == [(low, high) for _, low, high in found.between[()]]


def test_a_label_set_without_fine_buckets_is_told_on_its_own(kept, monkeypatch):
    """
    The first label sets of a worker have fine buckets; of a later one the quantile lies between two of its bounds, and
    of both together between what all that is known allows.
    """
    monkeypatch.setattr("obskit.metrics.grids.MAX_LABEL_SETS", 1)
    monkeypatch.setattr("obskit.metrics.declare.declared", {})
    with kept():
        wait = obskit.histogram("wait_seconds", "Wait.", ["crop"], buckets=[0.1, 1.0])
        for crop in ("rose", "tulip"):
            for _ in range(100):
                wait.observe(0.3, crop=crop)
        advance("10m")
        apart = history.series(quantile(0.5, wait, by=["crop"]), since="20m", step="10m").between
        together = history.series(quantile(0.9, wait), since="20m", step="10m").between
    widths = {crop: high / low for ((_, crop),), [(_, low, high)] in apart.items()}

    assert widths["rose"] < 1.1
    assert 10.0 == widths["tulip"]
    assert [True] == [low <= 0.3 <= high for _, low, high in together[()]]


def test_fine_buckets_are_kept_in_steps_of_each_length(tmp_path, kept):
    """
    They say the same in all of them, and are no metric to whoever does not ask for them.
    """
    with kept():
        wait = obskit.histogram("wait_seconds", "Wait.", ["crop"], buckets=[0.1, 1.0])
        for _ in range(75):
            wait.observe(0.3, crop="rose")
            advance("1m")
    reader = FileReader(SeriesFiles(tmp_path / "shop" / "history"), print)
    ever = Span(0, 1e11)

    for step in (10, 60, 3600):
        points = list(reader.points("wait_seconds", ever, step, with_fine=True))

        assert {"histogram": 75, "grid": 75} == {
            kind: sum(it.point.n for it in points if it.metric.kind == kind) for kind in ("histogram", "grid")
        }
        assert {"histogram"} == {it.metric.kind for it in reader.points("wait_seconds", ever, step)}


def test_another_process_goes_on_with_fine_buckets(tmp_path):
    """
    It finds what is stored of them, and counts neither twice nor what is lost; while a label set is without them, its
    own buckets say what is known.
    """
    files, ends, n = SeriesFiles(tmp_path), Metric("wait_seconds", "histogram", "Wait.", buckets=(0.1, 1.0)), 0
    fine = replace(ends, buckets=(0.1, 0.3, 1.0))
    for turn, has_fine in enumerate((True, True, False, True, True)):
        slot = SeriesSlot(*files.claim_slot(), files, print)
        totals = InstanceTotals("shop-1", find_totals(files, "shop-1", print))
        for place in range(2):
            n += 1
            beside = FamilySnapshot(fine, [()], [(n, n / 4, 0.0, n, 0.0, 0.0)]) if has_fine else None
            family = FamilySnapshot(ends, [()], [(n, n / 4, 0.0, n, 0.0)], {}, beside)
            totals.store({"wait_seconds": family}, slot, START + 20 * turn + 10 * place)
        slot.close()
    points = list(FileReader(files, print).points("wait_seconds", Span(0, 1e11), 10, with_fine=True))
    counted = {kind: [it.point.n for it in points if it.metric.kind == kind] for kind in ("histogram", "grid")}

    assert {"histogram": [1] * 10, "grid": [1, 1, 1, 1, 3, 1, 1, 1]} == counted
    assert [(0.1, 0.3)] * 4 + [(0.1, 1.0)] * 3 + [(0.1, 0.3)] * 3 == [
        (it.low, it.high) for it in (tally_of(points, START + 10 * place).quantile(0.5) for place in range(10))
    ]


def tally_of(points, at):
    column = Column(Asked("wait_seconds", "_bucket", (), ()), 10)
    reader = NothingFirst()
    column.load(reader, lambda *asked: points, 0.0, START + 1000.0)
    return column.taken(at, at + 10, at + 10.0).tallies[()]


class NothingFirst:
    """
    A reader that knows since when nothing is there.
    """

    every, unread = 10, 0

    def first_seen(self, name, span):
        return {}


def test_values_that_no_grid_has_are_told_as_what_is_known(kept):
    """
    Below 0.1 ms, at 0, beyond 100 s and infinite: it lies between ends that are right, and JSON has no infinity.
    """
    odd = {"nothing": 0.0, "little": 1e-6, "long": 500.0, "endless": float("inf")}
    with kept():
        wait = obskit.histogram("wait_seconds", "Wait.", ["crop"], buckets=[0.1, 1.0])
        for crop, value in odd.items():
            wait.observe(value, crop=crop)
        wait.observe(float("nan"), crop="nothing")
        advance("10m")
        found = history.series(quantile(0.5, wait, by=["crop"]), since="20m", step="10m")
    ends = {crop: (low, high) for ((_, crop),), [(_, low, high)] in found.between.items()}

    for crop in ("nothing", "little", "long"):
        assert ends[crop][0] <= odd[crop] <= ends[crop][1]
    assert {None} == {
        series["between"][-1][2] for series in found.to_dict()["series"] if series["labels"]["crop"] == "long"
    }
