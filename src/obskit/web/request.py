"""
What a function that decides on a request may look at, whatever the server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from obskit.web.visitor import Visitor


@dataclass(slots=True, eq=False)
class Request:
    """
    A request, as the functions see it that the application gives to settings such as `expose_details`.

    Attributes:
        method: As the client wrote it, such as `GET`.
        path: Decoded once, without the prefix that the application is deployed under.
        query: The raw query string, without the question mark.
        client: The client's address, through `trusted_proxies`; None where it is unknown.
        raw: What the server or the framework gave: WSGI's environ, ASGI's scope, or Django's request where its URLconf
            leads here. None in tests that make a request by hand.
        body: Of a POST to a route of obskit's that takes one, at most 64 kB; empty for every other request.
        visitor: Whom the route's rules took the client for; None before they were asked.
    """

    method: str
    path: str
    query: str = field(repr=False)  # it may hold a token, as the headers and the body may
    _header: Callable[[str], str | None] = field(repr=False)
    client: str | None = field(repr=False)
    raw: Any = field(default=None, repr=False)
    body: bytes = field(default=b"", repr=False)
    visitor: Visitor | None = None

    def header(self, name: str) -> str | None:
        """
        Read a header by its name, in any case; repeated ones as one list with commas. None where there is none.
        """
        return self._header(name.lower())
