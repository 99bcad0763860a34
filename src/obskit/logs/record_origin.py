"""
The ids and bound fields of the request that made a record, wherever and whenever it is written.

Handlers of the standard library that keep records, or send them, do that after their thread has gone on: what a record
then finds around it is another request's. So they take it along, as one attribute of plain values that can be pickled.
"""

from __future__ import annotations

import copy
import logging
import logging.handlers
import os
from collections.abc import Callable
from functools import wraps
from typing import Any

from obskit.correlation_ids import valid_id
from obskit.forks import at_fork
from obskit.logs.current_writer import current_writer, subscribe
from obskit.logs.line_format import Body
from obskit.logs.writer import Writer
from obskit.operation import Operation
from obskit.recorder import recorder
from obskit.time.clock import system_clock

# The attribute: `fields`, a line's body but for what the record has itself; `written`, the process that wrote its line.
ORIGIN = "_obskit"
IDS = ("correlation_id", "trace_id", "span_id")
_UNWRITTEN = ""
_process_token = os.urandom(8).hex()


def process_token() -> str:
    """
    Return a random token of this process: a pid may be that of another container's process too.
    """
    return _process_token


def _renew_process_token() -> None:
    global _process_token
    _process_token = os.urandom(8).hex()


at_fork(after_in_child=_renew_process_token)


class OriginFilter(logging.Filter):
    """
    A filter that makes a handler of another library keep each record's request:
    `handler.addFilter(obskit.logs.OriginFilter())`.

    It is for handlers that keep records, or send them, and have them written by `JsonHandler` or `JsonFormatter` later,
    in another thread or in another process. Those of the standard library need no filter.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """
        Store the request in the record, and return True.
        """
        if ORIGIN not in record.__dict__:
            try:
                # Handlers of ours have this very record: whichever has it first writes it, and says so.
                record.__dict__[ORIGIN] = {"fields": _current_fields(record), "written": _UNWRITTEN}
            except Exception as error:
                recorder.failed("logs", error)
        return True


def _current_fields(record: logging.LogRecord) -> dict[str, Any]:
    """
    Return the ids and bound fields of the request.
    """
    fields = current_writer().start_body("")
    del fields["message"]
    return fields


def _current_ids(record: logging.LogRecord) -> dict[str, Any]:
    fields = _current_fields(record)
    return {name: fields[name] for name in IDS if name in fields}


def _portable_fields(record: logging.LogRecord) -> dict[str, Any]:
    """
    Return the message and the traceback too, separately: a record that is sent has one merged into the other.
    """
    fields, writer = _current_fields(record), current_writer()
    if record.exc_info or record.stack_info:
        fields["message"] = writer.redactor.text(record.getMessage())
        if record.exc_info:
            writer.add_exception(fields, record.exc_info)
        if record.stack_info:
            writer.add_stack(fields, record.stack_info)
    return fields


# Returns whether this process writes the line of a record itself, beside a handler that keeps it; `json_handler` sets
# it.
is_written: Callable[[logging.LogRecord, logging.Handler], bool] = lambda record, handler: False  # noqa: E731


def with_origin(
    record: logging.LogRecord, handler: logging.Handler, fields_for: Callable[[logging.LogRecord], dict[str, Any]]
) -> logging.LogRecord:
    """
    Return a copy of a record that keeps its request; other holders of the record do not see it.
    """
    if ORIGIN in record.__dict__:
        return record
    try:
        kept = copy.copy(record)
        written = process_token() if is_written(record, handler) else None
        kept.__dict__[ORIGIN] = {"fields": fields_for(record), "written": written}
    except Exception as error:
        recorder.failed("logs", error)
        return record
    return kept


def origin_fields(record: logging.LogRecord) -> dict[str, Any] | None:
    """
    Return the fields that a record keeps; None where it keeps none, so that its request is the current one.
    """
    kept = record.__dict__.get(ORIGIN)
    fields = kept.get("fields") if isinstance(kept, dict) else None
    return fields if isinstance(fields, dict) else None


def written_by(record: logging.LogRecord) -> object:
    """
    Return the `process_token()` of the process that writes the line of a record itself, or None.
    """
    kept = record.__dict__.get(ORIGIN)
    return kept.get("written") if isinstance(kept, dict) else None


def is_written_elsewhere(record: logging.LogRecord) -> bool:
    """
    Return whether this process writes the line of a record elsewhere; if not, the record is marked as written.
    """
    written = written_by(record)
    if written == _UNWRITTEN:
        record.__dict__[ORIGIN]["written"] = process_token()
    return written == process_token()


def add_ids(body: Body, fields: dict[str, Any], writer: Writer) -> None:
    """
    Add the ids and fields of a record's request to a body.
    """
    for name in IDS:
        if isinstance(value := fields.get(name), str) and valid_id(value):
            body[name] = value
    own = {*IDS, "message", "exception", "stack"}
    writer.add(body, {name: value for name, value in fields.items() if name not in own})


def predates(record: logging.LogRecord, request: Operation) -> bool:
    """
    Return whether a record is older than the current request, and so belongs to another one or to none.
    """
    if recorder.clock is not system_clock.monotonic:
        return False  # a clock that a test has set tells nothing of ages
    # In this order, a thread that is suspended between the two loses an id rather than use another request's.
    running = system_clock.monotonic() - request.started
    return running < system_clock.wall() - record.created


def _on_writer_changed(writer: Writer | None) -> None:
    if writer is not None:
        _patch()
    else:
        _unpatch()


# Where a record leaves its thread. A second name is for those who derive from the class, and call only that one.
_EXIT_POINTS: tuple[tuple[type[logging.Handler], str], ...] = (
    (logging.handlers.BufferingHandler, "emit"),
    (logging.handlers.QueueHandler, "emit"),
    (logging.handlers.QueueHandler, "prepare"),
    (logging.handlers.SocketHandler, "makePickle"),
    (logging.handlers.HTTPHandler, "mapLogRecord"),
)
_originals: dict[tuple[type[logging.Handler], str], Any] = {}


# What travels, where it is not all of it: tracebacks stay objects in a buffer, and a URL is short, and read by others.
_FIELDS_BY_CLASS: dict[type[logging.Handler], Callable[[logging.LogRecord], dict[str, Any]]] = {
    logging.handlers.BufferingHandler: _current_fields,
    logging.handlers.HTTPHandler: _current_ids,
}


def _patch() -> None:
    for cls, name in _EXIT_POINTS:
        if (cls, name) not in _originals:
            _originals[cls, name] = original = cls.__dict__[name]
            setattr(cls, name, _keep_origin(original, _FIELDS_BY_CLASS.get(cls, _portable_fields)))


def _keep_origin(
    original: Callable[[Any, logging.LogRecord], Any], fields_for: Callable[[logging.LogRecord], dict[str, Any]]
) -> Callable[..., Any]:
    @wraps(original)
    def leave(self: logging.Handler, record: logging.LogRecord) -> Any:
        return original(self, with_origin(record, self, fields_for))

    return leave


def _unpatch() -> None:
    for (cls, name), original in list(_originals.items()):
        if getattr(cls.__dict__.get(name), "__wrapped__", None) is original:
            setattr(cls, name, original)
            del _originals[cls, name]


subscribe(_on_writer_changed)
