"""
What a statement does, to which tables, and what is kept of it.
"""

import os
import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.db import Statement, statement, summarize
from obskit.db.database import Database
from obskit.db.fingerprint import shape
from obskit.db.sql_masking import lexicon, mask
from obskit.db.sql_summary import MAX_READ_TOKENS, MAX_SUMMARY_LENGTH, read, scan
from obskit.db.statement import MAX_READ_LENGTH, TRUNCATED, UNKNOWN_STATEMENT, StatementCache, statement_cache
from obskit.testing import isolated_runtime

DIALECTS = ("postgresql", "sqlite", "mysql", "standard")


def operation_and_table(sql, dialect="postgresql"):
    return summarize(sql, dialect)[:2]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT * FROM devices", ("select", "devices")),
        ("select 1", ("select", "")),
        ("insert into devices (a) values (?)", ("insert", "devices")),
        ("INSERT OR REPLACE INTO devices VALUES (1)", ("insert", "devices")),
        ("replace into devices values (1)", ("replace", "devices")),
        ("update or ignore devices set a = 1", ("update", "devices")),
        ("delete from only devices", ("delete", "devices")),
        ("delete d from devices d join x on d.a = x.a", ("delete", "devices")),
        ("merge into devices using x on 1", ("merge", "devices")),
        ("truncate table devices", ("truncate", "devices")),
        ("create temp table if not exists devices (a)", ("create", "devices")),
        ("create unique index i on devices (a)", ("create", "devices")),
        ("create trigger t after update of a on devices begin select 1 from x; end", ("create", "devices")),
        ("create definer=`a`@`b` view devices as select * from x", ("create", "devices")),
        ("alter table devices add b", ("alter", "devices")),
        ("drop table if exists devices", ("drop", "devices")),
        ("drop index i", ("drop", "")),
        ("copy devices (a) from stdin", ("copy", "devices")),
        ("copy (select * from devices) to stdout", ("copy", "devices")),
        ("explain (analyze, buffers) select * from devices", ("explain", "devices")),
        ("vacuum analyze devices", ("vacuum", "devices")),
        ("refresh materialized view concurrently devices", ("refresh", "devices")),
        ("lock table devices in exclusive mode", ("lock", "devices")),
        ("grant select on devices to ada", ("grant", "devices")),
        ("comment on table devices is 'x'", ("comment", "devices")),
        ("pragma table_info(devices)", ("pragma", "")),
        ("BEGIN IMMEDIATE", ("begin", "")),
        ("savepoint a", ("savepoint", "")),
        ("vacuum (analyze, verbose) devices", ("vacuum", "devices")),
        ("analyze (verbose) devices", ("analyze", "devices")),
        ("cluster (verbose) devices using by_name", ("cluster", "devices")),
        ("table devices", ("table", "devices")),
        ("table only app.devices order by name", ("table", "devices")),
        ("with a as (select * from devices) table a", ("table", "devices")),
        ("select * from devices union table old", ("select", "devices")),
        ("{call p(?)}", ("call", "")),
        ("{? = call p(?, ?)}", ("call", "")),
        ("from devices", ("select", "devices")),
        ("from devices select name where id = 1", ("select", "devices")),
        ("with a as (from devices) from a", ("select", "devices")),
        ("select trim(from name) from devices", ("select", "devices")),
        ("summarize devices", ("summarize", "devices")),
        ("check table devices", ("check", "devices")),
        ("upsert into devices values (1)", ("upsert", "devices")),
        ("declare c cursor for select * from devices", ("declare", "devices")),
        ("set search_path to x", ("set", "")),
        ("values (1)", ("values", "")),
    ],
)
def test_verb_and_table_of_each_kind_of_statement(sql, expected):
    """
    The verb comes in lower case and the table as it is written; what is not known is an empty string.
    """
    assert expected == operation_and_table(sql)


