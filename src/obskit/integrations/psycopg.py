"""
Time the queries of psycopg 3: synchronous and asynchronous cursors, pipelines, COPY, streams and server-side cursors.

A client-side cursor has all of its rows when `execute()` returns, so that is the query. A server-side one is a single
query from its `execute()` to its last row or `close()`, timed while the driver works. A COPY is as long as its block.
In a pipeline a query takes what it took to send, and what the driver waited until its result was there: the server
answers several at once, so each of them has the wait, and the request's totals have it once. The answer's error is its
own. The ends of transactions are no queries.

The methods of psycopg's cursor classes are replaced, so that connections that are open already, and the application's
own cursor classes, are timed too.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from functools import partial
from inspect import unwrap
from typing import Any
from weakref import WeakKeyDictionary

from obskit.db.database import Database
from obskit.db.db_operation import DbOperation
from obskit.db.explain import explainer, may_explain, postgresql_plan
from obskit.db.observe import abandon, begin, end, fail, plan
from obskit.db.pools import PoolSize, begin_use, begin_wait, end_use, end_wait, pools
from obskit.db.query_watch import thresholds
from obskit.db.slow_log import SlowQuery, report_plan
from obskit.db.statement import Statement
from obskit.errors import MissingExtraError
from obskit.integrations._patches import Patches
from obskit.integrations.dbapi import TIMED_ATTRIBUTE, rows_of
from obskit.observation import unrecorded

try:
    import psycopg
    from psycopg import conninfo, pq, sql
except ImportError as error:
    raise MissingExtraError("obskit.integrations.psycopg needs psycopg 3: pip install 'obskit[psycopg]'") from error

# The `db.system.name` of the OpenTelemetry semantic conventions 1.44 (2026-08).
SYSTEM = "postgresql"

_patches = Patches()
_unknown_database = Database(SYSTEM)
Wrapper = Callable[..., Any]


def instrument() -> None:
    """
    Time the queries of every psycopg connection, and the pools of psycopg_pool where that is installed.
    """
    for owner, methods in (
        (psycopg.Cursor, _SYNC),
        (psycopg.AsyncCursor, _ASYNC),
        (psycopg.ServerCursor, _SERVER),
        (psycopg.AsyncServerCursor, _ASYNC_SERVER),
        (psycopg.Pipeline, _PIPELINE),
        (psycopg.AsyncPipeline, _PIPELINE),
    ):
        # Methods of pipelines are private, and may go.
        if methods is not _PIPELINE or all(hasattr(owner, name) for name in methods):
            for name, around in methods.items():
                if hasattr(owner, name) and not (name in _ITERATIONS and hasattr(owner, _ITERATIONS[name])):
                    _patches.put(owner, name, around)
    for cursor in (psycopg.Cursor, psycopg.AsyncCursor):
        setattr(cursor, TIMED_ATTRIBUTE, True)
    instrument_pools()


def instrument_pools() -> None:
    """
    Watch the pools of psycopg_pool alone, where that is installed.
    """
    try:
        import psycopg_pool
    except ImportError:
        return
    for pool in (psycopg_pool.ConnectionPool, psycopg_pool.AsyncConnectionPool):
        asynchronous = pool is psycopg_pool.AsyncConnectionPool
        _patches.put(pool, "getconn", _getconn_async if asynchronous else _getconn)
        _patches.put(pool, "putconn", _putconn_async if asynchronous else _putconn)


def uninstrument() -> None:
    """
    Restore psycopg's methods.
    """
    _patches.restore()
    pools.forget(_size_of)
    for cursor in (psycopg.Cursor, psycopg.AsyncCursor):
        if TIMED_ATTRIBUTE in vars(cursor):
            delattr(cursor, TIMED_ATTRIBUTE)


def _database_of(cursor: Any) -> Database:
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


def _text_of(query: Any, cursor: Any) -> Any:
    """
    Return psycopg's own objects as text; None where psycopg cannot render one, and will refuse it.
    """
    if isinstance(query, (str, bytes)):
        return query
    try:
        return _as_string(query, cursor)
    except Exception:
        return None


def _done(op: DbOperation, cursor: Any, returning: bool = False) -> None:
    op.duration_seconds = plan.clock() - op.started
    op.rows = _rows_of_all(cursor) if returning else rows_of(cursor)
    end(op)


def _rows_of_all(cursor: Any) -> int | None:
    """
    Return the rows of all results of `executemany()`; the cursor itself knows the first result only.
    """
    try:
        return sum(result.ntuples or result.command_tuples or 0 for result in cursor._results)
    except Exception:
        return rows_of(cursor)


# Client-side cursors.


def _execute(original: Wrapper) -> Wrapper:
    def execute(self: Any, query: Any, params: Any = None, *, prepare: Any = None, binary: Any = None) -> Any:
        if not plan.active:
            return original(self, query, params, prepare=prepare, binary=binary)
        op = begin(_database_of(self), _text_of(query, self))
        if thresholds.explain:
            op.explain = partial(explain, self.connection, query, params, op.statement)
        sent = _sending(self, op, 1)
        try:
            result = original(self, query, params, prepare=prepare, binary=binary)
        except BaseException as error:
            _sending_failed(self, op, sent, error)
            raise
        _done(op, self) if sent is None else _sent(self, op, sent)
        return result

    return execute


def _execute_async(original: Wrapper) -> Wrapper:
    async def execute(self: Any, query: Any, params: Any = None, *, prepare: Any = None, binary: Any = None) -> Any:
        if not plan.active:
            return await original(self, query, params, prepare=prepare, binary=binary)
        op = begin(_database_of(self), _text_of(query, self))
        if thresholds.explain:
            note_search_path_change(self.connection, _text_of(query, self))
            op.explain = partial(explain, self.connection, query, params, op.statement)
        sent = _sending(self, op, 1)
        try:
            result = await original(self, query, params, prepare=prepare, binary=binary)
        except BaseException as error:
            _sending_failed(self, op, sent, error)
            raise
        _done(op, self) if sent is None else _sent(self, op, sent)
        return result

    return execute


def _executemany(original: Wrapper) -> Wrapper:
    def executemany(self: Any, query: Any, params_seq: Iterable[Any], *, returning: bool = False) -> Any:
        if not plan.active:
            return original(self, query, params_seq, returning=returning)
        op = begin(_database_of(self), _text_of(query, self), many=True)
        sent = _sending(self, op, 0, returning)
        try:
            counted = params_seq if sent is None else _count_params(params_seq, sent)
            result = original(self, query, counted, returning=returning)
        except BaseException as error:
            _sending_failed(self, op, sent, error)
            raise
        _done(op, self, returning) if sent is None else _sent(self, op, sent)
        return result

    return executemany


def _executemany_async(original: Wrapper) -> Wrapper:
    async def executemany(self: Any, query: Any, params_seq: Iterable[Any], *, returning: bool = False) -> Any:
        if not plan.active:
            return await original(self, query, params_seq, returning=returning)
        op = begin(_database_of(self), _text_of(query, self), many=True)
        sent = _sending(self, op, 0, returning)
        try:
            counted = params_seq if sent is None else _count_params(params_seq, sent)
            result = await original(self, query, counted, returning=returning)
        except BaseException as error:
            _sending_failed(self, op, sent, error)
            raise
        _done(op, self, returning) if sent is None else _sent(self, op, sent)
        return result

    return executemany


def _stream(original: Wrapper) -> Wrapper:
    def stream(self: Any, query: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        op = begin(_database_of(self), _text_of(query, self))
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
        op = begin(_database_of(self), _text_of(query, self))
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
        op = begin(_database_of(self), _text_of(statement, self))
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
        op = begin(_database_of(self), _text_of(statement, self))
        try:
            async with original(self, statement, *args, **kwargs) as copied:
                yield copied
        except BaseException as error:
            fail(op, error)
            raise
        _done(op, self)

    return copy


def explain(connection: Any, query: Any, params: Any, statement: Statement, found: SlowQuery) -> None:
    """
    Queue a query to be explained on another connection to the same database, where that would find the same tables.
    """
    if may_explain(statement):
        schemas = _schemas_of(connection)
        if schemas is not None:
            info = connection.info
            opening = {**info.get_parameters(), "password": info.password or None}
            explainer.submit(partial(_ask_for_plan, opening, schemas, query, params, found))


# Where a session finds its tables, as nobody else would by the same parameters.
_SEARCH_PATH = b"""
SELECT pg_catalog.string_agg(pg_catalog.quote_ident(s), ',')
FROM pg_catalog.unnest(pg_catalog.current_schemas(true)) AS s
"""
_changes_search_path = re.compile(
    r"search_path|\bset_config\b|\bset\s+(?:session\s+|local\s+)?(?:schema|role|session\s+authorization)\b"
    r"|\btemp(?:orary)?\s+(?:table|view|sequence)\b|\b(?:discard|reset)\b",
    re.IGNORECASE,
).search


def note_search_path_change(connection: Any, text: str | bytes | None) -> None:
    """
    Mark an asynchronous connection whose tables may be in other schemas: asking it would need an await.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if isinstance(connection, psycopg.AsyncConnection) and (text is None or _changes_search_path(text)):
        connection._obskit_moved = True  # type: ignore[attr-defined]


