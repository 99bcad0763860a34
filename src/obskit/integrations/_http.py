"""
What WSGI and ASGI share: which requests are observed, correlation ids, how a request ends.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence, Sized
from contextvars import Token
from typing import Any, Generic, TypeAlias, TypeVar

from obskit import context
from obskit.bounded_cache import BoundedCache
from obskit.errors import RouteTakenError
from obskit.logs.writer import CORRELATION_ID_ATTRIBUTE
from obskit.operation import UNMATCHED, Event, HttpOperation, Operation
from obskit.recorder import recorder
from obskit.redaction.redactor import Redactor
from obskit.runtime import Runtime, current_runtime
from obskit.settings import Network, Settings
from obskit.sparse_field import SparseField
from obskit.web.routes import Routes, is_in

# A marker in `scope` and `environ`: this request is being observed already.
OBSERVED = "obskit.observed"
ID_HEADER = "X-Correlation-ID"
ID_HEADER_LOWER = "x-correlation-id"
ACCEPTED_HEADERS = (ID_HEADER_LOWER, "x-request-id")

Scope: TypeAlias = MutableMapping[str, Any]  # of ASGI
Skip = Callable[[str], bool]
Application = TypeVar("Application")


def assign_correlation_id(op: ServedOperation, trust: bool) -> None:
    """
    Set a request's correlation id: the client's where it is well formed and trusted, else a fresh one.

    An invalid id is never stored, logged or sent back.
    """
    traceparent = op.header("traceparent") if op.trusts_traces else None
    if traceparent is not None:
        op.trace_id = context.trace_id_of(traceparent)
        if op.trace_id is not None and int(traceparent[53:55], 16) & 1:  # W3C: the flag `sampled`
            op.sampled = True  # its figures lead to the caller's trace, whether this process makes spans or not
    if trust:
        for name in ACCEPTED_HEADERS:
            given = op.header(name)
            if given is not None and context.valid_id(given) and (_is_generated_id(given) or _redact(given) is given):
                op.correlation_id = given
                return
        if op.trace_id is not None:
            op.correlation_id = op.trace_id
            return
    op.correlation_id = recorder.new_id()


class ServedOperation(HttpOperation):
    """
    A request whose route may be matched far inside: behind copies of its environ or scope, bridges and mounts.
    """

    __slots__ = ()

    inner_scope = SparseField[Any](None)  # what a router inside was given, where it is not the request's own
    asks_for_websocket = SparseField(False)  # over WSGI: it may last for hours, so it is not in progress meanwhile
    ended_by = SparseField[str | None](None)  # class of what ends the process: its loop cancels the rest
    handled_exception = SparseField[str | None](None)  # class of an exception inside that may become the reply

    def is_same_request(self, carrier: Any) -> bool:
        """
        Return whether an environ or a scope is this request's, or was made from it.

        A copy still has the marker. What a bridge builds has not: it is known by what it asks for, by which requests
        that the application makes to itself, or to another, differ; by the client's name at the least, or by the id
        that they were sent with.
        """
        if OBSERVED in carrier:
            return True
        asked = _request_identity(carrier)
        own = (self.raw_method, self.whole_path, self.query, *map(self.header, _IDENTIFYING_HEADERS))
        return asked is not None and asked == own

    def mount_prefix(self, mounted: str) -> str:
        """
        Return the part of a template that stands for an application's mount, from the whole prefix of its paths.
        """
        raise NotImplementedError

    def enter_router(self, scope: Scope) -> None:
        """
        Keep the scope, made from this request's, that a router inside was given.
        """
        self.inner_scope = scope

    @property
    def is_answered(self) -> bool:
        """
        Return whether all of the reply has been sent: what comes later does not belong to this request.
        """
        return False

    @property
    def whole_path(self) -> str:
        """
        Read the path, with what the application is mounted at.
        """
        return self.path

    @property
    def trusts_traces(self) -> bool:
        """
        Return whether the trace that the client names is trusted.
        """
        raise NotImplementedError

    def record_route(self, found: MatchedRoute) -> None:
        """
        Record the route that an application inside has matched, unless the request has one.
        """
        if found is None:
            return
        template, mounted = (found, "") if isinstance(found, str) else found
        outer = self.locate()
        if mounted is None:
            if outer is UNMATCHED or outer.endswith(MOUNT_WILDCARD):
                self.endpoint = template
        elif outer is UNMATCHED:
            self.endpoint = self.mount_prefix(mounted) + template
        elif outer.endswith(MOUNT_WILDCARD):  # it only says that something is mounted there
            self.endpoint = outer.removesuffix(MOUNT_WILDCARD) + template

    def apply_handled_exception(self) -> None:
        """
        Name the exception that became this reply, once its status is known: a 409 is an answer, a 500 a failure.
        """
        if self.handled_exception is not None and self.status >= 500 and self.exception is None:
            self.exception = self.error = self.handled_exception


# Headers that bridges pass on, and by which requests differ.
_IDENTIFYING_HEADERS = ("host", "user-agent", ID_HEADER_LOWER)
_IDENTIFYING_KEYS = tuple("HTTP_" + name.upper().replace("-", "_") for name in _IDENTIFYING_HEADERS)


def _request_identity(carrier: Any) -> tuple[Any, ...] | None:
    """
    Read what an environ or a scope asks for, and by whom; None of what is no request.
    """
    try:
        if "REQUEST_METHOD" in carrier:
            query = carrier.get("QUERY_STRING", "")
            return (carrier["REQUEST_METHOD"], path_of(carrier), query, *map(carrier.get, _IDENTIFYING_KEYS))
        if carrier["type"] != "http":
            return None
        found: dict[str, str] = {}
        for name, value in headers_of(carrier):
            text = str(value, "latin-1")
            key = str(name, "latin-1")
            found[key] = f"{found[key]},{text}" if key in found else text
        query = str(carrier.get("query_string", b""), "latin-1")
        return (carrier["method"], carrier["path"], query, *map(found.get, _IDENTIFYING_HEADERS))
    except (KeyError, TypeError, ValueError):
        return None


def headers_of(scope: Any) -> Any:
    """
    Return the headers of a scope; an iterator is replaced by a list, so that the application can read it too.
    """
    headers = scope.get("headers") or ()
    if isinstance(headers, Iterator):
        scope["headers"] = headers = list(headers)
    return headers


def path_of(environ: dict[str, Any]) -> str:
    """
    Return the whole path of a request, with the prefix that its application is mounted at.
    """
    return text_of(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""))


def text_of(path: str) -> str:
    """
    Read a path as PEP 3333 has it: bytes in disguise.
    """
    return path if path.isascii() else path.encode("latin-1", "replace").decode("utf-8", "replace")


def current_request() -> ServedOperation | None:
    """
    Return the request that is being answered in this context; None outside of one.
    """
    operation = context.current.get()
    root = None if operation is None else operation.root
    return root if isinstance(root, ServedOperation) and not (root.ended or root.is_answered) else None


def capture_exception(error: BaseException) -> None:
    """
    Record an exception of the application that something inside is about to answer, or that ends the event loop.
    """
    root = current_request()
    if root is None or is_cancellation(error):
        return
    if isinstance(error, Exception):
        root.handled_exception = type(error).__name__
    else:
        root.ended_by = type(error).__name__


def is_cancellation(error: BaseException) -> bool:
    """
    Return whether an exception only cancels: a task, a greenlet or a generator is ended.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_cancellation, error.exceptions))
    return not isinstance(error, Exception) and type(error).__name__ in _CANCELLATIONS


