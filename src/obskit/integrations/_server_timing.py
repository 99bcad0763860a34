"""
The `Server-Timing` header, which shows a client what its request cost, where the setting asks for it.

The application is wrapped once more, inside of the middleware, when the settings are known: without the header, a
request runs through nothing of this.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from obskit.context import current
from obskit.deferred_endings import drain

HEADER = "Server-Timing"


def header_value(operation: Any) -> str | None:
    """
    Return the header's value: what a request's queries and AI calls have added up to so far; None without any.

    Milliseconds and counts only: no statement, no model and no price leaves.
    """
    drain()
    totals = None if operation is None else operation.root.totals
    if totals is None:
        return None
    parts = []
    if totals.db_queries:
        parts.append(_metric("db", totals.db_seconds, totals.db_queries, "query", "queries"))
    if totals.ai_calls:
        parts.append(_metric("ai", totals.ai_seconds, totals.ai_calls, "call", "calls"))
    return ", ".join(parts) or None


def _metric(name: str, seconds: float, times: int, one: str, many: str) -> str:
    # W3C Server Timing: `dur` is in milliseconds.
    return f'{name};dur={seconds * 1000:.1f};desc="{times} {one if times == 1 else many}"'


def over_wsgi(app: Any) -> Any:
    """
    Wrap a WSGI application: its replies say what the request cost until the headers were sent.
    """

    def timed(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        operation = current.get()

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            value = header_value(operation)
            if value is not None:
                headers = [*headers, (HEADER, value)]  # next to the application's own: a client reads both
            return start_response(status, headers) if exc_info is None else start_response(status, headers, exc_info)

        body: Iterable[bytes] = app(environ, start)
        return body

    return timed


def over_asgi(app: Any) -> Any:
    """
    Wrap an ASGI application: its replies say what the request cost until the headers were sent.
    """
    name = HEADER.lower().encode()

    async def timed(scope: Any, receive: Any, send: Any) -> None:
        operation = current.get()

        def send_timed(message: Any) -> Any:
            if message["type"] == "http.response.start":
                value = header_value(operation)
                if value is not None:
                    message = {**message, "headers": [*message.get("headers", ()), (name, value.encode())]}
            return send(message)

        await app(scope, receive, send_timed)

    return timed
