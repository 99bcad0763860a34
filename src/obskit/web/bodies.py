"""
Read the body of a POST to a route of ours: small, within seconds, and never beyond what the request declares.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from threading import Event
from typing import Any, TypeAlias

from obskit import background
from obskit.event_loop import within
from obskit.web.replies import Reply, text

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]

MAX_BYTES = 64 * 1024
SECONDS = 5.0
_PIECE_BYTES = 4096


class ClientGoneError(Exception):
    """
    The client has left before its request was whole.
    """


class _RefusedError(Exception):
    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.reply = text(status, f"{words}\n")


def _too_large() -> _RefusedError:
    return _RefusedError(413, f"a body may have {MAX_BYTES} bytes")


def _too_slow() -> _RefusedError:
    return _RefusedError(408, f"a body must come within {SECONDS:g} s")


def _declared(length: str | None) -> int | None:
    """
    Read a `Content-Length`; None where there is none.
    """
    if not length:
        return None
    if not (length.isascii() and length.isdecimal()):
        raise _RefusedError(400, "the Content-Length is no number")
    if len(length) > 10 or int(length) > MAX_BYTES:
        raise _too_large()
    return int(length)


def _whole(body: bytes, declared: int | None) -> bytes:
    if declared is not None and len(body) != declared:
        raise _RefusedError(400, "the body is not as long as its Content-Length")
    return body


# Asynchronous servers


async def receive_body(length: str | None, receive: Receive) -> bytes | Reply:
    """
    Receive a body from an ASGI server; where it is refused, return the reply.

    Args:
        length: The header `Content-Length`.
        receive: The server's.

    Raises:
        ClientGoneError: The client left before all of it had come.
    """
    try:
        declared = _declared(length)
        return _whole(await within(SECONDS, lambda: _received(receive)), declared)
    except TimeoutError:
        return _too_slow().reply
    except _RefusedError as refused:
        return refused.reply


async def _received(receive: Receive) -> bytes:
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body += message.get("body", b"")
        if len(body) > MAX_BYTES:
            raise _too_large()
        more = message.get("more_body", False)
    return bytes(body)


# WSGI servers


def read_body(environ: dict[str, Any], read: Callable[[int], bytes] | None = None) -> bytes | Reply:
    """
    Read a body from a WSGI server; where it is refused, return the reply.

    Args:
        environ: Of the request.
        read: Reads from the body, where something stands in front of `wsgi.input`.
    """
    try:
        declared, has_end = _declared(environ.get("CONTENT_LENGTH")), environ.get("wsgi.input_terminated")
        if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
            declared = None
            if not has_end:  # nobody but the server can tell where it is
                raise _RefusedError(411, "a body needs a Content-Length")
        if declared is None and not has_end:
            return b""  # PEP 3333: there is nothing that may be read
        return _whole(_read(environ, read or environ["wsgi.input"].read, declared), declared)
    except _RefusedError as refused:
        return refused.reply


def _read(environ: dict[str, Any], read: Callable[[int], bytes], declared: int | None) -> bytes:
    body, left = bytearray(), MAX_BYTES + 1 if declared is None else declared
    with _Watch(environ) as watch:
        while left and not watch.is_late:
            try:
                piece = read(min(left, _PIECE_BYTES))
            except Exception:  # servers have errors of their own for a client that leaves, or writes nonsense
                if watch.is_late:
                    break
                raise _RefusedError(400, "the body cannot be read") from None
            if not piece:
                break
            body += piece
            left -= len(piece)
        if watch.is_late and (declared is None or left):
            raise _too_slow()
    if len(body) > MAX_BYTES:
        raise _too_large()
    return bytes(body)


class _Watch:
    """
    A watch that ends reading in time: a read that waits for its client is woken as if the client had left.

    Attributes:
        is_late: Whether the time is up.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        self._connection = _connection_of(environ)
        self._is_over = Event()
        self.is_late = False

    def __enter__(self) -> _Watch:
        background.start(self._watch, name="obskit-web-body", ends=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()

    def _watch(self) -> None:
        if self._is_over.wait(SECONDS):
            return
        self.is_late = True
        if self._connection is not None:
            with suppress(OSError, ValueError):  # it has been closed since
                _end_reading(self._connection)


def _end_reading(connection: Any) -> None:
    """
    Shut the reading half, by another descriptor: the `shutdown()` of a TLS socket drops its encryption, and the reply
    is still to be sent.
    """
    import socket

    with socket.socket(fileno=os.dup(connection.fileno())) as same:
        same.shutdown(socket.SHUT_RD)


# By which a server's reader leads to what it reads from: files of sockets, and wrappers of them.
_INNER = ("_sock", "raw", "rfile", "_rfile")


def _connection_of(environ: dict[str, Any]) -> Any:
    """
    Find the socket that a body comes from; None where the server has read it already, or hides it and has time-outs of
    its own, as uWSGI and mod_wsgi have.
    """
    found = environ.get("gunicorn.socket", environ.get("wsgi.input"))
    for _ in range(8):
        if found is None or callable(getattr(found, "settimeout", None)):
            return found
        found = next((getattr(found, name) for name in _INNER if getattr(found, name, None) is not None), None)
    return None