@pytest.mark.parametrize(
    ("sql", "dialect"),
    [
        ('select * from "devices"', "postgresql"),
        ("select * from `devices`", "mysql"),
        ("select * from [devices]", "sqlite"),
        ("select * from main.devices", "sqlite"),
        ('select * from "app" . "devices"', "postgresql"),
        ("select * from dbo..devices", "microsoft.sql_server"),
        ("-- select * from x\n/* from y */ select /* from z */ * from/**/devices", "postgresql"),
        ("select 'from x', 'it''s from y' from devices", "postgresql"),
        (r"select E'it\'s from x' from devices", "postgresql"),
        ("select $$ from x $$, $a$ from y $a$ from devices", "postgresql"),
        ("select extract(year from ts), trim(both ' ' from x) from devices", "postgresql"),
        ("select (select max(a) from x) from devices", "postgresql"),
        ("select a is distinct from b, c is not distinct from d from devices", "postgresql"),
        ("select a, data #>> '{b}' from devices", "postgresql"),
        ("select * from (select * from devices) d union select * from x", "postgresql"),
        ("select * from (devices join x on 1)", "postgresql"),
        ("select * from devices, x", "postgresql"),
        ("select * from generate_series(1, 9) n, devices", "postgresql"),
        ("select * from lateral (select * from devices) d", "postgresql"),
        ("(select 1 from devices) union select 2 from x", "postgresql"),
        ("with a as (select * from devices) select * from a where b in (select b from x)", "postgresql"),
        ("with recursive a(n) as (select n from devices union all select n from a) select n from a", "postgresql"),
        ("with a as (select 1), b(c, d) as materialized (select * from a) select * from devices, a", "postgresql"),
        ("with a as (select n from devices union all select n from a) select n from a", "sqlite"),
        ("with devices as (select * from devices) select * from devices", "postgresql"),
        ("select * from devices for update of x, y", "postgresql"),
        ("select * from devices with (nolock), x", "microsoft.sql_server"),
        ("select * from devices; select * from x", "postgresql"),
        (b"select * from devices", "postgresql"),
        (bytearray(b"select * from devices"), "postgresql"),
    ],
)
def test_the_main_table_of_a_select(sql, dialect):
    """
    Comments, literals, quotes, schemas, functions, subqueries and common table expressions do not hide it.
    """
    assert ("select", "devices") == operation_and_table(sql, dialect)


