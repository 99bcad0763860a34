"""
Each request is one JSON line with the fields of the contract, whatever the values are.
"""

import json
import math
from datetime import UTC, datetime

import orjson
import pytest

import obskit
from obskit.context import current
from obskit.errors import ConfigurationError
from obskit.logs.clients import mask_client
from obskit.logs.rendering import RESERVED_FIELDS, render
from obskit.operation import Event, HttpOperation, RequestTotals
from obskit.recorder import recorder
from obskit.sinks.log_sink import MAX_PATH
from obskit.testing import FakeClock, FakeIds, isolated_runtime

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Request(HttpOperation):
    """
    A request that no server has seen.
    """

    __slots__ = ("asked",)

    def __init__(self, path="/plants/7", *, client="203.0.113.77", agent="curl/8", query=""):
        super().__init__("GET", path)
        self.client, self.agent, self.asked = client, agent, query
        self.endpoint, self.status, self.correlation_id = "/plants/<id>", 200, "id-1"

    @property
    def query(self):
        return self.asked


class Raw:
    """
    Lines as they were written.
    """

    def __init__(self):
        self.lines = []

    def write(self, text):
        self.lines.append(text)


def run(operation, seconds=0.0, **fields):
    plan = recorder.plan(HttpOperation)
    plan.begin(operation)
    for name, value in fields.items():
        setattr(operation, name, value)
    if seconds:
        recorder.clock.advance(seconds)
    plan.end(operation)


def line_of(operation=None, *, seconds=0.0, settings=None, **fields):
    """
    Return the line of one request, parsed by a strict parser.
    """
    raw = Raw()
    given = {"service": "shop", "log_stream": raw, **(settings or {})}
    with isolated_runtime(clock=FakeClock(), wall_clock=FakeClock(1_700_000_000.25), **given):
        run(operation or Request(), seconds, **fields)
    [text] = raw.lines
    assert text.endswith("}\n")
    assert "\n" not in text[:-1]
    return orjson.loads(text)


def test_the_access_line():
    """
    A plain request's line has the fields of the contract, and no others.
    """
    assert {
        "timestamp": "2023-11-14T22:13:20.250000Z",
        "level": "INFO",
        "logger": "obskit.access",
        "message": "request",
        "service": "shop",
        "correlation_id": "id-1",
        "method": "GET",
        "path": "/plants/7",
        "endpoint": "/plants/<id>",
        "status": 200,
        "duration_ms": 12.346,
        "bytes_sent": 5,
        "client": "203.0.113.0",
        "user_agent": "curl/8",
    } == line_of(seconds=0.0123456, bytes_sent=5)


def test_the_rare_fields():
    """
    What only some requests have is in their lines alone.
    """
    totals = RequestTotals()
    totals.db_queries, totals.db_seconds, totals.ai_calls, totals.ai_cost_usd = 3, 0.0125, 1, 0.02
    rare = {
        "trace_id": TRACE,
        "span_id": SPAN,
        "first_byte_seconds": 0.0015,
        "aborted": True,
        "exception": "ValueError",
        "totals": totals,
    }
    plain, full = line_of(), line_of(**rare)

    assert {
        "trace_id": TRACE,
        "span_id": SPAN,
        "first_byte_ms": 1.5,
        "aborted": True,
        "exception": {"type": "ValueError"},
        "db_queries": 3,
        "db_ms": 12.5,
        "ai_calls": 1,
        "ai_cost_usd": 0.02,
    } == {name: value for name, value in full.items() if name not in plain}


def test_what_is_zero_is_left_out():
    """
    A request without queries or AI calls has no figures of them.
    """
    assert line_of().keys() == line_of(totals=RequestTotals()).keys()


def test_who_runs_is_in_every_line():
    """
    Service, version and environment are in access lines and in others.
    """
    process = {"service": "shop", "version": "1.2", "environment": "test"}
    with isolated_runtime(**process) as isolated:
        run(Request())
        recorder.emit(Event("health.transition", "WARNING", "database is down"))

        assert [process, process] == [{name: line[name] for name in process} for line in isolated.lines]


