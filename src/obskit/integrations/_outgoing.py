"""
Decide which outgoing calls carry the ids: those to the hosts of `propagate_to`, and none elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from obskit.kept import Kept
from obskit.propagation import outgoing_headers
from obskit.runtime import standing

_PORTS = {"http": 80, "https": 443}


def headers_for(scheme: str, host: str | None, port: int | None, present: Mapping[str, str]) -> dict[str, str]:
    """
    Give the headers to add to a call; empty for hosts that may not know the ids.

    Args:
        scheme: `http` or `https`.
        host: Without a port; an IPv6 address with or without brackets.
        port: None: the scheme's.
        present: The headers that it has, by names in any case; the application's own stay.
    """
    runtime = standing()
    if runtime is None or not runtime.settings.propagate_to or not host:
        return {}
    if not _allowed[runtime.settings.propagate_to, host.lower().strip("[]"), port or _PORTS.get(scheme, 0)]:
        return {}
    return {name: value for name, value in outgoing_headers().items() if name not in present}


def is_allowed(allowed: tuple[str, ...], host: str, port: int) -> bool:
    """
    Tell whether a host is on the list, by its whole name, or below a name with a star.
    """
    return any(_matches(pattern, host.rstrip("."), port) for pattern in allowed)


_allowed = Kept[tuple[tuple[str, ...], str, int], bool](lambda key: is_allowed(*key))


def _matches(pattern: str, host: str, port: int) -> bool:
    name, colon, number = pattern.rpartition(":")
    if not colon or number.endswith("]"):  # the last colon is inside of an address
        name, number = pattern, ""
    if number and int(number) != port:
        return False
    name = name.strip("[]")
    return host.endswith(name[1:]) and len(host) >= len(name) if name.startswith("*.") else host == name


def with_headers(request: Any, added: dict[str, str]) -> Any:
    """
    Give a request that has these headers too, and leave the one that was given as it is: what is made from it, such as
    a redirect to another host, does not inherit them.
    """
    sent = object.__new__(type(request))
    sent.__dict__.update(request.__dict__)
    sent.headers = request.headers.copy()
    sent.headers.update(added)
    return sent
