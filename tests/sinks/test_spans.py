"""
Operations become spans where they were asked for, and each request has one server span.
"""

import asyncio
import json
import logging
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest
from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

import obskit
from obskit.context import current
from obskit.db.db_operation import DbOperation
from obskit.errors import ConfigurationError, MissingExtraError
from obskit.observation import FunctionOperation
from obskit.operation import HttpOperation
from obskit.recorder import recorder
from obskit.sinks import tracer_provider as provider_module
from obskit.sinks.span_sink import SpanSink
from obskit.sinks.tracer_provider import Provider, forget_global
from obskit.testing import FakeClock, FakeIds, isolated_runtime

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
SECOND = 1_000_000_000


class Request(HttpOperation):
    """
    A request that no server has seen.
    """

    __slots__ = ("asked", "headers", "written")

    def __init__(self, method="GET", path="/plants/7", *, query="", client="203.0.113.77", **headers):
        super().__init__(method, path)
        self.written, self.asked, self.client = method, query, client
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.agent = self.headers.get("user-agent")
        self.correlation_id = "id-1"

    def header(self, name):
        return self.headers.get(name)

    @property
    def query(self):
        return self.asked

    @property
    def raw_method(self):
        return self.written


@contextmanager
def running(op):
    """
    Run an operation as the adapters do.
    """
    plan, token = recorder.plan(HttpOperation if isinstance(op, HttpOperation) else type(op)), current.set(op)
    plan.begin(op)
    if op.span is not None:
        op.span.enter()
    try:
        yield op
    finally:
        if op.span is not None:
            op.span.leave()
        current.reset(token)
        plan.end(op)


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()

    assert otel.get_current() == {}


@pytest.fixture
def given(provider):
    """
    Yield OpenTelemetry the provider, as an application does that set it up itself.
    """
    trace.set_tracer_provider(provider)
    yield provider
    forget_global(provider)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def runtime(provider, clock):
    with isolated_runtime(service="shop", tracing=provider, clock=clock, wall_clock=lambda: 1000 + clock()) as runtime:
        yield runtime


def only(exporter):
    [span] = exporter.get_finished_spans()
    return span


def ids(span):
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


# What a request's span says.


def test_a_request_is_a_server_span(runtime, exporter, clock):
    """
    A finished request is one server span with the stable HTTP attributes, named after its route.
    """
    with running(Request(host="shop.example:8080", user_agent="curl/8")) as op:
        clock.advance(1.5)
        op.status, op.endpoint = 200, "/plants/{plant_id}"
    span = only(exporter)

    assert (span.name, span.kind, span.parent) == ("GET /plants/{plant_id}", SpanKind.SERVER, None)
    assert (span.start_time, span.end_time) == (1000 * SECOND, 1_001_500_000_000)
    assert (span.status.status_code, span.instrumentation_scope.name) == (StatusCode.UNSET, "obskit")
    assert dict(span.attributes) == {
        "http.request.method": "GET",
        "url.path": "/plants/7",
        "url.scheme": "http",
        "server.address": "shop.example",
        "server.port": 8080,
        "user_agent.original": "curl/8",
        "client.address": "203.0.113.0",
        "obskit.correlation_id": "id-1",
        "http.route": "/plants/{plant_id}",
        "http.response.status_code": 200,
    }


def test_an_unmatched_path_names_no_span(runtime, exporter):
    """
    A request that no route matched is named after its method, and has no route.
    """
    with running(Request(path="/.env")) as op:
        op.status = 404
    span = only(exporter)

    assert (span.name, span.status.status_code, span.attributes.get("http.route")) == ("GET", StatusCode.UNSET, None)


def test_an_unknown_method_is_folded(runtime, exporter):
    """
    A method outside of the standard is `_OTHER`, keeps its spelling in an attribute, and names the span `HTTP`.
    """
    with running(Request("BREW")) as op:
        op.status, op.endpoint = 200, "/pot"
    span = only(exporter)

    assert span.name == "HTTP /pot"
    assert span.attributes["http.request.method"] == "_OTHER"
    assert span.attributes["http.request.method_original"] == "BREW"