@pytest.mark.parametrize(
    ("status", "seconds", "settings", "level"),
    [
        (200, 0.1, {}, "INFO"),
        (404, 0.1, {}, "INFO"),
        (499, 0.1, {}, "INFO"),
        (500, 0.1, {}, "ERROR"),
        (503, 9.0, {}, "ERROR"),
        (200, 2.0, {}, "INFO"),
        (200, 2.5, {}, "WARNING"),
        (200, 2.5, {"slow_request_ms": None}, "INFO"),
        (200, 0.1, {"slow_request_ms": 50}, "WARNING"),
    ],
)
def test_levels(status, seconds, settings, level):
    """
    A line is an ERROR from 500 up, a WARNING where the request was slow, and INFO otherwise.
    """
    assert level == line_of(seconds=seconds, status=status, settings=settings)["level"]


@pytest.mark.parametrize("now", [1_700_000_000, 1_700_000_000.5, 1_700_000_000.125, 1_699_999_999.75, 0.0])
def test_timestamps_have_microseconds_and_z(now):
    """
    Six digits and `Z`, on a whole second too, also when the clock is set back; requests and events are alike.
    """
    wall_clock = FakeClock(1_700_000_000.5)
    with isolated_runtime(wall_clock=wall_clock) as isolated:
        run(Request())
        wall_clock.now = now
        run(Request())
        recorder.emit(Event("a.b", "INFO", "it happened"))
        stamps = [line["timestamp"] for line in isolated.lines[1:]]

    assert [datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")] * 2 == stamps


@pytest.mark.parametrize(
    ("client", "shown"),
    [
        ("203.0.113.77", "203.0.113.0"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ("::ffff:203.0.113.77", "203.0.113.0"),
        ("fe80::1%eth0", "fe80::"),
        ("::1", "::"),
        ("testclient", None),
        ("", None),
        ("203.0.113.77:8080", None),
        (None, None),
    ],
)
def test_a_masked_client_keeps_its_network(client, shown):
    """
    /24 of IPv4, also where a socket for both versions writes it, and /48 of IPv6; what is no address is not shown.
    """
    assert shown == mask_client(client)
    assert shown == line_of(Request(client=client))["client"]


@pytest.mark.parametrize(("setting", "shown"), [("full", "203.0.113.77"), ("none", None), ("masked", "203.0.113.0")])
def test_the_client_is_shown_as_the_setting_says(setting, shown):
    """
    `log_client` decides between all of the address, its network and nothing.
    """
    assert shown == line_of(settings={"log_client": setting})["client"]


@pytest.mark.parametrize(("setting", "path"), [(False, "/plants/7"), (True, "/plants/7?page=2&token=[redacted:token]")])
def test_query_strings_are_asked_for(setting, path):
    """
    The query string is in the path where `log_query_string` says so only, and then without its secrets.
    """
    request = Request(query="page=2&token=s3cret")

    assert path == line_of(request, settings={"log_query_string": setting})["path"]


def test_long_paths_are_cut():
    """
    A client cannot write lines of any length.
    """
    request = Request("/" + "x" * 10_000, query="y" * 10_000)

    assert MAX_PATH == len(line_of(request, settings={"log_query_string": True})["path"])


def test_fields_are_renamed_and_left_out():
    """
    `log_names` gives fields other names, or none, in access lines and events, shared fields included.
    """
    names = {"duration_ms": "response_time", "status": "code", "user_agent": None, "level": "severity", "size": "bytes"}
    with isolated_runtime(log_names=names) as isolated:
        run(Request())
        recorder.emit(Event("queue.full", "WARNING", "the queue is full", {"size": 5}))
        request, event = isolated.lines

    assert ("INFO", 200, 0.0) == (request["severity"], request["code"], round(request["response_time"]))
    assert not {"duration_ms", "status", "user_agent", "level"} & request.keys()
    assert ("WARNING", 5) == (event["severity"], event["bytes"])


@pytest.mark.parametrize("now", [1_700_000_000.3, 1_700_000_000.9999996, 0.0000019])
def test_timestamps_are_cut_alike(now):
    """
    Microseconds are cut, never rounded into the next second; requests and events agree.
    """
    with isolated_runtime(wall_clock=FakeClock(now)) as isolated:
        run(Request())
        recorder.emit(Event("a.b", "INFO", "it happened"))
        stamps = [line["timestamp"] for line in isolated.lines]

    second = int(now)
    whole = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")

    assert [f"{whole}.{int((now - second) * 1e6):06d}Z"] * 2 == stamps


@pytest.mark.parametrize("names", [{"status": "code"}, {"path": "code"}, {"size": "code"}])
def test_a_name_that_log_names_gives_is_reserved(names):
    """
    A caller's field of that name becomes `extra_<name>`, so that no line has one name twice; ours stays.
    """
    raw, operation, theirs = Raw(), Request(), {"code": "theirs", "size": 5}
    operation.fields = theirs
    token = current.set(operation)
    with isolated_runtime(log_stream=raw, log_names=names):
        run(operation)
        recorder.emit(Event("a.b", "INFO", "it happened", theirs))
    current.reset(token)
    lines = [json.loads(text, object_pairs_hook=list) for text in raw.lines]

    assert ["theirs"] * 2 == [dict(line)["extra_code"] for line in lines]
    assert [{"status": 200, "path": "/plants/7", "size": 5}[next(iter(names))]] == [
        value for name, value in lines[0] if name == "code"
    ]
    assert all(len(line) == len(dict(line)) for line in lines)


def test_extra_may_be_reserved_too():
    """
    Where `extra_<name>` is taken by `log_names`, the caller's field moves one further.
    """
    operation = Request()
    operation.fields = {"method": "theirs"}
    line = line_of(operation, settings={"log_names": {"status": "extra_method"}})

    assert ("GET", 200, "theirs") == (line["method"], line["extra_method"], line["extra_extra_method"])


@pytest.mark.parametrize(
    ("names", "first", "second", "name"),
    [
        ({"status": "code", "path": "code"}, "path", "status", "code"),
        ({"status": "path"}, "path", "status", "path"),
        ({"tenant": "client"}, "client", "tenant", "client"),
    ],
)
def test_two_fields_cannot_have_one_name(names, first, second, name):
    """
    `log_names` that would write one name twice are refused at configure.
    """
    with pytest.raises(ConfigurationError) as raised, isolated_runtime(log_names=names):
        pass

    assert f"log_names gives {first!r} and {second!r} one name, {name!r}; choose another" == str(raised.value)


def test_two_fields_may_swap_names():
    """
    A name that is given away is free for another field, and that of a field left out too.
    """
    names = {"method": "path", "path": "method", "client": None, "user_agent": "client", "duration_ms": "100%"}
    line = line_of(settings={"log_names": names})

    assert ("GET", "/plants/7", "curl/8", 0.0) == tuple(line[name] for name in ("path", "method", "client", "100%"))


def test_a_line_may_have_the_client_alone():
    """
    Every field but two may be left out.
    """
    whole = line_of()
    names = {name: None for name in whole if name not in ("client", "user_agent")}

    assert {name: whole[name] for name in ("client", "user_agent")} == line_of(settings={"log_names": names})


def test_clients_are_not_kept_for_ever(monkeypatch):
    """
    The lines of many clients tell each its own address, and what is kept of them is bounded.
    """
    monkeypatch.setattr("obskit.bounded_cache.MOST_BYTES", 600)
    raw, operation = Raw(), Request()
    with isolated_runtime(log_stream=raw, log_client="full"):
        for client in ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.1"):
            operation.client, operation.ended = client, False
            run(operation)

    assert ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.1"] == [json.loads(line)["client"] for line in raw.lines]


def test_bound_fields_and_extra_are_in_the_line():
    """
    What `obskit.bind()` and a hook add stands beside the contract's fields.
    """
    operation = Request()
    operation.fields = {"user": "u-7"}
    operation.extra["shelves"] = 12
    line = line_of(operation)

    assert ("u-7", 12) == (line["user"], line["shelves"])


@pytest.mark.parametrize("name", sorted(RESERVED_FIELDS))
def test_a_reserved_name_is_kept_apart(name):
    """
    A caller's field of a reserved name becomes `extra_<name>`, in access lines and events, and ours stays.
    """
    operation, theirs = Request(), {"anything": "theirs"}
    operation.fields = {name: theirs}
    plain, line = line_of(), line_of(operation)
    with isolated_runtime(service="shop") as isolated:
        recorder.emit(Event("a.b", "INFO", "it happened", {name: theirs}))
        [event] = isolated.lines

    assert theirs == line.pop(f"extra_{name}")
    assert plain == line
    assert theirs == event[f"extra_{name}"]
    assert theirs != event.get(name)


def test_an_event_has_a_line():
    """
    Its name is the logger's, its severity the level, and its fields stand beside.
    """
    with isolated_runtime(service="shop", wall_clock=FakeClock(1.5)) as isolated:
        recorder.emit(Event("health.transition", "ERROR", "database is down", {"component": "database"}))

        assert [
            {
                "timestamp": "1970-01-01T00:00:01.500000Z",
                "level": "ERROR",
                "logger": "obskit.health",
                "message": "database is down",
                "service": "shop",
                "component": "database",
            }
        ] == isolated.lines


def test_an_event_inside_a_request_has_its_ids_and_fields():
    """
    The line of what happens in a request can be found by the request's id, and carries what was bound.
    """
    operation = Request()
    operation.trace_id = TRACE
    token = current.set(operation)
    obskit.bind(user="u-7")
    with isolated_runtime() as isolated:
        recorder.emit(Event("query.slow", "WARNING", "slow query"))
        [line] = isolated.lines
    current.reset(token)

    assert ("id-1", TRACE, "u-7") == (line["correlation_id"], line["trace_id"], line["user"])


class Hostile:
    """
    Raise when shown.
    """

    def __repr__(self):
        raise RuntimeError("not to be shown")


def itself():
    loop = [1]
    loop.append(loop)
    return loop


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("lone \ud800 surrogate", "lone \\ud800 surrogate"),
        ('\x00 \x1b[31m \u2028 "\\ \r\n', '\x00 \x1b[31m \u2028 "\\ \r\n'),
        (2**53, 2**53),
        (2**64, str(2**64)),
        (-(2**70), str(-(2**70))),
        (math.nan, None),
        (math.inf, None),
        (-math.inf, None),
        (Hostile(), "<Hostile that cannot be shown>"),
        ({1: "number", None: "none"}, {"1": "number", "None": "none"}),
        (
            {"deep": {"list": [1, Hostile(), "\ud800"]}},
            {"deep": {"list": [1, "<Hostile that cannot be shown>", "\\ud800"]}},
        ),
        ({1}, [1]),
        (b"bytes", "b'bytes'"),
        (1 + 2j, "(1+2j)"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
        (ValueError("mistake"), "ValueError: mistake"),
        (True, True),
        (None, None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_value_leaves_a_line_that_parses(value, shown):
    """
    Lone surrogates, huge and impossible numbers, odd keys and objects that raise are shown as text or null; the line
    parses, and its other fields are what they are.
    """
    operation = Request()
    operation.fields = {"odd": value}
    line = line_of(operation, exception="ValueError")

    assert shown == line.pop("odd")
    assert line_of(exception="ValueError") == line


def test_a_value_that_holds_itself_is_cut():
    """
    Recursion ends, and the line parses.
    """
    line = json.loads(render({"odd": itself(), "message": "request"}))

    assert "request" == line["message"]
    assert 1 == line["odd"][1][1][0]


@pytest.mark.parametrize("field", ["path", "agent"])
def test_a_hostile_client_leaves_a_line_that_parses(field):
    """
    Quotes, line ends and surrogates from outside stay inside their field.
    """
    text = '"}\n{"level":"ERROR"}\r\n\ud800'
    line = line_of(Request(text) if field == "path" else Request(agent=text))

    assert '"}\n{"level":"ERROR"}\r\n\\ud800' == line["path" if field == "path" else "user_agent"]
    assert "INFO" == line["level"]


def test_events_have_lines_without_access_lines():
    """
    With `access_log=False` what operators must know is still told.
    """
    with isolated_runtime(access_log=False) as isolated:
        recorder.emit(Event("metrics.degraded", "WARNING", "each worker answers for itself alone", {}))

    assert [("WARNING", "each worker answers for itself alone")] == [
        (line["level"], line["message"]) for line in isolated.lines
    ]


def test_access_lines_can_be_off():
    """
    With `access_log=False` requests have no line.
    """
    with isolated_runtime(access_log=False) as isolated:
        run(Request())

        assert [] == isolated.lines


def test_other_kinds_have_no_line():
    """
    A function or query is in metrics and spans; the request's line shows their sum.
    """
    with isolated_runtime(ids=FakeIds(), clock=FakeClock(), slow_query_warning_ms=None) as isolated:
        request = Request()
        plan, token = recorder.plan(HttpOperation), current.set(request)
        plan.begin(request)
        with obskit.observe("job"), obskit.observe_db("plants", "select"):
            recorder.clock.advance(0.25)
        current.reset(token)
        plan.end(request)
        [line] = isolated.lines

    assert (1, 250.0) == (line["db_queries"], line["db_ms"])
