"""
Time client-side cursors, which have all of their rows when `execute()` returns; and what server-side ones share.

Each method of psycopg is there twice, once to wait and once to be awaited. What surrounds the driver's work is written
once, as a context without I/O, and both twins are no more than the call inside of it. Where such a context, which
takes 0.5 us, is more than a twentieth of what timing costs (`execute()`, single fetches), it is written out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, closing, contextmanager
from functools import partial
from typing import Any

from psycopg import sql

from obskit.db.database import Database
from obskit.db.db_operation import DbOperation
from obskit.db.observe import abandon, begin, end, fail, plan
from obskit.db.query_watch import thresholds
from obskit.integrations.dbapi import rows_of
from obskit.integrations.psycopg.pipelines import (
    Around,
    SentQuery,
    Wrapper,
    count_params,
    mark_sent,
    rows_of_all,
    sending,
    sending_failed,
)
from obskit.integrations.psycopg.plans import explain, note_search_path_change

# The `db.system.name` of the OpenTelemetry semantic conventions 1.44 (2026-08).
SYSTEM = "postgresql"

_unknown_database = Database(SYSTEM)
_END = object()


def database_of(cursor: Any) -> Database:
    """
    Return a cursor's database, described once for each connection.
    """
    connection = cursor.connection
    try:
        database: Database = connection._obskit_database
    except AttributeError:
        try:
            info = connection.info
            database = Database(SYSTEM, database=info.dbname, host=info.host, port=info.port)
        except Exception:  # it is closed, which is for psycopg to say
            return _unknown_database
        connection._obskit_database = database
    return database


# Since psycopg 3.2; before that there were no templates, and each object has the method.
_as_string: Callable[[Any, Any], str] = getattr(sql, "as_string", lambda query, cursor: query.as_string(cursor))


def text_of(query: Any, cursor: Any) -> Any:
    """
    Return psycopg's own objects as text; None where psycopg cannot render one, and will refuse it.
    """
    if isinstance(query, (str, bytes)):
        return query
    try:
        return _as_string(query, cursor)
    except Exception:
        return None


@contextmanager
def begun(cursor: Any, query: Any) -> Iterator[DbOperation]:
    """
    Begin a query that fails with what the block raises. Otherwise, who uses this ends it.
    """
    op = begin(database_of(cursor), text_of(query, cursor))
    try:
        yield op
    except GeneratorExit:  # of a generator or a coroutine that was dropped
        abandon(op)
        raise
    except BaseException as error:
        fail(op, error)
        raise


def done(op: DbOperation, cursor: Any, returning: bool = False) -> None:
    """
    End a query that took until now.
    """
    op.duration_seconds = plan.clock() - op.started
    op.rows = rows_of_all(cursor) if returning else rows_of(cursor)
    end(op)


RowsOf = Callable[..., AbstractContextManager[DbOperation]]


def blocking_rows(query_of: RowsOf) -> Around:
    """
    Count the rows of a generator, and the time that the driver takes for them, to the query of this context.
    """

    def around(original: Wrapper) -> Wrapper:
        def rows(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
            with query_of(self, *args) as op, closing(original(self, *args, **kwargs)) as found:
                while True:
                    started = plan.clock()
                    try:
                        row = next(found, _END)
                    finally:
                        op.duration_seconds += plan.clock() - started
                    if row is _END:
                        return
                    op.rows += 1  # type: ignore[operator]
                    yield row

        return rows

    return around


def awaiting_rows(query_of: RowsOf) -> Around:
    """
    Count the rows of an asynchronous generator likewise.
    """

    def around(original: Wrapper) -> Wrapper:
        async def rows(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            with query_of(self, *args) as op:
                async with aclosing(original(self, *args, **kwargs)) as found:
                    while True:
                        started = plan.clock()
                        try:
                            row = await anext(found, _END)
                        finally:
                            op.duration_seconds += plan.clock() - started
                        if row is _END:
                            return
                        op.rows += 1  # type: ignore[operator]
                        yield row

        return rows

    return around


def _begin(cursor: Any, query: Any, params: Any) -> tuple[DbOperation, SentQuery | None]:
    text = query if type(query) is str else text_of(query, cursor)
    op = begin(database_of(cursor), text)
    connection = cursor.connection
    if thresholds.explain:
        note_search_path_change(connection, text)
        op.explain = partial(explain, connection, query, params, op.statement)
    return op, None if getattr(connection, "_pipeline", None) is None else sending(cursor, op, 1)


def _execute(original: Wrapper) -> Wrapper:
    def execute(self: Any, query: Any, params: Any = None, *, prepare: Any = None, binary: Any = None) -> Any:
        if not plan.active:
            return original(self, query, params, prepare=prepare, binary=binary)
        op, sent = _begin(self, query, params)
        try:
            result = original(self, query, params, prepare=prepare, binary=binary)
        except BaseException as error:
            sending_failed(self, op, sent, error)
            raise
        done(op, self) if sent is None else mark_sent(sent)
        return result

    return execute


def _execute_async(original: Wrapper) -> Wrapper:
    async def execute(self: Any, query: Any, params: Any = None, *, prepare: Any = None, binary: Any = None) -> Any:
        if not plan.active:
            return await original(self, query, params, prepare=prepare, binary=binary)
        op, sent = _begin(self, query, params)
        try:
            result = await original(self, query, params, prepare=prepare, binary=binary)
        except BaseException as error:
            sending_failed(self, op, sent, error)
            raise
        done(op, self) if sent is None else mark_sent(sent)
        return result

    return execute


@contextmanager
def _sending_many(cursor: Any, query: Any, params_seq: Iterable[Any], returning: bool) -> Iterator[Iterable[Any]]:
    if not plan.active:
        yield params_seq
        return
    op = begin(database_of(cursor), text_of(query, cursor), many=True)
    sent = sending(cursor, op, 0, returning)
    try:
        yield params_seq if sent is None else count_params(params_seq, sent)
    except BaseException as error:
        sending_failed(cursor, op, sent, error)
        raise
    done(op, cursor, returning) if sent is None else mark_sent(sent)


def _executemany(original: Wrapper) -> Wrapper:
    def executemany(self: Any, query: Any, params_seq: Iterable[Any], *, returning: bool = False) -> Any:
        with _sending_many(self, query, params_seq, returning) as counted:
            return original(self, query, counted, returning=returning)

    return executemany


def _executemany_async(original: Wrapper) -> Wrapper:
    async def executemany(self: Any, query: Any, params_seq: Iterable[Any], *, returning: bool = False) -> Any:
        with _sending_many(self, query, params_seq, returning) as counted:
            return await original(self, query, counted, returning=returning)

    return executemany


def _copy(original: Wrapper) -> Wrapper:
    @contextmanager
    def copy(self: Any, statement: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        with begun(self, statement) as op:
            with original(self, statement, *args, **kwargs) as copied:
                yield copied
            done(op, self)

    return copy


def _copy_async(original: Wrapper) -> Wrapper:
    @asynccontextmanager
    async def copy(self: Any, statement: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        with begun(self, statement) as op:
            async with original(self, statement, *args, **kwargs) as copied:
                yield copied
            done(op, self)

    return copy


@contextmanager
def _streamed(cursor: Any, query: Any, *args: Any) -> Iterator[DbOperation]:
    with begun(cursor, query) as op:
        op.rows = 0
        yield op
        end(op)


METHODS: dict[str, Around] = {"execute": _execute, "executemany": _executemany, "copy": _copy}
METHODS["stream"] = blocking_rows(_streamed)
ASYNC_METHODS: dict[str, Around] = {"execute": _execute_async, "executemany": _executemany_async, "copy": _copy_async}
ASYNC_METHODS["stream"] = awaiting_rows(_streamed)
