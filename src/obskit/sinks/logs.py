"""
Write one JSON line for each request, and for each event.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Callable
from typing import Any

from obskit.context import current
from obskit.logs.lines import (
    UNSAYABLE,
    dumps,
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
MAX_TAILS = 4096
MAX_CLIENTS = 4096


class _Tails(dict[tuple[str, str, str, int], bytes]):
    """
    Render what the lines of one route share once: the end of the line, from the level on.
    """

    def __init__(self, process: dict[str, Any], render: Callable[[dict[str, Any]], bytes]) -> None:
        self._process = process
        self._render = render

    def __missing__(self, key: tuple[str, str, str, int]) -> bytes:
        level, method, endpoint, status = key
        shared = {
            "level": level,
            "logger": "obskit.access",
            "message": "request",
            **self._process,
            "method": method,
            "endpoint": endpoint,
            "status": status,
        }
        tail = b"," + self._render(shared)[1:]
        if len(self) < MAX_TAILS:
            self[key] = tail
        return tail


class LogSink:
    """
    Turn requests into access lines and events into lines of their own.
    """

    name = "logs"

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
        wall_clock, render, stream = self._recorder.wall_clock, self._render, self._stream
        # What nearly every line needs, without a frame; `render()` mends the others.
        plain, unwritten = render if self._settings.log_names else dumps, self._unwritten
        slow_ms = self._settings.slow_request_ms
        slow_seconds = float("inf") if slow_ms is None else slow_ms / 1000
        client_of = _CLIENT[self._settings.log_client]
        with_query = self._settings.log_query_string
        tails = _Tails(self._process, render)
        reserved = self._reserved
        moment = whole_second(0)  # one tuple, read once: threads without the GIL never see half of it

        # Written out, since every request pays for it; the fields that few have are added by functions.
        def finish(op: HttpOperation) -> None:
            nonlocal moment
            seconds, status, path = op.duration_seconds, op.status, op.path
            agent = op.agent
            now = wall_clock()
            second, day_and_time = moment
            if not second <= now < second + 1:
                second, day_and_time = moment = whole_second(now)
            line: dict[str, Any] = {
                "timestamp": "%s.%06dZ" % (day_and_time, (now - second) * 1e6),  # noqa: UP031  # a third faster
                "correlation_id": op.correlation_id,
                "path": path if len(path) <= MAX_PATH else path[:MAX_PATH],
                "duration_ms": int(seconds * 1e6 + 0.5) / 1000,
                "bytes_sent": op.bytes_sent,
                "client": client_of[op.client],
                "user_agent": agent if agent is None or len(agent) <= MAX_USER_AGENT else agent[:MAX_USER_AGENT],
            }
            if op.trace_id is not None or op.first_byte_seconds is not None or op.aborted or op.exception is not None:
                _add_rare(line, op)
            if op.totals is not None:
                _add_totals(line, op.totals)
            if with_query and op.query:
                line["path"] = f"{path}?{op.query}"[:MAX_PATH]
            if op.fields:
                with_callers_fields(line, op.fields, reserved)
            if op._extra:
                with_callers_fields(line, op._extra, reserved)
            level = "ERROR" if status >= 500 else "WARNING" if seconds > slow_seconds else "INFO"
            try:
                try:
                    own = plain(line)
                except UNSAYABLE:
                    own = render(line)
                whole = own[:-2] + tails[level, op.method, op.endpoint, status]
                taken = stream.put(whole)
                if taken != len(whole):
                    stream.rest(whole, taken)
            except Exception as error:
                unwritten(error)
                raise

        return finish

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


class _Kept(dict[str | None, str | None]):
    """
    Keep what is shown of the addresses that come again; a table, since it is asked once a request.
    """

    def __init__(self, show: Callable[[str | None], str | None]) -> None:
        self._show = show

    def __missing__(self, client: str | None) -> str | None:
        if len(self) >= MAX_CLIENTS:
            self.clear()
        self[client] = shown = self._show(client)
        return shown


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


_CLIENT: dict[str, _Kept] = {
    "masked": _Kept(masked),
    "full": _Kept(lambda client: client),
    "none": _Kept(lambda client: None),
}
