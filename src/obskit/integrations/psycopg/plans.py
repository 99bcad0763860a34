"""
Explain slow queries on another connection, where that would find the same tables.
"""

from __future__ import annotations

import re
from functools import partial
from inspect import unwrap
from typing import Any

import psycopg
from psycopg import pq, sql

from obskit.db.explain import explainer, may_explain, postgresql_plan
from obskit.db.slow_log import SlowQuery, report_plan
from obskit.db.statement import Statement
from obskit.integrations.dbapi import TIMED_ATTRIBUTE


def explain(connection: Any, query: Any, params: Any, statement: Statement, found: SlowQuery) -> None:
    """
    Queue a query to be explained on another connection to the same database, where that would find the same tables.
    """
    if may_explain(statement):
        schemas = _schemas_of(connection)
        if schemas is not None:
            info = connection.info
            opening = {**info.get_parameters(), "password": info.password or None}
            explainer.put(partial(_ask_for_plan, opening, schemas, query, params, found))


# Where a session finds its tables, as nobody else would by the same parameters.
_SEARCH_PATH = b"""
SELECT pg_catalog.string_agg(pg_catalog.quote_ident(s), ',')
FROM pg_catalog.unnest(pg_catalog.current_schemas(true)) AS s
"""
_changes_search_path = re.compile(
    r"search_path|\bset_config\b|\bset\s+(?:session\s+|local\s+)?(?:schema|role|session\s+authorization)\b"
    r"|\btemp(?:orary)?\s+(?:table|view|sequence)\b|\b(?:discard|reset)\b",
    re.IGNORECASE,
).search


def note_search_path_change(connection: Any, text: str | bytes | None) -> None:
    """
    Mark an asynchronous connection whose tables may be in other schemas: asking it would need an await.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if isinstance(connection, psycopg.AsyncConnection) and (text is None or _changes_search_path(text)):
        connection._obskit_moved = True  # type: ignore[attr-defined]


def _schemas_of(connection: Any) -> str | None:
    """
    Return the search path of a session; None where it has temporary tables, or cannot be asked now.
    """
    if isinstance(connection, psycopg.AsyncConnection):
        is_known = TIMED_ATTRIBUTE in vars(psycopg.AsyncCursor) and not getattr(connection, "_obskit_moved", False)
        return "" if is_known else None
    pgconn = connection.pgconn
    states = (pq.TransactionStatus.IDLE, pq.TransactionStatus.INTRANS)
    if pgconn.transaction_status not in states or not connection.lock.acquire(blocking=False):
        return None
    try:
        if pgconn.pipeline_status != pq.PipelineStatus.OFF:
            return None
        answer = pgconn.exec_(_SEARCH_PATH)
    finally:
        connection.lock.release()
    schemas = (answer.get_value(0, 0) or b"").decode() if answer.status == pq.ExecStatus.TUPLES_OK else "pg_temp_"
    return None if "pg_temp_" in schemas else schemas


def _ask_for_plan(opening: dict[str, Any], schemas: str, query: Any, params: Any, found: SlowQuery) -> None:
    explain = "EXPLAIN (FORMAT JSON) "
    asking = explain.encode() + query if isinstance(query, bytes) else query
    if not isinstance(query, bytes):
        asking = explain + query if isinstance(query, str) else sql.SQL(explain) + query
    options = [opening.get("options") or "", "-c default_transaction_read_only=on", "-c statement_timeout=5000"]
    if schemas:
        options.append("-c search_path=" + re.sub(r"([\\\s])", r"\\\1", schemas))
    opening["options"] = " ".join(options)
    with psycopg.connect(**opening, autocommit=True, connect_timeout=5) as own:
        cursor = own.cursor()
        unwrap(psycopg.Cursor.execute)(cursor, asking, params, prepare=True)  # which takes one statement alone
        answer = cursor.fetchone()
    if answer is not None:
        report_plan(found, postgresql_plan(answer[0]))
