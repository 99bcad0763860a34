"""
Observe queries: those that a hook sees, and those that the application marks with `observe_db`.

Each is counted once. A hooked query inside an `observe_db` is the observation and takes the labels from there; the
`observe_db` is one itself where no hooked query, and no further `observe_db`, ran inside.
"""

from __future__ import annotations

from obskit.context import current
from obskit.db.operation import DbOperation
from obskit.db.summary import known, summarize
from obskit.observation import Observation
from obskit.operation import Operation
from obskit.recorder import recorder

UNKNOWN_SYSTEM = "unknown"
plan = recorder.plan(DbOperation)
_new = DbOperation.__new__


class DbBlock(DbOperation):
    """
    Describe what one `observe_db` encloses.

    Attributes:
        measured: True from the moment that something inside is the observation in its place.
    """

    __slots__ = ("measured",)

    def __init__(self, system: str, table: str, operation: str) -> None:
        super().__init__(system, table, operation)
        self.measured = False


class _BlockPlan:
    """
    Begin and end blocks, and let only those be operations that measured for themselves.

    Whether one did is known at its end. It is handed to the sinks then, with `started` set already.
    """

    def begin(self, block: DbBlock) -> None:
        outer = _block_around(block.parent)
        if outer is not None:
            outer.measured = True
        block.started = recorder.clock()

    def end(self, block: DbBlock) -> None:
        if block.measured or block.ended:
            block.ended = True
            return
        at, started = recorder.clock(), block.started
        plan.begin(block)
        block.started = started
        plan.end(block, at)


_block_plan = _BlockPlan()


def _block_around(operation: Operation | None) -> DbBlock | None:
    while operation is not None:
        if type(operation) is DbBlock and not operation.ended:
            return operation
        operation = operation.parent
    return None


def query(system: str, sql: object) -> DbOperation:
    """
    Make the operation of a hooked query: labels from the `observe_db` around it, else from its statement.

    The hook begins and ends it by `plan`. It is never current: what runs inside of it is the driver.
    """
    # Not DbOperation(...): two calls of __init__ and one of nest() are a sixth of what a hooked query costs.
    op = _new(DbOperation)
    op.system = system
    try:
        op.operation, op.table = known[sql]
    except Exception:  # new, or an object that cannot be hashed
        op.operation, op.table = summarize(sql)
    op.started = op.duration_seconds = 0.0
    op.correlation_id = op.span = op.rare = None
    op.ended = False
    op.parent = parent = current.get()
    if parent is None:
        op._root = None
        return op
    op._root = parent.root
    if parent.parent is not None or type(parent) is DbBlock:
        _take_labels(op, parent)
    return op


def _take_labels(op: DbOperation, parent: Operation) -> None:
    block = _block_around(parent)
    if block is not None:
        block.measured = True
        op.table = block.table or op.table
        op.operation = block.operation or op.operation
        if block.system != UNKNOWN_SYSTEM:
            op.system = block.system
    while type(op.parent) is DbBlock:
        op.parent = op.parent.parent


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
    verb = operation.lower()
    return Observation(lambda: DbBlock(system, table, verb), _block_plan)
