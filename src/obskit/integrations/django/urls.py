"""
Serve `/metrics` and the health routes from Django's URLconf: `path("", include("obskit.integrations.django.urls"))`.

The settings say where below that they are. They are asked with each request, so that it does not matter when the
URLconf is imported. `reverse("obskit", args=["metrics"])` gives a URL.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from io import BytesIO
from typing import Any

from django.db.transaction import non_atomic_requests
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path, register_converter
from django.views.decorators.csrf import csrf_exempt

from obskit.integrations._middleware import MiddlewareBase
from obskit.integrations.django.request_operation import DjangoOperation
from obskit.integrations.django.routes import ROUTE_PATTERN
from obskit.runtime import observe_runtime
from obskit.web.bodies import read_body
from obskit.web.pieces import Pieces
from obskit.web.replies import Reply
from obskit.web.request import Request

_middleware = MiddlewareBase()
observe_runtime(_middleware)


class _OwnRoute:
    """
    A path converter that matches what the current runtime answers, and nothing else.
    """

    regex = ".+"

    def to_python(self, value: str) -> str:
        if "/" + value not in _middleware.paths:
            raise ValueError
        return "/" + value

    def to_url(self, value: str) -> str:
        return value.removeprefix("/")


def answer(request: Any, route: str) -> HttpResponse | StreamingHttpResponse:
    """
    Answer one of obskit's routes. Django runs it in a thread under ASGI.
    """
    op = DjangoOperation(request, _middleware)
    asked = Request(request.method, route, op.query, op.header, op.client, request)
    reply = _middleware.routes.answer(asked, partial(_body_of, request))
    pieces, headers = reply.body, dict(reply.headers)
    if isinstance(pieces, bytes):
        return HttpResponse(pieces, status=reply.status, headers=headers)
    if isinstance(pieces, Pieces) and hasattr(request, "scope"):
        return StreamingHttpResponse(_taken(pieces), status=reply.status, headers=headers)
    return StreamingHttpResponse(pieces, status=reply.status, headers=headers)


def _body_of(request: Any) -> bytes | Reply:
    """
    Read the body from the server, or what Django, or a middleware, has read of it already.
    """
    environ = request.META
    if request._read_started:
        return read_body({**environ, "wsgi.input_terminated": True}, BytesIO(getattr(request, "_body", b"")).read)
    if hasattr(request, "scope"):  # all of it lies in a file
        return read_body({**environ, "wsgi.input_terminated": True}, request.read)
    return read_body(environ)


async def _taken(pieces: Pieces) -> AsyncIterator[bytes]:
    """
    Yield the pieces on an event loop: Django would gather all of what yields them elsewhere.
    """
    try:
        while (piece := await pieces.take()) is not None:
            yield piece
    finally:
        pieces.close_soon()


answer.login_required = False  # type: ignore[attr-defined]  # what `login_not_required` sets since Django 5.1
register_converter(_OwnRoute, "obskit")
urlpatterns = [path(ROUTE_PATTERN, non_atomic_requests(csrf_exempt(answer)), name="obskit")]
