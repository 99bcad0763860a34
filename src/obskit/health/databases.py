"""
Ask databases and caches, through what the application itself uses.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from obskit.health.outcome import Outcome, failed, milliseconds_since, passed, warned

if TYPE_CHECKING:
    import sqlite3

_MEGABYTE = 1_000_000


def sqlite(path: str | os.PathLike[str], *, write: bool = True, wal_warn_bytes: int = 100 * _MEGABYTE) -> Sqlite:
    """
    Check an SQLite file: a real query over its schema, with its time, and whether it can be written to.

    Nothing is created and no row is changed: the test of writing takes the write lock, and gives it back. A file that
    somebody else writes to at that moment is a warning, since that is what SQLite is like; one that is read-only,
    missing, damaged or full is a failure.

    Args:
        path: The file.
        write: False: being read-only is no failure.
        wal_warn_bytes: A write-ahead log of this size is a warning: no checkpoint has got through for long.
    """
    return Sqlite(os.fspath(path), write, wal_warn_bytes)


@dataclass(frozen=True)
class Sqlite:
    """
    Be the check of one SQLite file.
    """

    path: str = field(repr=False)
    write: bool
    wal_warn_bytes: int
    is_dependency = True

    def __call__(self) -> Outcome:
        import sqlite3  # with the first run: most processes that have obskit have no SQLite

        if not os.path.isfile(self.path):
            return failed("missing")
        # `mode=rw` never creates; a connection of its own, since the application's may be in a transaction.
        uri = f"file:{quote(os.path.abspath(self.path))}?mode={'rw' if self.write else 'ro'}"
        try:
            with closing(sqlite3.Connection(uri, timeout=0.0, isolation_level=None, uri=True)) as connection:
                return self._ask(connection)
        except sqlite3.DatabaseError as error:
            reason = _sqlite_reason(error)
            return warned(reason) if reason == "locked" else failed(reason)

    def _ask(self, connection: sqlite3.Connection) -> Outcome:
        began = time.perf_counter()
        tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0]
        details = {
            "query_ms": milliseconds_since(began),
            "tables": tables,
            "size_bytes": os.path.getsize(self.path),
            "journal_mode": connection.execute("PRAGMA journal_mode").fetchone()[0],
        }
        try:
            details["wal_bytes"] = os.path.getsize(self.path + "-wal")
        except OSError:
            pass  # no write-ahead log
        if self.write:
            self._try_to_write(connection)
        if details.get("wal_bytes", 0) >= self.wal_warn_bytes:
            return warned("the write-ahead log is large", **details)
        return passed(**details)

    def _try_to_write(self, connection: sqlite3.Connection) -> None:
        # Setting a header field to the value it has dirties a page: read-only files, directories and full disks show
        # when the journal is made, and ROLLBACK takes it all back. BEGIN IMMEDIATE alone writes nothing.
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(f"PRAGMA user_version = {int(version)}")
            connection.execute("PRAGMA cache_spill")
        finally:
            connection.execute("ROLLBACK")


_SQLITE_REASONS = {
    "SQLITE_BUSY": "locked",
    "SQLITE_LOCKED": "locked",
    "SQLITE_READONLY": "read-only",
    "SQLITE_CORRUPT": "corrupt",
    "SQLITE_NOTADB": "corrupt",
    "SQLITE_FULL": "disk full",
    "SQLITE_CANTOPEN": "cannot be opened",
    "SQLITE_IOERR": "I/O error",
    "SQLITE_PERM": "no permission",
}


def _sqlite_reason(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "")  # a main code, and often a detail: SQLITE_READONLY_DIRECTORY
    return _SQLITE_REASONS.get("_".join(name.split("_")[:2]), type(error).__name__)


def sqlalchemy(engine: Any) -> Sqlalchemy:
    """
    Check a database through an SQLAlchemy engine: a connection of its pool, and `SELECT 1`.

    A pool that is exhausted makes the check wait, and so fail by its timeout: that is what requests meet.

    Args:
        engine: An `Engine`, or an `AsyncEngine`, whose synchronous side is asked.
    """
    return Sqlalchemy(getattr(engine, "sync_engine", engine))


@dataclass(frozen=True)
class Sqlalchemy:
    """
    Be the check of one engine.
    """

    engine: Any = field(repr=False)
    is_dependency = True

    def __call__(self) -> Outcome:
        began = time.perf_counter()
        with self.engine.connect() as connection:
            statement = "SELECT 1 FROM DUAL" if connection.dialect.name == "oracle" else "SELECT 1"
            connection.exec_driver_sql(statement).scalar()
        details = {"query_ms": milliseconds_since(began), "system": self.engine.dialect.name}
        for name in ("checkedout", "size"):
            figure = getattr(self.engine.pool, name, None)
            if callable(figure):
                details[f"pool_{name}"] = figure()
        return passed(**details)


def django(alias: str = "default") -> Django:
    """
    Check one of Django's `DATABASES`: a connection of the check's own, and `SELECT 1`.

    Args:
        alias: Its key in `DATABASES`.
    """
    return Django(alias)


@dataclass(frozen=True)
class Django:
    """
    Be the check of one of Django's databases.
    """

    alias: str
    is_dependency = True

    def __call__(self) -> Outcome:
        connection = _of_django("django.db").connections[self.alias]
        began = time.perf_counter()
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM DUAL" if connection.vendor == "oracle" else "SELECT 1")
                cursor.fetchone()
        finally:
            connection.close()  # Django's connections are a thread's own, and this thread ends
        return passed(query_ms=milliseconds_since(began), system=connection.vendor)


def django_cache(alias: str = "default") -> DjangoCache:
    """
    Check one of Django's `CACHES`: a key is written, read and deleted in that very cache.

    Args:
        alias: Its key in `CACHES`.
    """
    return DjangoCache(alias)


@dataclass(frozen=True)
class DjangoCache:
    """
    Be the check of one of Django's caches.
    """

    alias: str
    is_dependency = True

    def __call__(self) -> Outcome:
        # A cache that answers from a local fallback would pass a read: what was written has to come back, and the
        # details name the backend that answered.
        cache = _of_django("django.core.cache").caches[self.alias]
        key, value = f"obskit-health-{os.getpid()}", str(time.time_ns())
        began = time.perf_counter()
        cache.set(key, value, 30)
        kept = cache.get(key)
        cache.delete(key)
        details = {"round_trip_ms": milliseconds_since(began), "backend": type(cache).__name__}
        return passed(**details) if kept == value else failed("what was written did not come back", **details)


def _of_django(module: str) -> Any:
    """
    Find what the application has imported: obskit imports no framework for a check.
    """
    found = sys.modules.get(module)
    if found is None:
        raise RuntimeError(f"{module} is not imported: Django is not set up in this process")
    return found


def psycopg(source: Any) -> Psycopg:
    """
    Check PostgreSQL through psycopg: `SELECT 1` on a connection.

    Args:
        source: A `ConnectionPool`, or a function that gives a connection (which the check closes), such as
            `lambda: psycopg.connect(dsn, connect_timeout=2)`.
    """
    return Psycopg(source)


@dataclass(frozen=True)
class Psycopg:
    """
    Be the check of one PostgreSQL.
    """

    source: Any = field(repr=False)
    is_dependency = True

    def __call__(self) -> Outcome:
        began = time.perf_counter()
        pooled = getattr(self.source, "connection", None)
        make: Callable[[], Any] = pooled if callable(pooled) else self.source
        with make() as connection:
            connection.execute("SELECT 1").fetchone()
            server = connection.info.server_version
        details = {"query_ms": milliseconds_since(began), "server": server}
        if callable(stats := getattr(self.source, "get_stats", None)):
            details |= {name: figure for name, figure in stats().items() if name in _POOL}
        return passed(**details)


_POOL = ("pool_size", "pool_available", "pool_max", "requests_waiting")


def redis(client: Any) -> Redis:
    """
    Check Redis through the client itself: `PING` on a connection of its pool.

    Args:
        client: A `redis.Redis`; one of `redis.asyncio` is asked by a check of your own.
    """
    return Redis(client)


@dataclass(frozen=True)
class Redis:
    """
    Be the check of one Redis.
    """

    client: Any = field(repr=False)
    is_dependency = True

    def __call__(self) -> Outcome:
        began = time.perf_counter()
        if not self.client.ping():
            return failed("no PONG")
        return passed(ping_ms=milliseconds_since(began))
