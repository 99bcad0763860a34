"""
Observe ASGI applications: all of their timing, endings and ids, for every ASGI framework.
"""

from __future__ import annotations

import sys
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import Token
from functools import cache, partial
from importlib import import_module
from traceback import walk_tb
from types import MethodType
from typing import Any, TypeAlias

from obskit.bounded_cache import BoundedCache
from obskit.bounded_calls import BusyError, Lane, TooLateError
from obskit.context import current
from obskit.correlation_ids import ID_HEADER_LOWER
from obskit.db.callsite import raised_at
from obskit.deferred_endings import drain, end_later, waiting
from obskit.health.event_loop_lag import lag
from obskit.integrations._client_address import client_address
from obskit.integrations._inbound_correlation import assign_correlation_id, attach_request_id
from obskit.integrations._middleware import WrappingMiddleware, several_middlewares
from obskit.integrations._served_request import (
    ADMITTED,
    OBSERVED,
    Scope,
    ServedOperation,
    TemplateCache,
    current_request,
    headers_of,
    is_cancellation,
    leave,
    locate,
    no_route,
    prefix_label,
)
from obskit.integrations._server_timing import over_asgi
from obskit.integrations._start import configure
from obskit.operation import METHOD_LABELS, UNMATCHED, HttpOperation, Operation
from obskit.recorder import recorder
from obskit.runtime import Runtime, current_runtime, observe_runtime
from obskit.sparse_field import SparseField
from obskit.web.gate import refusal
from obskit.web.pieces import Pieces, send_pieces
from obskit.web.replies import Reply
from obskit.web.request import Request
from obskit.workers.candidates import note_serving

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Route: TypeAlias = Callable[[Scope], str | None]

_plan = recorder.plan(HttpOperation)
_current, _enter, _leave = current.get, current.set, current.reset
_ID = ID_HEADER_LOWER.encode()
# asyncio's transports take this much before they ask to wait (its high-water mark): such a reply is sent when given.
_HIGH_WATER_BYTES = 64 * 1024
# Large pages are packed in turns of their own: the application's pool may be full, just when somebody looks.
_packing = Lane(4, name="obskit-web", may_hold_loop=True)
_PACK_SECONDS = 10.0
# What is queued is written when the application shuts down, by no thread of its pool, and for no longer than this.
_flushing = Lane(1, name="obskit-web", may_hold_loop=True)
_FLUSH_SECONDS = 10.0
_NO_LENGTH = -1


# User-Agents repeat, and as the same text they need not be hashed again for the line.
_user_agents: BoundedCache[bytes | None, str | None] = BoundedCache(
    lambda value: None if value is None else value.decode("latin-1")
)


_no_templates = TemplateCache()
_POLICY_VIOLATION = 1008  # RFC 6455, 7.4.1


