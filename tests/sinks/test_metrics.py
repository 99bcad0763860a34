"""
Operations become figures, with labels that are bounded and names that are the catalogue's.
"""

import os
import threading

import pytest

import obskit
from forked import in_child
from obskit.db.db_operation import DbOperation
from obskit.forks import fork_steps
from obskit.metrics import declare
from obskit.observation import FunctionOperation
from obskit.operation import HttpOperation
from obskit.recorder import recorder
from obskit.testing import FakeClock, isolated_runtime


class Sized(HttpOperation):
    """
    A request whose headers a test says.
    """

    __slots__ = ("headers",)

    def header(self, name):
        return self.headers.get(name)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def isolated(clock):
    with isolated_runtime(clock=clock) as isolated:
        yield isolated


def run(operation, seconds=0.0, **fields):
    plan = recorder.plan(HttpOperation if isinstance(operation, HttpOperation) else type(operation))
    plan.begin(operation)
    for name, value in fields.items():
        setattr(operation, name, value)
    if seconds:
        recorder.clock.advance(seconds)
    plan.end(operation)
    return operation


def served(method="GET", seconds=0.0, **fields):
    return run(HttpOperation(method, "/plants/7"), seconds, **{"endpoint": "/plants/<id>", "status": 200, **fields})


PLACE = {"method": "GET", "endpoint": "/plants/<id>"}


def test_a_request_is_counted_and_timed_once(isolated):
    """
    Counter and histogram come from one update and agree; the default bounds have the usual thresholds.
    """
    served(seconds=0.2)
    served(seconds=0.3, status=404)

    assert [1.0, 1.0] == [isolated.value("http_requests_total", **PLACE, status=status) for status in ("200", "404")]
    assert 2.0 == isolated.value("http_request_duration_seconds_count", **PLACE)
    assert 0.5 == pytest.approx(isolated.value("http_request_duration_seconds_sum", **PLACE))
    assert [1.0, 2.0] == [
        isolated.value("http_request_duration_seconds_bucket", **PLACE, le=le) for le in ("0.2", "0.5")
    ]


@pytest.mark.parametrize(
    ("method", "status", "labels"),
    [
        ("BREW", 200, {"method": "_OTHER", "status": "200"}),
        ("GET", 0, {"method": "GET", "status": "_OTHER"}),
        ("GET", -1, {"method": "GET", "status": "_OTHER"}),
        ("GET", 999, {"method": "GET", "status": "_OTHER"}),
        ("GET", 599, {"method": "GET", "status": "599"}),
    ],
)
def test_labels_are_bounded_sets(isolated, method, status, labels):
    """
    Methods and statuses that no RFC knows share one label each.
    """
    served(method, status=status)

    assert 1.0 == isolated.value("http_requests_total", endpoint="/plants/<id>", **labels)


def test_what_only_some_requests_have(isolated):
    """
    First bytes, exceptions and aborted replies have series of their own, from the fields that say so.
    """
    served(first_byte_seconds=0.25, exception="ValueError", aborted=True)
    served()

    assert 0.25 == isolated.value("http_response_first_byte_seconds_sum", **PLACE)
    assert 1.0 == isolated.value("http_exceptions_total", endpoint="/plants/<id>", exception="ValueError")
    assert 1.0 == isolated.value("http_responses_aborted_total", endpoint="/plants/<id>")


def test_sizes_are_off_by_default(isolated):
    """
    Without `size_metrics` the page has no sizes.
    """
    served(bytes_sent=1000)

    assert isolated.value("http_response_size_bytes_count", **PLACE) is None


@pytest.mark.parametrize(
    ("headers", "expected"), [({"content-length": "700"}, 700.0), ({}, 0.0), ({"content-length": "-5"}, 0.0)]
)
def test_sizes(clock, headers, expected):
    """
    The request's is the declared one, the reply's is counted; a length that is no number is none.
    """
    with isolated_runtime(clock=clock, size_metrics=True) as isolated:
        operation = Sized("GET", "/plants/7")
        operation.headers = headers
        run(operation, endpoint="/plants/<id>", status=200, bytes_sent=1000)

        assert expected == isolated.value("http_request_size_bytes_sum", **PLACE)
        assert 1000.0 == isolated.value("http_response_size_bytes_sum", **PLACE)


def test_functions(isolated):
    """
    A function's status says whether it raised, or was marked as failed.
    """
    run(FunctionOperation("job"), seconds=1.0)
    run(FunctionOperation("job"), seconds=2.0, error="ValueError")
    failed = FunctionOperation("job")
    failed.fail("nothing to do")
    run(failed, seconds=4.0)

    sums = [isolated.value("function_duration_seconds_sum", function="job", status=s) for s in ("success", "error")]
    assert [1.0, 6.0] == sums


def test_queries(isolated):
    """
    Failed queries are timed too, and counted by their error.
    """
    run(DbOperation("sqlite", "plants", "select"), seconds=0.5)
    run(DbOperation("sqlite", "plants", "select"), seconds=0.5, error="OperationalError")

    labels = {"system": "sqlite", "table": "plants", "operation": "select"}
    assert 2.0 == isolated.value("database_query_duration_seconds_count", **labels)
    assert 1.0 == isolated.value("database_errors_total", **labels, error="OperationalError")