@pytest.mark.parametrize(
    ("status", "exception", "error_type", "code"),
    [
        (200, None, None, StatusCode.UNSET),
        (404, None, None, StatusCode.UNSET),
        (499, None, None, StatusCode.UNSET),
        (503, None, "503", StatusCode.ERROR),
        (500, "KeyError", "KeyError", StatusCode.ERROR),
        (200, "KeyError", "KeyError", StatusCode.ERROR),
    ],
)
def test_only_the_servers_failures_are_errors(runtime, exporter, status, exception, error_type, code):
    """
    A 5xx, or an exception that left the application, makes the span an error; what the client did wrong does not.
    """
    with running(Request()) as op:
        op.status, op.exception = status, exception
    span = only(exporter)

    assert (code, None) == (span.status.status_code, span.status.description)
    assert error_type == span.attributes.get("error.type")
    assert span.events == ()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("shop.example", ("shop.example", 80)),
        ("[::1]:8000", ("::1", 8000)),
        ("user@shop.example", (None, None)),
        ("shop.example/x", (None, None)),
    ],
)
def test_the_host_header_is_split(runtime, exporter, host, expected):
    """
    Address and port of the server come from the `Host` header; a malformed one gives neither.
    """
    with running(Request(host=host)):
        pass
    attributes = only(exporter).attributes

    assert expected == (attributes.get("server.address"), attributes.get("server.port"))


@pytest.mark.parametrize(("setting", "address"), [("masked", "203.0.113.0"), ("full", "203.0.113.77"), ("none", None)])
def test_the_client_is_told_as_in_the_log(provider, exporter, setting, address):
    """
    The client's address obeys `log_client`.
    """
    with isolated_runtime(tracing=provider, log_client=setting), running(Request()):
        pass

    assert address == only(exporter).attributes.get("client.address")


@pytest.mark.parametrize(("setting", "query"), [(False, None), (True, "page=2&token=[redacted:token]")])
def test_the_query_string_is_told_on_demand(provider, exporter, setting, query):
    """
    The query string is recorded with `log_query_string` only, and as the lines have it.
    """
    with isolated_runtime(tracing=provider, log_query_string=setting), running(Request(query="page=2&token=s3cret")):
        pass

    assert query == only(exporter).attributes.get("url.query")


def test_bound_fields_and_extras_become_attributes(runtime, exporter):
    """
    Bound fields that are plain values and all extras are told; neither replaces what the conventions name.
    """
    with running(Request()) as op:
        obskit.bind(user="u-7", basket=["p-1"])
        op.extra.update({"shelves": 12, "window": (1, 2), "http.response.status_code": "forged"})
        op.status = 204
    attributes = only(exporter).attributes

    assert (
        *(attributes[name] for name in ("user", "shelves", "window")),
        attributes["http.response.status_code"],
    ) == ("u-7", 12, "(1, 2)", 204)
    assert "basket" not in attributes


def test_a_cut_reply_is_told(runtime, exporter):
    """
    A reply that the client did not wait for says so, and is no error.
    """
    with running(Request()) as op:
        op.status, op.aborted = 200, True
    span = only(exporter)

    assert (span.attributes["obskit.aborted"], span.status.status_code) == (True, StatusCode.UNSET)


def test_a_value_that_cannot_be_told_does_not_keep_a_span_open(provider, exporter):
    """
    The span ends even if describing it raises, and the failure is counted.
    """

    class Unspeakable:
        def __str__(self):
            raise ValueError("no words")

    logging.getLogger("obskit").addHandler(quiet := logging.NullHandler())
    with isolated_runtime(tracing=provider, strict=False):
        with running(Request()) as op:
            op.extra["thing"] = Unspeakable()
        errors = dict(recorder.errors)
    logging.getLogger("obskit").removeHandler(quiet)

    assert errors == {"spans": 1}
    assert only(exporter).name == "GET"


# Traces, and the current span.


def test_a_trace_that_comes_in_is_continued(runtime, exporter):
    """
    The span is a child of the one that the `traceparent` header names, with its tracestate.
    """
    with running(Request(traceparent=PARENT, tracestate="shop=1")):
        pass
    span = only(exporter)

    assert (ids(span)[0], f"{span.parent.span_id:016x}") == (TRACE, "00f067aa0ba902b7")
    assert span.context.trace_state["shop"] == "1"


