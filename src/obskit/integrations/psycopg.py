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
from obskit.db.explain import explainer, may_explain, postgresql_plan
from obskit.db.observe import abandon, begin, end, fail, plan
from obskit.db.operation import DbOperation
from obskit.db.pools import PoolSize, begin_use, begin_wait, end_use, end_wait, pools
from obskit.db.query_watch import thresholds
from obskit.db.slow_log import SlowQuery, report_plan
from obskit.db.statement import Statement
from obskit.errors import MissingExtraError
from obskit.integrations._patches import Patches
from obskit.integrations.dbapi import MARK, rows_of
from obskit.observation import unheard

try:
    import psycopg
    from psycopg import conninfo, pq, sql
except ImportError as error:
    raise MissingExtraError("obskit.integrations.psycopg needs psycopg 3: pip install 'obskit[psycopg]'") from error

# The `db.system.name` of the OpenTelemetry semantic conventions 1.44 (2026-08).
SYSTEM = "postgresql"

_patches = Patches()
_unknown = Database(SYSTEM)
Around = Callable[..., Any]


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
        if methods is not _PIPELINE or all(hasattr(owner, name) for name in methods):  # which are psycopg's own affair
            for name, around in methods.items():
                if hasattr(owner, name) and not (name in _ITERATIONS and hasattr(owner, _ITERATIONS[name])):
                    _patches.put(owner, name, around)
    for cursor in (psycopg.Cursor, psycopg.AsyncCursor):
        setattr(cursor, MARK, True)
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
    Leave psycopg to itself again.
    """
    _patches.restore()
    pools.forget(_size_of)
    for cursor in (psycopg.Cursor, psycopg.AsyncCursor):
        if MARK in vars(cursor):
            delattr(cursor, MARK)


def _source_of(cursor: Any) -> Database:
    """
    Describe a cursor's database, once a connection.
    """
    connection = cursor.connection
    try:
        source: Database = connection._obskit_source
    except AttributeError:
        try:
            info = connection.info
            source = Database(SYSTEM, database=info.dbname, host=info.host, port=info.port)
        except Exception:  # it is closed, which is for psycopg to say
            return _unknown
        connection._obskit_source = source
    return source


# Since psycopg 3.2; before that there were no templates, and each object has the method.
_as_string: Callable[[Any, Any], str] = getattr(sql, "as_string", lambda query, cursor: query.as_string(cursor))


def _text_of(query: Any, cursor: Any) -> Any:
    """
    Make a string of psycopg's own objects; what it cannot make one of is psycopg's to refuse.
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
    Add up the rows of what many parameters gave; the cursor tells of the first of its results.
    """
    try:
        return sum(result.ntuples or result.command_tuples or 0 for result in cursor._results)
    except Exception:
        return rows_of(cursor)


# Client-side cursors.


def _execute(original: Around) -> Around:
    def execute(self: Any, query: Any, params: Any = None, *, prepare: Any = None, binary: Any = None) -> Any:
        if not plan.active:
            return original(self, query, params, prepare=prepare, binary=binary)
        op = begin(_source_of(self), _text_of(query, self))
        if thresholds.explain:
            op.explain = partial(explain, self.connection, query, params, op.statement)
        sent = _sending(self, op, 1)
        try:
            result = original(self, query, params, prepare=prepare, binary=binary)
        except BaseException as error:
            _refused(self, op, sent, error)
            raise
        _done(op, self) if sent is None else _sent(self, op, sent)
        return result

    return execute


def _execute_async(original: Around) -> Around:
    async def execute(self: Any, query: Any, params: Any = None, *, prepare: Any = None, binary: Any = None) -> Any:
        if not plan.active:
            return await original(self, query, params, prepare=prepare, binary=binary)
        op = begin(_source_of(self), _text_of(query, self))
        if thresholds.explain:
            note_move(self.connection, _text_of(query, self))
            op.explain = partial(explain, self.connection, query, params, op.statement)
        sent = _sending(self, op, 1)
        try:
            result = await original(self, query, params, prepare=prepare, binary=binary)
        except BaseException as error:
            _refused(self, op, sent, error)
            raise
        _done(op, self) if sent is None else _sent(self, op, sent)
        return result

    return execute


def _executemany(original: Around) -> Around:
    def executemany(self: Any, query: Any, params_seq: Iterable[Any], *, returning: bool = False) -> Any:
        if not plan.active:
            return original(self, query, params_seq, returning=returning)
        op = begin(_source_of(self), _text_of(query, self), many=True)
        sent = _sending(self, op, 0, returning)
        try:
            counted = params_seq if sent is None else _counted(params_seq, sent)
            result = original(self, query, counted, returning=returning)
        except BaseException as error:
            _refused(self, op, sent, error)
            raise
        _done(op, self, returning) if sent is None else _sent(self, op, sent)
        return result

    return executemany


def _executemany_async(original: Around) -> Around:
    async def executemany(self: Any, query: Any, params_seq: Iterable[Any], *, returning: bool = False) -> Any:
        if not plan.active:
            return await original(self, query, params_seq, returning=returning)
        op = begin(_source_of(self), _text_of(query, self), many=True)
        sent = _sending(self, op, 0, returning)
        try:
            counted = params_seq if sent is None else _counted(params_seq, sent)
            result = await original(self, query, counted, returning=returning)
        except BaseException as error:
            _refused(self, op, sent, error)
            raise
        _done(op, self, returning) if sent is None else _sent(self, op, sent)
        return result

    return executemany


def _stream(original: Around) -> Around:
    def stream(self: Any, query: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        op = begin(_source_of(self), _text_of(query, self))
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


def _stream_async(original: Around) -> Around:
    async def stream(self: Any, query: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        op = begin(_source_of(self), _text_of(query, self))
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


def _copy(original: Around) -> Around:
    @contextmanager
    def copy(self: Any, statement: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        op = begin(_source_of(self), _text_of(statement, self))
        try:
            with original(self, statement, *args, **kwargs) as copied:
                yield copied
        except BaseException as error:
            fail(op, error)
            raise
        _done(op, self)

    return copy


def _copy_async(original: Around) -> Around:
    @asynccontextmanager
    async def copy(self: Any, statement: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        op = begin(_source_of(self), _text_of(statement, self))
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
    Have the plan asked for in a thread, by what it takes to open another connection to the same database, where that
    would find the same tables.
    """
    if may_explain(statement):
        schemas = _schemas_of(connection)
        if schemas is not None:
            info = connection.info
            opening = {**info.get_parameters(), "password": info.password or None}
            explainer.submit(partial(_ask_for_plan, opening, schemas, query, params, found))


