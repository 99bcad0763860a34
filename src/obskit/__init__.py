"""
Observe Flask, FastAPI, Starlette and Django applications: `app = obskit.instrument(app)`.

Requests, queries and functions are timed, correlation ids follow a request, JSON lines say what happened, and
`/metrics` and `/health` answer. Importing this package imports no framework and reads no setting.
"""

from __future__ import annotations

import importlib
from typing import Any

from obskit._version import __version__ as __version__

# Public name -> the module below obskit that it is imported from when it is first used. Their types: `__init__.pyi`.
_MODULES = {
    "ConfigurationError": "errors",
    "Gate": "web.gate",
    "MissingExtraError": "errors",
    "ObskitError": "errors",
    "Reply": "web.replies",
    "Request": "web.request",
    "Settings": "settings",
    "Visitor": "web.visitor",
    "bind": "context",
    "configure": "api",
    "correlation_id": "context",
    "counter": "metrics.declare",
    "gauge": "metrics.declare",
    "get_logger": "logs.logger",
    "histogram": "metrics.declare",
    "instrument": "api",
    "instrument_anthropic": "_instrument",
    "instrument_celery": "_instrument",
    "instrument_django_orm": "_instrument",
    "instrument_httpx": "_instrument",
    "instrument_logging": "_instrument",
    "instrument_openai": "_instrument",
    "instrument_psycopg": "_instrument",
    "instrument_requests": "_instrument",
    "instrument_sqlalchemy": "_instrument",
    "instrument_sqlite3": "_instrument",
    "instrument_threads": "_instrument",
    "job": "jobs",
    "objective": "rules.objectives",
    "observe": "observation",
    "observe_ai": "ai.observe",
    "observe_db": "db.observe",
    "outgoing_headers": "propagation",
    "set_route": "api",
    "shutdown": "runtime",
    "unbind": "context",
    "uninstrument_anthropic": "_instrument",
    "uninstrument_celery": "_instrument",
    "uninstrument_django_orm": "_instrument",
    "uninstrument_httpx": "_instrument",
    "uninstrument_logging": "_instrument",
    "uninstrument_openai": "_instrument",
    "uninstrument_psycopg": "_instrument",
    "uninstrument_requests": "_instrument",
    "uninstrument_sqlalchemy": "_instrument",
    "uninstrument_sqlite3": "_instrument",
    "uninstrument_threads": "_instrument",
    "with_context": "propagation",
}

# Packages that are used by their name: `obskit.db.summarize()`.
_PACKAGES = ("ai", "alerts", "db", "export", "health", "history", "metrics", "system")

__all__ = sorted([*_MODULES, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"obskit.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module 'obskit' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"obskit.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
