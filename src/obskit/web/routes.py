"""
Answer `/metrics` and the health routes, whatever the framework.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias
from urllib.parse import parse_qs

from obskit.background import in_thread
from obskit.errors import ConfigurationError
from obskit.health.event_loop_lag import lag
from obskit.health.registry import registry
from obskit.metrics.gauge_callbacks import gauge_callbacks
from obskit.recorder import recorder
from obskit.web.health import HealthRoutes
from obskit.web.negotiation import accepts
from obskit.web.replies import NO_STORE, TEXT, Reply, Request, has_token, is_in, status_line
from obskit.web.route_settings import RouteSettings
from obskit.workers.candidates import note_serving

# Renders the metrics page for an `Accept` header, packed with gzip or not, of all names or some: headers and body.
Page: TypeAlias = Callable[[str, bool, frozenset[str] | None], tuple[list[tuple[str, str]], bytes]]

MAX_NAMES = 1000  # of `name[]`; what follows is not looked for
_NOT_ALLOWED = Reply(405, [("Allow", "GET, HEAD"), TEXT, NO_STORE], b"method not allowed\n")


class Routes:
    """
    The paths that obskit answers itself; `paths` is what an adapter looks a request's path up in.
    """

    def __init__(self, settings: RouteSettings, page: Page | None) -> None:
        self._settings = settings
        self._page = page
        self.paths: dict[str, Callable[[Request], Reply]] = {}
        self._health = HealthRoutes(settings)
        if settings.metrics_path in self._health.paths:
            raise ConfigurationError(
                f"metrics_path={settings.metrics_path!r} is a route of health_path={settings.health_path!r} too: give "
                "them different paths, or None to mount one of them nowhere"
            )
        if settings.metrics_path and page is not None:
            self.paths[settings.metrics_path] = self._metrics
        for path in self._health.paths:
            self.paths[path] = self._health.answer

    def mount(self, component: str) -> None:
        """
        Add the route of a component of the health registry.
        """
        path = self._health.mount(component)
        if path is not None and path != self._settings.metrics_path:
            self.paths[path] = self._health.answer

    def answer(self, request: Request) -> Reply:
        """
        Answer a request for one of `paths`; HEAD as GET without the body.
        """
        note_serving()
        reply = self.paths[request.path](request) if request.method in ("GET", "HEAD") else _NOT_ALLOWED
        return _finished(request, reply)

    async def answer_async(self, request: Request) -> Reply:
        """
        Answer on asyncio's event loop: the health routes there, the page in a thread.
        """
        import asyncio  # servers without an event loop do not pay for it

        registry.loop = loop = asyncio.get_running_loop()
        lag.watch(loop)
        note_serving()
        if request.method not in ("GET", "HEAD") or request.path not in self._health.paths:
            return await in_thread(self.answer, request)
        return _finished(request, await self._health.answer_async(request))

    def _metrics(self, request: Request) -> Reply:
        refused = self._refused(request)
        if refused is not None:
            return refused
        gauge_callbacks.ensure_running()
        registry.ensure_running()
        asked = parse_qs(request.query).get("name[]")
        names = None if asked is None else frozenset(asked[:MAX_NAMES])
        packed = accepts(request.header("accept-encoding") or "", "gzip")
        assert self._page is not None
        try:
            headers, body = self._page(request.header("accept") or "", packed, names)
        except Exception as error:  # of a collector that is not ours: the server must not see it
            recorder.failed("metrics_page", error)
            return Reply(500, [TEXT, NO_STORE], b"a collector failed; the application's log says which\n")
        return Reply(200, [*headers, NO_STORE, ("Vary", "Accept, Accept-Encoding")], body)

    def _refused(self, request: Request) -> Reply | None:
        token, networks = self._settings.metrics_token, self._settings.metrics_networks
        if token is None and not networks:
            return None
        if networks and is_in(request.client, networks):
            return None
        if token is None:
            return Reply(403, [TEXT, NO_STORE], b"this address may not read the metrics\n")
        if has_token(request, token):
            return None
        return Reply(401, [("WWW-Authenticate", "Bearer"), TEXT, NO_STORE], b"a bearer token is needed\n")


def _finished(request: Request, reply: Reply) -> Reply:
    length = ("Content-Length", str(len(reply.body)))
    return Reply(reply.status, [*reply.headers, length], b"" if request.method == "HEAD" else reply.body)


__all__ = ["Page", "Reply", "Request", "Routes", "is_in", "status_line"]
