"""
Write the standard library's records as obskit's lines: a formatter and a handler, fast enough for every record.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

from obskit.context import current
from obskit.logs import record_origin
from obskit.logs.caller import caller_frame, callsite
from obskit.logs.current_writer import current_writer, subscribe
from obskit.logs.exceptions import exception_from
from obskit.logs.line_format import Body, Renderer
from obskit.logs.record_origin import ORIGIN, predates
from obskit.logs.rendering import LEFT_IN_RECORDS, PROCESSOR_FIELDS, SizeBudget, as_text, to_jsonable
from obskit.logs.sampling import SAMPLED_OUT
from obskit.logs.server_access import ACCESS_PARSERS, ALL_SERVER_LOGGERS, access_fields, one_line, parse_access_record
from obskit.logs.stream import Target
from obskit.logs.structlog_events import (
    add_event,
    add_rendered_exception,
    is_rendered_exception,
    pop_message,
    repeats_record,
)
from obskit.logs.writer import Writer
from obskit.redaction.redactor import Redactor

_Record = logging.LogRecord
# The attributes of every record come first in its dict, in one order; those of `extra` follow. Read from the class
# itself, since a record factory adds its own.
_RECORD_ATTRIBUTES = tuple(_Record("", 0, "", 0, "", (), None).__dict__)
_RECORD_ATTRIBUTE_COUNT = len(_RECORD_ATTRIBUTES)
_IGNORED_ATTRIBUTES = LEFT_IN_RECORDS | {ORIGIN}
# Both are in a record that structlog has wrapped for its `ProcessorFormatter`.
_STRUCTLOG_ATTRIBUTES = frozenset(["_logger", "_name"])
# Fields of a line that a record has elsewhere.
_NOT_EXTRA = frozenset(["message", "exception", *record_origin.IDS])


class JsonFormatter(logging.Formatter):
    """
    A formatter that renders records as obskit's lines, for `logging.config.dictConfig()` and Django's `LOGGING`.

    The line is as `configure()` says: its fields, its names, its redaction. What is given as `extra` are fields.
    A format, a date format and what else may be given, as `dictConfig()` and uvicorn do, mean nothing.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """
        Return the line, without its newline.
        """
        return _format_first(self, record)  # _on_writer_changed() puts what formats in its place


class JsonHandler(logging.Handler):
    """
    A handler that writes records as obskit's lines, where `configure()` says.

    It needs no formatter and takes no lock, since a line is one write. Closing it does nothing.
    """

    def handle(self, record: logging.LogRecord) -> bool:
        """
        Write a record, unless a filter rejects it.
        """
        return _handle_first(self, record)  # _on_writer_changed() puts what writes in its place

    def close(self) -> None:  # `dictConfig()` closes the handlers that it finds, and this one may be used again
        return


def _on_writer_changed(writer: Writer | None) -> None:
    handle = _handle_first if writer is None else _handle_method(writer)
    format = _format_first if writer is None else _format_method(writer)
    setattr(JsonHandler, "handle", handle)  # noqa: B010  # they are methods
    setattr(JsonFormatter, "format", format)  # noqa: B010


def _handle_first(handler: JsonHandler, record: logging.LogRecord) -> bool:
    current_writer()
    return handler.handle(record)


def _format_first(formatter: JsonFormatter, record: logging.LogRecord) -> str:
    current_writer()
    return formatter.format(record)


# Returns whether a server's access record repeats an access line of ours; `instrument()` sets it.
is_duplicate: Callable[[logging.LogRecord], bool] = lambda record: False  # noqa: E731


