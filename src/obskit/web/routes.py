"""
Answer `/metrics` and the health routes, whatever the framework.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import parse_qs

from obskit.errors import ConfigurationError
from obskit.metrics.queries import queries
from obskit.recorder import recorder
from obskit.settings import Network, Settings

# Renders the metrics page for an `Accept` header, packed with gzip or not, of all names or some: headers and body.
Page: TypeAlias = Callable[[str, bool, list[str] | None], tuple[list[tuple[str, str]], bytes]]


@dataclass(frozen=True, slots=True)
class Request:
    """
    Hold what a route may look at.

    Attributes:
        method, path, query: As the client wrote them; the path without the deployment's prefix.
        header: Reads a header by its lower-case name.
        client: The client's address, or None where it is unknown.
    """

    method: str
    path: str
    query: str
    header: Callable[[str], str | None]
    client: str | None


@dataclass(frozen=True, slots=True)
class Reply:
    """
    Hold what a route answers.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes


_NO_STORE = ("Cache-Control", "no-store")
_TEXT = ("Content-Type", "text/plain; charset=utf-8")
_NOT_ALLOWED = Reply(405, [("Allow", "GET, HEAD"), _TEXT, _NO_STORE], b"method not allowed\n")
_REASONS = {
    200: "200 OK",
    401: "401 Unauthorized",
    403: "403 Forbidden",
    405: "405 Method Not Allowed",
    500: "500 Internal Server Error",
}


class Routes:
    """
    Know the paths that obskit answers itself; `paths` is what an adapter looks a request's path up in.
    """

    def __init__(self, settings: Settings, page: Page | None, now: Callable[[], str]) -> None:
        self._settings = settings
        self._page = page
        self._now = now
        self.paths: dict[str, Callable[[Request], Reply]] = {}
        health = settings.health_path
        if health and settings.metrics_path in (health, health + "/live"):
            raise ConfigurationError(
                f"metrics_path={settings.metrics_path!r} is a route of health_path={health!r} too: give them "
                "different paths, or None to mount one of them nowhere"
            )
        if settings.metrics_path and page is not None:
            self.paths[settings.metrics_path] = self._metrics
        if settings.health_path:
            self.paths[settings.health_path] = self._health
            self.paths[settings.health_path + "/live"] = self._health

    def answer(self, request: Request) -> Reply:
        """
        Answer a request for one of `paths`; HEAD as GET without the body.
        """
        reply = self.paths[request.path](request) if request.method in ("GET", "HEAD") else _NOT_ALLOWED
        length = ("Content-Length", str(len(reply.body)))
        return Reply(reply.status, [*reply.headers, length], b"" if request.method == "HEAD" else reply.body)

    def _health(self, request: Request) -> Reply:
        body = json.dumps({"status": "pass", "timestamp": self._now()}).encode()
        return Reply(200, [("Content-Type", "application/json"), _NO_STORE], body)

    def _metrics(self, request: Request) -> Reply:
        refused = self._refused(request)
        if refused is not None:
            return refused
        queries.ensure_running()
        names = parse_qs(request.query).get("name[]")
        packed = _accepts_gzip(request.header("accept-encoding") or "")
        assert self._page is not None
        try:
            headers, body = self._page(request.header("accept") or "", packed, names)
        except Exception as error:  # of a collector that is not ours: the server must not see it
            recorder.failed("metrics_page", error)
            return Reply(500, [_TEXT, _NO_STORE], b"a collector failed; the application's log says which\n")
        return Reply(200, [*headers, _NO_STORE, ("Vary", "Accept, Accept-Encoding")], body)

    def _refused(self, request: Request) -> Reply | None:
        token, networks = self._settings.metrics_token, self._settings.metrics_networks
        if token is None and not networks:
            return None
        if networks and is_in(request.client, networks):
            return None
        if token is None:
            return Reply(403, [_TEXT, _NO_STORE], b"this address may not read the metrics\n")
        given = (request.header("authorization") or "").encode("latin-1", "replace")
        if hmac.compare_digest(given, b"Bearer " + token.encode()):
            return None
        return Reply(401, [("WWW-Authenticate", "Bearer"), _TEXT, _NO_STORE], b"a bearer token is needed\n")


def status_line(status: int) -> str:
    """
    Give the status as WSGI wants it.
    """
    return _REASONS.get(status, str(status) + " ")


def is_in(client: str | None, networks: tuple[Network, ...]) -> bool:
    """
    Tell whether an address is in one of the networks; what is no address is in none.
    """
    try:
        address = ipaddress.ip_address(client or "")
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address  # as sockets for both versions write IPv4
    return any(address in network for network in networks)


def _accepts_gzip(accept: str) -> bool:
    """
    Read `Accept-Encoding`: gzip, or anything, with a quality above zero.
    """
    offered = {}
    for part in accept.lower().split(","):
        coding, _, parameters = part.partition(";")
        offered[coding.strip()] = parameters.replace(" ", "").removeprefix("q=")
    quality = offered.get("gzip", offered.get("*", "0"))
    return quality == "" or quality.strip("0.") != ""