def leave(op: HttpOperation, token: Token[Operation | None]) -> None:
    """
    Reset the context of a request whose coroutine was closed: a garbage collection may have done so in another.
    """
    if context.current.get() is not op:
        return
    try:
        context.current.reset(token)
    except ValueError:  # of a task that this one has started
        return
    if op.span is not None:
        op.span.leave()


# Python's, greenlet's, asyncio's and Trio's, none of which is imported for it.
_CANCELLATIONS = frozenset({"GeneratorExit", "GreenletExit", "CancelledError", "Cancelled"})


def prefix_label(prefix: str) -> str:
    """
    Return the label of a path prefix; "" once there are more than `MAX_PREFIXES`, which no deployment has.
    """
    if prefix not in _prefixes:
        if len(_prefixes) >= MAX_PREFIXES or len(prefix) > MAX_PREFIX:
            return ""
        _prefixes.add(prefix)
    return prefix.rstrip("/")


# Mounts are few. But some applications mount tenants, and some middleware takes the prefix from a client's header.
MAX_PREFIXES = 100
MAX_PREFIX = 200
_prefixes: set[str] = set()


# Generated ids are no secrets; other well-formed ones may be tokens that a client put there.
_is_generated_id = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE).fullmatch
_redact = Redactor().text


def attach_request_id(error: BaseException, op: HttpOperation) -> None:
    """
    Attach the request's id to an exception that leaves it: the server logs it when the request is over.
    """
    try:
        setattr(error, CORRELATION_ID_ATTRIBUTE, op.correlation_id)
    except Exception:
        pass  # it takes no attributes


