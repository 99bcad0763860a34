"""
Observe WSGI applications: all of their timing, endings and ids, for every WSGI framework.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import import_module
from mmap import mmap
from typing import Any, TypeAlias

from obskit.catalogue import events
from obskit.context import current
from obskit.correlation_ids import ID_HEADER, ID_HEADER_LOWER
from obskit.db.callsite import raised_at
from obskit.deferred_endings import drain, end_later, waiting
from obskit.integrations._client_address import client_address
from obskit.integrations._inbound_correlation import assign_correlation_id, attach_request_id
from obskit.integrations._middleware import WrappingMiddleware, several_middlewares
from obskit.integrations._served_request import (
    ADMITTED,
    OBSERVED,
    MatchedRoute,
    ServedOperation,
    current_request,
    is_cancellation,
    locate,
    no_route,
    prefix_label,
    text_of,
)
from obskit.integrations._server_timing import over_wsgi
from obskit.integrations._start import configure
from obskit.operation import METHOD_LABELS, UNMATCHED, HttpOperation
from obskit.recorder import recorder
from obskit.runtime import Runtime, current_runtime, observe_runtime
from obskit.web.bodies import read_body
from obskit.web.gate import refusal
from obskit.web.replies import status_line
from obskit.web.request import Request

Environ: TypeAlias = dict[str, Any]
Headers: TypeAlias = list[tuple[str, str]]
StartResponse: TypeAlias = Callable[..., Callable[[bytes], object]]
Application: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]
Route: TypeAlias = Callable[[Environ], MatchedRoute]
RouteOfError: TypeAlias = Callable[[BaseException], MatchedRoute]

_plan = recorder.plan(HttpOperation)
_current, _enter, _leave = current.get, current.set, current.reset
_INVALID = -1
_COUNTS_ALONE = (
    "the server runs several processes that obskit does not know for one server's workers: each counts for itself, and "
    "/metrics shows the one that answers. Name a directory that they share with metrics_dir='/run/shop'"
)
_NO_LENGTH = -1


class WsgiOperation(ServedOperation):
    """
    One request over WSGI: the operation, and the `start_response` that watches it.
    """

    # Filled by `ObskitMiddleware.__call__()`: a constructor in Python would be a further call for every request.
    __slots__ = (
        "_declared_length",
        "_middleware",
        "_start_response",
        "_write",
        "environ",
        "prefix",
        "request",
        "whole_size",
    )
    __init__ = object.__init__

    environ: Environ
    prefix: str  # where the application is mounted, as its templates begin
    request: Any  # the framework's, while its integration keeps it here; None, or unset, else
    whole_size: int | None  # size of a reply that lies in memory and needs no watching; None: it is watched
    _start_response: StartResponse
    _middleware: ObskitMiddleware
    _declared_length: int
    _write: Callable[[bytes], object] | None

    def locate(self) -> str:
        if self.endpoint is UNMATCHED:
            if self.sparse is not None and self.refused:
                return UNMATCHED
            if self.sparse is None or self.inner_scope is None:
                locate(self, self._middleware.route, self.environ)
            else:
                locate(self, _route_of_bridged, self)
        return self.endpoint

    @property
    def trusts_traces(self) -> bool:
        return self._middleware.trust_traces

    def mount_prefix(self, mounted: str) -> str:
        """
        Return the part of a template that stands for an application's mount, inside of the middleware or around it.
        """
        mounted = text_of(mounted)
        return prefix_label(mounted) if mounted and self.whole_path.startswith(mounted) else self.prefix

    @property
    def whole_path(self) -> str:
        """
        Read the path, also where no sink asks for it.
        """
        return self.path if self._middleware.reads_headers else text_of(self.path)

    def header(self, name: str) -> str | None:
        key = name.upper().replace("-", "_")
        return self.environ.get(key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key)

    @property
    def query(self) -> str:
        return str(self.environ.get("QUERY_STRING", ""))

    @property
    def scheme(self) -> str:
        return str(self.environ.get("wsgi.url_scheme", "http"))

    @property
    def raw_method(self) -> str:
        return str(self.environ["REQUEST_METHOD"])

    def start(self, status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
        """
        Pass the start of the reply on, and record its status, its length and the route that led to it.
        """
        if not self.bytes_sent:  # what comes after that is an exception's, and was never sent
            try:
                self.status = int(status[:3])
            except (ValueError, TypeError):
                self.status = _INVALID
            if self.sparse is not None:
                self.apply_handled_exception()
        if self._middleware.finds_routes or self.sparse is not None:
            self.locate()
        self._declared_length, mine = _NO_LENGTH, False
        headers = list(headers)  # ours: the application may give the same list again, or an iterator
        for name, value in headers:
            size = len(name)
            if size == 14 and name.lower() == "content-length":
                self.declare_length(value)
            elif size == 16 and name.lower() == ID_HEADER_LOWER:
                mine = True
        if self.correlation_id is not None:
            if mine:
                headers = [pair for pair in headers if pair[0].lower() != ID_HEADER_LOWER]
            headers.append((ID_HEADER, self.correlation_id))
        if exc_info is None:
            self._write = self._start_response(status, headers)
        else:
            self._write = self._start_response(status, headers, exc_info)
        return self.write

    def declare_length(self, length: object) -> None:
        """
        Record the length that the reply's headers declare; none where that is not a number.
        """
        text = str(length)
        self._declared_length = int(text) if text.isdecimal() else _NO_LENGTH

    def write(self, data: bytes) -> object:
        """
        Pass on what an application writes by PEP 3333's older way.
        """
        assert self._write is not None
        self.count_sent(len(data))
        return self._write(data)

    def count_sent(self, size: int) -> None:
        """
        Count a piece of the reply; the declared length ends it.
        """
        if self.bytes_sent:
            self.streamed = True
        elif size and self._declared_length != size:
            self.first_byte_seconds = recorder.clock() - self.started
        self.bytes_sent += size
        if self.bytes_sent == self._declared_length and not self.ended:
            self.end()

    def end(self, at: float | None = None) -> None:
        """
        End: every byte has been handed over.

        Args:
            at: The moment, where it has passed already.
        """
        if not self.streamed:
            self.first_byte_seconds = None
        _plan.end(self, at)

    def _became_websocket(self) -> bool:
        """
        Return whether the application has taken the connection for a WebSocket: it was asked to, and started no reply.
        """
        return self.status == 101 or (not self.status and self.asks_for_websocket)

    @property
    def declared_size(self) -> int:
        """
        Return the size that the reply's headers declare, in bytes; 0 without one, and to HEAD.
        """
        return 0 if self.method == "HEAD" else max(self._declared_length, 0)

    def body_exhausted(self) -> None:
        """
        End after the last piece; an application that never started its reply gets the server's 500.
        """
        if self.status < 200:
            self.upgraded = self.upgraded or self._became_websocket()
            self.status = self.status or (101 if self.upgraded else 500)
        self.end()

    def abandon(self, at: float | None = None) -> None:
        """
        End before the body's end: the server has closed the reply, or dropped it, then at an earlier time.
        """
        if self._became_websocket():
            self.upgraded, self.status = True, 101
        elif not self.status:
            self.status = 499
        elif self.method != "HEAD" and self._declared_length != 0:
            self.aborted = True
        self.end(at)

    def end_with_error(self, error: BaseException) -> None:
        """
        End with an exception; before the first byte the server answers 500 in place of what was started.
        """
        attach_request_id(error, self)
        if self.ended:
            return
        if isinstance(error, StopIteration) and (self.upgraded or self._became_websocket()):
            self.upgraded, self.status = True, 101  # how libraries signal to gunicorn that the connection is theirs
            self.end()
            return
        self.locate()
        if self.endpoint is UNMATCHED:
            locate(self, self._middleware.route_of_error, error)
        is_cancelled = is_cancellation(error)
        if not is_cancelled:
            self.exception = self.error = type(error).__name__
            self.raised_at = raised_at(error)
        if self.bytes_sent:
            self.aborted = True
        else:
            self.status = 499 if is_cancelled else 500
        if is_cancelled:  # a garbage collection may have ended the greenlet, or the coroutine
            end_later(self, end_at, _plan.clock())
        else:
            self.end()


def end_at(op: WsgiOperation, at: float) -> None:
    """
    End a request at an earlier time.
    """
    op.end(at)


def asks_for_websocket(environ: Environ) -> bool:
    """
    Return whether a request asks for the connection to become a WebSocket, whether it is granted or not.
    """
    return str(environ.get("HTTP_UPGRADE", "")).lower() == "websocket"


def end_abandoned(op: WsgiOperation, at: float) -> None:
    """
    End a request whose reply, or what else would have shown its end, was dropped.
    """
    op.abandon(at)


def in_context(op: HttpOperation, call: Callable[[], object]) -> None:
    """
    Call, after a request has ended, what belongs to it: with its ids and its span.
    """
    token = _enter(op)
    if op.span is not None:
        op.span.enter()
    try:
        call()
    finally:
        if op.span is not None:
            op.span.leave()
        _leave(token)


class _Reply:
    """
    An application's reply, passed on piece by piece, with the request's context set while the application works.
    """

    __slots__ = ("_body", "_next", "_op")

    def __init__(self, op: WsgiOperation, body: Iterable[bytes]) -> None:
        self._next = iter(body).__next__
        self._body = body
        self._op = op  # last: where the body is no iterable, the middleware ends the operation

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        op = self._op
        token = _enter(op)
        if op.span is not None:
            op.span.enter()
        try:
            piece = self._next()
        except StopIteration:
            if not op.ended:
                op.body_exhausted()
            raise
        except BaseException as error:
            op.end_with_error(error)
            raise
        finally:
            if op.span is not None:
                op.span.leave()
            _leave(token)
        try:
            size = len(piece)
        except TypeError:  # it is no bytes, which is the server's business
            return piece
        if size == op._declared_length and not op.bytes_sent:  # whole, in one piece: what nearly every reply is
            op.bytes_sent = size
            _plan.end(op)
        else:
            op.count_sent(size)
        return piece

    def close(self) -> None:
        """
        End, and let the application clean up in its context.
        """
        op = self._op
        if not op.ended:
            op.abandon()
        close = getattr(self._body, "close", None)
        if close is not None:
            in_context(op, close)

    def __del__(self) -> None:
        op = getattr(self, "_op", None)
        if op is not None and not op.ended:
            end_later(op, end_abandoned, _plan.clock())


_END = object()


class _SizedReply(_Reply):
    """
    A reply with a number of pieces, as the application's has: servers send a lone piece with its length, and gevent's
    adds up the pieces' lengths while it sends the first.
    """

    # Filled by `_sized()`.
    __slots__ = ("_sending",)
    __init__ = object.__init__

    _sending: bool

    def __iter__(self) -> Iterator[bytes]:
        if self._sending:
            return iter(self._body)
        self._sending = True
        # Another object: an iterator is asked for itself again, by `b"".join()` and `chain()`, and goes on.
        return iter(self.__next__, _END)

    def __len__(self) -> int:
        return len(self._body)  # type: ignore[arg-type]


class _ListReply(_SizedReply):
    """
    A reply that is a list or a tuple: none of the application's code runs for it, so it needs no context.
    """

    __slots__ = ()

    def __iter__(self) -> Iterator[bytes]:
        if self._sending:
            return iter(self._body)
        self._sending = True
        return self._pieces()

    def _pieces(self) -> Iterator[bytes]:
        op = self._op
        for piece in self._body:
            try:
                size = len(piece)
            except TypeError:  # it is no bytes, which is the server's business
                yield piece
                continue
            if size == op._declared_length and not op.bytes_sent:
                op.bytes_sent = size
                _plan.end(op)
            else:
                op.count_sent(size)
            yield piece
        if not op.ended:
            op.body_exhausted()


class _FileClose:
    """
    The `close()` of a file that the server sends by itself; the server does not say how much of it was sent.
    """

    __slots__ = ("_close", "_op")

    def __init__(self, op: WsgiOperation, close: Callable[[], object]) -> None:
        self._op = op
        self._close = close

    def __call__(self) -> None:
        op = self._op
        if not op.ended:
            op.bytes_sent = op.declared_size
            op.end()
        in_context(op, self._close)

    def __del__(self) -> None:
        end_later(self._op, end_abandoned, _plan.clock())


class _FileWrapper:
    """
    A server's `wsgi.file_wrapper` that is a function, with what it made last: no class tells that from other bodies.

    uWSGI gives the very file back, mod_wsgi an object of its own; both know what to send by themselves by its identity.
    """

    __slots__ = ("made", "original")

    def __init__(self, original: Callable[..., Any]) -> None:
        self.original = original
        self.made: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.made = made = self.original(*args, **kwargs)
        return made


def _watch_files(environ: Environ) -> None:
    """
    Replace the server's function by ours, for this request.
    """
    if not isinstance(environ["wsgi.file_wrapper"], type):
        environ["wsgi.file_wrapper"] = _FileWrapper(environ["wsgi.file_wrapper"])


def _is_file(environ: Environ, body: Any) -> bool:
    """
    Return whether the server sends this body by itself, and restore the environ.
    """
    wrapper = environ.get("wsgi.file_wrapper")
    if type(wrapper) is not _FileWrapper:
        return isinstance(wrapper, type) and isinstance(body, wrapper)
    environ["wsgi.file_wrapper"] = wrapper.original
    made, wrapper.made = wrapper.made, None
    return made is not None and body is made


def _server_sent(op: WsgiOperation, body: Any) -> Iterable[bytes]:
    """
    Pass a `wsgi.file_wrapper` on unchanged: servers use `sendfile` for no other object.
    """
    closer = _FileClose(op, getattr(body, "close", lambda: None))
    try:
        body.close = closer
    except (AttributeError, TypeError):  # it takes no attributes: what is sent of it is not seen
        op.bytes_sent = op.declared_size
        op.body_exhausted()
    reply: Iterable[bytes] = body
    return reply


def _watch_body(op: WsgiOperation, body: Any) -> Iterable[bytes]:
    kind = type(body)
    if kind is list or kind is tuple:
        return _sized(_ListReply(), op, body)
    if "wsgi.file_wrapper" in op.environ and _is_file(op.environ, body):
        return _server_sent(op, body)
    if kind is bytes:  # as uWSGI takes it, whole; pieces of it are numbers, which others refuse
        op.count_sent(len(body))
        op.body_exhausted()
        whole: bytes = body
        return whole  # type: ignore[return-value]
    return _sized(_SizedReply(), op, body) if hasattr(kind, "__len__") else _Reply(op, body)


def _sized(reply: _SizedReply, op: WsgiOperation, body: Iterable[bytes]) -> _SizedReply:
    reply._next = iter(body).__next__
    reply._body = body
    reply._sending = False
    reply._op = op
    return reply


def _route_of_bridged(op: WsgiOperation) -> MatchedRoute:
    """
    Return the route that the ASGI framework behind a bridge has matched.
    """
    scope = op.inner_scope
    found: str | None = import_module("obskit.integrations._starlette_routes").route_of(scope)
    return None if found is None else (found, scope.get("app_root_path", scope.get("root_path", "")))


class _Frameworks:
    """
    Flask, which is asked for the route behind any middleware, and Django, which records it once it is hooked.
    """

    def __init__(self) -> None:
        self._found: list[Any] = []
        self._hooked: set[str] = set()

    def hook(self) -> bool:
        """
        Hook the frameworks that have been imported; return whether any can be asked for a route.
        """
        for library, integration in (("django.core.handlers.base", "django.hooks"), ("flask.app", "_flask_routes")):
            if library in sys.modules and library not in self._hooked:
                self._hooked.add(library)
                found = import_module(f"obskit.integrations.{integration}")
                found.hook()
                if hasattr(found, "route_of"):
                    self._found.append(found)
        return bool(self._found)

    def route_of(self, environ: Environ) -> MatchedRoute:
        """
        Return the route, where one of them knows it.
        """
        for framework in self._found:
            found: MatchedRoute = framework.route_of(environ)
            if found is not None:
                return found
        return None

    def route_of_error(self, error: BaseException) -> MatchedRoute:
        """
        Return the route that an exception came from.
        """
        return next(filter(None, (framework.route_of_error(error) for framework in self._found)), None)


_frameworks = _Frameworks()


class ObskitMiddleware(WrappingMiddleware[Application]):
    """
    WSGI middleware that observes an application, and answers `/metrics` and `/health` in front of it.

    Args:
        app: The application.
        route: Returns the matched template from the environ while the reply starts; integrations pass theirs.
        route_of_error: Returns it from an exception that has left the application, after which `route` finds nothing.
        **settings: As for `obskit.configure()`; without any it joins the current runtime, or makes one with defaults.
    """

    def __init__(
        self,
        app: Application,
        *,
        route: Route | None = None,
        route_of_error: RouteOfError | None = None,
        **settings: Any,
    ) -> None:
        # Whether the framework's integration reports status, length, route and id, so that the start is not watched.
        self.reports_response = False
        super().__init__(app, over_wsgi)
        self._has_warned = mmap(-1, 1)  # seen by all processes that are forked from this one
        self._asks_frameworks = route is None
        self.finds_routes = route is not None  # whether `route` can find any
        if route is not None:
            self.route, self.route_of_error = route, route_of_error or no_route
        configure(**settings)
        observe_runtime(self)
        self._watch()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """
        Serve one request.
        """
        if OBSERVED in environ or (several_middlewares and _current() is not None):
            root = current_request() if self.active else None
            if root is not None and root.is_same_request(environ):
                return self.app(environ, self._reporting_route(root, environ, start_response))
            if OBSERVED in environ or not self.active:
                return self.app(environ, start_response)
        try:
            path, mounted = environ["PATH_INFO"], environ["SCRIPT_NAME"]
        except KeyError:  # PEP 3333: empty ones may be left out
            path, mounted = environ.get("PATH_INFO", ""), environ.get("SCRIPT_NAME", "")
        if path in self.paths:
            return self._answer(environ, start_response, path)
        if self.skip is not None and self.skip(path):
            serve = self.serve_unobserved
            return serve(environ, start_response)
        environ[OBSERVED] = True
        op = WsgiOperation()  # and then HttpOperation.__init__(), without the call
        op.correlation_id = op.span = op.sparse = op.whole_size = op.request = None
        op.ended = False
        op.method = METHOD_LABELS[environ["REQUEST_METHOD"]]
        op.path = path
        op.prefix = ""
        if mounted:
            op.prefix, op.path = prefix_label(text_of(mounted)), mounted + path
        op.endpoint = UNMATCHED
        op.status = op.bytes_sent = 0
        op.environ = environ
        op._middleware = self
        op._declared_length = _NO_LENGTH
        if "wsgi.file_wrapper" in environ and environ["wsgi.file_wrapper"].__class__ is not type:
            _watch_files(environ)
        if "HTTP_UPGRADE" in environ:
            op.asks_for_websocket = asks_for_websocket(environ)
        if self.reads_headers:
            if not op.path.isascii():
                op.path = text_of(op.path)
            op.client = environ.get("REMOTE_ADDR")
            op.agent = environ.get("HTTP_USER_AGENT")
            if self.trusted:
                op.client = client_address(op.client, environ.get("HTTP_X_FORWARDED_FOR"), self.trusted)
            if self.correlation:
                if (
                    "HTTP_X_CORRELATION_ID" in environ
                    or "HTTP_X_REQUEST_ID" in environ
                    or "HTTP_TRACEPARENT" in environ
                ):
                    assign_correlation_id(op, self.trust_ids)
                else:
                    new_id = recorder.new_id
                    op.correlation_id = new_id()
        if waiting:  # Plan.begin(), without the call
            drain()
        # Here and below, what lies in a slot or an attribute is read before it is called: CPython 3.11 looks for a
        # method first in `_plan.start(op)`, along all of the type's bases.
        start, clock, serve = _plan.start, _plan.clock, self.serve
        token = _enter(op)
        start(op)
        op.started = clock()
        if op.span is not None:
            op.span.enter()
        try:
            if self.reports_response:
                body = serve(environ, start_response)
            else:
                op._start_response = start_response
                body = serve(environ, op.start)
            whole_size = op.whole_size
            if whole_size is None:
                return _watch_body(op, body)
        except BaseException as error:
            op.end_with_error(error)
            raise
        finally:
            if op.span is not None:
                op.span.leave()
            _leave(token)
        op.bytes_sent = whole_size  # every byte is there: to hand it over is to have sent it
        if not op.ended:  # Plan.end(), without the call
            op.ended = True
            op.duration_seconds = clock() - op.started
            if waiting:
                drain()
            if op.sparse is not None:
                op.apply_handled_exception()
                if _plan.finish_sparse is not None:
                    _plan.finish_sparse(op)
            finish, finish_too = _plan.finish, _plan.finish_too
            finish(op)
            if finish_too is not None:
                finish_too(op)
        return body

    def _reporting_route(self, root: ServedOperation, environ: Environ, start_response: StartResponse) -> StartResponse:
        """
        Wrap `start_response`: what observes this request further outside is given the route.
        """

        def start(status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
            try:
                root.record_route(self.route(environ))
            except Exception as error:
                recorder.failed("route", error)
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        return start

    def _watch(self) -> None:
        """
        Take routes from the frameworks that have been imported, where the constructor was given no route function.
        """
        if self._asks_frameworks and _frameworks.hook():
            self.route, self.route_of_error, self.finds_routes = _frameworks.route_of, _frameworks.route_of_error, True

    def _answer(self, environ: Environ, start_response: StartResponse, path: str) -> Iterable[bytes]:
        self._watch()
        if (shown := text_of(path)) in self.paths:
            path = shown
        reply = self.routes.answer(self._request(environ, path), partial(read_body, environ))
        if environ.get("wsgi.multiprocess"):
            self._warn_of_processes()
        start_response(status_line(reply.status), reply.headers)
        return [reply.body] if isinstance(reply.body, bytes) else reply.body

    def _request(self, environ: Environ, path: str) -> Request:
        """
        Describe a request to what answers it in the application's place.
        """
        op = WsgiOperation()
        op.environ = environ
        client = client_address(environ.get("REMOTE_ADDR"), environ.get("HTTP_X_FORWARDED_FOR"), self.trusted)
        return Request(op.raw_method, path, op.query, op.header, client, environ)

    def gated(self, app: Application, *, is_observed: bool) -> Application:
        """
        Wrap an application in the gates.
        """
        gates = self.gates

        def serve(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            if ADMITTED in environ:
                return app(environ, start_response)
            reply = refusal(gates, lambda: self._request(environ, text_of(environ.get("PATH_INFO", ""))))
            if reply is None:
                environ[ADMITTED] = True
                return app(environ, start_response)
            if is_observed:
                op: Any = _current()
                op.refused = True
                if self.reports_response:  # by which nothing has been asked here
                    op._start_response, start_response = start_response, op.start
            start_response(status_line(reply.status), reply.headers)
            assert isinstance(reply.body, bytes)
            return [reply.body]

        return serve

    def _warn_of_processes(self) -> None:
        """
        Warn, once for all processes that were forked from this one, where each of them counts for itself.
        """
        runtime = current_runtime()
        if runtime is None or not runtime.counts_alone or self._has_warned[0]:
            return
        self._has_warned[0] = 1
        recorder.emit(events.ALONE.event(_COUNTS_ALONE))


def instrument(app: Application, runtime: Runtime) -> ObskitMiddleware:
    """
    Wrap a WSGI callable, once.
    """
    return app if isinstance(app, ObskitMiddleware) else ObskitMiddleware(app)
