"""
Labels have the names on the page that `metric_labels` gives them, and histograms the bounds of `metric_buckets`.
"""

import re
from dataclasses import replace

import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

import obskit
from obskit.catalogue import CATALOGUE, Metric
from obskit.catalogue.db import DURATION
from obskit.errors import ConfigurationError
from obskit.metrics.collector import MetricCollector
from obskit.metrics.family import Counter, Gauge, Histogram
from obskit.metrics.label_names import LabelRenames
from obskit.metrics.workers import Workers
from obskit.recorder import recorder
from obskit.sinks.kinds import found
from obskit.sinks.metrics_sink import BINDERS
from obskit.testing import isolated_runtime

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
KINDS = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
LABELLED = [spec for spec in CATALOGUE if spec.labels and spec.prefixed]
EACH = {spec.name: {label: f"its_{label}" for label in spec.labels} for spec in LABELLED}
QUERY_TYPE = {"database_query_duration_seconds": {"operation": "query_type"}}


def label_names(families):
    """
    Return the names of the labels of each metric, without the bounds of buckets.
    """
    return {
        family.name: {label for sample in family.samples for label in sample.labels if label != "le"}
        for family in families
    }


def page(runtime, accept=""):
    _, body = runtime._page(accept, False, None)
    return body.decode()


@pytest.mark.parametrize("folder", [None, "workers"])
def test_every_label_of_the_catalogue_can_be_renamed(folder, tmp_path):
    """
    Each label of each metric has its new name in both formats and for registries, in one process and over workers.
    """
    from prometheus_client import CollectorRegistry

    workers = Workers("shop", folder and str(tmp_path / folder))
    registry, collector = CollectorRegistry(), MetricCollector("", {}, 1000, workers, LabelRenames(EACH, {}))
    for spec in LABELLED:
        family = collector.add(KINDS[spec.kind](replace(spec, buckets=(1.0,) if spec.kind == "histogram" else ())))
        cell = family.labels(*spec.labels)
        cell.observe(0.5) if spec.kind == "histogram" else cell.inc()
    collector.register(registry)
    found = [
        label_names(text_string_to_metric_families(collector.render_page(registry, "", None, False)[1].decode())),
        label_names(parse_openmetrics(collector.render_page(registry, OPENMETRICS, None, False)[1].decode())),
        label_names(text_string_to_metric_families(generate_latest(registry).decode())),
    ]
    told = {metric.name: set(metric._labelnames) for metric in collector.describe()}
    collector.close()

    for spec in LABELLED:
        name = spec.name.removesuffix("_total") if spec.kind == "counter" else spec.name
        expected = {f"its_{label}" for label in spec.labels}

        assert [expected] * 4 == [names[name] for names in (*found, told)]


def test_every_metric_that_has_the_label():
    """
    `"*"` renames a label wherever it is; a metric's own entry goes before it, and may keep the old name.
    """
    names = {"*": {"endpoint": "handler"}, "http_exceptions_total": {"endpoint": "endpoint"}}
    known = LabelRenames(names, {})

    for spec in CATALOGUE:
        kept = spec.name == "http_exceptions_total"
        expected = [label if kept else {"endpoint": "handler"}.get(label, label) for label in spec.labels]
        assert expected == list(known.rename(spec))


def test_an_exemplar_stays_with_its_bucket():
    """
    The trace of a query is beside its bucket, under the labels' new names.
    """
    with isolated_runtime(metric_labels=QUERY_TYPE) as isolated:
        with obskit.observe_db(table="devices", operation="select"):
            pass
        family = next(f for f in isolated.runtime._collector._families.values() if f.spec.name == DURATION.name)
        family.record_exemplar(family.items()[0][0], 0.0, "ab" * 16, 1.0)
        text = page(isolated.runtime, OPENMETRICS)

    marked = re.search(r'database_query_duration_seconds_bucket\{([^}]*)\} \S+ # \{trace_id="(\w+)"\}', text)
    assert ("ab" * 16, True, False) == (marked[2], 'query_type="select"' in marked[1], "operation=" in marked[1])


