"""
Play the server, in this process: one exchange at a time, or several at once.

The drivers do what servers do, and no more: an exception that leaves the application is handed back in
`Reply.error`, next to what had been sent until then.
"""

import asyncio
import gc
import io
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Request:
    """
    What a client sends.

    Attributes:
        path: Below the deployment prefix.
        root: The deployment prefix: `SCRIPT_NAME` or `root_path`.
    """

    path: str = "/items/7"
    method: str = "GET"
    headers: Headers = ()
    body: bytes = b""
    root: str = ""


@dataclass
class Reply:
    """
    What the server was given; `status` is None where it was given none.
    """

    status: int | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    error: BaseException | None = None

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def header(self, name: str) -> list[str]:
        return [text for key, text in self.headers if key.lower() == name]


@dataclass(frozen=True)
class Ending:
    """
    How the exchange ends, where it does not run to its end.

    Attributes:
        pieces: The client leaves after so many pieces of body.
        close: False: a WSGI server that forgets to close the reply.
        send_raises: Whether an ASGI server's `send` raises once the client has left (specification
            2.4) or does nothing (2.3, which uvicorn 0.54 keeps to).
        upload_breaks: The client leaves before its body has arrived (ASGI).
        cancel_when: Await this, then cancel the ASGI application.
    """

    pieces: int | None = None
    close: bool = True
    send_raises: bool = True
    upload_breaks: bool = False
    cancel_when: Callable[[], Awaitable[Any]] | None = None


WHOLE = Ending()


def environ_of(request: Request) -> dict[str, Any]:
    environ = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": request.root,
        "PATH_INFO": request.path,
        "QUERY_STRING": "",
        "CONTENT_LENGTH": str(len(request.body)),
        "CONTENT_TYPE": "application/json",
        "REMOTE_ADDR": "192.0.2.7",
        "SERVER_NAME": "shop.example",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, text in request.headers:  # servers join repeated lines
        key = f"HTTP_{name.upper().replace('-', '_')}"
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ


def call_wsgi(app: Any, request: Request, ending: Ending = WHOLE) -> Reply:
    """
    Serve one request as a WSGI server does.
    """
    reply = Reply()

    def start_response(status, headers, exc_info=None):
        reply.status, reply.headers = int(status[:3]), headers

    try:
        body = app(environ_of(request), start_response)
        try:
            reply.pieces.extend(islice(body, ending.pieces))
        finally:
            if ending.close and hasattr(body, "close"):
                body.close()
            del body
            if not ending.close:
                gc.collect()
    except Exception as error:
        reply.error = error
    return reply


def scope_of(request: Request, ending: Ending) -> dict[str, Any]:
    path = request.root + request.path
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4" if ending.send_raises else "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": request.root,
        "headers": [
            (b"host", b"shop.example"),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(request.body)),
            *((name.lower().encode(), text.encode("latin-1")) for name, text in request.headers),
        ],
        "client": ("192.0.2.7", 50000),
        "server": ("shop.example", 80),
        "state": {},
    }


class Exchange:
    """
    The server's side of one ASGI request: `receive`, `send`, and what came of them.
    """

    def __init__(self, request: Request, ending: Ending) -> None:
        self.reply = Reply()
        self.ending = ending
        self.over = asyncio.Event()
        self.unread = None if ending.upload_breaks else request.body
        if ending.upload_breaks:
            self.over.set()

    async def receive(self) -> dict[str, Any]:
        if self.unread is not None:
            body, self.unread = self.unread, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if self.over.is_set():
            if self.ending.send_raises:
                raise OSError("the client has left")
            return
        if message["type"] == "http.response.start":
            self.reply.status = message["status"]
            self.reply.headers = [(n.decode(), t.decode("latin-1")) for n, t in message["headers"]]
        else:
            self.take(message.get("body", b""), message.get("more_body", False))

    def take(self, body: bytes, more: bool) -> None:
        self.reply.pieces.append(body)
        if not more or len(self.reply.pieces) == self.ending.pieces:
            self.over.set()


async def exchange(app: Any, request: Request, ending: Ending = WHOLE) -> Reply:
    """
    Serve one request as an ASGI server does.
    """
    server = Exchange(request, ending)
    task = asyncio.ensure_future(app(scope_of(request, ending), server.receive, server.send))
    try:
        if ending.cancel_when:
            await asyncio.wait_for(ending.cancel_when(), 10)
            task.cancel()
        await task
    except (Exception, asyncio.CancelledError) as error:
        server.reply.error = error
    return server.reply


def call_asgi(app: Any, request: Request, ending: Ending = WHOLE) -> Reply:
    return asyncio.run(exchange(app, request, ending))


def together_wsgi(app: Any, requests: Sequence[Request]) -> list[Reply]:
    """
    Serve several requests at once, a thread each.
    """
    replies: dict[Request, Reply] = {}
    threads = [
        threading.Thread(target=lambda request=request: replies.update({request: call_wsgi(app, request)}))
        for request in requests
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [replies[request] for request in requests]


def together_asgi(app: Any, requests: Sequence[Request]) -> list[Reply]:
    """
    Serve several requests at once, a task each.
    """

    async def gather() -> list[Reply]:
        return await asyncio.gather(*(exchange(app, request) for request in requests))

    return asyncio.run(gather())


CALL = {"wsgi": call_wsgi, "asgi": call_asgi}
TOGETHER = {"wsgi": together_wsgi, "asgi": together_asgi}


def converse_on(
    run: Callable[..., Any], app: Any, scope: dict[str, Any], incoming: Sequence[dict[str, Any]]
) -> tuple[list[dict[str, Any]], type[BaseException] | None]:
    """
    Serve a lifespan or WebSocket scope by an event loop's `run()`, which takes an asynchronous function.

    Answer what the application sent and what it raised.
    """
    sent: list[dict[str, Any]] = []
    waiting = list(incoming)

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    try:
        run(app, scope, receive, send)
    except Exception as error:
        return sent, type(error)
    return sent, None


def converse(
    app: Any, scope: dict[str, Any], incoming: Sequence[dict[str, Any]]
) -> tuple[list[dict[str, Any]], type[BaseException] | None]:
    """
    Serve a lifespan or WebSocket scope; answer what the application sent and what it raised.
    """
    return converse_on(lambda app, *given: asyncio.run(app(*given)), app, scope, incoming)
