"""
Signals over time are exact sums, the same whether remembered or read again, and a quantile is said between two values.
"""

import random
import shutil
from bisect import bisect_left
from dataclasses import replace
from math import inf

import pytest

from obskit.catalogue import http, process
from obskit.history.files import SeriesFiles
from obskit.history.lanes import pack
from obskit.history.queries import History
from obskit.history.reader import FileReader
from obskit.history.roll_up import roll_up
from obskit.history.sampler import InstanceTotals, Known
from obskit.history.series_slot import SeriesSlot
from obskit.history.tallies import Between, Tally
from obskit.metrics.snapshots import FamilySnapshot
from obskit.signals import increase, level, matches, mean, quantile, rate, ratio
from obskit.storage.periods import Span
from obskit.testing import FakeClock, isolated_runtime

START = 1_800_014_400  # noon, in UTC
BOUNDS = (0.1, 1.0)
SPEC = replace(http.DURATION, buckets=BOUNDS)


def fail(error):
    raise error


def refuse(*problem):
    raise AssertionError(problem)


class Shop:
    """
    A shop that is sampled every ten seconds, by a clock of its own.
    """

    def __init__(self, folder):
        self.files = SeriesFiles(folder)
        self.slot = SeriesSlot(*self.files.claim_slot(), self.files, refuse)
        self.totals = InstanceTotals("shop", Known({}, 0))
        self.clock, self.samplings, self.random = FakeClock(), 0, random.Random(3)
        self.counted = {"200": 0, "500": 0}
        self.buckets = [0, 0, 0]
        self.sold = {}  # by the start of the sampling's step

    @property
    def now(self):
        return START + self.clock.now - 1000.0

    def sample(self, number=1):
        for _ in range(number):
            at = START + 10 * self.samplings
            self.clock.now = 1000.0 + at + 12 - START
            for status in self.counted:
                sold = self.random.randrange(5) if status == "200" or self.samplings > 100 else 0
                self.counted[status] += sold
                self.sold[status, at] = sold
                for _ in range(sold):
                    self.buckets[self.random.randrange(3)] += 1
            self.totals.store(self.families(), self.slot, at)
            self.samplings += 1
            if self.samplings % 6 == 0:
                roll_up(self.slot, self.files, at + 10)

    def families(self):
        counts = {("GET", "/soup", status): (float(n),) for status, n in self.counted.items() if n}
        timed = {("GET", "/soup"): (float(sum(self.buckets)), 0.5 * sum(self.buckets), *map(float, self.buckets))}
        found = {
            http.REQUESTS: counts,
            SPEC: timed,
            process.MEMORY: {("0",): (1000.0 + self.samplings % 7,)},
        }
        return {spec.name: FamilySnapshot(spec, list(rows), list(rows.values())) for spec, rows in found.items()}

    def sold_between(self, status, start, end):
        return sum(sold for (of, at), sold in self.sold.items() if of == status and start <= at < end)

    def history(self):
        return History(FileReader(self.files, fail), self.files.folder, fail)


@pytest.fixture
def shop(tmp_path):
    shop = Shop(tmp_path)
    buckets = {"http_request_duration_seconds": list(BOUNDS)}
    with isolated_runtime(clock=shop.clock, wall_clock=lambda: shop.now, metric_buckets=buckets):
        yield shop
        shop.slot.close()


SIGNALS = {
    "rate": lambda: rate("http_requests_total", by=["status"]),
    "increase": lambda: increase("http_requests_total", window="10m", by=["status"]),
    "ratio": lambda: ratio(rate("http_requests_total", where={"status": matches("5..")}), rate("http_requests_total")),
    "enough": lambda: rate("http_requests_total").at_least(requests=5),
    "against": lambda: rate("http_requests_total").against("5m"),
    "mean": lambda: mean("http_request_duration_seconds"),
    "p95": lambda: quantile(0.95, "http_request_duration_seconds", by=["endpoint"]),
    "level": lambda: level("obskit_process_resident_memory_bytes"),
}