@pytest.mark.parametrize("traceparent", ["junk", PARENT.upper(), PARENT + "-" + "x" * 600])
def test_a_malformed_trace_is_ignored(runtime, exporter, caplog, traceparent):
    """
    A header that breaks the W3C rules starts a new trace, and no line is logged for it.
    """
    with running(Request(traceparent=traceparent)):
        pass

    assert (only(exporter).parent, caplog.records) == (None, [])


def test_lines_carry_the_spans_ids(runtime, exporter):
    """
    The operation, and so the access line, has the ids of its span.
    """
    with running(Request()) as op:
        begun = op.trace_id, op.span_id
    span = only(exporter)

    assert begun == ids(span)
    assert begun == (runtime.lines[-1]["trace_id"], runtime.lines[-1]["span_id"])


def test_an_unsampled_request_costs_no_span(exporter):
    """
    A request that is not sampled is not exported, and its lines carry the trace's id still.
    """
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with isolated_runtime(tracing=provider), running(Request(traceparent=PARENT)) as op:
        pass
    provider.shutdown()

    assert (op.trace_id, exporter.get_finished_spans()) == (TRACE, ())


def test_the_span_is_current_while_the_application_works(runtime, exporter, provider):
    """
    The application's own spans, functions and queries are children of what they run in; nothing stays current.
    """
    tracer = provider.get_tracer("app")
    with (
        running(Request()),
        tracer.start_as_current_span("own"),
        running(FunctionOperation("parse")),
        running(DbOperation("sqlite", "plants", "select")),
    ):
        pass
    spans = {span.name: span for span in exporter.get_finished_spans()}
    parents = {name: span.parent and f"{span.parent.span_id:016x}" for name, span in spans.items()}

    assert parents == {
        "GET": None,
        "own": ids(spans["GET"])[1],
        "parse": ids(spans["own"])[1],
        "select plants": ids(spans["parse"])[1],
    }
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_what_the_application_leaves_attached_is_taken_away(runtime, exporter):
    """
    A context that the application attaches and forgets does not outlive the request.
    """
    with running(Request()):
        otel.attach(otel.set_value("forgotten", 1))

    assert otel.get_current() == {}


def test_leaving_in_another_context_logs_nothing(runtime, caplog):
    """
    An asynchronous generator that is closed from another task leaves no line about a context that failed to detach.
    """

    async def stream():
        with running(FunctionOperation("stream")):
            yield 1
            yield 2

    async def main():
        generator = stream()
        await asyncio.create_task(generator.__anext__())
        try:
            await asyncio.create_task(generator.aclose())
        except ValueError:
            pass  # obskit's own variable, which `running()` resets without the care that `observe()` takes

    asyncio.run(main())

    assert caplog.records == []


# Functions and queries.


def test_a_function_is_an_internal_span(runtime, exporter, clock):
    """
    A function's span has its name, duration and extras, and its failure without the message.
    """

    def fail():
        with obskit.observe("parse_dex") as op:
            clock.advance(2)
            op.extra["shelves"] = 12
            raise KeyError("a name nobody should read")

    with pytest.raises(KeyError):
        fail()
    span = only(exporter)

    assert (span.name, span.kind, span.end_time - span.start_time) == ("parse_dex", SpanKind.INTERNAL, 2 * SECOND)
    assert dict(span.attributes) == {"shelves": 12, "error.type": "KeyError"}
    assert (span.status.status_code, span.status.description, span.events) == (StatusCode.ERROR, None, ())


def test_a_failure_that_raised_nothing_has_its_reason(runtime, exporter):
    """
    `fail()` makes the span an error and tells the reason.
    """
    with running(FunctionOperation("parse")) as op:
        op.fail("empty file")
    span = only(exporter)

    assert dict(span.attributes) == {"error.type": "failed", "reason": "empty file"}


