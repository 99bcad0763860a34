"""
Redact the values that database drivers and validators quote in their exceptions.

Their messages quote what was inserted, in full: a duplicate address, a failing row, the parameters of a statement.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from obskit.late_patterns import late

_ANY = r"(?s:.)*?"  # as little as possible, over lines
_FIELD = (
    r"(?:DETAIL|HINT|CONTEXT|QUERY|STATEMENT|WHERE|LINE \d+|SCHEMA NAME|TABLE NAME|COLUMN NAME|CONSTRAINT NAME"
    r"|LOCATION):"
)
# A field of a PostgreSQL error may have several lines; it ends where another field, or what follows a message, starts.
_END_OF_FIELD = (
    rf"(?=\n{_FIELD}|\n\[SQL: |\n\(Background on |\n{{1,2}}(?:Traceback |During handling |The above exception )|\Z)"
)
# In one line, as `repr()` writes it: with a backslash and an n for the end of a line. A detail is a sentence.
_END_OF_ESCAPED_FIELD = rf"""(?=\\n{_FIELD}|(?<=\.)['"](?=[)\]}},]|\n|\Z)|\n|\Z)"""


class _Rule(NamedTuple):
    """
    A pattern and its replacement, for texts that hold its hint. A pattern runs to the end of the text where a value's
    own end is missing, so that no text is searched twice.
    """

    hint: str
    pattern: re.Pattern[str]
    replacement: str


def _rule(rule: str, hint: str, start: str, value: str, keep: str = "") -> _Rule:
    return _Rule(hint, late(rf"({start})(?!\[redacted:){value}"), rf"\1[redacted:{rule}]{keep}")


def _quoted_value(hint: str, after: str, quote: str = "'") -> str:
    """
    Return the pattern of a value in quotes, which may hold quotes: up to the one that `after` follows, else to one that
    no word follows.
    """
    # Another hint ends the search, so that no text is searched twice.
    q = quote
    return rf"{q}(?:(?:(?!{hint})(?s:.))*?{q}(?={after})|[^{q}]*+(?:{q}\b[^{q}]*+)*+(?:{q}|\Z))"


def _bracketed_value(hint: str, first: str, last: str, after: str) -> str:
    return rf"\{first}(?:(?:(?!{hint})(?s:.))*?\{last}(?={after})|[^\{last}]*+(?:\{last}|\Z))"


# Where the values start in PostgreSQL's contexts that have some; others name functions, lines and relations.
_STATEMENT = r"(?:SQL statement|PL/pgSQL (?:assignment|expression)) (?=\")"
_CONTEXT = (
    r"(?:COPY [^\n:]{1,160}: |JSON data, line \d+: |remote SQL command: |(?:unnamed )?portal [^\n:=]{1,80}(?:: | = )|"
    rf"{_STATEMENT})"
)
# PostgreSQL's two blanks, its own words, and the sign below a line, tell its fields from a prompt or a report.
_LINE_RULES = (
    # psycopg, psycopg2, asyncpg: DETAIL:  Key (email)=(ada@shop.example) already exists.
    _rule("detail", "DETAIL:  ", r"\bDETAIL:  ", _ANY + _END_OF_FIELD),
    # CONTEXT:  COPY customers, line 3, column email: "ada@shop.example"
    _rule("context", "CONTEXT:", rf"\bCONTEXT:[ \t]*+{_CONTEXT}", _ANY + _END_OF_FIELD),
    # One context of several: SQL statement "INSERT INTO customers VALUES ('ada@shop.example')"
    _rule("context", "SQL ", rf"(?m:^){_STATEMENT}", _ANY + _END_OF_FIELD),
    # QUERY:  INSERT INTO customers VALUES ('ada@shop.example')
    _rule("statement", "QUERY:  ", r"\bQUERY:  ", _ANY + _END_OF_FIELD),
    # LINE 1: INSERT INTO customers VALUES ('ada@shop.example')
    _rule("statement", "LINE ", r"(?m:^)LINE \d+: ", r"[^\n]++(?=\n *+\^)"),
)
# An exception may well be a driver's, and its blanks may have been collapsed.
_EXCEPTION_RULES = (
    _rule("detail", "DETAIL:", r"\bDETAIL:[ \t]*+(?=Key \(|Failing row contains |Token \")", _ANY + _END_OF_FIELD),
    *_LINE_RULES,
)
# The same in one line: UniqueViolation('duplicate key\nDETAIL:  Key (email)=(ada@shop.example) already exists.')
_ESCAPED_RULES = (
    _rule("detail", r"\nDETAIL:  ", r"(?<=\\n)DETAIL:  ", _ANY + _END_OF_ESCAPED_FIELD),
    _rule("context", r"\nCONTEXT:  ", rf"(?<=\\n)CONTEXT:  {_CONTEXT}", _ANY + _END_OF_ESCAPED_FIELD),
    _rule("context", "SQL ", rf"(?<=\\n){_STATEMENT}", _ANY + _END_OF_ESCAPED_FIELD),
    _rule("statement", r"\nQUERY:  ", r"(?<=\\n)QUERY:  ", _ANY + _END_OF_ESCAPED_FIELD),
    _rule("statement", r"\nLINE ", r"(?<=\\n)LINE \d+: ", r"(?:(?!\\n)[^\n])++(?=\\n *+\^)"),
)
_END_OF_QUOTED = r"[\'\")\]},]{0,4}(?:\n|\\n|\Z)"
_END_OF_KEY = r"[^\w\n]{0,16}(?:\n|\Z)|, full error"
_TEXT_RULES = (
    # invalid input syntax for type integer: "ada"
    _rule(
        "value",
        "invalid input ",
        r"\binvalid input (?:syntax|value) for [^:\n]{1,120}: ",
        # Where its quotes are written with a backslash, those inside of it are no less.
        rf"""(?:{_quoted_value("invalid input ", _END_OF_QUOTED, '"')}|(?=\\"){_ANY}{_END_OF_FIELD})""",
    ),
    # asyncpg: invalid input for query argument $1: 'ada' (an integer is required)
    _rule("value", "argument $", r"\binvalid input for query argument \$\d+: ", _ANY + r"(?= \([^()\n]*\)\Z|\n|\Z)"),
    # SQLAlchemy: [parameters: {'email': 'ada@shop.example'}]
    _rule("parameters", "[parameters: ", r"\[parameters: ", _ANY + r"(?:\](?=\n|\Z)|\Z)", "]"),
    # MySQL 1062: Duplicate entry 'ada@shop.example' for key 'customers.email'
    _rule("value", "Duplicate entry ", r"\bDuplicate entry ", _quoted_value("Duplicate entry ", " for key")),
    # MySQL 1366 and 1292: Incorrect integer value: 'ada' for column 'age' at row 1
    _rule(
        "value",
        "ncorrect",
        r"\b[Ii]ncorrect [^:\n]{1,60} value: ",
        _quoted_value("ncorrect", r" for | at |\W{0,9}\Z"),
    ),
    # MySQL 1064: ... to use near 'ada@shop.example')' at line 1
    _rule("statement", "to use near ", r"\bto use near ", _quoted_value("to use near ", " at line ")),
    # SQL Server: The duplicate key value is (ada@shop.example).
    _rule("value", "key value is (", r"\bkey value is ", _bracketed_value("key value is ", "(", ")", r"\.|\n|\Z")),
    # MongoDB: dup key: { email: "ada@shop.example" }
    _rule("value", "dup key: ", r"\bdup key: ", _bracketed_value("dup key: ", "{", "}", _END_OF_KEY)),
    # pydantic: [type=int_parsing, input_value='ada', input_type=str]
    _rule("input", "input_value=", r"\binput_value=", _ANY + r"(?=, input_type=|\n|\Z)"),
)  # fmt: skip
# One of these is in every text that `redact_quoted_values()` changes.
QUOTED_HINTS = tuple(dict.fromkeys(rule.hint for rule in (*_LINE_RULES, *_ESCAPED_RULES, *_TEXT_RULES)))


def redact_exception_text(text: str) -> str:
    """
    Redact the values in an exception's message, or in what stands between the frames of a traceback.
    """
    return redact_quoted_values(_apply_rules(_EXCEPTION_RULES, text))


def redact_quoted_values(text: str, in_source: bool = False) -> str:
    """
    Redact the values in any text that quotes such a message, after its first line or where it names itself.

    Args:
        text: The text.
        in_source: It is a frame of a traceback, whose lines are those of a program and no driver's.
    """
    if "\n" in text and not in_source:
        text = _apply_rules(_LINE_RULES, text)
    if "\\n" in text:
        text = _apply_rules(_ESCAPED_RULES, text)
    return _apply_rules(_TEXT_RULES, text)


def _apply_rules(rules: tuple[_Rule, ...], text: str) -> str:
    for hint, pattern, replacement in rules:
        if hint in text:
            text = pattern.sub(replacement, text)
    return text