# Where a session finds its tables, as nobody else would by the same parameters.
_WHERE = b"""
SELECT pg_catalog.string_agg(pg_catalog.quote_ident(s), ',')
FROM pg_catalog.unnest(pg_catalog.current_schemas(true)) AS s
"""
_moves = re.compile(
    r"search_path|\bset_config\b|\bset\s+(?:session\s+|local\s+)?(?:schema|role|session\s+authorization)\b"
    r"|\btemp(?:orary)?\s+(?:table|view|sequence)\b|\b(?:discard|reset)\b",
    re.IGNORECASE,
).search


def note_move(connection: Any, text: str | bytes | None) -> None:
    """
    Note on an asynchronous connection, which cannot be asked without being awaited, that its tables may lie elsewhere.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if isinstance(connection, psycopg.AsyncConnection) and (text is None or _moves(text)):
        connection._obskit_moved = True  # type: ignore[attr-defined]


def _schemas_of(connection: Any) -> str | None:
    """
    Ask a session where it finds its tables; None where nobody else can: it has some of its own, or cannot be asked.
    """
    if isinstance(connection, psycopg.AsyncConnection):
        is_known = MARK in vars(psycopg.AsyncCursor) and not getattr(connection, "_obskit_moved", False)
        return "" if is_known else None
    pgconn = connection.pgconn
    states = (pq.TransactionStatus.IDLE, pq.TransactionStatus.INTRANS)
    if pgconn.transaction_status not in states or not connection.lock.acquire(blocking=False):
        return None
    try:
        if pgconn.pipeline_status != pq.PipelineStatus.OFF:
            return None
        answer = pgconn.exec_(_WHERE)
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


class _Sent:
    """
    Count the results of one query that is on its way.
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
        Ask how many rows all of its results have.
        """
        return _rows_of_all(cursor) if self.returning else rows_of(cursor)


class _Pipe:
    """
    Follow the queries of one pipeline.

    Attributes:
        waited: Seconds that the driver has waited for results so far.
        waiting_since: When it began to wait, while it does.
        aborted: Whether a query has failed, and the server takes none after it.
    """

    def __init__(self) -> None:
        self.waited = 0.0
        self.waiting_since: float | None = None
        self.aborted = False
        self._sent: dict[int, deque[_Sent]] = {}

    def put(self, cursor: Any, sent: _Sent) -> None:
        """
        Note a query that is sent.
        """
        self._sent.setdefault(id(cursor), deque()).append(sent)

    def first(self, cursor: Any) -> _Sent | None:
        """
        Give the query that the next result of a cursor belongs to.
        """
        queue = self._sent.get(id(cursor))
        return queue[0] if queue else None

    def take(self, cursor: Any, sent: _Sent) -> None:
        """
        Forget a query.
        """
        queue = self._sent.get(id(cursor))
        if queue and sent in queue:
            queue.remove(sent)
            if not queue:
                del self._sent[id(cursor)]

    def rest(self) -> list[_Sent]:
        """
        Forget those whose results have not come, and give them.
        """
        rest = [sent for queue in self._sent.values() for sent in queue]
        self._sent.clear()
        return rest

    def pause(self) -> None:
        """
        Add up what the driver has waited.
        """
        if self.waiting_since is not None:
            now = plan.clock()
            seconds, self.waiting_since = now - self.waiting_since, now
            self.waited += seconds
            for queue in self._sent.values():
                if queue[0].totals is not None:
                    queue[0].totals.db_seconds += seconds
                    break


def _pipe_of(pipeline: Any) -> _Pipe:
    pipe: _Pipe | None = vars(pipeline).get("_obskit_pipe")
    if pipe is None:
        pipe = pipeline._obskit_pipe = _Pipe()
    return pipe


def _sending(cursor: Any, op: DbOperation, expected: int, returning: bool = False) -> _Sent | None:
    """
    Note a query that goes into a pipeline; None where there is none.
    """
    pipeline = getattr(cursor.connection, "_pipeline", None)
    if pipeline is None or not hasattr(type(pipeline), "_process_results"):
        return None
    sent, pipe = _Sent(op, expected, returning), _pipe_of(pipeline)
    sent.waited_before = pipe.waited
    pipe.put(cursor, sent)
    return sent


def _counted(params_seq: Iterable[Any], sent: _Sent) -> Iterator[Any]:
    for params in params_seq:
        sent.expected += 1
        yield params


def _sent(cursor: Any, op: DbOperation, sent: _Sent) -> None:
    """
    Take the time of sending; every result may be there already.
    """
    _add_sending(op, sent)
    if sent.arrived >= sent.expected:
        _pipe_of(cursor.connection._pipeline).take(cursor, sent)
        op.rows = sent.rows_of(cursor)
        end(op)


def _add_sending(op: DbOperation, sent: _Sent) -> None:
    seconds = plan.clock() - op.started
    op.duration_seconds += seconds
    if sent.totals is not None:
        sent.totals.db_seconds += seconds
    sent.is_sent = True


def _refused(cursor: Any, op: DbOperation, sent: _Sent | None, error: BaseException) -> None:
    """
    Take what sending a query raised: its own failure, or that of one before it whose result came meanwhile.
    """
    pipeline = getattr(cursor.connection, "_pipeline", None)
    if sent is not None and pipeline is not None:
        last = pipeline.result_queue[-1] if pipeline.result_queue else None
        if last is not None and last[0] is cursor and sent.arrived < sent.expected:
            _add_sending(op, sent)
            return
        _pipe_of(pipeline).take(cursor, sent)
    fail(op, error)


def _process_results(original: Around) -> Around:
    def process_results(self: Any, queued: Any, results: Any) -> Any:
        pipe = vars(self).get("_obskit_pipe")
        if pipe is None or queued is None:
            return original(self, queued, results)
        try:
            result = original(self, queued, results)
        except BaseException as error:
            _arrived(pipe, queued[0], error)
            raise
        _arrived(pipe, queued[0], None)
        return result

    return process_results


def _arrived(pipe: _Pipe, cursor: Any, error: BaseException | None) -> None:
    sent = pipe.first(cursor)
    if sent is None:
        return
    pipe.pause()
    sent.arrived += 1
    op = sent.op
    if error is not None:
        pipe.aborted = True
        op.error = type(error).__name__
    if sent.is_sent and sent.arrived >= sent.expected:
        pipe.take(cursor, sent)
        op.duration_seconds += pipe.waited - sent.waited_before
        op.rows = sent.rows_of(cursor) if error is None else None
        end(op)


def _fetch_gen(original: Around) -> Around:
    def fetch_gen(self: Any, **kwargs: Any) -> Any:
        pipe = vars(self).get("_obskit_pipe")
        if pipe is None:
            return (yield from original(self, **kwargs))
        pipe.waiting_since = plan.clock()
        try:
            return (yield from original(self, **kwargs))
        finally:
            pipe.pause()
            pipe.waiting_since = None

    return fetch_gen


def _exit(original: Around) -> Around:
    def exit(self: Any, exc: BaseException | None) -> Any:
        try:
            return original(self, exc)
        finally:
            pipe = vars(self).get("_obskit_pipe")
            if self.level == 0 and pipe is not None:
                lost = exc or psycopg.OperationalError()  # no result came: the connection is gone
                if pipe.aborted and self._conn.pgconn.status == pq.ConnStatus.OK:
                    lost = psycopg.errors.PipelineAborted()  # the first of 3.1 drop results after a failure
                for sent in pipe.rest():
                    fail(sent.op, lost)

    return exit


# Server-side cursors.


class _Open:
    """
    Keep the query of a server-side cursor, which takes no attributes, for as long as the cursor lives.
    """

    __slots__ = ("op",)

    def __init__(self, op: DbOperation) -> None:
        self.op = op

    def __del__(self) -> None:
        if not self.op.ended:
            abandon(self.op)


_open: WeakKeyDictionary[Any, _Open] = WeakKeyDictionary()


def _declare(original: Around) -> Around:
    def execute(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        _shut(self)
        op = begin(_source_of(self), _text_of(query, self))
        try:
            result = original(self, query, *args, **kwargs)
        except BaseException as error:
            fail(op, error)
            raise
        _opened(self, op)
        return result

    return execute


def _declare_async(original: Around) -> Around:
    async def execute(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        _shut(self)
        op = begin(_source_of(self), _text_of(query, self))
        try:
            result = await original(self, query, *args, **kwargs)
        except BaseException as error:
            fail(op, error)
            raise
        _opened(self, op)
        return result

    return execute


def _opened(cursor: Any, op: DbOperation) -> None:
    op.duration_seconds = plan.clock() - op.started
    op.rows = 0
    _open[cursor] = _Open(op)


def _fetching(original: Around) -> Around:
    def fetch(self: Any, *args: Any, **kwargs: Any) -> Any:
        held = _open.get(self)
        if held is None:
            return original(self, *args, **kwargs)
        started = plan.clock()
        try:
            result = original(self, *args, **kwargs)
        except BaseException as error:
            _broke(self, held.op, started, error)
            raise
        _fetched(self, held.op, started, result, original.__name__)
        return result

    return fetch


def _fetching_async(original: Around) -> Around:
    async def fetch(self: Any, *args: Any, **kwargs: Any) -> Any:
        held = _open.get(self)
        if held is None:
            return await original(self, *args, **kwargs)
        started = plan.clock()
        try:
            result = await original(self, *args, **kwargs)
        except BaseException as error:
            _broke(self, held.op, started, error)
            raise
        _fetched(self, held.op, started, result, original.__name__)
        return result

    return fetch


def _iterating(original: Around) -> Around:
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
                _broke(self, held.op, started, error)
                if isinstance(error, StopIteration):
                    return
                raise
            held.op.duration_seconds += plan.clock() - started
            held.op.rows = (held.op.rows or 0) + 1
            yield row

    return __iter__


def _iterating_async(original: Around) -> Around:
    async def __aiter__(self: Any) -> AsyncIterator[Any]:
        held, rows = _open.get(self), original(self)
        while True:
            started = plan.clock()
            try:
                row = await anext(rows)
            except BaseException as error:
                if held is not None:
                    _broke(self, held.op, started, error)
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
        _shut(cursor)
        return
    fetched = _count_of(cursor, result, method)
    op.rows = (op.rows or 0) + fetched
    if not fetched or method == "fetchall":
        _shut(cursor)


def _count_of(cursor: Any, result: Any, method: str) -> int:
    """
    Count what a fetch gave. A row may be anything, `None` too: with `scalar_row` it is the value.
    """
    if method in ("fetchmany", "fetchall"):
        return len(result)
    if method == "fetchone" and result is None:
        return cursor.pgresult.ntuples if cursor.pgresult is not None else 0
    return 1


def _broke(cursor: Any, op: DbOperation, started: float, error: BaseException) -> None:
    op.duration_seconds += plan.clock() - started
    if isinstance(error, (StopIteration, StopAsyncIteration)):
        _shut(cursor)
    elif isinstance(error, psycopg.Error):
        _open.pop(cursor, None)
        fail(op, error)


def _shut(cursor: Any) -> None:
    held = _open.pop(cursor, None)
    if held is not None:
        end(held.op)


# Pools of psycopg_pool.

_counted_name = re.compile(r"pool-\d+").fullmatch
# Asked in turn for the name of a pool; the pool's own is the last resort.
namers: list[Callable[[Any], str | None]] = []


def _name_of(pool: Any) -> str | None:
    known = pools.name_of(pool)
    if known is not None:
        return known
    name = next((found for namer in namers if (found := namer(pool))), None)
    if name is None and _counted_name(str(pool.name)):
        return pools.add_shared(pool, _database_of(pool), _size_of)
    return pools.add(pool, name or str(pool.name), _size_of)


def _database_of(pool: Any) -> str:
    """
    Name a pool that has no name but the number that psycopg_pool gives it: an application may make many of them.
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