def test_buckets_are_settings():
    """
    `http_buckets` and `db_buckets` are the bounds on the page.
    """
    with isolated_runtime(http_buckets=(0.5,), db_buckets=(2.0,)) as isolated:
        served()
        run(DbOperation("sqlite", "plants", "select"))
        bounds = {
            (page.name, sample.labels["le"])
            for page in isolated.registry.collect()
            for sample in page.samples
            if "le" in sample.labels
        }

    assert {
        ("http_request_duration_seconds", "0.5"),
        ("http_request_duration_seconds", "+Inf"),
        ("database_query_duration_seconds", "2.0"),
        ("database_query_duration_seconds", "+Inf"),
    } == bounds


def test_threads_are_counted_exactly(isolated):
    """
    Eight threads that serve at once lose no request, and nothing stays in progress.
    """
    gate = threading.Barrier(8)

    def work():
        gate.wait(10)
        for number in range(1_000):
            served(status=200 + number % 2)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)

    assert 8_000.0 == isolated.value("http_request_duration_seconds_count", **PLACE)
    assert [4_000.0] * 2 == [isolated.value("http_requests_total", **PLACE, status=s) for s in ("200", "201")]
    assert isolated.value("http_requests_in_progress", method="GET") in (None, 0.0)


def test_nothing_in_progress_is_a_zero(isolated):
    """
    A method that was seen, on a page or between two, shows 0 when nothing runs; one that never came shows nothing.
    """
    plan, running = recorder.plan(HttpOperation), HttpOperation("PUT", "/plants/7")
    served()
    plan.begin(running)
    during = [isolated.value("http_requests_in_progress", method=method) for method in ("GET", "PUT", "POST")]
    plan.end(running)

    assert [0.0, 1.0, None] == during
    assert [0.0, 0.0] == [isolated.value("http_requests_in_progress", method=method) for method in ("GET", "PUT")]


def test_beyond_the_cap_method_and_status_stay():
    """
    The cap folds the endpoint, so that rates by method and status stay right, and every update beyond it is counted.
    """
    with isolated_runtime(max_label_sets=2) as isolated:
        for number in range(5):
            for _ in range(2):
                served(endpoint=f"/{number}", status=404)

        over = {"method": "GET", "endpoint": "_OVERFLOW"}
        assert 6.0 == isolated.value("http_requests_total", **over, status="404")
        assert 6.0 == isolated.value("http_request_duration_seconds_count", **over)
        assert 6.0 == isolated.value("obskit_overflow_total", metric="http_request_duration_seconds")


def test_errors_and_drops_are_on_the_page():
    """
    What the guard kept from the application can be alerted on.
    """
    with isolated_runtime(strict=False) as isolated:
        recorder.failed("hook", ValueError("x"))
        recorder.dropped.inc(("logs", "EAGAIN"), 2)

        assert 1.0 == isolated.value("obskit_errors_total", sink="hook")
        assert 2.0 == isolated.value("obskit_dropped_total", sink="logs", reason="EAGAIN")


def test_metrics_can_be_off(monkeypatch):
    """
    With `metrics=False` nothing is counted and there is no page; the lines stay.
    """
    with isolated_runtime(metrics=False) as isolated:
        served()
        monkeypatch.setattr(declare, "declared", {})
        obskit.counter("quiet_total", "Quiet.").inc()

        assert isolated.registry is None
        assert ["request"] == [line["message"] for line in isolated.lines]
        assert "/metrics" not in isolated.runtime.routes.paths


def test_a_forked_child_has_nothing_of_its_parents(isolated):
    """
    Requests in progress, errors and drops of the parent are not on the child's page, and stay on the parent's.
    """
    ours = ("http_requests_in_progress", "obskit_errors_total", "obskit_dropped_total")
    plan, running = recorder.plan(HttpOperation), HttpOperation("GET", "/plants/7")
    plan.begin(running)
    recorder.errors.inc("logs")
    recorder.dropped.inc(("logs", "EPIPE"), 2)

    def shown():
        families = isolated.registry.collect()
        return sorted(
            (sample.name, sample.value) for family in families for sample in family.samples if sample.name in ours
        )

    def work():
        at_first = shown()
        plan.begin(HttpOperation("GET", "/plants/8"))
        plan.end(running)
        return at_first, shown()

    assert "([], [('http_requests_in_progress', 1.0)])" == in_child(work)
    assert [(ours[0], 1.0), (ours[2], 2.0), (ours[1], 1.0)] == shown()
    plan.end(running)


def test_a_runtime_leaves_no_fork_hook_behind(monkeypatch):
    """
    Runtimes that come and go register nothing that outlives them: one hook, made at import, serves them all.
    """
    hooks, before = [], len(fork_steps)
    monkeypatch.setattr(os, "register_at_fork", lambda **given: hooks.append(given))
    for _ in range(2):
        with isolated_runtime():
            pass

    assert ([], before) == (hooks, len(fork_steps))
