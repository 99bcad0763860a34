"""
The address of the client that a request came from, behind proxies or not.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from obskit.bounded_cache import BoundedCache
from obskit.fields import Network
from obskit.web.access import is_in


def client_address(peer: str | None, forwarded: str | None, trusted: Sequence[Network]) -> str | None:
    """
    Find the client: the peer, unless it is a trusted proxy; then the first untrusted address from the right.

    What is not an address ends the search: the hop before it is the last one that is known.
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


_trusted = BoundedCache[tuple[str, tuple[Network, ...]], bool](lambda key: is_in(*key))
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
