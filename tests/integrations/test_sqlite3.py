"""
`sqlite3` with its queries timed, and everything else as it was.
"""

import asyncio
import gc
import inspect
import pickle
import sqlite3
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

import obskit
from forked import in_child
from obskit.context import current
from obskit.integrations import sqlite3 as integration
from obskit.integrations.sqlite3 import TimedConnection
from obskit.operation import HttpOperation
from obskit.testing import FakeClock, isolated_runtime

PLAIN_CONNECT = sqlite3.connect


@pytest.fixture
def runtime(sink):
    with isolated_runtime(sinks=[sink]) as runtime:
        yield runtime


@pytest.fixture
def instrumented(runtime):
    obskit.instrument_sqlite3()
    yield runtime
    obskit.uninstrument_sqlite3()


@pytest.fixture(params=["plain", "instrumented"])
def both(request, runtime):
    """
    Run a test on `sqlite3` as it is and on `sqlite3` with timing: it must not tell.
    """
    if request.param == "instrumented":
        obskit.instrument_sqlite3()
    yield request.param
    obskit.uninstrument_sqlite3()


@pytest.fixture
def connection(instrumented):
    with closing(sqlite3.connect(":memory:")) as connection:
        yield connection


def seen(sink):
    return [(op.operation, op.table) for op in sink.operations]


def opened(**options):
    return closing(sqlite3.connect(":memory:", **options))


# What is timed.


def test_each_query_is_timed_under_its_labels(instrumented, connection):
    """
    A query is one observation in the histogram, with system, table and operation.
    """
    connection.execute("create table devices (id)")
    connection.execute("insert into devices values (?)", (1,))
    for _ in range(3):
        connection.cursor().execute("select * from devices").fetchall()

    labels = {"system": "sqlite", "table": "devices", "operation": "select"}
    assert instrumented.value("database_query_duration_seconds_count", **labels) == 3.0
    assert instrumented.value("database_query_duration_seconds_sum", **labels) > 0.0


@pytest.mark.parametrize("on", ["connection", "cursor", "cursor of execute"])
def test_execute_executemany_and_executescript_are_timed(connection, sink, on):
    """
    Each of the three is one query, on a connection, on a cursor, and on the cursor that a connection's execute gives.
    """
    target = {
        "connection": lambda: connection,
        "cursor": connection.cursor,
        "cursor of execute": lambda: connection.execute("begin"),
    }[on]()
    sink.operations.clear()
    target.executescript("create table a (b); create table c (d);")
    target.execute("select * from a")
    target.executemany("insert into a values (?)", [(1,), (2,)])

    assert seen(sink) == [("script", ""), ("select", "a"), ("insert", "a")]
    assert connection.execute("select count(*) from a").fetchone() == (2,)


def test_ends_of_transactions_are_no_queries(connection, sink):
    """
    `commit()`, `rollback()`, `with connection` and `close()` count nothing.
    """
    connection.commit()
    connection.rollback()
    with connection:
        pass

    assert seen(sink) == []


def test_a_failed_query_is_counted_with_its_class(instrumented, connection):
    """
    An error is counted under the class of the exception, and its query is in the histogram.
    """
    with pytest.raises(sqlite3.OperationalError):
        connection.execute("select * from devices")
    labels = {"system": "sqlite", "table": "devices", "operation": "select"}

    assert instrumented.value("database_errors_total", **labels, error="OperationalError") == 1.0
    assert instrumented.value("database_query_duration_seconds_count", **labels) == 1.0


def test_observe_db_around_a_query_gives_its_labels(connection, sink):
    """
    One query inside `observe_db` is one observation, with the labels of `observe_db` and the system of the hook.
    """
    with obskit.observe_db(table="devices", operation="search"):
        connection.execute("select 1").fetchall()
    [operation] = sink.operations

    assert (operation.system, operation.table, operation.operation) == ("sqlite", "devices", "search")


