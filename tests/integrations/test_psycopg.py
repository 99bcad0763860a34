"""
psycopg 3 with its queries timed, once, and everything else as it was, on a real PostgreSQL.
"""

import asyncio
import inspect
import logging
import os
import threading
from contextlib import closing, nullcontext

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import class_row, dict_row

import obskit
from forked import in_child
from obskit.context import current
from obskit.db import slow_queries
from obskit.db.db_operation import DbOperation
from obskit.db.explain import explainer
from obskit.deferred_endings import waiting
from obskit.observation import unrecorded
from obskit.operation import HttpOperation
from obskit.recorder import recorder
from obskit.testing import RecordingSink, isolated_runtime
from obskit.time.clock import Deadline

PLAIN = {
    (cls, name): vars(cls).get(name)
    for cls in (psycopg.Cursor, psycopg.AsyncCursor, psycopg.ServerCursor, psycopg.AsyncServerCursor, psycopg.Pipeline)
    for name in ("execute", "executemany", "stream", "copy", "fetchone", "close", "_fetch_gen", "_obskit_timed")
}


@pytest.fixture
def runtime(sink):
    with isolated_runtime(sinks=[sink]) as runtime:
        yield runtime
        obskit.uninstrument_psycopg()


@pytest.fixture
def instrumented(runtime):
    obskit.instrument_psycopg()
    return runtime


def prepared(address, **options):
    """
    Open a connection to a database with three plants.
    """
    connection = psycopg.connect(address, **options)
    connection.execute("drop table if exists plants")
    connection.execute("create table plants (id serial primary key, name text unique)")
    connection.execute("insert into plants (name) values ('fern'), ('ivy'), ('moss')")
    connection.commit()
    return connection


@pytest.fixture
def connection(instrumented, postgres, sink):
    with closing(prepared(postgres)) as connection:
        sink.operations.clear()
        yield connection


def queries(sink):
    return [op for op in sink.operations if isinstance(op, DbOperation)]


def seen(sink):
    return [(op.operation, op.table, op.rows) for op in queries(sink)]


# What is timed.


def test_a_query_is_timed_under_its_labels(instrumented, connection, sink):
    """
    A query is one observation, by connection and by cursor; the ends of transactions are none.
    """
    connection.execute("select * from plants").fetchall()
    with connection.cursor() as cursor:
        cursor.execute("update plants set name = upper(name) where id > %s", (1,))
    with connection.transaction():
        connection.execute("delete from plants")
    connection.commit()
    labels = {"system": "postgresql", "table": "plants", "operation": "select"}

    assert seen(sink) == [("select", "plants", 3), ("update", "plants", 2), ("delete", "plants", 3)]
    assert instrumented.value("database_query_duration_seconds_count", **labels) == 1.0


def test_executemany_is_one_query(connection, sink):
    """
    Many rows are one query, with the rows that they changed.
    """
    connection.cursor().executemany("insert into plants (name) values (%s)", [("a",), ("b",)])

    assert seen(sink) == [("insert", "plants", 2)]


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_rows_that_many_parameters_return_are_added_up(connection, sink, in_pipeline):
    """
    `executemany(returning=True)` has a result for each of its parameters, and the query has all of their rows.
    """
    cursor = connection.cursor()
    with connection.pipeline() if in_pipeline else nullcontext():
        names = [(name,) for name in "abcde"]
        cursor.executemany("insert into plants (name) values (%s) returning id", names, returning=True)

    assert seen(sink) == [("insert", "plants", 5)]
    assert [cursor.fetchone() is not None, cursor.nextset()] == [True, True]