def _schemas_of(connection: Any) -> str | None:
    """
    Return the search path of a session; None where it has temporary tables, or cannot be asked now.
    """
    if isinstance(connection, psycopg.AsyncConnection):
        is_known = TIMED_ATTRIBUTE in vars(psycopg.AsyncCursor) and not getattr(connection, "_obskit_moved", False)
        return "" if is_known else None
    pgconn = connection.pgconn
    states = (pq.TransactionStatus.IDLE, pq.TransactionStatus.INTRANS)
    if pgconn.transaction_status not in states or not connection.lock.acquire(blocking=False):
        return None
    try:
        if pgconn.pipeline_status != pq.PipelineStatus.OFF:
            return None
        answer = pgconn.exec_(_SEARCH_PATH)
    finally:
        connection.lock.release()
    schemas = (answer.get_value(0, 0) or b"").decode() if answer.status == pq.ExecStatus.TUPLES_OK else "pg_temp_"
    return None if "pg_temp_" in schemas else schemas


def _ask_for_plan(opening: dict[str, Any], schemas: str, query: Any, params: Any, found: SlowQuery) -> None:
    explain = "EXPLAIN (FORMAT JSON) "
    asking = explain.encode() + query if isinstance(query, bytes) else query
    if not isinstance(query, bytes):
        asking = explain + query if isinstance(query, str) else sql.SQL(explain) + query
    options = [opening.get("options") or "", "-c default_transaction_read_only=on", "-c statement_timeout=5000"]
    if schemas:
        options.append("-c search_path=" + re.sub(r"([\\\s])", r"\\\1", schemas))
    opening["options"] = " ".join(options)
    with psycopg.connect(**opening, autocommit=True, connect_timeout=5) as own:
        cursor = own.cursor()
        unwrap(psycopg.Cursor.execute)(cursor, asking, params, prepare=True)  # which takes one statement alone
        answer = cursor.fetchone()
    if answer is not None:
        report_plan(found, postgresql_plan(answer[0]))


