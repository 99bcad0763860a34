"""
A store shows its families to registries, under the names that the settings give them.
"""

import os
from dataclasses import replace
from itertools import permutations
from wsgiref.util import setup_testing_defaults

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

import obskit
from obskit.catalogue import Metric
from obskit.catalogue.http import DURATION, REQUESTS
from obskit.errors import MetricConflictError
from obskit.metrics import family
from obskit.metrics.collector import MetricCollector
from obskit.metrics.workers import Workers
from obskit.operation import HttpOperation
from obskit.recorder import recorder
from obskit.testing import FakeClock, isolated_runtime


def serve(endpoint="/plants/<int:plant_id>", status=200, seconds=0.0):
    operation = HttpOperation("GET", "/")
    operation.endpoint, operation.status = endpoint, status
    plan = recorder.plan(HttpOperation)
    plan.begin(operation)
    if seconds:
        recorder.clock.advance(seconds)
    plan.end(operation)


def page(registry):
    return generate_latest(registry).decode()


@pytest.fixture
def counted():
    """
    Yield a store, its registry, and a histogram in it that adds up over the status.
    """
    collector, registry = MetricCollector("", {}, 1000, Workers("shop", None)), CollectorRegistry()
    histogram = collector.add(family.CountedHistogram(replace(DURATION, buckets=(0.1, 1.0)), REQUESTS))
    collector.register(registry)
    yield collector, registry, histogram
    collector.close()


def test_the_page_is_what_prometheus_client_makes_of_it():
    """
    `generate_latest()` of the application's registry has our series, with help, type and cumulative buckets.
    """
    with isolated_runtime(namespace="shop", http_buckets=(0.1, 1.0), clock=FakeClock()) as isolated:
        serve(seconds=0.05)
        serve(seconds=0.5)
        serve(status=404, seconds=2.0)
        lines = page(isolated.registry).splitlines()

    name = "shop_http_request_duration_seconds"
    labels = 'endpoint="/plants/<int:plant_id>",method="GET"'
    expected = [
        f"# HELP {name} Duration of HTTP requests in seconds, from arrival to the last byte of the reply.",
        f"# TYPE {name} histogram",
        f'{name}_bucket{{endpoint="/plants/<int:plant_id>",le="0.1",method="GET"}} 1.0',
        f'{name}_bucket{{endpoint="/plants/<int:plant_id>",le="1.0",method="GET"}} 2.0',
        f'{name}_bucket{{endpoint="/plants/<int:plant_id>",le="+Inf",method="GET"}} 3.0',
        f"{name}_count{{{labels}}} 3.0",
        f"{name}_sum{{{labels}}} 2.55",
    ]
    counted = [line for line in lines if line.startswith("shop_http_requests_total")]
    assert expected == [line for line in lines if name in line and "obskit_label_sets" not in line]
    assert [
        f'shop_http_requests_total{{{labels},status="200"}} 2.0',
        f'shop_http_requests_total{{{labels},status="404"}} 1.0',
    ] == counted


def test_the_page_parses():
    """
    Every line is one that Prometheus reads, label values with quotes, backslashes and line ends included.
    """
    hostile = 'quote " backslash \\ newline \n end'
    with isolated_runtime() as isolated:
        serve(endpoint=hostile)
        pages = list(text_string_to_metric_families(page(isolated.registry)))

    assert hostile in {sample.labels.get("endpoint") for shown in pages for sample in shown.samples}


def test_the_applications_own_metrics_stand_beside_ours():
    """
    Metrics made with `prometheus_client` in the same registry are on the same page.
    """
    registry = CollectorRegistry()
    Gauge("ovens", "Ovens.", registry=registry).set(4)
    with isolated_runtime(registry=registry):
        serve()
        text = page(registry)

    assert "ovens 4.0" in text
    assert "http_requests_total{" in text


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Counter, "http_requests"),
        (Counter, "http_requests_total"),
        (Histogram, "http_request_duration_seconds"),
        (Gauge, "http_requests_in_progress"),
        (Gauge, "http_request_duration_seconds_count"),
    ],
)
def test_a_name_of_the_applications_is_a_conflict(kind, name):
    """
    A name, or one of the samples', that the application has registered stops `configure()` and names the settings.
    """
    registry = CollectorRegistry()
    kind(name, "The application's own.", registry=registry)
    solved = pytest.raises(MetricConflictError, match=r"namespace='\.\.\.'.*metric_names={'http_")
    with solved as raised, isolated_runtime(registry=registry):
        pass

    ours = str(raised.value).partition("metric_names={'")[2].partition("'")[0]
    with isolated_runtime(registry=registry, metric_names={ours: None}) as isolated:
        assert isolated.registry is registry


