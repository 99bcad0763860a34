"""
Give the two labels of a statement, for hooks that want no more of it.
"""

from __future__ import annotations

from typing import NamedTuple

from obskit.db.statement import summarize as _summarize

MAX_KEYS = 1024
MAX_KEY_LENGTH = 4096


class Summary(NamedTuple):
    """
    Name what a statement does, and to what; an empty string is unknown.

    Attributes:
        operation: The verb in lower case.
        table: The main table as it is written, without quotes and without its schema.
    """

    operation: str
    table: str


# The statements of late and their labels; look here first.
known: dict[object, Summary] = {}


def summarize(sql: object) -> Summary:
    """
    Read verb and main table of the first statement, as SQLite would; anything that is no statement is unknown.
    """
    statement = _summarize(sql, "sqlite")
    labels = Summary(statement.operation, statement.table)
    if type(sql) is str and len(sql) <= MAX_KEY_LENGTH:
        if len(known) >= MAX_KEYS:
            known.clear()
        known[sql] = labels
    return labels
