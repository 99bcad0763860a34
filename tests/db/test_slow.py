"""
Slow queries: one line, one place in memory, and the plan where it was asked for.
"""

import json
import sqlite3
import threading
from contextlib import closing

import pytest

import obskit
from obskit.context import current
from obskit.db import SlowQuery, slow_queries, slow_query_totals, slow_statements
from obskit.db.database import Database
from obskit.db.explain import EVERY_SECONDS, may_explain, postgresql_plan
from obskit.db.observe import add_fetch_time, begin, end, fail
from obskit.db.slow_log import report_plan
from obskit.db.statement import summarize
from obskit.errors import ConfigurationError
from obskit.integrations.sqlite3 import TimedConnection
from obskit.testing import isolated_runtime

SQLITE = Database("sqlite")
SECRET = "select * from plants where owner = 'ada' and pin = 1234"


def ask(seconds, sql=SECRET, error=None):
    """
    Make a query as a hooked driver would.
    """
    op = begin(SQLITE, sql)
    op.duration_seconds = seconds
    op.rows = 3
    end(op) if error is None else fail(op, error)


def told(isolated):
    return [line for line in isolated.lines if line["message"] == "slow query"]


def test_a_slow_query_has_a_line(in_request, clock):
    """
    It says what was asked, without the values, how long it took, for which route, by whom.
    """
    with isolated_runtime(clock=clock, wall_clock=lambda: 1_000_000_000.0) as isolated:
        with in_request("/plants"):
            ask(0.7)
        [line] = told(isolated)

    line.pop("query_fingerprint")
    assert line.pop("call_site").endswith("ask")
    assert line == {
        "timestamp": "2001-09-09T01:46:40.000000Z",
        "level": "ERROR",
        "logger": "obskit.performance",
        "message": "slow query",
        "service": isolated.settings.service,
        "correlation_id": "id-7",
        "query_ms": 700.0,
        "db_system": "sqlite",
        "query_summary": "select plants",
        "query_text": "select * from plants where owner = ? and pin = ?",
        "rows": 3,
        "route": "/plants",
    }


@pytest.mark.parametrize(
    ("seconds", "settings", "level"),
    [
        (0.099, {}, None),
        (0.1, {}, "WARNING"),
        (0.499, {}, "WARNING"),
        (0.5, {}, "ERROR"),
        (0.3, {"slow_query_warning_ms": None}, None),
        (0.6, {"slow_query_warning_ms": None}, "ERROR"),
        (9.0, {"slow_query_ms": None}, "WARNING"),
        (9.0, {"slow_query_ms": None, "slow_query_warning_ms": None}, None),
        (0.06, {"slow_query_ms": 50}, "ERROR"),
        (0.0, {"slow_query_warning_ms": 0}, "WARNING"),
    ],
)
def test_thresholds_are_settings(clock, seconds, settings, level):
    """
    From 100 ms on a query is a WARNING, from 500 ms on an ERROR; each can be moved, and turned off.
    """
    with isolated_runtime(clock=clock, **settings) as isolated:
        ask(seconds)

        assert [line["level"] for line in told(isolated)] == ([level] if level else [])


def test_rows_that_make_a_query_slow_are_told_of_once(clock):
    """
    A query that becomes slow with rows after its first is told of then, once.
    """
    with isolated_runtime(clock=clock) as isolated:
        op = begin(SQLITE, SECRET)
        end(op)
        assert told(isolated) == []
        for _ in range(3):
            add_fetch_time(op, 0.06)

        assert [line["query_ms"] for line in told(isolated)] == [120.0]


def test_a_failed_query_says_so(clock):
    """
    A slow query that raised names the class.
    """
    with isolated_runtime(clock=clock) as isolated:
        ask(0.7, error=sqlite3.OperationalError("database is locked"))

        assert [line["error"] for line in told(isolated)] == ["OperationalError"]


