"""
Flask's matched rules, and the exceptions that it catches, behind any middleware between Flask and ours.
"""

from __future__ import annotations

from collections.abc import Callable
from traceback import walk_tb
from typing import Any

from flask import Flask, got_request_exception, request
from werkzeug.exceptions import HTTPException

from obskit.integrations._patches import Patches
from obskit.integrations._served_request import MatchedRoute, capture_exception, current_request
from obskit.recorder import recorder
from obskit.runtime import current_runtime


def route_of(environ: dict[str, Any]) -> MatchedRoute:
    """
    Read the matched rule from the request that is current in Flask, or else from the one that it left in the environ.

    What is current there may be a request that the application makes to itself. In the environ may be another's: a
    middleware that makes a `werkzeug.Request` of its own leaves it there too.
    """
    found = request._get_current_object() if request else None  # type: ignore[attr-defined]
    root = current_request()
    if found is None or (found.environ is not environ and root is not None and not root.is_same_request(found.environ)):
        found = environ.get("werkzeug.request")
    return _rule_of(found)


def route_of_error(error: BaseException) -> MatchedRoute:
    """
    Read the rule from the request in the frames that an exception has left: Flask has taken it off by then.
    """
    for frame, _ in walk_tb(error.__traceback__):
        if frame.f_code is Flask.wsgi_app.__code__:
            return _rule_of(getattr(frame.f_locals.get("ctx"), "request", None))
    return None


def _rule_of(found: Any) -> MatchedRoute:
    rule = getattr(found, "url_rule", None)
    if rule is None:
        return None
    runtime = current_runtime()
    if runtime is not None and runtime.settings.endpoint_style == "name":
        return rule.endpoint, None
    return rule.rule, found.environ.get("SCRIPT_NAME", "")


patches = Patches()


def hook() -> None:
    """
    Record what every Flask application catches, and where, also of those that were not instrumented themselves.
    """
    patches.put(Flask, "handle_user_exception", _recording)
    got_request_exception.connect(_unhandled)


def _recording(handle: Callable[..., Any]) -> Callable[..., Any]:
    """
    Record an exception that a handler is about to answer, so that a 500 has a name.
    """

    def handle_user_exception(self: Flask, e: Exception) -> Any:
        capture_flask_exception(e)
        return handle(self, e)

    return handle_user_exception


def capture_flask_exception(error: BaseException) -> None:
    """
    Record an exception that Flask has caught, and its route, on the request that is answered here.
    """
    root = current_request()
    if root is None or not request or not root.is_same_request(request.environ):
        return
    if not isinstance(error, HTTPException):
        capture_exception(error)
    try:
        root.record_route(route_of(request.environ))
    except Exception as failure:
        recorder.failed("route", failure)


def _unhandled(sender: Flask, exception: BaseException, **extra: Any) -> None:
    """
    Record the exception that Flask turns into a 500 itself, or lets through. Some extensions signal 404s so, too.
    """
    capture_flask_exception(exception)


def recording_own(handle: Callable[[Exception], Any]) -> Callable[[Exception], Any]:
    """
    Wrap an application's own `handle_user_exception`, so that exceptions are recorded before it runs.
    """

    def handle_user_exception(e: Exception) -> Any:
        capture_flask_exception(e)
        return handle(e)

    return handle_user_exception
