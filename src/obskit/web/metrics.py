"""
Answer the metrics page.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias
from urllib.parse import parse_qs

from obskit.health.registry import registry
from obskit.metrics.gauge_callbacks import gauge_callbacks
from obskit.recorder import recorder
from obskit.web.access import Access
from obskit.web.negotiation import accepts
from obskit.web.replies import NO_STORE, Reply, text
from obskit.web.request import Request
from obskit.web.route_settings import RouteSettings
from obskit.web.router import Handler

# Renders the metrics page for an `Accept` header, packed with gzip or not, of all names or some: headers and body.
Page: TypeAlias = Callable[[str, bool, frozenset[str] | None], tuple[list[tuple[str, str]], bytes]]

MAX_NAMES = 1000  # of `name[]`; what follows is not looked for
# Of a page on an event loop: above any scraper's own patience, for collectors of the application's that take long.
PAGE_SECONDS = 60.0


def metrics_access(settings: RouteSettings) -> Access:
    """
    Return who may read the page: everyone, where neither token nor network is set.
    """
    token, networks = settings.metrics_token, settings.metrics_networks
    everyone = token is None and not networks
    return Access(view_token=token, networks=networks, everyone="viewer" if everyone else None, what="the metrics")


def metrics_handler(page: Page) -> Handler:
    """
    Make the handler that renders the page.
    """

    def answer(request: Request) -> Reply:
        gauge_callbacks.ensure_running()
        registry.ensure_running()
        asked = parse_qs(request.query).get("name[]")
        names = None if asked is None else frozenset(asked[:MAX_NAMES])
        packed = accepts(request.header("accept-encoding") or "", "gzip")
        try:
            headers, body = page(request.header("accept") or "", packed, names)
        except Exception as error:  # of a collector that is not ours: the server must not see it
            recorder.failed("metrics_page", error)
            return text(500, "a collector failed; the application's log says which\n")
        return Reply(200, [*headers, NO_STORE, ("Vary", "Accept, Accept-Encoding")], body)

    return answer