def _body_builder(
    writer: Writer, kept_body: Callable[[logging.LogRecord, Writer], Body | None]
) -> Callable[[logging.LogRecord], Body | None]:
    """
    Return the function that builds the body of an ordinary record: `body_of()`, inlined.

    Args:
        writer: The writer.
        kept_body: Builds the body of a record that was kept, or sent; None where it has its line.
    """
    add_trace_and_bindings, add = writer.add_trace_and_bindings, writer.add
    get_current, spans_enabled = current.get, writer.spans_enabled
    clean_messages, add_extra = writer.clean_messages, partial(_add_extra, writer)
    redact_message, text, clock_offset = writer.redact_message, writer.redactor.text, writer.clock_offset

    # Written out, since every record pays for it.
    def build(record: logging.LogRecord) -> Body | None:
        message, args, fields = record.msg, record.args, record.__dict__
        if args:
            try:
                message = text(message % args)
            except Exception:
                message = text(_message_of(record, writer.redactor))
        elif type(message) is not str:
            if type(message) is dict and fields.keys() >= _STRUCTLOG_ATTRIBUTES:
                return body_of(record, writer)
            message = text(as_text(message))
        elif message not in clean_messages:
            message = redact_message(message)
        body = {"message": message}
        operation = get_current()
        if operation is not None:
            root = operation._root or operation
            if record.created - clock_offset[0] < root.started and predates(record, root):
                pass  # it was kept since before this request
            elif root.correlation_id is not None:
                body["correlation_id"] = root.correlation_id
                if spans_enabled or root.sparse is not None:
                    add_trace_and_bindings(body, operation)
            elif spans_enabled or root.sparse is not None:
                add_trace_and_bindings(body, operation)
        elif spans_enabled:
            add_trace_and_bindings(body, None)
        if len(fields) > _RECORD_ATTRIBUTE_COUNT:
            if ORIGIN in fields:
                return kept_body(record, writer)
            extra = (
                islice(fields.items(), _RECORD_ATTRIBUTE_COUNT, None) if type(record) is _Record else _extra_of(record)
            )
            add(body, record, extra, add_extra)
        if record.exc_info or record.exc_text or record.stack_info:
            _add_trace(body, record, writer)
        return body

    return build


def _handle_method(writer: Writer) -> Callable[[JsonHandler, logging.LogRecord], bool]:
    route, failed, build = writer.route, writer.failed, _body_builder(writer, _unwritten_body)
    special = writer.sampler is not None or writer.callsite is not None
    routes: dict[tuple[str, int], tuple[Renderer, Target, bool]] = {}

    def handle(handler: JsonHandler, record: logging.LogRecord) -> bool:
        if handler.filters:
            passed = _filter_once(handler, record) if _has_filter_results else handler.filter(record)
            if not passed:
                return False
            record = passed if isinstance(passed, logging.LogRecord) else record  # from 3.12 on it may be another
        try:
            key = record.name, record.levelno
            found = routes.get(key)
            if found is None:
                found = routes[key] = *route(*key), special or record.name in ALL_SERVER_LOGGERS
            render_line, target, is_special = found
            body = _checked_body(record, writer) if is_special else build(record)
            if body is None:
                return True
            line = render_line(record.created, body)
            taken = target.put(line)
            if taken != len(line):
                target.write_rest(line, taken)
        except Exception as error:
            failed(error)
            if record.name == "obskit" and logging.lastResort is not None:
                logging.lastResort.handle(record)  # it may be the complaint about this very failure
        return True

    return handle


def _format_method(writer: Writer) -> Callable[[JsonFormatter, logging.LogRecord], str]:
    renderer, special, build = writer.renderer, writer.callsite is not None, _body_builder(writer, body_of)
    renderers: dict[tuple[str, int], tuple[Renderer, bool]] = {}

    def format(formatter: JsonFormatter, record: logging.LogRecord) -> str:
        key = record.name, record.levelno
        found = renderers.get(key)
        if found is None:
            found = renderers[key] = renderer(*key), special or record.name in ALL_SERVER_LOGGERS
        render_line, is_special = found
        body = body_of(record, writer) if is_special else build(record) or {}
        return render_line(record.created, body)[:-1].decode()

    return format


