"""
Observe Flask, FastAPI, Starlette and Django applications: `app = obskit.instrument(app)`.

Requests, queries and functions are timed, correlation ids follow a request, JSON lines say what happened, and
`/metrics` and `/health` answer. Importing this package imports no framework and reads no setting.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from obskit._version import __version__

if TYPE_CHECKING:
    from obskit import ai as ai
    from obskit import db as db
    from obskit import health as health
    from obskit import system as system
    from obskit._instrument import (
        instrument_anthropic,
        instrument_celery,
        instrument_django_orm,
        instrument_httpx,
        instrument_logging,
        instrument_openai,
        instrument_psycopg,
        instrument_requests,
        instrument_sqlalchemy,
        instrument_sqlite3,
        instrument_threads,
        uninstrument_anthropic,
        uninstrument_celery,
        uninstrument_django_orm,
        uninstrument_httpx,
        uninstrument_logging,
        uninstrument_openai,
        uninstrument_psycopg,
        uninstrument_requests,
        uninstrument_sqlalchemy,
        uninstrument_sqlite3,
        uninstrument_threads,
    )
    from obskit.ai.observe import observe_ai
    from obskit.api import configure, instrument, set_route
    from obskit.context import bind, correlation_id, unbind
    from obskit.db.observe import observe_db
    from obskit.errors import ConfigurationError, MissingExtraError, ObskitError
    from obskit.jobs import job
    from obskit.logs.logger import get_logger
    from obskit.metrics.declare import counter, gauge, histogram
    from obskit.observation import observe
    from obskit.propagation import outgoing_headers, with_context
    from obskit.runtime import shutdown
    from obskit.settings import Settings

_HOME = {
    "ConfigurationError": "errors",
    "MissingExtraError": "errors",
    "ObskitError": "errors",
    "Settings": "settings",
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

# Packages whose names are used as `obskit.db.summarize()`.
_PARTS = ("ai", "db", "health", "system")

__all__ = [
    "ConfigurationError",
    "MissingExtraError",
    "ObskitError",
    "Settings",
    "__version__",
    "bind",
    "configure",
    "correlation_id",
    "counter",
    "gauge",
    "get_logger",
    "histogram",
    "instrument",
    "instrument_anthropic",
    "instrument_celery",
    "instrument_django_orm",
    "instrument_httpx",
    "instrument_logging",
    "instrument_openai",
    "instrument_psycopg",
    "instrument_requests",
    "instrument_sqlalchemy",
    "instrument_sqlite3",
    "instrument_threads",
    "job",
    "observe",
    "observe_ai",
    "observe_db",
    "outgoing_headers",
    "set_route",
    "shutdown",
    "unbind",
    "uninstrument_anthropic",
    "uninstrument_celery",
    "uninstrument_django_orm",
    "uninstrument_httpx",
    "uninstrument_logging",
    "uninstrument_openai",
    "uninstrument_psycopg",
    "uninstrument_requests",
    "uninstrument_sqlalchemy",
    "uninstrument_sqlite3",
    "uninstrument_threads",
    "with_context",
]


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return importlib.import_module(f"obskit.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'obskit' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"obskit.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
