"""
`obskit.get_logger()` has structlog's methods, and writes the contract's line.
"""

import asyncio
import copy
import json
import os
import pickle
import subprocess
import sys
import threading
from datetime import UTC, datetime

import pytest
import structlog

import obskit
from obskit.context import current
from obskit.logs import current_writer as writers
from obskit.operation import HttpOperation
from obskit.recorder import recorder
from obskit.testing import FakeClock, isolated_runtime

log = obskit.get_logger("shop.cart")


def request(identity="id-1"):
    """
    Make a request current; give the token to leave it with.
    """
    operation = HttpOperation("GET", "/plants/7")
    operation.correlation_id = identity
    return current.set(operation)


@pytest.fixture
def isolated():
    with isolated_runtime(service="shop", wall_clock=FakeClock(1_700_000_000.25)) as isolated:
        yield isolated


@pytest.fixture
def in_request(isolated):
    token = request()
    yield
    current.reset(token)


def said(isolated):
    """
    Return the last line without what every line has.
    """
    shared = ("timestamp", "logger", "service")
    return {name: value for name, value in isolated.lines[-1].items() if name not in shared}


def test_a_line(isolated, in_request):
    """
    A line has the contract's fields, the request's id, and what the caller gave.
    """
    log.info("paid", order=17, total=12.5)

    assert [
        {
            "timestamp": "2023-11-14T22:13:20.250000Z",
            "level": "INFO",
            "logger": "shop.cart",
            "message": "paid",
            "correlation_id": "id-1",
            "order": 17,
            "total": 12.5,
            "service": "shop",
        }
    ] == isolated.lines


@pytest.mark.parametrize(
    ("method", "level"),
    [
        ("debug", "DEBUG"),
        ("info", "INFO"),
        ("msg", "INFO"),
        ("warning", "WARNING"),
        ("warn", "WARNING"),
        ("error", "ERROR"),
        ("critical", "CRITICAL"),
        ("fatal", "CRITICAL"),
    ],
)
def test_every_method_has_its_level(method, level):
    """
    Structlog's methods and aliases write their level, from coroutines too.
    """
    with isolated_runtime(log_level="DEBUG") as isolated:
        getattr(log, method)("it happened", x=1)
        asyncio.run(getattr(log, f"a{method}")("it happened", x=2))

        assert [(level, 1), (level, 2)] == [(line["level"], line["x"]) for line in isolated.lines]


@pytest.mark.parametrize(
    ("level", "name"),
    [(10, "DEBUG"), (20, "INFO"), (25, "INFO"), (5, "DEBUG"), (60, "CRITICAL"), ("warning", "WARNING")],
)
def test_log_takes_a_level(level, name):
    """
    `log()` takes a number or a name; one between the five counts as the next below.
    """
    with isolated_runtime(log_level="DEBUG") as isolated:
        log.log(level, "it happened %s", "now")

        assert (name, "it happened now") == (isolated.lines[0]["level"], isolated.lines[0]["message"])


@pytest.mark.parametrize(
    ("args", "message", "more"),
    [
        (("100 %",), "100 %", {}),
        (("%s of %d", "a", 2), "a of 2", {}),
        (("%(name)s", {"name": "a"}), "a", {}),
        (("%d", "a"), "%d", {"args": ["a"]}),
        ((7,), "7", {}),
        (({"a": 1},), "{'a': 1}", {}),
        ((), "None", {}),
    ],
)
def test_messages_are_put_together(isolated, args, message, more):
    """
    Arguments are put in as structlog does; what does not fit is a field, and what is no text is shown as text.
    """
    log.info(*args)

    assert {"level": "INFO", "message": message, **more} == said(isolated)


def test_a_message_may_be_given_by_its_name(isolated):
    """
    `event` is the message where there is no other, as with structlog, and a field beside one.
    """
    log.info(event="by name")
    log.info("by place", event="a field", self="another")

    assert {"level": "INFO", "message": "by place", "event": "a field", "self": "another"} == said(isolated)
    assert "by name" == isolated.lines[0]["message"]


