"""
Time the statements of SQLAlchemy's engines: Core, ORM and asyncio, of 2.0 and 2.1.

What is timed is the call of the driver: `do_execute()` and its sisters, which each dialect has for just that. Nothing
is listened to, since one event around a statement costs more than the whole of this. Where the driver below is timed
by a hook of its own, that one measures. An engine of `sqlite3` gets connections whose fetches are timed too; what
further fetches from a server-side cursor take is seen with `obskit.instrument_psycopg()` beside it.
"""

from __future__ import annotations

import gc
import sqlite3
from collections.abc import Callable
from functools import partial, wraps
from threading import RLock
from typing import Any
from weakref import WeakSet, ref

from obskit.db.database import Database
from obskit.db.observe import begin, end, fail, plan
from obskit.db.pools import PoolSize, begin_use, begin_wait, end_use, end_wait, pools
from obskit.db.query_watch import thresholds
from obskit.errors import ConfigurationError, MissingExtraError
from obskit.forks import at_fork
from obskit.integrations._explainers import set_explain
from obskit.integrations._patches import Patches
from obskit.integrations.dbapi import is_timed, rows_of
from obskit.integrations.sqlite3 import TimedConnection, TimedCursor, timed_class
from obskit.observation import unrecorded
from obskit.recorder import recorder

try:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine
    from sqlalchemy.engine.base import OptionEngine
    from sqlalchemy.engine.default import DefaultDialect
    from sqlalchemy.pool import NullPool
except ImportError as error:
    raise MissingExtraError(
        "obskit.integrations.sqlalchemy needs SQLAlchemy: pip install 'obskit[sqlalchemy]'"
    ) from error

# SQLAlchemy's names -> `db.system.name` of the OpenTelemetry semantic conventions 1.44 (2026-08).
SYSTEMS = {"mssql": "microsoft.sql_server", "oracle": "oracle.db"}
_METHODS = ("do_execute", "do_execute_no_params", "do_executemany")

_patches = Patches()
_KEY = "obskit"  # in the dialect's attributes, and in a connection record's info
_hooks_every_engine = False  # whether engines are hooked that nobody named
_hook_lock = RLock()


def _start_over() -> None:
    global _hook_lock
    _hook_lock = RLock()  # a thread of the parent may have been at it


at_fork(after_in_child=_start_over)


class _Hook:
    """
    One engine, and whether its statements are timed.
    """

    def __init__(self, engine: Any) -> None:
        dialect, url = engine.dialect, engine.url
        system = SYSTEMS.get(dialect.name, dialect.name)
        self.on = False
        self.file = system == "sqlite"
        self.database = Database(system, database=None if self.file else url.database, host=url.host, port=url.port)
        self.pool: str | None = None
        self.engine: Callable[[], Any] = lambda: None  # while its pool is watched


# Of the engines that are hooked; each dialect belongs to one engine, and to what `execution_options()` made of it.
_dialects: WeakSet[Any] = WeakSet()


def instrument(engine: Any = None, *, pool: str | None = None) -> None:
    """
    Time the statements of one engine, or of every engine: those that are there, and those that will be made, which
    are taken up with their first connection.

    Args:
        engine: What `create_engine()` or `create_async_engine()` gave; None is every engine.
        pool: The label `pool` of its connections. Default: the name of its database, and `sqlite` for files of SQLite,
            of which there may be many. Engines of one database share it, and a NullPool without a name has none.

    Raises:
        ConfigurationError: It is no engine.
    """
    global _hooks_every_engine
    if engine is not None:
        _hook(_sync_engine(engine), pool)
        return
    _hooks_every_engine = True
    # Not Engine.__init__: SQLAlchemy reads from its code which arguments create_engine() takes.
    _patches.put(Engine, "raw_connection", _timed_raw_connection)
    for found in gc.get_objects():
        if issubclass(type(found), Engine):  # isinstance() would ask lazy objects what they are, and wake them
            _hook(found)


def uninstrument(engine: Any = None) -> None:
    """
    Restore one engine, or every engine, also those that were instrumented one by one.
    """
    global _hooks_every_engine
    if engine is not None:
        _unhook(_sync_engine(engine).dialect)
        return
    _hooks_every_engine = False
    for dialect in list(_dialects):
        _unhook(dialect)
    _patches.restore()


def _sync_engine(engine: Any) -> Any:
    found = getattr(engine, "sync_engine", engine)
    if not isinstance(found, Engine):
        raise ConfigurationError(
            f"instrument_sqlalchemy() was given a {type(engine).__name__}; pass what create_engine() or "
            "create_async_engine() gave, or nothing for every engine"
        )
    return found


def _hook(engine: Any, pool: str | None = None) -> None:
    with _hook_lock:
        dialect = engine.dialect
        hook = vars(dialect).get(_KEY)
        if hook is None:
            hook = dialect.obskit = _Hook(engine)
            _wrap_dialect(hook, engine)
        hook.on = True
        _patches.put(Engine, "raw_connection", _timed_raw_connection)
        _dialects.add(dialect)
        if not isinstance(engine, OptionEngine):
            hook.pool, hook.engine = _watch_pool(engine, pool), ref(engine)