# Pipelines: results come later, in the order of the queries.


class _SentQuery:
    """
    A query that was sent, and how many of its results have arrived.
    """

    __slots__ = ("arrived", "expected", "is_sent", "op", "returning", "totals", "waited_before")

    def __init__(self, op: DbOperation, expected: int, returning: bool) -> None:
        self.op = op
        self.returning = returning
        self.totals, op.totals = op.totals, None  # they get what the driver waits only once, not with each query
        self.arrived = 0
        self.expected = expected
        self.is_sent = False
        self.waited_before = 0.0

    def rows_of(self, cursor: Any) -> int | None:
        """
        Return how many rows all of its results have.
        """
        return _rows_of_all(cursor) if self.returning else rows_of(cursor)


class _PipelineState:
    """
    The queries of one pipeline.

    Attributes:
        waited: Seconds that the driver has waited for results so far.
        waiting_since: When it began to wait, while it does.
        aborted: Whether a query has failed, and the server takes none after it.
    """

    def __init__(self) -> None:
        self.waited = 0.0
        self.waiting_since: float | None = None
        self.aborted = False
        self._sent: dict[int, deque[_SentQuery]] = {}

    def add(self, cursor: Any, sent: _SentQuery) -> None:
        """
        Add a query that is sent.
        """
        self._sent.setdefault(id(cursor), deque()).append(sent)

    def first(self, cursor: Any) -> _SentQuery | None:
        """
        Return the query that a cursor's next result belongs to; None where there is none.
        """
        queue = self._sent.get(id(cursor))
        return queue[0] if queue else None

    def remove(self, cursor: Any, sent: _SentQuery) -> None:
        """
        Remove a query.
        """
        queue = self._sent.get(id(cursor))
        if queue and sent in queue:
            queue.remove(sent)
            if not queue:
                del self._sent[id(cursor)]

    def pop_all(self) -> list[_SentQuery]:
        """
        Remove and return the queries whose results have not arrived.
        """
        rest = [sent for queue in self._sent.values() for sent in queue]
        self._sent.clear()
        return rest

    def add_wait(self) -> None:
        """
        Add the time that the driver has waited.
        """
        if self.waiting_since is not None:
            now = plan.clock()
            seconds, self.waiting_since = now - self.waiting_since, now
            self.waited += seconds
            for queue in self._sent.values():
                if queue[0].totals is not None:
                    queue[0].totals.db_seconds += seconds
                    break