# The end of a template that only says that something is mounted there.
MOUNT_WILDCARD = "/{path}"


# A template, or the part of it below a mount and the whole prefix of that mount's paths; an endpoint's name and None.
MatchedRoute: TypeAlias = str | tuple[str, str | None] | None


def locate(op: ServedOperation, route: Callable[[Any], MatchedRoute], request: Any) -> None:
    """
    Ask the framework which route matched, unless the application has set it. An error is counted, not raised.
    """
    if op.endpoint is UNMATCHED:
        try:
            found = route(request)
            if found is None:
                return
            if type(found) is str:
                op.endpoint = found or UNMATCHED
            else:
                op.endpoint = found[0] if found[1] is None else op.mount_prefix(found[1]) + found[0]
        except Exception as error:
            recorder.failed("route", error)


def set_route(template: str) -> None:
    """
    As `obskit.set_route()`.
    """
    operation = context.current.get()
    root = operation.root if operation is not None else None
    if isinstance(root, HttpOperation):
        root.endpoint = template if template.startswith("/") else "/" + template


def skipper(settings: Settings) -> Skip | None:
    """
    Build the test for paths that are not observed; None where every path is.
    """
    if not settings.exclude:
        return None
    whole = {item.rstrip("/") or "/" for item in settings.exclude if isinstance(item, str)}
    prefixes = tuple(item if item.endswith("/") else item + "/" for item in whole)
    patterns = [item.search for item in settings.exclude if isinstance(item, re.Pattern)]

    def skip(path: str) -> bool:
        return path in whole or path.startswith(prefixes) or any(search(path) for search in patterns)

    return skip


def client_address(peer: str | None, forwarded: str | None, trusted: Sequence[Network]) -> str | None:
    """
    Find the client: the peer, unless it is a trusted proxy; then the first untrusted address from the right.

    What is no address ends the search: the hop before it is the last one that is known.
    """
    if peer is None or not trusted or not forwarded or not _trusted[peer, tuple(trusted)]:
        return peer
    address = peer
    for hop in reversed(forwarded.split(",")):
        found = _address_of(hop.strip())
        if found is None:
            return address
        address = found
        if not _trusted[address, tuple(trusted)]:
            return address
    return address


_trusted = BoundedCache[tuple[str, tuple[Network, ...]], bool](lambda key: is_in(*key))

# An IPv6 address with its zone (15 characters on Linux), brackets and port; Python takes zones of any length.
MAX_HOP = 70
# With a port, as some proxies write a hop: `192.0.2.1:5678`, `[2001:db8::1]:5678`; brackets may come without one.
_with_port = re.compile(r"\A(?:\[([^\]]*)\](?::\d{1,5})?|([^:]*):\d{1,5})", re.ASCII).fullmatch


def _address_of(hop: str) -> str | None:
    if len(hop) > MAX_HOP:
        return None
    match = _with_port(hop)
    text = hop if match is None else match[1] or match[2]
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return None
    return text


def no_route(asked: Any) -> None:
    """
    Return no route.
    """


# Read by hot code, as the queue of deferred endings is. Empty while there is one middleware alone: then only its own
# marker can say that a request is observed already, since a request that a bridge has built comes to another.
several_middlewares: list[bool] = []
_numbers = itertools.count()


