"""
A snapshot has what the page says, of the same workers, under the catalogue's names.
"""

import json
import os
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from itertools import accumulate

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client import Counter as ClientCounter
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.utils import floatToGoString
from test_servers import GUNICORN, Load, kill_one, serving

import obskit
from obskit.catalogue import CATALOGUE, Metric, http
from obskit.errors import LabelError
from obskit.metrics import Exemplar, declare
from obskit.metrics.collector import MetricCollector
from obskit.metrics.family import CountedHistogram, Counter
from obskit.metrics.snapshots import take
from obskit.metrics.workers import Workers
from obskit.testing import isolated_runtime
from obskit.workers import instance_leader
from test_catalogue import budgets_happen, everything_happens, told

__all__ = ["told"]

# Between two readings these move by themselves: the names and labels are compared, and not the numbers.
MOVING = ("system_", "obskit_process_")
# What prometheus_client holds: the application's, and its own.
THEIRS = ("theirs_", "python_", "process_")
RENAMED = {
    "namespace": "till",
    "metric_names": {
        **{"http_requests_total": "asked_total", "sold_total": "gone_total", "obskit_label_sets": "label_sets"},
        **dict.fromkeys(["http_request_duration_seconds", "quiet", "system_load_average", "ai_budget_spent_usd"]),
        **dict.fromkeys(["obskit_build_info", "database_connections_active", "obskit_process_threads"]),
    },
    "metric_labels": {"*": {"endpoint": "route"}, "sold_total": {"crop": "plant"}},
}
SETTINGS = {"as they are": {}, "renamed and left out": RENAMED}
LEFT_OUT = "of a metric that the page leaves out"
NAMED_BY_LABEL = ("obskit_label_sets", "obskit_overflow_total")


class Names:
    """
    The names on the page, made from the settings once more.
    """

    def __init__(self, settings, snapshot):
        self.settings = settings
        self.specs = {spec.name: spec for spec in (*CATALOGUE, *(each.spec for each in snapshot.families.values()))}

    def of(self, spec):
        name = self.settings.get("metric_names", {}).get(spec.name, spec.name)
        namespace = self.settings.get("namespace") if spec.prefixed else None
        return f"{namespace}_{name}" if namespace and name else name

    def labels(self, spec, key):
        given = self.settings.get("metric_labels", {})
        names = given.get("*", {}) | given.get(spec.name, {})
        if spec.name in NAMED_BY_LABEL:
            key = [self.of(self.specs[name]) or LEFT_OUT for name in key]
        return dict(zip([names.get(label, label) for label in spec.labels], key, strict=True))


def samples_of(family, name, labels_of):
    """
    Yield a family's samples as a page has them.
    """
    spec = family.spec
    for key, row in family.cells.items():
        labels = labels_of(spec, key)
        if spec.kind != "histogram":
            yield name, labels, row[0]
            continue
        bounds = [*map(floatToGoString, spec.buckets), "+Inf"]
        for bound, count in zip(bounds, accumulate(row[2:]), strict=True):
            yield f"{name}_bucket", labels | {"le": bound}, count
        yield f"{name}_count", labels, row[0]
        yield f"{name}_sum", labels, row[1]


def as_page(snapshot, settings):
    """
    Return the samples that a page would have of a snapshot.
    """
    names = Names(settings, snapshot)
    return compared(
        sample
        for family in snapshot.families.values()
        if (name := names.of(family.spec))
        for sample in samples_of(family, name, names.labels)
        if LEFT_OUT not in sample[1].values()
    )


def samples_on(text):
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return compared((sample.name, sample.labels, sample.value) for sample in samples)


def compared(samples):
    moves = tuple(prefix for start in MOVING for prefix in (start, f"till_{start}"))
    return {
        (name, *sorted(labels.items())): None if name.startswith(moves) else value for name, labels, value in samples
    }


def counted(samples):
    """
    Leave out what depends on the process that reads: the number of label sets, 0, of what it alone might count, how
    many of what moves by itself, such as the generations that were collected so far, and what it tells from its second
    look on.
    """
    return {
        sample: value
        for sample, value in samples.items()
        if not sample[0].endswith("cpu_usage_percent")
        and (not sample[0].endswith("label_sets") or (value and not any(start in sample[1][1] for start in MOVING)))
    }


def rendered(collector, registry):
    return collector.render_page(registry, "", None, False)[1].decode()


