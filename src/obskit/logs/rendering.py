"""
Render one JSON object a line, whatever the values are.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Set
from datetime import UTC, date, datetime
from math import floor, isfinite
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
# What `log_category` adds; likewise.
CATEGORY = frozenset(["category"])
# What lies deeper is cut; a list may hold itself, and log stores take about 20 levels.
MAX_DEPTH = 16
# What the values of a line may take when they are laid open, in characters: log stores refuse lines of a megabyte, and
# 16,000 values take a few milliseconds.
MAX_OPENED = 1_000_000
PER_VALUE = 64
# Of these no part can hide a secret from redaction by key, and none has code of the application's to run.
SIMPLE = frozenset([str, int, float, bool, type(None), datetime, date, UUID])
# orjson would show what a dataclass keeps out of its `repr()`.
OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_PASSTHROUGH_DATACLASS
WITH_END = OPTIONS | orjson.OPT_APPEND_NEWLINE
# Beyond it a reader that has floats alone would round.
_EXACT = 2**53
_ITEMS = (list, tuple, Set, deque)
_HOLDERS = (Mapping, *_ITEMS)
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
        return json.dumps(_opened_line(fields), separators=(",", ":")).encode("ascii") + b"\n"
    return line if line.isascii() else escaped(line)


def escaped(line: bytes) -> bytes:
    """
    Write as `\\uXXXX` what would end a line for some reader of it, or give a terminal a command. It says the same.
    """
    return _unsafe.sub(lambda found: f"\\u{ord(found[0]):04x}", line.decode("utf-8")).encode("utf-8")


class Room:
    """
    Say how much the values of one line may still take when they are laid open: what is shared by many may unfold to
    more than any memory holds.

    Attributes:
        left: In characters; each value takes `PER_VALUE` beside its text.
    """

    __slots__ = ("left",)

    def __init__(self, left: int = MAX_OPENED) -> None:
        self.left = left


def opened(value: Any, depth: int = MAX_DEPTH, room: Room | None = None) -> Any:
    """
    Lay a value open: keep what JSON can say, go into what holds other values, and say the rest as text.

    What finds no room is cut, and a mark says how much: `"[7 items cut]"`, `"cut": "[2 fields cut]"`.
    """
    room = Room() if room is None else room
    kind = type(value)
    if kind is str:
        return _said(value, room)
    room.left -= PER_VALUE
    if (kind is int and -_EXACT < value < _EXACT) or value is None or kind is bool:
        return value
    try:
        if isinstance(value, float):
            return value if isfinite(value) else None  # as orjson has it
        if isinstance(value, int) and abs(value) < _EXACT:
            return value
        if isinstance(value, Mapping):
            return _fields(value.items(), len(value), depth, room)
        if isinstance(value, _ITEMS):
            return _items(value, depth, room)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in dataclasses.fields(value) if field.repr]
            return _fields([(name, getattr(value, name)) for name in names], len(names), depth, room)
    except Exception:
        pass  # its own methods raise; as_text() says what it is
    return _said(as_text(value), room)


def _said(text: str, room: Room) -> str:
    if not text.isascii():
        text = as_text(text)
    left, room.left = max(room.left - PER_VALUE, 0), room.left - PER_VALUE - len(text)
    return text if len(text) <= left else f"{text[:left]} [{len(text) - left} characters cut]"


def _items(values: Collection[Any], depth: int, room: Room) -> list[Any]:
    shown: list[Any] = []
    for value in values:
        if room.left <= 0 or not depth:
            shown.append(f"[{len(values) - len(shown)} items cut]")
            room.left = min(room.left, 0)
            break
        shown.append(opened(value, depth - 1, room))
    return shown


def _fields(pairs: Iterable[tuple[Any, Any]], count: int, depth: int, room: Room) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for number, (name, value) in enumerate(pairs):
        if room.left <= 0 or not depth:
            shown["cut"] = f"[{count - number} fields cut]"
            room.left = min(room.left, 0)
            break
        shown[_said(name if type(name) is str else as_text(name), room)] = opened(value, depth - 1, room)
    return shown


def _opened_line(fields: Any) -> Any:
    """
    Lay a line open: its own texts are as long as they are, and what they hold shares one room.
    """
    if not isinstance(fields, Mapping):
        return opened(fields)
    room = Room()
    return {
        as_text(name): as_text(value) if type(value) is str else opened(value, MAX_DEPTH, room)
        for name, value in fields.items()
    }


def as_text(value: Any) -> str:
    """
    Say a value as text that JSON can hold, whatever its own methods do.
    """
    try:
        if isinstance(value, datetime):
            return value.isoformat().replace("+00:00", "Z")
        if isinstance(value, _HOLDERS):
            room = Room()
            flat = opened(value, MAX_DEPTH, room)
            value = flat if room.left <= 0 else value
        text = f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else str(value)
        return str.encode(text, "utf-8", "backslashreplace").decode("utf-8")
    except Exception:
        return f"<{type(value).__name__} that cannot be shown>"


# What `render()` tries first, for those who cannot afford its frame: `dumps(fields, opened, OPTIONS)`. A partial()
# with keywords would cost a line a fifth. What it raises is for `render()` to mend.
dumps = orjson.dumps
UNSAYABLE = (TypeError, ValueError, RecursionError)


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
