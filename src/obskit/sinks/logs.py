"""
Write one JSON line for each request, and for each event.
"""

from __future__ import annotations

import errno
import ipaddress
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from obskit.context import current
from obskit.logs.lines import (
    render,
    reserved_names,
    timestamper,
    whole_second,
    with_callers_fields,
)
from obskit.logs.stream import LineStream
from obskit.operation import Event, HttpOperation, Operation, Totals
from obskit.recorder import Recorder, Step
from obskit.settings import Settings

# What a header may add to every line of a log that is kept for months.
MAX_PATH = 2048
MAX_USER_AGENT = 256
# Routes times statuses; an application that invents endpoints must not grow memory.
MAX_TEMPLATES = 4096
# What is a request's own in its line: the field, and its place in the line's template, in this order.
_OWN = (
    ("timestamp", '"%s.%06dZ"'),
    ("correlation_id", '"%s"'),
    ("path", '"%s"'),
    ("duration_ms", "%.3f"),
    ("bytes_sent", "%d"),
    ("client", "%s"),
    ("user_agent", "%s"),
)
# A path that stands in JSON as it is, and is no longer than MAX_PATH.
_plain_path = re.compile(r"[ !#-\[\]-~]{0,2048}").fullmatch


class _Templates(dict[tuple[bool, str, str, int], str]):
    """
    Write what the lines of one route and status share once, with a place for each of `_OWN`.

    The first part of the key is whether the request was slow.
    """

    def __init__(self, process: dict[str, Any], renames: Mapping[str, str | None]) -> None:
        self._process = process
        self._renames = renames

    def __missing__(self, key: tuple[bool, str, str, int]) -> str:
        slow, method, endpoint, status = key
        shared = {
            "level": "ERROR" if status >= 500 else "WARNING" if slow else "INFO",
            "logger": "obskit.access",
            "message": "request",
            **self._process,
            "method": method,
            "endpoint": endpoint,
            "status": status,
        }
        said, unsaid = [], ""
        for name, place in _OWN:
            if (new := self._renames.get(name, name)) is None:
                unsaid += "%.0s" * place.count("%")
            else:
                said.append(f"{unsaid}{_json(new)}:{place}")
                unsaid = ""
        for name, value in shared.items():
            if (new := self._renames.get(name, name)) is not None:
                said.append(f"{_json(new)}:{_json(value)}".replace("%", "%%"))
        template = "{" + ",".join(said) + unsaid + "}\n"
        if len(self) < MAX_TEMPLATES:
            self[key] = template
        return template


