"""
Mask a client's address as `log_client` says.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from obskit.bounded_cache import BoundedCache


def mask_client(client: str | None) -> str | None:
    """
    Return the network of an address: /24 of IPv4, /48 of IPv6, as the usual anonymisation does.
    """
    if client is None:
        return None
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return None
    address = getattr(address, "ipv4_mapped", None) or address  # as sockets for both versions write IPv4
    bits = 24 if address.version == 4 else 48
    return str(ipaddress.ip_network((int(address), bits), strict=False).network_address)


def client_formatter(setting: str) -> Callable[[str | None], str | None]:
    """
    Return the function that formats a client's address as `log_client` says; it caches its results.
    """
    if setting == "masked":
        return BoundedCache(mask_client).__getitem__
    return (lambda client: client) if setting == "full" else (lambda client: None)
