"""
Signals judge the history as they judge samples in memory, over restarts and over several instances.
"""

from dataclasses import replace

import pytest

from obskit.catalogue import http, process
from obskit.history.files import SeriesFiles
from obskit.history.reader import FileReader
from obskit.history.roll_up import roll_up
from obskit.history.sampler import InstanceTotals, find_totals
from obskit.history.samples import HistorySamples
from obskit.history.series_slot import SeriesSlot
from obskit.metrics.snapshots import FamilySnapshot
from obskit.signals import MemorySamples, first, increase, level, quantile, rate
from obskit.testing import FakeClock, isolated_runtime

START = 1_800_000_000
OK, FAILED = ("GET", "/plants", "200"), ("GET", "/plants", "500")
BOUNDS = (0.1, 1.0, "+Inf")


def fail(error):
    raise error


def refuse(*problem):
    raise AssertionError(problem)


class Shop:
    """
    What an instance's cells say at each sampling; label sets come when they are first counted.
    """

    def __init__(self, errors_from):
        self.errors_from, self.samplings = errors_from, 0

    def families(self, spec):
        n = self.samplings
        counts = {OK: (float(3 * n + 1),)}
        if n >= self.errors_from:
            counts[FAILED] = (float(n - self.errors_from + 2),)
        fast, slow = 2.0 * n, float(n // 2)
        timed = {OK[:2]: (fast + slow, 0.05 * fast + 0.5 * slow, fast, slow, 0.0)}
        found = {
            http.REQUESTS.name: FamilySnapshot(http.REQUESTS, list(counts), list(counts.values())),
            spec.name: FamilySnapshot(spec, list(timed), list(timed.values())),
            process.MEMORY.name: FamilySnapshot(process.MEMORY, [("0",)], [(1000.0 + n // 4,)]),
        }
        self.samplings += 1
        return found


def labels(spec, key):
    return tuple(sorted(zip(spec.labels, key, strict=True)))


def remember(memory, spec, families, at):
    """
    Add what a page would say to samples in memory.
    """
    for family in families.values():
        for key, row in zip(family.keys, family.rows, strict=True):
            pairs, name = labels(family.spec, key), family.spec.name
            if family.spec is not spec:
                memory.setdefault((name, pairs), {})[at] = row[0]
                continue
            memory.setdefault((f"{name}_count", pairs), {})[at] = row[0]
            memory.setdefault((f"{name}_sum", pairs), {})[at] = row[1]
            for place, bound in enumerate(BOUNDS):
                bucket = tuple(sorted((*pairs, ("le", str(bound)))))
                memory.setdefault((f"{name}_bucket", bucket), {})[at] = sum(row[2 : 3 + place])


SIGNALS = {
    "rate": lambda: rate("http_requests_total", window="5m", by=["status"]),
    "increase": lambda: increase("http_requests_total", window="10m", by=["status"]),
    "quantile": lambda: quantile(0.95, "http_request_duration_seconds", window="5m"),
    "level": lambda: level("obskit_process_resident_memory_bytes", by=["worker"]),
    "first": lambda: first("http_requests_total", by=["status"], window="5m", before="20m"),
}


@pytest.fixture
def served(tmp_path):
    """
    Half an hour of a shop, in the history and in memory.
    """
    spec = replace(http.DURATION, buckets=(0.1, 1.0))
    with isolated_runtime(clock=FakeClock(), metric_buckets={"http_request_duration_seconds": [0.1, 1.0]}):
        files, memory = SeriesFiles(tmp_path), {}
        slot = SeriesSlot(*files.claim_slot(), files, refuse)
        shop, totals = Shop(errors_from=160), InstanceTotals("shop", find_totals(files, "shop", fail))
        for index in range(180):
            families = shop.families(spec)
            totals.store(families, slot, START + 10 * index)
            remember(memory, spec, families, START + 10 * index + 10)
            roll_up(slot, files, START + 10 * index + 10)
        yield (
            HistorySamples(FileReader(files, fail)),
            MemorySamples({name: samples.items() for name, samples in memory.items()}, "10s"),
        )
        slot.close()


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("at", [600, 1205, 1700, 1800, 2500])
def test_a_signal_has_the_same_values(served, name, at):
    """
    As on the samples that a page would have given; also where label sets appear, and after the last sampling.
    """
    history, memory = served
    signal = SIGNALS[name]()
    expected = signal.evaluate(memory, START + at)

    assert pytest.approx(expected) == signal.evaluate(history, START + at)
    assert at > 1800 or name == "first" or expected


def test_it_says_what_was_sampled(served):
    """
    Moments in the time that was sampled, to one interval, and none before and after.
    """
    history, memory = served
    moments = [START + seconds for seconds in (-10, 0, 9, 10, 15, 900, 1800, 1809, 1810, 5000)]

    assert [memory.was_sampled(at) for at in moments] == [history.was_sampled(at) for at in moments]


@pytest.mark.parametrize("name", ["queue_items", "queue_items_count", "queue_items_sum", "queue_items_bucket"])
def test_a_gauge_may_end_as_parts_of_histograms_do(name, tmp_path):
    """
    Its name is looked for as it is.
    """
    spec = replace(process.MEMORY, name=name, labels=())
    with isolated_runtime(clock=FakeClock()):
        files = SeriesFiles(tmp_path)
        slot = SeriesSlot(*files.claim_slot(), files, refuse)
        totals = InstanceTotals("shop", find_totals(files, "shop", fail))
        totals.store({name: FamilySnapshot(spec, [()], [(5.0,)])}, slot, START)
        found = list(HistorySamples(FileReader(files, fail)).select(name, START, START + 60.0))
        slot.close()

    assert [[5.0]] == [list(series.values) for series in found]