def _wrap_dialect(hook: _Hook, engine: Any) -> None:
    dialect = engine.dialect
    for name in _METHODS:
        original = getattr(dialect, name)
        ours = _timed(hook, original, many=name == "do_executemany")
        if hook.file and getattr(original, "__func__", None) is DefaultDialect.do_execute:
            ours = _skip_timed_cursors(ours)
        setattr(dialect, name, wraps(original)(ours))
    dialect.do_ping = wraps(dialect.do_ping)(_suppressed_ping(dialect.do_ping))
    if getattr(dialect, "dbapi", None) in (sqlite3, sqlite3.dbapi2):
        dialect.connect = wraps(dialect.connect)(_timed_connect(hook, dialect.connect))
    event.listen(engine, "checkout", partial(_checked_out, hook))
    event.listen(engine, "checkin", partial(_checked_in, hook))


def _hook_new(engine: Any) -> _Hook | None:
    """
    Hook an engine with its first connection; of an engine with execution options, the engine below.
    """
    try:
        while isinstance(engine, OptionEngine):
            engine = engine._proxied
        _hook(engine)
    except Exception as error:
        recorder.failed("sqlalchemy", error)
    found: _Hook | None = vars(engine.dialect).get(_KEY)
    return found


def _unhook(dialect: Any) -> None:
    hook = vars(dialect).get(_KEY)
    if hook is not None:
        hook.on, hook.pool = False, None
        engine = hook.engine()
        if engine is not None:
            pools.discard(engine)
    _dialects.discard(dialect)


def _timed(hook: _Hook, original: Callable[..., Any], many: bool) -> Callable[..., Any]:
    database = hook.database

    def execute(cursor: Any, statement: Any, *args: Any, **kwargs: Any) -> Any:
        if not hook.on or not plan.active or is_timed(cursor):
            return original(cursor, statement, *args, **kwargs)
        op = begin(database, statement, many)
        if thresholds.explain:
            set_explain(op, cursor, statement, args[0] if args else None)
        try:
            result = original(cursor, statement, *args, **kwargs)
        except BaseException as error:
            fail(op, error)
            raise
        op.duration_seconds = plan.clock() - op.started
        op.rows = rows_of(cursor)
        end(op)
        return result

    return execute


def _skip_timed_cursors(timed: Callable[..., Any]) -> Callable[..., Any]:
    """
    Call our own cursors directly, which time themselves: what `DefaultDialect.do_execute()` does, in as few calls.
    """

    def execute(cursor: Any, statement: Any, parameters: Any, context: Any = None) -> None:
        if type(cursor) is TimedCursor:
            cursor.execute(statement, parameters)
        else:
            timed(cursor, statement, parameters, context)

    return execute


def _timed_connect(hook: _Hook, original: Callable[..., Any]) -> Callable[..., Any]:
    """
    Open connections whose fetches are timed as well, of the application's own class where it gives one.
    """

    def connect(*args: Any, **kwargs: Any) -> Any:
        if hook.on:
            factory = kwargs.get("factory", sqlite3.Connection)
            kwargs["factory"] = timed_class(factory, sqlite3.Connection, TimedConnection)
        return original(*args, **kwargs)

    return connect


def _suppressed_ping(original: Callable[..., Any]) -> Callable[..., Any]:
    """
    Suppress the driver's own hook while a pool pings its connection.
    """

    def do_ping(*args: Any, **kwargs: Any) -> Any:
        with unrecorded():
            return original(*args, **kwargs)

    return do_ping


# Pools.


def _watch_pool(engine: Any, pool: str | None) -> str | None:
    """
    Watch an engine's pool and return its name; engines of one database share it where they are given none.
    """
    if pool is not None:
        return pools.add(engine, pool, _size_of)
    if isinstance(engine.pool, NullPool):
        return None
    system = str(engine.dialect.name)
    name = system if vars(engine.dialect)[_KEY].file else str(engine.url.database or system)
    return pools.add_shared(engine, name, _size_of)


def _size_of(engine: Any) -> PoolSize | None:
    pool = engine.pool
    if not hasattr(pool, "checkedout"):  # neither NullPool nor StaticPool counts
        return None
    overflow = getattr(pool, "_max_overflow", 0)
    return PoolSize(pool.checkedout(), pool.checkedin(), pool.size() + overflow if overflow >= 0 else None)


def _timed_raw_connection(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def raw_connection(self: Any) -> Any:
        hook = vars(self.dialect).get(_KEY)
        if hook is None and _hooks_every_engine:
            hook = _hook_new(self)
        if hook is None or not hook.on or hook.pool is None:
            return original(self)
        op = begin_wait(hook.pool)
        try:
            connection = original(self)
        except BaseException as error:
            end_wait(op, error)
            raise
        end_wait(op)
        return connection

    return raw_connection


def _checked_out(hook: _Hook, connection: Any, record: Any, proxy: Any) -> None:
    if hook.on and hook.pool is not None:
        record.info[_KEY] = begin_use(hook.pool)


def _checked_in(hook: _Hook, connection: Any, record: Any) -> None:
    op = record.info.pop(_KEY, None)
    if op is not None:
        end_use(op)
