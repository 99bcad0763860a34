"""
`log_schema` names the fields as Elastic's and OpenTelemetry's stores do.
"""

import pytest

import obskit
from obskit.context import current
from obskit.errors import ConfigurationError
from obskit.operation import HttpOperation
from obskit.recorder import recorder
from obskit.testing import FakeClock, isolated_runtime

log = obskit.get_logger("shop.cart")
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def request():
    operation = HttpOperation("GET", "/plants/7")
    operation.endpoint, operation.status, operation.bytes_sent = "/plants/<id>", 200, 5
    operation.correlation_id, operation.client, operation.agent = "id-1", "203.0.113.77", "curl/8"
    operation.trace_id, operation.span_id = TRACE, SPAN
    return operation


def access_line(**settings):
    clock = FakeClock()
    with isolated_runtime(
        service="shop", version="1.2", clock=clock, wall_clock=FakeClock(1_700_000_000.25), **settings
    ) as isolated:
        plan, operation = recorder.plan(HttpOperation), request()
        plan.begin(operation)
        clock.advance(0.0125)
        plan.end(operation)
        return isolated.lines[0]


def own_line(method="info", **settings):
    with isolated_runtime(service="shop", wall_clock=FakeClock(1_700_000_000.25), **settings) as isolated:
        token = current.set(request())
        try:
            raise ValueError("no such plant")
        except ValueError:
            getattr(log, method)("failed", exc_info=True, order=17, error="theirs", status="theirs")
        current.reset(token)
        return isolated.lines[0]


def test_ecs_access_line():
    """
    A request in the names, and the units, of the Elastic Common Schema.
    """
    assert {
        "@timestamp": "2023-11-14T22:13:20.250000Z",
        "log.level": "INFO",
        "log.logger": "obskit.access",
        "message": "request",
        "http.request.id": "id-1",
        "http.request.method": "GET",
        "url.path": "/plants/7",
        "obskit.endpoint": "/plants/<id>",
        "http.response.status_code": 200,
        "event.duration": 12_500_000,
        "http.response.body.bytes": 5,
        "client.address": "203.0.113.0",
        "user_agent.original": "curl/8",
        "trace.id": TRACE,
        "span.id": SPAN,
        "service.name": "shop",
        "service.version": "1.2",
        "ecs.version": "8.17.0",
    } == access_line(log_schema="ecs")


def test_ecs_own_line():
    """
    A logger's line in ECS: the exception's parts are fields, and what would clash with an object moves aside.
    """
    line = own_line(log_schema="ecs")
    traceback = line.pop("error.stack_trace")

    assert traceback.endswith("ValueError: no such plant\n")
    assert {
        "@timestamp": "2023-11-14T22:13:20.250000Z",
        "log.level": "INFO",
        "log.logger": "shop.cart",
        "message": "failed",
        "http.request.id": "id-1",
        "trace.id": TRACE,
        "span.id": SPAN,
        "error.type": "ValueError",
        "error.message": "no such plant",
        "order": 17,
        "extra_error": "theirs",
        "extra_status": "theirs",
        "service.name": "shop",
        "ecs.version": "8.17.0",
    } == line


@pytest.mark.parametrize("name", ["url", "http", "service", "trace", "log", "client", "user_agent", "@timestamp"])
def test_ecs_objects_are_reserved(name):
    """
    A store that has `url.path` refuses a text called `url`: no caller's field has the name of an object.
    """
    with isolated_runtime(log_schema="ecs") as isolated:
        log.info("x", **{name: "theirs"})

        assert "theirs" == isolated.lines[0][f"extra_{name}"]


def test_otel_access_line():
    """
    A request in OpenTelemetry's log data model, with the attributes of its conventions.
    """
    assert {
        "Timestamp": "2023-11-14T22:13:20.250000Z",
        "SeverityText": "INFO",
        "SeverityNumber": 9,
        "Body": "request",
        "TraceId": TRACE,
        "SpanId": SPAN,
        "Resource": {"service.name": "shop", "service.version": "1.2"},
        "InstrumentationScope": {"Name": "obskit.access"},
        "Attributes": {
            "obskit.correlation_id": "id-1",
            "http.request.method": "GET",
            "url.path": "/plants/7",
            "http.route": "/plants/<id>",
            "http.response.status_code": 200,
            "obskit.duration_ms": 12.5,
            "http.response.body.size": 5,
            "client.address": "203.0.113.0",
            "user_agent.original": "curl/8",
        },
    } == access_line(log_schema="otel")


