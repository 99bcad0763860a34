"""
Report slow queries, and keep the last and the slowest of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from operator import attrgetter
from typing import Any, TypeAlias

from obskit.catalogue import events
from obskit.context import current
from obskit.db.callsite import call_site
from obskit.db.db_operation import DbOperation
from obskit.db.slow_query_totals import MAX_QUERIES, SlowQueryTotals, StatementTotal
from obskit.deferred_endings import drain, is_draining
from obskit.errors import ConfigurationError
from obskit.operation import Event, HttpOperation, Operation
from obskit.recorder import recorder
from obskit.rows.compiled import row_maker
from obskit.rows.queries import DATABASE
from obskit.time.durations import milliseconds

OTHERS = "(others)"


@dataclass(slots=True)
class SlowQuery:
    """
    A slow query, without any of its values.

    Attributes:
        at: When it was reported, in seconds since the epoch.
        duration_ms: What the driver took, in milliseconds.
        system: The OpenTelemetry `db.system.name`.
        summary: Operations and tables: `SELECT devices orders`.
        text: The statement with `?` for each literal.
        fingerprint: The same for statements that differ in values only.
        rows: Rows that it changed or returned; None where that is not known.
        error: Class name of what it raised; None where it went well.
        route: The route template of the request; None outside of one.
        correlation_id: The id of the request or job; None outside of one.
        call_site: The application's line that made it: `shop/views.py:42 devices`; None where it is not known.
        plan: The database's plan, where it was asked for.
        database: Django's alias of the database, else its name on the server; None where neither is known.
        tables: The tables that the statement names.
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
    tables: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """
        Return the fields as a dict, ready for JSON.
        """
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SlowStatement:
    """
    The slow queries that differ in values only, added up.

    Attributes:
        fingerprint: What they have in common; empty for those that no hook read, and for the rest.
        system: The OpenTelemetry `db.system.name`.
        database: Django's alias of the database, else its name on the server; None where neither is known.
        summary: Operations and tables: `SELECT devices orders`; `(others)` for the rest.
        text: The statement with `?` for each literal.
        count: How many were slow; faster ones are not counted in any field.
        errors: How many of them raised.
        total_ms, mean_ms, min_ms, max_ms: What the driver took, in milliseconds.
        first_at, last_at: When the first and the last were reported, in seconds since the epoch.
        slowest: The slowest of them, with its route and line of code.
        plan: The database's latest plan of any of them, where it was asked for.
    """

    fingerprint: str
    system: str
    database: str | None
    summary: str
    text: str
    count: int
    errors: int
    total_ms: float
    mean_ms: float
    min_ms: float
    max_ms: float
    first_at: float
    last_at: float
    slowest: SlowQuery
    plan: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """
        Return the fields as a dict, ready for JSON.
        """
        return asdict(self)


# Reads slow queries of all workers from where they are kept: so many of the latest, or, where the flag is set, of the
# slowest, these first; None where they cannot be read.
KeptQueries: TypeAlias = Callable[[int, bool], list[SlowQuery] | None]
MAX_KEPT = 10_000  # that are read to be added up

_kept: KeptQueries | None = None
_totals = SlowQueryTotals[SlowQuery]()
# The fields of a slow query that are the operation's, and the names by which its line has them.
_OWN = {field.name: field for field in DATABASE.in_rows() if field.name in {*SlowQuery.__slots__, "duration_seconds"}}
_COLUMNS, _row_of = tuple(_OWN), row_maker(DbOperation, _OWN.values())
_ON_LINES = [
    (field.line, attrgetter("duration_ms" if field.name == "duration_seconds" else field.name))
    for field in DATABASE.on_lines()
]


def slow_queries(*, slowest: int | None = None) -> list[SlowQuery]:
    """
    Return slow queries: the last 100, the oldest first, or the slowest. With `history=True` they are those of all
    workers, over restarts, for as long as records are kept; else those of this process since its start.

    Args:
        slowest: How many of the slowest to return instead, the slowest first; 100 are kept.

    Raises:
        ConfigurationError: `slowest` is no whole number above 0.
    """
    drain()
    if slowest is not None and (type(slowest) is not int or slowest < 1):
        raise ConfigurationError(f"slow_queries(slowest={slowest!r}): expected a whole number above 0")
    most = MAX_QUERIES if slowest is None else min(slowest, MAX_QUERIES)
    if _kept is not None and (found := _kept(most, slowest is not None)) is not None:
        return found
    return _totals.latest() if slowest is None else _totals.slowest()[:most]


