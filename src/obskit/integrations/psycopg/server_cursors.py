"""
Time server-side cursors: a single query from `execute()` to the last row or `close()`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import psycopg

from obskit.db.db_operation import DbOperation
from obskit.db.observe import abandon, begin, end, fail, plan
from obskit.integrations.psycopg.cursors import Wrapper, database_of, text_of


class _OpenQuery:
    """
    The query of a server-side cursor, which takes no attributes; it lives as long as the cursor.
    """

    __slots__ = ("op",)

    def __init__(self, op: DbOperation) -> None:
        self.op = op

    def __del__(self) -> None:
        if not self.op.ended:
            abandon(self.op)


_open: WeakKeyDictionary[Any, _OpenQuery] = WeakKeyDictionary()


def _declare(original: Wrapper) -> Wrapper:
    def execute(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        _end_open_query(self)
        op = begin(database_of(self), text_of(query, self))
        try:
            result = original(self, query, *args, **kwargs)
        except BaseException as error:
            fail(op, error)
            raise
        _keep_open(self, op)
        return result

    return execute


def _declare_async(original: Wrapper) -> Wrapper:
    async def execute(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        _end_open_query(self)
        op = begin(database_of(self), text_of(query, self))
        try:
            result = await original(self, query, *args, **kwargs)
        except BaseException as error:
            fail(op, error)
            raise
        _keep_open(self, op)
        return result

    return execute


def _keep_open(cursor: Any, op: DbOperation) -> None:
    op.duration_seconds = plan.clock() - op.started
    op.rows = 0
    _open[cursor] = _OpenQuery(op)


def _fetching(original: Wrapper) -> Wrapper:
    def fetch(self: Any, *args: Any, **kwargs: Any) -> Any:
        held = _open.get(self)
        if held is None:
            return original(self, *args, **kwargs)
        started = plan.clock()
        try:
            result = original(self, *args, **kwargs)
        except BaseException as error:
            _fetch_failed(self, held.op, started, error)
            raise
        _fetched(self, held.op, started, result, original.__name__)
        return result

    return fetch


def _fetching_async(original: Wrapper) -> Wrapper:
    async def fetch(self: Any, *args: Any, **kwargs: Any) -> Any:
        held = _open.get(self)
        if held is None:
            return await original(self, *args, **kwargs)
        started = plan.clock()
        try:
            result = await original(self, *args, **kwargs)
        except BaseException as error:
            _fetch_failed(self, held.op, started, error)
            raise
        _fetched(self, held.op, started, result, original.__name__)
        return result

    return fetch


def _iterating(original: Wrapper) -> Wrapper:
    def __iter__(self: Any) -> Iterator[Any]:
        held = _open.get(self)
        if held is None:
            yield from original(self)
            return
        rows = original(self)
        while True:
            started = plan.clock()
            try:
                row = next(rows)
            except BaseException as error:
                _fetch_failed(self, held.op, started, error)
                if isinstance(error, StopIteration):
                    return
                raise
            held.op.duration_seconds += plan.clock() - started
            held.op.rows = (held.op.rows or 0) + 1
            yield row

    return __iter__


def _iterating_async(original: Wrapper) -> Wrapper:
    async def __aiter__(self: Any) -> AsyncIterator[Any]:
        held, rows = _open.get(self), original(self)
        while True:
            started = plan.clock()
            try:
                row = await anext(rows)
            except BaseException as error:
                if held is not None:
                    _fetch_failed(self, held.op, started, error)
                if isinstance(error, StopAsyncIteration):
                    return
                raise
            if held is not None:
                held.op.duration_seconds += plan.clock() - started
                held.op.rows = (held.op.rows or 0) + 1
            yield row

    return __aiter__


def _fetched(cursor: Any, op: DbOperation, started: float, result: Any, method: str) -> None:
    op.duration_seconds += plan.clock() - started
    if method == "close":
        _end_open_query(cursor)
        return
    fetched = _count_of(cursor, result, method)
    op.rows = (op.rows or 0) + fetched
    if not fetched or method == "fetchall":
        _end_open_query(cursor)


def _count_of(cursor: Any, result: Any, method: str) -> int:
    """
    Return how many rows a fetch returned. A row may be None: with `scalar_row` it is the value.
    """
    if method in ("fetchmany", "fetchall"):
        return len(result)
    if method == "fetchone" and result is None:
        return cursor.pgresult.ntuples if cursor.pgresult is not None else 0
    return 1


def _fetch_failed(cursor: Any, op: DbOperation, started: float, error: BaseException) -> None:
    op.duration_seconds += plan.clock() - started
    if isinstance(error, (StopIteration, StopAsyncIteration)):
        _end_open_query(cursor)
    elif isinstance(error, psycopg.Error):
        _open.pop(cursor, None)
        fail(op, error)


def _end_open_query(cursor: Any) -> None:
    held = _open.pop(cursor, None)
    if held is not None:
        end(held.op)


# Before psycopg 3.3 the rows of a server-side cursor came from a generator, in place of the method on the right.
ITERATIONS = {"__iter__": "__next__", "__aiter__": "__anext__"}
METHODS = {
    "execute": _declare,
    "__iter__": _iterating,
    **dict.fromkeys(("fetchone", "fetchmany", "fetchall", "__next__", "close"), _fetching),
}
ASYNC_METHODS = {
    "execute": _declare_async,
    "__aiter__": _iterating_async,
    **dict.fromkeys(("fetchone", "fetchmany", "fetchall", "__anext__", "close"), _fetching_async),
}