def test_the_verb_behind_common_table_expressions():
    """
    A writing statement behind WITH gives its own verb and table.
    """
    sql = "with a as (delete from x returning *) insert into devices select * from a"

    assert ("insert", "devices") == operation_and_table(sql)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ('select * from a.b join C on 1 left join "d e" using (x), `f`, a.b', ("a.b", "C", '"d e"', "`f`")),
        ("select * from a . b", ("a.b",)),
        ("insert into a select * from b, (select * from c where d in (select e from f)) g", ("a", "b", "c", "f")),
        ("update a set b = c.d from c where e in (select f from g)", ("a", "c", "g")),
        ("update a, b set a.c = b.c", ("a", "b")),
        ("delete from a using b join c using (d) where e", ("a", "b", "c")),
        ("merge into a using b on c when matched then update set d = e, f = g", ("a", "b")),
        (
            "with a as (select * from b), c as (select 1 from a join d on 1) select 1 from c join e on 1",
            ("b", "d", "e"),
        ),
        ("create table a as select * from b", ("a", "b")),
        ("create table a (b int references c (d))", ("a", "c")),
        ("create table a partition of b for values from (1) to (2)", ("a", "b")),
        ("select a into b from c", ("b", "c")),
        ("drop table a, b, c.d", ("a", "b", "c.d")),
        ("truncate a, b", ("a", "b")),
        ("alter table a rename to b", ("a", "b")),
        ("select 1 from a; insert into b values (2); with c as (select 1) select * from d, c", ("a", "b", "d")),
        ("select * from a lateral view explode(b) c as d, e", ("a",)),
        ("select * from a union all select * from b order by c, d", ("a", "b")),
        ("select * from a left join b on c in (select d from e) or f, g", ("a", "b", "e", "g")),
        ("select grant, update, call from a", ("a",)),
        ("if a begin drop table b; end", ()),
    ],
)
def test_the_tables_of_a_statement(sql, expected):
    """
    Tables come once each, in their order and as written; common table expressions and aliases are none.
    """
    assert expected == summarize(sql).tables


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ('select * from "a b" join c on 1', 'select "a b" c'),
        ("SELECT Id FROM Customers UNION ALL SELECT Id FROM Suppliers", "SELECT Customers Suppliers"),
        ("(SELECT Id FROM Customers) UNION (SELECT Id FROM Suppliers)", "SELECT Customers Suppliers"),
        ("WITH a AS (SELECT 1 FROM b) UPDATE c SET d = (SELECT e FROM f)", "SELECT b UPDATE c SELECT f"),
        ("EXPLAIN SELECT 1 FROM a", "EXPLAIN SELECT a"),
        ("CREATE UNIQUE CLUSTERED INDEX i ON t (a)", "CREATE INDEX i"),
        ("CREATE TABLE IF NOT EXISTS t (a INT)", "CREATE TABLE t"),
        ("CREATE OR REPLACE MATERIALIZED VIEW v AS SELECT * FROM t", "CREATE VIEW v"),
        ("CREATE TRIGGER g ON t AFTER UPDATE AS BEGIN UPDATE t SET a = 1; END", "CREATE TRIGGER g"),
        ("CREATE PROCEDURE p @a INT AS SELECT * FROM t", "CREATE PROCEDURE p"),
        ("CREATE FUNCTION dbo.f(@a INT) RETURNS INT AS BEGIN RETURN @a; END", "CREATE FUNCTION dbo.f"),
        ("CREATE USER ada WITH PASSWORD = 'x'", "CREATE USER ada"),
        ("ALTER SEQUENCE s RESTART WITH 100", "ALTER SEQUENCE s"),
        ("ALTER TABLE t ADD COLUMN c INT; SELECT 1 FROM u", "ALTER TABLE t SELECT u"),
        ("DROP SCHEMA IF EXISTS s", "DROP SCHEMA s"),
        ("EXEC sp_rename 'a', 'b'", "EXEC sp_rename"),
        ("call p(1)", "call p"),
        ("PRAGMA journal_mode", "PRAGMA journal_mode"),
        ("SAVEPOINT s139_x1", "SAVEPOINT"),
        ("VACUUM (ANALYZE) t", "VACUUM t"),
        ("TABLE t", "TABLE t"),
        ("{call p(?)}", "call p"),
        ("FROM t", "SELECT t"),
        ("FROM t JOIN u USING (a) SELECT b", "SELECT t u"),
        ("FROM t UNION TABLE u", "SELECT t u"),
        ("SELECT * FROM t AS t1, t AS t2", "SELECT t t"),
        ("SELECT TOP (10) * FROM t", "SELECT t"),
        ("SELECT * FROM t WHERE a IN ('b', 0xAB,", "SELECT t"),
        ("SELECT * FROM 'bob'", "SELECT"),
        ("", ""),
    ],
)
def test_the_summary(sql, expected):
    """
    Operations and targets come as written; a definition has its kind and name, a UNION is one operation.
    """
    assert expected == summarize(sql, "other_sql").summary


@pytest.mark.parametrize(("length", "count"), [(246, 3), (247, 2), (248, 2), (249, 1), (255, 1), (300, 1)])
def test_a_long_summary_is_cut_between_names(length, count):
    """
    A summary has at most 255 characters, and no name is cut; what is behind the first one left out is left out too.
    """
    parts = ["SELECT", "a" * length, "b"]

    assert " ".join(parts[:count]) == summarize(f"SELECT * FROM {parts[1]}, b").summary


@pytest.mark.parametrize(
    "sql",
    [
        "select 1 from 'bob'",
        r"select 'it\'s from bob'",
        r"select 'a\'', 'from bob'",
        "select 'open from bob",
        'select "open from bob',
        "select /* open from bob",
        "/* a /* b */ ' */ select ' from bob '",
        "select $x$ from bob",
        "select 1 # it's\n, ' from bob '",
        "select * from ?",
        "select * from :bob",
        "select * from %(bob)s",
        "select * from json_each('bob')",
        "insert into 'bob' values (1)",
    ],
)
def test_no_literal_becomes_a_table(sql):
    """
    Where a literal might not have ended no table is known, and what is no identifier is none.
    """
    assert () == summarize(sql, "standard").tables


