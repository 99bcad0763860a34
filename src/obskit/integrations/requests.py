"""
Let calls of `requests` carry the request's ids.

The hook sits at the adapter, which sees every call by itself: a redirect to another host is a call of its own.
"""

from __future__ import annotations

from functools import wraps
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from obskit.errors import MissingExtraError
from obskit.integrations._outgoing import headers_for, with_headers

try:
    from requests.adapters import HTTPAdapter
except ImportError as error:
    raise MissingExtraError("obskit.instrument_requests() needs requests: pip install requests") from error

_lock = Lock()
_send = HTTPAdapter.send
_on = False


@wraps(_send)
def _send_with_ids(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
    added = _added(request) if _on else None
    return _send(self, with_headers(request, added) if added else request, *args, **kwargs)


def _added(request: Any) -> dict[str, str]:
    try:
        url = urlsplit(request.url)
        return headers_for(url.scheme, url.hostname, url.port, request.headers)
    except ValueError:
        return {}  # requests says what is wrong with the address


def instrument() -> None:
    """
    Carry the ids from now on, whatever session makes the call.
    """
    global _on
    with _lock:
        _on = True
        HTTPAdapter.send = _send_with_ids  # type: ignore[method-assign]


def uninstrument() -> None:
    """
    Send calls as they are made again.
    """
    global _on
    with _lock:
        _on = False
        if HTTPAdapter.send is _send_with_ids:
            HTTPAdapter.send = _send  # type: ignore[method-assign]