def test_a_pipeline_times_each_query_by_its_own_result(connection, sink):
    """
    In a pipeline each query is one observation, as long as its result was waited for; the request's totals have the
    wait once.
    """
    request = HttpOperation("GET", "/plants")
    token = current.set(request)
    with connection.pipeline():
        for name in "abc":
            connection.execute("insert into plants (name) values (%s)", (name,))
        cursor = connection.execute("select * from plants, pg_sleep(0.2)")
        connection.execute("select 1")
        assert len(cursor.fetchall()) == 6
        cursor.executemany("insert into plants (name) values (%s)", [("d",), ("e",)])
    current.reset(token)

    assert seen(sink) == [("insert", "plants", 1)] * 3 + [
        ("select", "plants", 6),
        ("select", "", 1),
        ("insert", "plants", 2),
    ]
    took = [op.duration_seconds for op in queries(sink)]
    assert [seconds >= 0.2 for seconds in took[3:5]] == [True, True]
    assert 0.2 <= request.totals.db_seconds < sum(took)


def test_an_error_in_a_pipeline_is_its_querys(connection, sink):
    """
    The query that failed has its error, those after it were aborted, and those before it went well.
    """

    def insert_all():
        with connection.pipeline():
            connection.execute("insert into plants (name) values ('fresh')")
            # An error comes as soon as it happens: not before all is sent.
            connection.execute("insert into plants (name) select 'fern' from pg_sleep(0.5)")
            connection.execute("insert into plants (name) values ('late')")

    with pytest.raises(psycopg.errors.UniqueViolation):
        insert_all()

    assert [op.error for op in queries(sink)] == [None, "UniqueViolation", "PipelineAborted"]


def test_a_pipeline_that_loses_its_connection_ends_its_queries(connection, postgres, sink):
    """
    Queries whose results never come are failures, and none stays open.
    """

    def use():
        with connection.pipeline():
            connection.execute("select * from plants")
            with closing(psycopg.connect(postgres, autocommit=True)) as other:
                other.execute("select pg_terminate_backend(%s)", (connection.info.backend_pid,))
            connection.execute("select * from plants").fetchall()

    with pytest.raises(psycopg.OperationalError):
        use()

    assert [op for op in sink.begun if not op.ended] == []
    assert [op.error for op in queries(sink) if op.table == "plants" and op.error] != []


def test_a_server_side_cursor_is_one_query(connection, sink):
    """
    The rows that a server-side cursor fetches count to its query, which ends with the last one or with `close()`.
    """
    with connection.cursor("some") as cursor:
        cursor.itersize = 1
        cursor.execute("select * from plants order by id")
        assert sink.operations == []
        assert [cursor.fetchone(), cursor.fetchmany(1), *cursor] != []
    with connection.cursor("all") as cursor:
        cursor.execute("select pg_sleep(0.05) from plants")
        cursor.fetchall()
    with connection.cursor("closed") as cursor:
        cursor.execute("select * from plants")

    assert seen(sink) == [("select", "plants", 3), ("select", "plants", 3), ("select", "plants", 0)]
    assert [op.duration_seconds > 0.15 for op in queries(sink)] == [False, True, False]


def first_value(cursor):
    return lambda values: values[0]  # as psycopg's own `scalar_row` of 3.2


FALSY = "select nullif(x, 1) from generate_series(0, 3) x"  # 0, None, 2, 3


def test_a_falsy_row_does_not_end_a_server_side_cursor(connection, sink):
    """
    A row is whatever its factory makes, 0 and `None` too; the query ends where there are no more.
    """
    with connection.cursor("iterated", row_factory=first_value) as cursor:
        cursor.itersize = 2
        cursor.execute(FALSY)
        assert [*cursor] == [0, None, 2, 3]
        assert [op.rows for op in queries(sink)] == [4]
    with connection.cursor("one by one", row_factory=first_value) as cursor:
        cursor.execute(FALSY)
        assert [cursor.fetchone() for _ in range(4)] == [0, None, 2, 3]
        assert len(queries(sink)) == 1
        assert cursor.fetchone() is None
        assert [op.rows for op in queries(sink)] == [4, 4]
    with connection.cursor("many", row_factory=first_value) as cursor:
        cursor.execute(FALSY)
        assert [cursor.fetchmany(1), cursor.fetchmany(4), cursor.fetchmany(1)] == [[0], [None, 2, 3], []]
        assert [op.rows for op in queries(sink)] == [4, 4, 4]