@pytest.mark.parametrize("dialect", [*DIALECTS, "other_sql", "oracle.db", ""])
@pytest.mark.parametrize(
    "sql",
    [
        *("", " ", "bob", "bob from x", "123", "'select'", "with", "with a", "with a as (", "((", ")", ";", "\0"),
        "\ud800",
        *(None, 7, [], {}, object(), b"\xff", b"", ("select 1",)),
    ],
)
def test_what_is_no_statement_is_unknown(sql, dialect):
    """
    Anything may be asked for, an object that cannot be hashed too.
    """
    assert ("", "", ()) == summarize(sql, dialect)[:3]


def test_a_dialect_that_cannot_be_hashed_is_unknown():
    """
    A mistake in a hook costs the summary, not the query; it is counted.
    """
    with isolated_runtime(strict=False) as runtime:
        assert UNKNOWN_STATEMENT == summarize("select 1", [])
        assert 1.0 == runtime.value("obskit_errors_total", sink="summary")


def test_hostile_subclasses_of_str_are_read():
    """
    A str is read for what it is, whatever methods its class has.
    """

    class Text(str):
        __hash__ = None
        __len__ = __getitem__ = __str__ = lambda *_: 1 / 0

    class Same(str):
        __hash__ = str.__hash__

        def __eq__(self, other):
            raise ValueError

    assert summarize(Text("select 1 from devices")) == summarize("select 1 from devices")
    assert summarize(Same("select 1 from devices")) == summarize("select 1 from devices")


def test_a_failure_inside_is_counted(monkeypatch):
    """
    What the reader might raise does not reach the caller.
    """
    monkeypatch.setattr(statement, "read", lambda tokens, dialect: 1 / 0)
    with isolated_runtime(strict=False) as runtime:
        assert UNKNOWN_STATEMENT == summarize("select 'a failure' from inside")
        assert 1.0 == runtime.value("obskit_errors_total", sink="summary")


@pytest.mark.parametrize("name", ['"\ud800"', '"a\nb"', '"\x00"', '""'])
def test_a_name_that_cannot_be_shown_is_unknown(name):
    """
    A lone surrogate would make the metrics page fail to encode.
    """
    found = summarize(f"select * from {name}, b")

    assert ("b", ("b",), "select b") == (found.table, found.tables, found.summary)
    assert found.text.encode()