def test_a_query_is_a_client_span(runtime, exporter, clock):
    """
    A query's span is named after verb and table, and has the stable database attributes.
    """
    with running(DbOperation("sqlite", "plants", "select")) as op:
        clock.advance(0.25)
        op.error = "OperationalError"
    span = only(exporter)

    assert (span.name, span.kind, span.end_time - span.start_time) == ("select plants", SpanKind.CLIENT, 250_000_000)
    assert (StatusCode.ERROR, ids(span)) == (span.status.status_code, (op.trace_id, op.span_id))
    assert dict(span.attributes) == {
        "db.system.name": "sqlite",
        "db.operation.name": "select",
        "db.collection.name": "plants",
        "error.type": "OperationalError",
    }


@pytest.mark.parametrize(
    ("system", "table", "operation", "name"),
    [
        ("unknown", "plants", "select", "select plants"),
        ("sqlite", "", "pragma", "pragma"),
        ("sqlite", "", "", "sqlite"),
    ],
)
def test_a_query_is_named_after_what_is_known(runtime, exporter, system, table, operation, name):
    """
    Where verb or table are not known, the rest is the name.
    """
    with running(DbOperation(system, table, operation)):
        pass

    assert name == only(exporter).name


# Who asked for spans, and where they go.


def tracing_of(runtime):
    return [sink for sink in runtime.runtime._sinks if sink.name == "spans"]


def test_without_a_provider_there_are_no_spans():
    """
    Nothing asked for, and no provider set: there is no sink that a request would pay for.
    """
    with isolated_runtime() as runtime:
        assert tracing_of(runtime) == []


def test_a_provider_that_is_set_is_used(given, exporter):
    """
    An application that gave OpenTelemetry a provider gets spans without asking obskit.
    """
    with isolated_runtime(), running(Request()):
        pass

    assert only(exporter).name == "GET"


def test_a_given_provider_is_left_open(provider, exporter):
    """
    `shutdown()` flushes a provider of the application's, and does not shut it down.
    """
    with isolated_runtime(tracing=provider), running(Request()):
        pass
    provider.get_tracer("app").start_span("later").end()

    assert [span.name for span in exporter.get_finished_spans()] == ["GET", "later"]


@pytest.mark.parametrize("switch", ["noop", "disabled"])
def test_a_provider_that_makes_nothing_costs_nothing(monkeypatch, switch):
    """
    With OpenTelemetry's no-op provider, or `OTEL_SDK_DISABLED`, there is no sink.
    """
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    provider = trace.NoOpTracerProvider() if switch == "noop" else TracerProvider(shutdown_on_exit=False)
    with isolated_runtime(tracing=provider) as runtime:
        assert tracing_of(runtime) == []


def python(script):
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_configuring_imports_no_opentelemetry():
    """
    Without tracing, neither the SDK nor its API is imported.
    """
    script = "import sys, obskit; obskit.configure(); print([m for m in sys.modules if m.startswith('opentelemetry')])"

    assert python(script) == ["[]"]


def test_a_provider_may_be_named_by_a_variable(monkeypatch):
    """
    `OTEL_PYTHON_TRACER_PROVIDER` counts as a provider that is set.
    """
    monkeypatch.setenv("OTEL_PYTHON_TRACER_PROVIDER", "sdk_tracer_provider")

    assert python("import obskit; print([s.name for s in obskit.configure()._sinks if s.name == 'spans'])") == [
        "['spans']"
    ]


def test_a_named_provider_that_is_missing_is_a_configuration_error(monkeypatch):
    """
    A variable that names a provider nobody has installed stops `configure()` with the variable's name.
    """
    monkeypatch.setenv("OTEL_PYTHON_TRACER_PROVIDER", "no_such_provider")

    with pytest.raises(ConfigurationError, match="OTEL_PYTHON_TRACER_PROVIDER"), isolated_runtime():
        pass
    assert trace._TRACER_PROVIDER is None


def test_console_writes_a_line_a_span(capsys):
    """
    `tracing="console"` writes each span as one JSON line, with the service in its resource.
    """
    with (
        isolated_runtime(service="shop", version="1.2", environment="test", tracing="console"),
        running(Request()) as op,
    ):
        op.status, op.endpoint = 200, "/plants/{plant_id}"
    [line] = capsys.readouterr().out.splitlines()
    span = json.loads(line)
    resource = span["resource"]["attributes"]

    assert ("GET /plants/{plant_id}", "0x" + op.trace_id) == (span["name"], span["context"]["trace_id"])
    assert tuple(resource[name] for name in ("service.name", "service.version", "deployment.environment.name")) == (
        "shop",
        "1.2",
        "test",
    )


