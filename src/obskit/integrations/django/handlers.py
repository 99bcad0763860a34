"""
Wrap Django's WSGI and ASGI handlers: what `obskit.instrument(get_wsgi_application())` does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from django.core.signals import got_request_exception

from obskit.context import current
from obskit.correlation_ids import ID_HEADER, ID_HEADER_LOWER
from obskit.integrations import wsgi
from obskit.integrations._route_conflicts import refuse_taken
from obskit.integrations._served_request import MatchedRoute
from obskit.integrations.django.hooks import capture_django_exception, hook, hook_exceptions
from obskit.integrations.django.routes import record_route, template, templates
from obskit.operation import UNMATCHED
from obskit.runtime import Runtime

_current = current.get


def instrument(handler: Any, runtime: Runtime) -> Any:
    """
    Observe a Django handler: it comes back wrapped.
    """
    _refuse_taken(runtime)
    hook_exceptions()
    if any(base.__module__ == "django.core.handlers.asgi" for base in type(handler).__mro__):
        # Not before it is asked for: with Django's ASGI handler imported, each request over WSGI takes 1 us longer.
        from obskit.integrations.django.asgi_handler import instrument_asgi

        return instrument_asgi(handler)
    from django.core.handlers.wsgi import WSGIHandler

    middleware = wsgi.ObskitMiddleware(handler, route=_route_of)
    if "get_response" not in vars(handler) and type(handler).__call__ is WSGIHandler.__call__:
        handler.get_response = _reporting(handler.get_response)
        middleware.reports_response = True
    else:  # one that hands requests on to another, as that of static files does
        hook()
    return middleware


def _reporting(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """
    Record what Django answers on the operation, so that a reply in memory, as most are, need not be watched.
    """

    def get_and_report(request: Any) -> Any:
        op: Any = _current()
        if type(op) is not wsgi.WsgiOperation or op.request is not None:  # the view asks for another of its own
            response = get_response(request)
            record_route(request)
            return response
        op.request = request
        response = get_response(request)
        op.request = None
        if op.endpoint is UNMATCHED:
            match = request.resolver_match
            if match is not None:
                op.endpoint = op.prefix + template(match.route)
        op.status = response.status_code
        if op.correlation_id is not None:
            try:
                response.headers._store[ID_HEADER_LOWER] = ID_HEADER, op.correlation_id  # but for the checks of it
            except AttributeError:  # of another Django, or of a replacement for a response
                response.headers[ID_HEADER] = op.correlation_id
        if response.streaming:
            op.apply_handled_exception()
            op.declare_length(response.headers.get("Content-Length"))
            return response
        try:
            [content] = response._container  # `response.content` is a further call, and joins what is one piece
            op.whole_size = len(content)
        except (AttributeError, ValueError):
            op.whole_size = len(response.content)
        return response

    return get_and_report


def _route_of(environ: Any) -> MatchedRoute:
    """
    Read the route while the view runs, from the request that its operation has for that long.
    """
    operation: Any = current.get()
    request = getattr(operation.root, "request", None) if operation is not None else None
    match = request.resolver_match if request is not None else None
    return None if match is None else (template(match.route), environ.get("SCRIPT_NAME", ""))


def _refuse_taken(runtime: Runtime) -> None:
    try:
        routes = list(templates())
    except Exception:
        return  # a URLconf that cannot be imported, or not yet, is Django's to report with its first request
    refuse_taken(runtime, routes)


def _unhandled(request: Any = None, **signal: Any) -> None:
    """
    Record the exception that Django turns into a 500 itself, or lets through; it is being handled meanwhile.
    """
    error = sys.exc_info()[1]
    if error is not None and request is not None:
        capture_django_exception(error, request)


got_request_exception.connect(_unhandled, dispatch_uid="obskit")
