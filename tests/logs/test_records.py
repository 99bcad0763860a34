"""
The standard library's records are the same lines, through the handler and through the formatter.
"""

import asyncio
import io
import json
import logging
import logging.config
import sys
import threading

import pytest

import obskit
from obskit.context import current
from obskit.logs import JsonFormatter, JsonHandler
from obskit.operation import HttpOperation
from obskit.testing import isolated_runtime


class Ways:
    """
    Log through the handler, or through the formatter under somebody else's handler.
    """

    def __init__(self, way, isolated):
        self.logger = logging.getLogger(f"shop.{way}")
        self._text, self._isolated = io.StringIO(), isolated
        handler = JsonHandler() if way == "handler" else logging.StreamHandler(self._text)
        if way == "formatter":
            handler.setFormatter(JsonFormatter())
        self.handler = handler
        self.logger.handlers, self.logger.propagate = [handler], False
        self.logger.setLevel(1)

    @property
    def lines(self):
        return [*self._isolated.lines, *map(json.loads, self._text.getvalue().splitlines())]

    @property
    def said(self):
        """
        Return the last line without what every line has.
        """
        shared = ("timestamp", "logger", "service")
        return {name: value for name, value in self.lines[-1].items() if name not in shared}


@pytest.fixture(params=["handler", "formatter"])
def ways(request):
    with isolated_runtime(service="shop") as isolated:
        ways = Ways(request.param, isolated)
        yield ways
        ways.logger.handlers, ways.logger.propagate = [], True


@pytest.fixture
def in_request():
    operation = HttpOperation("GET", "/plants/7")
    operation.correlation_id = "id-1"
    token = current.set(operation)
    yield operation
    current.reset(token)


def test_a_record(ways, in_request):
    """
    A record's line has the contract's fields, the request's id and bound fields, and what came as `extra`.
    """
    obskit.bind(user="u-7")
    ways.logger.warning("order %d of %s", 17, "c-9", extra={"total": 12.5})

    assert {
        "level": "WARNING",
        "message": "order 17 of c-9",
        "correlation_id": "id-1",
        "user": "u-7",
        "total": 12.5,
    } == ways.said
    assert (ways.logger.name, "shop") == (ways.lines[0]["logger"], ways.lines[0]["service"])


def test_the_time_is_the_records(ways):
    """
    A record that waited in a queue has the time at which it was made.
    """
    record = logging.makeLogRecord({"name": "x", "levelno": 20, "msg": "m", "created": 1_700_000_000.5})
    ways.logger.handlers[0].handle(record)

    assert "2023-11-14T22:13:20.500000Z" == ways.lines[0]["timestamp"]


@pytest.mark.parametrize(
    ("message", "args", "shown"),
    [
        ("100 %", (), "100 %"),
        ("%(a)s", ({"a": 1},), "1"),
        ("%d", ("a",), "%d ['a']"),
        ("%s", (), "%s"),
        (7, (), "7"),
        (ValueError("mistake"), (), "ValueError: mistake"),
        (b"%s", (1,), "b'1'"),
        (None, (), "None"),
    ],
)
def test_messages(ways, message, args, shown):
    """
    Whatever the message and its arguments are, there is a line, and nothing is written to standard error.
    """
    ways.logger.handlers = [ways.handler]  # pytest's own raises what it cannot format
    ways.logger.info(message, *args)

    assert {"level": "INFO", "message": shown} == ways.said


@pytest.mark.parametrize(("number", "name"), [(10, "DEBUG"), (25, "INFO"), (3, "DEBUG"), (70, "CRITICAL")])
def test_levels_are_the_five(ways, number, name):
    """
    A level of the application's own counts as the next below it, and its name stands beside.
    """
    logging.addLevelName(25, "NOTICE")
    ways.logger.log(number, "x")
    own = {25: "NOTICE", 3: "Level 3", 70: "Level 70"}.get(number)

    assert name == ways.said["level"]
    assert own == ways.said.get("level_name")


def test_exceptions_and_stacks(ways, in_request):
    """
    `exc_info` and `stack_info` are fields.
    """
    try:
        raise ValueError("no such plant")
    except ValueError:
        ways.logger.exception("failed", stack_info=True)
    exception = ways.said["exception"]

    assert ("ValueError", "no such plant") == (exception["type"], exception["message"])
    assert exception["traceback"].endswith("ValueError: no such plant\n")
    assert "test_exceptions_and_stacks" in ways.said["stack"]


def test_no_exception(ways):
    """
    `exc_info=True` where nothing is handled adds nothing.
    """
    ways.logger.info("x", exc_info=True)

    assert {"level": "INFO", "message": "x"} == ways.said


def test_extra_cannot_override(ways, in_request):
    """
    What `extra` has under a reserved name stands beside the field.
    """
    ways.logger.info("x", extra={"status": "paid", "correlation_id": "forged", "timestamp": 1, "level": 2})

    assert {
        "level": "INFO",
        "message": "x",
        "correlation_id": "id-1",
        "extra_status": "paid",
        "extra_correlation_id": "forged",
        "extra_timestamp": 1,
        "extra_level": 2,
    } == ways.said


def test_what_others_leave_in_a_record_is_no_field(ways):
    """
    Another formatter that saw the record before, and uvicorn's text with colours, leave nothing in the line.
    """
    record = logging.makeLogRecord({"name": "x", "levelno": 20, "msg": "m", "color_message": "c", "own": 1})
    logging.Formatter("%(asctime)s %(message)s").format(record)
    ways.logger.handlers[0].handle(record)

    assert {"level": "INFO", "message": "m", "own": 1} == ways.said