def test_binding_makes_a_new_logger(isolated):
    """
    `bind`, `unbind`, `try_unbind` and `new` give loggers of their own; the one that was bound stays as it was.
    """
    bound = log.bind(user="u-7", cart=3)
    fresh = bound.new(only=1)
    for logger in (log, bound, bound.unbind("cart"), bound.try_unbind("user", "absent"), fresh):
        logger.info("x")
    fields = [{name: line[name] for name in ("user", "cart", "only") if name in line} for line in isolated.lines]

    assert [{}, {"user": "u-7", "cart": 3}, {"user": "u-7"}, {"cart": 3}, {"only": 1}] == fields
    assert {"user": "u-7", "cart": 3} == structlog.get_context(bound)
    with pytest.raises(KeyError):
        bound.unbind("absent")


def test_what_is_said_last_wins(isolated, in_request):
    """
    A field of the call beats one of the logger, and that one of the request.
    """
    obskit.bind(a=1, b=1, c=1)
    log.bind(b=2, c=2).info("x", c=3)

    assert {"a": 1, "b": 2, "c": 3} == {name: isolated.lines[0][name] for name in "abc"}


def test_bound_fields_are_on_every_later_line(isolated, in_request):
    """
    `obskit.bind()` puts fields on the request's lines until `obskit.unbind()`; other requests have none of them.
    """
    log.info("before")
    obskit.bind(user="u-7")
    log.info("bound")
    obskit.unbind("user")
    log.info("after")
    token = request("id-2")
    log.info("other")
    current.reset(token)

    assert [None, "u-7", None, None] == [line.get("user") for line in isolated.lines]


def test_outside_of_a_request_there_is_no_id(isolated):
    """
    A line that belongs to no request says so by having no id.
    """
    log.info("start")

    assert {"level": "INFO", "message": "start"} == said(isolated)


def test_reserved_names_are_not_the_callers(isolated, in_request):
    """
    No caller overrides a field of the contract: what has its name stands beside it.
    """
    log.info("paid", status="paid", timestamp="now", level="loud", correlation_id="forged", message="m", logger="l")

    assert {
        "level": "INFO",
        "message": "paid",
        "correlation_id": "id-1",
        "extra_status": "paid",
        "extra_timestamp": "now",
        "extra_level": "loud",
        "extra_correlation_id": "forged",
        "extra_message": "m",
        "extra_logger": "l",
    } == said(isolated)


@pytest.mark.parametrize("way", ["exception", "exc_info", "error", "tuple"])
def test_exceptions(isolated, way):
    """
    An exception is its class, its message and its traceback, however it is handed over.
    """
    try:
        raise ValueError("no such plant")
    except ValueError as error:
        if way == "exception":
            log.exception("failed", x=1)
        else:
            given = {"exc_info": True, "error": error, "tuple": sys.exc_info()}[way]
            log.error("failed", x=1, exc_info=given)
    exception = isolated.lines[0]["exception"]

    assert ("ERROR", "failed", 1) == tuple(isolated.lines[0][name] for name in ("level", "message", "x"))
    assert ("ValueError", "no such plant") == (exception["type"], exception["message"])
    assert exception["traceback"].startswith("Traceback (most recent call last):\n")
    assert exception["traceback"].endswith("ValueError: no such plant\n")


def test_no_exception_is_none(isolated):
    """
    `exc_info=True` where nothing is handled, and `exc_info=False`, add nothing.
    """
    log.info("fine", exc_info=True)
    log.info("fine", exc_info=False)
    log.exception("fine")

    assert all("exception" not in line for line in isolated.lines)


def test_stacks(isolated):
    """
    `stack_info` shows where the application logged, without the frames of the logger.
    """
    log.info("here", stack_info=True)
    stack = isolated.lines[0]["stack"]

    assert 'log.info("here", stack_info=True)' in stack.splitlines()[-1]
    assert f"obskit{os.sep}logs{os.sep}" not in stack


def callsite(line):
    return {name: line[name] for name in ("module", "function", "line", "thread", "process")}


def test_callsites():
    """
    `log_callsite` says where, in which thread and process, from coroutines too.
    """

    async def coroutine():
        await log.ainfo("x")

    first = coroutine.__code__.co_firstlineno
    with isolated_runtime(log_callsite=True) as isolated:
        log.info("x")
        asyncio.run(coroutine())
    expected = {"module": "test_logger", "thread": threading.current_thread().name, "process": os.getpid()}

    assert [
        {**expected, "function": "test_callsites", "line": first + 5},
        {**expected, "function": "coroutine", "line": first + 1},
    ] == [callsite(line) for line in isolated.lines]


