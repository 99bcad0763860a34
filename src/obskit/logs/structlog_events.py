"""
Read events that have passed a chain of structlog's processors.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from obskit.logs.line_format import Body
from obskit.logs.rendering import as_text
from obskit.logs.writer import Writer

# What structlog's own processors add that a line has anyway, or that means nothing outside of the chain.
_REDUNDANT = frozenset(["timestamp", "level", "level_number", "logger", "_record", "_from_structlog"])
_EVENTS = ("event", "message", "msg")
_SAME_SECONDS = 2.0  # a record is made a moment later, and some stamps have whole seconds
_START = "Traceback (most recent call last):\n"
_CAUSE = "The above exception was the direct cause of the following exception:"
_CONTEXT = "During handling of the above exception, another exception occurred:"


def pop_message(event: dict[str, Any]) -> str:
    """
    Remove and return the message of an event, whatever `EventRenamer` calls it.
    """
    renamed = _renamed_event_key()
    key = next((key for key in (renamed, *_EVENTS) if key is not None and key in event), None)
    said = event.pop(key) if key is not None else None
    return said if type(said) is str else as_text(said)


def _renamed_event_key() -> str | None:
    structlog = sys.modules.get("structlog")
    if structlog is None:
        return None
    renamer = structlog.processors.EventRenamer
    found = [each.to for each in structlog.get_config()["processors"] if isinstance(each, renamer)]
    return str(found[-1]) if found else None


def add_event(body: Body, event: dict[str, Any], writer: Writer) -> None:
    """
    Add an event's fields to a body, and an exception that a processor has rendered.
    """
    rendered = event.pop("exception", None)
    writer.add(body, {name: value for name, value in event.items() if name not in _REDUNDANT})
    if rendered is not None and "exception" not in body:
        add_rendered_exception(body, rendered, writer)


def repeats_record(name: str, value: Any, record: logging.LogRecord) -> bool:
    """
    Return whether a field beside a record's message repeats the record's level, logger or time.
    """
    if name == "logger":
        return bool(value == record.name)
    if name == "level":
        return isinstance(value, str) and value.upper() == record.levelname
    beside = record.__dict__.get("level")
    if isinstance(beside, str) and beside.islower() and repeats_record("level", beside, record):
        return name == "timestamp" or value == record.levelno  # a chain has been at it
    return name == "timestamp" and _is_time_of_record(value, record.created)


def _is_time_of_record(value: Any, now: float) -> bool:
    """
    Return whether a time, as structlog's `TimeStamper` writes it, is that of a record.
    """
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            written = [moment] if moment.tzinfo else [moment.astimezone(), moment.replace(tzinfo=UTC)]
            return any(abs(each.timestamp() - now) < _SAME_SECONDS for each in written)
        return isinstance(value, float) and abs(value - now) < _SAME_SECONDS
    except (ValueError, OverflowError, OSError):
        return False


def is_rendered_exception(value: Any) -> bool:
    """
    Return whether a value is an exception that structlog has rendered as text or data.
    """
    if isinstance(value, str):
        return value.startswith(_START) or f"\n{_START}" in value
    return isinstance(value, list) and bool(value) and all(isinstance(e, Mapping) and "exc_type" in e for e in value)


def add_rendered_exception(body: Body, rendered: Any, writer: Writer) -> None:
    """
    Add an exception of which only the text is left, or what structlog's `dict_tracebacks` makes of it.
    """
    if isinstance(rendered, Mapping):
        rendered = [rendered]
    is_data = isinstance(rendered, Sequence) and not isinstance(rendered, str)
    text = _format_exceptions(rendered) if is_data else as_text(rendered)
    redact = writer.redactor.traceback
    body["exception"] = {**{name: redact(part) for name, part in _parse_exception(text)}, "traceback": redact(text)}


def _parse_exception(text: str) -> list[tuple[str, str]]:
    """
    Return the class and the message at the end of a traceback's text; empty where it ends in another way.
    """
    rows = text.rpartition(_START)[2].rstrip().split("\n")
    first = next((number for number, row in enumerate(rows) if row[:1].strip()), len(rows))
    kind, _, said = "\n".join(rows[first:]).partition(": ")
    name = kind.rpartition(".")[2]
    return [("type", name), ("message", said)] if name.isidentifier() else []


def _format_exceptions(stacks: Sequence[Any]) -> str:
    """
    Format the data of an exception and its causes as Python would, without local variables.
    """
    parts: list[str] = []
    for stack in stacks:
        if not isinstance(stack, Mapping):
            return as_text(stacks)
        frames = "".join(
            f'  File "{frame.get("filename")}", line {frame.get("lineno")}, in {frame.get("name")}\n'
            for frame in stack.get("frames") or ()
            if isinstance(frame, Mapping)
        )
        if parts:
            parts.append(_CAUSE if stack.get("is_cause") else _CONTEXT)
        parts.append(f"{_START}{frames}{stack.get('exc_type')}: {stack.get('exc_value')}")
    return "\n\n".join(reversed(parts))
