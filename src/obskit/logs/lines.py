"""
Render one JSON object a line, whatever the values are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

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
_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z


def render(fields: Mapping[str, Any]) -> bytes:
    """
    Render a line; what JSON cannot say is said as text, so that one odd value never costs the line.
    """
    try:
        return orjson.dumps(fields, default=_as_text, option=_OPTIONS)
    except (TypeError, ValueError, RecursionError):
        return json.dumps({str(k): _as_text(v) for k, v in fields.items()}).encode("ascii") + b"\n"


def _as_text(value: Any) -> Any:
    if isinstance(value, (bool, type(None))):
        return value
    if isinstance(value, (int, float)) and abs(value) < 2**53:
        return value
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__} that cannot be shown>"


def timestamper(wall_clock: Callable[[], float]) -> Callable[[], str]:
    """
    Build a function that gives the time as RFC 3339 in UTC, with microseconds and `Z`.
    """
    return lambda: datetime.fromtimestamp(wall_clock(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def whole_second(now: datetime) -> str:
    """
    Write a time whose fraction is zero, which orjson would leave out.
    """
    return now.strftime("%Y-%m-%dT%H:%M:%S.000000Z")


def with_callers_fields(line: dict[str, Any], given: Mapping[str, Any]) -> None:
    """
    Add a caller's fields; those with a reserved name become `extra_<name>`.
    """
    for name, value in given.items():
        line[f"extra_{name}" if name in RESERVED else name] = value