def test_a_falsy_row_does_not_end_an_asynchronous_server_side_cursor(instrumented, postgres, sink):
    """
    The same of `AsyncServerCursor`.
    """

    async def use():
        async with (
            await psycopg.AsyncConnection.connect(postgres) as connection,
            connection.cursor("iterated", row_factory=first_value) as iterated,
            connection.cursor("one by one", row_factory=first_value) as one_by_one,
        ):
            await iterated.execute(FALSY)
            rows = [row async for row in iterated]
            await one_by_one.execute(FALSY)
            return rows, [await one_by_one.fetchone() for _ in range(4)]

    assert asyncio.run(use()) == ([0, None, 2, 3], [0, None, 2, 3])
    assert [op.rows for op in queries(sink)] == [4, 4]


@pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_server_side_cursor_that_is_dropped_ends_with_the_next_query(connection, sink):
    """
    A cursor that nobody closed is counted too.
    """
    connection.cursor("lost").execute("select * from plants")
    connection.execute("select 1")

    assert sorted(seen(sink)) == [("select", "", 1), ("select", "plants", 0)]


def test_a_stream_is_one_query(connection, sink):
    """
    Rows of `stream()` count to their query, without what the application does in between; left early, it ends too.
    """
    cursor = connection.cursor()
    assert len(list(cursor.stream("select * from plants"))) == 3
    for _ in cursor.stream("select * from plants"):
        break
    connection.rollback()

    assert seen(sink) == [("select", "plants", 3), ("select", "plants", 1)]
    assert [op.error for op in queries(sink)] == [None, None]


def test_a_copy_is_one_query(connection, sink):
    """
    COPY in both directions is timed as long as its block.
    """
    cursor = connection.cursor()
    with cursor.copy("copy plants (name) from stdin") as copy:
        copy.write_row(("a",))
        copy.write_row(("b",))
    with cursor.copy("copy plants to stdout") as copy:
        assert len(list(copy.rows())) == 5

    assert seen(sink) == [("copy", "plants", 2), ("copy", "plants", 5)]


def test_composed_statements_are_read(connection, sink):
    """
    `psycopg.sql` objects and bytes are named as strings are, and their literals are taken out.
    """
    composed = sql.SQL("select * from {} where name = {}").format(sql.Identifier("plants"), sql.Literal("s3cret"))
    connection.execute(composed)
    connection.execute(b"select * from plants where name = 's3cret'")

    assert [op.table for op in queries(sink)] == ["plants", "plants"]
    assert "s3cret" not in "".join(op.statement.text for op in queries(sink))


def test_a_failed_query_has_its_class_and_code(connection, sink):
    """
    The exception's own class is the label, and spans get PostgreSQL's code.
    """
    with pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("select * from nowhere")

    assert [(op.error, op.extra["db.response.status_code"]) for op in queries(sink)] == [("UndefinedTable", "42P01")]


def test_spans_are_told_where_it_went(connection, sink):
    """
    Database and server are known of a connection, its password is not.
    """
    connection.execute("select 1")
    [op] = queries(sink)

    assert op.database.attributes == {
        "db.system.name": "postgresql",
        "db.namespace": "postgres",
        "server.address": connection.info.host,
        "server.port": 5432,
    }


def test_observe_db_gives_its_labels(connection, sink):
    """
    An `observe_db` around a query supplies its labels, and is no observation itself.
    """
    with obskit.observe_db("greenhouse", "report"):
        connection.execute("select 1")

    assert seen(sink) == [("report", "greenhouse", 1)]


