"""
The fields of database queries; those of lines are on the lines of slow ones.
"""

from __future__ import annotations

from obskit.rows.common import EXTRA, ROOT_ID, UNTOLD
from obskit.rows.field import Field, Rows

DATABASE = Rows(
    "query",
    (
        Field(
            "duration_seconds",
            "duration_seconds",
            float,
            "Milliseconds that it took.",
            line="query_ms",
            form="milliseconds",
        ),
        Field(
            "system",
            "system",
            str,
            "The database's kind, such as `postgresql`.",
            line="db_system",
            span="db.system.name",
        ),
        Field("database", "database.name", str, "The database's name.", line="database", unset=None),
        Field(
            "summary", "statement.summary", str, "Operation and tables.", line="query_summary", span="db.query.summary"
        ),
        Field(
            "text", "statement.text", str, "The statement, without its values.", line="query_text", span="db.query.text"
        ),
        Field(
            "fingerprint",
            "statement.fingerprint",
            str,
            "What statements that differ in values alone have in common.",
            line="query_fingerprint",
        ),
        Field(
            "rows",
            "rows",
            int,
            "Rows that it returned or changed.",
            line="rows",
            span="db.response.returned_rows",
            unset=None,
        ),
        Field("error", "error", str, "The class of what it raised.", line="error", span="error.type", unset=None),
        Field("route", "", str, "The request's route.", line="route", unset=None),
        Field("call_site", "", str, "The line that asked.", line="call_site", unset=None),
        Field("plan", "", str, "How the database runs it, with `explain_slow_queries`.", line="plan", unset=None),
        Field("tables", "statement.tables", tuple, "The tables that the statement names."),
        Field(
            "operation",
            "operation",
            str,
            "The verb, where the application named it.",
            secret=True,
            span="db.operation.name",
            unset="",
        ),
        Field(
            "table",
            "table",
            str,
            "The table, where the application named it.",
            secret=True,
            span="db.collection.name",
            unset="",
        ),
        Field("alias", "", str, "Django's alias of the database.", span="database"),
        Field("namespace", "", str, "The database's name on its server.", span="db.namespace"),
        Field("server_address", "", str, "The database's host.", span="server.address"),
        Field("server_port", "", int, "Its port, where it is not the usual one.", span="server.port"),
        ROOT_ID,
        EXTRA,
    ),
    {
        **UNTOLD,
        "began_in": "the span sink's own",
        "correlation_id": "on the root alone",
        "database": "told by its parts",
        "explain": "asks the database",
        "fields": "on the root alone",
        "labels": "told by its parts",
        "outcome": "told by the error",
        "span_id": "of the query's span, which no line shows",
        "statement": "told by its parts",
        "totals": "the request's",
        "trace_id": "the request's",
    },
)
