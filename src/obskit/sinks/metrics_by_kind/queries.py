"""
Metrics of database queries.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from obskit.catalogue import db
from obskit.db.database import QueryLabels
from obskit.db.db_operation import DbOperation
from obskit.metrics.cells import LockLike, Values
from obskit.recorder import Step
from obskit.sinks.metrics_by_kind.binding import Binding


def bind_queries(binding: Binding) -> tuple[None, Step]:
    """
    Return the step at a query's end.
    """
    duration = binding.histogram(db.DURATION, binding.settings.db_buckets)
    errors, failed = binding.counter(db.ERRORS), binding.recorder.failed

    # Inlined, as that of requests. The labels cache the cell: a look-up would be a fifth of the cost.
    def finish(op: DbOperation) -> None:
        try:
            seconds = op.duration_seconds
            labels = op.labels
            lock, values, edges = labels.cell if labels.cell_owner is duration._cells else find(labels)
            index = bisect_left(edges, seconds)
            with lock:
                values[index] += 1.0
                values[1] += seconds
                values[0] += 1.0
            if op.sparse is not None:
                rest(op, (labels.system, labels.table, labels.operation))
        except Exception as error:
            failed("metrics", error)

    def find(labels: QueryLabels) -> tuple[LockLike, Values, Sequence[float]]:
        key = (labels.system, labels.table, labels.operation)
        cell = duration.cell(key)
        found = cell.lock, cell.attach(), cell.edges
        if key in duration._cells:  # else it is beyond the cap, and each such update is counted
            labels.cell, labels.cell_owner = found, duration._cells
        return found

    def rest(op: DbOperation, key: tuple[str, str, str]) -> None:
        if op.error is not None:
            errors.cell((*key, op.error)).inc()
        if op.sampled:
            duration.record_exemplar(key, op.duration_seconds, op.trace_id, binding.recorder.wall_clock())

    return None, finish