def test_a_slow_query_is_explained_on_another_connection(sink, postgres):
    """
    The plan of a slow SELECT is asked for in a thread, so that a failure cannot end the application's transaction.
    """
    with isolated_runtime(slow_query_warning_ms=0, explain_slow_queries=True) as runtime:
        obskit.instrument_psycopg()
        with closing(prepared(postgres)) as connection:
            connection.execute("select * from plants where name = %s", ("s3cret",)).fetchall()
            connection.execute("insert into plants (name) values ('new') returning id").fetchall()
            connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier("plants")))
            assert explainer.flush(Deadline(30))
            assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        obskit.uninstrument_psycopg()
        plans = {query.summary: query.plan for query in slow_queries()}
        lines = [line for line in runtime.lines if line["message"] == "query plan"]

    assert "on plants" in plans["select plants"]
    assert plans["insert plants"] is None
    assert "s3cret" not in str(lines)
    assert len(lines) == 2


# A statement is asked about once in ten minutes, so each way has its own.
ELSEWHERE = {
    "set search_path": ("set search_path to greenhouse, public", "select kind from plants where kind = 1"),
    "for the transaction": ("set local search_path = greenhouse", "select kind as here from plants where kind = 1"),
    "by a function": (
        "select set_config('search_path', 'greenhouse', false)",
        "select kind as it from plants where kind = 1",
    ),
    "by a quoted name": ('set search_path to "$user", "green house", public', "select a from odd where a = 1"),
    "temporary": ("create temporary table plants (kind int)", "select kind as own from plants where kind = 1"),
}


@pytest.fixture
def greenhouse(postgres):
    """
    Yield a database that has two tables `plants`, of which one has another column.
    """
    with closing(prepared(postgres)) as connection:
        for schema, table in (("greenhouse", "plants (kind int)"), ('"green house"', "odd (a int)")):
            connection.execute(f"drop schema if exists {schema} cascade")
            connection.execute(f"create schema {schema}")
            connection.execute(f"create table {schema}.{table}")
        connection.commit()
    yield postgres
    with psycopg.connect(postgres) as connection:
        connection.execute('drop schema greenhouse cascade; drop schema "green house" cascade')


@pytest.mark.parametrize("way", ELSEWHERE)
def test_a_plan_is_of_the_tables_that_the_session_sees(greenhouse, way):
    """
    Another connection looks where this session looks; where the session has tables of its own, it is not asked.
    """
    setting, query = ELSEWHERE[way]
    with isolated_runtime(slow_query_warning_ms=0, explain_slow_queries=True):
        obskit.instrument_psycopg()
        with closing(psycopg.connect(greenhouse)) as connection:
            connection.execute(setting)
            connection.execute(query)
            assert explainer.flush(Deadline(30))
            assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        obskit.uninstrument_psycopg()
        plan = slow_queries()[-1].plan
        failures = dict(recorder.errors)

    assert (plan is None) is (way == "temporary")
    assert plan is None or ("kind" in plan or "(a = ?)" in plan)
    assert failures == {}


@pytest.mark.parametrize("way", [None, *ELSEWHERE])
def test_an_asynchronous_session_that_has_moved_is_not_asked_for(greenhouse, way):
    """
    It cannot be asked where it looks without being awaited, so there is a plan only where it has not moved.
    """

    async def use():
        async with await psycopg.AsyncConnection.connect(greenhouse) as connection:
            if way is not None:
                await connection.execute(ELSEWHERE[way][0])
            await connection.execute("select name from plants" if way is None else ELSEWHERE[way][1])

    with isolated_runtime(slow_query_warning_ms=0, explain_slow_queries=True):
        obskit.instrument_psycopg()
        asyncio.run(use())
        assert explainer.flush(Deadline(30))
        obskit.uninstrument_psycopg()
        plan = slow_queries()[-1].plan
        failures = dict(recorder.errors)

    assert (plan is not None) is (way is None)
    assert failures == {}


COMPOSED = sql.SQL("set search_path to {}").format(sql.Identifier("greenhouse"))