class LogSink:
    """
    Turn requests into access lines and events into lines of their own.
    """

    name = "logs"
    guards = True

    def __init__(self, settings: Settings, recorder: Recorder) -> None:
        self._settings = settings
        self._recorder = recorder
        self._stream = LineStream(settings.log_stream)
        self._timestamp = timestamper(recorder.wall_clock)
        self._render = _renderer(dict(settings.log_names))
        self._reserved = reserved_names(settings.log_names)
        self._process = {
            name: value
            for name in ("service", "version", "environment")
            if (value := getattr(settings, name)) is not None
        }

    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]:
        """
        Write a line at the end of each request; other kinds have none.
        """
        if kind is not HttpOperation or not self._settings.access_log:
            return None, None
        return None, self._access_line()

    def _access_line(self) -> Callable[[HttpOperation], None]:
        settings, stream = self._settings, self._stream
        wall_clock, unwritten, failed = self._recorder.wall_clock, self._unwritten, self._recorder.failed
        slow_ms = settings.slow_request_ms
        slow_seconds = float("inf") if slow_ms is None else slow_ms / 1000
        show_client = shown_client(settings.log_client)
        client_of = lru_cache(4096)(lambda client: _json(show_client(client)))
        agent_of = lru_cache(4096)(lambda agent: _json(None if agent is None else agent[:MAX_USER_AGENT]))
        with_query, with_rare = settings.log_query_string, self._with_rare
        renames = dict(settings.log_names) if settings.correlation else {**settings.log_names, "correlation_id": None}
        templates = _Templates(self._process, renames)
        moment = whole_second(0)  # one tuple, read once: threads without the GIL never see half of it

        # Written out, since every request pays for it; what few have is added by a function.
        def finish(op: HttpOperation) -> None:
            nonlocal moment
            try:
                seconds, path = op.duration_seconds, op.path
                now = wall_clock()
                second, day_and_time = moment
                if not second <= now < second + 1:
                    second, day_and_time = moment = whole_second(now)
                if with_query and op.query:
                    path = f"{path}?{op.query}"
                whole = (
                    templates[seconds > slow_seconds, op.method, op.endpoint, op.status]
                    % (
                        day_and_time,
                        (now - second) * 1e6,
                        op.correlation_id,
                        path if _plain_path(path) else _escaped(path),
                        seconds * 1e3,
                        op.bytes_sent,
                        client_of(op.client),
                        agent_of(op.agent),
                    )
                ).encode()
                if op.rare is not None:
                    whole = with_rare(whole, op)
                if (taken := stream.put(whole)) != len(whole):
                    stream.rest(whole, taken)
            except Exception as error:
                unwritten(error)
                failed("logs", error)

        return finish

    def _with_rare(self, whole: bytes, op: HttpOperation) -> bytes:
        """
        Add to a line what few requests have.
        """
        line: dict[str, Any] = {}
        _add_rare(line, op)
        if op.totals is not None:
            _add_totals(line, op.totals)
        if op.fields:
            with_callers_fields(line, op.fields, self._reserved)
        if op._extra:
            with_callers_fields(line, op._extra, self._reserved)
        more = self._render(line)
        return whole if more == b"{}\n" else b"%b%b%b" % (whole[:-2], b"," if len(whole) > 3 else b"", more[1:])

    def _unwritten(self, error: Exception) -> None:
        code = getattr(error, "errno", None)
        reason = "closed" if isinstance(error, ValueError) else type(error).__name__
        self._recorder.dropped["logs", errno.errorcode.get(code, reason) if code else reason] += 1

    def emit(self, event: Event) -> None:
        """
        Write an event's line.
        """
        line: dict[str, Any] = {
            "timestamp": self._timestamp(),
            "level": event.severity,
            "logger": "obskit." + event.name.partition(".")[0],
            "message": event.message,
            **self._process,
        }
        operation = current.get()
        if operation is not None:
            root = operation.root
            _add_ids(line, root)
            if root.fields:
                with_callers_fields(line, root.fields, self._reserved)
        with_callers_fields(line, event.fields, self._reserved)
        try:
            self._stream.write(self._render(line))
        except Exception as error:
            self._unwritten(error)
            raise

    def flush(self) -> None:
        """
        Have nothing queued: each line is written when it is made.
        """

    def close(self) -> None:
        """
        Leave the stream open; it belongs to whoever opened it.
        """


def _renderer(renames: dict[str, str | None]) -> Callable[[dict[str, Any]], bytes]:
    if not renames:
        return render
    return lambda line: render(
        {new: value for name, value in line.items() if (new := renames.get(name, name)) is not None}
    )


def _milliseconds(seconds: float) -> float:
    """
    Round to whole microseconds; `round()` costs five times as much.
    """
    return int(seconds * 1e6 + 0.5) / 1000


def _add_ids(line: dict[str, Any], root: Operation) -> None:
    for name in ("correlation_id", "trace_id", "span_id"):
        if (value := getattr(root, name)) is not None:
            line[name] = value


def _add_rare(line: dict[str, Any], op: HttpOperation) -> None:
    if op.trace_id is not None:
        line["trace_id"] = op.trace_id
    if op.span_id is not None:
        line["span_id"] = op.span_id
    if op.first_byte_seconds is not None:
        line["first_byte_ms"] = _milliseconds(op.first_byte_seconds)
    if op.aborted:
        line["aborted"] = True
    if op.exception is not None:
        line["exception"] = {"type": op.exception}


def _add_totals(line: dict[str, Any], totals: Totals) -> None:
    if totals.db_queries:
        line["db_queries"] = totals.db_queries
        line["db_ms"] = _milliseconds(totals.db_seconds)
    if totals.ai_calls:
        line["ai_calls"] = totals.ai_calls
        line["ai_cost_usd"] = totals.ai_cost_usd


def masked(client: str | None) -> str | None:
    """
    Keep the network of an address: /24 of IPv4, /48 of IPv6, as the usual anonymisation does.
    """
    if client is None:
        return None
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return None
    address = getattr(address, "ipv4_mapped", None) or address  # as sockets for both versions write IPv4
    bits = 24 if address.version == 4 else 48
    return str(ipaddress.ip_network((int(address), bits), strict=False).network_address)


def shown_client(setting: str) -> Callable[[str | None], str | None]:
    """
    Build what shows a client's address as `log_client` has it; it keeps what it gave, since clients come again.
    """
    if setting == "masked":
        return lru_cache(4096)(masked)
    return (lambda client: client) if setting == "full" else (lambda client: None)


def _json(value: Any) -> str:
    return render(value)[:-1].decode()


def _escaped(path: str) -> str:
    return _json(path[:MAX_PATH])[1:-1]
