"""
Whatever an application logs, there is a line that parses; and nothing of it reaches the application.
"""

import dataclasses
import decimal
import enum
import io
import json
import logging
import math
import os
import uuid
from collections import ChainMap
from datetime import UTC, date, datetime, time
from pathlib import Path
from types import MappingProxyType

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import obskit
from obskit.logs import JsonHandler
from obskit.logs.rendering import escape_unsafe, render
from obskit.recorder import recorder
from obskit.testing import isolated_runtime

log = obskit.get_logger("shop.any")
foreign = logging.getLogger("shop.any.foreign")


class Hostile:
    """
    Raise from whatever is asked of it.
    """

    def __repr__(self):
        raise RuntimeError("no")

    __str__ = __len__ = __iter__ = __bool__ = __eq__ = __repr__
    __hash__ = object.__hash__


class Nameless(Hostile):
    """
    Raise even when it is asked what it is.
    """

    @property
    def __class__(self):
        raise RuntimeError("no")


class HostileMapping(dict):
    """
    A mapping that cannot be read.
    """

    def items(self):
        raise RuntimeError("no")


class Word(str):
    """
    A string whose methods lie.
    """

    def encode(self, *args):
        raise RuntimeError("no")


@dataclasses.dataclass
class Plant:
    name: str
    water: object
    key: str = dataclasses.field(default="hidden", repr=False)


class Colour(enum.Enum):
    GREEN = "green"


def cyclic():
    inside = {}
    inside["again"] = [inside]
    return inside


def deep():
    value = []
    for _ in range(100_000):
        value = [value]
    return value


class Lines:
    """
    Lines as bytes.
    """

    def __init__(self):
        self.raw = b""

    def write(self, text):
        self.raw += text.encode("utf-8")


def lines_of(do, **given):
    """
    Return what a function logs, parsed by two strict parsers.
    """
    stream = Lines()
    foreign.handlers, foreign.propagate = [JsonHandler()], False
    with isolated_runtime(log_stream=stream, **given):
        do()
    foreign.handlers = []
    *whole, end = stream.raw.split(b"\n")
    assert b"" == end
    parsed = [json.loads(line) for line in whole]
    assert parsed == [orjson.loads(line) for line in whole]
    assert "".join(stream.raw.decode().splitlines()) == stream.raw.decode().replace("\n", "")
    return parsed


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("\ud800 half", "\\ud800 half"),
        (2**64, "18446744073709551616"),
        (-(2**64), "-18446744073709551616"),
        (10**5000, "<int that cannot be shown>"),
        ({1: "one", None: "none", "1": "text"}, {"1": "text", "None": "none"}),
        ({(1, 2): 3}, {"(1, 2)": 3}),
        (HostileMapping(a=1), "<HostileMapping that cannot be shown>"),
        (Word("word"), "word"),
        (math.nan, None),
        (math.inf, None),
        ({"a": [math.nan, -math.inf]}, {"a": [None, None]}),
        (decimal.Decimal("1.10"), "1.10"),
        (1 + 2j, "(1+2j)"),
        (b"bytes", "b'bytes'"),
        ({1}, [1]),
        (frozenset(["a"]), ["a"]),
        (range(3), "range(0, 3)"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (Path("/plants"), "/plants"),
        (Colour.GREEN, "Colour.GREEN"),
        (Plant("fern", {"a": 1}), {"name": "fern", "water": {"a": 1}}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (ChainMap({"a": 1}, {"b": 2}), {"a": 1, "b": 2}),
        (ValueError("mistake"), "ValueError: mistake"),
        (Plant, "<class 'test_any_values.Plant'>"),
        (None, None),
        (True, True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_odd_values(value, shown):
    """
    What JSON cannot say is said as text, or as null; own lines and records alike.
    """

    def both():
        log.info("x", odd=value)
        foreign.warning("x", extra={"odd": value})

    assert [shown, shown] == [line["odd"] for line in lines_of(both)]


def test_objects_whose_methods_raise():
    """
    An object that raises whatever is asked of it is named by its class, inside of others too.
    """

    def both():
        log.info("x", odd=Nameless(), more=[Nameless(), 1])
        foreign.warning("x", extra={"odd": Nameless(), "more": {"a": Nameless()}})

    shown = "<Nameless that cannot be shown>"

    assert [(shown, [shown, 1]), (shown, {"a": shown})] == [(line["odd"], line["more"]) for line in lines_of(both)]


@pytest.mark.parametrize("make", [cyclic, deep, lambda: "x" * 1_000_000, lambda: ["y" * 1000] * 1000])
def test_large_and_endless_values(make):
    """
    A cycle, a list of great depth and a value of a megabyte leave a line each.
    """
    value = make()

    def both():
        log.info("x", odd=value)
        log.bind(odd=value).info("y")
        foreign.warning("x", extra={"odd": value})

    lines = lines_of(both)

    assert 3 == len(lines)
    assert all(line["odd"] for line in lines)


def test_odd_messages_names_and_exceptions():
    """
    What is odd may be the message, a name, an argument, a bound field or an exception.
    """

    class Odd(Exception):
        def __str__(self):
            raise RuntimeError("no")

    def all_of_them():
        for message in (Hostile(), "\ud800", 10**5000, cyclic()):
            log.info(message)
            foreign.warning(message)
        log.info("%s", Hostile())
        foreign.warning("%s", Hostile())
        log.info("x", **{"\ud800": 1, "": 2, "x" * 10_000: 3})
        foreign.warning("x", extra={Hostile: 1, 7: 2})
        for error in (Odd(), ValueError(Hostile()), KeyError("\ud800"), RecursionError()):
            log.error("x", exc_info=error)
            foreign.error("x", exc_info=error)
        log.error("x", exc_info=(1, 2))
        log.error("x", exc_info="nonsense")

    assert 22 == len(lines_of(all_of_them))


plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.text(st.characters(categories=["Cs", "Cc", "Cf", "Zl", "Zp"])),
    st.binary(),
    st.datetimes(),
    st.uuids(),
    st.decimals(),
    st.complex_numbers(),
    st.builds(Hostile),
    st.builds(ValueError, st.text()),
    st.builds(Plant, st.text(), st.integers()),
)
keys = st.one_of(st.text(), st.integers(), st.none(), st.booleans(), st.uuids(), st.tuples(st.integers()))
values = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner), st.dictionaries(keys, inner), st.tuples(inner), st.builds(Plant, st.text(), inner)
    ),
    max_leaves=20,
)
anything = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@anything
@given(st.one_of(st.text(), values), st.dictionaries(st.text(), values, max_size=4), st.sampled_from(["obskit", "ecs"]))
def test_any_line_parses(message, fields, schema):
    """
    For any message and any nested values under any names there is one line a call, and it parses.
    """

    def both():
        log.bind(**fields).warning(message, **fields)
        record = foreign.makeRecord("x", 30, "", 0, message, (), None)
        record.__dict__.update({f"own_{name}": value for name, value in fields.items()})
        foreign.handle(record)

    assert 2 == len(lines_of(both, log_schema=schema))


