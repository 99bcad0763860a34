"""
Time the queries of `sqlite3` connections.

SQLite makes rows while they are fetched, so a query's time is that of `execute()` and of its fetches, without what the
application does in between. It ends with `fetchone()` or the last row, or when its cursor executes something else, is
closed or is dropped. What further calls of `fetchone()` take is added to the request's totals alone. `commit()` and
`rollback()` are no queries; a script is one, with the operation `script`.

The application's own classes (`connect(factory=...)`, `cursor(factory=...)`) are derived from, with the timing beneath
them: what is timed is what reaches SQLite. Not seen are connections and cursors made without `connect()` and
`cursor()`, factories that are no classes, classes that refuse to be derived from, and connections that were open
before.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import lru_cache, partial, wraps
from types import new_class
from typing import TYPE_CHECKING, Any

from obskit.context import current
from obskit.db.connections import respond, track
from obskit.db.database import Database, QueryLabels
from obskit.db.db_operation import DbOperation
from obskit.db.explain import may_explain, sqlite_plan
from obskit.db.observe import abandon, add_fetch_time, attach_to_parent, begin, end, fail, plan
from obskit.db.query_watch import thresholds
from obskit.db.slow_log import SlowQuery
from obskit.deferred_endings import drain, waiting
from obskit.integrations._patches import Patches
from obskit.recorder import no_op, recorder

# The `db.system.name` of the OpenTelemetry semantic conventions 1.44 (2026-08).
DATABASE = Database("sqlite")
_SCRIPT_DATABASE = Database("sqlite")
_SCRIPT_DATABASE.unknown_labels = QueryLabels("sqlite", "", "script")
_FACTORY_POSITION = 5  # in connect()

_new = DbOperation.__new__
_labels = DATABASE.labels
_execute = sqlite3.Cursor.execute
_executemany = sqlite3.Cursor.executemany
_executescript = sqlite3.Cursor.executescript
_fetchone = sqlite3.Cursor.fetchone
_fetchmany = sqlite3.Cursor.fetchmany
_fetchall = sqlite3.Cursor.fetchall
_next = sqlite3.Cursor.__next__
_close = sqlite3.Cursor.close
_cursor = sqlite3.Connection.cursor


class _TimingMixin(sqlite3.Cursor):
    """
    Times what a cursor executes, and its fetches until the last row. It adds no attribute to a cursor, so that
    classes with slots can be derived from together with it: the class below has the one that is needed.
    """

    __slots__ = ()

    _obskit_timed = True
    _obskit_open: DbOperation | None  # the query that has rows left
    # SQLite's own, below whatever a class of the application's gives by these names.
    _obskit_arraysize: int
    _obskit_connection: sqlite3.Connection
    _obskit_description: Any
    _obskit_rowcount: int

    if not TYPE_CHECKING:  # the types are those of the methods that are wrapped
        _obskit_arraysize = sqlite3.Cursor.arraysize
        _obskit_connection = sqlite3.Cursor.connection
        _obskit_description = sqlite3.Cursor.description
        _obskit_rowcount = sqlite3.Cursor.rowcount

        # With spelled-out arguments: passing them on as `*args` would cost a query 150 ns.
        @wraps(_execute)
        def execute(self, sql, parameters=(), /):
            try:
                if self._obskit_open is not None:
                    _end_open_query(self)
            except AttributeError:  # made without `cursor()`
                self._obskit_open = None
            if not plan.active:
                return _execute(self, sql, parameters)
            if waiting:  # begin(), without the call
                drain()
            op = _new(DbOperation)
            try:
                op.labels = labels = _labels[sql]
            except TypeError:
                op.labels = labels = DATABASE.unknown_labels
            if labels.is_transaction_control:  # no sink is called
                return _execute(self, sql, parameters)
            op.database = DATABASE
            op.correlation_id = op.span = op.sparse = op.rows = None
            op.duration_seconds = 0.0
            op.ended = False
            op.parent = parent = current.get()
            if parent is None:
                op._root = op.totals = None
            else:
                attach_to_parent(op, parent)
            if plan.start is not no_op:
                plan.start(op)
            if thresholds.watches_connections:
                _watch(self, op, sql, parameters)
            op.started = started = plan.clock()
            try:
                _execute(self, sql, parameters)
            except BaseException as error:
                fail(op, error)
                raise
            op.duration_seconds = plan.clock() - started
            if self._obskit_description is None:
                op.rows = self._obskit_rowcount if self._obskit_rowcount >= 0 else None
                end(op)
            else:
                op.rows = 0
                self._obskit_open = op
            return self

        @wraps(_executemany)
        def executemany(self, /, *args):
            return _execute_whole(self, _executemany, args, args[0] if args else None)

        @wraps(_executescript)
        def executescript(self, /, *args):
            return _execute_whole(self, _executescript, args, [])

        @wraps(_fetchone)
        def fetchone(self):
            try:
                op = self._obskit_open
            except AttributeError:
                op = None
            if op is None:
                return _fetchone(self)
            started = plan.clock()
            try:
                row = _fetchone(self)
            except BaseException as error:
                _fetch_failed(self, op, started, error)
                raise
            seconds = plan.clock() - started
            if op.ended:
                add_fetch_time(op, seconds)
            else:
                op.duration_seconds += seconds
                op.rows += row is not None
                end(op)
            return row

        @wraps(_next)
        def __next__(self):
            try:
                op = self._obskit_open
            except AttributeError:
                op = None
            if op is None:
                return _next(self)
            started = plan.clock()
            try:
                row = _next(self)
            except BaseException as error:
                _fetch_failed(self, op, started, error)
                raise
            seconds = plan.clock() - started
            if op.ended:
                add_fetch_time(op, seconds)
            else:
                op.duration_seconds += seconds
                op.rows += 1
            return row

        @wraps(_fetchmany)
        def fetchmany(self, /, *args, **kwargs):
            rows = _fetch_rows(self, _fetchmany, args, kwargs)
            wanted = args[0] if args else kwargs.get("size", self._obskit_arraysize)
            if len(rows) < wanted:
                _end_open_query(self)
            return rows

        @wraps(_fetchall)
        def fetchall(self):
            try:
                op = self._obskit_open
            except AttributeError:
                op = None
            if op is None:
                return _fetchall(self)
            started = plan.clock()
            try:
                rows = _fetchall(self)
            except BaseException as error:
                _fetch_failed(self, op, started, error)
                raise
            seconds = plan.clock() - started
            self._obskit_open = None
            if op.ended:
                add_fetch_time(op, seconds)
            else:
                op.duration_seconds += seconds
                op.rows += len(rows)
                end(op)
            return rows

        @wraps(_close)
        def close(self):
            _close(self)
            _end_open_query(self)

        def __del__(self):
            try:
                op = self._obskit_open
            except AttributeError:
                return
            if op is not None and not op.ended:
                abandon(op)


class TimedCursor(_TimingMixin):
    """
    The cursor where the application brings no class of its own.
    """

    __slots__ = ("_obskit_open",)


def _execute_whole(cursor: _TimingMixin, method: Callable[..., Any], args: tuple[Any, ...], sql: object) -> Any:
    """
    Time what gives no rows: many statements, or a script.
    """
    _end_open_query(cursor)
    if not plan.active:
        return method(cursor, *args)
    op = begin(_SCRIPT_DATABASE if method is _executescript else DATABASE, sql, method is _executemany)
    try:
        method(cursor, *args)
    except BaseException as error:
        fail(op, error)
        raise
    op.duration_seconds = plan.clock() - op.started
    op.rows = cursor._obskit_rowcount if cursor._obskit_rowcount >= 0 else None
    end(op)
    return cursor


def _fetch_rows(cursor: _TimingMixin, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    op = getattr(cursor, "_obskit_open", None)
    if op is None:
        return method(cursor, *args, **kwargs)
    started = plan.clock()
    try:
        rows = method(cursor, *args, **kwargs)
    except BaseException as error:
        _fetch_failed(cursor, op, started, error)
        raise
    seconds = plan.clock() - started
    if op.ended:
        add_fetch_time(op, seconds)
    else:
        op.duration_seconds += seconds
        op.rows += len(rows)
    return rows


def _fetch_failed(cursor: _TimingMixin, op: DbOperation, started: float, error: BaseException) -> None:
    """
    Handle what a fetch raised: the end of the rows, or SQLite's error. Others come from the application's row factory.
    """
    seconds = plan.clock() - started
    if op.ended:
        add_fetch_time(op, seconds)
    else:
        op.duration_seconds += seconds
    if isinstance(error, StopIteration):
        _end_open_query(cursor)
    elif isinstance(error, sqlite3.Error):
        cursor._obskit_open = None
        fail(op, error)


def _watch(cursor: _TimingMixin, op: DbOperation, sql: str, parameters: Any) -> None:
    """
    Reply to surveys of pragmas, and prepare for a plan, where either is wanted.
    """
    if thresholds.surveys:
        respond(cursor._obskit_connection)
    elif not thresholds.explain:
        thresholds.update()
    if thresholds.explain:
        op.explain = partial(_explain, cursor._obskit_connection, sql, parameters)


def _explain(connection: sqlite3.Connection, sql: str, parameters: Any, found: SlowQuery) -> None:
    """
    Explain the query on the same connection, which sees what is not committed yet. Nothing is executed.
    """
    if may_explain(DATABASE.labels[sql].statement):
        cursor = sqlite3.Cursor(connection)
        try:
            cursor.row_factory = None
            _execute(cursor, "EXPLAIN QUERY PLAN " + sql, parameters)
            found.plan = sqlite_plan(_fetchall(cursor))
        finally:
            _close(cursor)


def _end_open_query(cursor: _TimingMixin) -> None:
    """
    End the query that has rows left, if there is one.
    """
    op = getattr(cursor, "_obskit_open", None)
    if op is not None:
        cursor._obskit_open = None
        if not op.ended:
            end(op)


class TimedConnection(sqlite3.Connection):
    """
    A connection that times what it and its cursors execute: for one, `sqlite3.connect(path, factory=TimedConnection)`.
    """

    __slots__ = ("__weakref__",)  # which SQLite's own has not

    _obskit_timed = True

    if not TYPE_CHECKING:

        @wraps(_cursor)
        def cursor(self, factory=TimedCursor):
            if factory is TimedCursor:
                cursor = _cursor(self, TimedCursor)
                cursor._obskit_open = None
                return cursor
            cursor = _cursor(self, timed_class(factory, sqlite3.Cursor, _TimingMixin))
            # Its `__init__` may have executed a query.
            if isinstance(cursor, _TimingMixin) and getattr(cursor, "_obskit_open", None) is None:
                cursor._obskit_open = None
            return cursor

        # As in C: on a cursor of the connection's own, whatever `cursor()` a class above gives.
        @wraps(sqlite3.Connection.execute)
        def execute(self, sql, parameters=(), /):
            cursor = _cursor(self, TimedCursor)
            cursor._obskit_open = None
            return cursor.execute(sql, parameters)

        @wraps(sqlite3.Connection.executemany)
        def executemany(self, /, *args):
            return _cursor(self, TimedCursor).executemany(*args)

        @wraps(sqlite3.Connection.executescript)
        def executescript(self, /, *args):
            return _cursor(self, TimedCursor).executescript(*args)


def timed_class(factory: Any, plain: type, timed: type) -> Any:
    """
    Return the class to use in place of this one; what is no such class is passed on for SQLite to refuse.
    """
    if factory is plain:
        return TimedCursor if timed is _TimingMixin else timed
    is_ours_to_derive = isinstance(factory, type) and issubclass(factory, plain) and not issubclass(factory, timed)
    return _derive(factory, timed) if is_ours_to_derive else factory


@lru_cache(128)
def _derive(cls: Any, timed: type) -> Any:
    names = {
        "__slots__": ("_obskit_open",) if timed is _TimingMixin else (),
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        **(_attribute_bypasses(cls) if timed is _TimingMixin else {}),
    }
    try:
        return new_class(cls.__name__, (cls, timed), exec_body=lambda namespace: namespace.update(names))
    except Exception as error:  # a metaclass or an __init_subclass__ that refuses
        recorder.failed("sqlite3", error)
        return cls


_ATTRIBUTE_METHODS: dict[str, Callable[..., Any]] = {
    "__setattr__": object.__setattr__,
    "__getattribute__": object.__getattribute__,
    "__getattr__": object.__getattribute__,
}


def _attribute_bypasses(cls: type) -> dict[str, Any]:
    """
    Return methods that bypass a class's attribute methods for our attributes: it may refuse those it does not know.
    """
    own = [vars(base) for base in cls.__mro__ if base not in sqlite3.Cursor.__mro__]
    return {name: _attribute_bypass(cls, name) for name in _ATTRIBUTE_METHODS if any(name in names for names in own)}


def _attribute_bypass(cls: type, method: str) -> Callable[..., Any]:
    plain = _ATTRIBUTE_METHODS[method]

    @wraps(getattr(cls, method))
    def attribute(self: Any, name: str, *value: Any) -> Any:
        if name.startswith("_obskit_"):
            return plain(self, name, *value)
        return getattr(cls, method)(self, name, *value)

    return attribute


_patches = Patches()
_modules: tuple[Any, ...] = (sqlite3, sqlite3.dbapi2)


@lru_cache(4)
def _patched(original: Callable[..., sqlite3.Connection]) -> Callable[..., sqlite3.Connection]:
    def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        if not _patches.on:  # taken back, yet called by a later patch
            return original(*args, **kwargs)
        if "aiosqlite" in sys.modules:
            _patches.put(sys.modules["aiosqlite"].Connection, "_execute", _in_context)
        if len(args) > _FACTORY_POSITION:
            factory = timed_class(args[_FACTORY_POSITION], sqlite3.Connection, TimedConnection)
            args = (*args[:_FACTORY_POSITION], factory, *args[_FACTORY_POSITION + 1 :])
        else:
            factory = kwargs.get("factory", sqlite3.Connection)
            kwargs["factory"] = timed_class(factory, sqlite3.Connection, TimedConnection)
        connection = original(*args, **kwargs)
        if isinstance(connection, TimedConnection):
            track(connection)
        return connection

    return connect


def _in_context(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """
    Run aiosqlite's calls in the context of the request that awaits them.
    """

    async def execute(self: Any, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await original(self, copy_context().run, fn, *args, **kwargs)

    return execute


def instrument() -> None:
    """
    Time the queries of every connection that `sqlite3.connect()` opens from now on, aiosqlite's too.
    """
    for module in _modules:
        _patches.put(module, "connect", _patched)


def uninstrument() -> None:
    """
    Open plain connections again; those that are open stay as they are.
    """
    _patches.restore()
