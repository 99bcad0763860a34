"""
Checks of databases and caches, through the application's own clients.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from copy import copy
from dataclasses import dataclass, field
from inspect import isawaitable, iscoroutine
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from obskit.health.outcome import WARN_MS, Outcome, failed, milliseconds_since, passed
from obskit.health.registry import registry
from obskit.observation import kind_of, unrecorded
from obskit.time.clock import clock

if TYPE_CHECKING:
    pass


def sqlalchemy(engine: Any, *, warn_ms: float | None = WARN_MS) -> Sqlalchemy:
    """
    Check a database through an SQLAlchemy engine: a connection of its pool, and `SELECT 1`.

    A pool that is exhausted makes the check wait, and so fail by its timeout: that is what requests meet.

    Args:
        engine: An `Engine`, or an `AsyncEngine`, which is asked on the server's event loop. Where there is none, a
            connection of the check's own is made: those of an asynchronous pool belong to one loop.
        warn_ms: An answer that takes this many milliseconds or more is a warning; None: never.
    """
    return Sqlalchemy(getattr(engine, "sync_engine", engine), warn_ms)


@dataclass(frozen=True)
class Sqlalchemy:
    """
    The check of one engine.
    """

    engine: Any = field(repr=False)
    warn_ms: float | None
    is_dependency = True

    @property
    def is_async(self) -> bool:
        """
        Return whether its driver is asynchronous.
        """
        return bool(getattr(getattr(self.engine, "dialect", None), "is_async", False))

    def __call__(self) -> Any:  # an Outcome, or on an event loop that runs what gives it
        if self.is_async:
            return run_or_return(self._ask_async)
        began = clock.monotonic()
        with unrecorded(), self.engine.connect() as connection:
            return self._ask(connection, began)

    def _ask(self, connection: Any, began: float) -> Outcome:
        statement = "SELECT 1 FROM DUAL" if connection.dialect.name == "oracle" else "SELECT 1"
        connection.exec_driver_sql(statement).scalar()
        details = {"query_ms": milliseconds_since(began), "system": self.engine.dialect.name}
        for name in ("checkedout", "size"):
            figure = getattr(self.engine.pool, name, None)
            if callable(figure):
                details[f"pool_{name}"] = figure()
        return passed(**details)

    async def _ask_async(self) -> Outcome:
        make = sys.modules["sqlalchemy.ext.asyncio"].AsyncEngine  # which made this one
        engine = self.engine
        if not is_served_here():
            engine = copy(engine)
            engine.pool = engine.pool.recreate()
        began = clock.monotonic()
        try:
            with unrecorded():
                async with make(engine).connect() as connection:
                    outcome: Outcome = await connection.run_sync(self._ask, began)
                    return outcome
        finally:
            if engine is not self.engine:
                await make(engine).dispose()


def run_or_return(ask: Callable[[], Coroutine[Any, Any, Outcome]]) -> Outcome | Coroutine[Any, Any, Outcome]:
    """
    Return the coroutine where a loop runs; run it to its end where none does.
    """
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(ask())
    return ask()


def is_served_here() -> bool:
    """
    Return whether this is the server's event loop, to which the connections of an asynchronous client belong.
    """
    import asyncio

    return registry.loop is asyncio.get_running_loop()


def django(alias: str = "default", *, warn_ms: float | None = WARN_MS) -> Django:
    """
    Check one of Django's `DATABASES`: a connection of the check's own, and `SELECT 1`.

    Args:
        alias: Its key in `DATABASES`.
        warn_ms: An answer that takes this many milliseconds or more is a warning; None: never.
    """
    return Django(alias, warn_ms)


@dataclass(frozen=True)
class Django:
    """
    The check of one of Django's databases.
    """

    alias: str
    warn_ms: float | None
    is_dependency = True

    def __call__(self) -> Outcome:
        connection = _imported("django.db").connections[self.alias]
        began = clock.monotonic()
        try:
            with unrecorded(), connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM DUAL" if connection.vendor == "oracle" else "SELECT 1")
                cursor.fetchone()
        finally:
            connection.close()  # Django's connections are a thread's own, and this thread ends
        return passed(query_ms=milliseconds_since(began), system=connection.vendor)


def django_cache(alias: str = "default", *, warn_ms: float | None = WARN_MS) -> DjangoCache:
    """
    Check one of Django's `CACHES`: a key is written, read and deleted in that very cache.

    Args:
        alias: Its key in `CACHES`.
        warn_ms: An answer that takes this many milliseconds or more is a warning; None: never.
    """
    return DjangoCache(alias, warn_ms)


@dataclass(frozen=True)
class DjangoCache:
    """
    The check of one of Django's caches.
    """

    alias: str
    warn_ms: float | None
    is_dependency = True

    def __call__(self) -> Outcome:
        # A cache that answers from a local fallback would pass a read: what was written has to come back, and the
        # details name the backend that answered.
        cache = _imported("django.core.cache").caches[self.alias]
        key, value = f"obskit-health-{token_hex(16)}", token_hex(8)  # several containers ask one cache
        began = clock.monotonic()
        cache.set(key, value, 30)
        kept = cache.get(key)
        cache.delete(key)
        details = {"round_trip_ms": milliseconds_since(began), "backend": type(cache).__name__}
        return passed(**details) if kept == value else failed("what was written did not come back", **details)


def _imported(module: str) -> Any:
    """
    Return a module that the application has imported: obskit imports no framework for a check.
    """
    found = sys.modules.get(module)
    if found is None:
        raise RuntimeError(f"{module} is not imported: Django is not set up in this process")
    return found


def psycopg(source: Any, *, warn_ms: float | None = WARN_MS) -> Psycopg:
    """
    Check PostgreSQL through psycopg: `SELECT 1` on a connection.

    Args:
        source: A `ConnectionPool` or `AsyncConnectionPool`, or a function that gives a connection of either kind (which
            the check closes), such as `lambda: psycopg.connect(dsn, connect_timeout=2)`. An asynchronous pool is asked
            on the server's event loop; where there is none, a connection of the check's own is made.
        warn_ms: An answer that takes this many milliseconds or more is a warning; None: never.
    """
    return Psycopg(source, warn_ms)


@dataclass(frozen=True)
class Psycopg:
    """
    The check of one PostgreSQL server.
    """

    source: Any = field(repr=False)
    warn_ms: float | None
    is_dependency = True

    @property
    def is_async(self) -> bool:
        """
        Return whether it is asked on an event loop.
        """
        source = self.source
        return hasattr(source, "__aenter__") or (callable(source) and kind_of(source) == "coroutine")

    def __call__(self) -> Any:  # an Outcome, or on an event loop that runs what gives it
        if hasattr(self.source, "__aenter__"):
            return run_or_return(self._ask_pool)
        began = clock.monotonic()
        pooled = getattr(self.source, "connection", None)
        made = pooled() if callable(pooled) else self.source()
        if isawaitable(made):
            if iscoroutine(made):
                made.close()  # it may belong to another loop
            return run_or_return(self._ask_made)
        with made as connection, unrecorded():
            connection.execute("SELECT 1").fetchone()
            return self._passed(began, connection)

    async def _ask_made(self) -> Outcome:
        began = clock.monotonic()
        return await self._ask(await self.source(), began)

    async def _ask_pool(self) -> Outcome:
        began, pool = clock.monotonic(), self.source
        if is_served_here():
            return await self._ask(pool.connection(), began)
        given = [await made if isawaitable(made) else made for made in map(_value_of, (pool.conninfo, pool.kwargs))]
        return await self._ask(await pool.connection_class.connect(given[0] or "", **(given[1] or {})), began)

    async def _ask(self, made: AbstractAsyncContextManager[Any], began: float) -> Outcome:
        async with made as connection:
            with unrecorded():
                await (await connection.execute("SELECT 1")).fetchone()
            return self._passed(began, connection)

    def _passed(self, began: float, connection: Any) -> Outcome:
        details = {"query_ms": milliseconds_since(began), "server": connection.info.server_version}
        if callable(stats := getattr(self.source, "get_stats", None)):
            details |= {name: figure for name, figure in stats().items() if name in _POOL}
        return passed(**details)


_POOL = ("pool_size", "pool_available", "pool_max", "requests_waiting")


def _value_of(given: Any) -> Any:
    return given() if callable(given) else given
