"""
Render one JSON object a line, whatever the values are.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Set
from datetime import UTC, date, datetime
from math import floor
from typing import Any
from uuid import UUID

import orjson

from obskit.errors import ConfigurationError

# Every field of the line's contract: a caller's value of that name becomes `extra_<name>`.
RESERVED = frozenset(
    [
        "timestamp",
        "level",
        "logger",
        "message",
        "service",
        "version",
        "environment",
        "correlation_id",
        "trace_id",
        "span_id",
        "exception",
        "method",
        "path",
        "endpoint",
        "status",
        "duration_ms",
        "first_byte_ms",
        "bytes_sent",
        "aborted",
        "left_out",
        "client",
        "user_agent",
        "db_queries",
        "db_ms",
        "ai_calls",
        "ai_cost_usd",
    ]
)
# What `log_callsite` adds; reserved where it is on.
CALLSITE = frozenset(["module", "function", "line", "thread", "process"])
# Deeper is shown as text; a list may hold itself.
MAX_DEPTH = 8
# Of these no part can hide a secret from redaction by key, and none has code of the application's to run.
SIMPLE = frozenset([str, int, float, bool, type(None), datetime, date, UUID])
# orjson would show what a dataclass keeps out of its `repr()`.
OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_PASSTHROUGH_DATACLASS
WITH_END = OPTIONS | orjson.OPT_APPEND_NEWLINE
# Line ends and terminal commands that JSON lets through: C1 controls, the Unicode line and paragraph separators, and
# what turns the direction of writing.
_unsafe = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def render(fields: Any) -> bytes:
    """
    Render a line, or a value of one; what JSON cannot say is said as text, so that one odd value never costs the line.
    """
    try:
        line = dumps(fields, opened, WITH_END)
    except UNSAYABLE:
        return json.dumps(opened(fields), separators=(",", ":")).encode("ascii") + b"\n"
    return line if line.isascii() else escaped(line)


def escaped(line: bytes) -> bytes:
    """
    Write as `\\uXXXX` what would end a line for some reader of it, or give a terminal a command. It says the same.
    """
    return _unsafe.sub(lambda found: f"\\u{ord(found[0]):04x}", line.decode("utf-8")).encode("utf-8")


def opened(value: Any, depth: int = MAX_DEPTH) -> Any:
    """
    Lay a value open: keep what JSON can say, go into what holds other values, and say the rest as text.
    """
    try:
        if value is None or isinstance(value, bool) or (isinstance(value, (int, float)) and abs(value) < 2**53):
            return value
        if isinstance(value, float):
            return None  # NaN and the infinities, as orjson has it; beyond 2**53 a reader would round
        if depth and isinstance(value, Mapping):
            return {as_text(name): opened(inner, depth - 1) for name, inner in value.items()}
        if depth and isinstance(value, (list, tuple, Set)):
            return [opened(inner, depth - 1) for inner in value]
        if depth and dataclasses.is_dataclass(value) and not isinstance(value, type):
            shown = [field.name for field in dataclasses.fields(value) if field.repr]
            return {name: opened(getattr(value, name), depth - 1) for name in shown}
    except Exception:
        pass  # its own methods raise; as_text() says what it is
    return as_text(value)


def as_text(value: Any) -> str:
    """
    Say a value as text that JSON can hold, whatever its own methods do.
    """
    try:
        if isinstance(value, datetime):
            return value.isoformat().replace("+00:00", "Z")
        text = f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else str(value)
        return str.encode(text, "utf-8", "backslashreplace").decode("utf-8")
    except Exception:
        return f"<{type(value).__name__} that cannot be shown>"


# What `render()` tries first, for those who cannot afford its frame: `dumps(fields, opened, OPTIONS)`. A partial()
# with keywords would cost a line a fifth. What it raises is for `render()` to mend.
dumps = orjson.dumps
UNSAYABLE = (TypeError, ValueError, RecursionError)


def timestamper(wall_clock: Callable[[], float]) -> Callable[[], str]:
    """
    Build a function that gives the time as RFC 3339 in UTC, with microseconds and `Z`.
    """

    def timestamp() -> str:
        return rfc3339(wall_clock())

    return timestamp


def rfc3339(now: float) -> str:
    """
    Write a time in UTC, with microseconds and `Z`.
    """
    second, day_and_time = whole_second(now)
    return f"{day_and_time}.{int((now - second) * 1e6):06d}Z"


def whole_second(now: float) -> tuple[int, str]:
    """
    Split the whole second off a time, and write it in UTC up to the fraction.
    """
    second = floor(now)
    return second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def reserved_names(renames: Mapping[str, str | None], contract: Set[str] = RESERVED) -> frozenset[str]:
    """
    Give the names that callers' fields must not have: the contract's, and those that `log_names` hands out.

    Raises:
        ConfigurationError: Two fields would have one name.
    """
    taken: dict[str, str] = {}
    for name in sorted(contract | renames.keys()):
        new = renames.get(name, name)
        if new is None:
            continue
        if new in taken:
            raise ConfigurationError(f"log_names gives {taken[new]!r} and {name!r} one name, {new!r}; choose another")
        taken[new] = name
    return frozenset(contract | taken.keys())
