"""
Observe FastAPI applications: routes are read, and the middleware stack is wrapped, as Starlette's.

    app = obskit.instrument(app)            # outside of everything: 500s carry the correlation id too

    from obskit.integrations.fastapi import ObskitMiddleware
    app.add_middleware(ObskitMiddleware)    # the same, but inside of the server-error middleware
"""

from __future__ import annotations

from obskit.errors import MissingExtraError

try:
    import fastapi  # noqa: F401
except ImportError as error:
    raise MissingExtraError("obskit.integrations.fastapi needs FastAPI: pip install 'obskit[fastapi]'") from error

from obskit.integrations.starlette import ObskitMiddleware, instrument, route_of

__all__ = ["ObskitMiddleware", "instrument", "route_of"]