def test_observe_db_names_a_script(connection, sink):
    """
    The operation of a script gives way to the one of `observe_db`.
    """
    with obskit.observe_db(table="devices", operation="migrate"):
        connection.executescript("select 1; select 2")

    assert seen(sink) == [("migrate", "devices")]


def test_one_connection_alone(runtime, sink):
    """
    `connect(factory=TimedConnection)` times one connection, with nothing patched.
    """
    with opened(factory=TimedConnection) as timed, opened() as plain:
        timed.execute("select 1")
        plain.execute("select 2")

    assert seen(sink) == [("select", "")]
    assert sqlite3.connect is PLAIN_CONNECT


def test_queries_of_many_threads_are_all_counted(instrumented, tmp_path):
    """
    Connections in several threads count exactly.
    """
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table devices (id)")

    def work():
        with closing(sqlite3.connect(path)) as own:
            for _ in range(100):
                own.execute("select * from devices").fetchall()

    with ThreadPoolExecutor(4) as pool:
        for running in [pool.submit(work) for _ in range(4)]:
            running.result()
    labels = {"system": "sqlite", "table": "devices", "operation": "select"}

    assert instrumented.value("database_query_duration_seconds_count", **labels) == 400.0


def test_a_connection_made_before_configure_is_timed_after_it(sink):
    """
    A connection that was opened before a runtime stood is observed from when one does, and not after it.
    """
    obskit.instrument_sqlite3()
    try:
        with opened() as connection:
            connection.execute("select 1")
            with isolated_runtime(sinks=[sink]):
                connection.execute("select * from sqlite_master")
            connection.execute("select 2")
    finally:
        obskit.uninstrument_sqlite3()

    assert seen(sink) == [("select", "sqlite_master")]


# Patching.


def test_uninstrument_puts_back_what_stood_there():
    """
    Instrumenting twice is instrumenting once; taking it back leaves the function that was there.
    """
    obskit.instrument_sqlite3()
    obskit.instrument_sqlite3()
    patched = (sqlite3.connect, sqlite3.dbapi2.connect)
    obskit.uninstrument_sqlite3()
    obskit.uninstrument_sqlite3()

    assert patched[0] is patched[1] is not PLAIN_CONNECT
    assert sqlite3.connect is sqlite3.dbapi2.connect is PLAIN_CONNECT


def test_a_patch_on_top_of_ours_is_left_alone(runtime, sink, monkeypatch):
    """
    Where somebody patched after us, theirs stays, and what is ours below it times nothing more.
    """
    monkeypatch.setattr(sqlite3, "connect", PLAIN_CONNECT)
    obskit.instrument_sqlite3()
    ours = sqlite3.connect

    def theirs(*args, **kwargs):
        return ours(*args, **kwargs)

    sqlite3.connect = theirs
    obskit.uninstrument_sqlite3()
    with opened() as connection:
        connection.execute("select 1")

    assert sqlite3.connect is theirs
    assert (type(connection), seen(sink)) == (sqlite3.Connection, [])


@pytest.mark.parametrize("name", ["execute", "executemany", "executescript", "cursor"])
def test_methods_keep_their_name_and_documentation(name):
    """
    The timed methods say what SQLite's own say.
    """
    for timed, plain in (
        (integration.TimedConnection, sqlite3.Connection),
        (integration.TimedCursor, sqlite3.Cursor),
    ):
        if hasattr(plain, name):
            ours, theirs = getattr(timed, name), getattr(plain, name)

            assert (ours.__name__, ours.__doc__) == (theirs.__name__, theirs.__doc__)


def test_connect_keeps_its_name_documentation_and_signature(instrumented):
    """
    `help(sqlite3.connect)` is as it was.
    """
    assert (sqlite3.connect.__name__, sqlite3.connect.__doc__) == (PLAIN_CONNECT.__name__, PLAIN_CONNECT.__doc__)
    assert inspect.unwrap(sqlite3.connect) is PLAIN_CONNECT


# The application's own classes.


