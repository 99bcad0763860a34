"""
What the WSGI and the ASGI middleware share: the settings of the current runtime, and the wrapped application.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from obskit.integrations._served_request import MatchedRoute, forget_prefixes, no_route
from obskit.integrations.settings import RequestSettings
from obskit.runtime import Runtime
from obskit.settings import Settings
from obskit.web.route_settings import RouteSettings
from obskit.web.routes import Routes

Skip = Callable[[str], bool]
Application = TypeVar("Application")


def skipper(settings: RequestSettings) -> Skip | None:
    """
    Build the test for paths that are not observed; None where every path is.
    """
    if not settings.exclude:
        return None
    whole = {item.rstrip("/") or "/" for item in settings.exclude if isinstance(item, str)}
    prefixes = tuple(item if item.endswith("/") else item + "/" for item in whole)
    patterns = [item.search for item in settings.exclude if isinstance(item, re.Pattern)]

    def skip(path: str) -> bool:
        return path in whole or path.startswith(prefixes) or any(search(path) for search in patterns)

    return skip


def _everything(path: str) -> bool:
    return True


# Read by hot code, as the queue of deferred endings is. Empty while there is one middleware alone: then only its own
# marker can say that a request is observed already, since a request that a bridge has built comes to another.
several_middlewares: list[bool] = []
_numbers = itertools.count()


class MiddlewareBase:
    """
    What a middleware needs of the current runtime, decided once for each runtime.

    Attributes:
        route: Returns the matched route, from the environ or the scope.
        route_of_error: Returns it from an exception that has left the application, after which `route` finds nothing.
        by_name: Whether the endpoint is the name that the framework gives it.
        gates: What is asked before the application sees a request.
    """

    route: Callable[[Any], MatchedRoute] = staticmethod(no_route)
    route_of_error: Callable[[BaseException], MatchedRoute] = staticmethod(no_route)

    def __init__(self) -> None:
        self.runtime_changed(None)
        if next(_numbers) == 1:
            several_middlewares.append(True)

    def runtime_changed(self, runtime: Runtime | None) -> None:
        """
        Take the settings of this runtime from now on; None: pass everything through.
        """
        if runtime is None and getattr(self, "active", False):
            forget_prefixes()  # the next runtime shows its own
        settings = runtime.settings if runtime is not None else Settings(enabled=False)
        self.active = settings.enabled
        self.routes = runtime.routes if runtime is not None else Routes(settings.of(RouteSettings), None)
        self.paths = self.routes.paths if settings.enabled else {}
        self.skip = skipper(settings) if settings.enabled else _everything
        self.trusted = settings.trusted_proxies
        self.trust_ids = settings.trust_inbound_ids
        self.trust_traces = settings.trust_inbound_traces
        self.correlation = settings.correlation
        self.wants_client = runtime is not None and runtime.wants_client
        self.reads_headers = self.wants_client or self.correlation  # whether a request's headers are looked at
        self.gates = settings.gates if settings.enabled else ()
        self.server_timing = settings.server_timing
        self.by_name = settings.endpoint_style == "name"


class WrappingMiddleware(MiddlewareBase, Generic[Application]):
    """
    A middleware that wraps an application: in `Server-Timing` and in the gates, where the settings ask for them.

    Args:
        app: The application.
        timed: Wraps it, so that its replies carry `Server-Timing`.

    Attributes:
        serve: What is called for a request that is observed.
        serve_unobserved: For one on a path that is excluded.
    """

    def __init__(self, app: Application, timed: Callable[[Application], Application]) -> None:
        self._timed = timed
        self._app = app
        super().__init__()

    @property
    def app(self) -> Application:
        return self._app

    @app.setter
    def app(self, app: Application) -> None:
        self._app = app
        self.serve = self._timed(app) if self.server_timing else app
        self.serve_unobserved = app
        if self.gates:
            self.serve = self.gated(self.serve, is_observed=True)
            self.serve_unobserved = self.gated(app, is_observed=False)

    def gated(self, app: Application, *, is_observed: bool) -> Application:
        """
        Wrap an application in the gates: what they refuse does not reach it.
        """
        raise NotImplementedError

    def runtime_changed(self, runtime: Runtime | None) -> None:
        super().runtime_changed(runtime)
        self.app = self._app
