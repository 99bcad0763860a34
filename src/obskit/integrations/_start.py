"""
Configure, and carry out `auto`: what every way into obskit begins with.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from obskit.integrations._patches import when_imported
from obskit.recorder import recorder
from obskit.runtime import Runtime, current_runtime
from obskit.runtime import configure as configure_runtime

# What `auto=True` turns on: integrations, each when one of its libraries is imported; unused ones are not imported.
AUTO = {
    "sqlite3": ("sqlite3",),
    "anthropic": ("anthropic",),
    "openai": ("openai",),
    "psycopg": ("psycopg",),
    "sqlalchemy": ("sqlalchemy",),
    "django.databases": ("django.db.backends.base.base",),  # imported with the first database: there are settings then
    "httpx": ("httpx", "httpx2"),
    "requests": ("requests",),
    "celery": ("celery",),
}
# Databases and caches that obskit has no hook for; what SQLAlchemy or Django ask through them is timed there.
WITHOUT_HOOK = (
    *("asyncpg", "psycopg2", "pymysql", "MySQLdb", "mysql", "aiomysql", "asyncmy", "oracledb", "pyodbc", "pymssql"),
    *("duckdb", "redis", "valkey", "pymongo", "motor", "cassandra", "clickhouse_connect", "clickhouse_driver"),
)
_WAIT_THEMSELVES = {"sqlite3", "anthropic", "openai"}


def configure(**settings: Any) -> Runtime:
    """
    As `obskit.configure()`.
    """
    runtime = configure_runtime(**settings)
    wanted = runtime.settings
    if wanted.enabled and (wanted.auto or wanted.log_server):
        from obskit.integrations import logging

        logging.instrument(outlives_runtime=False, all_loggers=wanted.auto)
    if wanted.enabled and wanted.auto:
        if "logging" not in runtime.hooks:
            runtime.hooks.append("logging")
        for name, libraries in AUTO.items():
            is_there = any(sys.modules.get(library) or find_spec(library.partition(".")[0]) for library in libraries)
            if is_there and name not in runtime.hooks and _instrument_when_imported(name, libraries):
                runtime.hooks.append(name)
        if not runtime.without_hook:
            runtime.without_hook += filter(_is_installed, WITHOUT_HOOK)
    return runtime


def _is_installed(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except (ImportError, ValueError):  # something else has the name in sys.modules
        return False


def _instrument_when_imported(name: str, libraries: tuple[str, ...]) -> bool:
    """
    Turn an integration on, now or with the import of its library; False where what is installed cannot be imported.
    """

    def instrument(module: object) -> None:
        runtime = current_runtime()
        # The integration may itself be importing the library: then it is incomplete, and its importer turns it on.
        if runtime is not None and name in runtime.hooks:
            try:
                integration = import_module(f"obskit.integrations.{name}")
                if hasattr(integration, "instrument"):
                    integration.instrument()
            except Exception as error:  # the application imports the library, and wants that alone
                recorder.failed("auto", error)

    if name in _WAIT_THEMSELVES or any(library in sys.modules for library in libraries):
        try:
            import_module(f"obskit.integrations.{name}").instrument()
        except ImportError:  # such as of a Python that was built without SQLite
            return False
    for library in libraries:
        if library not in sys.modules and name not in _WAIT_THEMSELVES and library not in _awaited:
            _awaited.add(library)
            when_imported(library, instrument)
    return True


_awaited: set[str] = set()
