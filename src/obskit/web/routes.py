"""
Answer obskit's own routes, whatever the framework: refuse, read, ask the handler, and finish what it gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias
from weakref import WeakSet

from obskit.background import listed
from obskit.bounded_calls import BusyError, Lane, TooLateError
from obskit.errors import ConfigurationError
from obskit.health.event_loop_lag import lag
from obskit.health.registry import registry
from obskit.recorder import recorder
from obskit.web.bodies import ClientGoneError, Receive, receive_body
from obskit.web.health import HealthRoutes
from obskit.web.metrics import PAGE_SECONDS, Page, metrics_access, metrics_handler
from obskit.web.pieces import Pieces
from obskit.web.replies import Reply, checked, text
from obskit.web.request import Request
from obskit.web.route_settings import RouteSettings
from obskit.web.router import Route, Router, is_plain
from obskit.workers.candidates import note_serving

ReadBody: TypeAlias = Callable[[], bytes | Reply]

# Of an application's function that says who may: a client that it keeps waiting gets a 503.
ACCESS_SECONDS = 5.0
MAX_STREAMS = 4  # replies in pieces that are on their way; each may hold files, and its client may be slow
_BUSY = (503, "this worker is busy with another such request\n", ("Retry-After", "1"))


class Routes(Router):
    """
    The paths that obskit answers itself; `paths` is what an adapter looks a request's path up in.
    """

    def __init__(self, settings: RouteSettings, page: Page | None) -> None:
        super().__init__()
        self._settings = settings
        # A probe never waits for a page, and neither for anything of the application's or of a slow handler.
        self._health_lane = Lane(16, name="obskit-web", may_hold_loop=True)
        self._metrics_lane = Lane(4, name="obskit-web", may_hold_loop=True)
        self._slow = Lane(1, name="obskit-web")
        self._access_lane = Lane(4, name="obskit-web")
        self._open: WeakSet[Pieces] = WeakSet()
        self._health = HealthRoutes(settings)
        if settings.metrics_path in self._health.paths:
            raise ConfigurationError(
                f"metrics_path={settings.metrics_path!r} is a route of health_path={settings.health_path!r} too: give "
                "them different paths, or None to mount one of them nowhere"
            )
        if settings.metrics_path and page is not None:
            handlers = {"GET": metrics_handler(page)}
            lane, access = self._metrics_lane, metrics_access(settings)
            self.add(settings.metrics_path, Route("metrics_path", handlers, access, seconds=PAGE_SECONDS, lane=lane))
        for path in self._health.paths:
            self._add_health(path)

    def _add_health(self, path: str) -> None:
        handlers = {"GET": self._health.answer}
        self.paths[path] = Route("health_path", handlers, seconds=PAGE_SECONDS, lane=self._health_lane)

    def start_over(self) -> None:
        """
        Forget the replies that a forked child's parent goes on sending.
        """
        self._open = WeakSet()

    def mount(self, component: str) -> None:
        """
        Answer for a component of the health registry, too, unless something else answers there.
        """
        path = self._health.mount(component)
        if path is not None and dict.get(self.paths, path) is None:
            self._add_health(path)

    def answer(self, request: Request, read_body: ReadBody | None = None) -> Reply:
        """
        Answer a request for one of `paths`, here; HEAD as GET without the body.

        Args:
            request: The request.
            read_body: Reads its body, where the route takes one and the client may act; None: it has none.

        Returns:
            The reply; a body that is not whole is a `Pieces`, for the adapter to send and to close.
        """
        note_serving()
        route = self.paths[request.path]
        reply = _refusal(route, request)
        if reply is None and request.method == "POST" and read_body is not None:
            reply = _with_body(request, read_body())
        if reply is None:
            reply = self._handled_here(route, request)
        return _finished(request, reply)

    def _handled_here(self, route: Route, request: Request) -> Reply:
        # However many probes share one run of each check, and that has a deadline.
        if route.lane is self._health_lane:
            return self._handle(route, request)
        # The thread is the server's, so nothing ends a handler that hangs: it keeps its place, and those after it are
        # refused before they hang too.
        lane = self._slow if route.lane is None else route.lane
        try:
            return lane.run(lambda: self._handle(route, request))
        except BusyError:
            return text(*_BUSY)

    async def answer_async(self, request: Request, receive: Receive | None = None) -> Reply | None:
        """
        Answer on an event loop: the health routes there, all else in a thread, with a deadline.

        Args:
            request: The request.
            receive: The server's, for the body of a route that takes one.

        Returns:
            As `answer()`; None where the client left before its body had come.
        """
        note_serving()
        route = self.paths[request.path]
        lane = self._slow if route.lane is None else route.lane
        has_loop = _watch_loop()
        try:
            refused = await self._refused(route, request)
            if refused is None and request.method == "POST" and receive is not None:
                refused = _with_body(request, await receive_body(request.header("content-length"), receive))
            if refused is not None:
                reply = refused
            elif has_loop and self._health.answers_on_loop(request):
                reply = await self._health.answer_async(request)
            else:
                reply = await lane.run_async(lambda: self._handle(route, request), route.seconds, _close)
        except BusyError:
            reply = text(*_BUSY)
        except TooLateError:
            reply = _too_late(route.seconds)
        except ClientGoneError:
            return None
        return _finished(request, reply)

    async def _refused(self, route: Route, request: Request) -> Reply | None:
        """
        Refuse on the loop, so that strangers take no place of others; the application's function decides in a thread.
        """
        if route.access is None or not route.access.asks_application or route.handler(request.method) is None:
            return _refusal(route, request)
        try:
            return await self._access_lane.run_async(lambda: _refusal(route, request), ACCESS_SECONDS)
        except TooLateError:
            return _too_late(ACCESS_SECONDS)

    def _handle(self, route: Route, request: Request) -> Reply:
        """
        Ask the handler. What it raises, or gives in place of a reply, is a 500 that says nothing.
        """
        handler = route.handler(request.method)
        assert handler is not None  # or the request was refused
        try:
            reply = checked(handler(request))
            if isinstance(reply.body, bytes):
                return reply
            return self._in_pieces(route, request, reply, reply.body)
        except Exception as error:
            recorder.failed("web", error)
            return text(500, "this failed; the application's log says why\n")

    def _in_pieces(self, route: Route, request: Request, reply: Reply, body: Iterable[bytes]) -> Reply:
        pieces = Pieces(body, self._slow if route.lane is None else route.lane, route.seconds)
        if request.method == "HEAD":
            pieces.close()
        elif sum(not other.is_over for other in listed(self._open)) >= MAX_STREAMS:
            pieces.close()
            return text(*_BUSY)
        else:
            self._open.add(pieces)
            pieces.begin()
        return Reply(reply.status, reply.headers, pieces)


def _refusal(route: Route, request: Request) -> Reply | None:
    refused = route.refusal(request)
    if refused is None and not is_plain(request.path):
        refused = text(404, "there is nothing here\n")
    return refused


def _too_late(seconds: float) -> Reply:
    return text(503, f"this took longer than {seconds:g} s\n", ("Retry-After", "10"))


def _with_body(request: Request, body: bytes | Reply) -> Reply | None:
    if isinstance(body, Reply):
        return body
    request.body = body
    return None


def _watch_loop() -> bool:
    """
    Measure the lag of asyncio's event loop, and have coroutine checks run there; False on another loop.
    """
    loop = lag.watch_running()
    if loop is None:
        return False
    registry.loop = loop
    return True


def _close(reply: Reply) -> None:
    if isinstance(reply.body, Pieces):
        reply.body.close()


def _finished(request: Request, reply: Reply) -> Reply:
    if not isinstance(reply.body, bytes):
        return reply
    length = ("Content-Length", str(len(reply.body)))
    return Reply(reply.status, [*reply.headers, length], b"" if request.method == "HEAD" else reply.body)


__all__ = ["Page", "Reply", "Request", "Routes"]