def _checked_body(record: logging.LogRecord, writer: Writer) -> Body | None:
    """
    Build the body of a record that may be dropped; None where it is.
    """
    if (record.name in ACCESS_PARSERS and is_duplicate(record)) or record_origin.is_written_elsewhere(record):
        return None
    left_out = 0
    if writer.sampler is not None:
        left_out = writer.sampler.admit((record.name, record.levelno, as_text(record.msg)), record.created)
        if left_out == SAMPLED_OUT:
            return None
    body = body_of(record, writer)
    if left_out:
        body["left_out"] = left_out
    return body


def _unwritten_body(record: logging.LogRecord, writer: Writer) -> Body | None:
    """
    Build the body of a record that was kept, or sent; None where another handler of ours has written it.
    """
    return None if record_origin.is_written_elsewhere(record) else body_of(record, writer)


def body_of(record: logging.LogRecord, writer: Writer) -> Body:
    """
    Build the body of a record: message, ids, `extra`, exception; for a server's access record that of an access line.
    """
    kept = record_origin.origin_fields(record)
    parsed = parse_access_record(record)
    if parsed is not None:
        return {
            **_start_body("request", record, kept, writer),
            **access_fields(parsed, writer.settings, writer.redactor),
        }
    event = dict(record.msg) if type(record.msg) is dict and record.__dict__.keys() >= _STRUCTLOG_ATTRIBUTES else None
    message = _message_of(record, writer.redactor) if event is None else pop_message(event)
    if record.name in ALL_SERVER_LOGGERS:
        message = one_line(message)
    body = _start_body(message, record, kept, writer)
    if event is not None:
        add_event(body, event, writer)
    if len(record.__dict__) > _RECORD_ATTRIBUTE_COUNT:
        left = _IGNORED_ATTRIBUTES if event is None else _IGNORED_ATTRIBUTES | _STRUCTLOG_ATTRIBUTES
        extra = {name: value for name, value in _extra_of(record) if name not in left}
        for name in PROCESSOR_FIELDS & extra.keys():
            if _is_added_by_structlog(body, name, extra[name], writer, record):
                del extra[name]
        writer.add(body, extra)
    _add_trace(body, record, writer)
    if kept is not None:
        _add_kept_trace(body, kept)
    if writer.callsite is not None:
        body.update(callsite(record.module, record.funcName or "", record.lineno))
    return body


def _start_body(message: str, record: logging.LogRecord, kept: dict[str, Any] | None, writer: Writer) -> Body:
    """
    Start a body with the ids and bound fields of the request that made the record.
    """
    if kept is None:
        operation = current.get()
        if operation is None or not predates(record, operation):
            return writer.start_body(message)
    body: Body = {"message": writer.redact_message(message)}
    if kept is not None:
        record_origin.add_ids(body, kept, writer)
    return body


def _add_kept_trace(body: Body, kept: dict[str, Any]) -> None:
    """
    Add the message and the traceback that a sent record carries apart from each other.
    """
    exception, stack, message = kept.get("exception"), kept.get("stack"), kept.get("message")
    if isinstance(message, str):
        body["message"] = message
    if isinstance(exception, dict):
        body["exception"] = {str(name): as_text(value) for name, value in exception.items()}
    if isinstance(stack, str):
        body["stack"] = stack


def _extra_of(record: logging.LogRecord) -> Iterable[tuple[Any, Any]]:
    if type(record) is _Record and ORIGIN not in record.__dict__:
        return islice(record.__dict__.items(), _RECORD_ATTRIBUTE_COUNT, None)
    # A class of the application's may have put its own in front, and another Python have others.
    return [pair for pair in record.__dict__.items() if pair[0] not in _RECORD_ATTRIBUTES]


def _add_extra(
    writer: Writer, body: Body, name: Any, value: Any, budget: SizeBudget, record: logging.LogRecord
) -> None:
    if name in _IGNORED_ATTRIBUTES or (
        name in PROCESSOR_FIELDS and _is_added_by_structlog(body, name, value, writer, record)
    ):
        return
    # A record's own `name` is that of its logger.
    writer.add_field(body, name, value, budget, {"key": record.__dict__.get("key")} if name == "value" else {})


