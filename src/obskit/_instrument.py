"""
Turn the hooks of libraries on and off: `instrument_<library>()` and `uninstrument_<library>()`.

Each calls its integration, which is imported then: importing obskit needs none of the libraries.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple


def _nothing() -> None: ...


def _providers(providers: Mapping[str, str] | None = None) -> None: ...


def _engine(engine: Any = None) -> None: ...


def _engine_and_pool(engine: Any = None, *, pool: str | None = None) -> None: ...


class _Hook(NamedTuple):
    library: str
    instrument: str  # the docstrings
    uninstrument: str
    takes: Callable[..., None] = _nothing  # has the parameters of `instrument`, as far as they are public
    takes_back: Callable[..., None] = _nothing  # likewise of `uninstrument`
    module: str = ""  # of the integration, where the library does not name it


_HOOKS = (
    _Hook(
        "anthropic",
        """
        Time the calls of the `anthropic` SDK, in every form. Undo: `uninstrument_anthropic()`.

        Args:
            providers: Hosts of your own gateways, and the provider behind each: `{"llm.internal": "anthropic"}`.

        Raises:
            MissingExtraError: The SDK is not installed.
        """,
        "Stop timing the calls of the `anthropic` SDK.",
        takes=_providers,
    ),
    _Hook(
        "openai",
        """
        Time the calls of the `openai` SDK, in every form. Undo: `uninstrument_openai()`.

        Args:
            providers: Hosts that speak this protocol, and who is paid for each: `{"llm.internal": "openai"}`. Of a
                host that is not known the provider is `unknown`, and its calls have no cost.

        Raises:
            MissingExtraError: The SDK is not installed.
        """,
        "Stop timing the calls of the `openai` SDK.",
        takes=_providers,
    ),
    _Hook(
        "sqlite3",
        "Time the queries of every `sqlite3` connection that is opened from now on. Undo: `uninstrument_sqlite3()`.",
        "Stop timing the queries of `sqlite3`: connections that are opened from now on are plain.",
    ),
    _Hook(
        "psycopg",
        """
        Time the queries of every psycopg 3 connection, and watch the pools of psycopg_pool. Undo:
        `uninstrument_psycopg()`.

        Raises:
            MissingExtraError: psycopg 3 is not installed.
        """,
        "Stop timing psycopg's queries, and watching its pools.",
    ),
    _Hook(
        "sqlalchemy",
        """
        Time the statements of one engine of SQLAlchemy, or of every engine, also those that are made later.

        Undo: `uninstrument_sqlalchemy()`.

        Args:
            engine: An engine, synchronous or asynchronous. Default: every engine.
            pool: The label `pool` of its connections. Default: the name of its database.

        Raises:
            MissingExtraError: SQLAlchemy is not installed.
            ConfigurationError: `engine` is not an engine.
        """,
        "Stop timing one engine, or every engine.",
        takes=_engine_and_pool,
        takes_back=_engine,
    ),
    _Hook(
        "logging",
        """
        Write records of the standard library's loggers, of `warnings` and of the server as obskit's lines, each once.

        Handlers that write to the console are muted, also such as are set up later with `dictConfig()`; files and other
        handlers stay as they are. The levels become those of `log_level` and `log_levels`. It may come before or after
        `configure()`, and lasts beyond `shutdown()`. Undo: `uninstrument_logging()`.
        """,
        "Restore loggers, levels and `warnings`.",
    ),
    _Hook(
        "threads",
        """
        Run threads, and what is submitted to pools, with the ids of the request that starts or submits them.

        It changes `threading.Thread.start()` and `ThreadPoolExecutor.submit()`, for all of the process: so a thread
        that a request starts and that outlives it keeps the request's id. `obskit.with_context()` does the same for
        single calls. Undo: `uninstrument_threads()`.
        """,
        "Run threads without the ids of a request again.",
    ),
    _Hook(
        "httpx",
        """
        Send the ids with calls of `httpx` and `httpx2` to the hosts of `propagate_to`. Undo: `uninstrument_httpx()`.

        Each hop of a redirect is judged by its own host, and headers that the application sets itself stay.

        Raises:
            MissingExtraError: Neither library is installed.
        """,
        "Send calls without the ids again.",
    ),
    _Hook(
        "requests",
        """
        Send the ids with calls of `requests` to the hosts of `propagate_to`. Undo: `uninstrument_requests()`.

        Each hop of a redirect is judged by its own host, and headers that the application sets itself stay.

        Raises:
            MissingExtraError: `requests` is not installed.
        """,
        "Send calls without the ids again.",
    ),
    _Hook(
        "celery",
        """
        Run Celery tasks with the ids of the request that sent them, in all processes that call this.

        The ids travel as headers of the message. In a worker the lines of a task have its name and id as `task` and
        `task_id`; a task that came without an id gets a fresh one. Undo: `uninstrument_celery()`.

        Raises:
            MissingExtraError: Celery is not installed.
        """,
        "Send and run tasks without ids again.",
    ),
    _Hook(
        "django_orm",
        """
        Time the queries of Django's databases, as `obskit.integrations.django` in `INSTALLED_APPS` does by itself.

        Raises:
            MissingExtraError: Django is not installed.
        """,
        "Stop timing the queries of Django's databases.",
        module="django.databases",
    ),
)


def _call(hook: _Hook, verb: str, takes: Callable[..., None], doc: str) -> Callable[..., None]:
    name, signature = f"{verb}_{hook.library}", inspect.signature(takes)

    def call(*args: Any, **kwargs: Any) -> None:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{name}() {error}") from None
        getattr(import_module(f"obskit.integrations.{hook.module or hook.library}"), verb)(*args, **kwargs)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = inspect.cleandoc(doc)
    call.__signature__ = signature  # type: ignore[attr-defined]
    return call


for _hook in _HOOKS:
    for _function in (
        _call(_hook, "instrument", _hook.takes, _hook.instrument),
        _call(_hook, "uninstrument", _hook.takes_back, _hook.uninstrument),
    ):
        globals()[_function.__name__] = _function