def test_callsites_are_reserved_where_they_are():
    """
    A caller's `line` moves aside where `log_callsite` has one, and nowhere else.
    """
    with isolated_runtime(log_callsite=True) as with_callsite:
        log.info("x", line="theirs")
    with isolated_runtime() as without:
        log.info("x", line="theirs")

    assert "theirs" == with_callsite.lines[0]["extra_line"] == without.lines[0]["line"]


@pytest.mark.parametrize(
    ("settings", "written"),
    [
        ({}, ["INFO", "WARNING"]),
        ({"log_level": "WARNING"}, ["WARNING"]),
        ({"log_level": "DEBUG"}, ["DEBUG", "INFO", "WARNING"]),
        ({"log_levels": {"shop": "WARNING"}}, ["WARNING"]),
        ({"log_levels": {"shop": "ERROR", "shop.cart": "DEBUG"}}, ["DEBUG", "INFO", "WARNING"]),
        ({"log_levels": {"shop.car": "ERROR", "cart": "ERROR"}}, ["INFO", "WARNING"]),
    ],
)
def test_levels(settings, written):
    """
    A logger's level is that of its name, else of the nearest name above it, else `log_level`.
    """
    with isolated_runtime(**settings) as isolated:
        for method in ("debug", "info", "warning"):
            getattr(log.bind(a=1), method)("x")
            log.log(method, "x")

        assert [level for level in written for _ in "12"] == [line["level"] for line in isolated.lines]


def test_is_enabled_for(isolated):
    """
    Structlog's questions about levels are answered.
    """
    assert [False, True, True] == [log.is_enabled_for(level) for level in (10, 20, 30)]


def test_loggers_follow_configure():
    """
    A logger that is kept, and one that was bound from it, follow each `configure()`.
    """
    bound, lines = log.bind(kept=1), []
    for level in ("INFO", "WARNING", "DEBUG"):
        with isolated_runtime(log_level=level, service=level) as isolated:
            bound.info("x")
            lines.append([line["service"] for line in isolated.lines])

    assert [["INFO"], [], ["DEBUG"]] == lines


def test_loggers_can_be_copied_and_pickled(isolated):
    """
    A logger that is stored in an object does not keep it from being copied or pickled.
    """
    bound = log.bind(user="u-7")
    for logger in (copy.copy(bound), copy.deepcopy(bound), pickle.loads(pickle.dumps(bound))):
        assert bound == logger
        logger.info("x")

    assert ["u-7"] * 3 == [line["user"] for line in isolated.lines]


def test_without_a_name_it_is_the_modules(isolated):
    """
    `get_logger()` is called after the module that asks.
    """
    obskit.get_logger().info("x")
    obskit.get_logger(None, part="till").info("x")

    assert [__name__] * 2 == [line["logger"] for line in isolated.lines]
    assert "till" == isolated.lines[1]["part"]


def test_structlogs_configuration_is_left_alone(isolated):
    """
    Neither is structlog's global configuration changed, nor does it change our lines.
    """
    before = structlog.get_config()
    structlog.configure(processors=[lambda *args: 1 / 0])
    try:
        obskit.get_logger("other").info("x")
    finally:
        structlog.reset_defaults()

    assert ["x"] == [line["message"] for line in isolated.lines]
    assert before == structlog.get_config()


def test_spans_give_their_ids():
    """
    Where spans are recorded, a line has the ids of the span that is current, the application's own ones too.
    """
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    provider = sdk.TracerProvider()
    with isolated_runtime(tracing=provider) as isolated:
        log.info("outside")
        with provider.get_tracer("shop").start_as_current_span("work") as span:
            log.info("inside")
        context = span.get_span_context()

    assert not {"trace_id", "span_id"} & isolated.lines[0].keys()
    assert (f"{context.trace_id:032x}", f"{context.span_id:016x}") == (
        isolated.lines[1]["trace_id"],
        isolated.lines[1]["span_id"],
    )


