"""
Share what the hooks of databases do alike: which layer times a query, and what a slow one is explained by.

Where layers lie over each other (SQLAlchemy or Django over a driver), the innermost hook measures, and those above it
look once a query whether there is one below.
"""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from typing import Any

from obskit.db.explain import may_explain, sqlite_plan
from obskit.db.operation import DbOperation
from obskit.db.slow import SlowQuery
from obskit.db.statement import Statement

# What cursors carry that are timed themselves.
MARK = "_obskit_timed"
# An adapter of a cursor of a driver: no stack of layers is higher.
_DEPTH = 4


def is_timed(cursor: Any) -> bool:
    """
    Tell whether a cursor, or what it adapts, is timed by a hook of its own.
    """
    for _ in range(_DEPTH):
        if cursor is None:
            return False
        if getattr(cursor, MARK, False):
            return True
        # As SQLAlchemy's adapters of asynchronous drivers have it, those of 2.0 in part without a cursor.
        cursor = getattr(cursor, "_cursor", None) or getattr(cursor, "_connection", None)
    return False


def rows_of(cursor: Any) -> int | None:
    """
    Ask how many rows a statement changed or gave; None where the driver does not tell.
    """
    try:
        count: int = cursor.rowcount
        return count if count >= 0 else None
    except Exception:
        return None


def let_explain(op: DbOperation, cursor: Any, query: Any, params: Any) -> None:
    """
    Have a slow query explained where that does the application no harm: by the cursors of `sqlite3`, which only
    prepare, and for psycopg's on a connection of its own. Other drivers are not asked.
    """
    sqlite3, psycopg = sys.modules.get("sqlite3"), sys.modules.get("psycopg")
    if sqlite3 is not None and isinstance(cursor, sqlite3.Cursor):
        op.explain = partial(_explain_on_sqlite, cursor, query, params, op.statement)
        return
    for _ in range(_DEPTH if psycopg is not None else 0):
        if isinstance(cursor, (psycopg.Cursor, psycopg.AsyncCursor)):  # type: ignore[union-attr]
            explain = import_module("obskit.integrations.psycopg").explain
            op.explain = partial(explain, cursor.connection, query, params, op.statement)
            return
        cursor = getattr(cursor, "_cursor", None)


def _explain_on_sqlite(cursor: Any, query: Any, params: Any, statement: Statement, found: SlowQuery) -> None:
    if may_explain(statement):
        asking = type(cursor)(cursor.connection)  # of the application's class, which may write parameters its own way
        try:
            asking.row_factory = None
            asking.execute("EXPLAIN QUERY PLAN " + query, *([] if params is None else [params]))
            found.plan = sqlite_plan(asking.fetchall())
        finally:
            asking.close()