WORDS = """
select|insert into|update|delete from|merge into|create table|drop|with|copy|from|join|using|into|values|set|on|as|union
lateral|grant|alter|explain|recursive|references|where|index|trigger|view|table|rename to|only|a|b.c|in (|%s|$1|true
"""
MARKS = r"""( ) , ; . * = ' " ` [ ] $$ \ /* */ /*! -- # ? :g 1 é %(h)s :: "d" `e` [f]"""
SQL = st.sampled_from(
    [*(word + " " for word in WORDS.replace("\n", "|").split("|")), *MARKS.split(), "\n", "\0", "\ud800"]
)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_text_raises(dialect):
    """
    Whatever text comes, a statement of printable names comes back, and its text has nothing that cannot be encoded.
    """

    @settings(deadline=None)  # the first example compiles a dialect
    @given(st.lists(SQL | st.text(max_size=4), max_size=40).map("".join))
    def check(sql):
        found = summarize(sql, dialect)

        assert found.table.isprintable()
        assert "".join(found.tables).isprintable()
        assert found.summary.isprintable()
        assert len(found.summary) <= MAX_SUMMARY_LENGTH
        assert 16 == len(found.fingerprint)
        found.text.encode()
        assert found == summarize(sql.encode("utf-8", "replace") if sql.isascii() else sql, dialect)

    with isolated_runtime():
        check()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "unit",
    [
        *("'", '"', "`", "[", "(", ")", "/*", "/* ", "--", "$a", "$a$", "\\'", "'\\'", "E'", "\0", "é", " ", "a", "1"),
        *("select ", "from a,", " from (", "with a as (", "in (1,", "values (1),", ";", "update a;", "case when "),
        *("?,", "a.", "a . ", '""', "``", '"="', "= ", "/*! ", "x'", "-", "+", "delete ", "or ", "create ", "on "),
    ],
)
def test_a_megabyte_of_anything_is_cut(dialect, unit):
    """
    Of a megabyte the beginning is read, in every dialect; no text is longer than what was read.
    """
    with isolated_runtime():
        found = summarize("select " + unit * (1_000_000 // len(unit)), dialect)

    assert len(found.text) <= MAX_READ_LENGTH + len(TRUNCATED) + 2
    assert "select" == found.operation


def test_what_is_behind_the_bound_is_not_known():
    """
    A table that is named later than the bound is not known, whatever is in between.
    """
    found = summarize("select " + "a, " * MAX_READ_LENGTH + "1 from devices")

    assert ("select", ()) == (found.operation, found.tables)
    assert found.text.endswith("a, ...")


def test_a_name_that_the_bound_cuts_is_not_known():
    """
    The part of a name in front of the bound is no name.
    """
    head = "select a from "
    found = summarize(head + "a" * (MAX_READ_LENGTH - len(head)) + "bc where d")

    assert ("", f"{head}...") == (found.table, found.text)


def test_the_bound_of_tokens():
    """
    What is behind so many tokens is not read.
    """
    tokens = scan("select " + ", " * MAX_READ_TOKENS + "1 from devices", "postgresql")

    assert () == read(tokens, "postgresql").tables


SELECT = "select a from t where b"


@pytest.mark.parametrize(
    "group",
    [
        [f"{SELECT} = 1", "SELECT a\n FROM t -- x\nWHERE b='2'", f"{SELECT}=$1", f"{SELECT} = %s", f"{SELECT} = @b"],
        [f"{SELECT} = :b", f"{SELECT} = %(b)s", f"{SELECT} = ?"],
        [f"{SELECT} in (1)", f"{SELECT} in (1, 'x', 3)", f"{SELECT} IN ($1,$2)", f"{SELECT} in (%s, %s,%s)"],
        [f"{SELECT} in ((1, 2))", f"{SELECT} in ((1, 2), ($1, $2))"],
        [f"{SELECT} = any(array[1])", f"{SELECT} = any(array[1, 2, 3])"],
        [f"{SELECT} = any(array[$1::int])", f"{SELECT} = any(array[$1::int, $2::int])"],
        *(
            [f"{SELECT} in ({', '.join([item] * count)})" for count in (1, 2, 3, 30)]
            for item in ("$1::UUID", "%s::numeric(10, 2)", "%(a)s::INTEGER", "CAST(:a AS BIGINT)", "'x'::text")
        ),
        [f"{SELECT} not in (lower($1), lower($2))", f"{SELECT} not in (lower($1))"],
        [f"{SELECT} in (($1::int, %s), (3::int, ?)) and c = 1", f"{SELECT} in ((1::int, 2)) and c = 1"],
        ["insert into t values (1, 2)", "insert into t VALUES (%s, %s), (%s, %s), (5, 'x')"],
        ["insert into t values (1, now())", "insert into t values (1, now()), (2, now())"],
        ["savepoint a", "SAVEPOINT b"],
        ["release savepoint a", "release b"],
        ["rollback to savepoint a", "rollback to savepoint b"],
        ["declare a cursor for select 1", 'declare "b" cursor for select 1'],
        ["fetch forward 10 from a", "fetch forward 20 from b"],
        ["deallocate a", "deallocate b"],
    ],
)
def test_one_fingerprint(group):
    """
    Values, parameters, lengths of lists, case, white space, comments and names made up make no difference.
    """
    assert 1 == len({summarize(sql).fingerprint for sql in group})


def test_many_fingerprints():
    """
    Other statements have other fingerprints.
    """
    group = [
        *("select a from t", "select b from t", "select a from u", "select a, b from t", "select f(1) from t"),
        *("select f(1, 2) from t", f"{SELECT} = 1", f"{SELECT} < 1", f"{SELECT} in (select 1)", f"{SELECT} limit 1"),
        *("select a::int from t", "select a::text from t", "insert into t values (1)"),
        *("insert into t values (1, now())", "rollback", "rollback to a", "savepoint a", "release a", "commit"),
        *("begin", "close a", "fetch a", "declare a cursor for select 1", "declare a cursor for select b from t"),
        *(f"{SELECT} in ($1::int)", f"{SELECT} in ($1::text, $2::text)", f"{SELECT} in (lower($1), upper($1))"),
    ]

    assert len(group) == len({summarize(sql).fingerprint for sql in group})


def test_a_long_list_has_one_fingerprint_however_long():
    """
    Statements whose lists were cut share one, whether they hold literals or parameters.
    """
    heads = ["select a from t where b in (" + "1234567, " * count for count in (5000, 9000)]
    heads.append("select a from t where b in (" + "$1, " * 9000)

    assert 1 == len({summarize(head + "1) and c = 2").fingerprint for head in heads})


def test_a_fingerprint_is_the_same_in_every_process():
    """
    It depends on the statement alone, so that logs of many workers and days can be joined by it.
    """
    script = "from obskit.db import summarize; print(summarize('select a from t where b = 1').fingerprint)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert summarize("select a from t where b = 2").fingerprint == done.stdout.strip() == "091231dbaea81927"


@pytest.mark.parametrize("dialect", ["postgresql", "sqlite", "mysql", "standard"])
@pytest.mark.parametrize(
    "sql",
    [
        "select 1 /* a */", "/* a */ select 1", "select 1/* a */", "select '/*' /* a */", "/* a */", "/**/", "/*/",
        "select 1 /*/", "select 1 /* a /* b */", "/* a /* b */ */ select 1", "select 1 */",
        "select 1 /*+ a */", "/*! select */ 1", "/*+ a */ select 1", "select '/* a' || b /* c' */", "/* ' */ select 1",
        "/* a */" * 1000 + "select 1", "select 1" + "/* a */" * 1000, "select 1 -- /* x */", "-- x\nselect 1 /* a */",
        "/* it's */ select 'a' /* it's */", "select $$ /* $$ /* */", 'select "/*" /* a */', "select 1 /*!50000 + 2 */",
    ],
)  # fmt: skip
def test_a_comment_that_is_left_out_first_changes_nothing(sql, dialect):
    """
    Whether the comment at one end is known before the text is masked or with it, the same is left.
    """
    found = StatementCache(dialect)[sql]

    assert found.text == mask(sql, lexicon(dialect))
    assert found.fingerprint == shape(scan(found.text, dialect), found.operation).fingerprint


def test_statements_with_other_comments_are_one():
    """
    A trace's id behind each statement leaves one statement, one object of labels, and nothing more that is kept.
    """
    source = Database("postgresql")
    source.labels.clear()
    labels = {source.labels[f"select a from t where b = %s /*traceparent='{number:032x}'*/"] for number in range(100)}

    assert len(labels) == len(source.labels) == 1
    assert labels == {source.labels["select a from t where b = %s "]}


def test_a_kept_statement_is_the_same_object():
    """
    The second time a statement comes its summary is there already; with other literals it is shared.
    """
    first = summarize("select * from devices where id = 1")

    assert first is summarize("select * from devices where id = 1")
    assert first is summarize("select * from devices where id = 2")
    assert first is summarize("select * from devices where id = ?")


def test_dialects_are_kept_apart():
    """
    The same text may be another statement in another dialect; relatives share what is kept.
    """
    sql = 'select "a" from b'

    assert 'select "a" from b' == summarize(sql, "postgresql").text
    assert "select ? from b" == summarize(sql, "mysql").text
    assert statement_cache("mariadb") is statement_cache("mysql")
    assert statement_cache("oracle.db") is statement_cache("standard") is statement_cache("other_sql")


def test_an_unknown_dialect_leaves_nothing_behind():
    """
    Names of dialects are not collected.
    """
    before = set(statement._caches)
    for number in range(100):
        summarize("select 1", f"dialect {number}")

    assert set(statement._caches) - before <= {"standard"}


def size_in_bytes(kept):
    """
    Measure what keys and statements take, each object once.
    """
    seen = {}
    for sql, found in kept.items():
        strings = (sql, found.text, found.summary, found.table, found.fingerprint, *found.tables)
        for part in (found, found.tables, *strings):
            seen[id(part)] = sys.getsizeof(part)
    return sum(seen.values()) + sys.getsizeof(kept)


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (lambda number: f"select * from devices where id = {number}", 3000),
        (lambda number: f"select a{number} from devices where id = %s", 3000),
        (lambda number: f"select * from devices where id in ({number}{', 1' * 2000})", 200),
        (lambda number: f"select a{number}{', b' * 9000} from devices", 100),
        (lambda number: f"select 'é{number}' from " + ", ".join(f"t{number}x{n}" for n in range(50)), 1000),
    ],
)
def test_what_is_kept_is_bounded_in_bytes(make, count):
    """
    Many different statements leave no more bytes than the bound, as estimated and as measured.
    """
    kept = StatementCache("postgresql", max_bytes=200_000)
    for number in range(count):
        assert "select" == kept[make(number)].operation
        assert kept.size_bytes <= kept.max_bytes

    assert 0 < len(kept)
    assert size_in_bytes(kept) <= kept.max_bytes
    assert kept.size_bytes == sum(statement._size_bytes(sql, found) for sql, found in kept.items())