def test_two_labels_may_change_places():
    """
    Names that meet only on the way to their new ones do not meet.
    """
    names = {DURATION.name: {"table": "operation", "operation": "table"}}

    assert ("system", "operation", "table") == LabelRenames(names, {}).rename(DURATION)


def test_workers_with_other_names_add_up(tmp_path):
    """
    A worker that was started with other settings counts into the same series: the page has its answerer's names.
    """
    folder = str(tmp_path / "workers")
    collectors = [
        MetricCollector("", {}, 1000, Workers("shop", folder), names)
        for names in (LabelRenames({}, {}), LabelRenames(QUERY_TYPE, {}))
    ]
    for collector in collectors:
        collector.add(Histogram(replace(DURATION, buckets=(1.0,)))).observe(
            0.5, system="sqlite", table="devices", operation="select"
        )
    shown = [
        [dict(zip(section.renderer.labels, labels, strict=True)) for labels, _ in section.cells]
        for collector in collectors
        for section in collector.sections()
        if section.renderer.name == DURATION.name
    ]
    for collector in collectors:
        collector.close()

    assert [
        [{"system": "sqlite", "table": "devices", "operation": "select"}],
        [{"system": "sqlite", "table": "devices", "query_type": "select"}],
    ] == shown


def test_another_workers_metric_is_never_refused_on_the_page():
    """
    What another worker declared, with labels that the new name meets, keeps its own.
    """
    theirs = Metric(DURATION.name, "counter", "Theirs.", ("operation", "query_type"))

    assert ("operation", "query_type") == LabelRenames(QUERY_TYPE, {}).rename(theirs)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (
            {DURATION.name: {"operations": "query_type"}},
            "metric_labels['database_query_duration_seconds'] renames 'operations', but its labels are system, table, "
            "operation; did you mean 'operation'?",
        ),
        (
            {"http_requests_total": {"le": "bound"}},
            "metric_labels['http_requests_total'] renames 'le', but its labels are method, endpoint, status",
        ),
        ({"*": {"zzz": "a"}}, "metric_labels['*'] renames 'zzz', but no metric has that label"),
        (
            {"*": {"endpoints": "a"}},
            "metric_labels['*'] renames 'endpoints', but no metric has that label; did you mean 'endpoint'?",
        ),
        ({DURATION.name: {"operation": "table"}}, "the labels system, table, table: .* names a label twice"),
        ({"*": {"service": "provider"}}, "names a label twice: provider, provider, model"),
        *(({DURATION.name: {"operation": name}}, "is no label name") for name in ("le", "quantile", "worker")),
        *(({DURATION.name: {"operation": name}}, "is no label name") for name in ("__name", "2nd", "a-b", "a b", "ö")),
        ({"*": {"worker": "process"}}, "'worker' stays"),
        ({"obskit_process_threads": {"worker": "process"}}, "'worker' stays"),
        ({DURATION.name: {"operation": 5}}, "expected a mapping of metrics"),
        ({DURATION.name: {"operation": None}}, "expected a mapping of metrics"),
        ({DURATION.name: "query_type"}, "expected a mapping of metrics"),
        ({"operation": "query_type"}, "expected a mapping of metrics"),
    ],
)
def test_what_cannot_be_renamed_is_refused_at_the_start(asked, says):
    """
    An unknown label, one of that name, and a name that is no label's stop `configure()`, and leave nothing behind.
    """
    refused = pytest.raises(ConfigurationError, match=says if ".*" in says else re.escape(says))
    with refused, isolated_runtime(metric_labels=asked):
        pass
    with isolated_runtime() as isolated:
        text = page(isolated.runtime)

    assert "obskit_build_info" in text


