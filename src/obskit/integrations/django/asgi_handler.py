"""
Wrap Django's ASGI handler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from obskit.context import current
from obskit.integrations import asgi
from obskit.integrations.django.routes import record_route, template
from obskit.operation import UNMATCHED


def instrument_asgi(handler: Any) -> asgi.ObskitMiddleware:
    """
    Observe the handler, and note routes as it finds them.
    """
    if "resolve_request" not in vars(handler):
        handler.resolve_request = _recording(handler.resolve_request)
    return asgi.ObskitMiddleware(handler)


def _recording(resolve: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """
    Record the route as soon as it is known, so that the view's own queries and AI calls can name it.
    """

    def resolve_request(request: Any) -> Any:
        match = resolve(request)
        op: Any = current.get()
        if (
            type(op) is asgi.AsgiOperation
            and op.endpoint is UNMATCHED
            and not op.is_routed_outside
            and request.scope is op.scope
        ):
            op.endpoint = template(match.route)  # what nearly every request needs of `record_route()`, without the call
        else:
            record_route(request)
        return match

    return resolve_request