def test_statements_with_literals_go_first():
    """
    A flood of statements with their literals written in does not push out those with parameters.
    """
    kept = StatementCache("postgresql", max_bytes=200_000)
    prepared = [f"select a{number} from devices where id = %s" for number in range(50)]
    for sql in prepared:
        kept[sql]
    for number in range(5000):
        kept[f"select * from devices where id = {number}"]

    assert [] == [sql for sql in prepared if sql not in kept]


def test_names_of_savepoints_and_cursors_are_not_kept():
    """
    Statements that a program makes up a name for would fill the space and never come again.
    """
    kept = StatementCache("postgresql")
    for number in range(9):
        for sql in ("savepoint s{}", "release savepoint s{}", "rollback to s{}", "fetch c{}", "deallocate s{}"):
            kept[sql.format(number)]

    assert {} == kept


def test_a_statement_longer_than_the_space_is_not_kept():
    """
    One statement does not push out all others.
    """
    kept = StatementCache("postgresql", max_bytes=16_000)
    kept["select a from b"]

    assert ("c",) == kept["select " + "a, " * 1500 + "b from c"].tables
    assert ["select a from b"] == list(kept)


def test_threads_may_share_what_is_kept():
    """
    Threads that fill a small space at once get what they asked for, and the count of bytes stays right.
    """
    kept = StatementCache("postgresql", max_bytes=50_000)
    wrong = []

    def work(name):
        for number in range(1500):
            table = f"t{name}x{number % 200}"
            if kept[f"select {number} from {table}"].tables != (table,):
                wrong.append(table)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == wrong
    assert kept.size_bytes == sum(statement._size_bytes(sql, found) for sql, found in kept.items()) <= kept.max_bytes


def test_a_child_can_keep_statements_after_a_fork_in_mid_update():
    """
    A lock that another thread held when the process forked is not held in the child.
    """
    kept = statement_cache("sqlite")
    with kept._lock:
        child = os.fork()
        if child == 0:
            kept["select * from child"]
            os._exit(0 if "select * from child" in kept else 1)
    _, status = os.waitpid(child, 0)

    assert 0 == os.waitstatus_to_exitcode(status)


def test_while_another_thread_updates_nothing_waits():
    """
    A statement that comes while the lock is held is summarised, and kept another time.
    """
    kept = StatementCache("sqlite")
    with kept._lock:
        found = kept["select * from meanwhile"]

    assert ("meanwhile",) == found.tables
    assert {} == kept


def test_a_statement_says_what_it_is():
    """
    The public class has the documented fields, in this order.
    """
    assert ("operation", "table", "tables", "summary", "text", "fingerprint") == Statement._fields
    assert isinstance(summarize("select 1"), Statement)
