"""
Observe Starlette and FastAPI applications, from outside of their middleware stack.

    app = obskit.instrument(app)            # outside of everything: 500s carry the correlation id too

    from obskit.integrations.starlette import ObskitMiddleware
    app.add_middleware(ObskitMiddleware)    # the same, but inside of the server-error middleware
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

from obskit.errors import MissingExtraError

try:
    from starlette.applications import Starlette
except ImportError as error:
    raise MissingExtraError("obskit.integrations.starlette needs Starlette: pip install 'obskit[starlette]'") from error

from obskit.integrations._route_conflicts import refuse_taken
from obskit.integrations._served_request import Scope
from obskit.integrations._starlette_routes import index_routes, route_nodes, route_of
from obskit.integrations.asgi import Application, ObskitMiddleware
from obskit.runtime import Runtime

__all__ = ["ObskitMiddleware", "instrument", "route_of"]

_observed: WeakSet[Starlette] = WeakSet()


def instrument(app: Starlette, runtime: Runtime) -> Starlette:
    """
    Observe a Starlette or FastAPI application, in place and once, outside of its server-error middleware.

    Raises:
        RouteTakenError: The application answers `metrics_path` or `health_path` itself. For routes that are added
            later there is a warning, when the application starts or with the next request that is routed: a server
            would go on without the application after an error.
    """
    refuse_taken(runtime, _paths(app))
    if app in _observed:
        return app
    _observed.add(app)
    build = app.build_middleware_stack
    middleware = ObskitMiddleware(_not_built, route=route_of)  # now, not when the stack is built: it joins `runtime`

    def build_observed() -> Application:
        middleware.templates = index_routes(app)
        middleware.app = build()
        return middleware

    if app.middleware_stack is not None:
        middleware.templates = index_routes(app)
        middleware.app, app.middleware_stack = app.middleware_stack, middleware
    app.build_middleware_stack = build_observed  # type: ignore[method-assign]
    return app


async def _not_built(scope: Scope, receive: Any, send: Any) -> None:
    raise RuntimeError("the application has no middleware stack yet")


def _paths(app: Starlette) -> Iterator[str]:
    return (node.path for node in route_nodes(app.router) if not node.has_routes)
