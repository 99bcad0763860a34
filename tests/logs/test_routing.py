"""
Lines go where the settings say: to a file, a channel's file, and errors to one of their own besides.
"""

import json
import logging

import pytest

import obskit
from obskit.errors import ConfigurationError
from obskit.logs import JsonHandler
from obskit.operation import Event, HttpOperation
from obskit.recorder import recorder
from obskit.testing import isolated_runtime


def said(path):
    """
    Return logger and message of each line in a file.
    """
    if not path.exists():
        return []
    return [(line["logger"], line["message"]) for line in map(json.loads, path.read_text("utf-8").splitlines())]


def serve(status=200):
    operation = HttpOperation("GET", "/plants/7")
    plan = recorder.plan(HttpOperation)
    plan.begin(operation)
    operation.endpoint, operation.status = "/plants/<id>", status
    plan.end(operation)


def test_a_file(tmp_path):
    """
    `log_file` takes the lines of requests, events, loggers and records, and standard output none.
    """
    logger = logging.getLogger("shop.file")
    logger.handlers, logger.propagate = [JsonHandler()], False
    with isolated_runtime(log_file=str(tmp_path / "logs" / "app.jsonl")) as isolated:
        serve()
        recorder.emit(Event("health.transition", "WARNING", "database is down"))
        obskit.get_logger("shop").info("own")
        logger.warning("foreign")
    logger.handlers = []

    assert [] == isolated.lines
    assert [
        ("obskit.access", "request"),
        ("obskit.health", "database is down"),
        ("shop", "own"),
        ("shop.file", "foreign"),
    ] == said(tmp_path / "logs" / "app.jsonl")


def test_channels(tmp_path):
    """
    A channel's file takes the lines of the logger of its name and of those below it, obskit's own too; the main output
    has all others.
    """
    security, slow = tmp_path / "security.jsonl", tmp_path / "performance.jsonl"
    channels = {"security": {"file": str(security), "keep_days": 365}, "performance": {"file": str(slow)}}
    with isolated_runtime(log_channels=channels) as isolated:
        for name in ("security", "security.login", "performance", "securityx", "shop.security"):
            obskit.get_logger(name).info("x")
        recorder.emit(Event("security.scan", "WARNING", "somebody scans"))
        rest = [line["logger"] for line in isolated.lines]

    assert [("security", "x"), ("security.login", "x"), ("obskit.security", "somebody scans")] == said(security)
    assert [("performance", "x")] == said(slow)
    assert ["securityx", "shop.security"] == rest


def test_access_lines_may_have_a_channel(tmp_path):
    """
    `access` is the channel of access lines.
    """
    path = tmp_path / "access.jsonl"
    with isolated_runtime(log_channels={"access": {"file": str(path)}}) as isolated:
        serve()
        obskit.get_logger("shop").info("own")

        assert ["own"] == [line["message"] for line in isolated.lines]
    assert [("obskit.access", "request")] == said(path)


def test_errors_are_in_a_file_of_their_own_besides(tmp_path):
    """
    `error_file` has the lines from ERROR on, of whatever kind, and the main output or the channel has them too.
    """
    errors, security = tmp_path / "errors.jsonl", tmp_path / "security.jsonl"
    logger = logging.getLogger("shop.errors")
    logger.handlers, logger.propagate = [JsonHandler()], False
    with isolated_runtime(error_file=str(errors), log_channels={"security": {"file": str(security)}}) as isolated:
        serve(200)
        serve(500)
        for name in ("shop", "security"):
            obskit.get_logger(name).warning("warning")
            obskit.get_logger(name).error("error")
        logger.critical("critical")
        rest = [(line["logger"], line["message"]) for line in isolated.lines]
    logger.handlers = []

    assert [
        ("obskit.access", "request"),
        ("shop", "error"),
        ("security", "error"),
        ("shop.errors", "critical"),
    ] == said(errors)
    assert [("security", "warning"), ("security", "error")] == said(security)
    assert [
        ("obskit.access", "request"),
        ("obskit.access", "request"),
        ("shop", "warning"),
        ("shop", "error"),
        ("shop.errors", "critical"),
    ] == rest


def test_a_broken_error_file_does_not_cost_the_line():
    """
    Where the second place refuses a line, the first has it, and the loss is counted.
    """
    with isolated_runtime(strict=False, error_file="/dev/full") as isolated:
        obskit.get_logger("shop").error("x")

        assert ["x"] == [line["message"] for line in isolated.lines]
        assert 1 == recorder.dropped["logs", "ENOSPC"]


@pytest.mark.parametrize("form", [{}, {"log_schema": "ecs"}, {"log_names": {"level": "severity"}}])
@pytest.mark.parametrize(
    ("settings", "written"),
    [
        ({}, ["INFO", "WARNING", "ERROR"]),
        ({"log_level": "WARNING"}, ["WARNING", "ERROR"]),
        ({"log_levels": {"obskit": "ERROR"}}, ["ERROR"]),
        ({"log_level": "ERROR", "log_levels": {"obskit.access": "INFO"}}, ["INFO", "WARNING", "ERROR"]),
    ],
)
def test_access_lines_have_levels_too(settings, written, form):
    """
    The level of `obskit.access` decides which access lines are written.
    """
    with isolated_runtime(slow_request_ms=0, **settings, **form) as isolated:
        for status in (200, 500):
            serve(status)
    with isolated_runtime(slow_request_ms=None, **settings, **form) as fast:
        serve(200)
    name = {"ecs": "log.level"}.get(form.get("log_schema"), "severity" if form.get("log_names") else "level")
    levels = [line[name] for line in [*fast.lines, *isolated.lines]]

    assert written == levels


@pytest.mark.parametrize("setting", ["log_file", "error_file"])
def test_a_file_that_cannot_be_written_stops_configure(setting, tmp_path):
    """
    A path that no file can have is found when the application starts, and nothing is left open.
    """
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigurationError, match="cannot be written"),
        isolated_runtime(**{setting: str(tmp_path / "file" / "app.jsonl")}),
    ):
        pass
    with isolated_runtime() as isolated:
        obskit.get_logger("shop").info("x")

        assert 1 == len(isolated.lines)


def test_queued_lines_are_drained_on_shutdown(tmp_path):
    """
    With `log_queue` what waits is written before `shutdown()` is done.
    """
    path = tmp_path / "app.jsonl"
    with isolated_runtime(log_file=str(path), log_queue=10_000):
        for number in range(1000):
            obskit.get_logger("shop").info(str(number))

    assert [("shop", str(number)) for number in range(1000)] == said(path)