@pytest.mark.parametrize("step", ["1m", "5m", "1h"])
def test_each_step_has_what_was_counted_in_it(shop, step):
    """
    Exactly, and where a step is longer than the signal's window, all of the step; the last one as far as it has come.
    """
    shop.sample(900)
    found = shop.history().series(increase("http_requests_total", by=["status"], window="1m"), since="3h", step=step)
    expected = {
        start: shop.sold_between("200", start, start + found.step_seconds)
        for start, _ in found.points[("status", "200"),]
    }

    assert expected == dict(found.points[("status", "200"),])
    assert sum(expected.values()) == shop.counted["200"]
    assert found.unfinished - found.step_seconds <= max(expected)


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("step", ["1m", "1h"])
def test_what_is_remembered_is_what_would_be_read(shop, name, step):
    """
    Whoever asks again and again is told the same as somebody who asks for the first time.
    """
    signal, shown = SIGNALS[name](), shop.history()
    shop.sample(200)
    for number in (1, 1, 5, 20, 400, 1):
        shop.sample(number)
        again = shown.series(signal, since="90m", step=step)
        first = shop.history().series(signal, since="90m", step=step)

        assert first.covers == again.covers
        assert first.between == again.between
        assert first.points.keys() == again.points.keys()
        for labels, points in first.points.items():
            known = dict(again.points[labels])  # before a label set came, there is no value, or 0

            assert pytest.approx(dict(points)) == {start: known.get(start, 0.0) for start, _ in points}


def test_what_is_over_is_not_read_again(shop):
    """
    A step that is over stays as it was when its files are gone.
    """
    signal, shown = SIGNALS["rate"](), shop.history()
    shop.sample(200)
    before = shown.series(signal, since="30m", step="1m").points[("status", "200"),]
    for kind in shop.files.by_step.values():
        shutil.rmtree(kind.folder, ignore_errors=True)
    after = shown.series(signal, since="30m", step="1m").points[("status", "200"),]

    assert before[:-2] == after[: len(before) - 2]


def test_a_plot_of_months_has_days(shop):
    """
    Days are put together of hours, and say the same.
    """
    shop.sample(6)
    for hours in range(60):
        shop.samplings = hours * 360 + 8
        shop.sample(1)
        roll_up(shop.slot, shop.files, shop.samplings * 10 + START + 3600)
    found = shop.history().series(increase("http_requests_total", by=["status"]), since="5d", step="1d")

    assert [86_400] == sorted(
        {it.step for it in FileReader(shop.files, fail).points("http_requests_total", Span(START, START + 1), 86_400)}
    )
    totals = [shop.history().totals(increase("http_requests_total"), since=since) for since in ("5d", "50d")]

    assert [sum(shop.counted.values())] * 2 == [total[()] for total in totals]
    assert shop.counted["200"] == sum(value for _, value in found.points[("status", "200"),])


def test_steps_that_are_kept_no_more_are_spread_over_longer_ones(shop):
    """
    Where only hours are left, each minute of one has the hour's rate.
    """
    shop.sample(730)
    for step in (10, 60):
        for file in shop.files.by_step[step].files():
            file.path.unlink()
    found = shop.history().series(rate("http_requests_total", by=["status"], window="1m"), since="2h", step="1m")
    hour = shop.sold_between("200", START, START + 3600) / 3600

    assert (
        pytest.approx([hour] * 10)
        == [value for start, value in found.points[("status", "200"),] if start < START + 3600][-10:]
    )


# Quantiles


def exact(values, share):
    return sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.95, 0.99, 1.0])
def test_a_quantile_lies_where_it_is_said_to_lie(share):
    """
    Whatever the buckets are, also where some are fine and others are not.
    """
    values = [random.Random(5).lognormvariate(-2, 1.5) for _ in range(3000)] + [0.0, 50.0]
    tally = Tally()
    for place, bounds in enumerate([(0.1, 1.0), (0.2, 0.4, 3.0), tuple(0.001 * 2 ** (it / 8) for it in range(100))]):
        counts = [0] * (len(bounds) + 1)
        for value in values[place::3]:
            counts[bisect_left(bounds, value)] += 1
        tally.add(bounds, pack(counts))
    found = tally.quantile(share)

    assert found.low <= exact(values, share) <= found.high
    assert found.low <= found.value <= found.high


def test_of_one_kind_of_buckets_a_quantile_is_prometheus_one():
    """
    In a bucket it is where it would lie if all were spread evenly; beyond the last bound nothing is known but that.
    """
    tally = Tally()
    tally.add((0.1, 1.0), pack([50, 40, 10]))

    assert Between(0.1, 0.0, 0.1) == tally.quantile(0.5)
    assert Between(pytest.approx(0.55), 0.1, 1.0) == tally.quantile(0.7)
    assert Between(1.0, 1.0, inf) == tally.quantile(0.95)
    assert None is Tally().quantile(0.5)


def test_a_quantile_over_time_says_between_what_it_lies(shop):
    """
    As JSON too, where what is beyond the last bound has no upper end.
    """
    shop.sample(100)
    found = shop.history().series(quantile(0.95, "http_request_duration_seconds"), since="10m", step="5m")
    [series] = found.to_dict()["series"]

    assert [[start, 1.0, None] for start, _ in series["points"]] == series["between"]
    assert {1.0} == {value for _, value in series["points"]}
