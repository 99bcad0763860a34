"""
Client spans of database queries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from obskit.db.db_operation import DbOperation
from obskit.recorder import Step
from obskit.rows.queries import DATABASE
from obskit.sinks.spans_by_kind.tracing import Tracing, take_ids

_SYSTEM, _OPERATION, _TABLE, _SUMMARY, _TEXT, _ROWS, _ERROR = (
    DATABASE[name].span for name in ("system", "operation", "table", "summary", "text", "rows", "error")
)


def bind_queries(tracing: Tracing, kind: type[DbOperation]) -> tuple[Step, Step]:
    """
    Return the steps that start and end the spans of queries.
    """
    return query_start(tracing), query_finish(tracing)


def query_start(tracing: Tracing) -> Callable[[DbOperation], None]:
    """
    Return a step that keeps the context of a query's begin: it may end in another, when its cursor is collected.
    """
    get_current = tracing.context.get_current

    def start(op: DbOperation) -> None:
        op.began_in = get_current()

    return start


def query_finish(tracing: Tracing) -> Callable[[DbOperation], None]:
    """
    Return a step that makes the whole span of a query at its end: no application code runs inside it.

    Its duration is the driver's, without what the application did between two fetches.
    """
    tracer, now_ns, trace = tracing.tracer, tracing.now_ns(), tracing.trace
    client, failed, clock = trace.SpanKind.CLIENT, trace.StatusCode.ERROR, tracing.recorder.clock
    names = tracing.names

    def finish(op: DbOperation) -> None:
        started = now_ns() - int((clock() - op.started) * 1e9)
        attributes = tracing.free_attributes(op)
        attributes.update(_query_attributes(op, names))
        span = tracer.start_span(names[_query_name(op)], op.began_in, client, attributes, start_time=started)
        take_ids(op, span)
        if op.error is not None:
            span.set_status(failed)
        span.end(started + int(op.duration_seconds * 1e9))

    return finish


def _query_name(op: DbOperation) -> str:
    if op.statement.summary and not op.labels.given:
        return op.statement.summary
    return f"{op.operation} {op.table}".strip() or op.system


def _query_attributes(op: DbOperation, names: Mapping[str, str]) -> dict[str, Any]:
    """
    Return what is known of the statement; operation and collection only where the application has set them, since the
    conventions forbid to parse them out of a statement.
    """
    labels, statement = op.labels, op.statement
    found: dict[str, Any] = {}
    if op.system != "unknown":
        found[_SYSTEM] = names[op.system]
    if op.database is not None:
        found.update(op.database.attributes, **found)
    if labels.given and op.operation:
        found[_OPERATION] = names[op.operation]
    if labels.given and op.table:
        found[_TABLE] = names[op.table]
    if statement.summary:
        found[_SUMMARY] = statement.summary
        found[_TEXT] = statement.text
    if op.rows is not None and statement.operation == "select":
        found[_ROWS] = op.rows
    if op.error is not None:
        found[_ERROR] = op.error
    return found
