"""
Who may read a route, and who may act there: by token, by network, or by a function of the application.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable
from inspect import iscoroutine
from typing import Any, TypeAlias

from obskit.fields import Network
from obskit.recorder import recorder
from obskit.web.replies import Reply, text
from obskit.web.request import Request
from obskit.web.visitor import ROLES, Role, Visitor

Authorize: TypeAlias = Callable[[Request], Any]
_VISITORS = {role: Visitor(None, role) for role in ROLES}


class Access:
    """
    The rules of one or several routes. Any rule that lets a client in is enough; of several roles the higher counts.

    Args:
        token: Bearer token of operators.
        view_token: Bearer token of viewers.
        networks: Whose addresses are viewers.
        function: Takes the `Request` and gives None, a role, or a `Visitor`. What it raises, and whatever else it
            gives, lets nobody in and is counted.
        everyone: The role of everybody; None: whom no rule lets in is refused.
        part: The function's name in `obskit_errors_total`.
        what: What is refused, for the reply.
    """

    def __init__(
        self,
        *,
        token: str | None = None,
        view_token: str | None = None,
        networks: tuple[Network, ...] = (),
        function: Authorize | None = None,
        everyone: Role | None = None,
        part: str = "authorize",
        what: str = "this page",
    ) -> None:
        self._token, self._view_token = token, view_token
        self._networks = networks
        self._function = function
        self._everyone = everyone
        self._part, self._what = part, what

    @property
    def lets_nobody_in(self) -> bool:
        """
        Return whether there is no rule at all.
        """
        return not (self._token or self._view_token or self._networks or self._function or self._everyone)

    @property
    def asks_application(self) -> bool:
        """
        Return whether a function of the application decides, which may wait for a database.
        """
        return self._function is not None

    def role(self, request: Request) -> Role | None:
        """
        Return a client's role; None where it may not even look.
        """
        visitor = self.visitor(request)
        return None if visitor is None else visitor.role

    def visitor(self, request: Request) -> Visitor | None:
        """
        Return who the client is; None where it may not even look.
        """
        if self._token is not None and has_token(request, self._token):
            return _VISITORS["operator"]
        found = self._asked(request)
        if found is not None:
            return found
        if self._networks and is_in(request.client, self._networks):
            return _VISITORS["viewer"]
        if self._view_token is not None and has_token(request, self._view_token):
            return _VISITORS["viewer"]
        return None if self._everyone is None else _VISITORS[self._everyone]

    def _asked(self, request: Request) -> Visitor | None:
        if self._function is None:
            return None
        try:
            found = self._function(request)
            if found is None or isinstance(found, Visitor):
                return found
            if iscoroutine(found):
                found.close()
                raise TypeError("it is a coroutine function, and must be a plain one")
            if isinstance(found, str) and found in ROLES:
                return _VISITORS[found]
            raise TypeError(f"it gave a {type(found).__name__}: expected None, 'viewer', 'operator' or a Visitor")
        except Exception as error:
            recorder.failed(self._part, error)
            return None

    def refusal(self, request: Request, needed: Role = "viewer") -> Reply | None:
        """
        Record on the request who the client is; return the reply to one who may not, None where it may.
        """
        request.visitor = visitor = self.visitor(request)
        if visitor is not None:
            return None if visitor.may(needed) else text(403, f"this needs the role {needed}\n")
        if self._token is None and self._view_token is None:
            return text(403, f"this address may not read {self._what}\n")
        return text(401, "a bearer token is needed\n", ("WWW-Authenticate", "Bearer"))


def has_token(request: Request, token: str) -> bool:
    """
    Return whether the client sent this bearer token; compared in constant time.
    """
    given = request.header("authorization") or ""
    if given[:7].lower() == "bearer ":  # RFC 9110, 11.1: schemes have no case
        given = f"Bearer {given[7:]}"
    return hmac.compare_digest(given.encode("latin-1", "replace"), b"Bearer " + token.encode())


def is_in(client: str | None, networks: tuple[Network, ...]) -> bool:
    """
    Return whether an address is in one of the networks; what is not an address is in none.
    """
    try:
        address = ipaddress.ip_address(client or "")
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address  # as sockets for both versions write IPv4
    return any(address in network for network in networks)