def _pipeline_state(pipeline: Any) -> _PipelineState:
    state: _PipelineState | None = vars(pipeline).get("_obskit_pipe")
    if state is None:
        state = pipeline._obskit_pipe = _PipelineState()
    return state


def _sending(cursor: Any, op: DbOperation, expected: int, returning: bool = False) -> _SentQuery | None:
    """
    Add a query to its connection's pipeline; return None where there is none.
    """
    pipeline = getattr(cursor.connection, "_pipeline", None)
    if pipeline is None or not hasattr(type(pipeline), "_process_results"):
        return None
    sent, state = _SentQuery(op, expected, returning), _pipeline_state(pipeline)
    sent.waited_before = state.waited
    state.add(cursor, sent)
    return sent


def _count_params(params_seq: Iterable[Any], sent: _SentQuery) -> Iterator[Any]:
    for params in params_seq:
        sent.expected += 1
        yield params


def _sent(cursor: Any, op: DbOperation, sent: _SentQuery) -> None:
    """
    Add the time of sending; all results may have arrived already.
    """
    _add_sending(op, sent)
    if sent.arrived >= sent.expected:
        _pipeline_state(cursor.connection._pipeline).remove(cursor, sent)
        op.rows = sent.rows_of(cursor)
        end(op)


def _add_sending(op: DbOperation, sent: _SentQuery) -> None:
    seconds = plan.clock() - op.started
    op.duration_seconds += seconds
    if sent.totals is not None:
        sent.totals.db_seconds += seconds
    sent.is_sent = True


def _sending_failed(cursor: Any, op: DbOperation, sent: _SentQuery | None, error: BaseException) -> None:
    """
    Handle what sending a query raised: its own failure, or that of an earlier one whose result arrived meanwhile.
    """
    pipeline = getattr(cursor.connection, "_pipeline", None)
    if sent is not None and pipeline is not None:
        last = pipeline.result_queue[-1] if pipeline.result_queue else None
        if last is not None and last[0] is cursor and sent.arrived < sent.expected:
            _add_sending(op, sent)
            return
        _pipeline_state(pipeline).remove(cursor, sent)
    fail(op, error)


def _process_results(original: Wrapper) -> Wrapper:
    def process_results(self: Any, queued: Any, results: Any) -> Any:
        state = vars(self).get("_obskit_pipe")
        if state is None or queued is None:
            return original(self, queued, results)
        try:
            result = original(self, queued, results)
        except BaseException as error:
            _result_arrived(state, queued[0], error)
            raise
        _result_arrived(state, queued[0], None)
        return result

    return process_results


def _result_arrived(state: _PipelineState, cursor: Any, error: BaseException | None) -> None:
    sent = state.first(cursor)
    if sent is None:
        return
    state.add_wait()
    sent.arrived += 1
    op = sent.op
    if error is not None:
        state.aborted = True
        op.error = type(error).__name__
    if sent.is_sent and sent.arrived >= sent.expected:
        state.remove(cursor, sent)
        op.duration_seconds += state.waited - sent.waited_before
        op.rows = sent.rows_of(cursor) if error is None else None
        end(op)


def _fetch_gen(original: Wrapper) -> Wrapper:
    def fetch_gen(self: Any, **kwargs: Any) -> Any:
        state = vars(self).get("_obskit_pipe")
        if state is None:
            return (yield from original(self, **kwargs))
        state.waiting_since = plan.clock()
        try:
            return (yield from original(self, **kwargs))
        finally:
            state.add_wait()
            state.waiting_since = None

    return fetch_gen


def _exit(original: Wrapper) -> Wrapper:
    def exit(self: Any, exc: BaseException | None) -> Any:
        try:
            return original(self, exc)
        finally:
            state = vars(self).get("_obskit_pipe")
            if self.level == 0 and state is not None:
                lost = exc or psycopg.OperationalError()  # no result came: the connection is gone
                if state.aborted and self._conn.pgconn.status == pq.ConnStatus.OK:
                    lost = psycopg.errors.PipelineAborted()  # the first of 3.1 drop results after a failure
                for sent in state.pop_all():
                    fail(sent.op, lost)

    return exit