class MiddlewareBase:
    """
    What a middleware needs of the current runtime, decided once for each runtime.

    Attributes:
        route: Returns the matched route, from the environ or the scope.
        route_of_error: Returns it from an exception that has left the application, after which `route` finds nothing.
        by_name: Whether the endpoint is the name that the framework gives it.
    """

    route: Callable[[Any], MatchedRoute] = staticmethod(no_route)
    route_of_error: Callable[[BaseException], MatchedRoute] = staticmethod(no_route)

    def __init__(self) -> None:
        self.runtime_changed(None)
        if next(_numbers) == 1:
            several_middlewares.append(True)

    def runtime_changed(self, runtime: Runtime | None) -> None:
        """
        Take the settings of this runtime from now on; None: pass everything through.
        """
        if runtime is None and getattr(self, "active", False):
            _prefixes.clear()  # the next runtime shows its own
        settings = runtime.settings if runtime is not None else Settings(enabled=False)
        self.active = settings.enabled
        self.routes = runtime.routes if runtime is not None else Routes(settings, None)
        self.paths = self.routes.paths
        self.skip = skipper(settings)
        self.trusted = settings.trusted_proxies
        self.trust_ids = settings.trust_inbound_ids
        self.trust_traces = settings.trust_inbound_traces
        self.correlation = settings.correlation
        self.wants_client = runtime is not None and runtime.wants_client
        self.reads_headers = self.wants_client or self.correlation  # whether a request's headers are looked at
        self.server_timing = settings.server_timing
        self.by_name = settings.endpoint_style == "name"


class WrappingMiddleware(MiddlewareBase, Generic[Application]):
    """
    A middleware that wraps an application, and adds `Server-Timing` to its replies where the setting asks for it.

    Args:
        app: The application.
        timed: Wraps it, so that its replies carry `Server-Timing`.
    """

    def __init__(self, app: Application, timed: Callable[[Application], Application]) -> None:
        self._timed = timed
        self._app = app
        super().__init__()

    @property
    def app(self) -> Application:
        """
        Return the application as it was passed in.
        """
        return self._app

    @app.setter
    def app(self, app: Application) -> None:
        self._app = app
        self.serve = self._timed(app) if self.server_timing else app

    def runtime_changed(self, runtime: Runtime | None) -> None:
        """
        Take the settings of this runtime from now on; None: pass everything through.
        """
        super().runtime_changed(runtime)
        self.app = self._app


class TemplateCache:
    """
    Templates by the identity of what was matched, so that nearly every request finds its own by one look-up.

    Attributes:
        table: The route table they were read from.
        length: How long it was then; where nothing is known, no table is as long.
        by_id: They, by the `id()` of what routing leaves in `scope["route"]`.
    """

    table: Sized = ()
    length = -1

    def __init__(self) -> None:
        self.by_id: dict[int, str] = {}


def refuse_taken(runtime: Runtime, routes: Iterable[str]) -> None:
    """
    Refuse to hide a route of the application.

    Raises:
        RouteTakenError: It names the path, and the setting that moves obskit's.
    """
    for message in _taken_routes(runtime, routes).values():
        raise RouteTakenError(message)


def warn_of_taken(routes: Iterable[str], warned: set[str], below: str = "") -> None:
    """
    Warn of each route that the application and obskit have both, where it is too late to refuse.

    A server would go on after an error here, and without the application.

    Args:
        routes: The application's, without `below`.
        warned: The routes that have been warned of; once is enough.
        below: Where obskit's own routes are, without a slash at its end.
    """
    runtime = current_runtime()
    if runtime is None:
        return
    try:
        taken = _taken_routes(runtime, routes, below)
    except Exception as error:  # of a route that is none of the framework's own
        recorder.failed("route", error)
        return
    for route in taken.keys() - warned:
        warned.add(route)
        recorder.emit(Event("obskit.route_taken", "WARNING", f"{taken[route]}; until then one of the two is hidden"))


def _taken_routes(runtime: Runtime, routes: Iterable[str], below: str = "") -> dict[str, str]:
    """
    Return, for each route that the application and obskit both have, a message that says how to move obskit's.
    """
    settings = runtime.settings
    messages = {}
    for route in sorted(runtime.routes.paths.keys() & set(routes)):
        setting = "metrics_path" if route == settings.metrics_path else "health_path"
        messages[route] = (
            f"the application has a route {below}{route} itself: give obskit another place with "
            f"{setting}='/obskit{getattr(settings, setting)}', or {setting}=None to mount none"
        )
    return messages