def _is_added_by_structlog(body: Body, name: str, value: Any, writer: Writer, record: logging.LogRecord) -> bool:
    """
    Return whether structlog's processors added a field beside the message for `render_to_log_kwargs`: the line has it
    from its record or, if it is an exception, from here.
    """
    if name != "exception":
        return repeats_record(name, value, record)
    if not is_rendered_exception(value):
        return False
    if not record.exc_info:
        add_rendered_exception(body, value, writer)
    return True


def _add_trace(body: Body, record: logging.LogRecord, writer: Writer) -> None:
    if record.exc_info:
        writer.add_exception(body, record.exc_info)
    elif record.exc_text:  # it came from elsewhere
        add_rendered_exception(body, record.exc_text, writer)
    if record.stack_info:
        writer.add_stack(body, record.stack_info)


def _message_of(record: logging.LogRecord, redactor: Redactor) -> str:
    """
    Format a record's message; arguments that do not fit are appended.
    """
    message, args = record.msg, record.args
    try:
        message = message if type(message) is str else as_text(message)
        return message % args if args else message
    except Exception:
        return (
            f"{as_text(record.msg)} {to_jsonable(redactor.arguments(as_text(record.msg), args))}"
            if args
            else as_text(record.msg)
        )


def forward_to_logging(name: str, level: int, body: Body, given: Any) -> None:
    """
    Pass a line that is written to the standard library's handlers, as a record that our own handlers skip.

    Args:
        name: The logger.
        level: Its level, by logging's numbers.
        body: The line's body: what is redacted in it is redacted in the record.
        given: The caller's `exc_info`.
    """
    logger = logging.getLogger(name)
    if not logger.isEnabledFor(level):
        return
    frame, error = caller_frame(), exception_from(given)
    where = (frame.f_code.co_filename, frame.f_lineno) if frame is not None else ("", 0)
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    function = None if frame is None else frame.f_code.co_name
    record = logger.makeRecord(name, level, *where, body["message"], (), exc_info, function)
    for field, value in body.items():
        if field not in _NOT_EXTRA:
            record.__dict__[f"extra_{field}" if field in record.__dict__ else field] = value
    ids = {field: body[field] for field in record_origin.IDS if field in body}
    record.__dict__[ORIGIN] = {"fields": ids, "written": record_origin.process_token()}
    logger.handle(record)


def propagation_path(logger: logging.Logger) -> Iterator[logging.Logger]:
    """
    Yield the loggers whose handlers see what is logged here.
    """
    here: logging.Logger | None = logger
    while here is not None:
        yield here
        here = here.parent if here.propagate else None


def _is_written(record: logging.LogRecord, keeper: logging.Handler) -> bool:
    """
    Return whether a handler of ours writes the record in any case. The record's path is certain only where the handler
    that keeps it is on it too.
    """
    named = logging.root.manager.loggerDict.get(record.name)
    logger = named if isinstance(named, logging.Logger) else logging.root
    handlers = [handler for here in propagation_path(logger) for handler in here.handlers]
    return keeper in handlers and any(
        isinstance(handler, JsonHandler)
        and handler.level <= record.levelno
        and (not handler.filters or bool(_filter_once(handler, record)))
        for handler in handlers
    )


# The results of our handlers' filters for a record that another handler keeps: a filter may count, so none is asked
# twice. The record is held weakly.
_filter_results: WeakKeyDictionary[logging.LogRecord, dict[JsonHandler, Any]] = WeakKeyDictionary()
_has_filter_results: list[bool] = []  # whether there are such handlers at all


def _filter_once(handler: JsonHandler, record: logging.LogRecord) -> Any:
    """
    Return a handler's filter result, asked once for each record: falsy, True, or the record that replaces it.
    """
    _has_filter_results[:] = [True]
    results = _filter_results.setdefault(record, {})
    if handler not in results:
        passed: Any = handler.filter(record)
        results[handler] = True if passed is record else passed
    return results[handler]


record_origin.is_written = _is_written
subscribe(_on_writer_changed)
