"""
Decide which outgoing calls carry the ids: those to the hosts of `propagate_to`, and none elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from obskit.bounded_cache import BoundedCache
from obskit.propagation import outgoing_headers
from obskit.runtime import current_runtime

_PORTS = {"http": 80, "https": 443}


def headers_for(scheme: str, host: str | None, port: int | None, present: Any) -> dict[str, str]:
    """
    Return the headers to add to a call; empty for hosts that may not be sent the ids.

    Args:
        scheme: `http` or `https`.
        host: Without a port; an IPv6 address with or without brackets.
        port: None: the scheme's.
        present: The headers that it has, in whatever form the application has put them; its own stay.
    """
    runtime = current_runtime()
    if runtime is None or not runtime.settings.propagate_to or not host:
        return {}
    if not _allowed[runtime.settings.propagate_to, host.lower().strip("[]"), port or _PORTS.get(scheme, 0)]:
        return {}
    there = {_lower(name) for name in _names(present)}
    return {name: value for name, value in outgoing_headers().items() if name.lower() not in there}


def _names(headers: Any) -> Iterable[Any]:
    """
    Return the names of the headers in a mapping, or in pairs.
    """
    if headers is None:
        return ()
    return headers if hasattr(headers, "keys") else [pair[0] for pair in headers]


def _lower(name: Any) -> str:
    text = name.decode("latin-1") if isinstance(name, bytes) else str(name)
    return text.lower()


def is_allowed(allowed: tuple[str, ...], host: str, port: int) -> bool:
    """
    Return whether a host is on the list, by its whole name, or below a name with a star.
    """
    return any(_matches(pattern, host.rstrip("."), port) for pattern in allowed)


_allowed = BoundedCache[tuple[tuple[str, ...], str, int], bool](lambda key: is_allowed(*key))


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
    Return a copy of a request with these headers added; the original stays as it is: what is made from it, such as
    a redirect to another host, does not inherit them.
    """
    sent = object.__new__(type(request))
    sent.__dict__.update(request.__dict__)
    sent.headers = _joined(request.headers, added)
    return sent


def _joined(headers: Any, added: dict[str, str]) -> Any:
    if isinstance(headers, (list, tuple)):
        return [*headers, *added.items()]
    if headers is None or not hasattr(headers, "copy") or not hasattr(headers, "update"):
        return {**(headers or {}), **added}  # nothing, or a mapping that cannot be changed
    joined = headers.copy()
    joined.update(added)
    return joined
