"""
Write the standard library's records as obskit's lines: a formatter and a handler, thin enough for every record.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from obskit.context import current
from obskit.logs.access import READERS, fields_of, read
from obskit.logs.lines import SIMPLE, Room, as_text, opened
from obskit.logs.sampling import LEFT_OUT
from obskit.logs.stream import Target
from obskit.logs.writer import Body, Make, Writer, callsite, follow, standing
from obskit.redaction.values import CARD_FROM, SHORTEST

# What every record has comes first in its dict, in one order; what came with `extra` follows.
_OF_RECORDS = tuple(logging.makeLogRecord({}).__dict__)
_COUNT = len(_OF_RECORDS)
# What other formatters and servers leave in a record.
_LEFT_BEHIND = frozenset(["message", "asctime", "color_message"])
_Record = logging.LogRecord


class JsonFormatter(logging.Formatter):
    """
    Give a record as obskit's line, for `logging.config.dictConfig()` and Django's `LOGGING`.

    The line is as `configure()` says: its fields, its names, its redaction. What is given as `extra` are fields.
    A format, a date format and what else may be given, as `dictConfig()` and uvicorn do, mean nothing.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """
        Give the line, without its end.
        """
        return _late_line(self, record)  # _follow() puts what formats in its place


class JsonHandler(logging.Handler):
    """
    Write records as obskit's lines, where `configure()` says.

    It needs no formatter and takes no lock, since a line is one write. Closing it does nothing.
    """

    def handle(self, record: logging.LogRecord) -> bool:
        """
        Write a record, unless a filter says no.
        """
        return _late(self, record)  # _follow() puts what writes in its place

    def close(self) -> None:
        """
        Stay as it is: `dictConfig()` closes the handlers that it finds.
        """


def _follow(writer: Writer | None) -> None:
    build = None if writer is None else _building(writer)
    handle = _late if writer is None or build is None else _handling(writer, build)
    format = _late_line if writer is None or build is None else _formatting(writer, build)
    setattr(JsonHandler, "handle", handle)  # noqa: B010  # they are methods
    setattr(JsonFormatter, "format", format)  # noqa: B010


def _late(handler: JsonHandler, record: logging.LogRecord) -> bool:
    standing()
    return handler.handle(record)


def _late_line(formatter: JsonFormatter, record: logging.LogRecord) -> str:
    standing()
    return formatter.format(record)


# Tells whether an access record of a server says what an access line of ours has said; `instrument()` knows.
is_duplicate: Callable[[logging.LogRecord], bool] = lambda record: False  # noqa: E731


def _building(writer: Writer) -> Callable[[logging.LogRecord], Body]:
    """
    Give what makes the body of a record that is nothing special: `body_of()`, without the calls.
    """
    add_rest, add_one = writer.add_rest, writer.add_one
    get_current, traced, known, clean = current.get, writer.traced, writer.known, writer.clean
    redacted, text = writer.redacted, writer.redactor.text

    # Written out, since every record pays for it.
    def build(record: logging.LogRecord) -> Body:
        message, fields = record.msg, record.__dict__
        if record.args:
            try:
                message = text(message % record.args)
            except Exception:
                message = text(_message_of(record))
        elif type(message) is not str:
            message = text(as_text(message))
        elif message not in clean:
            message = redacted(message)
        body = {"message": message}
        operation = get_current()
        if operation is not None:
            root = operation._root or operation
            if root.correlation_id is not None:
                body["correlation_id"] = root.correlation_id
            if traced or root.rare is not None:
                add_rest(body, operation)
        elif traced:
            add_rest(body, None)
        if len(fields) > _COUNT:
            room = None
            extra = islice(fields.items(), _COUNT, None) if type(record) is _Record else _extra_of(record)
            for name, value in extra:
                if name not in known:
                    _add_extra(body, name, value, writer, room := room or Room())
                elif (kind := type(value)) is str:
                    body[name] = value if len(value) < SHORTEST else text(value)
                elif kind in SIMPLE and (kind is not int or value < CARD_FROM):
                    body[name] = value
                else:
                    add_one(body, name, value, room := room or Room())
        if record.exc_info or record.stack_info:
            _add_trace(body, record, writer)
        return body

    return build


