"""
Share what WSGI and ASGI do alike: which requests to look at, correlation ids, how a request ended.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from obskit import context
from obskit.errors import RouteTakenError
from obskit.kept import Kept
from obskit.logs.writer import ID_OF_REQUEST
from obskit.operation import UNMATCHED, Event, HttpOperation
from obskit.recorder import recorder
from obskit.runtime import Runtime, standing
from obskit.settings import Network, Settings
from obskit.web.routes import Routes, is_in

# A marker in `scope` and `environ`: this request is being observed already.
MARK = "obskit.observed"
ID_HEADER = "X-Correlation-ID"
ID_HEADER_LOWER = "x-correlation-id"
ACCEPTED_HEADERS = (ID_HEADER_LOWER, "x-request-id")

Skip = Callable[[str], bool]
Application = TypeVar("Application")


def identify(op: HttpOperation, trust: bool) -> None:
    """
    Give a request its correlation id: the client's where it is well formed and trusted, else a fresh one.

    A bad id is never kept, logged or sent back.
    """
    traceparent = op.header("traceparent")
    if traceparent is not None:
        op.trace_id = context.trace_id_of(traceparent)
    if trust:
        for name in ACCEPTED_HEADERS:
            given = op.header(name)
            if given is not None and context.valid_id(given):
                op.correlation_id = given
                return
        if op.trace_id is not None:
            op.correlation_id = op.trace_id
            return
    op.correlation_id = recorder.new_id()


def mark(error: BaseException, op: HttpOperation) -> None:
    """
    Leave the request's id with an exception that leaves it: the server logs it when the request is over.
    """
    try:
        setattr(error, ID_OF_REQUEST, op.correlation_id)
    except Exception:
        pass  # it takes no attributes


def locate(op: HttpOperation, route: Callable[[Any], str | None], request: Any) -> None:
    """
    Ask the framework which route matched, unless the application has said it. A surprise is counted, not raised.
    """
    if op.endpoint is UNMATCHED:
        try:
            op.endpoint = route(request) or UNMATCHED
        except Exception as error:
            recorder.failed("route", error)


def no_route(request: Any) -> None:
    """
    Know no routes: bare callables say theirs with `obskit.set_route()`.
    """


def set_route(template: str) -> None:
    """
    Say which route this request took, for applications without a framework's routing.

    Args:
        template: With placeholders, never with values: `/devices/{device_id}`. It becomes the `endpoint` label.
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

    What is no address ends the search: whoever wrote that, the hop before it is the last one that is known.
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


_trusted = Kept[tuple[str, tuple[Network, ...]], bool](lambda key: is_in(*key))

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


class Follower:
    """
    Hold what a middleware needs of the runtime that stands, decided once for each.
    """

    def __init__(self) -> None:
        self.follow(None)

    def follow(self, runtime: Runtime | None) -> None:
        """
        Observe by this runtime from now on; None: pass everything through.
        """
        settings = runtime.settings if runtime is not None else Settings(enabled=False)
        self.active = settings.enabled
        self.routes = runtime.routes if runtime is not None else Routes(settings, None)
        self.paths = self.routes.paths
        self.skip = skipper(settings)
        self.trusted = settings.trusted_proxies
        self.trust_ids = settings.trust_inbound_ids
        self.correlation = settings.correlation
        self.lines = runtime is not None and runtime.lines
        self.heads = self.lines or self.correlation  # whether a request's headers are looked at
        self.server_timing = settings.server_timing


class Front(Follower, Generic[Application]):
    """
    Stand in front of an application, and let its replies say what they cost where that is asked for.

    Args:
        app: The application.
        timed: Wraps it, so that they do.
    """

    def __init__(self, app: Application, timed: Callable[[Application], Application]) -> None:
        self._timed = timed
        self._app = app
        super().__init__()

    @property
    def app(self) -> Application:
        """
        Give the application, as it was given.
        """
        return self._app

    @app.setter
    def app(self, app: Application) -> None:
        self._app = app
        self.serve = self._timed(app) if self.server_timing else app

    def follow(self, runtime: Runtime | None) -> None:
        """
        Observe by this runtime from now on; None: pass everything through.
        """
        super().follow(runtime)
        self.app = self._app


def refuse_taken(runtime: Runtime, routes: Iterable[str]) -> None:
    """
    Refuse to stand in front of a route that the application has.

    Raises:
        RouteTakenError: It names the path, and the setting that moves obskit's.
    """
    for message in _taken(runtime, routes).values():
        raise RouteTakenError(message)


def tell_taken(routes: Iterable[str], told: set[str], below: str = "") -> None:
    """
    Warn of each route that the application and obskit have both, where it is too late to refuse.

    A server would go on after an error here, and without the application.

    Args:
        routes: The application's, without `below`.
        told: The routes that have been warned of; once is enough.
        below: Where obskit's own routes are, without a slash at its end.
    """
    runtime = standing()
    if runtime is None:
        return
    try:
        taken = _taken(runtime, routes, below)
    except Exception as error:  # of a route that is none of the framework's own
        recorder.failed("route", error)
        return
    for route in taken.keys() - told:
        told.add(route)
        recorder.emit(Event("obskit.route_taken", "WARNING", f"{taken[route]}; until then one of the two is hidden"))


def _taken(runtime: Runtime, routes: Iterable[str], below: str = "") -> dict[str, str]:
    """
    Say of each route that the application and obskit have both how to move obskit's.
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