@pytest.mark.parametrize(
    "setting",
    [
        (b"set search_path to greenhouse",),
        (COMPOSED,),
        ("select set_config(%s, %s, false)", ("search_path", "greenhouse")),
    ],
    ids=["bytes", "composed", "parameters"],
)
def test_a_move_is_seen_however_it_is_written(greenhouse, setting):
    """
    An asynchronous session may be told to look elsewhere by bytes, by psycopg's own objects, and by parameters.
    """

    async def use():
        async with await psycopg.AsyncConnection.connect(greenhouse) as connection:
            await connection.execute(*setting)
            await connection.execute("select kind as told from plants where kind = 1")

    with isolated_runtime(slow_query_warning_ms=0, explain_slow_queries=True):
        obskit.instrument_psycopg()
        asyncio.run(use())
        assert explainer.flush(Deadline(30))
        obskit.uninstrument_psycopg()
        found, failures = slow_queries()[-1], dict(recorder.errors)

    assert (found.summary, found.plan) == ("select plants", None)
    assert failures == {}


# asyncio.


async def everything_async(address, told):
    async with await psycopg.AsyncConnection.connect(address) as connection:
        await connection.execute("select * from plants")
        cursor = connection.cursor()
        await cursor.executemany("insert into plants (name) values (%s)", [("a",), ("b",)])
        async with connection.pipeline():
            await connection.execute("insert into plants (name) values ('c')")
            found = await connection.execute("select * from plants")
            told.append(len(await found.fetchall()))
        async with connection.cursor("some") as server:
            server.itersize = 2
            await server.execute("select name from plants order by id")
            told.append([row async for row in server])
        told.append([row async for row in cursor.stream("select name from plants order by id")])
        async with cursor.copy("copy plants (name) from stdin") as copy:
            await copy.write_row(("d",))
        async with cursor.copy("copy plants to stdout") as copy:
            told.append(len([row async for row in copy.rows()]))
        try:
            await connection.execute("select * from nowhere")
        except psycopg.Error as error:
            told.append(type(error))
        await connection.rollback()
    return told


def test_asyncio_is_timed_and_as_it_was(runtime, postgres, sink):
    """
    Every kind of query gives the same with and without timing, and is one observation in its request.
    """
    prepared(postgres).close()
    plain = asyncio.run(everything_async(postgres, []))
    obskit.instrument_psycopg()
    request = HttpOperation("GET", "/plants")
    token = current.set(request)
    timed = asyncio.run(everything_async(postgres, []))
    current.reset(token)

    assert timed == plain
    assert seen(sink) == [
        ("select", "plants", 3),
        ("insert", "plants", 2),
        ("insert", "plants", 1),
        ("select", "plants", 6),
        ("select", "plants", 6),
        ("select", "plants", 6),
        ("copy", "plants", 1),
        ("copy", "plants", 7),
        ("select", "nowhere", None),
    ]
    assert request.totals.db_queries == 9


def wait_until_asleep(address, pid):
    """
    Wait, unrecorded, until a backend is in `pg_sleep()`: asked to cancel a query before, it may not know it yet.
    """
    asleep = "select 1 from pg_stat_activity where pid = %s and wait_event = 'PgSleep'"
    with unrecorded(), closing(psycopg.connect(address, autocommit=True)) as other:
        while not other.execute(asleep, (pid,)).fetchall():
            pass


def test_a_cancelled_query_is_a_failure(instrumented, postgres, sink):
    """
    A query whose task is cancelled ends then, and the cancellation goes on.
    """

    async def main():
        connection = await psycopg.AsyncConnection.connect(postgres)
        try:
            task = asyncio.create_task(connection.execute("select pg_sleep(60)"))
            await asyncio.to_thread(wait_until_asleep, postgres, connection.info.backend_pid)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        finally:
            await connection.close()

    asyncio.run(main())

    assert [op.error for op in queries(sink)] == ["CancelledError"]


def test_a_dropped_coroutine_is_ended_later(instrumented, postgres, sink):
    """
    A garbage collection may drop a coroutine while a lock of ours is held, so its query is only noted to have ended.
    """
    prepared(postgres).close()
    sink.operations.clear()

    async def main():
        connection = await psycopg.AsyncConnection.connect(postgres)
        work = connection.execute("select * from plants")
        work.send(None)
        work.close()
        noted = [op.table for op, _, _ in waiting]
        await connection.close()
        return noted

    assert asyncio.run(main()) == ["plants"]
    assert [op.table for op in queries(sink)] == ["plants"]


