"""
Cut the values that drivers and validators put into their exceptions.

Their messages quote what was inserted, in full: a duplicate address, a failing row, the parameters of a statement.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_ANY = r"(?s:.)*?"  # as little as possible, over lines
# A field of a PostgreSQL error may have several lines; it ends where another field, or what follows a message, starts.
_END_OF_FIELD = (
    r"(?=\n(?:DETAIL|HINT|CONTEXT|QUERY|STATEMENT|WHERE|LINE \d+|SCHEMA NAME|TABLE NAME|COLUMN NAME|CONSTRAINT NAME"
    r"|LOCATION):|\n\[SQL: |\n\(Background on |\n{1,2}(?:Traceback |During handling |The above exception )|\Z)"
)


class _Cut(NamedTuple):
    """
    Cut what a pattern finds, in texts that have its hint. A pattern goes to the end of the text where a value's own
    end is not there, so that no text is searched twice.
    """

    hint: str
    pattern: re.Pattern[str]
    put: str


def _cut(rule: str, hint: str, start: str, value: str, keep: str = "") -> _Cut:
    return _Cut(hint, re.compile(rf"({start})(?!\[redacted:){value}"), rf"\1[redacted:{rule}]{keep}")


# Behind the end of a line, which `repr()` writes as a backslash and an n.
_ON_LINES = (
    # psycopg, psycopg2, asyncpg: DETAIL:  Key (email)=(ada@shop.example) already exists.
    _cut("detail", "DETAIL:", r"(?:\b|(?<=\\n))DETAIL:[ \t]*+", _ANY + _END_OF_FIELD),
    # CONTEXT:  COPY customers, line 3, column email: "ada@shop.example"
    _cut("context", "CONTEXT:", r"(?:\b|(?<=\\n))CONTEXT:[ \t]*+", _ANY + _END_OF_FIELD),
    # QUERY:  INSERT INTO customers VALUES ('ada@shop.example')
    _cut("statement", "QUERY:  ", r"(?:\b|(?<=\\n))QUERY:  ", _ANY + _END_OF_FIELD),
    # LINE 1: INSERT INTO customers VALUES ('ada@shop.example')
    _cut("statement", "LINE ", r"(?:(?m:^)|(?<=\\n))LINE \d+: ", r".+"),
)
_ANYWHERE = (
    # invalid input syntax for type integer: "ada"
    _cut("value", "invalid input ", r"\binvalid input (?:syntax|value) for [^:\n]{1,120}: ", _ANY + _END_OF_FIELD),
    # asyncpg: invalid input for query argument $1: 'ada' (an integer is required)
    _cut("value", "argument $", r"\binvalid input for query argument \$\d+: ", _ANY + r"(?= \([^()\n]*\)\Z|\n|\Z)"),
    # SQLAlchemy: [parameters: {'email': 'ada@shop.example'}]
    _cut("parameters", "[parameters: ", r"\[parameters: ", _ANY + r"(?:\](?=\n|\Z)|\Z)", "]"),
    # MySQL 1062: Duplicate entry 'ada@shop.example' for key 'customers.email'
    _cut("value", "Duplicate entry ", r"\bDuplicate entry ", "'" + _ANY + r"(?:'(?= for key)|\Z)"),
    # MySQL 1366 and 1292: Incorrect integer value: 'ada' for column 'age' at row 1
    _cut("value", "ncorrect", r"\b[Ii]ncorrect [^:\n]{1,60} value: ", "'" + _ANY + r"(?:'(?= for | at |\W{0,9}\Z)|\Z)"),
    # MySQL 1064: ... to use near 'ada@shop.example')' at line 1
    _cut("statement", "to use near ", r"\bto use near ", "'" + _ANY + r"(?:'(?= at line )|\Z)"),
    # SQL Server: The duplicate key value is (ada@shop.example).
    _cut("value", "key value is (", r"\bkey value is ", r"\(" + _ANY + r"(?:\)(?=\.|\n|\Z)|\Z)"),
    # MongoDB: dup key: { email: "ada@shop.example" }
    _cut("value", "dup key: ", r"\bdup key: ", r"\{" + _ANY + r"(?:\}(?=[^\w\n]{0,16}(?:\n|\Z)|, full error)|\Z)"),
    # pydantic: [type=int_parsing, input_value='ada', input_type=str]
    _cut("input", "input_value=", r"\binput_value=", _ANY + r"(?=, input_type=|\n|\Z)"),
)  # fmt: skip


def without_values(text: str) -> str:
    """
    Cut the values out of an exception's message, or out of a traceback with such messages in it.
    """
    return _without(_ANYWHERE, _without(_ON_LINES, text))


def without_quotes(text: str) -> str:
    """
    Cut the values out of any text that quotes such a message: behind its first line, or where it says what it is.
    """
    if "\n" in text or "\\n" in text:
        text = _without(_ON_LINES, text)
    return _without(_ANYWHERE, text)


def _without(cuts: tuple[_Cut, ...], text: str) -> str:
    for hint, pattern, put in cuts:
        if hint in text:
            text = pattern.sub(put, text)
    return text