def test_a_slow_block_is_told_of(clock):
    """
    A slow `observe_db` is a slow query, named by its labels.
    """
    with isolated_runtime(clock=clock) as isolated:
        with obskit.observe_db("plants", "select"):
            clock.advance(1)

        assert [line["query_summary"] for line in told(isolated)] == ["select plants"]


def test_it_has_the_ids_of_its_request_wherever_it_ends(in_request, clock):
    """
    A query that ends outside of its request's context is told of with the ids of its request.
    """
    with isolated_runtime(clock=clock) as isolated:
        with in_request():
            op = begin(SQLITE, SECRET)
            op.duration_seconds = 0.7
        end(op)

        assert [line["correlation_id"] for line in told(isolated)] == ["id-7"]
        assert current.get() is None


def test_the_last_hundred_are_kept(clock):
    """
    The last 100 are there for pages, as dicts too; `shutdown()` forgets them.
    """
    with isolated_runtime(clock=clock):
        for number in range(150):
            ask(1 + number / 1000)
        kept = slow_queries()

        assert [query.duration_ms for query in kept] == [1000.0 + number for number in range(50, 150)]
        assert kept[0].to_dict()["text"] == "select * from plants where owner = ? and pin = ?"
    assert slow_queries() == []


def test_the_slowest_come_first(clock):
    """
    The slowest since the start are kept whenever they were, also where a hundred others came since.
    """
    with isolated_runtime(clock=clock):
        for milliseconds in (700, 9000, 800, 9000, *range(500, 650)):
            ask(milliseconds / 1000)
        slowest, latest = slow_queries(slowest=20), slow_queries()
        every = slow_queries(slowest=1000)

    assert [query.duration_ms for query in slowest] == [9000, 9000, 800, 700, *range(649, 633, -1)]
    assert [query.duration_ms for query in latest] == [*range(550, 650)]
    assert [query.duration_ms for query in every] == sorted((query.duration_ms for query in every), reverse=True)
    assert len(every) == 100
    assert (slow_queries(slowest=20), slow_statements()) == ([], [])


@pytest.mark.parametrize("slowest", [0, -1, 1.5, "20", True])
def test_a_number_of_slowest_that_cannot_be_is_refused(slowest):
    """
    Anything but a whole number above 0 is an error that says so.
    """
    with pytest.raises(ConfigurationError, match="expected a whole number above 0"):
        slow_queries(slowest=slowest)


def test_statements_are_added_up_by_fingerprint(in_request, clock):
    """
    Queries that differ in values only are one statement, and what took the most time together comes first.
    """
    with isolated_runtime(clock=clock, wall_clock=clock):
        ask(2.0, "delete from pots where id = 7")
        for seconds in (0.5, 0.75, 1.25):
            clock.advance(60)
            with in_request("/plants"):
                ask(seconds, f"select * from plants where id = {seconds}")
        with obskit.observe_db("ferns", "report"):
            clock.advance(1)
        ask(0.1, "update pots set size = 1", error=sqlite3.OperationalError("database is locked"))
        first, *others = slow_statements()

    assert [(one.summary, one.count, one.errors, one.total_ms) for one in (first, *others)] == [
        ("select plants", 3, 0, 2500.0),
        ("delete pots", 1, 0, 2000.0),
        ("report ferns", 1, 0, 1000.0),
        ("update pots", 1, 1, 100.0),
    ]
    assert (first.mean_ms, first.min_ms, first.max_ms) == (833.333, 500.0, 1250.0)
    assert (first.first_at, first.last_at) == (160.0, 280.0)
    assert (first.system, first.database, first.text) == ("sqlite", None, "select * from plants where id = ?")
    assert (first.slowest.duration_ms, first.slowest.route, first.slowest.tables) == (1250.0, "/plants", ("plants",))
    assert first.fingerprint == first.slowest.fingerprint != ""
    assert json.loads(json.dumps(first.to_dict()))["slowest"]["duration_ms"] == 1250.0