def test_a_metric_is_called_by_its_own_name():
    """
    Who names a metric as `metric_names` calls it is told the name to write.
    """
    settings = {
        "metric_names": {"database_query_duration_seconds": "db_query_duration_seconds"},
        "metric_labels": {"db_query_duration_seconds": {"operation": "query_type"}},
    }
    says = "which is what metric_names makes of 'database_query_duration_seconds': write 'database_query_duration"
    with pytest.raises(ConfigurationError, match=re.escape(says)), isolated_runtime(**settings):
        pass


def test_own_metrics_follow():
    """
    An application's metric is updated by the labels it was declared with, before `configure()` or after.
    """
    before = obskit.counter("before_total", "Before.", ["kind"])
    names = {"before_total": {"kind": "sort"}, "after": {"kind": "sort"}, "gone_total": {"kind": "sort"}}
    with isolated_runtime(metric_labels=names) as isolated:
        before.inc(kind="seed")
        obskit.gauge("after", "After.", ["kind"]).bind(kind="seed").set(2)
        obskit.instrument(lambda environ, start_response: [])
        values = isolated.value("before_total", sort="seed"), isolated.value("after", sort="seed")
        warned = [line["message"] for line in isolated.lines if line["level"] == "WARNING"]

    assert (1.0, 2.0) == values
    assert ["metric_labels has 'gone_total', and no metric is called that so far; did you mean 'before_total'?"] == (
        warned
    )


def test_own_metrics_are_refused_when_they_come():
    """
    A metric without the label, or with one of the new name, is refused where it is declared.
    """
    names = {"plates_total": {"kind": "sort"}}
    with isolated_runtime(metric_labels=names):
        with pytest.raises(ConfigurationError, match=r"renames 'kind', but its labels are sort"):
            obskit.counter("plates", "Plates.", ["sort"])
        with pytest.raises(ConfigurationError, match="names a label twice"):
            obskit.counter("plates", "Plates.", ["kind", "sort"])
        obskit.counter("plates", "Plates.", ["kind"])


def test_the_environment_may_say_it(monkeypatch):
    """
    The variable is JSON.
    """
    monkeypatch.setenv("OBSKIT_METRIC_LABELS", '{"http_requests_total": {"status": "code"}}')
    with isolated_runtime() as isolated:
        labels = isolated.runtime._collector._label_renames.rename(
            next(s for s in CATALOGUE if s.name == "http_requests_total")
        )

    assert ("method", "endpoint", "code") == labels


# Bounds


@pytest.mark.parametrize("spec", [spec for spec in CATALOGUE if spec.kind == "histogram"], ids=lambda spec: spec.name)
def test_every_histogram_takes_its_bounds(spec):
    """
    Whatever makes a histogram of the catalogue gives it the bounds of `metric_buckets`, and others their own.
    """
    with isolated_runtime(metric_buckets={spec.name: (0.25, 4)}, size_metrics=True) as isolated:
        for kind in BINDERS:
            recorder.plan(found(kind))
        bounds = {family.spec.name: family.spec.buckets for family in isolated.runtime._collector._families.values()}

    assert bounds.pop(spec.name) == (0.25, 4.0)
    assert (0.25, 4.0) not in bounds.values()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (
            {"function_durations_seconds": (1,)},
            "which is not a histogram of obskit's; did you mean 'function_duration_",
        ),
        (
            {"http_requests_total": (1,)},
            "metric_buckets has 'http_requests_total', which is not a histogram of obskit's",
        ),
        ({"zzz": (1,)}, "your own have theirs where they are declared"),
        ({"function_duration_seconds": (2, 1)}, "expected a mapping of histograms to rising bounds"),
        ({"function_duration_seconds": ()}, "expected a mapping of histograms to rising bounds"),
        ((1, 2), "expected a mapping of histograms to rising bounds"),
    ],
)
def test_wrong_bounds_are_refused_at_the_start(asked, says):
    """
    A name that is no histogram of obskit's, and bounds that do not rise, stop `configure()`.
    """
    with pytest.raises(ConfigurationError, match=re.escape(says)), isolated_runtime(metric_buckets=asked):
        pass