def test_a_provider_of_ours_is_everybodys_until_shutdown(capsys):
    """
    The application's own spans join a provider that obskit builds; after `shutdown()` OpenTelemetry has none again.
    """
    with isolated_runtime(tracing="console"), running(Request()), trace.get_tracer("app").start_as_current_span("own"):
        pass
    names = [json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()]

    assert names == ["own", "GET"]
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def test_a_provider_of_the_applications_stays_everybodys(given, capsys):
    """
    Where OpenTelemetry has a provider, asking obskit for another leaves it in its place.
    """
    with isolated_runtime(tracing="console"):
        assert trace.get_tracer_provider() is given
    assert trace.get_tracer_provider() is given


def test_the_ratio_is_for_new_traces(capsys):
    """
    With `trace_ratio=0` no new trace is recorded, and the child of a sampled one still is.
    """
    with isolated_runtime(tracing="console", trace_ratio=0):
        with running(Request(path="/new")):
            pass
        with running(Request(path="/child", traceparent=PARENT)):
            pass
    [line] = capsys.readouterr().out.splitlines()

    assert json.loads(line)["attributes"]["url.path"] == "/child"


@pytest.fixture
def collector():
    """
    Serve as a collector that keeps which path and which `x-team` header each request had.
    """

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            self.server.received.append((self.path, self.headers["x-team"]))
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args): ...

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        server.received = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_otlp_sends_to_the_collector(monkeypatch, collector):
    """
    `tracing="otlp"` sends to `OTEL_EXPORTER_OTLP_ENDPOINT`, at the latest when obskit shuts down.
    """
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=plants")
    with isolated_runtime(tracing="otlp"), running(Request()):
        pass

    assert collector.received == [("/v1/traces", "plants")]


def test_a_collector_that_hangs_does_not_keep_the_server_from_stopping(monkeypatch):
    """
    Flushing ends after a bounded time, and what may be lost is counted.
    """
    monkeypatch.setattr(provider_module, "PATIENCE_SECONDS", 0.05)
    released = threading.Event()
    provider = SimpleNamespace(
        get_tracer=trace.NoOpTracerProvider().get_tracer, force_flush=released.wait, shutdown=released.wait
    )
    with isolated_runtime() as runtime:
        sink = SpanSink(runtime.settings, recorder, Provider(provider, built=True))
        begun = time.monotonic()
        sink.flush()
        sink.flush()
        sink.close()
        took = time.monotonic() - begun
        dropped = dict(recorder.dropped)
    released.set()

    assert dropped == {("spans", "flush_timeout"): 2}
    assert took < 5


@pytest.mark.parametrize("step", ["force_flush", "shutdown"])
def test_a_provider_that_raises_is_counted(step, caplog):
    """
    What a provider raises while it drains is the sink's failure, and no thread's.
    """

    def fail():
        raise RuntimeError("the provider's own mistake")

    made = {"get_tracer": trace.NoOpTracerProvider().get_tracer, "force_flush": bool, "shutdown": bool, step: fail}
    with isolated_runtime(strict=False) as runtime:
        sink = SpanSink(runtime.settings, recorder, Provider(SimpleNamespace(**made), built=True))
        runtime.runtime._sinks.append(sink)
    complaints = [record.args[0] for record in caplog.records if record.name == "obskit"]

    assert ["spans"] == complaints


