"""
uvicorn's own bridge from ASGI to WSGI, which calls the application in a thread that knows nothing of the request.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from uvicorn.middleware.wsgi import WSGIResponder

from obskit.integrations._patches import Patches

patches = Patches()


def hook() -> None:
    """
    Run the application in the context of the request that the bridge was given, so that the two are known for one.
    """
    patches.put(WSGIResponder, "__init__", _keeping_context)
    patches.put(WSGIResponder, "wsgi", _in_context)


def _keeping_context(make: Callable[..., None]) -> Callable[..., None]:
    def __init__(self: Any, app: Any, executor: Any, scope: Any) -> None:
        make(self, app, executor, scope)
        self._obskit_context = copy_context()

    return __init__


def _in_context(call: Callable[..., None]) -> Callable[..., None]:
    def wsgi(self: Any, environ: Any, start_response: Any) -> None:
        self._obskit_context.run(call, self, environ, start_response)

    return wsgi