# Server-side cursors.


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
        op = begin(_database_of(self), _text_of(query, self))
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
        op = begin(_database_of(self), _text_of(query, self))
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


# Pools of psycopg_pool.

_numbered_name = re.compile(r"pool-\d+").fullmatch
# Asked in turn for the name of a pool; the pool's own is the last resort.
pool_namers: list[Callable[[Any], str | None]] = []


def _name_of(pool: Any) -> str | None:
    known = pools.name_of(pool)
    if known is not None:
        return known
    name = next((found for namer in pool_namers if (found := namer(pool))), None)
    if name is None and _numbered_name(str(pool.name)):
        return pools.add_shared(pool, _shared_name_of(pool), _size_of)
    return pools.add(pool, name or str(pool.name), _size_of)


def _shared_name_of(pool: Any) -> str:
    """
    Return the name of a pool that has only the number that psycopg_pool gives it: an application may make many.
    """
    try:
        named = (pool.kwargs or {}).get("dbname") or conninfo.conninfo_to_dict(pool.conninfo or "").get("dbname")
    except Exception:  # functions give them
        named = None
    return str(named or SYSTEM)


def _size_of(pool: Any) -> PoolSize | None:
    if pool.closed:
        return None
    stats = pool.get_stats()
    idle = stats["pool_available"]
    return PoolSize(stats["pool_size"] - idle, idle, stats["pool_max"] or None)


def _checking(pool: Any) -> AbstractContextManager[None]:
    """
    Return a context in which queries are not counted, where the pool checks connections before it returns one.
    """
    return nullcontext() if getattr(pool, "_check", None) is None else unrecorded()


def _getconn(original: Wrapper) -> Wrapper:
    def getconn(self: Any, timeout: Any = None) -> Any:
        name = _name_of(self)
        if name is None:
            return original(self, timeout)
        op = begin_wait(name)
        try:
            with _checking(self):
                connection = original(self, timeout)
        except BaseException as error:
            end_wait(op, error)
            raise
        end_wait(op)
        connection._obskit_use = begin_use(name)
        return connection

    return getconn


def _getconn_async(original: Wrapper) -> Wrapper:
    async def getconn(self: Any, timeout: Any = None) -> Any:
        name = _name_of(self)
        if name is None:
            return await original(self, timeout)
        op = begin_wait(name)
        try:
            with _checking(self):
                connection = await original(self, timeout)
        except BaseException as error:
            end_wait(op, error)
            raise
        end_wait(op)
        connection._obskit_use = begin_use(name)
        return connection

    return getconn


def _putconn(original: Wrapper) -> Wrapper:
    def putconn(self: Any, conn: Any) -> Any:
        _returned(conn)
        return original(self, conn)

    return putconn


def _putconn_async(original: Wrapper) -> Wrapper:
    async def putconn(self: Any, conn: Any) -> Any:
        _returned(conn)
        return await original(self, conn)

    return putconn


def _returned(connection: Any) -> None:
    op = getattr(connection, "_obskit_use", None)
    if op is not None:
        connection._obskit_use = None
        end_use(op)


# Of a cursor, what a layer above has no method of its own for.
STREAMS: dict[str, Callable[[Wrapper], Wrapper]] = {"copy": _copy, "stream": _stream}
_SYNC = {"execute": _execute, "executemany": _executemany, "stream": _stream, "copy": _copy}
_ASYNC = {
    "execute": _execute_async,
    "executemany": _executemany_async,
    "stream": _stream_async,
    "copy": _copy_async,
}
# Before psycopg 3.3 the rows of a server-side cursor came from a generator, in place of the method on the right.
_ITERATIONS = {"__iter__": "__next__", "__aiter__": "__anext__"}
_PIPELINE = {"_process_results": _process_results, "_fetch_gen": _fetch_gen, "_exit": _exit}
_SERVER = {
    "execute": _declare,
    "__iter__": _iterating,
    **dict.fromkeys(("fetchone", "fetchmany", "fetchall", "__next__", "close"), _fetching),
}
_ASYNC_SERVER = {
    "execute": _declare_async,
    "__aiter__": _iterating_async,
    **dict.fromkeys(("fetchone", "fetchmany", "fetchall", "__anext__", "close"), _fetching_async),
}
