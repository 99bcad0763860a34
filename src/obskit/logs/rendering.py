"""
Render one JSON object a line, whatever the values are.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Set
from datetime import date, datetime
from math import isfinite
from typing import Any
from uuid import UUID

import orjson

from obskit.errors import ConfigurationError
from obskit.rows.lines import LEFT_OUT, LINE
from obskit.rows.requests import HTTP

# Every field of the line's contract: a caller's value of that name becomes `extra_<name>`.
RESERVED_FIELDS = frozenset(field.line for field in (*LINE, *HTTP.on_lines(), LEFT_OUT))
# What `log_callsite` adds; reserved where it is on.
CALLSITE_FIELDS = frozenset(["module", "function", "line", "thread", "process"])
# What `log_category` adds; likewise.
CATEGORY_FIELDS = frozenset(["category"])
# What structlog's processors put beside the message that a record of the standard library has itself, ...
PROCESSOR_FIELDS = frozenset(["timestamp", "level", "level_number", "logger", "exception"])
# ... and what other formatters, servers and newer versions of Python (in records that they send) leave in one.
LEFT_IN_RECORDS = frozenset(["message", "asctime", "color_message", "taskName"])
# Deeper values are cut; a list may contain itself, and log stores accept about 20 levels.
MAX_DEPTH = 16
# What the converted values of a line may take, in characters: log stores refuse lines of a megabyte, and 16,000 values
# take a few milliseconds.
MAX_LINE_CHARACTERS = 1_000_000
VALUE_OVERHEAD = 64
# These have no parts that redaction by key would look at, and run no code of the application's.
SCALARS = frozenset([str, int, float, bool, type(None), datetime, date, UUID])
# orjson would show what a dataclass keeps out of its `repr()`.
ORJSON_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_PASSTHROUGH_DATACLASS
_OPTIONS_WITH_NEWLINE = ORJSON_OPTIONS | orjson.OPT_APPEND_NEWLINE
# Beyond it a reader with floats only would round.
MAX_SAFE_INTEGER = 2**53
_SEQUENCES = (list, tuple, Set, deque)
_CONTAINERS = (Mapping, *_SEQUENCES)
# Line ends and terminal commands that JSON does not escape: C1 controls, the Unicode line and paragraph separators, and
# bidirectional marks.
_unsafe_characters = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def render(fields: Any) -> bytes:
    """
    Render a line, or a value of one; what JSON cannot represent becomes text, so that an odd value never costs the
    line.
    """
    try:
        line = dumps(fields, to_jsonable, _OPTIONS_WITH_NEWLINE)
    except SERIALIZATION_ERRORS:
        return json.dumps(_line_to_jsonable(fields), separators=(",", ":")).encode("ascii") + b"\n"
    return line if line.isascii() else escape_unsafe(line)


def escape_unsafe(line: bytes) -> bytes:
    """
    Escape as `\\uXXXX` what some reader takes for the end of a line, or a terminal for a command. The JSON means the
    same.
    """
    return _unsafe_characters.sub(lambda found: f"\\u{ord(found[0]):04x}", line.decode("utf-8")).encode("utf-8")


class SizeBudget:
    """
    The number of characters that the values of one line may still take: shared objects may unfold to more than any
    memory holds.

    Attributes:
        remaining: In characters; each value takes `VALUE_OVERHEAD` beside its text.
    """

    __slots__ = ("remaining",)

    def __init__(self, remaining: int = MAX_LINE_CHARACTERS) -> None:
        self.remaining = remaining


def to_jsonable(value: Any, depth: int = MAX_DEPTH, budget: SizeBudget | None = None) -> Any:
    """
    Convert a value to what JSON can represent: containers are converted item by item, and the rest becomes text.

    What exceeds the budget is cut, and a mark says how much: `"[7 items cut]"`, `"cut": "[2 fields cut]"`.
    """
    budget = SizeBudget() if budget is None else budget
    kind = type(value)
    if kind is str:
        return _text_within(value, budget)
    budget.remaining -= VALUE_OVERHEAD
    if (kind is int and -MAX_SAFE_INTEGER < value < MAX_SAFE_INTEGER) or value is None or kind is bool:
        return value
    try:
        if isinstance(value, float):
            return value if isfinite(value) else None  # as orjson has it
        if isinstance(value, int) and abs(value) < MAX_SAFE_INTEGER:
            return value
        if isinstance(value, Mapping):
            return _dict_to_jsonable(value.items(), len(value), depth, budget)
        if isinstance(value, _SEQUENCES):
            return _list_to_jsonable(value, depth, budget)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in dataclasses.fields(value) if field.repr]
            return _dict_to_jsonable([(name, getattr(value, name)) for name in names], len(names), depth, budget)
    except Exception:
        pass  # its own methods raise; as_text() says what it is
    return _text_within(as_text(value), budget)


def _text_within(text: str, budget: SizeBudget) -> str:
    if not text.isascii():
        text = as_text(text)
    space, budget.remaining = max(budget.remaining - VALUE_OVERHEAD, 0), budget.remaining - VALUE_OVERHEAD - len(text)
    return text if len(text) <= space else f"{text[:space]} [{len(text) - space} characters cut]"


def _list_to_jsonable(values: Collection[Any], depth: int, budget: SizeBudget) -> list[Any]:
    shown: list[Any] = []
    for value in values:
        if budget.remaining <= 0 or not depth:
            shown.append(f"[{len(values) - len(shown)} items cut]")
            budget.remaining = min(budget.remaining, 0)
            break
        shown.append(to_jsonable(value, depth - 1, budget))
    return shown


def _dict_to_jsonable(pairs: Iterable[tuple[Any, Any]], count: int, depth: int, budget: SizeBudget) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for number, (name, value) in enumerate(pairs):
        if budget.remaining <= 0 or not depth:
            shown["cut"] = f"[{count - number} fields cut]"
            budget.remaining = min(budget.remaining, 0)
            break
        shown[_text_within(name if type(name) is str else as_text(name), budget)] = to_jsonable(
            value, depth - 1, budget
        )
    return shown


def _line_to_jsonable(fields: Any) -> Any:
    """
    Convert a line: its own texts keep their length, and its values share one budget.
    """
    if not isinstance(fields, Mapping):
        return to_jsonable(fields)
    budget = SizeBudget()
    return {
        as_text(name): as_text(value) if type(value) is str else to_jsonable(value, MAX_DEPTH, budget)
        for name, value in fields.items()
    }


def as_text(value: Any) -> str:
    """
    Convert a value to text that JSON can represent, whatever its own methods do.
    """
    try:
        if isinstance(value, datetime):
            return value.isoformat().replace("+00:00", "Z")
        if isinstance(value, _CONTAINERS):
            budget = SizeBudget()
            flat = to_jsonable(value, MAX_DEPTH, budget)
            value = flat if budget.remaining <= 0 else value
        text = f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else str(value)
        return str.encode(text, "utf-8", "backslashreplace").decode("utf-8")
    except Exception:
        return f"<{type(value).__name__} that cannot be shown>"


# What `render()` tries first, for hot paths: `dumps(fields, to_jsonable, ORJSON_OPTIONS)`. A partial() with keywords
# would make a line a fifth slower. `render()` handles what it raises.
dumps = orjson.dumps
SERIALIZATION_ERRORS = (TypeError, ValueError, RecursionError)


def reserved_names(renames: Mapping[str, str | None], contract: Set[str] = RESERVED_FIELDS) -> frozenset[str]:
    """
    Return the names that callers' fields must not have: the contract's, and those that `log_names` assigns.

    Raises:
        ConfigurationError: Two fields would have one name.
    """
    final_names: dict[str, str] = {}
    for name in sorted(contract | renames.keys()):
        new = renames.get(name, name)
        if new is None:
            continue
        if new in final_names:
            raise ConfigurationError(
                f"log_names gives {final_names[new]!r} and {name!r} one name, {new!r}; choose another"
            )
        final_names[new] = name
    return frozenset(contract | final_names.keys())