# Everything else: the same with and without timing.


class Plant:
    def __init__(self, id, name):
        self.id, self.name = id, name


def broken_row(cursor):
    return lambda values: 1 / 0


def rows_of_each_result(cursor):
    if hasattr(cursor, "results"):  # since psycopg 3.3
        return [result.fetchall() for result in cursor.results()]
    found = [cursor.fetchall()]
    while cursor.nextset():
        found.append(cursor.fetchall())
    return found


def everything(connection):
    """
    Use row factories, prepared statements, transactions, savepoints, errors, kinds of cursors and of statements.
    """
    told = []
    execute = connection.execute
    for factory in (dict_row, class_row(Plant)):
        cursor = connection.cursor(row_factory=factory)
        told.append(str(type(cursor.execute("select id, name from plants").fetchone())))
    told.append([execute("select name from plants where id = %s", (1,), prepare=True).fetchall() for _ in range(3)])
    told.append(execute("select %(a)s::int, %(b)s::text", {"a": 1, "b": "x"}, binary=True).fetchone())
    with connection.transaction():
        try:
            with connection.transaction():
                execute("insert into plants (name) values ('fern')")
        except psycopg.errors.UniqueViolation as error:
            told.append((str(error), error.sqlstate, error.diag.constraint_name))
        told.append(execute("select count(*) from plants").fetchone())
    many = connection.cursor()
    many.executemany("insert into plants (name) values (%s) returning id", [("x",), ("y",)], returning=True)
    told.append([many.fetchall(), many.nextset(), many.fetchall(), many.nextset()])
    told.append(rows_of_each_result(execute("select 1; select 2")))
    client = psycopg.ClientCursor(connection)
    told.append([client.execute("select %s", ("a",)).fetchone(), client.mogrify("select %s", ("a",))])
    if hasattr(psycopg, "RawCursor"):  # since psycopg 3.2
        told.append(psycopg.RawCursor(connection).execute("select $1::int", (7,)).fetchone())
    connection.commit()
    for wrong in ("", "selec", "select 'abc", "select 1 /* abc", "select %s", 7, None, [], "select '\0'", b"\xff"):
        try:
            told.append(execute(wrong).fetchall())
        except Exception as error:
            told.append((type(error), str(error)))
        connection.rollback()
    told.append(len(execute("select '" + "x" * 1_000_000 + "'").fetchone()[0]))
    try:
        connection.cursor(row_factory=broken_row).execute("select 1").fetchone()
    except ZeroDivisionError as error:
        told.append(str(error))
    try:
        with connection.cursor().copy("copy plants (name) from stdin") as copy:
            copy.write_row(("z",))
            raise KeyError("z")
    except (KeyError, psycopg.errors.QueryCanceled) as error:  # the first of 3.1 raise what the server makes of it
        told.append((type(error), str(error)))
    connection.rollback()
    try:
        list(connection.cursor().stream("update plants set name = name"))
    except psycopg.ProgrammingError as error:
        told.append(str(error))
    connection.rollback()
    rows = connection.cursor().stream("select * from plants")
    next(rows)
    try:
        rows.throw(KeyError("thrown"))
    except KeyError as error:
        told.append(str(error))
    connection.rollback()
    with connection.cursor("scrolled", scrollable=True) as cursor:
        cursor.execute("select id from plants order by id")
        told.append((cursor.fetchmany(2), cursor.scroll(-1), cursor.fetchone(), cursor.rownumber))
        cursor.execute("select name from plants order by id")
        told.append(cursor.fetchall())
    try:
        with connection.cursor("failing") as cursor:
            cursor.execute("select 1 / (id - 2) from plants order by id")
            cursor.fetchall()
    except psycopg.errors.DivisionByZero as error:
        told.append(error.sqlstate)
    connection.rollback()
    connection.close()
    try:
        execute("select 1")
    except psycopg.OperationalError as error:
        told.append(str(error))
    return told


