"""
No literal survives in what is made of a statement, in any form of any dialect.
"""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from obskit.db import summarize
from obskit.db.sql_masking import lexicon, mask
from obskit.db.statement import MAX_READ_LENGTH, TRUNCATED

DIALECTS = ("postgresql", "sqlite", "mysql", "standard")
WORD = "zqsecretqz"
DIGITS = "918273645"


def doubled(quote):
    return lambda text: quote + text.replace(quote, quote * 2) + quote


def escaped(quote):
    return lambda text: quote + text.replace("\\", "\\\\").replace(quote, "\\" + quote) + quote


def after(prefix, form):
    return lambda text: prefix + form(text)


def dollar_quoted(tag):
    return lambda text: f"${tag}${text.replace('$', '')}${tag}$"


def line_comment(mark):
    return lambda text: f"{mark} {text.translate({10: 32, 13: 32})}\n"


def block_comment(text):
    return f"/* {text.replace('*/', '').replace('/*', '').rstrip('*/')} */"


def nested_comment(text):
    return f"/* a /* b {block_comment(text)} c */ d */"


def joined(form):
    return lambda text: f"{form(text)}\n{form(text)}"


# Forms of a text, and of a number, by dialect.
SINGLE, DOUBLE = doubled("'"), doubled('"')
TEXTS = {
    "postgresql": [
        *(SINGLE, escaped("'"), after("E", escaped("'")), after("e", escaped("'")), after("E", joined(escaped("'")))),
        *(after("N", SINGLE), after("U&", SINGLE), after("date ", SINGLE), after("interval ", SINGLE), joined(SINGLE)),
        *(dollar_quoted(""), dollar_quoted("tag"), dollar_quoted("é1"), lambda text: f"{SINGLE(text)}::text"),
        *(lambda text: f"ARRAY[{SINGLE(text)}, {SINGLE(text)}]", line_comment("--"), block_comment, nested_comment),
    ],
    "sqlite": [
        *(SINGLE, joined(SINGLE), line_comment("--"), block_comment),
        *(lambda text: f"= {DOUBLE(text)}", lambda text: f"IN ({DOUBLE(text)}, {DOUBLE(text)})"),
        *(lambda text: f"LIKE {DOUBLE(text)}", lambda text: f"VALUES ({DOUBLE(text)})"),
        *(
            lambda text: f"a || {DOUBLE(text)}",
            lambda text: f"IS NOT {DOUBLE(text)}",
            lambda text: f"lower({DOUBLE('@' + text)})",
        ),
    ],
    "mysql": [
        *(SINGLE, DOUBLE, escaped("'"), escaped('"'), after("N", escaped("'")), after("_utf8mb4", escaped("'"))),
        *(joined(escaped("'")), line_comment("--"), line_comment("#"), block_comment, after("n", escaped("'"))),
        *(lambda text: f"/*!50100 {escaped(chr(39))(text)} */", lambda text: f"/*! {escaped(chr(34))(text)} */"),
        *(lambda text: f"/*+ {text.replace('*/', '').rstrip('*')} */", lambda text: f"/*M!100100 {SINGLE(text)} */"),
    ],
    "standard": [
        *(SINGLE, escaped("'"), after("E", escaped("'")), after("N", SINGLE), after("timestamp ", SINGLE)),
        *(dollar_quoted(""), dollar_quoted("tag"), line_comment("--"), block_comment),
        *(lambda text: f"= {DOUBLE(text)}", lambda text: f"IN ({DOUBLE(text)})"),
    ],
}
NUMBERS = {
    "postgresql": [
        *("{0}", "-{0}", "+{0}", "1.{0}", ".{0}", "1e{0}", "1.e-{0}", "0x{0}", "0o{0}", "0b{0}", "1_{0}"),
        *("a[1:{0}]", "a->{0}", "B'{0}'", "x'{0}'", "'{0}'::int", "{0}::text", "interval '{0}' day", "$${0}$$"),
    ],
    "sqlite": [
        *("{0}", "-{0}", "+{0}", "1.{0}", ".{0}", "1e{0}", "{0}e+5", "0x{0}", "0X{0}", "1_{0}"),
        *("x'{0}'", "X'{0}'", "a->{0}", "a<<{0}"),
    ],
    "mysql": [
        *("{0}", "-{0}", "+{0}", "1.{0}", ".{0}", "1e{0}", "1.5E-{0}", "0x{0}", "0b{0}", "5--{0}", "{0}abc"),
        *("x'{0}'", "b'{0}'", "B'{0}'", "a DIV {0}", "/*!50000 {0} */"),
    ],
    "standard": [
        *("{0}", "-{0}", "+{0}", "1.{0}", ".{0}", "1e{0}", "0X{0}", "a%{0}", "a[{0}]", "a[1:{0}]"),
        *("x'{0}'", "B'{0}'", "date'{0}'"),
    ],
}
OPEN = {
    "postgresql": [
        *("'{}", "E'{}", "E'\\'{}", "$${}", "$a${}", "$a$ $b$ {}", "/* {}", "/* /* */ {}", "-- {}", '"{}', "'\\' {}"),
    ],
    "sqlite": ["'{}", "x'{}", "/* {}", "-- {}", '"{}', "`{}", "[{}", "'a'' {}", "# ' {}"],
    "mysql": ["'{}", '"{}', "'\\'{}", "'a'' {}", "/* {}", "# {}", "-- {}", "`{}", "'\\\\\\'{}"],
    "standard": ["'{}", "E'{}", "$${}", "/* {}", "/* /* */ {}", "-- {}", '"{}', "`{}", "'\\' {}", "# ' {}"],
}
TEMPLATES = [
    "SELECT a FROM t WHERE b = {} AND c = 1",
    "INSERT INTO t (a, b) VALUES ({}, 2), (3, 4)",
    "UPDATE t SET a = {} WHERE b IN (1, {})",
    "DELETE FROM t WHERE b BETWEEN {} AND 5",
    "SELECT f({}, 'x') FROM t JOIN u ON u.a LIKE '%' ESCAPE '\\'",
    "WITH a AS (SELECT {} FROM t) SELECT * FROM a LIMIT {}",
    "CALL p({})",
    "EXPLAIN SELECT {}",
    "CREATE TABLE t (a INT DEFAULT {})",
    "COPY t FROM {}",
    "SET a = {}",
    "{}",
    "SELECT {}\n{}",
]


