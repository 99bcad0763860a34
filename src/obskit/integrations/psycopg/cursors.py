"""
What is known of a cursor: its database, its statement as text, its rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psycopg import sql

from obskit.db.database import Database
from obskit.integrations.dbapi import rows_of

# The `db.system.name` of the OpenTelemetry semantic conventions 1.44 (2026-08).
SYSTEM = "postgresql"

_unknown_database = Database(SYSTEM)
Wrapper = Callable[..., Any]


def database_of(cursor: Any) -> Database:
    """
    Return a cursor's database, described once for each connection.
    """
    connection = cursor.connection
    try:
        database: Database = connection._obskit_database
    except AttributeError:
        try:
            info = connection.info
            database = Database(SYSTEM, database=info.dbname, host=info.host, port=info.port)
        except Exception:  # it is closed, which is for psycopg to say
            return _unknown_database
        connection._obskit_database = database
    return database


# Since psycopg 3.2; before that there were no templates, and each object has the method.
_as_string: Callable[[Any, Any], str] = getattr(sql, "as_string", lambda query, cursor: query.as_string(cursor))


def text_of(query: Any, cursor: Any) -> Any:
    """
    Return psycopg's own objects as text; None where psycopg cannot render one, and will refuse it.
    """
    if isinstance(query, (str, bytes)):
        return query
    try:
        return _as_string(query, cursor)
    except Exception:
        return None


def rows_of_all(cursor: Any) -> int | None:
    """
    Return the rows of all results of `executemany()`; the cursor itself knows the first result only.
    """
    try:
        return sum(result.ntuples or result.command_tuples or 0 for result in cursor._results)
    except Exception:
        return rows_of(cursor)