def test_a_trace_that_came_with_the_request(isolated):
    """
    Without spans the id of the trace that the request came with is on its lines.
    """
    token = request()
    current.get().trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    log.info("x")
    current.reset(token)

    assert "4bf92f3577b34da6a3ce929d0e0e4736" == isolated.lines[0]["trace_id"]


def test_a_version_and_an_environment_are_on_each_line():
    """
    What says who runs is on loggers' lines as on all others.
    """
    with isolated_runtime(service="shop", version="1.2", environment="test") as isolated:
        log.info("x")

        assert ("shop", "1.2", "test") == tuple(
            isolated.lines[0][name] for name in ("service", "version", "environment")
        )


@pytest.mark.parametrize("now", [1_700_000_000.25, 1_699_999_999.999_999_9, 0.0])
def test_timestamps(now):
    """
    The time has six digits and `Z`, whether or not a line was written in the same second.
    """
    clock = FakeClock(1_700_000_000.5)
    with isolated_runtime(wall_clock=clock) as isolated:
        log.info("x")
        clock.now = now
        log.info("x")
        log.info("x")
        stamps = [line["timestamp"] for line in isolated.lines[1:]]
    whole = datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%S")

    assert [f"{whole}.{int((now - int(now)) * 1e6):06d}Z"] * 2 == stamps


def run(source, **environ):
    """
    Run a program; give its lines, parsed.
    """
    environ = {**os.environ, **environ}
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, env=environ, check=True)
    assert "" == done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_it_works_before_configure_and_after_shutdown():
    """
    Before `configure()` lines go to standard output by the environment's settings, after `shutdown()` in the form of
    the runtime that stood; no line is lost between.
    """
    lines = run(
        """
import io, obskit
log = obskit.get_logger("shop")
log.debug("early"); log.info("early", status=1)
stream = io.StringIO()
obskit.configure(service="till", version="2", log_stream=stream, log_level="WARNING", metrics=False)
log.info("no"); log.warning("standing")
obskit.shutdown()
log.info("no"); log.warning("late", password="x")
print(stream.getvalue(), end="")
""",
        OBSKIT_SERVICE="desk",
        OBSKIT_LOG_LEVEL="DEBUG",
        OBSKIT_NO_SUCH="1",
        PYTHONWARNINGS="ignore",
    )
    told = [(line["message"], line["service"], line["level"]) for line in lines]

    assert [
        ("early", "desk", "DEBUG"),
        ("early", "desk", "INFO"),
        ("late", "till", "WARNING"),
        ("standing", "till", "WARNING"),
    ] == told
    assert "[redacted:password]" == lines[2]["password"]


def test_a_wrong_variable_does_not_cost_the_first_lines():
    """
    What `configure()` will refuse does not stop a logger that is used before.
    """
    assert ["early"] == [
        line["message"] for line in run("import obskit; obskit.get_logger('x').info('early')", OBSKIT_LOG_LEVEL="loud")
    ]


def test_disabled_obskit_still_writes_the_applications_lines():
    """
    `enabled=False` takes obskit out of the way, not the application's own log.
    """
    with isolated_runtime(enabled=False, service="shop") as isolated:
        log.info("x")

        assert ["x"] == [line["message"] for line in isolated.lines]


def test_importing_reads_nothing():
    """
    A logger that is made at import reads no setting and opens nothing before its first line.
    """
    lines = run(
        "import obskit, obskit.logs.current_writer as w; obskit.get_logger('x'); print(int(w._current_writer is None))"
    )

    assert [1] == lines


def test_a_broken_output_is_counted_and_never_raised():
    """
    An output that raises costs the line, is counted, and does not reach the caller.
    """

    class Broken:
        closed = False

        def write(self, text):
            raise OSError(28, "No space left on device")

    with isolated_runtime(strict=False, log_stream=Broken()):
        log.info("x")
        log.exception("y")

        assert 2 == recorder.dropped["logs", "ENOSPC"]
        assert 2 == recorder.errors["logs"]


def test_nothing_is_left_of_an_isolated_runtime():
    """
    After a test's runtime its writer is gone: the next line makes one from the environment.
    """
    with isolated_runtime():
        log.info("x")

    assert writers._current_writer is None
