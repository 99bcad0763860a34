"""
Serve `/metrics` and the health routes from Django's URLconf: `path("", include("obskit.integrations.django.urls"))`.

The settings say where below that they are. They are asked with each request, so that it does not matter when the
URLconf is imported. `reverse("obskit", args=["metrics"])` gives a URL.
"""

from __future__ import annotations

from typing import Any

from django.db.transaction import non_atomic_requests
from django.http import HttpResponse
from django.urls import path, register_converter
from django.views.decorators.csrf import csrf_exempt

from obskit.integrations._middleware import MiddlewareBase
from obskit.integrations.django.request_operation import DjangoOperation
from obskit.integrations.django.routes import ROUTE_PATTERN
from obskit.runtime import observe_runtime
from obskit.web.routes import Request

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


def answer(request: Any, route: str) -> HttpResponse:
    """
    Answer one of obskit's routes. Django runs it in a thread under ASGI.
    """
    op = DjangoOperation(request, _middleware)
    reply = _middleware.routes.answer(Request(request.method, route, op.query, op.header, op.client))
    return HttpResponse(reply.body, status=reply.status, headers=dict(reply.headers))


answer.login_required = False  # type: ignore[attr-defined]  # what `login_not_required` sets since Django 5.1
register_converter(_OwnRoute, "obskit")
urlpatterns = [path(ROUTE_PATTERN, non_atomic_requests(csrf_exempt(answer)), name="obskit")]
