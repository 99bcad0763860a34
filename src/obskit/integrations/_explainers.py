"""
Explain slow queries by the driver below SQLAlchemy or Django.
"""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from typing import Any

from obskit.db.db_operation import DbOperation
from obskit.db.explain import may_explain, sqlite_plan
from obskit.db.slow_log import SlowQuery
from obskit.db.statement import Statement
from obskit.integrations.dbapi import MAX_ADAPTERS


def set_explain(op: DbOperation, cursor: Any, query: Any, params: Any) -> None:
    """
    Set `op.explain` where explaining is harmless: with cursors of `sqlite3`, which only prepare, and with psycopg's, on
    another connection. Other drivers are not asked.
    """
    sqlite3, psycopg = sys.modules.get("sqlite3"), sys.modules.get("psycopg")
    if sqlite3 is not None and isinstance(cursor, sqlite3.Cursor):
        op.explain = partial(_explain_on_sqlite, cursor, query, params, op.statement)
        return
    for _ in range(MAX_ADAPTERS if psycopg is not None else 0):
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