def test_otlp_without_its_exporter_names_the_extra(monkeypatch):
    """
    A missing exporter is an error at `configure()` that says what to install.
    """
    for name in [name for name in sys.modules if name.startswith("opentelemetry.exporter")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter", None)

    said = r"tracing='otlp' needs .*: pip install 'obskit\[otlp\]'"
    with pytest.raises(MissingExtraError, match=said), isolated_runtime(tracing="otlp"):
        pass


@pytest.mark.parametrize(
    "error", [ImportError("cannot import name 'x'"), AttributeError("no _x"), TypeError("protobuf")]
)
def test_packages_that_disagree_are_named(monkeypatch, error):
    """
    Where OpenTelemetry's own packages do not fit together, the error lists which versions there are.
    """
    real = provider_module.import_module

    def broken(name):
        if name == provider_module._EXPORTER:
            raise error
        return real(name)

    monkeypatch.setattr(provider_module, "import_module", broken)

    with pytest.raises(ConfigurationError) as raised, isolated_runtime(tracing="otlp"):
        pass
    assert str(error) in str(raised.value)
    assert "opentelemetry-api 1." in str(raised.value)
    assert "opentelemetry-sdk 1." in str(raised.value)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many", r"an OTEL_\* variable"),
    ],
)
def test_variables_that_cannot_be_honoured_are_errors(monkeypatch, variable, value, said):
    """
    OTLP over gRPC, and what OpenTelemetry itself cannot read, stop `configure()` in place of losing every span.
    """
    monkeypatch.setenv(variable, value)

    with pytest.raises(ConfigurationError, match=said), isolated_runtime(tracing="otlp"):
        pass


# One server span a request.


def server_spans(exporter):
    return [span for span in exporter.get_finished_spans() if span.kind is SpanKind.SERVER]


def test_a_server_span_from_outside_is_reused(given, exporter):
    """
    Where an instrumentation outside of obskit has started the server span, that one is described, and stays its own.
    """
    tracer = given.get_tracer("opentelemetry.instrumentation.asgi")
    with isolated_runtime(), tracer.start_as_current_span("GET", kind=SpanKind.SERVER) as outer:
        with running(Request()) as op:
            op.status, op.endpoint = 200, "/plants/{plant_id}"
        still_open = outer.is_recording()
    span = only(exporter)

    assert still_open
    assert ("GET /plants/{plant_id}", ids(span)) == (span.name, (op.trace_id, op.span_id))
    assert (span.attributes["obskit.correlation_id"], span.attributes["http.response.status_code"]) == ("id-1", 200)


def test_a_reused_span_that_ended_first_is_left_alone(given, exporter, caplog):
    """
    ASGI instrumentations end their span with the last byte, before obskit is told; no line complains.
    """
    tracer = given.get_tracer("opentelemetry.instrumentation.asgi")
    with (
        isolated_runtime(),
        tracer.start_as_current_span("GET", kind=SpanKind.SERVER, end_on_exit=False) as outer,
        running(Request()),
    ):
        outer.end()

    assert (only(exporter).attributes["obskit.correlation_id"], caplog.records) == ("id-1", [])


def test_a_request_within_a_request_has_a_span_of_its_own(given, exporter):
    """
    A request that an application makes to another one in its process is a child, whoever made the outer span.
    """
    tracer = given.get_tracer("opentelemetry.instrumentation.asgi")
    with isolated_runtime():
        with running(Request(path="/ours")), running(Request(path="/inner-1")):
            pass
        theirs = tracer.start_as_current_span("theirs", kind=SpanKind.SERVER)
        with theirs, running(Request(path="/theirs")), running(Request(path="/inner-2")):
            pass
    spans = {span.attributes["url.path"]: span for span in exporter.get_finished_spans()}

    assert {"/ours", "/inner-1", "/theirs", "/inner-2"} == set(spans)
    assert spans["/inner-1"].parent.span_id == spans["/ours"].context.span_id
    assert spans["/inner-2"].parent.span_id == spans["/theirs"].context.span_id


def test_a_span_that_is_no_server_span_is_the_parent(given, exporter):
    """
    A request that is made under a span of another kind, as in a test, is its child.
    """
    with isolated_runtime(), given.get_tracer("test").start_as_current_span("test") as outer, running(Request()):
        pass
    [span] = server_spans(exporter)

    assert outer.context.span_id == span.parent.span_id


def test_an_outer_span_that_is_not_sampled_is_obeyed(exporter):
    """
    Where the instrumentation outside decided not to sample, no server span of ours appears in its place.
    """
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    unsampled = trace.NonRecordingSpan(trace.SpanContext(int(TRACE, 16), 1, False, trace.TraceFlags(0)))
    with isolated_runtime(tracing=provider), trace.use_span(unsampled), running(Request()) as op:
        pass
    provider.shutdown()

    assert (op.trace_id, exporter.get_finished_spans()) == (TRACE, ())