def _asking(pool: Any) -> AbstractContextManager[None]:
    """
    Not take what a pool asks its connections, before it gives one, for the application's queries.
    """
    return nullcontext() if getattr(pool, "_check", None) is None else unheard()


def _getconn(original: Around) -> Around:
    def getconn(self: Any, timeout: Any = None) -> Any:
        name = _name_of(self)
        if name is None:
            return original(self, timeout)
        op = begin_wait(name)
        try:
            with _asking(self):
                connection = original(self, timeout)
        except BaseException as error:
            end_wait(op, error)
            raise
        end_wait(op)
        connection._obskit_use = begin_use(name)
        return connection

    return getconn


def _getconn_async(original: Around) -> Around:
    async def getconn(self: Any, timeout: Any = None) -> Any:
        name = _name_of(self)
        if name is None:
            return await original(self, timeout)
        op = begin_wait(name)
        try:
            with _asking(self):
                connection = await original(self, timeout)
        except BaseException as error:
            end_wait(op, error)
            raise
        end_wait(op)
        connection._obskit_use = begin_use(name)
        return connection

    return getconn


def _putconn(original: Around) -> Around:
    def putconn(self: Any, conn: Any) -> Any:
        _given_back(conn)
        return original(self, conn)

    return putconn


def _putconn_async(original: Around) -> Around:
    async def putconn(self: Any, conn: Any) -> Any:
        _given_back(conn)
        return await original(self, conn)

    return putconn


def _given_back(connection: Any) -> None:
    op = getattr(connection, "_obskit_use", None)
    if op is not None:
        connection._obskit_use = None
        end_use(op)


# Of a cursor, what a layer above has no method of its own for.
STREAMS: dict[str, Callable[[Around], Around]] = {"copy": _copy, "stream": _stream}
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
