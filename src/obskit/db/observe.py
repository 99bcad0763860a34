"""
Time and count queries: those that a hook sees, and those that the application marks with `observe_db`.

Each is counted once. A hooked query inside an `observe_db` is the observation and takes the labels from there; the
`observe_db` is one itself where no hooked query, and no further `observe_db`, ran inside.
"""

from __future__ import annotations

from typing import Any

from obskit.bounded_cache import BoundedCache
from obskit.context import current
from obskit.db import slow_log
from obskit.db.database import Database, QueryLabels
from obskit.db.db_operation import DbOperation
from obskit.db.query_watch import thresholds, totals_of
from obskit.deferred_endings import drain, end_later, waiting
from obskit.observation import Observation, UnrecordedOperation, block_around, recorded
from obskit.operation import Operation
from obskit.recorder import no_op, recorder
from obskit.redaction.redactor import Redactor

UNKNOWN_SYSTEM = "unknown"
plan = recorder.plan(DbOperation)
_new = DbOperation.__new__


class DbBlock(DbOperation):
    """
    The block or call that one `observe_db` encloses.

    Attributes:
        measured: True from the moment that something inside is the observation in its place.
    """

    __slots__ = ("measured",)

    def __init__(self, system: str, table: str, operation: str) -> None:
        super().__init__(system, table, operation)
        self.measured = False


class _BlockPlan:
    """
    Begins and ends blocks; only blocks without a query of their own become operations.

    Whether one had a query is known at its end; the sinks get it then, with `started` set already.
    """

    def begin(self, block: DbBlock) -> None:
        if waiting:
            drain()
        outer = block_around(DbBlock, block.parent)
        if outer is not None:
            outer.measured = True
        block.started = recorder.clock()

    def end(self, block: DbBlock, at: float | None = None) -> None:
        if block.measured or block.ended:
            block.ended = True
            return
        at, started = recorder.clock() if at is None else at, block.started
        block.duration_seconds = at - started
        if block.parent is not None and plan.active:
            block.totals = totals_of(block.root)
            if block.totals is not None:
                block.totals.db_queries += 1
        plan.begin(block)
        block.started = started
        end(block)


_block_plan = _BlockPlan()


def abandon(op: DbOperation) -> None:
    """
    End a query whose cursor is dropped, with or without rows left. Called by the cursor's `__del__()`.
    """
    if op.sparse is not None:
        op.explain = None  # its connection may be gone
    end_later(op, _end_abandoned, plan.clock())


def _end_abandoned(op: DbOperation, at: float) -> None:
    end(op)  # it is as long as the driver took, whenever it was dropped


class OpenQuery:
    """
    The query of a cursor that has rows left; it lives as long as the cursor, and is abandoned with it.
    """

    __slots__ = ("op",)

    def __init__(self, op: DbOperation) -> None:
        self.op = op

    def __del__(self) -> None:
        if not self.op.ended:
            abandon(self.op)


def begin(database: Database, sql: object, many: bool = False) -> DbOperation:
    """
    Return the operation of a hooked query, with its clock started. It is never current: only the driver runs inside.

    Its labels are those of the `observe_db` around it, else of its statement. The hook adds the driver's time, to the
    last row, to `duration_seconds`, and calls `end()`.

    Args:
        many: Whether the driver executes it for many rows at once.
    """
    if waiting:
        drain()
    # Not DbOperation(...): two calls of __init__ and one of nest() are a sixth of what a hooked query costs.
    op = _new(DbOperation)
    op.database = database
    try:
        op.labels = labels = (database.batch_labels if many else database.labels)[sql]
    except TypeError:  # it cannot be hashed
        op.labels = labels = database.unknown_labels
    op.correlation_id = op.span = op.sparse = op.rows = None
    op.duration_seconds = 0.0
    op.ended = labels.is_transaction_control  # no sink is called
    op.parent = parent = current.get()
    if parent is None or op.ended:
        op._root = op.totals = None
    else:
        attach_to_parent(op, parent)
    if plan.start is not no_op and not op.ended:  # Plan.begin(), without the call
        plan.start(op)
    op.started = plan.clock()
    return op


def attach_to_parent(op: Any, parent: Any) -> None:
    """
    Make a hooked query a child of the current operation, and count it with its request.
    """
    op._root = parent._root or parent
    sparse = op._root.sparse
    op.totals = totals = totals_of(op._root) if sparse is None or "totals" not in sparse else sparse["totals"]
    if totals is not None:
        totals.db_queries += 1
        repeats = totals.repeats
        if repeats is not None:
            counts, labels = repeats.counts, op.labels
            fingerprint = labels.fingerprint
            counts[fingerprint] = times = counts.get(fingerprint, 0) + 1
            if times > 1:
                repeats.count_repeat(labels.statement, times)
    if parent.parent is not None or type(parent) is DbBlock:
        _take_labels(op, parent)