async def get(app, path, query=b""):
    """
    Call an ASGI application in this task, as a server does.
    """
    scope = {
        "type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "root_path": "",
        "path": path, "raw_path": path.encode(), "query_string": query, "headers": [(b"host", b"shop.example")],
        "client": ("203.0.113.77", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"]


def plants(**options):
    fastapi = pytest.importorskip("fastapi")
    pytest.importorskip("fastapi.telemetry")
    app = fastapi.FastAPI(**options)

    @app.get("/plants/{plant_id}")
    async def plant(plant_id: int):
        return {"own": trace.get_current_span().get_span_context().span_id}

    return app


@pytest.mark.parametrize("tracing", ["set", "asked"])
@pytest.mark.parametrize("form", ["instrument", "outside", "mounted", "add_middleware"])
def test_fastapi_starts_no_second_server_span(given, exporter, form, tracing):
    """
    FastAPI records server spans by itself where a provider is set: wherever obskit sits, a request has one.
    """
    from obskit.integrations.asgi import ObskitMiddleware

    with isolated_runtime(tracing=given if tracing == "asked" else None):
        app, path = plants(), "/plants/7"
        if form == "instrument":
            app = obskit.instrument(app)
        elif form == "outside":
            app = ObskitMiddleware(app)
        elif form == "mounted":
            from starlette.applications import Starlette
            from starlette.routing import Mount

            app, path = obskit.instrument(Starlette(routes=[Mount("/shop", app)])), "/shop/plants/7"
        else:
            app.add_middleware(ObskitMiddleware)
        status = asyncio.run(get(app, path))
    [span] = server_spans(exporter)

    assert (status, span.parent) == (200, None)
    assert (path, "203.0.113.0") == (span.attributes["url.path"], span.attributes["client.address"])
    assert path.replace("7", "{plant_id}") == span.attributes.get("http.route")


def test_fastapi_tells_no_query_string_where_we_gave_it_the_provider(capsys):
    """
    A provider of ours makes FastAPI record spans, query string and all; it is not told unless it was asked for.
    """
    with isolated_runtime(tracing="console"):
        app = obskit.instrument(plants())
        asyncio.run(get(app, "/plants/7", b"token=s3cret"))

    output = capsys.readouterr().out
    spans = [json.loads(line) for line in output.splitlines()]

    assert [span["attributes"]["url.path"] for span in spans if span["kind"] == "SpanKind.SERVER"] == ["/plants/7"]
    assert "s3cret" not in output


# With the adapters: the span is current wherever the application's code runs, and nowhere else.


def test_the_span_is_current_in_an_asgi_application(runtime, exporter):
    """
    The server span is current in the application, in what it runs after its last byte, and not afterwards.
    """
    seen = []

    async def app(scope, receive, send):
        seen.append(trace.get_current_span())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
        seen.append(trace.get_current_span())

    async def main():
        await get(obskit.instrument(app), "/")
        seen.append(trace.get_current_span())

    asyncio.run(main())
    span = only(exporter)

    assert [span.context, span.context, trace.INVALID_SPAN_CONTEXT] == [s.get_span_context() for s in seen]


def test_the_span_is_current_in_each_piece_of_a_wsgi_reply(runtime, exporter):
    """
    Two replies that are streamed at once on one thread each see their own span, and the server sees none.
    """
    seen = {"/a": set(), "/b": set()}

    def app(environ, start_response):
        def note():
            seen[environ["PATH_INFO"]].add(trace.get_current_span().get_span_context().span_id)

        def pieces():
            try:
                for _ in range(3):
                    note()
                    yield b"piece"
            finally:
                note()

        note()
        start_response("200 OK", [])
        return pieces()

    app = obskit.instrument(app)
    replies = [
        app({"REQUEST_METHOD": "GET", "PATH_INFO": path, "wsgi.url_scheme": "http"}, lambda *args: None)
        for path in seen
    ]
    outside = {trace.get_current_span()}
    for _ in zip(*replies, strict=True):
        outside.add(trace.get_current_span())
    for reply in replies:
        reply.close()
    spans = {span.attributes["url.path"]: {span.context.span_id} for span in exporter.get_finished_spans()}

    assert spans == seen
    assert {trace.INVALID_SPAN} == outside | {trace.get_current_span()}


def test_a_reply_that_is_thrown_away_leaves_nothing_current(runtime, exporter):
    """
    Flask's test client neither reads nor closes a reply that the test does not look at; no span stays current.
    """
    flask = pytest.importorskip("flask")
    app = flask.Flask(__name__)
    app.add_url_rule("/", view_func=lambda: str(trace.get_current_span().get_span_context().span_id))
    reply = obskit.instrument(app).test_client().get("/")
    between = trace.get_current_span()
    said = int(reply.text)

    assert between == trace.INVALID_SPAN
    assert said == only(exporter).context.span_id


@pytest.mark.parametrize("kind", ["function", "coroutine", "generator", "asynchronous generator", "block"])
def test_the_span_is_current_in_what_observe_marks(runtime, exporter, kind):
    """
    Spans that an observed function starts are children of its span, whichever kind of function it is.
    """
    tracer = trace.get_tracer("app", tracer_provider=runtime.settings.tracing)

    def child():
        tracer.start_span("child").end()

    @obskit.observe("outer")
    def function():
        child()

    @obskit.observe("outer")
    async def coroutine():
        child()

    @obskit.observe("outer")
    def generator():
        child()
        yield

    @obskit.observe("outer")
    async def asynchronous():
        child()
        yield

    async def exhaust():
        async for _ in asynchronous():
            pass

    def block():
        with obskit.observe("outer"):
            child()

    run = {
        "function": function,
        "coroutine": lambda: asyncio.run(coroutine()),
        "generator": lambda: list(generator()),
        "asynchronous generator": lambda: asyncio.run(exhaust()),
        "block": block,
    }
    run[kind]()
    inner, outer = exporter.get_finished_spans()

    assert (inner.name, outer.name) == ("child", "outer")
    assert outer.context.span_id == inner.parent.span_id


def test_fake_ids_reach_the_span(provider, exporter):
    """
    The server span carries the correlation id that the adapter made.
    """
    with isolated_runtime(tracing=provider, ids=FakeIds()):
        asyncio.run(get(obskit.instrument(plants()), "/plants/7"))

    assert only(exporter).attributes["obskit.correlation_id"] == "id-1"


# What lines hide.

SECRET = "Tr0ub4dor-X9zQ"
TOKEN = "ghp" + "_" + "16C7e42F292c6912E7710c838347Ae178B4a"


def test_spans_hide_what_lines_hide(provider, exporter):
    """
    Path, query string, headers, bound fields, extras, reasons and names of spans: none shows a secret.
    """
    asked = {"query": f"page=2&token={SECRET}&next=%2F%3Fpassword%3D{SECRET}", "user_agent": f"bot {TOKEN}"}
    with (
        isolated_runtime(tracing=provider, log_query_string=True),
        running(Request(f"GET {TOKEN}", f"/reset/{TOKEN}", host=TOKEN, **asked)) as op,
    ):
        obskit.bind(api_key=SECRET, note=f"password={SECRET}", port=8080)
        op.extra.update(
            dsn=f"postgresql://u:{SECRET}@h/x", form={"password": SECRET}, error=ValueError(f"pwd={SECRET}")
        )
        with obskit.observe(f"pay {TOKEN}") as inner:
            inner.fail(f"the gateway said: token={SECRET}")
        op.status, op.endpoint = 500, f"/reset/{TOKEN}"
    said = [json.dumps([span.name, *span.attributes.items()]) for span in exporter.get_finished_spans()]

    assert len(said) == 2
    assert [] == [span for span in said if SECRET in span or TOKEN[:10] in span]
    assert '["port", 8080]' in said[1]
    assert '["url.query", "page=2&token=[redacted:token]&next=[redacted:password]"]' in said[1]


def test_an_attribute_is_as_long_as_a_field_of_a_line(runtime, exporter):
    """
    A path or a User-Agent of any length adds no more to a span than to a line.
    """
    with running(Request(path="/" + "x" * 100_000, user_agent="y" * 100_000)) as op:
        op.status = 200
    attributes = only(exporter).attributes

    assert ("/" + "x" * 2047, "y" * 256) == (attributes["url.path"], attributes["user_agent.original"])
