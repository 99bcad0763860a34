"""
One runtime a process: it is made once, joined, taken down and made anew, and what was declared outlives it.
"""

import os
import signal
import subprocess
import sys
import threading
import warnings

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter

import obskit
import obskit.runtime
from forked import in_child
from obskit.errors import AlreadyConfiguredError, ConfigurationError, MetricConflictError
from obskit.integrations._middleware import MiddlewareBase
from obskit.integrations._patches import Patches
from obskit.metrics import declare
from obskit.operation import Event, HttpOperation
from obskit.recorder import Sink, recorder
from obskit.runtime import current_runtime, observe_runtime
from obskit.testing import FakeClock, LineStream, RecordingSink, isolated_runtime
from obskit.workers.candidates import when_serving


@pytest.fixture
def given():
    """
    Yield what keeps a runtime off this process's registry and output, and take the runtime down.
    """
    yield {"registry": CollectorRegistry(), "log_stream": LineStream()}
    obskit.shutdown()


@pytest.fixture
def declared():
    """
    Forget what the test declares.
    """
    before = dict(declare.declared)
    yield declare.declared
    declare.declared.clear()
    declare.declared.update(before)


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def serve(app, path="/"):
    seen = []
    body = app({"REQUEST_METHOD": "GET", "PATH_INFO": path}, lambda status, headers, exc_info=None: seen.append(status))
    return seen[0], b"".join(body)


def run(source, **environ):
    """
    Run a program of its own.
    """
    environ = {**os.environ, **environ}
    return subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=60, env=environ, check=False
    )


def test_nothing_stands_until_configure(given):
    """
    The runtime that `configure()` returns is the one that stands.
    """
    before = current_runtime()
    runtime = obskit.configure(**given)

    assert (None, runtime) == (before, current_runtime())
    assert recorder.plan(HttpOperation).active


@pytest.mark.parametrize("again", [{}, {"service": "shop"}, {"service": "shop", "metrics_path": "/metrics"}])
def test_equal_settings_join(given, again):
    """
    A later call with no settings, or equal ones, defaults included, gets the runtime that stands.
    """
    runtime = obskit.configure(service="shop", **given)

    assert runtime is obskit.configure(**again)


def test_other_settings_do_not_join(given):
    """
    A later call with another value raises, and the runtime stands on.
    """
    runtime = obskit.configure(service="shop", **given)
    with pytest.raises(AlreadyConfiguredError):
        obskit.configure(service="till")

    assert runtime is current_runtime()


