"""
Play clients whose bodies are hostile: too long, too slow, cut short, or not what their headers say.
"""

import asyncio
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from .drivers import Reply, Request, environ_of, scope_of


@dataclass(frozen=True)
class Upload:
    """
    What a client sends after its headers.

    Attributes:
        pieces: Of the body, as they come.
        length: The header `Content-Length`; None: none.
        chunked: Whether the server marks the end by itself, as it does for chunked bodies.
        ending: What comes after the pieces: the end, nothing at all, or the client's leaving.
    """

    pieces: Sequence[bytes] = ()
    length: str | None = None
    chunked: bool = False
    ending: Literal["end", "stall", "leave"] = "end"


def whole(*pieces: bytes, length: str | None = None) -> Upload:
    return Upload(pieces, str(sum(map(len, pieces))) if length is None else length)


class Reader:
    """
    A server's reader of a body, which remembers whether it was asked.
    """

    def __init__(self, inner: Any) -> None:
        self.rfile = inner  # by which the connection is found, as in gevent's
        self.asked = 0

    def read(self, size: int = -1) -> bytes:
        self.asked += 1
        data: bytes = self.rfile.read(size)
        return data

    def readline(self, size: int = -1) -> bytes:
        raise NotImplementedError  # Django looks for it


@contextmanager
def connection(upload: Upload) -> Iterator[Reader]:
    """
    Send the pieces through a real connection, and give the server's end of it.
    """
    server, client = socket.socketpair()
    with server, client, server.makefile("rb") as inner:

        def send() -> None:
            with suppress(OSError):  # nobody reads on
                for piece in upload.pieces:
                    client.sendall(piece)
                if upload.ending != "stall":
                    client.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        yield Reader(inner)
        server.shutdown(socket.SHUT_RDWR)
        sender.join()


@dataclass
class Served:
    """
    What came of an upload.

    Attributes:
        asked: How often the body was asked for.
    """

    reply: Reply = field(default_factory=Reply)
    asked: int = 0


def upload_wsgi(app: Any, request: Request, upload: Upload) -> Served:
    served = Served()
    environ = environ_of(request)
    environ["PATH_INFO"] = request.path.encode().decode("latin-1")
    del environ["CONTENT_LENGTH"]
    if upload.length is not None:
        environ["CONTENT_LENGTH"] = upload.length
    if upload.chunked:
        environ |= {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}

    def start_response(status, headers, exc_info=None):
        served.reply.status, served.reply.headers = int(status[:3]), headers

    with connection(upload) as reader:
        environ["wsgi.input"] = reader
        body = app(environ, start_response)
        served.reply.pieces.extend(body)
        if hasattr(body, "close"):
            body.close()
    served.asked = reader.asked
    return served


async def upload_async(app: Any, request: Request, upload: Upload, event: Any = asyncio.Event) -> Served:
    served, over = Served(), event()
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": piece, "more_body": True} for piece in upload.pieces
    ]
    if upload.ending == "end":
        messages.append({"type": "http.request", "body": b"", "more_body": False})
    scope = scope_of(request, import_module(".drivers", __package__).WHOLE)
    scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"content-length"]
    if upload.length is not None:
        scope["headers"].append((b"content-length", upload.length.encode()))
    if upload.chunked:
        scope["headers"].append((b"transfer-encoding", b"chunked"))

    async def receive() -> dict[str, Any]:
        served.asked += 1
        if messages:
            return messages.pop(0)
        if upload.ending != "leave":
            await over.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            served.reply.status = message["status"]
            served.reply.headers = [(n.decode(), t.decode("latin-1")) for n, t in message["headers"]]
        else:
            served.reply.pieces.append(message.get("body", b""))
            if not message.get("more_body"):
                over.set()

    await app(scope, receive, send)
    return served


def upload_asgi(app: Any, request: Request, upload: Upload) -> Served:
    return asyncio.run(upload_async(app, request, upload))


def upload_trio(app: Any, request: Request, upload: Upload) -> Served:
    trio = import_module("trio")
    served: Served = trio.run(upload_async, app, request, upload, trio.Event)
    return served


UPLOAD = {"wsgi": upload_wsgi, "asgi": upload_asgi, "trio": upload_trio}
