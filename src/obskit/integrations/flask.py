"""
Observe Flask applications, from around their WSGI callable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from obskit.errors import MissingExtraError

try:
    from flask import Flask, Response
    from werkzeug.routing import Rule, RuleFactory
except ImportError as error:
    raise MissingExtraError("obskit.integrations.flask needs Flask: pip install 'obskit[flask]'") from error

from obskit.context import current
from obskit.correlation_ids import ID_HEADER, ID_HEADER_LOWER
from obskit.integrations._flask_routes import hook, recording_own, route_of, route_of_error
from obskit.integrations._route_conflicts import refuse_taken, warn_of_taken
from obskit.integrations._start import configure
from obskit.integrations.wsgi import ObskitMiddleware, WsgiOperation
from obskit.operation import UNMATCHED
from obskit.runtime import Runtime

_BODILESS = (204, 304)
_current = current.get


def instrument(app: Flask, runtime: Runtime) -> Flask:
    """
    Observe a Flask application, in place and once.

    Raises:
        RouteTakenError: The application answers `metrics_path` or `health_path` itself. For routes that are added
            later there is a warning when they are.
    """
    if "obskit" not in app.extensions:
        refuse_taken(runtime, (rule.rule for rule in app.url_map.iter_rules()))
        app.url_map.add = _warning_of_taken(app.url_map.add)  # type: ignore[method-assign]
        middleware = ObskitMiddleware(app.wsgi_app, route=route_of, route_of_error=route_of_error)
        app.wsgi_app = middleware  # type: ignore[method-assign]
        app.extensions["obskit"] = middleware
        if getattr(middleware.app, "__func__", None) is Flask.wsgi_app and _untouched(app):
            app.process_response = _reporting(app.process_response, middleware)  # type: ignore[method-assign,assignment]
            middleware.reports_response = True
        hook()
        if "handle_user_exception" in vars(app):  # Flask-RESTX puts its own there, around what stood there then
            app.handle_user_exception = recording_own(app.handle_user_exception)  # type: ignore[method-assign,assignment]
    return app


def _warning_of_taken(add: Callable[..., None]) -> Callable[..., None]:
    """
    Warn of a route that comes after obskit and is hidden by one of its own.
    """
    warned: set[str] = set()

    def add_rule(rulefactory: RuleFactory) -> None:
        add(rulefactory)
        if isinstance(rulefactory, Rule):
            warn_of_taken([rulefactory.rule], warned)

    return add_rule


# Where a reply is made, and may be made in another way.
_MAKERS = ("full_dispatch_request", "finalize_request", "handle_exception")


def _untouched(app: Flask) -> bool:
    """
    Return whether every reply still goes through `process_response()`; otherwise what it returns may be replaced.
    """
    own = vars(app)
    return all(getattr(type(app), name) is getattr(Flask, name) and name not in own for name in _MAKERS)


def _reporting(process: Callable[[Response], Response], middleware: ObskitMiddleware) -> Callable[[Response], Response]:
    """
    Record what Flask answers on the operation, so that a reply in memory, as most are, need not be watched.
    """

    def process_response(response: Response) -> Response:
        response = process(response)
        op: Any = _current()
        try:
            if op._middleware is not middleware:
                return response
        except AttributeError:  # outside of a request, or inside of something else that is observed
            return response
        try:  # by what lies behind the properties of Werkzeug's own responses: each of these is a further call
            op.status = status = response._status_code
            if op.correlation_id is not None:
                headers = response.headers._list
                for name, _ in headers:
                    if len(name) == 16 and name.lower() == ID_HEADER_LOWER:
                        response.headers[ID_HEADER] = op.correlation_id
                        break
                else:
                    headers.append((ID_HEADER, op.correlation_id))
            if op.endpoint is UNMATCHED:
                rule = op.environ["werkzeug.request"].url_rule
                if rule is not None:
                    # `route_of()`, without the call
                    op.endpoint = rule.endpoint if middleware.by_name else op.prefix + rule.rule
            body = response.response
            if type(body) is list and not response._on_close and status not in _BODILESS and op.method != "HEAD":
                [piece] = body
                if type(piece) is bytes:
                    op.whole_size = len(piece)
                    return response
        except ValueError:  # it has several pieces, or none
            if type(response).__name__ == "WebSocketResponse":  # flask-sock's, once all has been said
                op.upgraded = True
        except Exception:
            _report_unusual(op, response)
        op.whole_size = None
        op.apply_handled_exception()
        op.declare_length(_length_of(response))
        return response

    return process_response


def _report_unusual(op: WsgiOperation, response: Response) -> None:
    """
    Record a response of another class than Werkzeug's, or of another version of it.
    """
    op.status = response.status_code
    if op.correlation_id is not None:
        response.headers[ID_HEADER] = op.correlation_id
    op.locate()


def _length_of(response: Response) -> int | None:
    """
    Return the length that Werkzeug declares, or will; a stream has none.
    """
    length = response.content_length
    if length is None and response.is_sequence:
        length = response.calculate_content_length()
    return length


class Obskit:
    """
    A Flask extension: `Obskit(app)`, or `Obskit()` and `init_app(app)` later.

    `app.config["OBSKIT"]`, a dict of settings, counts as arguments.
    """

    def __init__(self, app: Flask | None = None, **settings: Any) -> None:
        self._settings = settings
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """
        Observe this application.
        """
        runtime = configure(**{**app.config.get("OBSKIT", {}), **self._settings})
        if runtime.settings.enabled:
            instrument(app, runtime)
            runtime.announce()
