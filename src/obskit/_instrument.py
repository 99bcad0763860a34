"""
Turn the hooks of libraries on and off, each imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any


def instrument_anthropic(providers: Mapping[str, str] | None = None) -> None:
    """
    Time the calls of the `anthropic` SDK, in every form. Undo: `uninstrument_anthropic()`.

    Args:
        providers: Hosts of your own gateways, and the provider behind each: `{"llm.internal": "anthropic"}`.

    Raises:
        MissingExtraError: The SDK is not installed.
    """
    import_module("obskit.integrations.anthropic").instrument(providers)


def uninstrument_anthropic() -> None:
    """
    Leave the `anthropic` SDK as it was.
    """
    import_module("obskit.integrations.anthropic").uninstrument()


def instrument_openai(providers: Mapping[str, str] | None = None) -> None:
    """
    Time the calls of the `openai` SDK, in every form. Undo: `uninstrument_openai()`.

    Args:
        providers: Hosts that speak this protocol, and who is paid for each: `{"llm.internal": "openai"}`. Without a
            word on it, a host that is not known has the provider `unknown`, and its calls no cost.

    Raises:
        MissingExtraError: The SDK is not installed.
    """
    import_module("obskit.integrations.openai").instrument(providers)


def uninstrument_openai() -> None:
    """
    Leave the `openai` SDK as it was.
    """
    import_module("obskit.integrations.openai").uninstrument()


def instrument_sqlite3() -> None:
    """
    Time the queries of every `sqlite3` connection that is opened from now on. Undo: `uninstrument_sqlite3()`.
    """
    import_module("obskit.integrations.sqlite3").instrument()


def uninstrument_sqlite3() -> None:
    """
    Open plain `sqlite3` connections again.
    """
    import_module("obskit.integrations.sqlite3").uninstrument()


def instrument_psycopg() -> None:
    """
    Time the queries of every psycopg 3 connection, and watch the pools of psycopg_pool. Undo: `uninstrument_psycopg()`.

    Raises:
        MissingExtraError: psycopg 3 is not installed.
    """
    import_module("obskit.integrations.psycopg").instrument()


def uninstrument_psycopg() -> None:
    """
    Leave psycopg and its pools to themselves again.
    """
    import_module("obskit.integrations.psycopg").uninstrument()


def instrument_sqlalchemy(engine: Any = None, *, pool: str | None = None) -> None:
    """
    Time the statements of one engine of SQLAlchemy, or of every engine: those that are there, and those to come.

    Undo: `uninstrument_sqlalchemy()`.

    Args:
        engine: What `create_engine()` or `create_async_engine()` gave. Default: every engine.
        pool: The label `pool` of its connections. Default: the name of its database.

    Raises:
        MissingExtraError: SQLAlchemy is not installed.
        ConfigurationError: It is no engine.
    """
    import_module("obskit.integrations.sqlalchemy").instrument(engine, pool=pool)


def uninstrument_sqlalchemy(engine: Any = None) -> None:
    """
    Leave one engine to itself again, or every engine.
    """
    import_module("obskit.integrations.sqlalchemy").uninstrument(engine)


def instrument_logging() -> None:
    """
    Write what the standard library's loggers, `warnings` and the server say as obskit's lines, each once.

    Handlers that write to the console are muted, also such as are set up later with `dictConfig()`; files and other
    handlers stay as they are. The levels become those of `log_level` and `log_levels`. It may come before or after
    `configure()`, and lasts beyond `shutdown()`. Undo: `uninstrument_logging()`.
    """
    import_module("obskit.integrations.logging").instrument()


def uninstrument_logging() -> None:
    """
    Leave loggers, levels and `warnings` as they were.
    """
    import_module("obskit.integrations.logging").uninstrument()


def instrument_threads() -> None:
    """
    Let threads and pools work with the ids of the request that starts them, or that submits to them.

    It changes `threading.Thread.start()` and `ThreadPoolExecutor.submit()`, for all of the process: so a thread that
    a request starts and that outlives it keeps the request's id. `obskit.with_context()` does the same for single
    calls. Undo: `uninstrument_threads()`.
    """
    import_module("obskit.integrations.threads").instrument()


def uninstrument_threads() -> None:
    """
    Start threads with nothing again.
    """
    import_module("obskit.integrations.threads").uninstrument()


def instrument_httpx() -> None:
    """
    Let calls of `httpx` and `httpx2` to the hosts of `propagate_to` carry the ids. Undo: `uninstrument_httpx()`.

    Each hop of a redirect is judged by its own host, and headers that the application sets itself stay.

    Raises:
        MissingExtraError: Neither library is installed.
    """
    import_module("obskit.integrations.httpx").instrument()


def uninstrument_httpx() -> None:
    """
    Make calls as they are again.
    """
    import_module("obskit.integrations.httpx").uninstrument()


def instrument_requests() -> None:
    """
    Let calls of `requests` to the hosts of `propagate_to` carry the ids. Undo: `uninstrument_requests()`.

    Each hop of a redirect is judged by its own host, and headers that the application sets itself stay.

    Raises:
        MissingExtraError: `requests` is not installed.
    """
    import_module("obskit.integrations.requests").instrument()


def uninstrument_requests() -> None:
    """
    Make calls as they are again.
    """
    import_module("obskit.integrations.requests").uninstrument()


def instrument_celery() -> None:
    """
    Let Celery tasks work with the ids of the request that sent them, in all processes that call this.

    The ids travel as headers of the message. In a worker the lines of a task have its name and id as `task` and
    `task_id`; a task that came without an id gets a fresh one. Undo: `uninstrument_celery()`.

    Raises:
        MissingExtraError: Celery is not installed.
    """
    import_module("obskit.integrations.celery").instrument()


def uninstrument_celery() -> None:
    """
    Send and run tasks as before.
    """
    import_module("obskit.integrations.celery").uninstrument()


def instrument_django_orm() -> None:
    """
    Time the queries of Django's databases; what `obskit.integrations.django` in `INSTALLED_APPS` does by itself.

    Raises:
        MissingExtraError: Django is not installed.
    """
    import_module("obskit.integrations.django.databases").instrument()


def uninstrument_django_orm() -> None:
    """
    Leave Django's cursors to themselves again.
    """
    import_module("obskit.integrations.django.databases").uninstrument()
