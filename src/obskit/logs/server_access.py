"""
Parse the access records of servers into the contract's fields; no text keeps a query string.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from obskit.late_patterns import late
from obskit.logs.clients import client_formatter
from obskit.logs.line_settings import LineSettings
from obskit.redaction.redactor import Redactor

# The longest header, and path with its query string, in characters: logs are kept for months.
MAX_HEADER = 256
MAX_PATH = 2048

# Reads the record's arguments: its text would have to be parsed, and may have any format.
AccessParser = Callable[[logging.LogRecord], dict[str, Any]]


def _uvicorn(record: logging.LogRecord) -> dict[str, Any]:
    args: Any = record.args
    client, method, target, _, status = args
    path, _, query = target.partition("?")
    return {
        "client": _without_port(client),
        "method": method,
        "path": unquote(path),
        "query": query,
        "status": int(status),
    }


def _gunicorn(record: logging.LogRecord) -> dict[str, Any]:
    atoms: Any = record.args
    # PEP 3333: the path is bytes, decoded as Latin-1.
    path = atoms["U"].encode("latin-1", "replace").decode("utf-8", "replace")
    return {"client": atoms["h"], "path": path, "bytes_sent": atoms["B"], **_timed_atoms(atoms)}


def _hypercorn(record: logging.LogRecord) -> dict[str, Any]:
    atoms: Any = record.args
    return {"client": _without_port(atoms["h"]), "path": atoms["U"], **_timed_atoms(atoms)}


def _timed_atoms(atoms: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "method": atoms["m"],
        "query": atoms["q"],
        "status": int(atoms["s"]),
        "duration_ms": int(atoms["D"]) / 1000,
        "user_agent": None if atoms["a"] == "-" else atoms["a"],
    }


def _granian(record: logging.LogRecord) -> dict[str, Any]:
    values: Any = record.args
    return {
        "client": values["addr"],
        "method": values["method"],
        "path": values["path"],
        "query": values["query_string"],
        "status": int(values["status"]),
        "duration_ms": round(values["dt_ms"], 3),
    }


def _development_server(record: logging.LogRecord) -> dict[str, Any]:
    """
    Parse the records of Flask's and Django's development servers: request line, status and size; werkzeug's with
    colours.
    """
    args: Any = record.args
    request, status, _ = args
    method, target, _ = _colours.sub("", request).split(" ", 2)
    path, _, query = target.partition("?")
    client, sign, _ = record.msg.partition(" - - [")
    return {
        "client": client if sign else None,
        "method": method,
        "path": unquote(path),
        "query": query,
        "status": int(status),
    }


_colours = late(r"\x1b\[[0-9;]*m")


def _without_port(address: str | None) -> str | None:
    return address.rpartition(":")[0] if address else None


# By logger.
ACCESS_PARSERS: Mapping[str, AccessParser] = {
    "uvicorn.access": _uvicorn,
    "gunicorn.access": _gunicorn,
    "hypercorn.access": _hypercorn,
    "granian.access": _granian,
    "django.server": _development_server,
    "werkzeug": _development_server,
}


# The loggers of servers, parents first; their access records go to the loggers of ACCESS_PARSERS.
SERVER_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.asgi", "gunicorn.error", "hypercorn.error", "_granian")
ALL_SERVER_LOGGERS = frozenset([*SERVER_LOGGERS, *ACCESS_PARSERS])


def one_line(text: str) -> str:
    """
    Return a server's message without colours, and in one line; a traceback keeps its lines.
    """
    text = _colours.sub("", text).strip()
    if "\n" not in text or "Traceback (most recent call last)" in text:
        return text
    return " ".join(filter(None, map(str.strip, text.splitlines())))


def loggable_path(path: str, query: str, redactor: Redactor) -> str:
    """
    Return a redacted path, with the redacted query string if one is given, of at most MAX_PATH characters.
    """
    shown = redactor.short(path, MAX_PATH)
    return redactor.short(f"{shown}?{redactor.short_query(query, MAX_PATH)}", MAX_PATH) if query else shown


def parse_access_record(record: logging.LogRecord) -> dict[str, Any] | None:
    """
    Return the fields of an access record, such as method, path, query, status and client; None for all other records.
    """
    reader = ACCESS_PARSERS.get(record.name)
    try:
        return reader(record) if reader is not None else None
    except (TypeError, ValueError, KeyError, AttributeError):
        return None  # something else that was logged there


def access_fields(parsed: Mapping[str, Any], settings: LineSettings, redactor: Redactor) -> dict[str, Any]:
    """
    Return the fields of an access line, as the settings say.
    """
    fields = {
        name: redactor.short(value, MAX_HEADER) if isinstance(value, str) else value
        for name, value in parsed.items()
        if name != "query" and value is not None
    }
    fields["path"] = loggable_path(parsed["path"], parsed["query"] if settings.log_query_string else "", redactor)
    fields["client"] = client_formatter(settings.log_client)(parsed["client"])
    return fields