def test_a_plan_stays_with_its_statement(clock):
    """
    A statement is asked about now and then: its plan is there whichever query was the slowest, and when it came later.
    """
    with isolated_runtime(clock=clock):
        for seconds, plan in ((1.0, "SCAN plants"), (3.0, None)):
            op = begin(SQLITE, SECRET)
            op.duration_seconds = seconds
            op.explain = lambda found, plan=plan: setattr(found, "plan", plan)
            end(op)
        [first] = slow_statements()
        report_plan(slow_queries()[0], "SEARCH plants")
        [later] = slow_statements()

    assert (first.plan, first.slowest.plan, later.plan) == ("SCAN plants", None, "SEARCH plants")


def test_statements_of_two_databases_stand_apart(clock):
    """
    What two databases are asked alike is two statements.
    """
    with isolated_runtime(clock=clock):
        for name in ("shop", "stock", "shop"):
            op = begin(Database("sqlite", alias=name), SECRET)
            op.duration_seconds = 1.0
            end(op)

        assert [(one.database, one.count) for one in slow_statements()] == [("shop", 2), ("stock", 1)]


def test_statements_beyond_the_bound_are_added_up(clock):
    """
    Of any number of statements 500 are kept, those that took the most, and the rest is one: nothing is lost.
    """
    with isolated_runtime(clock=clock):
        for number in range(1, 1201):
            ask(number / 10, f"select * from table_{number}")
        *found, rest = slow_statements()

    assert (rest.summary, rest.fingerprint, rest.text) == ("(others)", "", "")
    assert len(found) <= slow_query_totals.MAX_STATEMENTS
    assert sum(one.count for one in found) + rest.count == 1200
    assert sum(one.total_ms for one in found) + rest.total_ms == pytest.approx(100 * 1200 * 1201 / 2)
    assert found[0].summary == "select table_1200"
    assert min(one.total_ms for one in found) > rest.max_ms


def test_a_query_that_ends_inside_is_taken_afterwards():
    """
    A slow query that a finaliser tells of while another is being kept is kept after it, and none is lost or twice.
    """
    kept = slow_query_totals.SlowQueryTotals()

    class Nested(dict):
        def get(self, key):
            if len(kept._pending) == 0 and kept._count < 3:
                kept.add(query(kept._count))
                assert kept.latest() == [*kept._latest]
            return super().get(key)

    def query(number):
        return SlowQuery(number, 100.0 + number, "sqlite", "s", "t", f"f{number}", *[None] * 5)

    kept._statements = Nested()
    kept.add(query(0))
    totals, rest = kept.by_statement()

    assert ([total.slowest.duration_ms for total in totals], rest) == ([100, 101, 102], None)
    assert [one.duration_ms for one in kept.slowest()] == [102, 101, 100]


def test_threads_lose_no_slow_query(clock):
    """
    Slow queries of eight threads, read meanwhile, are all added up.
    """
    with isolated_runtime(clock=clock):
        threads = [
            threading.Thread(target=lambda n=n: [ask(1.0, f"select * from t{n}") for _ in range(50)]) for n in range(8)
        ]
        for thread in threads:
            thread.start()
        seen = [sum(one.count for one in slow_statements()) for _ in range(20)]
        for thread in threads:
            thread.join()
        found = {one.summary: one.count for one in slow_statements()}

    assert seen == sorted(seen)
    assert found == {f"select t{n}": 50 for n in range(8)}


def test_a_failure_to_tell_is_counted():
    """
    What goes wrong while a slow query is told of does not reach the application.
    """
    with isolated_runtime(strict=False) as isolated:
        op = begin(SQLITE, SECRET)
        op.duration_seconds, op.rows = 1.0, 3
        op.explain = lambda found: 1 / 0
        end(op)

        assert isolated.value("obskit_errors_total", sink="explain") == 1.0
        assert len(told(isolated)) == 1


