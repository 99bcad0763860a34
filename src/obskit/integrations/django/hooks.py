"""
Hooks into every handler of Django, which record routes and exceptions, also of handlers that are not instrumented.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.core.handlers.base import BaseHandler
from django.http import Http404

from obskit.integrations._patches import Patches
from obskit.integrations._served_request import capture_exception, current_request
from obskit.integrations.django.routes import record_route

patches = Patches()
# What Django answers with 400, 403 and 404 is no failure.
_ANSWERS = (Http404, PermissionDenied, BadRequest, SuspiciousOperation)


def hook() -> None:
    """
    Record routes and exceptions in handlers behind any middleware.
    """
    patches.put(BaseHandler, "resolve_request", _recording_route)
    hook_exceptions()


def hook_exceptions() -> None:
    """
    Record exceptions that a middleware is about to answer, so that a 500 has a name.
    """
    patches.put(BaseHandler, "process_exception_by_middleware", _recording_exception)
    patches.put(BaseHandler, "get_response_async", _recording_end)
    hook_views()


def hook_views() -> None:
    """
    Record the exceptions that Django REST framework and Django Ninja answer themselves, once the URLconf has imported
    them.
    """
    ninja = sys.modules.get("ninja.main")
    if hasattr(ninja, "NinjaAPI"):
        patches.put(ninja.NinjaAPI, "on_exception", _recording_answered)  # type: ignore[union-attr]
    views = sys.modules.get("rest_framework.views")
    if hasattr(views, "APIView"):
        patches.put(views.APIView, "handle_exception", _recording_caught)  # type: ignore[union-attr]


def _recording_route(resolve: Callable[..., Any]) -> Callable[..., Any]:
    def resolve_request(self: Any, request: Any) -> Any:
        match = resolve(self, request)
        hook_views()
        record_route(request)
        return match

    return resolve_request


def _recording_exception(process: Callable[..., Any]) -> Callable[..., Any]:
    def process_exception_by_middleware(self: Any, exception: Exception, request: Any) -> Any:
        capture_django_exception(exception, request)
        return process(self, exception, request)

    return process_exception_by_middleware


def _recording_end(get_response: Callable[..., Any]) -> Callable[..., Any]:
    """
    Record what ends the event loop: Django has a task of its own for each request, and ours is only cancelled then.
    """

    async def get_response_async(self: Any, request: Any) -> Any:
        try:
            return await get_response(self, request)
        except BaseException as error:
            if not isinstance(error, Exception):
                capture_django_exception(error, request)
            raise

    return get_response_async


def _recording_caught(handle: Callable[..., Any]) -> Callable[..., Any]:
    def handle_exception(self: Any, exc: Exception) -> Any:
        if not hasattr(exc, "get_full_details"):  # their own exceptions are answers
            capture_django_exception(exc, self.request)
        return handle(self, exc)

    return handle_exception


def _recording_answered(answer: Callable[..., Any]) -> Callable[..., Any]:
    def on_exception(self: Any, request: Any, exc: Exception) -> Any:
        if not hasattr(exc, "status_code"):  # as their `HttpError`, which is an answer
            capture_django_exception(exc, request)
        return answer(self, request, exc)

    return on_exception


def capture_django_exception(error: BaseException, request: Any) -> None:
    """
    Record an exception, and the route it came from, on the request that is answered here.
    """
    root = current_request()
    try:
        if root is None or not root.is_same_request(getattr(request, "scope", None) or request.META):
            return
    except AttributeError:  # what was sent for a request is none
        return
    if not isinstance(error, _ANSWERS):
        capture_exception(error)
    record_route(request)
