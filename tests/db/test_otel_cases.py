"""
The SQL test cases of the OpenTelemetry semantic conventions.

Statements and expected values are those of `docs/non-normative/database-test-cases/db-sql-test-cases.json` in
open-telemetry/semantic-conventions, main of 2026-08-20 (Apache-2.0). For one of them two texts are right.
"""

import pytest

from obskit.db import summarize

NESTED = "{} order_date\nFROM   ({} *\nFROM   orders o\nJOIN customers c\nON o.customer_id = c.customer_id)"
COPY = (
    "INSERT INTO shipping_details\n(order_id,\naddress)\nSELECT order_id,\naddress\nFROM   orders\nWHERE  order_id = {}"
)

# Name -> statement, text, summary; None: the text is the statement.
CASES = {
    "numeric_literal_integers": ("SELECT 12, -12, +12", "SELECT ?, ?, ?", "SELECT"),
    "numeric_literal_with_decimal_point": (
        "SELECT 12.34, -12.34, +12.34, .01, -.01",
        "SELECT ?, ?, ?, ?, ?",
        "SELECT",
    ),
    "numeric_literal_exponential": ("SELECT 12.34e56, -12.34e56, +12.34e56", "SELECT ?, ?, ?", "SELECT"),
    "numeric_literal_negative_exponential": ("SELECT 12.34e-56, -12.34e-56, +12.34e-56", "SELECT ?, ?, ?", "SELECT"),
    "arithmetic_on_numeric_literals": ("SELECT 99+100", "SELECT ??", "SELECT"),
    "hex_literal": ("SELECT 0xDEADBEEF, 0XdeadBEEF", "SELECT ?, ?", "SELECT"),
    "string_literal": ("SELECT 'hello'", "SELECT ?", "SELECT"),
    "string_literal_escaped_single_quote": ("SELECT 'My name''s not important'", "SELECT ?", "SELECT"),
    "string_with_embedded_newline": ("SELECT 'My name is \n not important'", "SELECT ?", "SELECT"),
    "numbers_in_identifiers": (
        "SELECT c3po, r2d2 FROM covid19 WHERE n1h1=1234",
        "SELECT c3po, r2d2 FROM covid19 WHERE n1h1=?",
        "SELECT covid19",
    ),
    "periods_in_identifiers": (
        "SELECT a FROM dbo.Table JOIN dbo.AnotherTable",
        None,
        "SELECT dbo.Table dbo.AnotherTable",
    ),
    "insert_into": (
        "INSERT INTO X VALUES(1, 23456, 123.456, 99+100)",
        "INSERT INTO X VALUES(?, ?, ?, ??)",
        "INSERT X",
    ),
    "uuid": ("SELECT { guid '01234567-89ab-cdef-0123-456789abcdef' }", "SELECT { guid ? }", "SELECT"),
    "in_clause": (
        "SELECT * FROM table WHERE value IN (123, 456, 'abc')",
        "SELECT * FROM table WHERE value IN (?)",
        "SELECT table",
    ),
    "comments": (
        "SELECT column -- end of line comment\nFROM /* block \n comment */ table",
        "SELECT column \nFROM  table",
        "SELECT table",
    ),
    "insert_into_select": (COPY.format(1), COPY.format("?"), "INSERT shipping_details SELECT orders"),
    "select_nested_query": (NESTED.format("SELECT", "SELECT"), None, "SELECT SELECT orders customers"),
    "select_nested_query_case_preserved": (NESTED.format("SELEcT", "sELECT"), None, "SELEcT sELECT orders customers"),
    "case_preserved": ("SELEcT order_date\nFROM ORders", None, "SELEcT ORders"),
    "cross_join": ("SELECT * FROM Orders o CROSS JOIN OrderDetails od", None, "SELECT Orders OrderDetails"),
    "cross_join_comma_separated_syntax": (
        "SELECT * FROM Orders o, OrderDetails od",
        None,
        "SELECT Orders OrderDetails",
    ),
    "create_table": (
        "CREATE  TABLE MyTable (\n    ID NOT NULL IDENTITY(1,1) PRIMARY KEY\n)",
        "CREATE  TABLE MyTable (\n    ID NOT NULL IDENTITY(?,?) PRIMARY KEY\n)",
        "CREATE TABLE MyTable",
    ),
    "alter_table": (
        "ALTER  TABLE MyTable ADD Name varchar(255)",
        "ALTER  TABLE MyTable ADD Name varchar(?)",
        "ALTER TABLE MyTable",
    ),
    "drop_table": ("DROP  TABLE MyTable", None, "DROP TABLE MyTable"),
}


def test_there_are_as_many_as_are_published():
    """
    The published file has 24 cases, and so has this one.
    """
    assert len(CASES) == 24


@pytest.mark.parametrize("dialect", ["other_sql", "postgresql", "sqlite", "mysql"])
@pytest.mark.parametrize("name", CASES)
def test_text_and_summary(name, dialect):
    """
    Text and summary are what the conventions expect of `other_sql`, and the same in each dialect.
    """
    sql, text, summary = CASES[name]
    statement = summarize(sql, dialect)

    assert (text or sql, summary) == (statement.text, statement.summary)