@pytest.fixture
def own(monkeypatch):
    """
    Metrics of the application's, of each kind, and those of tests before this one gone.
    """
    monkeypatch.setattr(declare, "declared", {})
    return (
        obskit.counter("sold_total", "Sold.", ["crop"], unit="plants"),
        obskit.gauge("quiet", "Quiet.", workers="latest"),
        obskit.histogram("wait_seconds", "Wait.", ["crop"], buckets=(0.1, 1.0)),
        obskit.counter("unlabelled_total", "Never counted."),
        obskit.gauge("below", "Nothing was set.", ["crop"]),
    )


@pytest.mark.parametrize("is_shared", [False, True], ids=["memory", "files"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_snapshot_has_what_the_page_has(tmp_path, own, told, settings, is_shared):
    """
    Every family of the catalogue and of the application's, with each sample, but what prometheus_client holds; and
    those that the page leaves out as well.
    """
    sold, quiet, wait, *_ = own
    folder = {"metrics_dir": str(tmp_path / "workers")} if is_shared else {}
    registry = CollectorRegistry()
    theirs = ClientCounter("theirs", "Of prometheus_client.", registry=registry)
    given = {"registry": registry, "size_metrics": True, "max_label_sets": 5, **folder, **settings}
    with isolated_runtime(**given) as isolated:
        everything_happens()
        budgets_happen()
        theirs.inc()
        sold.inc(3, crop="rose")
        quiet.set(7)
        wait.observe(0.5, crop="rose")
        for number in range(9):
            sold.inc(crop=str(number))
        collector = isolated.runtime._collector
        rendered(collector, registry)  # what is a difference needs two looks
        page, snapshot = samples_on(rendered(collector, registry)), take(collector)

    left_out = {name for name, new in settings.get("metric_names", {}).items() if new is None}
    absent = {row.name for row in CATALOGUE} - snapshot.families.keys()
    page = {sample: value for sample, value in page.items() if not sample[0].startswith(THEIRS)}
    assert page == as_page(snapshot, settings)
    assert left_out - absent <= snapshot.families.keys()
    assert absent <= {
        *("obskit_process_event_loop_lag_seconds", "obskit_metrics_files_set_aside_total"),
        *("database_connections_active", "database_connections_idle", "database_connections_max"),
    }
    assert [(7.0,), "plants"] == [snapshot.families["quiet"].cells[()], snapshot.families["sold_total"].spec.unit]
    assert snapshot.is_whole
    assert [os.getpid()] == list(snapshot.pids.values())


def test_a_process_that_serves_nothing_reads_requests_alike(tmp_path):
    """
    Whoever has no metrics of requests itself has those of the others as they have them: histogram and counter.
    """
    folder = str(tmp_path / "workers")
    serves, other = (MetricCollector("", {}, 1000, Workers("shop", folder)) for _ in range(2))
    requests = serves.add(CountedHistogram(replace(http.DURATION, buckets=(0.1, 1.0)), http.REQUESTS))
    for status in ("200", "200", "404"):
        requests.cell(("GET", "/", status)).observe(0.5)
    one, two = take(serves).families, take(other).families
    serves.close()
    other.close()

    assert {("GET", "/"): (3.0, 1.5, 0.0, 3.0, 0.0)} == two[http.DURATION.name].cells
    assert {("GET", "/", "200"): (2.0,), ("GET", "/", "404"): (1.0,)} == two[http.REQUESTS.name].cells
    assert [one[row.name] for row in (http.DURATION, http.REQUESTS)] == [
        two[row.name] for row in (http.DURATION, http.REQUESTS)
    ]


def test_the_snapshot_of_the_active_runtime(own):
    """
    It is public, and each metric answers by its labels.
    """
    sold, *_ = own
    with isolated_runtime():
        sold.inc(3, crop="rose")
        found = obskit.metrics.snapshot().families["sold_total"]

    assert [(3.0,), None] == [found.value(crop="rose"), found.value(crop="tulip")]
    with pytest.raises(LabelError, match=r"sold_total has the labels \('crop',\), and was asked for \('plant',\)"):
        found.value(plant="rose")


@pytest.mark.parametrize("settings", [None, {"metrics": False}, {"enabled": False}], ids=str)
def test_a_snapshot_is_empty_where_no_metrics_are_kept(settings):
    """
    It raises nothing where obskit is off, and says that nothing is known.
    """
    with nullcontext() if settings is None else isolated_runtime(**settings):
        found = obskit.metrics.snapshot()

    assert ({}, {}, False) == (found.families, found.pids, found.is_whole)


@pytest.mark.parametrize("is_shared", [False, True], ids=["memory", "files"])
def test_a_snapshot_has_the_exemplars_of_the_page(tmp_path, is_shared):
    """
    Each lies in the bucket of its value; nothing is read of them unless they are asked for.
    """
    folder = {"metrics_dir": str(tmp_path / "workers")} if is_shared else {}
    trace = "0af7651916cd43dd8448eb211c80319c"
    registry = CollectorRegistry()
    with isolated_runtime(registry=registry, metric_buckets={http.DURATION.name: (0.1, 1.0)}, **folder) as isolated:
        family = isolated.runtime._collector._families[http.DURATION.name]
        cell = family.cell(("GET", "/", "200"))
        cell.observe(0.5)
        family.record_exemplar(cell.key, 0.5, trace, 1_800_000_000.0)
        found, without = (obskit.metrics.snapshot(exemplars=asked) for asked in (True, False))

    assert {("GET", "/"): {1: Exemplar(trace, 0.5, 1_800_000_000.0)}} == found.families[http.DURATION.name].exemplars
    assert {} == without.families[http.DURATION.name].exemplars
    assert (1.0, 0.5, 0.0, 1.0, 0.0) == found.families[http.DURATION.name].value(method="GET", endpoint="/")


def test_whoever_takes_a_snapshot_asks_nothing_for_the_others(tmp_path):
    """
    A script that looks once does not become the process that asks the queries of gauges for all.
    """
    with isolated_runtime(metrics_dir=str(tmp_path / "workers")) as isolated:
        obskit.metrics.snapshot()
        before = instance_leader.samples()
        rendered(isolated.runtime._collector, isolated.registry)
        after = instance_leader.samples()

    assert (False, True) == (before, after)


def test_a_snapshot_without_a_metric_of_some_worker_is_not_whole(tmp_path):
    """
    Where workers have declared one name differently, it says that figures are missing.
    """
    folder = str(tmp_path / "workers")
    older, newer = (MetricCollector("", {}, 1000, Workers("shop", folder)) for _ in range(2))
    whole = take(older).is_whole  # it joins first
    older.add(Counter(Metric("sold_total", "counter", "Sold.", ("crop",)))).cell(("rose",)).inc()
    newer.add(Counter(Metric("sold_total", "counter", "Sold."))).cell(()).inc()
    found = take(newer)
    older.close()
    newer.close()

    assert (True, False) == (whole, found.is_whole)
    assert {(): (1.0,)} == found.families["sold_total"].cells


@pytest.mark.parametrize(
    ("workers", "settings"),
    [(1, RENAMED), (4, {}), (8, RENAMED)] if find_spec("gunicorn") else [],
    ids=lambda value: value if isinstance(value, int) else "renamed" if value else "as they are",
)
def test_a_snapshot_has_what_the_page_of_any_worker_has(tmp_path, workers, settings):
    """
    Whoever shares the workers' folder reads what their page says, one of them killed meanwhile: metrics that only they
    have declared, those that the page leaves out, and nothing of prometheus_client's.
    """
    folder = str(tmp_path / "metrics")
    given = {
        f"OBSKIT_{name.upper()}": value if name == "namespace" else json.dumps(value)
        for name, value in settings.items()
    }
    server_of = (*GUNICORN, f"--workers={workers}", "counted:wsgi")
    with serving(server_of, tmp_path, OBSKIT_METRICS_DIR=folder, **given) as server:
        with Load(server) as load:
            kill_one(load)
            answered = load.answered
            server.until(lambda: load.answered > answered + 20)
        with isolated_runtime(metrics_dir=folder, service="shop", **settings) as isolated:

            def both():
                page, snapshot = samples_on(server.get("/metrics")), take(isolated.runtime._collector)
                page = {sample: value for sample, value in page.items() if not sample[0].startswith(THEIRS)}
                return counted(page), counted(as_page(snapshot, settings)), snapshot

            # A worker that takes the place of the killed one may come between two readings.
            page, read, snapshot = server.until(lambda: (found := both())[0] == found[1] and found)
        visits = snapshot.families["visits_total"].cells[()][0]

    assert page == read
    assert workers + 1 >= len(snapshot.pids) > 1
    assert load.answered - 1 <= visits <= load.answered + load.failed
    # The request that was in flight at the kill may have been a visit already.
    assert 0 <= visits - sum(row[0] for row in snapshot.families["http_requests_total"].rows) <= 1
