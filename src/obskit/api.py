"""
The doors of obskit: configure it, put it around an application, name a route.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any, TypeVar

from obskit.errors import UnsupportedApplicationError
from obskit.integrations import _served_request, _start
from obskit.runtime import Runtime, current_runtime, shutdown

App = TypeVar("App")

# Class of the application -> the integration that knows it. The most special first: FastAPI is a Starlette.
_FRAMEWORKS = {
    ("fastapi.applications", "FastAPI"): "fastapi",
    ("starlette.applications", "Starlette"): "starlette",
    ("flask.app", "Flask"): "flask",
    ("django.core.handlers.wsgi", "WSGIHandler"): "django",
    ("django.core.handlers.asgi", "ASGIHandler"): "django",
}
# What can be called as an application can, but is none.
_PARTS = frozenset({("fastapi.routing", "APIRouter")})


def configure(**settings: Any) -> Runtime:
    """
    Build the runtime of this process, or join the active one.

    Args:
        **settings: `docs/reference/settings.md` lists them. A later call may give none, or equal ones.

    Raises:
        AlreadyConfiguredError: A runtime is active, with another value for one of these settings.
        UnknownSettingError: No setting has this name.
        ConfigurationError: A value of the wrong type or range, here or in an `OBSKIT_*` variable.
        MetricConflictError: The application's own code registered a metric of the same name.
    """
    return _start.configure(**settings)


def set_route(template: str) -> None:
    """
    Set the route of this request, for applications without a framework's routing.

    Args:
        template: With placeholders, never with values: `/devices/{device_id}`. It becomes the `endpoint` label.
    """
    _served_request.set_route(template)


def instrument(app: App, **settings: Any) -> App:
    """
    Observe an application: metrics, correlation ids, JSON access lines, trace context, `/metrics`, `/health`.

    Args:
        app: A Flask, FastAPI or Starlette application (instrumented in place and returned), a Django WSGI or ASGI
            application, or any WSGI or ASGI callable (which come back wrapped).
        **settings: As for `obskit.configure()`; without any, the active runtime is joined, or one with defaults made.

    Returns:
        What to serve in place of `app`. An application that is instrumented already comes back as it is.

    Raises:
        UnsupportedApplicationError: `app` is none of these.
        RouteTakenError: The application answers `metrics_path` or `health_path` itself.
        ConfigurationError: As for `obskit.configure()`.
    """
    integration = _integration_of(app)
    made_here = current_runtime() is None
    runtime = configure(**settings)
    if not runtime.settings.enabled:
        return app
    try:
        wrapped: App = import_module(f"obskit.integrations.{integration}").instrument(app, runtime)
    except BaseException:
        if made_here:
            shutdown()
        raise
    import_module("obskit.integrations.logging").reapply()  # the server's access lines are duplicates from now on
    runtime.announce()
    return wrapped


def _integration_of(app: Any) -> str:
    for cls in type(app).__mro__:
        name = _FRAMEWORKS.get((cls.__module__, cls.__name__))
        if name is not None:
            return name
        if (cls.__module__, cls.__name__) in _PARTS:
            raise _unsupported(app)
    return _protocol_of(app)


def _protocol_of(app: Any) -> str:
    """
    Return whether a callable is of WSGI or of ASGI, by what it takes: two arguments, or three.
    """
    if isinstance(app, type) or not callable(app):
        raise _unsupported(app)
    try:
        signature = inspect.signature(app)
    except (TypeError, ValueError):
        raise _unsupported(app) from None
    if inspect.isfunction(app) and _needs_nothing(signature):
        raise _unsupported(app)  # a factory; no server calls without arguments
    for protocol, count in (("wsgi", 2), ("asgi", 3)):
        try:
            signature.bind(*range(count))
        except TypeError:
            continue
        return protocol
    raise _unsupported(app)


def _unsupported(app: Any) -> UnsupportedApplicationError:
    what = f"the class {app.__name__}" if isinstance(app, type) else f"a {type(app).__name__}"
    hint = "pass the application object itself"
    if isinstance(app, type):
        hint = "pass an instance of it"
    elif any((cls.__module__, cls.__name__) in _PARTS for cls in type(app).__mro__):
        hint = "pass the application that includes it"
    elif inspect.isfunction(app) and _needs_nothing(inspect.signature(app)):
        what, hint = f"the function {app.__name__}()", "call it, and pass the application that it makes"
    return UnsupportedApplicationError(
        f"instrument() was given {what}; {hint}: a Flask, FastAPI or Starlette application, Django's "
        "get_wsgi_application() or get_asgi_application(), a WSGI callable (environ, start_response) or an ASGI "
        "callable (scope, receive, send)"
    )


def _needs_nothing(signature: inspect.Signature) -> bool:
    """
    Return whether all parameters of a function have defaults; `*args` may stand for anything.
    """
    kinds = inspect.Parameter
    return all(
        parameter.kind is kinds.VAR_KEYWORD or parameter.default is not kinds.empty
        for parameter in signature.parameters.values()
    )