def test_the_conflict_names_the_metric_without_the_namespace():
    """
    The message's `metric_names` is what solves it where there is a namespace too.
    """
    registry = CollectorRegistry()
    Counter("shop_http_requests", "Requests.", registry=registry)
    with pytest.raises(MetricConflictError) as raised, isolated_runtime(registry=registry, namespace="shop"):
        pass

    assert "'shop_http_requests_total' is registered already" in str(raised.value)
    assert "metric_names={'http_requests_total': 'other_name'}" in str(raised.value)


def test_a_conflict_leaves_the_registry_as_it_was():
    """
    Where a name is refused, none of ours stays.
    """
    registry = CollectorRegistry()
    Counter("http_requests", "Requests.", registry=registry)
    with pytest.raises(MetricConflictError), isolated_runtime(registry=registry):
        pass

    assert ["http_requests"] == [shown.name for shown in registry.collect()]


def test_two_metrics_under_one_name_are_a_conflict():
    """
    A rename that meets another metric is refused when it comes.
    """
    renames = {"function_duration_seconds": "http_response_first_byte_seconds"}
    conflict = pytest.raises(MetricConflictError, match="http_response_first_byte_seconds")
    with conflict, isolated_runtime(metric_names=renames):
        obskit.observe("job")(int)()


def test_names_that_meet_at_the_start_are_a_conflict():
    """
    A rename that gives two metrics one name stops `configure()`, names the setting, and leaves nothing behind.
    """
    registry = CollectorRegistry()
    conflict = pytest.raises(MetricConflictError, match="metric_names=")
    renames = {"http_requests_total": "http_exceptions_total"}
    with conflict as raised, isolated_runtime(registry=registry, metric_names=renames):
        pass
    with isolated_runtime(registry=registry) as isolated:
        serve()
        served = isolated.value("http_requests_total", method="GET", endpoint="/plants/<int:plant_id>", status="200")

    assert "http_exceptions_total" in str(raised.value)
    assert 1.0 == served


def test_metrics_are_renamed_in_the_namespace():
    """
    `metric_names` gives the name after the prefix, to a metric and to the counter that comes with one.
    """
    names = {"http_request_duration_seconds": "latency_seconds", "http_requests_total": "hits_total"}
    with isolated_runtime(namespace="shop", metric_names=names) as isolated:
        serve()

        labels = {"method": "GET", "endpoint": "/plants/<int:plant_id>"}
        assert 1.0 == isolated.value("shop_latency_seconds_count", **labels)
        assert 1.0 == isolated.value("shop_hits_total", **labels, status="200")
        assert "http_request" not in page(isolated.registry).replace("http_requests_in_progress", "")


@pytest.mark.parametrize(
    ("left_out", "stays"),
    [
        ("http_requests_total", "http_request_duration_seconds_count"),
        ("http_requests_in_progress", "http_requests_total"),
        ("obskit_build_info", "http_requests_total"),
    ],
)
def test_a_metric_is_left_out(left_out, stays):
    """
    None leaves one metric out and keeps the others, the pulled ones and obskit's own included.
    """
    with isolated_runtime(metric_names={left_out: None}) as isolated:
        serve()
        text = page(isolated.registry)

    assert left_out not in text
    assert stays in text


def test_obskits_own_metrics_take_no_namespace():
    """
    `obskit_build_info` is called so in every application, and says what runs.
    """
    with isolated_runtime(namespace="shop", service="till", version="1.2", environment="test") as isolated:
        labels = {"service": "till", "version": "1.2", "environment": "test", "obskit": obskit.__version__}
        assert 1.0 == isolated.value("obskit_build_info", **labels)


def test_requests_in_progress_are_pulled():
    """
    The gauge counts what has begun and not ended.
    """
    with isolated_runtime() as isolated:
        operation = HttpOperation("GET", "/")
        recorder.plan(HttpOperation).begin(operation)
        during = isolated.value("http_requests_in_progress", method="GET")
        recorder.plan(HttpOperation).end(operation)
        after = isolated.value("http_requests_in_progress", method="GET")

    assert 1.0 == during
    assert after in (None, 0.0)


def test_a_store_joins_two_registries():
    """
    Both show the same figures, and closing leaves both.
    """
    collector, registries = (
        MetricCollector("shop", {}, 1000, Workers("shop", None)),
        [CollectorRegistry(), CollectorRegistry()],
    )
    sold = collector.add(family.Counter(Metric("sold_total", "counter", "Sold.")))
    for registry in registries:
        collector.register(registry)
    sold.inc(3)
    figures = [registry.get_sample_value("shop_sold_total") for registry in registries]
    collector.close()

    assert [3.0, 3.0] == figures
    assert [[], []] == [list(registry.collect()) for registry in registries]


