"""
Requests to obskit's own routes, their replies, and who may read them.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from obskit.fields import Network


@dataclass(slots=True)
class Request:
    """
    What a route is told of a request.

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


@dataclass(slots=True)
class Reply:
    """
    The reply of a route.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes


NO_STORE = ("Cache-Control", "no-store")
TEXT = ("Content-Type", "text/plain; charset=utf-8")
_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


def status_line(status: int) -> str:
    """
    Return the status as WSGI wants it: `200 OK`.
    """
    return _LINES.get(status, f"{status} ")


def has_token(request: Request, token: str) -> bool:
    """
    Return whether the client sent this bearer token; compared in constant time.
    """
    given = (request.header("authorization") or "").encode("latin-1", "replace")
    return hmac.compare_digest(given, b"Bearer " + token.encode())


def is_in(client: str | None, networks: tuple[Network, ...]) -> bool:
    """
    Return whether an address is in one of the networks; what is no address is in none.
    """
    try:
        address = ipaddress.ip_address(client or "")
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address  # as sockets for both versions write IPv4
    return any(address in network for network in networks)