def test_a_record_class_of_the_applications(ways, monkeypatch):
    """
    What a record factory adds is a field, wherever it puts it; of the standard attributes none is.
    """

    class Own(logging.LogRecord):
        def __init__(self, *args, **kwargs):
            self.tenant = "t-1"
            super().__init__(*args, **kwargs)
            self.region = "north"

    monkeypatch.setattr(logging, "_logRecordFactory", Own)
    ways.logger.info("x", extra={"a": 1})

    assert {"level": "INFO", "message": "x", "tenant": "t-1", "region": "north", "a": 1} == ways.said


def test_a_task_is_no_field(ways):
    """
    What Python 3.12 notes of the task that logs is no field.
    """

    async def main():
        ways.logger.info("x")

    asyncio.run(main())

    assert {"level": "INFO", "message": "x"} == ways.said


def test_callsites():
    """
    `log_callsite` says where a record was made.
    """
    with isolated_runtime(log_callsite=True) as isolated:
        ways = Ways("handler", isolated)
        ways.logger.info("x")
        ways.logger.handlers = []
        here = sys._getframe().f_lineno - 2

        assert ("test_records", "test_callsites", here, threading.current_thread().name) == tuple(
            ways.said[name] for name in ("module", "function", "line", "thread")
        )


def test_filters_of_the_handler_hold():
    """
    A handler's filters may refuse a record, and from Python 3.12 on give another.
    """
    with isolated_runtime() as isolated:
        ways = Ways("handler", isolated)
        ways.logger.handlers[0].addFilter(lambda record: record.msg != "no")
        ways.logger.info("no")
        ways.logger.info("yes")
        ways.logger.handlers = []

        assert ["yes"] == [line["message"] for line in isolated.lines]


def test_dict_config():
    """
    Formatter and handler are named in a `dictConfig()` as any other; a format that is given means nothing.
    """
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {"()": "obskit.logs.JsonFormatter", "format": "%(message)s", "datefmt": "%H"},
            "named": {"class": "obskit.logs.JsonFormatter", "format": "%(message)s"},
        },
        "handlers": {
            "console": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stdout"},
            "named": {"class": "logging.StreamHandler", "formatter": "named", "stream": "ext://sys.stdout"},
            "obskit": {"class": "obskit.logs.JsonHandler"},
        },
        "loggers": {
            "shop.configured": {"handlers": ["console", "named", "obskit"], "level": "INFO", "propagate": False}
        },
    }
    out = io.StringIO()
    before, sys.stdout = sys.stdout, out
    try:
        logging.config.dictConfig(config)
    finally:
        sys.stdout = before
    logger = logging.getLogger("shop.configured")
    with isolated_runtime(service="shop") as isolated:
        logger.info("x %d", 1, extra={"a": 2})
        lines = [*map(json.loads, out.getvalue().splitlines()), *isolated.lines]
    logger.handlers = []

    assert 3 == len(lines)
    assert all(lines[0] == line for line in lines)
    assert ("x 1", 2, "shop.configured") == tuple(lines[0][name] for name in ("message", "a", "logger"))


def test_closing_the_handler_does_nothing():
    """
    `dictConfig()` and `logging.shutdown()` close every handler there is; ours goes on.
    """
    with isolated_runtime() as isolated:
        ways = Ways("handler", isolated)
        ways.logger.handlers[0].close()
        ways.logger.info("x")
        ways.logger.handlers = []

        assert ["x"] == [line["message"] for line in isolated.lines]


def test_own_and_foreign_lines_are_alike(in_request):
    """
    The same event by `get_logger()` and by the standard library gives the same line.
    """
    with isolated_runtime() as isolated:
        ways = Ways("handler", isolated)
        ways.logger.info("paid", extra={"order": 17, "status": "x", "password": "hunter2"})
        obskit.get_logger(ways.logger.name).info("paid", order=17, status="x", password="hunter2")
        ways.logger.handlers = []
    foreign, own = ({name: line[name] for name in line if name != "timestamp"} for line in isolated.lines)

    assert own == foreign
    assert list(own) == list(foreign)


def test_what_stands_beside_a_value_hides_it(ways):
    """
    A field `value` whose name is said beside it, and the place in a split URL, are hidden in each way of logging, also
    where the names were harmless before.
    """
    bare = {"key": "colour", "value": "blue", "netloc": "host:80"}
    secret = {"key": "smtp_password", "value": "hunter2x9", "netloc": "u:hunter2x9@host"}
    hidden = {"key": "smtp_password", "value": "[redacted:password]", "netloc": "u:[redacted:url_password]@host"}
    said = []
    for fields in (bare, bare, secret, bare):
        ways.logger.info("set", extra=fields)
        said.append(ways.lines[-1])
        obskit.get_logger("shop").info("set", **fields)
        said.append(ways._isolated.lines[-1])
    obskit.get_logger("shop").info("set", value="hunter2x9", name="smtp_password")
    named = ways._isolated.lines[-1]["value"]

    assert [*[bare] * 4, *[hidden] * 2, *[bare] * 2] == [{name: line[name] for name in bare} for line in said]
    assert "[redacted:password]" == named


@pytest.mark.parametrize("logger", ["password", "shop.token"])
def test_the_loggers_name_hides_no_value(logger):
    """
    A record's `name` is that of its logger, and says nothing of a field `value`.
    """
    with isolated_runtime() as isolated:
        own = logging.getLogger(logger)
        own.handlers, own.propagate = [JsonHandler()], False
        own.warning("set", extra={"value": "blue"})
        own.handlers, own.propagate = [], True

    assert "blue" == isolated.lines[-1]["value"]
