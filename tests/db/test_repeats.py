"""
N+1: the same statement from the same line, more than so many times in one request.
"""

import sqlite3
import threading
from contextlib import closing
from contextvars import copy_context

import pytest

import obskit
from obskit.db import summarize
from obskit.db.database import Database
from obskit.db.n_plus_one import is_allowed
from obskit.db.observe import begin, end
from obskit.testing import FakeClock, RecordingSink, isolated_runtime, max_queries, no_n_plus_one

# Make a query as a hooked driver would; the file's name says that it is no application's.
HOOK = "def ask(sql): end(begin(source, sql))"
hook = {"begin": begin, "end": end, "source": Database("sqlite")}
exec(compile(HOOK, "<driver>", "exec"), hook)
ask = hook["ask"]


def told(isolated):
    return [line for line in isolated.lines if line["message"] == "n+1 queries"]


def room(number):
    ask(f"select * from rooms where id = {number}")


def test_the_same_statement_from_one_line_is_told_of_once(in_request):
    """
    A request that asks for rooms one by one gives one line with the call site and the count, and one in the metric.
    """
    with isolated_runtime(clock=FakeClock()) as isolated:
        with in_request("/rooms"):
            for number in range(20):
                room(number)
            assert told(isolated) == []
        [line] = told(isolated)

        assert (line["level"], line["logger"], line["count"], line["route"]) == (
            "WARNING", "obskit.performance", 20, "/rooms",
        )  # fmt: skip
        assert line["call_site"].endswith(f"test_repeats.py:{room.__code__.co_firstlineno + 1} room")
        assert (line["query_summary"], line["query_text"]) == ("select rooms", "select * from rooms where id = ?")
        assert line["correlation_id"] == "id-7"
        assert isolated.value("database_n_plus_one_total", endpoint="/rooms") == 1.0


@pytest.mark.parametrize(("times", "lines"), [(5, 0), (6, 1)])
def test_five_times_are_nothing_special(in_request, times, lines):
    """
    Only more than `n_plus_one` times are told of, 5 by default.
    """
    with isolated_runtime() as isolated:
        with in_request():
            for number in range(times):
                room(number)

        assert len(told(isolated)) == lines


def test_other_lines_count_for_themselves(in_request):
    """
    The same statement from several lines, few times from each, is not N+1.
    """
    with isolated_runtime() as isolated:
        with in_request():
            for _ in range(3):
                room(1)
                ask("select * from rooms where id = 2")
                ask("select * from rooms where id = 3")

        assert told(isolated) == []


def test_other_statements_count_for_themselves(in_request):
    """
    A line that makes different statements is not N+1.
    """
    with isolated_runtime() as isolated:
        with in_request():
            for number in range(20):
                ask(f"select * from table_{'x' * number}")

        assert told(isolated) == []


def test_each_request_counts_for_itself(in_request):
    """
    Many requests that ask once are not N+1, and neither is a job outside of a request.
    """
    with isolated_runtime() as isolated:
        for _ in range(20):
            with in_request():
                room(1)
        with obskit.observe("job"):
            for _ in range(20):
                room(1)

        assert told(isolated) == []


