"""
The log sink: writes one line per request, per job and per event.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from obskit.bounded_cache import BoundedCache
from obskit.jobs import JobOperation
from obskit.logs.clients import client_formatter
from obskit.logs.rendering import render
from obskit.logs.sampling import SAMPLED_OUT, EveryNth
from obskit.logs.server_access import MAX_HEADER, MAX_PATH, loggable_path
from obskit.logs.writer import LEVELS, Writer
from obskit.operation import Event, HttpOperation, Operation
from obskit.recorder import Sink, Step
from obskit.redaction.redactor import Redactor
from obskit.rows.compiled import Forms, is_sparse, renderer
from obskit.rows.functions import JOB
from obskit.rows.lines import LEFT_OUT
from obskit.rows.requests import HTTP
from obskit.time.durations import milliseconds
from obskit.time.timestamps import split_second

ACCESS = "obskit.access"
JOB_LOGGER = "obskit.job"
# Routes times statuses; an application that invents endpoints must not grow memory.
MAX_TEMPLATES = 4096
MAX_ENDPOINT = 512  # characters; templates of longer ones are not cached
# The fields by which lines share a template, and those that one client's lines share.
_KEY, _OF_CLIENT = ("method", "endpoint", "status"), ("client", "agent")
_COMMON = [field for field in HTTP.on_lines() if not is_sparse(HttpOperation, field)]
# The fields that differ between requests of one template, with their placeholders, in this order.
_PLACES = {str: b'"%b"', float: b"%.3f", int: b"%d"}
_OWN = (
    ("timestamp", b'"%b.%06dZ"'),
    *((field.line, _PLACES[field.type]) for field in _COMMON if field.name not in (*_KEY, *_OF_CLIENT)),
)
# A path that needs no JSON escaping, and is no longer than MAX_PATH.
_plain_path = re.compile(rf"[ !#-\[\]-~]{{0,{MAX_PATH}}}").fullmatch
# The same, and too plain to contain a secret: short or lower-case segments, and UUIDs.
_harmless_path = re.compile(
    r"(?:/(?:[\w.~!$&'()*+,;-]{1,12}+|[a-z]{0,64}+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?![^/])){0,30}+",
    re.ASCII,
).fullmatch


_FAILED = 2  # by an exception, whatever status had been sent before


class _Templates(dict[tuple[int, str, str, int], bytes]):
    """
    The templates of access lines, one per route and status, with placeholders for `_OWN` and the client.

    The first part of the key is whether the request was slow, or _FAILED. They are bytes: formatting text and
    encoding it takes half as long again.
    """

    def __init__(self, writer: Writer, renames: Mapping[str, str | None]) -> None:
        self._writer = writer
        self._renames = renames

    def __missing__(self, key: tuple[int, str, str, int]) -> bytes:
        state, method, endpoint, status = key
        level = "ERROR" if status >= 500 or state == _FAILED else "WARNING" if state else "INFO"
        shared = {
            **self._writer.shared_fields(ACCESS, LEVELS[level]),
            "message": "request",
            **self._writer.process_fields,
            HTTP["method"].line: method,
            HTTP["endpoint"].line: self._writer.redactor.text(endpoint),
            HTTP["status"].line: status,
        }
        own = b""
        for name, place in _OWN:
            new = self._renames.get(name, name)
            # `%.0a` takes a value of any type, and renders nothing.
            own += b"%.0a" * place.count(b"%") if new is None else _json(new).replace(b"%", b"%%") + b":" + place + b","
        named = {self._renames.get(name, name): value for name, value in shared.items()}
        rest = b",".join(_member(name, value) for name, value in named.items() if name)
        template = b"{" + own + b"%b" + rest.replace(b"%", b"%%") + b"}\n"
        if len(self) < MAX_TEMPLATES and len(endpoint) <= MAX_ENDPOINT:
            self[key] = template
        return template


def _clients(
    show: Callable[[str | None], str | None], renames: Mapping[str, str | None], redactor: Redactor
) -> BoundedCache[tuple[str | None, str | None], bytes]:
    """
    Return a cache of what the lines of one client share: its address, as `log_client` has it, and its User-Agent.
    """
    names = [HTTP[name].line for name in _OF_CLIENT]

    def written(key: tuple[str | None, str | None]) -> bytes:
        client, agent = key
        said = dict(zip(names, (show(client), _header(agent, redactor)), strict=True))
        named = {renames.get(name, name): value for name, value in said.items()}
        return b"".join(_member(name, value) + b"," for name, value in named.items() if name)

    return BoundedCache(written)


class LogSink(Sink):
    """
    Writes requests as access lines, and jobs and events as lines of their own.
    """

    name = "logs"
    guards = True

    def __init__(self, writer: Writer) -> None:
        self._settings = writer.settings
        self._writer = writer
        self.wants = frozenset(_OF_CLIENT if self._settings.access_log else [])
        self._forms = _forms(writer)
        rare = (field for field in HTTP.on_lines() if is_sparse(HttpOperation, field))
        self._add_sparse = renderer("line", HttpOperation, rare, self._forms)

    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]:
        """
        Return a step that writes a line at the end of each request or job; other kinds have none.
        """
        if kind is JobOperation:
            return None, self._job_line()
        if kind is not HttpOperation or not self._settings.access_log:
            return None, None
        return None, self._usual_line() if self._is_usual() else self._any_line()

    def _job_line(self) -> Callable[[JobOperation], None]:
        writer, fields = self._writer, JOB if self._settings.correlation else JOB.without("correlation_id")
        add_fields = renderer("line", JobOperation, fields.on_lines(), self._forms)

        def finish(op: JobOperation) -> None:
            level = LEVELS["INFO" if op.error is None else "ERROR"]
            if level < writer.level_of(JOB_LOGGER):
                return
            line: dict[str, Any] = {"message": "job"}
            add_fields(op, line)
            for given in (op.fields, op._extra):
                if given:
                    writer.add(line, {name: value for name, value in given.items() if name not in line})
            writer.emitter(JOB_LOGGER, level)(writer.wall_clock(), line)

        return finish

    def _is_usual(self) -> bool:
        """
        Return whether every access line is written, flat, and to one output: then nothing is decided per line.
        """
        writer = self._writer
        first, *others = [writer.primary_target(ACCESS, LEVELS[level]) for level in ("INFO", "WARNING", "ERROR")]
        has_one_place = all(other is first for other in others) and not writer.extra_outputs
        is_written = writer.level_of(ACCESS) <= LEVELS["INFO"] and not self._settings.access_log_sample
        is_named = any(self._settings.log_names.get(name, name) for name in ("level", "logger", "message"))
        return writer.line_format.is_flat and has_one_place and is_written and is_named

    def _usual_line(self) -> Callable[[HttpOperation], None]:
        settings, slow_seconds = self._settings, self._slow_seconds()
        writer = self._writer
        stream = writer.primary_target(ACCESS, LEVELS["INFO"])
        wall_clock, failed = writer.wall_clock, writer.failed
        with_query, with_sparse, redactor = settings.log_query_string, self._with_sparse, writer.redactor
        is_plain = _harmless_path if settings.redact_values else _plain_path
        renames = dict(settings.log_names) if settings.correlation else {**settings.log_names, "correlation_id": None}
        templates = _Templates(writer, renames)
        clients = _clients(client_formatter(settings.log_client), renames, redactor)
        moment = _whole_second(0)  # one tuple, read once, so that free threads never see half of it

        # Inlined, since every request pays for it; what few have is added by a function.
        def finish(op: HttpOperation) -> None:
            nonlocal moment
            try:
                seconds, path = op.duration_seconds, op.path
                now = wall_clock()
                second, day_and_time = moment
                if not second <= now < second + 1:
                    second, day_and_time = moment = _whole_second(now)
                if is_plain(path) and not (with_query and op.query):
                    shown = path.encode()
                else:
                    shown = _escaped(loggable_path(path, op.query if with_query else "", redactor))
                if op.sparse is None:
                    state: int = seconds > slow_seconds
                elif op.upgraded:
                    return
                else:
                    state = seconds > slow_seconds if op.exception is None else _FAILED
                whole = templates[state, op.method, op.endpoint, op.status] % (
                    day_and_time,
                    (now - second) * 1e6,
                    (op.correlation_id or "").encode(),
                    shown,
                    seconds * 1e3,
                    op.bytes_sent,
                    clients[op.client, op.agent],
                )
                if op.sparse is not None:
                    whole = with_sparse(whole, op)
                put = stream.put  # it changes
                if (taken := put(whole)) != len(whole):
                    stream.write_rest(whole, taken)
            except Exception as error:
                failed(error)

        return finish

    def _with_sparse(self, whole: bytes, op: HttpOperation) -> bytes:
        """
        Return a line with the fields that few requests have.
        """
        line: dict[str, Any] = {}
        self._add_sparse(op, line)
        if op.fields:
            self._writer.add(line, op.fields)
        if op._extra:
            self._writer.add(line, op._extra)
        more = self._writer.line_format.render(line)
        return whole if more == b"{}\n" else b"%b%b%b" % (whole[:-2], b"," if len(whole) > 3 else b"", more[1:])

    def _slow_seconds(self) -> float:
        slow_ms = self._settings.slow_request_ms
        return float("inf") if slow_ms is None else slow_ms / 1000

    def _any_line(self) -> Callable[[HttpOperation], None]:
        """
        Return the step for other formats, levels, outputs or sampling. The fields are the same.
        """
        writer, settings, wall_clock = self._writer, self._settings, self._writer.wall_clock
        slow_seconds, threshold = self._slow_seconds(), writer.level_of(ACCESS)
        emitters = {level: writer.emitter(ACCESS, LEVELS[level]) for level in ("INFO", "WARNING", "ERROR")}
        samplers = {route: EveryNth(every, writer.count_sampled) for route, every in settings.access_log_sample.items()}
        fields_of = self._fields()

        def finish(op: HttpOperation) -> None:
            if op.upgraded:
                return
            failed = op.status >= 500 or op.exception is not None
            level = "ERROR" if failed else "WARNING" if op.duration_seconds > slow_seconds else "INFO"
            if LEVELS[level] < threshold:
                return
            left_out = 0
            if (sampler := samplers.get(op.endpoint)) is not None:
                left_out = sampler.admit(level != "INFO" or op.exception is not None)
                if left_out == SAMPLED_OUT:
                    return
            line = fields_of(op)
            if left_out:
                line[LEFT_OUT.line] = left_out
            emitters[level](wall_clock(), line)

        return finish

    def _fields(self) -> Callable[[HttpOperation], dict[str, Any]]:
        writer, redactor = self._writer, self._writer.redactor
        add_fields = renderer("line", HttpOperation, HTTP.on_lines(), self._forms)
        with_query, path = self._settings.log_query_string, HTTP["path"].line

        def fields_of(op: HttpOperation) -> dict[str, Any]:
            line: dict[str, Any] = {"message": "request"}
            add_fields(op, line)
            if with_query and op.query:
                line[path] = loggable_path(op.path, op.query, redactor)
            for given in (op.fields, op._extra):
                if given:
                    writer.add(line, given)
            return line

        return fields_of

    def emit(self, event: Event) -> None:
        writer, logger = self._writer, "obskit." + event.name.partition(".")[0]
        level = LEVELS[event.severity]
        if level >= writer.level_of(logger):
            line = writer.start_body(event.message)
            writer.add(line, event.fields)
            writer.emitter(logger, level)(writer.wall_clock(), line)


def _header(value: str | None, redactor: Redactor) -> str | None:
    return None if value is None else redactor.short(value, MAX_HEADER)


def _forms(writer: Writer) -> Forms:
    """
    Return how lines write the fields that they do not write as they are.
    """
    redactor = writer.redactor
    return {
        "client": client_formatter(writer.settings.log_client),
        "exception": lambda name: {"type": name},
        "header": partial(_header, redactor=redactor),
        "milliseconds": milliseconds,
        "path": lambda path: loggable_path(path, "", redactor),
        "text": redactor.text,
    }


def _whole_second(now: float) -> tuple[int, bytes]:
    second, text = split_second(now)
    return second, text.encode()


def _json(value: Any) -> bytes:
    return render(value)[:-1]


def _member(name: str, value: Any) -> bytes:
    return _json(name) + b":" + _json(value)


def _escaped(path: str) -> bytes:
    return _json(path)[1:-1]