def _handling(
    writer: Writer, build: Callable[[logging.LogRecord], Body]
) -> Callable[[JsonHandler, logging.LogRecord], bool]:
    outlet, failed = writer.outlet, writer.failed
    special = writer.sampler is not None or writer.callsite is not None
    outlets: dict[tuple[str, int], tuple[Make, Target, bool]] = {}

    def handle(handler: JsonHandler, record: logging.LogRecord) -> bool:
        if handler.filters:
            passed = handler.filter(record)
            if not passed:
                return False
            record = passed if isinstance(passed, logging.LogRecord) else record  # from 3.12 on it may be another
        try:
            key = record.name, record.levelno
            found = outlets.get(key)
            if found is None:
                found = outlets[key] = *outlet(*key), special or record.name in READERS
            make, target, is_special = found
            if is_special:
                body = _special_body(record, writer)
                if body is None:
                    return True
            else:
                body = build(record)
            line = make(record.created, body)
            taken = target.put(line)
            if taken != len(line):
                target.rest(line, taken)
        except Exception as error:
            failed(error)
            if record.name == "obskit" and logging.lastResort is not None:
                logging.lastResort.handle(record)  # it may be the complaint about this very failure
        return True

    return handle


def _formatting(
    writer: Writer, build: Callable[[logging.LogRecord], Body]
) -> Callable[[JsonFormatter, logging.LogRecord], str]:
    outlet, special = writer.outlet, writer.callsite is not None
    makes: dict[tuple[str, int], tuple[Make, bool]] = {}

    def format(formatter: JsonFormatter, record: logging.LogRecord) -> str:
        key = record.name, record.levelno
        found = makes.get(key)
        if found is None:
            found = makes[key] = outlet(*key)[0], special or record.name in READERS
        make, is_special = found
        body = body_of(record, writer) if is_special else build(record)
        return make(record.created, body)[:-1].decode()

    return format


def _special_body(record: logging.LogRecord, writer: Writer) -> Body | None:
    """
    Make the body of a record that may be left out; None where it is.
    """
    if record.name in READERS and is_duplicate(record):
        return None
    left_out = 0
    if writer.sampler is not None:
        left_out = writer.sampler.admit((record.name, record.levelno, as_text(record.msg)), record.created)
        if left_out == LEFT_OUT:
            return None
    body = body_of(record, writer)
    if left_out:
        body["left_out"] = left_out
    return body


def body_of(record: logging.LogRecord, writer: Writer) -> Body:
    """
    Make a line's body of a record: message, ids, `extra`, exception; of a server's access record an access line's.
    """
    said = read(record)
    if said is not None:
        return {**writer.begin("request"), **fields_of(said, writer.settings, writer.redactor)}
    body = writer.begin(_message_of(record))
    if len(record.__dict__) > _COUNT:
        writer.add(body, {name: value for name, value in _extra_of(record) if name not in _LEFT_BEHIND})
    _add_trace(body, record, writer)
    if writer.callsite is not None:
        body.update(callsite(record.module, record.funcName or "", record.lineno))
    return body


def _extra_of(record: logging.LogRecord) -> Iterable[tuple[Any, Any]]:
    if type(record) is _Record:
        return islice(record.__dict__.items(), _COUNT, None)
    # A class of the application's may have put its own in front.
    return [pair for pair in record.__dict__.items() if pair[0] not in _OF_RECORDS]


def _add_extra(body: Body, name: Any, value: Any, writer: Writer, room: Room) -> None:
    if name not in _LEFT_BEHIND:
        writer.add_one(body, name, value, room)


def _add_trace(body: Body, record: logging.LogRecord, writer: Writer) -> None:
    if record.exc_info:
        writer.add_exception(body, record.exc_info)
    if record.stack_info:
        writer.add_stack(body, record.stack_info)


def _message_of(record: logging.LogRecord) -> str:
    """
    Put a record's arguments into its message; where they do not fit, they stand behind it.
    """
    message, args = record.msg, record.args
    try:
        message = message if type(message) is str else as_text(message)
        return message % args if args else message
    except Exception:
        return f"{as_text(record.msg)} {opened(args)}" if args else as_text(record.msg)


follow(_follow)