def texts():
    """
    Make texts around a word that no template has.
    """
    letters = st.sampled_from("ab1 '\"`\\$;,()[]/*-#%:?\n.é") | st.characters(exclude_categories=["Cs"])
    part = st.text(letters, max_size=8)
    return st.builds(lambda left, right: left + WORD + right, part, part)


def everything(statement):
    return " ".join([statement.operation, statement.table, *statement.tables, statement.summary, statement.text])


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_text_survives(dialect):
    """
    A text planted in each form of the dialect, in any place, is in nothing that comes out.
    """

    rests = st.sampled_from(["", " || b", "-- '\n"])

    @settings(deadline=None)  # the first example compiles a dialect
    @given(texts(), st.sampled_from(TEXTS[dialect]), st.sampled_from(TEMPLATES), rests)
    @example(f"{WORD}\\", SINGLE, TEMPLATES[0], "")
    def check(text, form, template, rest):
        if dialect == "mysql":
            text = text.replace("\\", "\\\\")  # it is an escape in every form
        sql = template.replace("{}", form(text)) + rest

        assert WORD not in everything(summarize(sql, dialect))

    check()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_number_survives(dialect):
    """
    A number planted in each form of the dialect, in any place, is in nothing that comes out.
    """
    for form in NUMBERS[dialect]:
        for template in TEMPLATES:
            statement = summarize(template.replace("{}", form.format(DIGITS)), dialect)

            assert DIGITS not in everything(statement), (form, template)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_not_closed_hides_the_rest(dialect):
    """
    Behind a quote, a comment or a dollar tag that is not closed nothing is shown.
    """
    for form in OPEN[dialect]:
        for template in TEMPLATES:
            sql = template.replace("{}", form.format(f"{WORD} FROM {WORD} WHERE a = {DIGITS}"), 1)

            assert not {WORD, DIGITS} & set(everything(summarize(sql, dialect)).split()), (form, template)


@pytest.mark.parametrize("dialect", ["postgresql", "standard"])
def test_a_backslash_before_a_quote_hides_the_rest(dialect):
    """
    Whether the server takes a backslash for an escape is not known: what follows might be in the literal.
    """
    assert "SELECT ?" == mask(r"SELECT 'it\'s', 'zqsecretqz' FROM t", lexicon(dialect))
    assert "SELECT ?" == mask(r"SELECT 'C:\', a FROM t WHERE b = 'D:\'", lexicon(dialect))


def test_a_backslash_that_mysql_does_not_take_for_an_escape():
    """
    Where reading it as an escape makes no sense of the statement, all from that text on is hidden.
    """
    assert "WHERE a = ?" == mask(r"WHERE a = 'C:\' AND b = 'zqsecretqz'", lexicon("mysql"))
    assert "WHERE a = ?" == mask(r"WHERE a = 'C:\' AND b = 'zqsecretqz' AND c = 'D:\'", lexicon("mysql"))