@anything
@given(st.text(), st.dictionaries(st.text(), values, max_size=4))
def test_any_console_line_is_one(message, fields):
    """
    For any message and any values a console has one line a call, without a control character.
    """
    screen = io.StringIO(newline="")
    with isolated_runtime(log_stream=screen, log_format="console"):
        log.warning(message, **fields)
    text = screen.getvalue()

    assert 1 == text.count("\n") == len(text.splitlines())
    assert text[:-1].isprintable() or not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in text[:-1])


@anything
@given(st.text())
def test_escaping_changes_nothing(text):
    """
    What is written as an escape reads as the same text, and ends no line for any reader.
    """
    line = escape_unsafe(orjson.dumps({"text": text}))

    assert text == json.loads(line)["text"] == orjson.loads(line)["text"]
    assert 1 == len(line.decode().splitlines())


def test_rendering_never_fails():
    """
    The renderer by itself gives a line for whatever it is given.
    """
    for value in ({1}, "\ud800", 10**30, Hostile(), b"\xff"):
        assert ["odd"] == list(json.loads(render({"odd": value})))


class Refusing:
    """
    Refuse every line, as a full disk or a pipe without a reader does.
    """

    closed = False

    def __init__(self, error):
        self._error = error

    def write(self, text):
        raise self._error


def closed_file():
    file = io.FileIO(os.devnull, "w")
    file.close()
    return file


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (lambda: Refusing(OSError(28, "No space left on device")), "ENOSPC"),
        (lambda: Refusing(BlockingIOError(11, "Resource temporarily unavailable")), "EAGAIN"),
        (lambda: Refusing(BrokenPipeError(32, "Broken pipe")), "EPIPE"),
        (lambda: Refusing(RuntimeError("no")), "RuntimeError"),
        (closed_file, "closed"),
        (lambda: open("/dev/full", "wb", buffering=0), "ENOSPC"),  # noqa: SIM115
    ],
    ids=["full disk", "full pipe", "no reader", "other", "closed", "/dev/full"],
)
def test_an_output_that_refuses_is_counted(stream, reason):
    """
    A line that cannot be written is counted, whoever wrote it; the application does not notice.
    """
    out = stream()
    foreign.handlers, foreign.propagate = [JsonHandler()], False
    with isolated_runtime(strict=False, log_stream=out) as isolated:
        for _ in range(3):
            log.error("x")
            foreign.error("x")
        counted = isolated.value("obskit_dropped_total", sink="logs", reason=reason)
        failures = recorder.errors["logs"]
    foreign.handlers = []
    out.close() if hasattr(out, "close") else None

    assert (6, 6) == (counted, failures)