def test_threads_of_a_request_count_together(in_request):
    """
    Queries of a request in several threads are its own, and none is lost.
    """

    def work():
        for number in range(100):
            room(number)

    with isolated_runtime() as isolated:
        with in_request() as operation:
            threads = [threading.Thread(target=copy_context().run, args=(work,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        assert operation.totals.db_queries == 400
        assert [line["count"] >= 390 for line in told(isolated)] == [True]


@pytest.mark.parametrize("allowed", ["test_repeats.py", "db/test_repeats.py", "room"])
def test_call_sites_can_be_allowed(in_request, allowed):
    """
    A file, or a function, on the list may repeat what it likes.
    """
    with isolated_runtime(n_plus_one_allow=["other.py", allowed]) as isolated:
        with in_request():
            for number in range(20):
                room(number)

        assert told(isolated) == []


def test_a_line_can_be_allowed():
    """
    An entry with a line allows this line alone; a part of a name allows nothing.
    """
    assert is_allowed("shop/views.py:42 devices", ["shop/views.py:42"])
    assert not is_allowed("shop/views.py:43 devices", ["shop/views.py:42"])
    assert not is_allowed("workshop/views.py:42 devices", ["shop/views.py"])
    assert not is_allowed("shop/views.py:42 devices", ["device", "views"])


@pytest.mark.parametrize("settings", [{"n_plus_one": None}, {"enabled": False}])
def test_it_can_be_off(in_request, settings):
    """
    `n_plus_one=None` counts nothing and tells nothing.
    """
    with isolated_runtime(**settings) as isolated:
        with in_request() as operation:
            for number in range(20):
                room(number)

        assert told(isolated) == []
        assert operation.totals is None or operation.totals.repeats is None


def test_what_is_not_understood_is_not_n_plus_one(in_request):
    """
    Statements of which nothing is known are not taken for one another.
    """
    with isolated_runtime() as isolated:
        with in_request():
            for number in range(20):
                ask(f"frobnicate {number}")

        assert told(isolated) == []


def test_memory_is_bounded(in_request):
    """
    A request that repeats thousands of statements keeps a thousand places.
    """
    with isolated_runtime(), in_request() as operation:
        for number in range(1500):
            for _ in range(2):
                ask(f"select a{number} from t")

        assert len(operation.totals.repeats.sites) == 1000


# Users' tests.


def test_max_queries_lets_through_what_is_allowed():
    """
    A block that makes as many queries as it may passes, and says how many there were.
    """
    with isolated_runtime(), max_queries(2) as queries:
        room(1)
        with obskit.observe_db("plants", "select"):
            pass

    assert len(queries) == 2


def test_max_queries_names_what_was_too_much():
    """
    The error lists the queries with the lines that asked for them.
    """

    def too_much():
        with max_queries(1):
            room(1)
            room(2)
            ask("delete from plants")

    with isolated_runtime(), pytest.raises(AssertionError) as caught:
        too_much()
    message = str(caught.value)

    assert message.startswith("3 queries were made, and 1 are allowed:\n  2 x select rooms  ")
    assert "test_repeats.py" in message
    assert "1 x delete plants" in message


def test_max_queries_lets_the_blocks_own_exception_out():
    """
    What the block raises is not covered up.
    """

    def breaks():
        with max_queries(0):
            room(1)
            raise KeyError

    with isolated_runtime(), pytest.raises(KeyError):
        breaks()


@pytest.mark.parametrize("helper", [lambda: max_queries(1), no_n_plus_one])
def test_a_helper_without_a_runtime_is_an_error(helper):
    """
    Where nothing is observed nothing is counted, and that is no success.
    """
    with pytest.raises(obskit.ConfigurationError, match="no runtime is active"), helper():
        pass


def test_a_runtime_may_start_inside_of_the_block():
    """
    Queries are counted in a runtime that starts in the block, and in the one that stood before.
    """
    with max_queries(3) as queries:
        with isolated_runtime():
            room(1)
        with isolated_runtime():
            room(1)
            with pytest.raises(AssertionError), max_queries(0):
                room(1)
        obskit.configure(access_log=False, metrics=False)
    obskit.shutdown()

    assert len(queries) == 3


def test_nothing_stays_of_the_helpers():
    """
    After a block its queries are counted no more, and the plan is as it was.
    """
    sink = RecordingSink()
    with isolated_runtime(sinks=[sink]):
        with max_queries(1) as queries:
            room(1)
        room(2)

    assert (len(queries), len(sink.begun), len(sink.operations)) == (1, 2, 2)


def test_no_n_plus_one_fails_with_the_line():
    """
    A block that repeats a statement fails, with the count and the line.
    """

    def repeat():
        with no_n_plus_one():
            for number in range(6):
                room(number)

    with isolated_runtime(), pytest.raises(AssertionError) as caught:
        repeat()

    assert str(caught.value).startswith("the same statement from the same line, more than 5 times:\n  6 x select rooms")


def test_no_n_plus_one_can_be_stricter_and_allow():
    """
    `limit` finds N+1 with few rows; `allow` and the setting name what may.
    """

    def twice(**options):
        with no_n_plus_one(**options):
            for number in range(2):
                room(number)

    with isolated_runtime(n_plus_one_allow=["elsewhere.py"]):
        twice()
        twice(limit=1, allow=["room"])
        with pytest.raises(AssertionError, match="more than 1 times"):
            twice(limit=1)
    with isolated_runtime(n_plus_one_allow=["room"]):
        twice(limit=1)


PLACEHOLDERS = ["?", "%s", "%(id_{n})s", "$1", ":id_{n}", "CAST(? AS INTEGER)", "$1::UUID", "lower(%s)", "({n}, 'x')"]


def items(item, count):
    return ", ".join(item.format(n=n) for n in range(count))


BATCHES = [
    *(f"select * from rooms where id in ({items(item, 21)})" for item in (*PLACEHOLDERS, "{n}", "'a,{n}'")),
    "select * from rooms where id not in (1, 2) and building in (" + items("?", 21) + ") and floor = ?",
    "select * from rooms where id in (" + items("'{n}'", 9000) + ")",
    "select * from rooms where id in (" + items("?", 9000) + ")",
    "insert into rooms (name) values (?), (?)",
    "insert into rooms (name, at) values ('x', coalesce(cast(? as date), now())), ('y', null)",
    "insert into rooms select p0::int from (values ($1::int, 0), ($2::int, 1)) as s(p0, n) returning id",
    "insert into rooms (name) select ? union all select ?",
    "insert into rooms (name) select * from unnest(%s)",
    "update rooms set name = case when id = ? then ? else name end where id in (" + items("?", 21) + ")",
    *("savepoint s1", "release savepoint s1", "rollback to savepoint s1"),
    "insert into rooms values row(1, 'x'), row(2, 'y')",
    "insert all into rooms values (:1) into rooms values (:2) select * from dual",
    *(f"select * from rooms where id = {any_of}" for any_of in ("any($1)", "ANY (%s)", "any(%(ids)s)", "some(:ids)")),
    *(f"select * from rooms where id = any({ids})" for ids in ("$1::int[]", "cast(? as uuid[])", "(%s)", "'{1,2}'")),
    "select * from rooms join unnest($1::int[]) as wanted(id) using (id)",
    "update rooms set name = new.name from unnest($1, $2) as new(id, name) where rooms.id = new.id",
    "insert into rooms (name) select name from jsonb_to_recordset(%s) as new(name text)",
    "select * from rooms where id in (select value from json_each(?))",
    "select * from rooms where id in (select value from openjson(@ids))",
]
ONE_BY_ONE = [
    *(f"select * from rooms where id in ({items(item, 20)})" for item in (*PLACEHOLDERS, "{n}", "'a,{n}'")),
    "insert into rooms (name) values (?)",
    "select * from rooms where id in (select room from plants where kind in (1, 2))",
    "select * from rooms where id = any(select room from plants where id = $1)",
    "select * from rooms where id = $1 and $2 = any(kinds)",
    "select * from rooms where id = $1 and kind <> all($2)",
    "select value from rooms, json_each(rooms.plants) where id = ?",
    "select a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w from rooms where id = ?",
]


@pytest.mark.parametrize("sql", BATCHES, ids=lambda sql: sql[:60])
def test_the_remedy_is_no_fault(in_request, sql):
    """
    What asks for much at once, or writes several rows, is no N+1 however often it comes; nor are savepoints.
    """
    with isolated_runtime() as isolated, no_n_plus_one(limit=1):
        with in_request():
            for _ in range(10):
                ask(sql)

        assert told(isolated) == []


@pytest.mark.parametrize("sql", ONE_BY_ONE, ids=lambda sql: sql[:60])
def test_short_lists_are_asked_one_by_one(in_request, sql):
    """
    Up to twenty items are no batch, and a subquery, a column and what is left out are no list.
    """
    with isolated_runtime() as isolated:
        with in_request():
            for _ in range(10):
                ask(sql)

        assert [line["count"] for line in told(isolated)] == [10]


@pytest.mark.parametrize("item", ["$1", "$1::int", "{n}"])
def test_long_arrays_of_postgresql_are_batches(item):
    """
    An ARRAY counts as a list of an IN does.
    """
    sql = "select * from rooms where id = any(array[{}])"

    assert [summarize(sql.format(items(item, count))).is_batch for count in (20, 21)] == [False, True]


def test_batches_do_not_stand_for_what_is_asked_one_by_one(in_request):
    """
    The same statement with a long and with a short list has one fingerprint, and only the short ones are counted.
    """
    with isolated_runtime() as isolated:
        with in_request():
            for number in range(12):
                ask(f"select * from rooms where id in ({items('?', 30 if number % 2 else 3)})")

        assert [line["count"] for line in told(isolated)] == [6]


def test_many_rows_by_one_call_of_the_driver_are_a_batch(in_request):
    """
    `executemany()` does the work of many statements, and so is none that is repeated.
    """
    with isolated_runtime() as isolated:
        obskit.instrument_sqlite3()
        with in_request(), closing(sqlite3.connect(":memory:")) as connection:
            connection.execute("create table rooms (id)")
            for _ in range(10):
                connection.executemany("insert into rooms values (?)", [(1,), (2,)])
        obskit.uninstrument_sqlite3()

        assert told(isolated) == []


def test_marks_in_a_transaction_are_no_queries(in_request):
    """
    A request's queries do not count its savepoints.
    """
    with isolated_runtime(), max_queries(1):
        with in_request() as op:
            for sql in ("savepoint a", "select 1", "rollback to a", "release a"):
                ask(sql)

        assert op.totals.db_queries == 1
