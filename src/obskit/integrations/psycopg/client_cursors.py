"""
Time client-side cursors, which have all of their rows when `execute()` returns; streams and COPY.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from obskit.db.db_operation import DbOperation
from obskit.db.observe import abandon, begin, end, fail, plan
from obskit.db.query_watch import thresholds
from obskit.integrations.dbapi import rows_of
from obskit.integrations.psycopg.cursors import Wrapper, database_of, rows_of_all, text_of
from obskit.integrations.psycopg.pipelines import count_params, mark_sent, sending, sending_failed
from obskit.integrations.psycopg.plans import explain, note_search_path_change


def _done(op: DbOperation, cursor: Any, returning: bool = False) -> None:
    op.duration_seconds = plan.clock() - op.started
    op.rows = rows_of_all(cursor) if returning else rows_of(cursor)
    end(op)


def _execute(original: Wrapper) -> Wrapper:
    def execute(self: Any, query: Any, params: Any = None, *, prepare: Any = None, binary: Any = None) -> Any:
        if not plan.active:
            return original(self, query, params, prepare=prepare, binary=binary)
        op = begin(database_of(self), text_of(query, self))
        if thresholds.explain:
            op.explain = partial(explain, self.connection, query, params, op.statement)
        sent = sending(self, op, 1)
        try:
            result = original(self, query, params, prepare=prepare, binary=binary)
        except BaseException as error:
            sending_failed(self, op, sent, error)
            raise
        _done(op, self) if sent is None else mark_sent(self, op, sent)
        return result

    return execute


def _execute_async(original: Wrapper) -> Wrapper:
    async def execute(self: Any, query: Any, params: Any = None, *, prepare: Any = None, binary: Any = None) -> Any:
        if not plan.active:
            return await original(self, query, params, prepare=prepare, binary=binary)
        op = begin(database_of(self), text_of(query, self))
        if thresholds.explain:
            note_search_path_change(self.connection, text_of(query, self))
            op.explain = partial(explain, self.connection, query, params, op.statement)
        sent = sending(self, op, 1)
        try:
            result = await original(self, query, params, prepare=prepare, binary=binary)
        except BaseException as error:
            sending_failed(self, op, sent, error)
            raise
        _done(op, self) if sent is None else mark_sent(self, op, sent)
        return result

    return execute


def _executemany(original: Wrapper) -> Wrapper:
    def executemany(self: Any, query: Any, params_seq: Iterable[Any], *, returning: bool = False) -> Any:
        if not plan.active:
            return original(self, query, params_seq, returning=returning)
        op = begin(database_of(self), text_of(query, self), many=True)
        sent = sending(self, op, 0, returning)
        try:
            counted = params_seq if sent is None else count_params(params_seq, sent)
            result = original(self, query, counted, returning=returning)
        except BaseException as error:
            sending_failed(self, op, sent, error)
            raise
        _done(op, self, returning) if sent is None else mark_sent(self, op, sent)
        return result

    return executemany


def _executemany_async(original: Wrapper) -> Wrapper:
    async def executemany(self: Any, query: Any, params_seq: Iterable[Any], *, returning: bool = False) -> Any:
        if not plan.active:
            return await original(self, query, params_seq, returning=returning)
        op = begin(database_of(self), text_of(query, self), many=True)
        sent = sending(self, op, 0, returning)
        try:
            counted = params_seq if sent is None else count_params(params_seq, sent)
            result = await original(self, query, counted, returning=returning)
        except BaseException as error:
            sending_failed(self, op, sent, error)
            raise
        _done(op, self, returning) if sent is None else mark_sent(self, op, sent)
        return result

    return executemany


def _stream(original: Wrapper) -> Wrapper:
    def stream(self: Any, query: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        op = begin(database_of(self), text_of(query, self))
        op.rows = 0
        rows = original(self, query, *args, **kwargs)
        step, sent = rows.send, None
        try:
            while True:
                started = plan.clock()
                try:
                    row = step(sent)
                except StopIteration:
                    break
                finally:
                    op.duration_seconds += plan.clock() - started
                op.rows += 1
                try:
                    step, sent = rows.send, (yield row)
                except GeneratorExit:
                    rows.close()
                    raise
                except BaseException as thrown:
                    step, sent = rows.throw, thrown
        except GeneratorExit:
            abandon(op)
            raise
        except BaseException as error:
            fail(op, error)
            raise
        end(op)

    return stream


def _stream_async(original: Wrapper) -> Wrapper:
    async def stream(self: Any, query: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        op = begin(database_of(self), text_of(query, self))
        op.rows = 0
        rows = original(self, query, *args, **kwargs)
        step, sent = rows.asend, None
        try:
            while True:
                started = plan.clock()
                try:
                    row = await step(sent)
                except StopAsyncIteration:
                    break
                finally:
                    op.duration_seconds += plan.clock() - started
                op.rows += 1
                try:
                    step, sent = rows.asend, (yield row)
                except GeneratorExit:
                    await rows.aclose()
                    raise
                except BaseException as thrown:
                    step, sent = rows.athrow, thrown
        except GeneratorExit:
            abandon(op)
            raise
        except BaseException as error:
            fail(op, error)
            raise
        end(op)

    return stream


def _copy(original: Wrapper) -> Wrapper:
    @contextmanager
    def copy(self: Any, statement: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        op = begin(database_of(self), text_of(statement, self))
        try:
            with original(self, statement, *args, **kwargs) as copied:
                yield copied
        except BaseException as error:
            fail(op, error)
            raise
        _done(op, self)

    return copy


def _copy_async(original: Wrapper) -> Wrapper:
    @asynccontextmanager
    async def copy(self: Any, statement: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        op = begin(database_of(self), text_of(statement, self))
        try:
            async with original(self, statement, *args, **kwargs) as copied:
                yield copied
        except BaseException as error:
            fail(op, error)
            raise
        _done(op, self)

    return copy


METHODS = {"execute": _execute, "executemany": _executemany, "stream": _stream, "copy": _copy}
ASYNC_METHODS = {
    "execute": _execute_async,
    "executemany": _executemany_async,
    "stream": _stream_async,
    "copy": _copy_async,
}