# Plans.


@pytest.fixture
def plants():
    with closing(sqlite3.connect(":memory:", factory=TimedConnection)) as connection:
        connection.execute("create table plants (id integer primary key, name text)")
        yield connection


def plans(sql, plants, *parameters, **settings):
    with isolated_runtime(slow_query_warning_ms=0, **settings):
        plants.execute(sql, *parameters).fetchall()
        return [query.plan for query in slow_queries()]


def test_sqlite_is_asked_for_its_plan(plants):
    """
    With `explain_slow_queries` a slow SELECT says how SQLite runs it, whatever row factory the connection has.
    """
    plants.row_factory, plants.text_factory = sqlite3.Row, bytes

    assert plans("select * from plants where id = ?", plants, (7,), explain_slow_queries=True) == [
        "SEARCH plants USING INTEGER PRIMARY KEY (rowid=?)"
    ]


def test_a_new_runtime_asks_anew(plants):
    """
    What another one has asked about of late does not keep this one from it.
    """
    asked = [plans("select * from plants", plants, explain_slow_queries=True) for _ in range(2)]

    assert asked == [["SCAN plants"], ["SCAN plants"]]


def test_nobody_asks_without_being_asked(plants):
    """
    Off by default: no statement runs that the application did not make.
    """
    traced = []
    plants.set_trace_callback(traced.append)

    assert plans("select * from plants", plants) == [None]
    assert traced == ["select * from plants"]


def test_a_writing_statement_is_not_explained(plants):
    """
    A statement that writes is never asked about, nor run again.
    """
    assert plans("insert into plants (name) values ('fern') returning id", plants, explain_slow_queries=True) == [None]
    assert plants.execute("select count(*) from plants").fetchone() == (1,)


def test_explaining_leaves_the_transaction_alone(plants):
    """
    What is not committed is seen by the plan, and can still be taken back.
    """
    plants.commit()
    plants.execute("insert into plants (name) values ('fern')")
    assert plans("select name from plants", plants, explain_slow_queries=True) == ["SCAN plants"]
    assert plants.in_transaction
    plants.rollback()

    assert plants.execute("select count(*) from plants").fetchone() == (0,)


@pytest.mark.parametrize(
    "sql",
    [
        "insert into a values (1)",
        "with x as (delete from a returning *) select * from x",
        "select * into b from a",
        "select * from a for update",
        "select 1; drop table a",
        "explain select 1",
        "frobnicate",
        "select '" + "x" * 20_000,
    ],
)
def test_what_might_write_may_not_be_explained(sql):
    """
    Writes, writing CTEs, locks, several statements, and what was cut are left alone.
    """
    assert not may_explain(summarize(sql))


def test_a_statement_is_explained_once_in_ten_minutes(clock):
    """
    A statement that is slow all day is asked about six times an hour.
    """
    statement = summarize("select * from explained_once")
    with isolated_runtime(clock=clock):
        assert [may_explain(statement), may_explain(statement)] == [True, False]
        clock.advance(EVERY_SECONDS)
        assert may_explain(statement)


def test_a_plan_of_postgresql_has_no_values():
    """
    The conditions of a plan hold the query's values: they are taken out.
    """
    scan = {"Node Type": "Index Scan", "Relation Name": "plants", "Index Name": "plants_pkey", "Total Cost": 8.3,
            "Plan Rows": 1, "Index Cond": "(id = 4711)", "Filter": "((owner)::text = 'ada'::text)"}  # fmt: skip
    answer = [{"Plan": {"Node Type": "Limit", "Total Cost": 8.3, "Plan Rows": 1, "Plans": [scan]}}]

    assert postgresql_plan(answer) == (
        "Limit (cost 8, rows 1)\n"
        "  Index Scan using plants_pkey on plants (cost 8, rows 1) "
        "Index Cond: (id = ?) Filter: ((owner)::text = ?::text)"
    )
