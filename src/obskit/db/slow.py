"""
Tell of slow queries, and keep the last of them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

from obskit.context import current
from obskit.db.callsite import call_site
from obskit.db.operation import DbOperation
from obskit.endings import drain, is_draining
from obskit.operation import Event, HttpOperation, Operation
from obskit.recorder import recorder

KEPT = 100


@dataclass(slots=True)
class SlowQuery:
    """
    Describe a slow query, without any of its values.

    Attributes:
        at: When it was told of, in seconds since the epoch.
        duration_ms: What the driver took, in milliseconds.
        system: The OpenTelemetry `db.system.name`.
        summary: Operations and tables: `SELECT devices orders`.
        text: The statement with `?` for each literal.
        fingerprint: The same for statements that differ in values only.
        rows: Rows that it changed or gave; None where that is not known.
        error: Class name of what it raised; None where it went well.
        route: The route template of the request; None outside of one.
        correlation_id: The id of the request or job; None outside of one.
        call_site: The line of the application that asked: `shop/views.py:42 devices`; None where it is not known.
        plan: How the database would run it, where that was asked for.
        database: Django's alias of the database, else its name on the server; None where neither is known.
    """

    at: float
    duration_ms: float
    system: str
    summary: str
    text: str
    fingerprint: str
    rows: int | None
    error: str | None
    route: str | None
    correlation_id: str | None
    call_site: str | None
    plan: str | None = None
    database: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """
        Give the fields as a dict that JSON can say.
        """
        return asdict(self)


_kept: deque[SlowQuery] = deque(maxlen=KEPT)


def slow_queries() -> list[SlowQuery]:
    """
    Give the last 100 slow queries of this process, the oldest first.
    """
    drain()
    return list(_kept)


def forget() -> None:
    """
    Start over.
    """
    _kept.clear()


def note(op: DbOperation, error_from: float) -> None:
    """
    Keep a slow query and tell of it, with the ids of the request that made it.

    Args:
        op: The query; it has ended, or still has rows.
        error_from: From how many seconds on its line is an ERROR; below that it is a WARNING.
    """
    found = _described(op)
    if op.explain is not None:
        try:
            op.explain(found)
        except Exception as error:
            recorder.failed("explain", error)
    _kept.append(found)
    severity = "ERROR" if op.duration_seconds >= error_from else "WARNING"
    fields = {
        "query_ms": found.duration_ms,
        "db_system": found.system,
        "database": found.database,
        "query_summary": found.summary,
        "query_text": found.text,
        "query_fingerprint": found.fingerprint,
        "rows": found.rows,
        "error": found.error,
        "route": found.route,
        "call_site": found.call_site,
        "plan": found.plan,
    }
    told = {name: value for name, value in fields.items() if value is not None}
    tell(op, Event("performance.slow_query", severity, "slow query", told))


def tell_plan(query: SlowQuery, plan: str) -> None:
    """
    Keep a plan that came later, and tell of it.
    """
    query.plan = plan
    fields = {"query_summary": query.summary, "query_fingerprint": query.fingerprint, "plan": plan}
    holder = Operation()
    holder.correlation_id = query.correlation_id
    tell(holder, Event("performance.query_plan", "WARNING", "query plan", fields))


def tell(op: Operation, event: Event) -> None:
    """
    Emit an event with the ids of an operation's request, wherever this runs.
    """
    token = current.set(op.root)
    try:
        recorder.emit(event)
    finally:
        current.reset(token)


def _described(op: DbOperation) -> SlowQuery:
    root, statement = op.root, op.statement
    return SlowQuery(
        at=recorder.wall_clock(),
        duration_ms=int(op.duration_seconds * 1e6 + 0.5) / 1000,
        system=op.system,
        summary=statement.summary or f"{op.operation} {op.table}".strip(),
        text=statement.text,
        fingerprint=statement.fingerprint,
        rows=op.rows,
        error=op.error,
        route=root.locate() if isinstance(root, HttpOperation) else None,
        correlation_id=root.correlation_id,
        database=op.source.database if op.source is not None else None,
        call_site=None if is_draining() else call_site(),
    )
