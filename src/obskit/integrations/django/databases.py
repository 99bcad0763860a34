"""
Time the queries of Django's databases: every alias and backend, in synchronous and asynchronous views.

What is timed is Django's own cursor, `django.db.backends.utils.CursorWrapper`, so that connections that are open
already are timed too. Where the driver below is timed by a hook of its own, that one measures. SQLite makes rows while
they are fetched, and so does a server-side cursor (`iterator()`): their fetches are timed, and the query ends with
its last row, with `fetchone()`, or with its cursor. Queries of other backends end with `execute()`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.signals import connection_created
from django.db.backends.utils import CursorWrapper

from obskit.db.database import Database
from obskit.db.db_operation import DbOperation
from obskit.db.observe import OpenQuery, add_fetch_time, begin, end, fail, plan
from obskit.db.query_watch import thresholds
from obskit.errors import MissingExtraError
from obskit.integrations._explainers import set_explain
from obskit.integrations._patches import Patches
from obskit.integrations.dbapi import is_timed, rows_of
from obskit.observation import unrecorded
from obskit.recorder import recorder

# Django's vendors -> `db.system.name` of the OpenTelemetry semantic conventions 1.44 (2026-08).
SYSTEMS = {"microsoft": "microsoft.sql_server", "oracle": "oracle.db"}

_patches = Patches()
Wrapper = Callable[..., Any]


def instrument() -> None:
    """
    Time the queries of every database, and watch the pools of those that have one.
    """
    CursorWrapper._obskit_open = None
    for name, around in _METHODS.items():
        _patches.put(CursorWrapper, name, around)
    connection_created.connect(_connected, dispatch_uid="obskit")
    if not _uses_postgresql():
        return  # psycopg takes its time to import
    for wrapper in connections.all(initialized_only=True):
        _connected(None, wrapper)
    try:
        import psycopg as _  # noqa: F401  # before its integration, which `auto` turns on when this is imported

        from obskit.integrations import psycopg
    except (ImportError, MissingExtraError):
        return
    psycopg.instrument_pools()
    if _alias_of not in psycopg.pool_namers:
        psycopg.pool_namers.append(_alias_of)


def _uses_postgresql() -> bool:
    try:
        return any("postg" in str(given.get("ENGINE", "")) for given in connections.settings.values())
    except ImproperlyConfigured:  # nobody uses Django here
        return False


def uninstrument() -> None:
    """
    Restore Django's cursors.
    """
    _patches.restore()
    connection_created.disconnect(dispatch_uid="obskit")
    if "_obskit_open" in vars(CursorWrapper):
        del CursorWrapper._obskit_open


def _alias_of(pool: Any) -> str | None:
    backend: Any = sys.modules.get("django.db.backends.postgresql.base")
    pools = getattr(getattr(backend, "DatabaseWrapper", None), "_connection_pools", {})
    return next((alias for alias, known in pools.items() if known is pool), None)


def _database_of(wrapper: Any) -> Database:
    """
    Return the database of an alias, described once for each connection.
    """
    try:
        database: Database = wrapper._obskit_database
    except AttributeError:
        given, system = wrapper.settings_dict, SYSTEMS.get(wrapper.vendor, wrapper.vendor)
        name = None if system == "sqlite" else str(given.get("NAME") or "")
        host, port = given.get("HOST") or None, given.get("PORT") or None
        database = Database(system, database=name, host=host, port=port, alias=wrapper.alias)
        wrapper._obskit_database = database
    return database


def _connected(sender: Any, connection: Any, **_: Any) -> None:
    """
    Pass the alias to psycopg's hook where that measures, and suppress Django's pings; time the methods that Django
    delegates to the driver's cursor.
    """
    driver, base = connection.connection, sys.modules.get("django.db.backends.postgresql.base")
    psycopg = sys.modules.get("psycopg")
    if psycopg is None or base is None or not isinstance(driver, psycopg.Connection):
        return
    try:
        driver._obskit_database = _database_of(connection)
        _patches.put(type(connection), "is_usable", _suppressed)
        from obskit.integrations.psycopg import STREAMS

        for name in ("Cursor", "ServerBindingCursor"):
            cursor_class = getattr(base, name)
            for method, around in STREAMS.items():
                _patches.put(cursor_class, method, partial(_delegated, cursor_class, method, around))
    except Exception as error:
        recorder.failed("django", error)


def _delegated(cursor_class: type, name: str, around: Callable[[Any], Wrapper], _: Any) -> Wrapper:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(super(cursor_class, self), name)(*args, **kwargs)

    timed = around(call)
    return lambda self, *args, **kwargs: (call if is_timed(self) else timed)(self, *args, **kwargs)


def _text_of(query: Any, cursor: Any) -> Any:
    if isinstance(query, (str, bytes)):
        return query
    try:
        return query.as_string(cursor)
    except Exception:  # it is the backend's to refuse
        return None


def _execute(original: Wrapper, many: bool = False) -> Wrapper:
    def execute(self: Any, sql: Any, params: Any, *ignored_wrapper_args: Any) -> Any:
        cursor = self.cursor
        if not plan.active or is_timed(cursor):
            return original(self, sql, params, *ignored_wrapper_args)
        self._obskit_open = None
        database = _database_of(self.db)
        op = begin(database, sql if type(sql) is str else _text_of(sql, cursor), many)
        if thresholds.explain:
            set_explain(op, cursor, sql, params)
        try:
            result = original(self, sql, params, *ignored_wrapper_args)
        except BaseException as error:
            fail(op, error)
            raise
        op.duration_seconds = plan.clock() - op.started
        if database.attributes["db.system.name"] == "sqlite":
            has_rows = cursor.description is not None
        else:
            has_rows = bool(getattr(cursor, "name", None))  # of a server-side cursor
        if has_rows:
            op.rows = 0
            self._obskit_open = OpenQuery(op)
        else:
            op.rows = rows_of(cursor)
            end(op)
        return result

    return execute


def _suppressed(original: Wrapper) -> Wrapper:
    def is_usable(self: Any) -> Any:
        with unrecorded():
            return original(self)

    return is_usable


def _callproc(original: Wrapper) -> Wrapper:
    def callproc(self: Any, procname: Any, *args: Any, **kwargs: Any) -> Any:
        if not plan.active or is_timed(self.cursor):
            return original(self, procname, *args, **kwargs)
        op = begin(_database_of(self.db), f"CALL {procname}")
        try:
            result = original(self, procname, *args, **kwargs)
        except BaseException as error:
            fail(op, error)
            raise
        op.duration_seconds = plan.clock() - op.started
        end(op)
        return result

    return callproc


def _fetch(name: str) -> Callable[[Any], Wrapper]:
    """
    Return a wrapper for a fetch method, which Django's class itself lacks: it calls the driver's method of that name.
    """

    def around(original: Any) -> Wrapper:
        def fetch(self: Any, *args: Any, **kwargs: Any) -> Any:
            held = self._obskit_open
            with self.db.wrap_database_errors:
                if held is None:
                    return getattr(self.cursor, name)(*args, **kwargs)
                op, started = held.op, plan.clock()
                try:
                    rows = getattr(self.cursor, name)(*args, **kwargs)
                except BaseException as error:
                    _fetch_failed(self, op, started, error)
                    raise
                seconds = plan.clock() - started
                _add_rows(self, op, seconds, rows, name, args, kwargs)
                return rows

        fetch.__name__ = name
        return fetch

    return around


def _add_rows(
    wrapper: Any, op: DbOperation, seconds: float, rows: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    if op.ended:
        add_fetch_time(op, seconds)
        return
    op.duration_seconds += seconds
    if name == "fetchone":
        op.rows = (op.rows or 0) + (rows is not None)
        end(op)
        return
    op.rows = (op.rows or 0) + len(rows)
    wanted = args[0] if args else kwargs.get("size", getattr(wrapper.cursor, "arraysize", 1))
    if name == "fetchall" or len(rows) < wanted:
        _end_open_query(wrapper)


def _iterate(original: Wrapper) -> Wrapper:
    def __iter__(self: Any) -> Iterator[Any]:
        held = self._obskit_open
        if held is None:
            yield from original(self)
            return
        op = held.op
        with self.db.wrap_database_errors:
            rows = iter(self.cursor)
            while True:
                started = plan.clock()
                try:
                    row = next(rows)
                except StopIteration:
                    op.duration_seconds += plan.clock() - started
                    _end_open_query(self)
                    return
                except BaseException as error:
                    _fetch_failed(self, op, started, error)
                    raise
                op.duration_seconds += plan.clock() - started
                op.rows = (op.rows or 0) + 1
                yield row

    return __iter__


def _close(original: Any) -> Wrapper:
    def close(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.cursor.close(*args, **kwargs)
        finally:
            _end_open_query(self)

    return close


def _fetch_failed(wrapper: Any, op: DbOperation, started: float, error: BaseException) -> None:
    """
    Handle what a fetch raised. An error that is not the database's comes from the application, and rows are left.
    """
    seconds = plan.clock() - started
    if op.ended:
        add_fetch_time(op, seconds)
        return
    op.duration_seconds += seconds
    if isinstance(error, wrapper.db.Database.Error):
        wrapper._obskit_open = None
        fail(op, error)


def _end_open_query(wrapper: Any) -> None:
    held = vars(wrapper).get("_obskit_open")
    if held is not None:
        wrapper._obskit_open = None
        end(held.op)


_METHODS: dict[str, Callable[[Any], Wrapper]] = {
    "_execute": _execute,
    "_executemany": partial(_execute, many=True),
    "callproc": _callproc,
    "fetchone": _fetch("fetchone"),
    "fetchmany": _fetch("fetchmany"),
    "fetchall": _fetch("fetchall"),
    "__iter__": _iterate,
    "close": _close,
}