class AsgiOperation(ServedOperation):
    """
    One request over ASGI: the operation, and the `receive` and `send` that watch it.
    """

    # Filled by `ObskitMiddleware.__call__()`: a constructor in Python would be a further call for every request.
    __slots__ = (
        "_middleware",
        "_receive",
        "_root_path",
        "_send",
        "_started",
        "_templates",
        "_watches_pieces",
        "routed_scope",
        "scope",
    )
    __init__ = object.__init__

    scope: Scope
    routed_scope: Scope  # what the innermost router was given: this scope, or a copy of it
    _started: Message  # what the reply began with
    _root_path: str | None  # the prefix of all paths, as the server has it
    _receive: Receive
    _send: Send
    _middleware: ObskitMiddleware
    _templates: TemplateCache
    # False from a reply's start on where its last message ends it; True where more has to be seen.
    _watches_pieces: bool | None
    _last_byte_at = SparseField[float | None](None)
    _in_pieces = SparseField(False)
    _length = SparseField[int | None](None)
    _disconnected = SparseField(False)

    def locate(self) -> str:
        if self.endpoint is UNMATCHED and (self.sparse is None or not self.refused):
            locate(self, self._middleware.route, self.routed_scope)
            if self.routed_scope is not self.scope and self.endpoint is not UNMATCHED:
                routed = self.routed_scope
                self.endpoint = (
                    self.mount_prefix(routed.get("app_root_path", routed.get("root_path", ""))) + self.endpoint
                )
        return self.endpoint

    def enter_router(self, scope: Scope) -> None:
        """
        Store the scope of the innermost router; another path belongs to a request that the application makes to itself.
        """
        if "router" not in self.routed_scope or scope["path"] == self.routed_scope["path"]:
            self.routed_scope = scope

    @property
    def is_routed_outside(self) -> bool:
        """
        Return whether something outside has routed the request already.
        """
        return "router" in self.scope

    @property
    def is_answered(self) -> bool:
        return self._last_byte_at is not None

    @property
    def trusts_traces(self) -> bool:
        return self._middleware.trust_traces

    def mount_prefix(self, mounted: str) -> str:
        """
        Return the part of a template that stands for an application's mount inside of the middleware.
        """
        grown = mounted.removeprefix(self._root_path or "")
        return prefix_label(grown) if grown and self.path.startswith((mounted, grown)) else ""

    def header(self, name: str) -> str | None:
        """
        Read a request header by its lower-case name; repeated ones as one list, which is how WSGI has them.
        """
        wanted = name.encode()
        found = [value for key, value in headers_of(self.scope) if key == wanted]
        return b",".join(found).decode("latin-1") if found else None

    @property
    def query(self) -> str:
        return str(self.scope.get("query_string", b""), "latin-1")

    @property
    def scheme(self) -> str:
        return str(self.scope.get("scheme", "http"))

    @property
    def raw_method(self) -> str:
        return str(self.scope["method"])

    async def receive(self) -> Message:
        """
        Pass the client's messages on, and record its disconnect.
        """
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._disconnected = self._watches_pieces = True
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """
        Pass the reply on, and record its status, its size and the time of its last byte.

        No coroutine of its own: the server's goes straight to the application, which saves a frame for each message.
        """
        kind = message["type"]
        if kind == "http.response.body":
            try:  # each look-up is a call less than `get()`
                size = len(message["body"])
            except KeyError:
                size = 0
            if (
                self._watches_pieces is not False
                or size > _HIGH_WATER_BYTES
                or ("more_body" in message and message["more_body"])  # noqa: RUF019
            ):
                return self._send_piece(message)
            self.bytes_sent = size
            if self.endpoint is UNMATCHED:
                templates = self._templates
                try:
                    if len(templates.table) == templates.length:
                        self.endpoint = templates.by_id[id(self.routed_scope["route"])]
                    else:
                        self.locate()
                except KeyError:
                    self.locate()
            if not self.ended:  # Plan.end(), without the call
                self.ended = True
                clock = _plan.clock  # what lies in a slot is read before it is called: see `wsgi.py`
                self.duration_seconds = clock() - self.started
                if waiting:
                    drain()
                if self.sparse is not None and _plan.finish_sparse is not None:
                    _plan.finish_sparse(self)
                finish, finish_too = _plan.finish, _plan.finish_too
                finish(self)
                if finish_too is not None:
                    finish_too(self)
        elif kind == "http.response.start":
            send = self._send
            if type(send) is MethodType and getattr(send.__self__, "disconnected", False) is True:
                self._disconnected = self._watches_pieces = True  # uvicorn swallows what is sent
            if self._watches_pieces is None:
                self.status = status = message["status"]
                self._watches_pieces = status >= 500  # the exception behind it comes after its reply
            if self.correlation_id is not None:
                headers = [*message.get("headers", ())]
                for name, _ in headers:
                    if len(name) == 16 and name.lower() == _ID:  # Django sends names as it has them
                        headers = [pair for pair in headers if pair[0].lower() != _ID]
                        break
                headers.append((_ID, self.correlation_id.encode()))
                message = {**message, "headers": headers}  # a copy: the application may send the same message again
            self._started = message
        elif kind == "http.response.pathsend":  # the server sends a whole file by itself
            return self._send_piece(message)
        send = self._send
        return send(message)

    async def _send_piece(self, message: Message) -> None:
        """
        Send one of several pieces, or a large one, or a 500's, and wait for it: the client may be slow, or leave.

        Nothing but a piece that is empty and the last: hypercorn says "disconnect" while it sends that one, since all
        is sent, and Starlette then cancels the sending.
        """
        more, size = message.get("more_body", False), len(message.get("body", b""))
        if not self.ended and self._is_client_gone():  # it reaches nobody
            await self._send(message)
            return
        if size:
            self._in_pieces = bool(self.bytes_sent)
            self.bytes_sent += size
        if self.ended:
            await self._send(message)
            return
        if more:
            self.streamed = self._watches_pieces = True
            if self.first_byte_seconds is None and self.bytes_sent:
                self.first_byte_seconds = recorder.clock() - self.started
        elif not size and self.streamed:
            self._all_sent()
            await self._send(message)
            return
        disconnected = self._disconnected
        try:
            await self._send(message)
        except OSError:
            self.bytes_sent -= size
            raise
        if not more or self.bytes_sent == self._declared_length():
            self._disconnected = disconnected  # what came meanwhile may mean that all is sent, too
            self._all_sent()

    def _declared_length(self) -> int | None:
        """
        Return the length that the reply declared: its last byte ends the reply, whatever the application does then.
        """
        if self._length is None and self.status:
            given = [text for name, text in self._started.get("headers", ()) if name.lower() == b"content-length"]
            self._length = int(given[0]) if len(given) == 1 and given[0].isdigit() else _NO_LENGTH
        return None if self.method == "HEAD" else self._length

    def _all_sent(self) -> None:
        """
        End with the last byte, unless the client has left; the exception behind a 500 comes after its reply.
        """
        if self._is_client_gone():
            return
        if self.streamed and not self._in_pieces:  # the first message had all of it: middleware passes replies on so
            self.streamed, self.first_byte_seconds = False, None
        if 0 < self.status < 500:
            self._end()
        elif self._last_byte_at is None:
            self._last_byte_at = recorder.clock()

    def _end(self, at: float | None = None) -> None:
        self.locate()
        _plan.end(self, at if self._last_byte_at is None else self._last_byte_at)

    def _is_client_gone(self) -> bool:
        """
        Return whether the client has left: servers discard what is sent then, and only uvicorn's `send` shows it.
        """
        if getattr(getattr(self._send, "__self__", None), "disconnected", False) is True:
            self._disconnected = self._watches_pieces = True
        return self._disconnected

    def record_error(self, error: BaseException) -> None:
        """
        Record what left the application: an exception, the client's disconnect, or a cancellation.
        """
        attach_request_id(error, self)
        if self.ended:
            return
        is_disconnect = isinstance(error, Exception) and self._is_disconnect(error)
        if is_disconnect and not self.bytes_sent and not self.streamed:
            self.status = 0  # it never went out
        is_cancelled = is_cancellation(error)
        if is_cancelled and self.ended_by is not None:  # in a task of its own
            self.exception = self.error = self.ended_by
        elif is_disconnect or is_cancelled:
            self._disconnected = True
        else:
            self.exception = self.error = type(error).__name__
            self.raised_at = raised_at(error)

    def _is_disconnect(self, error: Exception) -> bool:
        """
        Return whether an exception only says that the client is gone: Starlette's and uvicorn's say it by their names,
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

    def end_unfinished(self, at: float | None = None) -> None:
        """
        End what has not ended: the application has returned, or raised, or was dropped at a moment that has passed.
        """
        if not self.status:
            self.status = 499 if self._disconnected else 500
        elif self._last_byte_at is None:
            self.aborted = True
        self.apply_handled_exception()
        self._end(at)


def end_abandoned(op: AsgiOperation, at: float) -> None:
    """
    End a request whose coroutine was collected, or closed.
    """
    op.end_unfinished(at)


class _Frameworks:
    """
    Hooks into Starlette and Django, which record the route behind any middleware between them and ours.
    """

    def __init__(self) -> None:
        self._hooked: set[str] = set()

    def hook(self) -> None:
        """
        Hook those that have been imported.
        """
        for library, integration in _HOOKED.items():
            if library in sys.modules and library not in self._hooked:
                self._hooked.add(library)
                import_module(f"obskit.integrations.{integration}").hook()


# Module of a framework, or of a bridge -> the integration that notes its routes and exceptions, or its requests.
_HOOKED = {
    "starlette.routing": "_starlette_routes",
    "django.core.handlers.base": "django.hooks",
    "uvicorn.middleware.wsgi": "_uvicorn_bridge",
}
_frameworks = _Frameworks()


@cache
def _routes_of(router: type) -> Route:
    if any((base.__module__, base.__name__) == ("starlette.routing", "Router") for base in router.__mro__):
        route: Route = import_module("obskit.integrations._starlette_routes").route_of
        return route
    return no_route


def _below(path: str, root: str) -> str:
    """
    Remove the deployment's prefix from a path, where it is there: proxies may have removed it.
    """
    rest = path.removeprefix(root.rstrip("/"))
    return rest if rest.startswith("/") else path


def framework_route(scope: Scope) -> str | None:
    """
    Return the template that Starlette or FastAPI has matched, behind any middleware between it and ours.
    """
    router = scope.get("router")
    return None if router is None else _routes_of(type(router))(scope)  # type: ignore[arg-type]


class ObskitMiddleware(WrappingMiddleware[Application]):
    """
    ASGI middleware that observes an application, and answers `/metrics` and `/health` in front of it.

    `obskit.instrument(app)` puts it outside of everything. As `app.add_middleware(ObskitMiddleware)` it sits inside
    the framework's server-error middleware: the 500 of an unhandled exception is recorded, but its reply carries no
    correlation id.

    Args:
        app: The application.
        route: Returns the matched template from the scope; the framework integrations pass theirs.
        **settings: As for `obskit.configure()`; without any it joins the current runtime, or makes one with defaults.
    """

    def __init__(self, app: Application, *, route: Route | None = None, **settings: Any) -> None:
        super().__init__(app, over_asgi)
        self.route = route or framework_route
        self.templates = TemplateCache()
        configure(**settings)
        observe_runtime(self)
        _frameworks.hook()
        if route is None and "starlette.routing" in sys.modules:
            import_module("obskit.integrations._starlette_routes").index_routes(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Serve one connection.
        """
        if (
            scope["type"] != "http" or OBSERVED in scope or (several_middlewares and _current() is not None)
        ) and self._is_observed(scope):
            await self._pass(scope, receive, send)
            return
        path = local = scope["path"]
        templates = self.templates
        try:
            base = scope["root_path"]
        except KeyError:
            base = ""
        if base:
            local = _below(path, base)
            templates = _no_templates  # a mount may stand in front of the routes that are known
        if local in self.paths:
            await self._answer(scope, receive, send, local)
            return
        if self.skip is not None and self.skip(local):
            await self.serve_unobserved(scope, receive, send)
            return
        scope[OBSERVED] = True
        op = AsgiOperation()  # and then HttpOperation.__init__(), without the call
        op.correlation_id = op.span = op.sparse = op._watches_pieces = None
        op.ended = False
        op.method = METHOD_LABELS[scope["method"]]
        op.path = path
        op.endpoint = UNMATCHED
        op.status = op.bytes_sent = 0
        op.scope = op.routed_scope = scope
        op._root_path = base
        op._receive = receive
        op._send = send
        op._middleware = self
        op._templates = templates
        if self.reads_headers:
            given = scope.get("headers")
            headers = dict(given if given.__class__ is list else headers_of(scope))
            try:
                op.client = scope["client"][0]
            except (KeyError, TypeError, IndexError):  # a server on a Unix socket has none
                op.client = None
            if self.trusted:
                op.client = client_address(op.client, op.header("x-forwarded-for"), self.trusted)
            op.agent = _user_agents[headers.get(b"user-agent")]
            if self.correlation:
                if b"x-correlation-id" in headers or b"x-request-id" in headers or b"traceparent" in headers:
                    assign_correlation_id(op, self.trust_ids)
                else:
                    new_id = recorder.new_id
                    op.correlation_id = new_id()
        if waiting:  # Plan.begin(), without the call
            drain()
        # What lies in a slot or an attribute is read before it is called: see `wsgi.py`.
        start, clock, serve = _plan.start, _plan.clock, self.serve
        token = _enter(op)
        start(op)
        op.started = clock()
        if op.span is not None:
            op.span.enter()
        try:
            await serve(scope, op.receive, op.send)
        except GeneratorExit as error:
            op.record_error(error)
            end_later(op, end_abandoned, _plan.clock())
            leave(op, token)
            raise
        except BaseException as error:
            try:
                op.record_error(error)
            finally:
                self._finish(op, token)
            raise
        if op.span is not None:  # _finish(), without the call
            op.span.leave()
        if not op.ended:
            op.end_unfinished()
        _leave(token)

    def _finish(self, op: AsgiOperation, token: Token[Operation | None]) -> None:
        if op.span is not None:
            op.span.leave()
        try:
            if not op.ended:
                op.end_unfinished()
        finally:
            _leave(token)

    def _is_observed(self, scope: Scope) -> bool:
        """
        Return whether a connection is left alone: no request, or one that is observed further outside already.
        """
        if scope["type"] != "http" or OBSERVED in scope or not self.active:
            return True
        headers_of(scope)
        root = current_request()
        return root is not None and root.is_same_request(scope)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Pass everything but requests through; note that the application has started, flush when it has shut down.
        """
        if scope["type"] == "websocket":
            note_serving()
        if scope["type"] != "lifespan":
            serve = self.serve_unobserved if scope["type"] == "websocket" else self.app
            await serve(scope, receive, send)
            return
        _frameworks.hook()  # the application has imported what it needs

        async def send_and_flush(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                note_serving()
                if self.active:
                    lag.watch_running()
            elif message["type"].startswith("lifespan.shutdown.") and (runtime := current_runtime()) is not None:
                try:
                    await _flushing.run_async(runtime.flush, _FLUSH_SECONDS)
                except Exception as error:  # it takes too long: the application still shuts down
                    recorder.failed("drain", error)
            await send(message)

        await self.app(scope, receive, send_and_flush)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        reply = await self.routes.answer_async(self._request(scope, path), receive)
        if reply is None:  # the client has left
            return
        start, body = _start_of(reply), reply.body
        if isinstance(body, Pieces):
            await send_pieces(body, start, receive, send)
            return
        assert isinstance(body, bytes)
        if len(body) <= _HIGH_WATER_BYTES:
            await send(start)
            await send({"type": "http.response.body", "body": body})
            return
        pack = partial(_compressed_pieces, body)
        del reply, body
        try:
            pieces = await _packing.run_async(pack, _PACK_SECONDS)
        except (BusyError, TooLateError):
            pieces = pack()
        del pack
        await send(start)
        while pieces:
            piece = zlib.decompress(pieces.popleft())
            await send({"type": "http.response.body", "body": piece, "more_body": bool(pieces)})

    def _request(self, scope: Scope, path: str) -> Request:
        """
        Describe a request, or the handshake of a WebSocket, to what answers it in the application's place.
        """
        op = AsgiOperation()
        op.scope = scope
        peer = scope.get("client")
        client = client_address(peer[0] if peer else None, op.header("x-forwarded-for"), self.trusted)
        return Request(scope.get("method", "GET"), path, op.query, op.header, client, scope)

    def gated(self, app: Application, *, is_observed: bool) -> Application:
        """
        Wrap an application in the gates. A handshake is refused before it is accepted, which servers answer with 403.
        """
        gates = self.gates

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            reply = None
            if ADMITTED not in scope:
                reply = refusal(gates, lambda: self._request(scope, _below(scope["path"], scope.get("root_path", ""))))
            if reply is None:
                scope[ADMITTED] = True
                await app(scope, receive, send)
            elif scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            else:
                if is_observed:
                    op: Any = _current()
                    op.refused = True
                await send(_start_of(reply))
                await send({"type": "http.response.body", "body": reply.body})

        return serve


def _start_of(reply: Reply) -> Message:
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in reply.headers]
    return {"type": "http.response.start", "status": reply.status, "headers": headers}


def _compressed_pieces(body: bytes) -> deque[bytes]:
    """
    Compress what a client may be slow to take, or never take: nothing else bounds the memory that many of them hold.
    """
    return deque(zlib.compress(body[at : at + _HIGH_WATER_BYTES], 1) for at in range(0, len(body), _HIGH_WATER_BYTES))


def instrument(app: Application, runtime: Runtime) -> ObskitMiddleware:
    """
    Wrap an ASGI callable, once.
    """
    return app if isinstance(app, ObskitMiddleware) else ObskitMiddleware(app)