def slow_statements() -> list[SlowStatement]:
    """
    Return slow queries by statement, the largest total time first. With `history=True` they are the last 10,000 of all
    workers, over restarts; else those of this process since its start.

    Statements are told apart by their fingerprint, in each database. The 500 that took the most are listed, and if
    there were more, the rest comes last, as `(others)`.
    """
    drain()
    totals = _totals
    if _kept is not None and (kept := _kept(MAX_KEPT, False)) is not None:
        totals = SlowQueryTotals[SlowQuery]()
        for query in kept:
            totals.add(query)
    statements, rest = totals.by_statement()
    found = sorted((_slow_statement_of(total) for total in statements), key=lambda one: (-one.total_ms, one.summary))
    if rest is not None:
        found.append(
            replace(
                _slow_statement_of(rest), fingerprint="", system="", database=None, summary=OTHERS, text="", plan=None
            )
        )
    return found


def read_from(kept: KeptQueries | None) -> None:
    """
    Have slow queries read from where those of all workers are kept; None: from this process's memory alone.
    """
    global _kept
    _kept = kept


def forget() -> None:
    """
    Drop all slow queries.
    """
    global _totals
    _totals = SlowQueryTotals()


def _slow_statement_of(total: StatementTotal[SlowQuery]) -> SlowStatement:
    slowest = total.slowest
    return SlowStatement(
        *(slowest.fingerprint, slowest.system, slowest.database, slowest.summary, slowest.text),
        count=total.count,
        errors=total.errors,
        total_ms=round(total.total_ms, 3),
        mean_ms=round(total.total_ms / total.count, 3),
        min_ms=total.min_ms,
        max_ms=slowest.duration_ms,
        first_at=total.first_at,
        last_at=total.last_at,
        slowest=slowest,
        plan=total.plan,
    )


def record_slow(op: DbOperation, error_seconds: float) -> None:
    """
    Store and report a slow query, with the ids of the request that made it.

    Args:
        op: The query; it has ended, or still has rows.
        error_seconds: The duration from which its line is an ERROR; below it is a WARNING.
    """
    found = _slow_query_of(op)
    if op.explain is not None:
        try:
            op.explain(found)
        except Exception as error:
            recorder.failed("explain", error)
    _totals.add(found)
    level = "ERROR" if op.duration_seconds >= error_seconds else "WARNING"
    told = {name: value for name, read in _ON_LINES if (value := read(found)) is not None}
    emit_for(op, events.SLOW_QUERY.event("slow query", told, level=level))


def report_plan(query: SlowQuery, plan: str) -> None:
    """
    Store and report a plan that arrived after its query was reported.
    """
    query.plan = plan
    _totals.explain(query, plan)
    fields = {DATABASE[name].line: getattr(query, name) for name in ("summary", "fingerprint", "plan")}
    holder = Operation()
    holder.correlation_id = query.correlation_id
    emit_for(holder, events.QUERY_PLAN.event("query plan", fields))


def emit_for(op: Operation, event: Event) -> None:
    """
    Emit an event with the ids of an operation's request, wherever this runs.
    """
    token = current.set(op.root)
    try:
        recorder.emit(event)
    finally:
        current.reset(token)


def _slow_query_of(op: DbOperation) -> SlowQuery:
    root, told = op.root, dict(zip(_COLUMNS, _row_of(op), strict=True))
    return SlowQuery(
        at=recorder.wall_clock(),
        duration_ms=milliseconds(told.pop("duration_seconds")),
        summary=told.pop("summary") or f"{op.operation} {op.table}".strip(),
        route=root.locate() if isinstance(root, HttpOperation) else None,
        call_site=None if is_draining() else call_site(),
        **told,
    )
