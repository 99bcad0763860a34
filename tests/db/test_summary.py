"""
The labels that are read from a statement.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit.db import summary
from obskit.db.summary import MAX_KEY_LENGTH, MAX_KEYS, MAX_READ_LENGTH, Summary, known, summarize

SECRET = "bob"


@pytest.fixture(autouse=True)
def nothing_known():
    known.clear()


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
        ("merge into devices using x on 1", ("merge", "devices")),
        ("truncate table devices", ("truncate", "devices")),
        ("create temp table if not exists devices (a)", ("create", "devices")),
        ("create unique index i on devices (a)", ("create", "devices")),
        ("create trigger t after update of a on devices begin select 1; end", ("create", "devices")),
        ("alter table devices add b", ("alter", "devices")),
        ("drop table if exists devices", ("drop", "devices")),
        ("drop index i", ("drop", "")),
        ("pragma table_info(devices)", ("pragma", "")),
        ("BEGIN IMMEDIATE", ("begin", "")),
        ("values (1)", ("values", "")),
        ("explain select 1", ("explain", "")),
    ],
)
def test_verb_and_table_of_each_kind_of_statement(sql, expected):
    """
    The verb comes in lower case and the table as it is written; what is not known is an empty string.
    """
    assert summarize(sql) == expected


@pytest.mark.parametrize(
    "sql",
    [
        'select * from "devices"',
        "select * from `devices`",
        "select * from [devices]",
        "select * from main.devices",
        'select * from "app" . "devices"',
        "-- select * from x\n/* from y */ select /* from z */ * from/**/devices",
        "select 'from x', 'it''s from y' from devices",
        r"select E'it\'s from x' from devices",
        "select $$ from x $$, $a$ from y $a$ from devices",
        "select extract(year from ts), trim(both ' ' from x) from devices",
        "select (select max(a) from x) from devices",
        "select a is distinct from b from devices",
        "select a, data #>> '{b}' from devices",
        "select * from (select * from devices) d union select * from x",
        "select * from (devices join x on 1)",
        "select * from devices, x",
        "(select 1 from devices) union select 2 from x",
        "with a as (select * from devices) select * from a where b in (select b from x)",
        "with recursive a(n) as (select n from devices union all select n from a) select n from a",
        "with a as (select 1), b(c, d) as materialized (select * from a) select * from devices, a",
        "select * from devices; select * from x",
    ],
)
def test_the_main_table_of_a_select(sql):
    """
    Comments, literals, quotes, schemas, functions, subqueries and common table expressions do not hide it.
    """
    assert summarize(sql) == ("select", "devices")


def test_the_verb_behind_common_table_expressions():
    """
    A writing statement behind WITH gives its own verb and table.
    """
    assert summarize("with a as (delete from x returning *) insert into devices select * from a") == (
        "insert",
        "devices",
    )


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
def test_no_literal_becomes_a_label(sql):
    """
    Where a literal might not have ended the table stays unknown, and so does what is no identifier.
    """
    assert summarize(sql).table == ""


@pytest.mark.parametrize(
    "sql",
    [
        "",
        " ",
        "bob",
        "bob from x",
        "123",
        "'select'",
        "with",
        "with a",
        "with a as (",
        "((",
        None,
        7,
        [],
        object(),
        b"\xff",
    ],
)
def test_what_is_no_statement_is_unknown(sql):
    """
    Anything may be asked for, an object that cannot be hashed too.
    """
    assert summarize(sql) == ("", "")


def test_bytes_and_subclasses_of_str_are_read():
    """
    Bytes are decoded, and a str that cannot be hashed is read like any other.
    """

    class Text(str):
        __hash__ = None

    assert summarize(b"select 1 from devices") == summarize(Text("select 1 from devices")) == ("select", "devices")


@pytest.mark.parametrize("name", ['"\ud800"', '"a\nb"', '""'])
def test_a_name_that_cannot_be_shown_is_unknown(name):
    """
    A lone surrogate would make the metrics page fail to encode.
    """
    assert summarize(f"select * from {name}") == ("select", "")


@given(st.text(st.sampled_from("selct from with as ,.;()'\"`[]$-*/\\#\n?:é") | st.characters(), max_size=60))
def test_no_text_raises(text):
    """
    Whatever text comes, a summary of printable names comes back.
    """
    for sql in (text, "select " + text, "with a as (" + text, "insert into " + text):
        assert summarize(sql).table.isprintable()


@given(st.text(st.sampled_from("a '(),\n-"), max_size=40))
def test_the_text_of_a_literal_never_shows(text):
    """
    A literal with its quotes doubled hides what it holds, and what follows it is still read.
    """
    literal = text.replace("'", "''")

    assert summarize(f"select '{literal} from bob' from devices") == ("select", "devices")


def test_statements_are_kept_up_to_a_bound():
    """
    Many different statements leave no more keys than the bound, the latest among them.
    """
    for number in range(3 * MAX_KEYS):
        summarize(f"select {number} from devices")

    assert len(known) <= MAX_KEYS
    assert f"select {3 * MAX_KEYS - 1} from devices" in known


def test_a_long_statement_is_read_but_not_kept():
    """
    A statement over the bound has a summary and leaves no key.
    """
    sql = "select * from devices where a in (" + ",".join("?" * MAX_KEY_LENGTH) + ")"

    assert summarize(sql) == ("select", "devices")
    assert known == {}


def test_a_kept_statement_is_not_read_again(monkeypatch):
    """
    The second time a statement comes its summary is there already.
    """
    first = summarize("select * from devices")
    monkeypatch.setattr(summary, "_read", lambda sql: Summary("again", "again"))

    assert summarize("select * from devices") is first


def test_reading_ends_at_a_bound():
    """
    A table that is named later than the bound is not known, whatever is in between.
    """
    assert summarize("select " + "1," * MAX_READ_LENGTH + "1 from devices") == ("select", "")
