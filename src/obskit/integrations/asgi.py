"""
Observe ASGI applications: all of their timing, endings and ids, for every ASGI framework.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache
from importlib import import_module
from traceback import walk_tb
from typing import Any, TypeAlias, TypeVar

from obskit.context import current
from obskit.integrations import _http
from obskit.integrations._http import ID_HEADER_LOWER, MARK
from obskit.integrations._start import configure
from obskit.operation import UNMATCHED, HttpOperation
from obskit.recorder import recorder
from obskit.runtime import Runtime, follow, standing
from obskit.web.routes import Request

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Route: TypeAlias = Callable[[Scope], str | None]
Result = TypeVar("Result")

_plan = recorder.plan(HttpOperation)
_enter, _leave = current.set, current.reset
_ID = ID_HEADER_LOWER.encode()
# asyncio's transports take this much before they ask to wait (its high-water mark): such a reply is sent when given.
_AT_ONCE = 64 * 1024


class AsgiOperation(HttpOperation):
    """
    Be one request seen from ASGI: the operation, and the `receive` and `send` that watch it.
    """

    # Filled by `ObskitMiddleware.__call__()`: an own __init__() would be a further call for every request.
    __slots__ = ("_disconnected", "_front", "_headers", "_last", "_last_byte_at", "_receive", "_send", "scope")

    scope: Scope
    _receive: Receive
    _send: Send
    _front: ObskitMiddleware
    _headers: dict[bytes, bytes] | None
    _last: str  # type of the message that was sent last
    _last_byte_at: float | None
    _disconnected: bool

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

    def send(self, message: Message) -> Awaitable[None]:
        """
        Pass the reply on, and take its status, its size and the moment of its last byte.

        No coroutine of its own: the server's goes straight to the application, which saves a frame for each message.
        """
        self._last = kind = message["type"]
        if kind == "http.response.body":
            self.bytes_sent += len(message.get("body", b""))
            if self.streamed or message.get("more_body", False) or self.bytes_sent > _AT_ONCE:
                return self._send_piece(message)
            if 0 < self.status < 500 and not self._disconnected:
                if self.endpoint is UNMATCHED:
                    try:  # _http.locate(), without the call
                        self.endpoint = self._front.route(self.scope) or UNMATCHED
                    except Exception as error:
                        recorder.failed("route", error)
                _plan.end(self)
            else:  # the exception behind a 500 comes after its reply
                self._last_byte_at = recorder.clock()
        elif kind == "http.response.start":
            server = getattr(self._send, "__self__", None)
            if server is not None and getattr(server, "disconnected", False) is True:  # uvicorn swallows what is sent
                self._disconnected = True
            if not self._disconnected:
                self.status = message["status"]
            if self.correlation_id is not None:
                headers = list(message.get("headers", ()))
                for name, _ in headers:
                    if len(name) == 16 and name.lower() == _ID:
                        headers = [pair for pair in headers if pair[0].lower() != _ID]
                        break
                headers.append((_ID, self.correlation_id.encode("latin-1")))
                message = {**message, "headers": headers}  # a copy: the application may send the same message again
        elif kind == "http.response.pathsend":  # the server sends a whole file by itself
            return self._send_piece(message)
        return self._send(message)

    async def _send_piece(self, message: Message) -> None:
        """
        Send one of several pieces, or a large one, and wait for it: the client may be slow to take it, or leave.

        Nothing but a piece that is empty and the last: hypercorn says "disconnect" while it sends that one, since all
        is sent, and Starlette then cancels the sending.
        """
        more, size = message.get("more_body", False), len(message.get("body", b""))
        if more:
            self.streamed = True
            if self.first_byte_seconds is None and self.bytes_sent:
                self.first_byte_seconds = recorder.clock() - self.started
        elif not size and self._last == "http.response.body":
            self._sent()
            await self._send(message)
            return
        disconnected = self._disconnected
        try:
            await self._send(message)
        except OSError:
            self.bytes_sent -= size
            raise
        if not more:
            self._disconnected = disconnected  # what came meanwhile may mean that all is sent, too
            self._sent()

    def _sent(self) -> None:
        """
        End with the last byte, unless the client has left; the exception behind a 500 comes after its reply.
        """
        if self._gone():
            return
        if 0 < self.status < 500:
            self._end()
        else:
            self._last_byte_at = recorder.clock()

    def _end(self) -> None:
        if self.endpoint is UNMATCHED:
            _http.locate(self, self._front.route, self.scope)
        _plan.end(self, self._last_byte_at)

    def _gone(self) -> bool:
        """
        Tell whether the client has left: servers swallow what is sent then, and only uvicorn's `send` lets it be seen.
        """
        if getattr(getattr(self._send, "__self__", None), "disconnected", False) is True:
            self._disconnected = True
        return self._disconnected

    def raised(self, error: BaseException) -> None:
        """
        Take what left the application: an exception, the client's leaving, or a cancellation.
        """
        if self.ended:
            return
        refused = isinstance(error, Exception) and self._refused(error)
        if refused and self._last == "http.response.start":
            self.status = 0  # it never went out
        if refused or not isinstance(error, Exception):
            self._disconnected = True
        else:
            self.exception = self.error = type(error).__name__

    def _refused(self, error: Exception) -> bool:
        """
        Tell whether an exception only says that the client is gone: Starlette's and uvicorn's say it by their names,
        an `OSError` by coming out of the server's own `send`.
        """
        if type(error).__name__ in ("ClientDisconnect", "ClientDisconnected"):
            return True
        send = getattr(self._send, "__func__", self._send)
        code = getattr(send, "__code__", None)
        for cause in (error, error.__cause__, error.__context__):
            if isinstance(cause, OSError) and any(f.f_code is code for f, _ in walk_tb(cause.__traceback__)):
                return True
        return False

    def close(self) -> None:
        """
        End what has not ended: the application has returned, or raised.
        """
        if not self.status:
            self.status = 499 if self._disconnected else 500
        elif self._last_byte_at is None:
            self.aborted = True
        self._end()


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
        if route is None and "starlette.routing" in sys.modules:
            import_module("obskit.integrations.starlette").stand_before(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Serve one connection.
        """
        if scope["type"] != "http" or MARK in scope or not self.active:
            await self._pass(scope, receive, send)
            return
        path = local = scope["path"]
        if scope.get("root_path"):
            local = path.removeprefix(scope["root_path"])
        if local in self.paths:
            await self._answer(scope, receive, send, local)
            return
        if self.skip is not None and self.skip(local):
            await self.app(scope, receive, send)
            return
        scope[MARK] = True
        op = AsgiOperation(scope["method"], path)
        op.scope, op._receive, op._send, op._front = scope, receive, send, self
        op._headers = op._last_byte_at = None
        op._last = ""
        op._disconnected = False
        if self.lines:
            op._headers = headers = dict(scope["headers"])
            peer = scope.get("client")
            if peer:
                op.client = peer[0]
            if self.trusted:
                op.client = _http.client_address(op.client, op.header("x-forwarded-for"), self.trusted)
            if (agent := headers.get(b"user-agent")) is not None:
                op.agent = agent.decode("latin-1")
        if self.correlation:
            headers = op.headers
            if b"x-correlation-id" in headers or b"x-request-id" in headers or b"traceparent" in headers:
                _http.identify(op, self.trust_ids)
            else:
                op.correlation_id = recorder.new_id()
        token = _enter(op)
        for start in _plan.starts:  # Plan.begin(), without the call
            start(op)
        op.started = _plan.clock()
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

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Let everything but requests through as it is; drain when the server has shut the application down.
        """
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return

        async def send_and_drain(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown.") and (runtime := standing()) is not None:
                try:
                    await _in_thread(runtime.flush)
                except Exception as error:  # no thread is to be had: the application still shuts down
                    recorder.failed("drain", error)
            await send(message)

        await self.app(scope, receive, send_and_drain)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        op = AsgiOperation(scope["method"], path)
        op.scope, op._front, op._headers = scope, self, None
        peer = scope.get("client")
        client = _http.client_address(peer[0] if peer else None, op.header("x-forwarded-for"), self.trusted)
        request = Request(scope["method"], path, op.query, op.header, client)
        reply = await _in_thread(self.routes.answer, request)
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in reply.headers]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})


async def _in_thread(call: Callable[..., Result], *args: Any) -> Result:
    """
    Wait for a call in a thread, on asyncio and on Trio: the loops that ASGI servers run.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        answer: Result = await import_module("trio").to_thread.run_sync(call, *args)
        return answer
    return await asyncio.to_thread(call, *args)


def instrument(app: Application, runtime: Runtime) -> ObskitMiddleware:
    """
    Wrap an ASGI callable, once.
    """
    return app if isinstance(app, ObskitMiddleware) else ObskitMiddleware(app)
