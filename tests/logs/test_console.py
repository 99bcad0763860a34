"""
On a console lines are for people, and as hard to forge as JSON.
"""

import io
import os
import pty
import re

import pytest

import obskit
from obskit.context import current
from obskit.logs.console import escape_controls
from obskit.operation import HttpOperation
from obskit.recorder import recorder
from obskit.testing import FakeClock, isolated_runtime

log = obskit.get_logger("shop.cart")
HEAD = r"\d\d:\d\d:\d\d\.250 "


@pytest.fixture
def screen():
    screen = io.StringIO()
    with isolated_runtime(log_format="console", log_stream=screen, wall_clock=FakeClock(1_700_000_000.25)):
        yield screen


def test_a_line(screen):
    """
    A line has the time, the level, the message, the logger, the fields and the request's id.
    """
    operation = HttpOperation("GET", "/plants/7")
    operation.correlation_id = "id-1"
    token = current.set(operation)
    log.warning("no water left", plant=7, pot="blue", ratio=0.5, empty=None, tags=["a", "b"], said="a b=c", ok=True)
    current.reset(token)

    expected = (
        r"WARNING  no water left \[shop\.cart\] plant=7 pot=blue ratio=0\.5 "
        r'tags=\["a", "b"\] said="a b=c" ok=true \[id-1\]\n'
    )
    assert re.fullmatch(HEAD + expected, screen.getvalue())


def test_an_access_line(screen):
    """
    A request reads as method, path, status and time.
    """
    operation = HttpOperation("GET", "/plants/7")
    operation.endpoint, operation.status = "/plants/<id>", 200
    plan = recorder.plan(HttpOperation)
    plan.begin(operation)
    plan.end(operation)

    expected = r"INFO     GET /plants/7 200 [\d.]+ms \[obskit\.access\] endpoint=/plants/<id> bytes_sent=0\n"
    assert re.fullmatch(HEAD + expected, screen.getvalue())


def test_an_exception_stands_below_its_line(screen):
    """
    A traceback is shown line by line, each behind a bar.
    """
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        log.exception("failed", stack_info=True)
    first, *below = screen.getvalue().splitlines()

    assert re.fullmatch(HEAD + r"ERROR    failed \[shop\.cart\]", first)
    assert all(line.startswith("    | ") for line in below)
    assert "    | ValueError: first" in below
    assert "    | second" in below


FORGED = "paid\r\n12:00:00.000 INFO     paid shop.cart status=ok\x1b[2J\x9b2J\u2028\u202e\x00\x7f"


def test_nothing_forges_a_line(screen):
    """
    No message, key, value or exception starts a line, looks like a field, or gives the terminal a command.
    """
    log.info(FORGED)
    log.info("x", **{FORGED: FORGED, "a b": 'c" d=e', "level=": "x"}, deep={"k": [FORGED]})
    obskit.get_logger(FORGED).info("x")
    try:
        raise ValueError(FORGED)
    except ValueError:
        log.exception("x")
    text = screen.getvalue()

    starts = [line for line in text.split("\n") if line and not line.startswith("    | ")]
    assert 4 == len(starts)
    assert all(re.match(HEAD, line) for line in starts)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]", text)
    assert ' "a b"="c\\" d=e" "level="=x' in starts[1]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain äöü 文", "plain äöü 文"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b", "\\x9b"),
        ("\u2028\u2066", "\\u2028\\u2066"),
        ("\ud800", "\\ud800"),
    ],
)
def test_controls_are_escaped(text, shown):
    """
    What a terminal would obey is written out; every other character is itself.
    """
    assert shown == escape_controls(text)


def lines_of(**environ):
    """
    Write a line to a terminal of our own, and give what came out of it.
    """
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal, isolated_runtime(log_format="console", log_stream=terminal):
        log.error("red")
        terminal.flush()
        text = os.read(master, 10_000).decode()
    os.close(master)
    return text


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True)])
def test_colours_are_for_terminals(monkeypatch, environ, coloured):
    """
    A terminal gets colours, unless `NO_COLOR` is set; and what is said is the same.
    """
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    text = lines_of()

    assert coloured is ("\x1b[31m" in text)
    assert re.search(r"ERROR    red \[shop\.cart\]", re.sub(r"\x1b\[[0-9;]*m", "", text))


def test_colours_can_be_forced(monkeypatch):
    """
    `FORCE_COLOR` asks for colours where there is no terminal.
    """
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    screen = io.StringIO()
    with isolated_runtime(log_format="console", log_stream=screen):
        log.error("red")

    assert "\x1b[31m" in screen.getvalue()