@pytest.mark.parametrize(
    ("dialect", "sql", "expected"),
    [
        ("postgresql", r"a LIKE $1 ESCAPE '\' AND b = 'x'", "a LIKE $1 ESCAPE ? AND b = ?"),
        ("postgresql", r"a = 'C:\dir' AND b = 'x\\' AND c", "a = ? AND b = ? AND c"),
        ("postgresql", "a::varchar(20) = U&'d' UESCAPE '!'", "a::varchar(?) = U&? UESCAPE ?"),
        ("postgresql", 'a @> $1 AND b ?| $2 AND c #>> $3 AND U&"d" = ANY($12)', None),
        ("postgresql", "$1 = %s AND %(name)s AND :name AND foo$1", None),
        ("postgresql", "a$1 = $abc$x$abc$ AND b = $$$$", "a$1 = ? AND b = ?"),
        ("postgresql", "a -- x\r, 1 /* y /* ' */ */, 2", "a \r, ? , ?"),
        ("postgresql", "a - 1, b-1, c->1, d->>'e', - -1", "a - ?, b?, c->?, d->>?, - ?"),
        ("postgresql", "true, FALSE, NULL, truest, is_true, a.b", "?, ?, NULL, truest, is_true, a.b"),
        ("sqlite", "a = ?1 AND b = :b AND c = @c AND d = $d AND e = [f 1] AND g = `h 2`", None),
        ("sqlite", r"a = 'C:\' AND b = x'AB'", "a = ? AND b = ?"),
        ("sqlite", '"a" = "b"."c" AND "d" = "e" AND "f" IN ("g", 1)', '"a" = "b"."c" AND "d" = ? AND "f" IN (?, ?)'),
        (
            "sqlite",
            'SELECT "a b" AS "c(*)", "d@e.org" FROM "f/g" JOIN h."i:j"',
            'SELECT "a b" AS "c(*)", ? FROM "f/g" JOIN h."i:j"',
        ),
        ("mysql", "a = @b AND c = @@d AND e = `f 1` AND \\N", "a = @b AND c = @@d AND e = `f 1` AND ?"),
        ("mysql", "a = 5--3 # it's\nAND b-- it's\nAND \"c\"", "a = ?-? \nAND b\nAND ?"),
        ("mysql", "SELECT /*!40001 SQL_NO_CACHE */ a /* it's */ FROM b", "SELECT   SQL_NO_CACHE   a  FROM b"),
        ("standard", "a = [b c] AND d[1] = 2 AND e[1:2]", "a = [b c] AND d[?] = ? AND e[?:?]"),
        ("standard", "a NOT IN ( 1, 2 , 3 ) OR b in(1,c) OR f(1, 2)", "a NOT IN ( ? ) OR b in(?,c) OR f(?, ?)"),
    ],
)
def test_what_is_no_literal_is_kept(dialect, sql, expected):
    """
    Parameters, names, casts and operators of the dialect stay as they are, and reading goes on behind a literal.
    """
    assert (sql if expected is None else expected) == mask(sql, lexicon(dialect))


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("from/**/devices", "from devices"),
        ("from/*a*//*b*/devices", "from devices"),
        ("a-/**/-b", "a- -b"),
        ("a /* b */ c", "a  c"),
        ("/* a */select", "select"),
        ("select--a", "select"),
        ("a--b\n--c\n,d", "a\n,d"),
    ],
)
def test_a_comment_leaves_apart_what_it_kept_apart(sql, expected):
    """
    Comments go, and what stood around one does not become one word or another comment.
    """
    assert expected == mask(sql, lexicon("standard"))


FRAGMENTS = st.sampled_from(
    [
        *("select ", "from ", "'", "''", '"', "`", "[", "]", "$$", "$a$", "$1", "/*", "*/", "/*!", "--", "#", "\\"),
        *("\n", "E'", "x'", "U&'", "1", "1e", ".5", "-", "+", "?", "%s", ":a", "::", "in (", "values (", ")", ",", ";"),
        *("a", "with ", "as (", "true", "é", "\0", "\ud800", "insert into ", "join ", "create table ", "on "),
    ]
)
STATEMENTS = st.lists(FRAGMENTS | st.text(max_size=5), max_size=30).map("".join)


@settings(deadline=None)  # the first example compiles a dialect
@given(STATEMENTS, st.sampled_from(["postgresql", "sqlite", "standard"]))
def test_masking_again_changes_nothing(sql, dialect):
    """
    The text is in no way more than itself when it is read again.
    """
    text = mask(sql, lexicon(dialect))

    assert text == mask(text, lexicon(dialect))


def test_a_statement_without_literals_is_itself():
    """
    Nothing is copied of a statement that has nothing to hide.
    """
    sql = "SELECT a FROM t WHERE b = %s"

    assert mask(sql, lexicon("postgresql")) is sql


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("end", range(12))
def test_a_cut_does_not_open_a_literal(dialect, end):
    """
    Wherever the cut falls, into a literal or next to it, what is before it shows nothing of the literal.
    """
    head = "SELECT a FROM t WHERE b IN (" + "'x', " * 4000
    sql = head[: MAX_READ_LENGTH - end] + f"'{WORD}', {DIGITS}, '' {WORD}"
    statement = summarize(sql[: MAX_READ_LENGTH - end] + sql[MAX_READ_LENGTH - end :] * 50, dialect)

    assert statement.text.endswith(TRUNCATED)
    assert "x" not in statement.text
    assert DIGITS not in statement.text
    assert ("t",) == statement.tables