class Library(sqlite3.Connection):
    """
    A connection of the application's own, with state, and a query of its own making.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.executed = []

    def execute(self, sql, *parameters):
        self.executed.append(sql)
        return super().execute(sql, *parameters)

    def cursor(self, factory=None):
        return super().cursor(factory or Shelf)


class Shelf(sqlite3.Cursor):
    """
    A cursor of the application's own.
    """

    def execute(self, sql, *parameters):
        return super().execute(sql.replace("shelf", "sqlite_master"), *parameters)


class Slotted(sqlite3.Connection):
    __slots__ = ("name",)


class Refusing(sqlite3.Connection):
    def __init_subclass__(cls):
        raise TypeError("no subclasses")


@pytest.mark.filterwarnings("ignore:Passing more than 1 positional argument:DeprecationWarning")
@pytest.mark.parametrize("positional", [False, True] if sys.version_info < (3, 15) else [False])
def test_an_own_connection_class_is_kept(both, sink, positional):
    """
    `connect(factory=Library)` gives a Library, with its methods and its state, whose queries count once each.
    """
    options = (5.0, 0, None, True, Library) if positional else ()
    with closing(sqlite3.connect(":memory:", *options, **({} if positional else {"factory": Library}))) as library:
        library.execute("select 1")
        shelf = library.cursor()
        shelf.execute("select count(*) from shelf")

        assert isinstance(library, Library)
        assert library.executed == ["select 1"]
        assert (type(library).__name__, type(library).__module__) == ("Library", __name__)
        assert isinstance(shelf, Shelf)
        assert shelf.fetchone() == (0,)
    assert seen(sink) == ([("select", ""), ("select", "sqlite_master")] if both == "instrumented" else [])


def test_an_own_cursor_class_is_kept(both):
    """
    `cursor(Shelf)` gives a Shelf, by position and by name.
    """
    with opened() as connection:
        for shelf in (connection.cursor(Shelf), connection.cursor(factory=Shelf)):
            assert isinstance(shelf, Shelf)
            assert shelf.execute("select count(*) from shelf").fetchone() == (0,)


class SlottedCursor(sqlite3.Cursor):
    __slots__ = ("_open_since", "rows")


class SlottedRows(SlottedCursor):
    __slots__ = ("more",)

    def execute(self, *args):
        self.rows = super().execute(*args).fetchall()
        return self


class WithDict(SlottedCursor):
    pass


@pytest.mark.parametrize("cursor_class", [SlottedCursor, SlottedRows, WithDict])
@pytest.mark.parametrize("connection_class", [sqlite3.Connection, Slotted])
def test_classes_with_slots_are_timed(instrumented, sink, cursor_class, connection_class):
    """
    A cursor or connection class that lays out its own attributes is timed as any other is, and keeps them.
    """
    with opened(factory=connection_class) as connection:
        cursor = connection.cursor(cursor_class)
        cursor.rows = cursor._open_since = 5
        cursor.execute("select 7 where 1")
        rows = cursor.rows if cursor_class is SlottedRows else cursor.fetchall()

        assert isinstance(cursor, cursor_class)
        assert (rows, cursor._open_since) == ([(7,)], 5)
    assert seen(sink) == [("select", "")]
    assert instrumented.value("obskit_errors_total", sink="sqlite3") is None


class Frozen(sqlite3.Cursor):
    def __setattr__(self, name, value):
        raise TypeError(f"frozen: {name}")


class Hiding(sqlite3.Cursor):
    def __getattribute__(self, name):
        if name not in ("__class__", "execute", "fetchone", "fetchmany"):
            raise TypeError(f"hidden: {name}")
        return super().__getattribute__(name)


class Asking(sqlite3.Cursor):
    """
    It executes before `cursor()` has its hands on it.
    """

    def __init__(self, connection):
        super().__init__(connection)
        super().execute("select 1")

    def __getattr__(self, name):
        raise KeyError(name)


class Renaming(sqlite3.Cursor):
    """
    What it gives in place of SQLite's attributes is for its own callers.
    """

    arraysize = 100

    def __init__(self, connection):
        super().__init__(connection)
        self._open = "opened"

    @property
    def description(self):
        return [column[0] for column in super().description]

    @property
    def rowcount(self):
        raise sqlite3.NotSupportedError("count yourself")

    @property
    def connection(self):
        raise sqlite3.NotSupportedError("no way back")


class Opening(Renaming):
    __slots__ = ("_open",)


@pytest.mark.parametrize("cursor_class", [Frozen, Hiding, Asking, Renaming, Opening])
def test_classes_that_make_their_own_of_attributes_work(both, sink, cursor_class):
    """
    A cursor class may refuse, hide and replace attributes: ours pass it by, and SQLite's are read beneath it.
    """
    with opened() as connection:
        cursor = connection.cursor(cursor_class)
        cursor.execute("create table plants (name)")
        sink.operations.clear()
        cursor.execute("insert into plants values ('fern'), ('ivy'), ('moss')")
        cursor.execute("select name from plants")

        assert [cursor.fetchmany(), cursor.fetchmany(5)] == [[("fern",)], [("ivy",), ("moss",)]]
        assert not isinstance(cursor, Renaming) or cursor._open == "opened"
    assert [op.rows for op in sink.operations] == ([3, 3] if both == "instrumented" else [])


def test_what_a_cursor_executes_while_it_is_made_is_ended(instrumented, sink):
    """
    A query of `__init__` that has rows left ends with the next one, as any does.
    """
    with opened() as connection:
        sink.operations.clear()
        connection.cursor(Asking).execute("select 2").fetchall()

    assert [op.rows for op in sink.operations] == [0, 1]


def test_attributes_that_a_class_refuses_stay_refused(both):
    """
    Its own `__setattr__` and `__getattr__` hear of all others.
    """
    with opened() as connection:
        with pytest.raises(TypeError, match="frozen: name"):
            connection.cursor(Frozen).name = 1
        with pytest.raises(KeyError, match="name"):
            connection.cursor(Asking).name  # noqa: B018


def test_one_class_is_derived_for_one_class(instrumented):
    """
    Every connection of one factory has the same class.
    """
    with opened(factory=Library) as one, opened(factory=Library) as other:
        assert type(one) is type(other)


def test_a_factory_that_is_no_class_works(both, sink):
    """
    A function that makes the connection or the cursor is called; what it makes is not timed.
    """
    with closing(sqlite3.connect(":memory:", factory=lambda *args, **kwargs: Slotted(":memory:"))) as connection:
        cursor = connection.cursor(lambda connection: Shelf(connection))
        cursor.execute("select 1")

        assert (type(connection), type(cursor)) == (Slotted, Shelf)
    assert seen(sink) == []


@pytest.mark.parametrize("factory", [None, 7, dict])
def test_a_wrong_factory_is_sqlites_to_refuse(both, factory):
    """
    What is no factory raises what it did.
    """
    with opened() as connection, pytest.raises(TypeError):
        connection.cursor(factory)
    with pytest.raises((TypeError, ValueError)):
        sqlite3.connect(":memory:", factory=factory).execute("select 1")


def test_a_class_that_refuses_to_be_derived_from_stays_itself(sink):
    """
    Such a connection works, untimed, and the failure is counted.
    """
    with isolated_runtime(sinks=[sink], strict=False) as runtime:
        obskit.instrument_sqlite3()
        try:
            with opened(factory=Refusing) as connection:
                assert connection.execute("select 1").fetchone() == (1,)
        finally:
            obskit.uninstrument_sqlite3()

        assert type(connection) is Refusing
        assert runtime.value("obskit_errors_total", sink="sqlite3") == 1.0


# Everything else: the same with and without timing.


def test_connections_are_connections(both):
    """
    Connections and cursors are instances of SQLite's classes, hold no attributes, and cannot be pickled.
    """
    with opened() as connection:
        cursor = connection.execute("select 1")

        assert isinstance(connection, sqlite3.Connection)
        assert isinstance(cursor, sqlite3.Cursor)
        assert cursor.connection is connection
        for thing in (connection, cursor):
            assert not hasattr(thing, "__dict__")
            with pytest.raises(TypeError):
                pickle.dumps(thing)


def test_slots_of_an_own_class_stay_slots(both):
    """
    A class without a `__dict__` gets none.
    """
    with opened(factory=Slotted) as connection:
        connection.name = "x"

        assert not hasattr(connection, "__dict__")


def test_row_and_text_factories_hold(both):
    """
    Both factories reach cursors that are made later, of either way.
    """
    with opened() as connection:
        connection.row_factory, connection.text_factory = sqlite3.Row, bytes
        for row in (
            connection.execute("select 'a' as b").fetchone(),
            connection.cursor().execute("select 'a' as b").fetchone(),
        ):
            assert (type(row), row["b"]) == (sqlite3.Row, b"a")


def test_types_are_detected(both):
    """
    `detect_types` and converters work.
    """
    sqlite3.register_converter("shout", lambda value: value.decode().upper())
    with opened(detect_types=sqlite3.PARSE_DECLTYPES) as connection:
        connection.execute("create table a (b shout)")
        connection.execute("insert into a values ('c')")

        assert connection.execute("select b from a").fetchone() == ("C",)


@pytest.mark.parametrize("level", ["", "IMMEDIATE", None])
def test_transactions_are_as_they_were(both, tmp_path, level):
    """
    Implicit transactions, `with connection` and isolation levels are SQLite's.
    """
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path, isolation_level=level)) as connection:
        connection.execute("create table a (b)")
        with connection:
            connection.execute("insert into a values (1)")
        with pytest.raises(ZeroDivisionError):
            fill_and_fail(connection)

        assert connection.isolation_level == level
        assert connection.execute("select count(*) from a").fetchone() == (2 if level is None else 1,)


def fill_and_fail(connection):
    with connection:
        connection.execute("insert into a values (2)")
        raise ZeroDivisionError


def test_backup_blob_and_dump_work(both):
    """
    What SQLite does with the connection itself takes ours.
    """
    with opened() as source, opened() as target:
        source.execute("create table a (b)")
        source.execute("insert into a values (zeroblob(3))")
        with source.blobopen("a", "b", 1) as blob:
            blob.write(b"xyz")
        source.commit()
        source.backup(target)

        assert target.execute("select b from a").fetchone() == (b"xyz",)
        assert list(target.iterdump()) == [
            "BEGIN TRANSACTION;",
            "CREATE TABLE a (b);",
            "INSERT INTO \"a\" VALUES(X'78797A');",
            "COMMIT;",
        ]


def test_user_functions_and_their_queries_work(both):
    """
    A function that SQLite calls back may raise, and may use a connection of its own.
    """
    with opened() as connection, opened() as other:
        connection.create_function("f", 1, lambda n: other.execute("select ? + 1", (n,)).fetchone()[0])
        connection.create_function("g", 0, lambda: 1 / 0)

        assert connection.execute("select f(1)").fetchone() == (2,)
        with pytest.raises(sqlite3.OperationalError, match="user-defined function raised exception"):
            connection.execute("select g()")


MISTAKES = {
    "syntax": ("selec", ()),
    "constraint": ("insert into a values (1), (1)", ()),
    "bindings": ("select ?", ()),
    "several statements": ("select 1; select 2", ()),
    "no text": (7, ()),
    "no sequence": ("select ?", (7,)),
    "null character": ("select 1\0", ()),
    "surrogate": ('select * from "\ud800"', ()),
    "list": ([], ()),
}


@pytest.mark.parametrize("on", ["connection", "cursor"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_exceptions_are_the_same(runtime, mistake, on):
    """
    Class, arguments and SQLite's codes of an exception are the same with and without timing.
    """
    sql, parameters = MISTAKES[mistake]
    raised = []
    for factory in (sqlite3.Connection, TimedConnection):
        with opened(factory=factory) as connection:
            connection.execute("create table a (b unique)")
            target = connection if on == "connection" else connection.cursor()
            with pytest.raises((sqlite3.Error, TypeError, UnicodeEncodeError)) as caught:
                target.execute(sql, *parameters)
            raised.append(caught.value)

    plain, timed = raised
    assert (type(timed), timed.args, vars(timed)) == (type(plain), plain.args, vars(plain))
    assert (timed.__cause__, timed.__context__) == (plain.__cause__, plain.__context__)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("execute", ()),
        ("execute", ("select 1", (), 3)),
        ("executemany", ()),
        ("executemany", ("select ?",)),
        ("executescript", ()),
        ("executescript", (b"select 1",)),
    ],
)
def test_a_wrong_number_of_arguments_is_a_type_error(both, name, arguments):
    """
    Methods take the arguments that they took.
    """
    with opened() as connection:
        for target in (connection, connection.cursor()):
            with pytest.raises(TypeError):
                getattr(target, name)(*arguments)


def test_a_closed_connection_refuses(both):
    """
    A closed connection raises what it did, on every way to a query.
    """
    with opened() as connection:
        cursor = connection.cursor()
    for use in (connection.execute, cursor.execute, connection.executescript):
        with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
            use("select 1")


def test_threads_are_checked_as_they_were(both):
    """
    `check_same_thread` refuses, or lets another thread work, as it did.
    """
    with opened() as strict, opened(check_same_thread=False) as free:
        results = []

        def work():
            results.append(free.execute("select 1").fetchone())
            try:
                strict.execute("select 1")
            except sqlite3.ProgrammingError as error:
                results.append(type(error))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    assert results == [(1,), sqlite3.ProgrammingError]


def test_cursors_are_used_as_they_were(both):
    """
    `execute` gives the cursor itself; rows, description, rowcount, lastrowid and iteration are SQLite's.
    """
    with opened() as connection:
        cursor = connection.cursor()
        cursor.execute("create table a (b)")
        cursor.executemany("insert into a values (?)", [(1,), (2,)])

        assert cursor.rowcount == 2
        assert cursor.execute("insert into a values (:b)", {"b": 3}) is cursor
        assert cursor.lastrowid == 3
        assert list(cursor.execute("select b from a")) == [(1,), (2,), (3,)]
        assert cursor.description == (("b", None, None, None, None, None, None),)


def test_nothing_is_kept_alive(both):
    """
    A connection and its cursors go when the last reference does, without the garbage collector.
    """

    class Weak(sqlite3.Connection):
        pass

    connection = sqlite3.connect(":memory:", factory=Weak)
    connection.execute("select 1").close()
    gone = weakref.ref(connection)
    connection.close()
    del connection

    assert gone() is None


# Rows are made while they are fetched.


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def slow_rows(sink, clock):
    """
    Yield a connection whose query `select wait(1) from a` takes a second for each of three rows.

    SQLite makes the first row in `execute()`, and with each fetch the row after it.
    """
    with isolated_runtime(sinks=[sink], clock=clock), opened(factory=TimedConnection) as connection:
        connection.create_function("wait", 1, lambda seconds: clock.advance(seconds))
        connection.executescript("create table a (b); insert into a values (1), (2), (3)")
        sink.operations.clear()
        yield connection


def times(sink):
    return [(op.duration_seconds, op.rows) for op in sink.operations]


QUERY = "select wait(1) from a"


@pytest.mark.parametrize("way", ["fetchall", "for", "list", "fetchmany", "unpacked"])
def test_the_rows_that_are_fetched_are_timed(slow_rows, sink, clock, way):
    """
    A query takes what all of its rows take, without what the application does in between.
    """
    cursor = slow_rows.execute(QUERY)
    clock.advance(100)
    if way == "fetchall":
        cursor.fetchall()
    elif way == "list":
        list(cursor)
    elif way == "unpacked":
        [_, _, _] = cursor
    elif way == "fetchmany":
        while cursor.fetchmany(2):
            clock.advance(100)
    else:
        for _ in cursor:
            clock.advance(100)

    assert times(sink) == [(3.0, 3)]


def test_fetchone_ends_a_query(slow_rows, sink):
    """
    A query ends with the first `fetchone()`: nobody knows whether another comes.
    """
    cursor = slow_rows.execute(QUERY)
    cursor.fetchone()

    assert times(sink) == [(2.0, 1)]


def test_further_rows_of_fetchone_are_added_to_the_request(slow_rows, sink, request_operation):
    """
    What further calls of `fetchone()` take is not in the histogram any more, but in the request's totals.
    """
    cursor = slow_rows.execute(QUERY)
    while cursor.fetchone():
        pass

    assert len(sink.operations) == 1
    assert (request_operation.totals.db_queries, request_operation.totals.db_seconds) == (1, 3.0)


@pytest.fixture
def request_operation():
    operation = HttpOperation("GET", "/plants")
    token = current.set(operation)
    yield operation
    current.reset(token)


@pytest.mark.parametrize("way", ["dropped", "closed", "executed", "executed many", "script"])
def test_a_query_ends_with_its_cursor(slow_rows, sink, way):
    """
    A query whose rows are not all fetched ends when its cursor is dropped, closed, or executes something else.
    """
    cursor = slow_rows.execute(QUERY)
    next(cursor)
    assert times(sink) == []

    if way == "dropped":
        del cursor
    elif way == "closed":
        cursor.close()
    elif way == "executed":
        cursor.execute("select 1 where 0")
    elif way == "executed many":
        cursor.executemany("delete from a where b = ?", [(7,)])
    else:
        cursor.executescript("select 1")
    assert times(sink)[0] == (2.0, 1)


def test_a_query_that_a_collection_finds_ends_before_the_next(slow_rows, sink):
    """
    A cursor in a cycle is found by the garbage collector, perhaps while a sink's lock is held: its query ends later,
    and before that of the next query.
    """
    holder = [slow_rows.execute(QUERY)]
    holder.append(holder)
    del holder
    gc.collect()
    slow_rows.execute("delete from a where b = 7")

    assert times(sink) == [(1.0, 0), (0.0, 0)]


def test_many_cursors_that_one_collection_finds(slow_rows, sink):
    """
    Seven hundred queries that a collection finds end one after the other, not one inside of the other.
    """
    gc.disable()
    for _ in range(700):
        holder = [slow_rows.execute(QUERY)]
        holder.append(holder)
    del holder
    gc.enable()
    gc.collect()

    assert slow_rows.execute("select 1").fetchone() == (1,)
    assert len(sink.operations) == 701


def test_a_query_without_rows_ends_at_once(slow_rows, sink):
    """
    A statement that gives no rows ends when it was executed, and tells how many it changed.
    """
    cursor = slow_rows.execute("update a set b = 7 where b > 1")

    assert (times(sink), cursor.rowcount) == ([(0.0, 2)], 2)


def test_an_exception_of_the_row_factory_is_no_failure_of_the_database(slow_rows, sink):
    """
    What a row factory raises leaves the fetch, the rows after it can be had, and the query counts as a good one.
    """
    cursor = slow_rows.execute(QUERY)
    cursor.row_factory = lambda cursor, row: 1 / 0
    with pytest.raises(ZeroDivisionError):
        next(cursor)
    cursor.row_factory = None
    assert cursor.fetchall() == [(None,), (None,)]

    assert [(op.error, op.duration_seconds) for op in sink.operations] == [(None, 3.0)]


def test_an_error_of_a_fetch_is_the_queries(slow_rows, sink):
    """
    An error that SQLite finds with a later row is the query's, counted once.
    """
    slow_rows.create_function("fail", 1, lambda row: 1 / 0 if row == 3 else row)
    cursor = slow_rows.execute("select fail(b) from a")
    with pytest.raises(sqlite3.OperationalError):
        cursor.fetchall()

    assert [op.error for op in sink.operations] == ["OperationalError"]


def test_a_connection_closed_in_mid_query(both, sink):
    """
    A fetch after the connection was closed raises what it did, and ends the query.
    """
    connection = sqlite3.connect(":memory:")
    cursor = connection.execute("select 1 union select 2")
    connection.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        cursor.fetchall()

    assert [op.error for op in sink.operations] == (["ProgrammingError"] if both == "instrumented" else [])


def test_a_cursor_used_in_another_thread(instrumented, sink):
    """
    A query that is executed in one thread and fetched in another is one observation.
    """
    with opened(check_same_thread=False) as connection:
        cursor = connection.execute("select 1")
        with ThreadPoolExecutor(1) as pool:
            rows = pool.submit(cursor.fetchall).result()

    assert (rows, seen(sink)) == ([(1,)], [("select", "")])


def test_a_cursor_made_by_its_class(instrumented, sink):
    """
    A cursor that was made without `cursor()`, by the class of another, works, before and after its first query.
    """
    with opened() as connection:
        cursor = type(connection.cursor())(connection)
        assert (cursor.fetchone(), cursor.fetchall(), list(cursor)) == (None, [], [])
        assert cursor.execute("select 1").fetchone() == (1,)
        type(connection.cursor())(connection).close()

    assert seen(sink) == [("select", "")]


HOSTILE = {
    "empty": "",
    "white space": " \n\t",
    "semicolon": ";",
    "comment": "-- nothing",
    "unclosed quote": "select 'abc",
    "unclosed name": 'select "abc',
    "unclosed comment": "select 1 /* abc",
    "megabyte": "select " + ",".join(["1"] * 1900) + ", '" + "x" * 1_000_000 + "'",
    "megabyte of quotes": "select '" + "'" * 1_000_000,
    "bytes": b"select 1",
    "bytearray": bytearray(b"select 1"),
    "text of its own": type("Text", (str,), {"__hash__": None})("select 1"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_a_statement_is_gives_what_it_gave(runtime, sink, name):
    """
    Odd statements give the same rows, or the same exception, with and without timing.
    """
    outcomes = []
    for factory in (sqlite3.Connection, TimedConnection):
        with opened(factory=factory) as connection:
            try:
                outcomes.append(connection.execute(HOSTILE[name]).fetchall())
            except Exception as error:
                outcomes.append((type(error), error.args))

    assert outcomes[0] == outcomes[1]
    assert len(sink.operations) == 1


def test_a_fork_counts_nothing_of_its_parent(instrumented, tmp_path):
    """
    A query that a cursor held open when the process forked is the parent's to count; the child counts its own.
    """
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        connection.executescript("create table a (b); insert into a values (1), (2)")
        cursor = connection.execute("select b from a")
        next(cursor)

        def child():
            nonlocal cursor
            del cursor
            with closing(sqlite3.connect(tmp_path / "app.db")) as own:
                own.execute("select * from a").fetchall()
            labels = {"system": "sqlite", "table": "a", "operation": "select"}
            return instrumented.value("database_query_duration_seconds_count", **labels)

        assert in_child(child) == "1.0"


def test_aiosqlite_is_timed_in_its_request(instrumented, sink, request_operation):
    """
    Queries of aiosqlite run in its thread, and count with the request that awaits them.
    """
    aiosqlite = pytest.importorskip("aiosqlite")

    async def main():
        async with aiosqlite.connect(":memory:") as connection:
            await connection.execute("create table a (b)")
            await connection.execute_insert("insert into a values (?)", (1,))
            async with connection.execute("select b from a") as cursor:
                return [row async for row in cursor]

    assert asyncio.run(main()) == [(1,)]
    assert seen(sink) == [("create", "a"), ("insert", "a"), ("select", ""), ("select", "a")]
    assert request_operation.totals.db_queries == 4
    assert all(op.root is request_operation for op in sink.operations)
