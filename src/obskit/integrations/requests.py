"""
Send the request's ids with calls of `requests`.

The hook sits at the adapter, which sees every call by itself: a redirect to another host is a call of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from obskit.errors import MissingExtraError
from obskit.integrations._outgoing_headers import headers_for, with_headers
from obskit.integrations._patches import Patches
from obskit.recorder import recorder

try:
    from requests.adapters import HTTPAdapter
except ImportError as error:
    raise MissingExtraError("obskit.instrument_requests() needs requests: pip install requests") from error

_patches = Patches()


def _with_ids(send: Callable[..., Any]) -> Callable[..., Any]:
    # Handed on as they come: tests' doubles and other tools stand at this place too, some with keywords alone.
    def send_with_ids(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        sent = _with(request) if _patches.on else request  # else it is called by what was patched over ours
        return send(self, sent, *args, **kwargs)

    return send_with_ids


def _with(request: Any) -> Any:
    try:
        url = urlsplit(request.url)
        added = headers_for(url.scheme, url.hostname, url.port, request.headers)
        return with_headers(request, added) if added else request
    except ValueError:
        return request  # requests says what is wrong with the address
    except Exception as error:  # unexpected kinds of headers: the call is made unchanged
        recorder.failed("outgoing", error)
        return request


def instrument() -> None:
    """
    Carry the ids from now on, whatever session makes the call.
    """
    _patches.put(HTTPAdapter, "send", _with_ids)


def uninstrument() -> None:
    """
    Send calls as they are made again.
    """
    _patches.restore()
