"""
What WSGI and ASGI share about a request that is served: its route, its prefix, its exceptions, and its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sized
from contextvars import Token
from typing import Any, TypeAlias

from obskit import context
from obskit.correlation_ids import ID_HEADER_LOWER
from obskit.db.callsite import raised_at
from obskit.operation import UNMATCHED, HttpOperation, Operation
from obskit.recorder import recorder
from obskit.sparse_field import SparseField

# A marker in `scope` and `environ`: this request is being observed already.
OBSERVED = "obskit.observed"
# Another, of a connection that is not observed: the gates have let it in.
ADMITTED = "obskit.admitted"
Scope: TypeAlias = MutableMapping[str, Any]  # of ASGI


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
        Store the scope, made from this request's, that a router inside was given.
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
        Record the exception that became this reply, once its status is known: a 409 is an answer, a 500 a failure.
        """
        if self.handled_exception is not None and self.status >= 500 and self.exception is None:
            self.exception = self.error = self.handled_exception


# Headers that bridges pass on, and by which requests differ.
_IDENTIFYING_HEADERS = ("host", "user-agent", ID_HEADER_LOWER)
_IDENTIFYING_KEYS = tuple("HTTP_" + name.upper().replace("-", "_") for name in _IDENTIFYING_HEADERS)


def _request_identity(carrier: Any) -> tuple[Any, ...] | None:
    """
    Read what an environ or a scope asks for, and by whom; None of what is not a request.
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
        root.raised_at = raised_at(error)
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


def forget_prefixes() -> None:
    """
    Start over: the next runtime shows the first prefixes that it sees.
    """
    _prefixes.clear()


# The end of a template that only says that something is mounted there.
MOUNT_WILDCARD = "/{path}"
# A template, or the part of it below a mount and the whole prefix of that mount's paths; an endpoint's name and None.
MatchedRoute: TypeAlias = str | tuple[str, str | None] | None


def locate(op: ServedOperation, route: Callable[[Any], MatchedRoute], request: Any) -> None:
    """
    Set the route that the framework matched, unless the application has set one. An error is counted, not raised.
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


def no_route(asked: Any) -> None: ...


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