def end(op: DbOperation) -> None:
    """
    End a query: pass it to the sinks, once, with the seconds that were added up.
    """
    if not op.ended:
        op.ended = True
        seconds = op.duration_seconds
        totals = op.totals
        if totals is not None:
            totals.db_seconds += seconds
        if waiting:
            drain()
        if op.sparse is not None:
            if plan.finish_sparse is not None:
                plan.finish_sparse(op)
            if seconds < thresholds.way_seconds and op.error is not None:
                _note_way(op)
        plan.finish(op)
        if plan.finish_too is not None:
            plan.finish_too(op)
        if seconds >= thresholds.watched_seconds:
            _look_at(op, -1.0)


def add_fetch_time(op: DbOperation, seconds: float) -> None:
    """
    Add the seconds of further fetches to the request of a query that ended with its first row.
    """
    before = op.duration_seconds
    op.duration_seconds += seconds
    if op.totals is not None:
        op.totals.db_seconds += seconds
    if op.duration_seconds >= thresholds.watched_seconds:
        _look_at(op, before)


def fail(op: DbOperation, error: BaseException) -> None:
    """
    End a query with what it raised; one that has ended already does not change.
    """
    if op.ended:
        return
    op.error = type(error).__name__
    code = getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorname", None)
    if code is not None:
        op.extra["db.response.status_code"] = code
    op.duration_seconds = op.duration_seconds or plan.clock() - op.started
    if isinstance(error, GeneratorExit):
        abandon(op)  # its coroutine was dropped, maybe by a garbage collection
    else:
        end(op)


def _look_at(op: DbOperation, before: float) -> None:
    """
    Note and report what has become slow since it had taken some seconds.
    """
    if before < thresholds.way_seconds <= op.duration_seconds:
        _note_way(op)
    if before < thresholds.slow_seconds <= op.duration_seconds:
        _report_slow(op)


def _note_way(op: DbOperation) -> None:
    try:
        thresholds.note_way(op)
    except Exception as error:
        recorder.failed("records", error)


def _report_slow(op: DbOperation) -> None:
    try:
        slow_log.record_slow(op, thresholds.error_seconds)
    except Exception as error:
        recorder.failed("slow_query", error)


def _take_labels(op: DbOperation, parent: Operation) -> None:
    if type(parent) is UnrecordedOperation:
        op.ended = True
        return
    block = block_around(DbBlock, parent)
    if block is not None:
        block.measured = True
        mine = op.labels
        system = mine.system if block.system == UNKNOWN_SYSTEM else block.system
        table, operation = block.table or mine.table, block.operation or mine.operation
        op.labels = QueryLabels(system, table, operation, mine.statement, given=True)
    while type(op.parent) is DbBlock:
        op.parent = op.parent.parent


# Names given to blocks go to labels and lines; each is redacted once.
_shown = BoundedCache(Redactor().text)


def observe_db(table: str, operation: str, system: str = UNKNOWN_SYSTEM) -> Observation:
    """
    Time a function or a block that makes a known query: `@observe_db(table="devices", operation="select")`.

    Works on functions, coroutine functions, generators and asynchronous generators, and keeps their signature; it is
    a context manager too. Where a hooked driver runs the query, the driver's time is counted, once for each query,
    under these labels, and `fail()` has nothing to mark; elsewhere the time of the function or block is.

    Args:
        table: The label `table`, one of a bounded set; an empty string leaves it to the hook.
        operation: The label `operation`, put in lower case; an empty string leaves it to the hook.
        system: The label `system`; the hook's own where it is left out.
    """
    table, verb, system = _shown[table], _shown[operation].lower(), _shown[system]
    return Observation(lambda: DbBlock(system, table, verb), _block_plan)


def record(
    *,
    table: str,
    operation: str,
    seconds: float,
    system: str = UNKNOWN_SYSTEM,
    rows: int | None = None,
    error: str | None = None,
) -> None:
    """
    Count a query that has been timed elsewhere, such as by a driver that no hook knows. It has just ended.

    It counts once, with the request that runs here; an `observe_db` around it only encloses it.

    Args:
        table, operation, system: The labels, as of `observe_db()`.
        seconds: How long it took, 0 or more.
        rows: How many rows it changed or returned; None where that is not known.
        error: The class of the exception that ended it; None where it succeeded.

    Raises:
        ConfigurationError: The seconds are no time.
    """
    block = DbBlock(_shown[system], _shown[table], _shown[operation].lower())
    block.rows, block.error = rows, error
    recorded(block, seconds, _block_plan)
