"""
Time the queries of pipelines, whose results come later, in the order of the queries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import psycopg
from psycopg import pq

from obskit.db.db_operation import DbOperation
from obskit.db.observe import end, fail, plan
from obskit.integrations.dbapi import rows_of
from obskit.integrations.psycopg.cursors import Wrapper, rows_of_all


class _SentQuery:
    """
    A query that was sent, and how many of its results have arrived.
    """

    __slots__ = ("arrived", "expected", "is_sent", "op", "returning", "totals", "waited_before")

    def __init__(self, op: DbOperation, expected: int, returning: bool) -> None:
        self.op = op
        self.returning = returning
        self.totals, op.totals = op.totals, None  # they get what the driver waits only once, not with each query
        self.arrived = 0
        self.expected = expected
        self.is_sent = False
        self.waited_before = 0.0

    def rows_of(self, cursor: Any) -> int | None:
        """
        Return how many rows all of its results have.
        """
        return rows_of_all(cursor) if self.returning else rows_of(cursor)


class _PipelineState:
    """
    The queries of one pipeline.

    Attributes:
        waited: Seconds that the driver has waited for results so far.
        waiting_since: When it began to wait, while it does.
        aborted: Whether a query has failed, and the server takes none after it.
    """

    def __init__(self) -> None:
        self.waited = 0.0
        self.waiting_since: float | None = None
        self.aborted = False
        self._sent: dict[int, deque[_SentQuery]] = {}

    def add(self, cursor: Any, sent: _SentQuery) -> None:
        """
        Add a query that is sent.
        """
        self._sent.setdefault(id(cursor), deque()).append(sent)

    def first(self, cursor: Any) -> _SentQuery | None:
        """
        Return the query that a cursor's next result belongs to; None where there is none.
        """
        queue = self._sent.get(id(cursor))
        return queue[0] if queue else None

    def remove(self, cursor: Any, sent: _SentQuery) -> None:
        """
        Remove a query.
        """
        queue = self._sent.get(id(cursor))
        if queue and sent in queue:
            queue.remove(sent)
            if not queue:
                del self._sent[id(cursor)]

    def pop_all(self) -> list[_SentQuery]:
        """
        Remove and return the queries whose results have not arrived.
        """
        rest = [sent for queue in self._sent.values() for sent in queue]
        self._sent.clear()
        return rest

    def add_wait(self) -> None:
        """
        Add the time that the driver has waited.
        """
        if self.waiting_since is not None:
            now = plan.clock()
            seconds, self.waiting_since = now - self.waiting_since, now
            self.waited += seconds
            for queue in self._sent.values():
                if queue[0].totals is not None:
                    queue[0].totals.db_seconds += seconds
                    break


def _pipeline_state(pipeline: Any) -> _PipelineState:
    state: _PipelineState | None = vars(pipeline).get("_obskit_pipe")
    if state is None:
        state = pipeline._obskit_pipe = _PipelineState()
    return state


def sending(cursor: Any, op: DbOperation, expected: int, returning: bool = False) -> _SentQuery | None:
    """
    Add a query to its connection's pipeline; return None where there is none.
    """
    pipeline = getattr(cursor.connection, "_pipeline", None)
    if pipeline is None or not hasattr(type(pipeline), "_process_results"):
        return None
    sent, state = _SentQuery(op, expected, returning), _pipeline_state(pipeline)
    sent.waited_before = state.waited
    state.add(cursor, sent)
    return sent


def count_params(params_seq: Iterable[Any], sent: _SentQuery) -> Iterator[Any]:
    """
    Yield parameters, and expect a result for each.
    """
    for params in params_seq:
        sent.expected += 1
        yield params


def mark_sent(cursor: Any, op: DbOperation, sent: _SentQuery) -> None:
    """
    Add the time of sending; all results may have arrived already.
    """
    _add_sending(op, sent)
    if sent.arrived >= sent.expected:
        _pipeline_state(cursor.connection._pipeline).remove(cursor, sent)
        op.rows = sent.rows_of(cursor)
        end(op)


def _add_sending(op: DbOperation, sent: _SentQuery) -> None:
    seconds = plan.clock() - op.started
    op.duration_seconds += seconds
    if sent.totals is not None:
        sent.totals.db_seconds += seconds
    sent.is_sent = True


def sending_failed(cursor: Any, op: DbOperation, sent: _SentQuery | None, error: BaseException) -> None:
    """
    Handle what sending a query raised: its own failure, or that of an earlier one whose result arrived meanwhile.
    """
    pipeline = getattr(cursor.connection, "_pipeline", None)
    if sent is not None and pipeline is not None:
        last = pipeline.result_queue[-1] if pipeline.result_queue else None
        if last is not None and last[0] is cursor and sent.arrived < sent.expected:
            _add_sending(op, sent)
            return
        _pipeline_state(pipeline).remove(cursor, sent)
    fail(op, error)


def _process_results(original: Wrapper) -> Wrapper:
    def process_results(self: Any, queued: Any, results: Any) -> Any:
        state = vars(self).get("_obskit_pipe")
        if state is None or queued is None:
            return original(self, queued, results)
        try:
            result = original(self, queued, results)
        except BaseException as error:
            _result_arrived(state, queued[0], error)
            raise
        _result_arrived(state, queued[0], None)
        return result

    return process_results


def _result_arrived(state: _PipelineState, cursor: Any, error: BaseException | None) -> None:
    sent = state.first(cursor)
    if sent is None:
        return
    state.add_wait()
    sent.arrived += 1
    op = sent.op
    if error is not None:
        state.aborted = True
        op.error = type(error).__name__
    if sent.is_sent and sent.arrived >= sent.expected:
        state.remove(cursor, sent)
        op.duration_seconds += state.waited - sent.waited_before
        op.rows = sent.rows_of(cursor) if error is None else None
        end(op)


def _fetch_gen(original: Wrapper) -> Wrapper:
    def fetch_gen(self: Any, **kwargs: Any) -> Any:
        state = vars(self).get("_obskit_pipe")
        if state is None:
            return (yield from original(self, **kwargs))
        state.waiting_since = plan.clock()
        try:
            return (yield from original(self, **kwargs))
        finally:
            state.add_wait()
            state.waiting_since = None

    return fetch_gen


def _exit(original: Wrapper) -> Wrapper:
    def exit(self: Any, exc: BaseException | None) -> Any:
        try:
            return original(self, exc)
        finally:
            state = vars(self).get("_obskit_pipe")
            if self.level == 0 and state is not None:
                lost = exc or psycopg.OperationalError()  # no result came: the connection is gone
                if state.aborted and self._conn.pgconn.status == pq.ConnStatus.OK:
                    lost = psycopg.errors.PipelineAborted()  # the first of 3.1 drop results after a failure
                for sent in state.pop_all():
                    fail(sent.op, lost)

    return exit


METHODS = {"_process_results": _process_results, "_fetch_gen": _fetch_gen, "_exit": _exit}
