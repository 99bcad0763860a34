"""
Observe ASGI applications: all of their timing, endings and ids, for every ASGI framework.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache
from importlib import import_module
from typing import Any, TypeAlias

from obskit.context import current
from obskit.integrations import _http
from obskit.integrations._http import ID_HEADER_LOWER, MARK
from obskit.integrations._start import configure
from obskit.operation import UNMATCHED, HttpOperation
from obskit.recorder import recorder
from obskit.runtime import Runtime, follow, standing
from obskit.web.routes import Reply, Request

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Route: TypeAlias = Callable[[Scope], str | None]

_plan = recorder.plan(HttpOperation)
_enter, _leave = current.set, current.reset
_ID = ID_HEADER_LOWER.encode()
_ID_LENGTH = len(_ID)
_LAST = "the last piece of a reply"


class AsgiOperation(HttpOperation):
    """
    Be one request seen from ASGI: the operation, and the `receive` and `send` that watch it.
    """

    __slots__ = (
        "_disconnected", "_front", "_headers", "_last_byte_at", "_receive", "_send", "_send_error", "scope",
    )  # fmt: skip

    _headers: dict[bytes, bytes] | None
    _send_error: OSError | None
    _last_byte_at: float | None

    def __init__(self, scope: Scope, receive: Receive, send: Send, front: ObskitMiddleware) -> None:
        super().__init__(scope["method"], scope["path"])
        self.scope = scope
        self._receive = receive
        self._send = send
        self._front = front
        self._headers = self._send_error = self._last_byte_at = None
        self._disconnected = False

    @property
    def headers(self) -> dict[bytes, bytes]:
        """
        Read the request's headers; of repeated ones the last.
        """
        if self._headers is None:
            self._headers = dict(self.scope["headers"])
        return self._headers

    def header(self, name: str) -> str | None:
        """
        Read a request header by its lower-case name.
        """
        value = self.headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    @property
    def client(self) -> str | None:
        """
        Read the client's address, through trusted proxies.
        """
        peer = self.scope.get("client")
        address = peer[0] if peer else None
        if not self._front.trusted:
            return address
        return _http.client_address(address, self.header("x-forwarded-for"), self._front.trusted)

    @property
    def user_agent(self) -> str | None:
        """
        Read the client's `User-Agent`.
        """
        value = self.headers.get(b"user-agent")
        return None if value is None else value.decode("latin-1")[:_http.MAX_USER_AGENT]

    @property
    def query(self) -> str:
        """
        Read the raw query string.
        """
        return str(self.scope.get("query_string", b""), "latin-1")

    @property
    def scheme(self) -> str:
        """
        Read `http` or `https`.
        """
        return str(self.scope.get("scheme", "http"))

    @property
    def raw_method(self) -> str:
        """
        Read the method as the client wrote it.
        """
        return str(self.scope["method"])

    async def receive(self) -> Message:
        """
        Pass the client's messages on, and notice when it leaves.
        """
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._disconnected = True
        return message

    async def send(self, message: Message) -> None:
        """
        Pass the reply on, and take its status, its size and the moment of its last byte.
        """
        kind = message["type"]
        if kind == "http.response.start":
            if not self._gone():
                self.status = message["status"]
            if self.correlation_id is not None:
                message = {**message, "headers": _with_id(message.get("headers", ()), self.correlation_id)}
        elif kind == "http.response.body":
            self.bytes_sent += len(message.get("body", b""))
            if message.get("more_body", False):
                self._piece()
            else:
                kind = _LAST
        elif kind == "http.response.pathsend":  # the server sends a whole file by itself
            kind = _LAST
        try:
            await self._send(message)
        except OSError as error:  # the server refused this piece: the client is gone
            self._send_error = error
            self.bytes_sent -= len(message.get("body", b""))
            raise
        if kind is _LAST and not (self._gone() if self.streamed else self._disconnected):
            if 0 < self.status < 500:
                if self.endpoint is UNMATCHED:
                    _http.locate(self, self._front.route, self.scope)
                _plan.end(self)
            else:  # the exception behind a 500 comes after its reply
                self._last_byte_at = recorder.clock()

    def _gone(self) -> bool:
        """
        Tell whether the client has left: servers swallow what is sent then, and only uvicorn's `send` lets it be seen.
        """
        if getattr(getattr(self._send, "__self__", None), "disconnected", False) is True:
            self._disconnected = True
        return self._disconnected

    def _piece(self) -> None:
        self.streamed = True
        if self.first_byte_seconds is None and self.bytes_sent:
            self.first_byte_seconds = recorder.clock() - self.started

    def raised(self, error: BaseException) -> None:
        """
        Take what left the application: an exception, the client's leaving, or a cancellation.
        """
        if self.ended:
            return
        if not isinstance(error, Exception) or self._left(error):
            self._disconnected = True
        else:
            self.exception = self.error = type(error).__name__

    def _left(self, error: Exception) -> bool:
        """
        Tell whether an exception only says that the client is gone, as Starlette's and uvicorn's do.
        """
        if self._send_error is not None and self._send_error in (error, error.__cause__, error.__context__):
            return True
        return type(error).__name__ in ("ClientDisconnect", "ClientDisconnected")

    def close(self) -> None:
        """
        End what has not ended: the application has returned, or raised.
        """
        if not self.status:
            self.status = 499 if self._disconnected else 500
        elif self._last_byte_at is None:
            self.aborted = True
        if self.endpoint is UNMATCHED:
            _http.locate(self, self._front.route, self.scope)
        _plan.end(self, self._last_byte_at)


@cache
def _routes_of(router: type) -> Route:
    if any((base.__module__, base.__name__) == ("starlette.routing", "Router") for base in router.__mro__):
        route: Route = import_module("obskit.integrations.starlette").route_of
        return route
    return _http.no_route


def _framework_route(scope: Scope) -> str | None:
    """
    Ask Starlette or FastAPI where it has routed this request, whatever stands between it and the middleware.
    """
    router = scope.get("router")
    return None if router is None else _routes_of(type(router))(scope)  # type: ignore[arg-type]


class ObskitMiddleware(_http.Follower):
    """
    Observe an ASGI application, and answer `/metrics` and `/health` in front of it.

    `obskit.instrument(app)` puts it outside of everything. As `app.add_middleware(ObskitMiddleware)` it sits inside
    the framework's server-error middleware: the 500 of an unhandled exception is recorded, but its reply carries no
    correlation id.

    Args:
        app: The application.
        route: Tells the matched template from the scope; the framework integrations give theirs.
        **settings: As for `obskit.configure()`; none joins the runtime that stands, or makes one with defaults.
    """

    def __init__(self, app: Application, *, route: Route | None = None, **settings: Any) -> None:
        super().__init__()
        self.app = app
        self.route = route or _framework_route
        configure(**settings)
        follow(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Serve one connection.
        """
        if scope["type"] != "http" or MARK in scope or not self.active:
            await self._pass(scope, receive, send)
            return
        path = scope["path"]
        if path in self.paths or scope.get("root_path"):
            local = path.removeprefix(scope.get("root_path") or "")
            if local in self.paths:
                await self._answer(scope, receive, send, local)
                return
        if self.skip is not None and self.skip(path):
            await self.app(scope, receive, send)
            return
        scope[MARK] = True
        op = AsgiOperation(scope, receive, send, self)
        if self.correlation:
            self._identify(op)
        token = _enter(op)
        _plan.begin(op)
        if op.span is not None:
            op.span.enter()
        try:
            await self.app(scope, op.receive, op.send)
        except BaseException as error:
            op.raised(error)
            raise
        finally:
            if op.span is not None:
                op.span.leave()
            if not op.ended:
                op.close()
            _leave(token)

    def _identify(self, op: AsgiOperation) -> None:
        headers = op.headers
        if b"x-correlation-id" in headers or b"x-request-id" in headers or b"traceparent" in headers:
            _http.identify(op, self.trust_ids)
        else:
            op.correlation_id = recorder.new_id()

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Let everything but requests through as it is; drain when the server has shut the application down.
        """
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return

        async def send_and_drain(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown.") and (runtime := standing()) is not None:
                await asyncio.to_thread(runtime.flush)
            await send(message)

        await self.app(scope, receive, send_and_drain)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        op = AsgiOperation(scope, receive, send, self)
        request = Request(scope["method"], path, op.query, op.header, op.client)
        reply: Reply = await asyncio.to_thread(self.routes.answer, request)
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in reply.headers]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})


def _with_id(headers: Any, correlation_id: str) -> list[tuple[bytes, bytes]]:
    """
    Replace the id header, never append a second; the application's own list stays as it is.
    """
    mine = (_ID, correlation_id.encode("latin-1"))
    # By length first: most names differ in it, and this runs for each header of each reply.
    return [*[pair for pair in headers if len(pair[0]) != _ID_LENGTH or pair[0].lower() != _ID], mine]


def instrument(app: Application, runtime: Runtime) -> ObskitMiddleware:
    """
    Wrap an ASGI callable, once.
    """
    return app if isinstance(app, ObskitMiddleware) else ObskitMiddleware(app)
