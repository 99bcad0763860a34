"""
Send the request's ids with calls of `httpx`, and of its successor `httpx2`.

The hook sits at the transports, which see every call by itself: a redirect to another host is a call of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import Any

from obskit.errors import MissingExtraError
from obskit.integrations._outgoing_headers import headers_for, with_headers
from obskit.integrations._patches import Patches, when_imported
from obskit.recorder import recorder

LIBRARIES = ("httpx", "httpx2")
_TRANSPORTS = ("HTTPTransport", "AsyncHTTPTransport", "MockTransport", "ASGITransport", "WSGITransport")

_patches = Patches()
_on = False  # also while no library is imported yet, and so nothing is patched


def _with_ids(request: Any) -> Any:
    if not _on:
        return request
    try:
        url = request.url
        added = headers_for(url.scheme, url.host, url.port, request.headers)
        return with_headers(request, added) if added else request
    except Exception as error:  # unexpected kinds of headers: the call is made unchanged
        recorder.failed("outgoing", error)
        return request


def _sync(send: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def handle_request(self: Any, request: Any) -> Any:
        return send(self, _with_ids(request))

    return handle_request


def _async(send: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
    async def handle_async_request(self: Any, request: Any) -> Any:
        return await send(self, _with_ids(request))

    return handle_async_request


_METHODS: dict[str, Callable[[Any], Any]] = {"handle_request": _sync, "handle_async_request": _async}


def instrument() -> None:
    """
    Carry the ids from now on, whatever client makes the call; each library is patched when it is imported.

    Raises:
        MissingExtraError: Neither library is installed.
    """
    global _on
    found = [name for name in LIBRARIES if find_spec(name) is not None]
    if not found:
        raise MissingExtraError("obskit.instrument_httpx() needs httpx: pip install httpx")
    _on = True
    for name in found:
        when_imported(name, _patch)


def _patch(library: Any) -> None:
    for transport in filter(None, (getattr(library, name, None) for name in _TRANSPORTS)):
        for method, around in _METHODS.items():
            if _on and method in vars(transport):
                _patches.put(transport, method, around)


def uninstrument() -> None:
    """
    Send calls as they are made again.
    """
    global _on
    _on = False
    _patches.restore()
