"""
Render lines for people: short, coloured on a terminal, and as hard to forge as JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from obskit.late_patterns import late

_COLOURS = {
    "DEBUG": "\x1b[2m",
    "INFO": "\x1b[32m",
    "WARNING": "\x1b[33m",
    "ERROR": "\x1b[31m",
    "CRITICAL": "\x1b[1;31m",
}
_FAINT, _BOLD, _PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[0m"
# Control characters, line separators, bidirectional marks and lone surrogates.
_unsafe_characters = late("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# Values without quotes; an equals sign or a space would let a value look like a field.
_unquoted = late(r"[^\s=\"'\\{}\[\],]+")
_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Shown in the head, or not at all: who reads a console knows what runs there.
_NOT_FIELDS = frozenset(
    [
        *("timestamp", "level", "logger", "message", "service", "version", "environment", "correlation_id"),
        *("trace_id", "span_id", "exception", "stack"),
    ]
)
_ACCESS_FIELDS = frozenset(["method", "path", "status", "duration_ms"])


def escape_controls(text: str) -> str:
    """
    Escape control characters, so that no text ends its line or sends the terminal a command.
    """
    return _unsafe_characters.sub(lambda found: _SHORT_ESCAPES.get(found[0]) or _escape(ord(found[0])), text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def console_renderer(coloured: bool) -> Callable[[Mapping[str, Any]], bytes]:
    """
    Return the renderer of whole lines, whose fields have the contract's names.
    """
    faint, bold, plain = (_FAINT, _BOLD, _PLAIN) if coloured else ("", "", "")
    colours = _COLOURS if coloured else {}

    def render(line: Mapping[str, Any]) -> bytes:
        level, message, hidden = line["level"], escape_controls(line["message"]), _NOT_FIELDS
        if message == "request" and line.keys() >= _ACCESS_FIELDS:
            hidden = _NOT_FIELDS | _ACCESS_FIELDS
            method, path = escape_controls(line["method"]), escape_controls(line["path"])
            message = f"{method} {path} {line['status']} {line['duration_ms']}ms"
        moment = datetime.fromisoformat(line["timestamp"]).astimezone().strftime("%H:%M:%S.%f")[:-3]
        head = f"{faint}{moment}{plain} {colours.get(level, '')}{level:<8}{plain}"
        text = f"{head} {bold}{message}{plain} {faint}[{escape_controls(line['logger'])}]"
        for name, value in line.items():
            if name not in hidden and value is not None:
                text += f" {_format_value(name)}={_format_value(value)}"
        if (identity := line.get("correlation_id")) is not None:
            text += f" [{escape_controls(identity)}]"
        text += plain
        if (error := line.get("exception")) is not None:
            text += _indented(error.get("traceback") or f"{error.get('type')}: {error.get('message', '')}")
        if (stack := line.get("stack")) is not None:
            text += _indented(str(stack))
        return (text + "\n").encode("utf-8", "backslashreplace")

    return render


def _format_value(value: Any) -> str:
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False, default=str)
        return escape_controls(value)
    return (
        value
        if _unquoted.fullmatch(value) and not _unsafe_characters.search(value)
        else escape_controls(json.dumps(value, ensure_ascii=False))
    )


def _indented(text: str) -> str:
    """
    Indent a text of several lines below its line, each behind a bar, so that none looks like a line of its own.
    """
    return "".join(f"\n    | {escape_controls(row)}" for row in text.rstrip().split("\n"))


def wants_colour(stream: Any) -> bool:
    """
    Return whether a stream is a terminal; `NO_COLOR` and `FORCE_COLOR` take precedence (https://no-color.org).
    """
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or is_terminal(stream)


def is_terminal(stream: Any) -> bool:
    """
    Return whether a stream is a terminal.
    """
    isatty = getattr(stream, "isatty", None)
    try:
        return isatty is not None and bool(isatty())
    except (OSError, ValueError):
        return False