def test_a_family_that_comes_late_is_known_to_the_registry():
    """
    A metric of the application's under the name of one of ours that came late is refused by the registry.
    """
    collector, registry = MetricCollector("", {}, 1000, Workers("shop", None)), CollectorRegistry()
    collector.register(registry)
    collector.add(family.Counter(Metric("sold_total", "counter", "Sold.")))
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        Counter("sold", "Sold.", registry=registry)
    collector.close()

    Counter("sold", "Sold.", registry=registry).inc()
    assert 1.0 == registry.get_sample_value("sold_total")


def test_a_closed_runtime_leaves_no_figures():
    """
    The next runtime's page begins at nothing.
    """
    with isolated_runtime() as isolated:
        serve()
        first = page(isolated.registry)
    with isolated_runtime() as isolated:
        second = page(isolated.registry)

    assert "plant_id" in first
    assert "plant_id" not in second


@pytest.mark.parametrize("statuses", [*permutations(["200", "301", "404"])])
def test_a_sum_over_statuses_does_not_depend_on_their_order(counted, statuses):
    """
    The seconds of all statuses are added up in one go: added one by one, some orders give 0.6000000000000001.
    """
    _, registry, histogram = counted
    seconds = {"200": 0.1, "301": 0.2, "404": 0.3}
    for status in statuses:
        histogram.cell(("GET", "/", status)).observe(seconds[status])

    labels = {"method": "GET", "endpoint": "/"}
    assert 0.6 == registry.get_sample_value("http_request_duration_seconds_sum", labels)


def test_an_infinite_duration_costs_no_page(counted):
    """
    Seconds without end make the sum infinite, and the page is there.
    """
    _, registry, histogram = counted
    for status, seconds in (("200", float("inf")), ("404", 1.0)):
        histogram.cell(("GET", "/", status)).observe(seconds)

    labels = {"method": "GET", "endpoint": "/"}
    assert float("inf") == registry.get_sample_value("http_request_duration_seconds_sum", labels)


def test_exemplars_of_all_statuses_are_shown(counted):
    """
    Each bucket of a histogram that adds up over the status has the latest exemplar of any status.
    """
    collector, registry, histogram = counted
    for status, seconds, trace, at in (("200", 0.3, "a", 1.0), ("404", 0.3, "b", 2.0), ("404", 0.004, "c", 3.0)):
        histogram.cell(("GET", "/", status)).observe(seconds)
        histogram.record_exemplar(("GET", "/", status), seconds, trace * 32, at)
    _, body = collector.render_page(registry, "application/openmetrics-text; version=1.0.0", None, False)

    told = [
        (sample.exemplar.labels["trace_id"][0], sample.exemplar.value)
        for shown in parse_openmetrics(body.decode())
        for sample in shown.samples
        if sample.exemplar
    ]
    assert [("c", 0.004), ("b", 0.3)] == told


def test_bytes_that_are_no_text_cost_no_page(monkeypatch):
    """
    Variables and paths may hold bytes that are no UTF-8: the page has question marks for them, in both formats.
    """
    for name in ("service", "version", "environment"):
        monkeypatch.setenv(f"OBSKIT_{name.upper()}", os.fsdecode(b"a\xffb"))
    accepts = {"text/plain": text_string_to_metric_families, "application/openmetrics-text": parse_openmetrics}
    told = []
    with isolated_runtime(disk_paths={os.fsdecode(b"\xfe"): "/"}):
        app = obskit.instrument(lambda environ, start_response: [])

        def start_response(status, headers):
            told.append(status)

        for accept, parse in accepts.items():
            environ = {"PATH_INFO": "/metrics", "HTTP_ACCEPT": accept}
            setup_testing_defaults(environ)
            text = b"".join(app(environ, start_response)).decode()
            samples = {sample.name: sample.labels for shown in parse(text) for sample in shown.samples}
            told += [samples["obskit_build_info"], samples["system_disk_total_bytes"]]

    labels = {"service": "a?b", "version": "a?b", "environment": "a?b", "obskit": obskit.__version__}
    assert ["200 OK", labels, {"path": "?"}] * 2 == told


class Interrupted(CollectorRegistry):
    """
    A registry in the middle of whose registering a signal's handler runs, once.
    """

    handler = staticmethod(lambda: None)

    def _get_names(self, collector):
        handler, self.handler = self.handler, lambda: None
        handler()
        return super()._get_names(collector)


@pytest.mark.timeout(30)
def test_a_metric_is_declared_on_top_of_another():
    """
    What a signal's handler declares while its thread registers another metric is on the page, as that one is.
    """
    registry = Interrupted()
    with isolated_runtime(registry=registry):
        registry.handler = lambda: obskit.counter("inner_orders_total", "Orders.").inc(2)
        obskit.counter("outer_orders_total", "Orders.").inc()

        assert 2.0 == registry.get_sample_value("inner_orders_total")
        assert 1.0 == registry.get_sample_value("outer_orders_total")
        assert "inner_orders_total" in registry._names_to_collectors
