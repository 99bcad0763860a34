"""
Time the queries of `sqlite3` connections.

A query's time is that of `execute()`, `executemany()` or `executescript()`: to SQLite's first row, or to the end of a
statement that gives none. SQLite makes the further rows while they are fetched, and that is not timed. `commit()` and
`rollback()` are no queries; a script is one, with the operation `script`.

The application's own classes (`connect(factory=...)`, `cursor(factory=...)`) are derived from, with the timing beneath
them: what is timed is what reaches SQLite. Not seen are connections and cursors made without `connect()` and
`cursor()`, factories that are no classes, and connections that were open before.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import lru_cache, wraps
from threading import Lock
from types import new_class
from typing import TYPE_CHECKING, Any

from obskit.db.observe import plan, query
from obskit.db.operation import DbOperation
from obskit.recorder import recorder

# The `db.system.name` of the OpenTelemetry semantic conventions 1.44 (2026-08).
SYSTEM = "sqlite"
_FACTORY_POSITION = 5  # in connect()

_modules: tuple[Any, ...] = (sqlite3, sqlite3.dbapi2)
_execute = sqlite3.Cursor.execute
_executemany = sqlite3.Cursor.executemany
_executescript = sqlite3.Cursor.executescript
_cursor = sqlite3.Connection.cursor


class TimedCursor(sqlite3.Cursor):
    """
    Time what this cursor executes.
    """

    __slots__ = ()

    if not TYPE_CHECKING:  # the types are those of the methods that are wrapped
        # The one method with spelled-out arguments: passing them on as `*args` would cost a query 150 ns.
        @wraps(_execute)
        def execute(self, sql, parameters=(), /):
            if not plan.active:
                return _execute(self, sql, parameters)
            operation = query(SYSTEM, sql)
            plan.begin(operation)
            try:
                return _execute(self, sql, parameters)
            except BaseException as error:
                operation.error = type(error).__name__
                raise
            finally:
                plan.end(operation)

        @wraps(_executemany)
        def executemany(self, /, *args):
            return _timed(query(SYSTEM, args[0] if args else None), _executemany, self, args)

        @wraps(_executescript)
        def executescript(self, /, *args):
            operation = query(SYSTEM, None)
            operation.operation = operation.operation or "script"
            return _timed(operation, _executescript, self, args)


def _timed(operation: DbOperation, method: Callable[..., Any], cursor: TimedCursor, args: tuple[Any, ...]) -> Any:
    plan.begin(operation)
    try:
        return method(cursor, *args)
    except BaseException as error:
        operation.error = type(error).__name__
        raise
    finally:
        plan.end(operation)


class TimedConnection(sqlite3.Connection):
    """
    Time what this connection and its cursors execute: `sqlite3.connect(path, factory=TimedConnection)` for one alone.
    """

    __slots__ = ()

    if not TYPE_CHECKING:

        @wraps(_cursor)
        def cursor(self, factory=TimedCursor):
            return _cursor(self, _timed_class(factory, sqlite3.Cursor, TimedCursor))

        # As in C: on a cursor of the connection's own, whatever `cursor()` a class above gives.
        @wraps(sqlite3.Connection.execute)
        def execute(self, sql, parameters=(), /):
            return _cursor(self, TimedCursor).execute(sql, parameters)

        @wraps(sqlite3.Connection.executemany)
        def executemany(self, /, *args):
            return _cursor(self, TimedCursor).executemany(*args)

        @wraps(sqlite3.Connection.executescript)
        def executescript(self, /, *args):
            return _cursor(self, TimedCursor).executescript(*args)


def _timed_class(factory: Any, plain: type, timed: type) -> Any:
    """
    Give the class to make in place of this one; what is no class of this kind is left to SQLite to judge.
    """
    if factory is plain:
        return timed
    is_ours_to_derive = isinstance(factory, type) and issubclass(factory, plain) and not issubclass(factory, timed)
    return _derived(factory, timed) if is_ours_to_derive else factory


@lru_cache(128)
def _derived(cls: Any, timed: type) -> Any:
    names = {"__slots__": (), "__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    try:
        return new_class(cls.__name__, (cls, timed), exec_body=lambda namespace: namespace.update(names))
    except Exception as error:  # a metaclass or an __init_subclass__ that refuses
        recorder.failed("sqlite3", error)
        return cls


_lock = Lock()
# Module -> (the function that stood there, ours).
_patches: dict[Any, tuple[Any, Any]] = {}


@lru_cache(4)
def _patched(original: Callable[..., sqlite3.Connection]) -> Callable[..., sqlite3.Connection]:
    @wraps(original)
    def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        if not _patches:  # taken back, yet still called by whoever patched after us
            return original(*args, **kwargs)
        if len(args) > _FACTORY_POSITION:
            factory = _timed_class(args[_FACTORY_POSITION], sqlite3.Connection, TimedConnection)
            args = (*args[:_FACTORY_POSITION], factory, *args[_FACTORY_POSITION + 1 :])
        else:
            factory = kwargs.get("factory", sqlite3.Connection)
            kwargs["factory"] = _timed_class(factory, sqlite3.Connection, TimedConnection)
        return original(*args, **kwargs)

    return connect


def instrument() -> None:
    """
    Time the queries of every connection that `sqlite3.connect()` opens from now on.
    """
    with _lock:
        for module in _modules:
            if module not in _patches:
                original = module.connect
                module.connect = _patched(original)
                _patches[module] = original, module.connect


def uninstrument() -> None:
    """
    Open plain connections again; those that are open stay as they are.
    """
    with _lock:
        for module, (original, ours) in _patches.items():
            if module.connect is ours:
                module.connect = original
        _patches.clear()
