"""
Render one JSON object a line, whatever the values are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from math import floor
from typing import Any

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
        "client",
        "user_agent",
        "db_queries",
        "db_ms",
        "ai_calls",
        "ai_cost_usd",
    ]
)
# Deeper is shown as text; a list may hold itself.
MAX_DEPTH = 8
_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z


def render(fields: Any) -> bytes:
    """
    Render a line, or a value of one; what JSON cannot say is said as text, so that one odd value never costs the line.
    """
    try:
        return dumps(fields)
    except UNSAYABLE:
        return json.dumps(_plain(fields, MAX_DEPTH)).encode("ascii") + b"\n"


def _plain(value: Any, depth: int) -> Any:
    """
    Keep what JSON can say, and say the rest as text.
    """
    if depth and isinstance(value, Mapping):
        return {_as_text(name): _plain(inner, depth - 1) for name, inner in value.items()}
    if depth and isinstance(value, (list, tuple)):
        return [_plain(inner, depth - 1) for inner in value]
    if value is None or isinstance(value, bool) or (isinstance(value, (int, float)) and abs(value) < 2**53):
        return value
    if isinstance(value, float):
        return None  # NaN and the infinities, as orjson has it; beyond 2**53 a reader would round
    return _as_text(value)


def _as_text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    try:
        return str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    except Exception:
        return f"<{type(value).__name__} that cannot be shown>"


# What `render()` tries first, for those who cannot afford its frame; what it raises is for `render()` to mend.
dumps = partial(orjson.dumps, default=_as_text, option=_OPTIONS)
UNSAYABLE = (TypeError, ValueError, RecursionError)


def timestamper(wall_clock: Callable[[], float]) -> Callable[[], str]:
    """
    Build a function that gives the time as RFC 3339 in UTC, with microseconds and `Z`.
    """

    def timestamp() -> str:
        now = wall_clock()
        second, day_and_time = whole_second(now)
        return f"{day_and_time}.{int((now - second) * 1e6):06d}Z"

    return timestamp


def whole_second(now: float) -> tuple[int, str]:
    """
    Split the whole second off a time, and write it in UTC up to the fraction.
    """
    second = floor(now)
    return second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def reserved_names(renames: Mapping[str, str | None]) -> frozenset[str]:
    """
    Give the names that callers' fields must not have: the contract's, and those that `log_names` hands out.

    Raises:
        ConfigurationError: Two fields would have one name.
    """
    taken: dict[str, str] = {}
    for name in sorted(RESERVED | renames.keys()):
        new = renames.get(name, name)
        if new is None:
            continue
        if new in taken:
            raise ConfigurationError(f"log_names gives {taken[new]!r} and {name!r} one name, {new!r}; choose another")
        taken[new] = name
    return RESERVED | taken.keys()


def with_callers_fields(line: dict[str, Any], given: Mapping[str, Any], reserved: frozenset[str]) -> None:
    """
    Add a caller's fields; those with a reserved name become `extra_<name>`.
    """
    for name, value in given.items():
        while name in reserved:
            name = f"extra_{name}"
        line[name] = value
