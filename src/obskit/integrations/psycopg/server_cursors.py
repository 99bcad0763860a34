"""
Time server-side cursors: a single query from `execute()` to the last row or `close()`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import psycopg

from obskit.db.db_operation import DbOperation
from obskit.db.observe import OpenQuery, end, fail, plan
from obskit.integrations.psycopg.cursors import awaiting_rows, begun, blocking_rows
from obskit.integrations.psycopg.pipelines import Around, Wrapper


class _DeclaredQuery(OpenQuery):
    """
    The query of a server-side cursor, which takes no attributes.
    """

    __slots__ = ()

    def fetched(self, started: float, count: int, is_last: bool) -> None:
        op = self.op
        op.duration_seconds += plan.clock() - started
        op.rows = (op.rows or 0) + count
        if is_last or not count:
            end(op)

    def failed(self, started: float, error: BaseException) -> None:
        # What else is raised, such as by a row factory, leaves it open.
        self.op.duration_seconds += plan.clock() - started
        if isinstance(error, (StopIteration, StopAsyncIteration)):
            end(self.op)
        elif isinstance(error, psycopg.Error):
            fail(self.op, error)


_open: WeakKeyDictionary[Any, _DeclaredQuery] = WeakKeyDictionary()


def _open_query_of(cursor: Any) -> _DeclaredQuery | None:
    held = _open.get(cursor)
    return None if held is None or held.op.ended else held


@contextmanager
def _declared(cursor: Any, query: Any) -> Iterator[None]:
    before = _open_query_of(cursor)
    if before is not None:
        end(before.op)
    with begun(cursor, query) as op:
        yield
        op.duration_seconds = plan.clock() - op.started
        op.rows = 0
        _open[cursor] = _DeclaredQuery(op)


def _declare(original: Wrapper) -> Wrapper:
    def execute(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        with _declared(self, query):
            return original(self, query, *args, **kwargs)

    return execute


def _declare_async(original: Wrapper) -> Wrapper:
    async def execute(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        with _declared(self, query):
            return await original(self, query, *args, **kwargs)

    return execute


def _one(cursor: Any, result: Any) -> int:
    if result is not None:
        return 1
    return cursor.pgresult.ntuples if cursor.pgresult is not None else 0  # a row may be None: with `scalar_row`


# How many rows a call returned; with none, the query ends.
_COUNTS: dict[str, Callable[[Any, Any], int]] = {
    "fetchone": _one,
    "fetchmany": lambda cursor, result: len(result),
    "fetchall": lambda cursor, result: len(result),
    "__next__": lambda cursor, result: 1,
    "__anext__": lambda cursor, result: 1,
    "close": lambda cursor, result: 0,
}


def _fetching(name: str, original: Wrapper) -> Wrapper:
    count_of, is_last = _COUNTS[name], name == "fetchall"

    def fetch(self: Any, *args: Any, **kwargs: Any) -> Any:
        held = _open.get(self)
        if held is None:
            return original(self, *args, **kwargs)
        started = plan.clock()
        try:
            result = original(self, *args, **kwargs)
        except BaseException as error:
            held.failed(started, error)
            raise
        held.fetched(started, count_of(self, result), is_last)
        return result

    return fetch


def _fetching_async(name: str, original: Wrapper) -> Wrapper:
    count_of, is_last = _COUNTS[name], name == "fetchall"

    async def fetch(self: Any, *args: Any, **kwargs: Any) -> Any:
        held = _open.get(self)
        if held is None:
            return await original(self, *args, **kwargs)
        started = plan.clock()
        try:
            result = await original(self, *args, **kwargs)
        except BaseException as error:
            held.failed(started, error)
            raise
        held.fetched(started, count_of(self, result), is_last)
        return result

    return fetch


@contextmanager
def _iterated(cursor: Any) -> Iterator[DbOperation]:
    held = _open_query_of(cursor)
    if held is None:
        unseen = DbOperation("", "", "")
        unseen.rows = 0
        yield unseen
        return
    try:
        yield held.op
    except BaseException as error:
        held.failed(plan.clock(), error)  # the time is added already
        raise
    end(held.op)


# Before psycopg 3.3 the rows of a server-side cursor came from a generator, in place of the method on the right.
ITERATIONS = {"__iter__": "__next__", "__aiter__": "__anext__"}
METHODS: dict[str, Around] = {
    "execute": _declare,
    "__iter__": blocking_rows(_iterated),
    **{name: partial(_fetching, name) for name in ("fetchone", "fetchmany", "fetchall", "__next__", "close")},
}
ASYNC_METHODS: dict[str, Around] = {
    "execute": _declare_async,
    "__aiter__": awaiting_rows(_iterated),
    **{name: partial(_fetching_async, name) for name in ("fetchone", "fetchmany", "fetchall", "__anext__", "close")},
}