@pytest.mark.parametrize(
    ("method", "number"), [("debug", 5), ("info", 9), ("warning", 13), ("error", 17), ("critical", 21)]
)
def test_otel_own_line(method, number):
    """
    A logger's line has the data model's severity, and its exception as attributes.
    """
    line = own_line(method, log_schema="otel", log_level="DEBUG")
    attributes = line["Attributes"]
    traceback = attributes.pop("exception.stacktrace")

    assert (method.upper(), number, "failed") == (line["SeverityText"], line["SeverityNumber"], line["Body"])
    assert traceback.endswith("ValueError: no such plant\n")
    assert {
        "obskit.correlation_id": "id-1",
        "exception.type": "ValueError",
        "exception.message": "no such plant",
        "order": 17,
        "error": "theirs",
        "extra_status": "theirs",
    } == attributes


@pytest.mark.parametrize("schema", ["ecs", "otel"])
def test_callsites_have_the_schemas_names(schema):
    """
    What `log_callsite` adds has the schema's names too.
    """
    line = own_line(log_schema=schema, log_callsite=True)
    function = {"ecs": "log.origin.function", "otel": "code.function.name"}[schema]

    assert "own_line" == line.get("Attributes", line)[function]


@pytest.mark.parametrize("schema", ["obskit", "ecs", "otel"])
def test_log_names_beat_the_schema(schema):
    """
    `log_names` renames a field of any schema, or leaves it out; the exception too.
    """
    names = {"correlation_id": "request", "message": "msg", "service": None, "exception": None}
    line = own_line(log_schema=schema, log_names=names)
    fields = line.get("Attributes", line)

    assert ("failed", "id-1") == (line["msg"], fields["request"])
    assert not {"service", "service.name", "exception", "error.type", "exception.type"} & fields.keys()
    assert line.get("Resource", {}) == {}


@pytest.mark.parametrize("schema", ["obskit", "ecs", "otel"])
def test_a_part_of_the_exception_is_a_field(schema):
    """
    `exception.type` and its like are renamed on their own, or left out, and a caller's field of that name gives way.
    """
    names = {"exception.type": "error_type", "exception.traceback": None}
    line = own_line(log_schema=schema, log_names=names)
    fields = line.get("Attributes", line)
    left = {"obskit": "exception", "ecs": "error.message", "otel": "exception.message"}[schema]

    assert "ValueError" == fields["error_type"]
    assert fields[left] == ({"message": "no such plant"} if schema == "obskit" else "no such plant")
    assert "Traceback" not in str(line)


def test_an_exception_of_which_nothing_is_left():
    """
    Where each part has a name of its own, there is no exception beside them.
    """
    names = {"exception.type": "a", "exception.message": "b", "exception.traceback": "c"}
    line = own_line(log_names=names)

    assert ("ValueError", "no such plant", True, False) == (
        line["a"],
        line["b"],
        line["c"].startswith("Traceback"),
        "exception" in line,
    )


@pytest.mark.parametrize("sampled", [{}, {"access_log_sample": {"/none": 2}}])
def test_the_type_on_the_access_line(sampled):
    """
    A request's exception is one on the access line too, however the line is made, and ordinary lines have none.
    """
    names = {"exception.type": "error_type"}
    with isolated_runtime(log_names=names, **sampled) as isolated:
        plan = recorder.plan(HttpOperation)
        for exception in ("ValueError", None):
            operation = request()
            operation.exception = exception
            plan.begin(operation)
            plan.end(operation)
        failed, usual = isolated.lines

    assert ("ValueError", False) == (failed["error_type"], "exception" in failed)
    assert not {"error_type", "exception"} & usual.keys()


def test_a_callers_field_gives_way_to_a_part():
    """
    The new name is reserved, as each that `log_names` hands out.
    """
    with isolated_runtime(log_names={"exception.type": "order"}) as isolated:
        log.info("sold", order=17)

    assert 17 == isolated.lines[0]["extra_order"]


def test_one_name_cannot_have_two_fields():
    """
    A name that the schema gives is taken.
    """
    with (
        pytest.raises(ConfigurationError, match=r"'url\.path'"),
        isolated_runtime(log_schema="ecs", log_names={"endpoint": "url.path"}),
    ):
        pass