def test_joining_looks_at_arguments_only(given, monkeypatch):
    """
    Variables are read once: one that has changed is no conflict, and one that is unknown warns no second time.
    """
    runtime = obskit.configure(service="shop", **given)
    monkeypatch.setenv("OBSKIT_SERVICE", "till")
    monkeypatch.setenv("OBSKIT_NAMESPCE", "x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        assert runtime is obskit.configure(service="shop")
        assert runtime is obskit.configure()


def test_an_unknown_setting_is_told_when_joining(given):
    """
    A misspelt argument is an error in a later call too.
    """
    obskit.configure(**given)

    with pytest.raises(ConfigurationError, match="did you mean 'namespace'"):
        obskit.configure(namespce="shop")


def test_shutdown_leaves_nothing(given):
    """
    Afterwards nothing stands, no plan is active, and the registry has none of our names.
    """
    obskit.configure(**given)
    obskit.shutdown()
    obskit.shutdown()

    assert current_runtime() is None
    assert not recorder.plan(HttpOperation).active
    assert list(given["registry"].collect()) == []


def test_other_settings_after_shutdown(given):
    """
    After `shutdown()` any settings may come.
    """
    obskit.configure(service="shop", namespace="one", **given)
    obskit.shutdown()
    runtime = obskit.configure(service="till", namespace="two", **given)

    assert "till" == runtime.settings.service
    assert "two_http_request_duration_seconds" in {page.name for page in given["registry"].collect()}


def test_a_configure_that_fails_leaves_nothing(given):
    """
    Where the registry refuses a name, nothing stands, and the next call starts anew.
    """
    taken = CollectorRegistry()
    Counter("http_requests_total", "Requests.", registry=taken)
    with pytest.raises(MetricConflictError):
        obskit.configure(**{**given, "registry": taken})

    assert current_runtime() is None
    assert not recorder.plan(HttpOperation).active
    assert obskit.configure(**given) is current_runtime()


def test_the_default_registry_is_prometheus_clients():
    """
    Without the setting our figures stand beside those that the application makes with `prometheus_client`.
    """
    runtime = obskit.configure(log_stream=LineStream())
    try:
        assert runtime.registry is REGISTRY
    finally:
        obskit.shutdown()


def test_disabled_gives_the_application_back(given):
    """
    With `enabled=False` the application is the same object and nothing is recorded.
    """
    app = obskit.instrument(wsgi, enabled=False, **given)

    @obskit.observe
    def job():
        return recorder.plan(HttpOperation).active

    assert app is wsgi
    assert not job()
    assert list(given["registry"].collect()) == []


def test_disabled_by_variable(given, monkeypatch):
    """
    `OBSKIT_ENABLED=0` does the same, without a change of code.
    """
    monkeypatch.setenv("OBSKIT_ENABLED", "0")

    assert obskit.instrument(wsgi, **given) is wsgi


def test_what_is_wrapped_follows_the_runtime(given):
    """
    An application that was wrapped under one runtime passes through after `shutdown()` and obeys the next one.
    """
    app = obskit.instrument(wsgi, **given)
    served = [serve(app, "/metrics")[0], serve(app, "/other")[0]]
    obskit.shutdown()
    alone = serve(app, "/metrics")
    obskit.configure(metrics_path="/other", health_path=None, **given)

    assert ["200 OK", "200 OK"] == served
    assert ("200 OK", b"ok") == alone
    assert ("200 OK", b"ok") == serve(app, "/metrics")
    assert serve(app, "/other")[1] != b"ok"


def test_observers_are_not_kept_alive(given):
    """
    An observer is called with each runtime, and is collected when nothing else refers to it.
    """
    heard = []

    class Told(MiddlewareBase):
        def runtime_changed(self, runtime):
            heard.append(runtime)

    told = Told()
    observe_runtime(told)
    heard.clear()
    runtime = obskit.configure(**given)
    obskit.shutdown()
    del told
    obskit.configure(**given)

    assert [runtime, None] == heard


def test_handles_survive(given, declared):
    """
    A handle that was bound before `configure()` counts in each runtime, from zero.
    """
    handle = obskit.counter("plates_seen_total", "Plates.", ["camera"]).bind(camera="north")
    values = []
    for _ in range(2):
        obskit.configure(namespace="cvd", **given)
        handle.inc()
        values.append(given["registry"].get_sample_value("cvd_plates_seen_total", {"camera": "north"}))
        obskit.shutdown()

    assert [1.0, 1.0] == values


def test_a_decorator_survives(given):
    """
    A function that was decorated at import is timed by whichever runtime stands.
    """

    @obskit.observe("job")
    def job():
        return "done"

    job()
    counts = []
    for _ in range(2):
        obskit.configure(**given)
        job()
        labels = {"function": "job", "status": "success"}
        counts.append(given["registry"].get_sample_value("function_duration_seconds_count", labels))
        obskit.shutdown()

    assert [1.0, 1.0] == counts


def test_two_applications_share_the_runtime(given):
    """
    Each of two applications in one process gets the routes, and one registry counts for both.
    """
    first, second = obskit.instrument(wsgi, **given), obskit.instrument(lambda e, s: wsgi(e, s), **given)
    served = [serve(app, path)[0] for app in (first, second) for path in ("/", "/health", "/metrics")]

    assert ["200 OK"] * 6 == served
    assert 2.0 == given["registry"].get_sample_value(
        "http_requests_total", {"method": "GET", "endpoint": "<unmatched>", "status": "200"}
    )


def test_an_application_is_wrapped_once(given):
    """
    What is instrumented already comes back as it is.
    """
    app = obskit.instrument(wsgi, **given)

    assert app is obskit.instrument(app)


@pytest.mark.parametrize(
    ("settings", "routes", "access"),
    [
        (
            {},
            ["/health", "/health/detailed", "/health/live", "/health/ready", "/health/startup", "/metrics"],
            "everyone (set metrics_token or metrics_networks)",
        ),
        (
            {"metrics_token": "t"},
            ["/health", "/health/detailed", "/health/live", "/health/ready", "/health/startup", "/metrics"],
            "restricted",
        ),
        (
            {"metrics_networks": ["::1"]},
            ["/health", "/health/detailed", "/health/live", "/health/ready", "/health/startup", "/metrics"],
            "restricted",
        ),
        (
            {"metrics_path": None},
            ["/health", "/health/detailed", "/health/live", "/health/ready", "/health/startup"],
            None,
        ),
        (
            {"metrics": False, "health_path": "/up"},
            ["/up", "/up/detailed", "/up/live", "/up/ready", "/up/startup"],
            None,
        ),
    ],
)
def test_the_start_up_line(settings, routes, access):
    """
    One line says which routes are on, and who may read the metrics; a second application adds none.
    """
    with isolated_runtime(**settings) as isolated:
        obskit.instrument(wsgi)
        obskit.instrument(lambda environ, start_response: wsgi(environ, start_response))
        [line] = isolated.lines

    assert ("obskit is on", "INFO") == (line["message"], line["level"])
    assert (routes, access) == (line["routes"], line.get("metrics_access"))


def test_a_metric_name_that_no_metric_has(declared):
    """
    A key of `metric_names` that neither obskit nor the application has is told once, with the nearest name.
    """
    obskit.counter("plates", "Plates recognised.")
    names = {
        "http_request_total": "a",
        "plates_total": "b",
        "plate_total": "c",
        "http_requests_total": "d",
        "zzz": None,
    }
    with isolated_runtime(metric_names=names) as isolated:
        obskit.instrument(wsgi)
        obskit.instrument(lambda environ, start_response: wsgi(environ, start_response))
        _, *lines = isolated.lines

    start = "metric_names has {!r}, and no metric is called that so far; "
    assert [
        start.format("http_request_total") + "did you mean 'http_requests_total'?",
        start.format("plate_total") + "did you mean 'plates_total'?",
        start.format("zzz") + "docs/reference/metrics.md lists obskit's",
    ] == [line["message"] for line in lines]
    assert [("WARNING", name) for name in ("http_request_total", "plate_total", "zzz")] == [
        (line["level"], line["metric"]) for line in lines
    ]


def test_metric_names_without_metrics():
    """
    With `metrics=False` no name is looked at.
    """
    with isolated_runtime(metrics=False, metric_names={"zzz": None}) as isolated:
        obskit.instrument(wsgi)

        assert ["obskit is on"] == [line["message"] for line in isolated.lines]


def test_an_instrument_that_fails_leaves_nothing(given):
    """
    The runtime that a failing `instrument()` made does not stand; the next call may ask for other settings.
    """
    with pytest.raises(ConfigurationError):
        obskit.instrument(42, **given)

    assert current_runtime() is None
    assert list(given["registry"].collect()) == []


def test_an_instrument_that_fails_leaves_the_runtime_of_others(given):
    """
    A runtime that stood before goes on.
    """
    runtime = obskit.configure(**given)
    with pytest.raises(ConfigurationError):
        obskit.instrument(42)

    assert current_runtime() is runtime


def test_the_hook_comes_before_the_sinks():
    """
    What `request_hook` puts into `extra` is in the line.
    """

    def hook(operation):
        operation.extra["tenant"] = "north"

    with isolated_runtime(request_hook=hook) as isolated:
        operation = HttpOperation("GET", "/")
        recorder.plan(HttpOperation).begin(operation)
        recorder.plan(HttpOperation).end(operation)

        assert "north" == isolated.lines[-1]["tenant"]


class Failing(RecordingSink):
    """
    Raise when flushed and when closed, but keep count.
    """

    name = "failing"

    def __init__(self):
        super().__init__()
        self.calls = []

    def flush(self):
        self.calls.append("flush")
        raise OSError("no")

    def close(self):
        self.calls.append("close")
        raise OSError("no")


def test_each_sink_is_closed_whatever_the_others_do():
    """
    A sink that raises in `flush()` is closed all the same, and so are those after it.
    """
    failing, after = Failing(), Failing()
    with isolated_runtime(strict=False, sinks=[failing, after]):
        pass

    assert [["flush", "close"]] * 2 == [failing.calls, after.calls]


def test_flush_keeps_the_runtime():
    """
    `flush()` reaches every sink and nothing ends.
    """
    sink = Failing()
    with isolated_runtime(strict=False, sinks=[sink]) as isolated:
        isolated.runtime.flush()

        assert ["flush"] == sink.calls
        assert {"failing": 1} == recorder.errors
        assert current_runtime() is isolated.runtime


def test_configure_from_many_threads_makes_one(given):
    """
    Threads that configure at once share one runtime.
    """
    gate, made = threading.Barrier(8), []

    def work():
        gate.wait(10)
        made.append(obskit.configure(**given))

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(10)

    assert 8 == len(made)
    assert 1 == len(set(made))


# Nothing but obskit puts these spans out: they wait an hour, and the provider does nothing at exit.
DRAIN = """
import obskit, os, signal, sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(), schedule_delay_millis=3_600_000))
{before}
obskit.configure(tracing=provider, metrics=False, access_log=False)
{after}
with obskit.observe("last words"):
    pass
print("queued", flush=True)
{end}
"""
TERMINATE = "os.kill(os.getpid(), signal.SIGTERM); signal.pause()"


def drained(before="", after="", end=TERMINATE):
    """
    Run the program; give its exit status, and whether the span came out, and after it was queued.
    """
    done = run(DRAIN.format(before=before, after=after, end=end))
    queued, _, later = done.stdout.partition("queued\n")
    return done.returncode, '"last words"' in queued, '"last words"' in later


def test_a_fork_leaves_the_lock_to_the_parent():
    """
    A child that is forked while a thread is at configuring, or at a shutdown that takes long, waits for neither.
    """
    taken, release = threading.Event(), threading.Event()

    def hold():
        with obskit.runtime._lock:
            taken.set()
            release.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    try:
        told = in_child(lambda: obskit.runtime._lock.acquire(blocking=False))
    finally:
        release.set()
        thread.join()

    assert told == "True"


def test_what_serves_starts_after_every_part_has_started_over():
    """
    In a forked child of a process that serves a thread may use each part at once: none has its parent's locks any more.
    """
    order = []

    class Last(Sink):
        name = "last"

        def bind(self, kind):
            return None, None

        def after_fork(self):
            order.append("part")

    with isolated_runtime(serving=True, sinks=[Last()]):
        when_serving(lambda: order.append("start"), "toy")
        order.clear()
        told = in_child(lambda: order)

    assert told == "['part', 'start']"


def test_a_fork_leaves_the_locks_of_patches_to_the_parent():
    """
    A child that is forked while a thread instruments a library may do so itself.
    """
    patches = Patches()
    with patches._lock:
        told = in_child(lambda: taken_elsewhere(patches._lock))

    assert told == "True"


def taken_elsewhere(lock):
    """
    Try a lock in another thread, which none that was inherited lets in.
    """
    tried = []
    thread = threading.Thread(target=lambda: tried.append(lock.acquire(blocking=False)))
    thread.start()
    thread.join()
    return tried[0]


def test_sigterm_drains():
    """
    Spans that are queued are put out before SIGTERM ends the process, with the signal's own exit status.
    """
    assert (-signal.SIGTERM, False, True) == drained()


@pytest.mark.parametrize("place", ["before", "after"])
def test_sigterm_stays_with_the_server(place):
    """
    A handler of the application's or the server's is the one that runs; the drain then comes with the exit.
    """
    own = "signal.signal(signal.SIGTERM, lambda *args: sys.exit(7))"

    assert (7, False, True) == drained(**{place: own})


def test_exit_drains():
    """
    A program that merely ends puts out what is queued.
    """
    assert (0, False, True) == drained(end="")


def test_a_second_test_runtime_is_refused():
    """
    `isolated_runtime()` does not replace the active runtime.
    """
    with (
        isolated_runtime(),
        pytest.raises(AlreadyConfiguredError, match=r"call obskit\.shutdown\(\) before"),
        isolated_runtime(),
    ):
        pass


def test_counts_of_the_guard_end_with_the_runtime():
    """
    Errors, drops and fake clocks of one runtime are not the next one's.
    """
    with isolated_runtime(strict=False, clock=FakeClock(5.0)):
        recorder.failed("part", ValueError("x"))
        recorder.dropped.inc(("logs", "closed"))

    assert ({}, {}) == (recorder.errors, recorder.dropped)
    assert not isinstance(recorder.clock, FakeClock)


def test_events_reach_every_sink():
    """
    An event is a line, and whatever else a sink makes of it.
    """
    sink = RecordingSink()
    with isolated_runtime(sinks=[sink]) as isolated:
        event = Event("queue.full", "WARNING", "the queue is full", {"size": 100})
        recorder.emit(event)

        assert [event] == sink.events
        assert ("WARNING", "obskit.queue", 100) == tuple(isolated.lines[-1][k] for k in ("level", "logger", "size"))