def test_psycopg_is_as_it_was(runtime, postgres, sink, caplog):
    """
    The same operations give the same results and exceptions with and without timing.
    """
    caplog.set_level(logging.CRITICAL, "psycopg")
    plain = everything(prepared(postgres))
    obskit.instrument_psycopg()
    timed = everything(prepared(postgres))

    assert timed == plain
    assert [op for op in sink.begun if not op.ended] == []


def test_instrumenting_can_be_undone(runtime):
    """
    Instrumenting twice is instrumenting once; taken back, psycopg's classes are as they were.
    """
    obskit.instrument_psycopg()
    obskit.instrument_psycopg()
    timed = psycopg.Cursor.execute
    obskit.uninstrument_psycopg()
    obskit.uninstrument_psycopg()

    assert timed is not PLAIN[psycopg.Cursor, "execute"]
    assert {(cls, name): vars(cls).get(name) for cls, name in PLAIN} == PLAIN


def test_methods_keep_what_they_are(instrumented):
    """
    Names, documentation, signatures and kinds of the methods are psycopg's.
    """
    for cls, name in ((psycopg.Cursor, "execute"), (psycopg.AsyncCursor, "execute"), (psycopg.Cursor, "copy")):
        ours, theirs = vars(cls)[name], PLAIN[cls, name]

        assert (ours.__name__, ours.__doc__) == (theirs.__name__, theirs.__doc__)
        assert inspect.signature(ours) == inspect.signature(theirs)
    assert inspect.iscoroutinefunction(psycopg.AsyncCursor.execute)
    assert inspect.isgeneratorfunction(psycopg.Cursor.stream)
    assert inspect.isasyncgenfunction(psycopg.AsyncCursor.stream)


def test_connections_that_are_open_are_timed(runtime, postgres, sink):
    """
    A connection from before is timed from `instrument_psycopg()` to `uninstrument_psycopg()`.
    """
    with closing(psycopg.connect(postgres)) as connection:
        connection.execute("select 1")
        obskit.instrument_psycopg()
        connection.execute("select 2")
        obskit.uninstrument_psycopg()
        connection.execute("select 3")

    assert len(queries(sink)) == 1


def test_without_a_runtime_nothing_happens(postgres):
    """
    Psycopg works before `configure()` and after `shutdown()`.
    """
    obskit.instrument_psycopg()
    try:
        told = everything(prepared(postgres))
    finally:
        obskit.uninstrument_psycopg()

    assert told == everything(prepared(postgres))


def test_a_connection_in_several_threads(connection, sink):
    """
    Threads that share a connection take turns, and each query is counted.
    """

    def work():
        for _ in range(20):
            connection.execute("select * from plants").fetchall()

    running = [threading.Thread(target=work) for _ in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()

    assert seen(sink) == [("select", "plants", 3)] * 80


def test_a_connection_that_is_closed_in_mid_query(connection, postgres, sink):
    """
    A query whose server goes away is a failure with its class, and raises what it did.
    """
    pid = connection.info.backend_pid

    def kill():
        wait_until_asleep(postgres, pid)
        with closing(psycopg.connect(postgres, autocommit=True)) as other:
            other.execute("select pg_terminate_backend(%s)", (pid,))

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(psycopg.OperationalError) as raised:  # AdminShutdown, but for the first of 3.1
        connection.execute("select pg_sleep(60)")
    killer.join()

    assert raised.type.__name__ in [op.error for op in queries(sink)]


def test_a_fork_after_connecting(connection, postgres):
    """
    A child of a process with connections opens its own, counts its own queries, and harms the parent's in nothing.
    """

    def child():
        sink = RecordingSink()
        obskit.shutdown()
        with isolated_runtime(sinks=[sink]), closing(psycopg.connect(postgres)) as own:
            own.execute("select * from plants").fetchall()
        return seen(sink)

    assert in_child(child) == "[('select', 'plants', 3)]"
    assert connection.execute("select count(*) from plants").fetchone() == (3,)
    assert os.getpid() != connection.info.backend_pid


# Pools.


def test_a_pool_is_watched(instrumented, postgres):
    """
    Size, waiting, use and timeouts of a pool of psycopg_pool are on the page, under its name.
    """
    psycopg_pool = pytest.importorskip("psycopg_pool")
    value = instrumented.value
    with psycopg_pool.ConnectionPool(postgres, min_size=1, max_size=2, name="nursery", timeout=0.05) as pool:
        with pool.connection() as one, pool.connection() as other:
            one.execute("select 1")
            other.execute("select 1")
            assert value("database_connections_active", pool="nursery") == 2.0
            with pytest.raises(psycopg_pool.PoolTimeout):
                pool.getconn()
        assert value("database_connections_active", pool="nursery") == 0.0
        assert value("database_connections_idle", pool="nursery") == 2.0
        assert value("database_connections_max", pool="nursery") == 2.0
    assert value("database_connection_wait_seconds_count", pool="nursery") == 3.0
    assert value("database_connection_use_seconds_count", pool="nursery") == 2.0
    assert value("database_connection_timeouts_total", pool="nursery") == 1.0
    assert value("database_connections_active", pool="nursery") is None


def test_pools_without_a_name_share_that_of_their_database(instrumented, postgres):
    """
    psycopg_pool numbers them, without end where an application makes one a job; a label has their database instead.
    """
    psycopg_pool = pytest.importorskip("psycopg_pool")
    for _ in range(2):
        with psycopg_pool.ConnectionPool(postgres, min_size=1, open=True) as pool, pool.connection():
            assert instrumented.value("database_connections_active", pool="postgres") == 1.0

    assert instrumented.value("database_connection_use_seconds_count", pool="postgres") == 2.0


def test_what_a_pool_asks_its_connections_is_no_query(instrumented, postgres, sink):
    """
    `check=` runs in the request that takes a connection, and asks for the pool alone.
    """
    psycopg_pool = pytest.importorskip("psycopg_pool")
    checked = []

    def check(connection):
        checked.append(connection.execute("select 1").fetchone())

    with psycopg_pool.ConnectionPool(postgres, min_size=1, name="checked", check=check, open=True) as pool:
        request = HttpOperation("GET", "/plants")
        token = current.set(request)
        with pool.connection() as connection:
            connection.execute("select 2")
        current.reset(token)
        outcome = obskit.health.psycopg(pool)()

    assert (request.totals.db_queries, seen(sink), len(checked)) == (1, [("select", "", 1)], 2)
    assert outcome.status == "pass"


def test_a_pool_is_forgotten_with_the_hook(instrumented, postgres):
    """
    Taken back, a pool that is still open is on no page; instrumented again, it is from its next use on.
    """
    psycopg_pool = pytest.importorskip("psycopg_pool")
    with psycopg_pool.ConnectionPool(postgres, min_size=1, name="forgotten beds") as pool:
        seen = []
        for change in (obskit.instrument_psycopg, obskit.uninstrument_psycopg, obskit.instrument_psycopg):
            change()
            with pool.connection() as connection:
                connection.execute("select 1")
                seen.append(instrumented.value("database_connections_active", pool="forgotten beds"))

    assert seen == [1.0, None, 1.0]


def test_an_async_pool_is_watched(instrumented, postgres):
    """
    The same of an asynchronous pool.
    """
    psycopg_pool = pytest.importorskip("psycopg_pool")
    value = instrumented.value

    async def main():
        async with psycopg_pool.AsyncConnectionPool(postgres, min_size=1, name="async", open=False) as pool:
            async with pool.connection() as connection:
                await connection.execute("select 1")
                assert value("database_connections_active", pool="async") == 1.0
            assert value("database_connections_idle", pool="async") == 1.0

    asyncio.run(main())

    assert value("database_connection_use_seconds_count", pool="async") == 1.0
