"""
Time the queries of pipelines, whose results come later, in the order of the queries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import pq

from obskit.db.db_operation import DbOperation
from obskit.db.observe import end, fail, plan
from obskit.integrations.dbapi import rows_of

Wrapper = Callable[..., Any]
Around = Callable[[Wrapper], Wrapper]


def rows_of_all(cursor: Any) -> int | None:
    """
    Return the rows of all results of `executemany()`; the cursor itself knows the first result only.
    """
    try:
        return sum(result.ntuples or result.command_tuples or 0 for result in cursor._results)
    except Exception:
        return rows_of(cursor)


class SentQuery:
    """
    A query that was sent, or is just being sent, and how many of its results have arrived.
    """

    __slots__ = ("arrived", "cursor", "expected", "is_sent", "op", "rows_of", "state", "totals", "waited_before")

    def __init__(self, state: _PipelineState, cursor: Any, op: DbOperation, expected: int, returning: bool) -> None:
        self.state, self.cursor, self.op = state, cursor, op
        self.totals, op.totals = op.totals, None  # they get what the driver waits only once, not with each query
        self.arrived, self.expected = 0, expected
        self.is_sent = False
        self.rows_of = rows_of_all if returning else rows_of
        self.waited_before = state.waited


class _PipelineState:
    """
    The queries of one pipeline.

    Attributes:
        sent: Those whose results have not all arrived, in the order of sending.
        waited: Seconds that the driver has waited for results so far.
        waiting_since: When it began to wait, while it does.
        aborted: Whether a query has failed, and the server takes none after it.
    """

    def __init__(self) -> None:
        self.sent: deque[SentQuery] = deque()
        self.waited = 0.0
        self.waiting_since: float | None = None
        self.aborted = False

    def remove(self, sent: SentQuery) -> None:
        with suppress(ValueError):  # the pipeline has ended meanwhile
            self.sent.remove(sent)

    def add_wait(self) -> None:
        """
        Add the time that the driver has waited.
        """
        if self.waiting_since is not None:
            now = plan.clock()
            seconds, self.waiting_since = now - self.waiting_since, now
            self.waited += seconds
            totals = next((sent.totals for sent in self.sent if sent.totals is not None), None)
            if totals is not None:
                totals.db_seconds += seconds


def sending(cursor: Any, op: DbOperation, expected: int, returning: bool = False) -> SentQuery | None:
    """
    Add a query to its connection's pipeline; return None where there is none.
    """
    pipeline = getattr(cursor.connection, "_pipeline", None)
    if pipeline is None or not hasattr(type(pipeline), "_process_results"):
        return None
    state = vars(pipeline).get("_obskit_pipe")
    if state is None:
        state = pipeline._obskit_pipe = _PipelineState()
    sent = SentQuery(state, cursor, op, expected, returning)
    state.sent.append(sent)
    return sent


def count_params(params_seq: Iterable[Any], sent: SentQuery) -> Iterator[Any]:
    """
    Yield parameters, and expect a result for each.
    """
    for params in params_seq:
        sent.expected += 1
        yield params


def mark_sent(sent: SentQuery) -> None:
    """
    Add the time of sending; all results may have arrived already.
    """
    _add_sending(sent)
    if sent.arrived >= sent.expected:
        sent.state.remove(sent)
        sent.op.rows = sent.rows_of(sent.cursor)
        end(sent.op)


def _add_sending(sent: SentQuery) -> None:
    seconds = plan.clock() - sent.op.started
    sent.op.duration_seconds += seconds
    if sent.totals is not None:
        sent.totals.db_seconds += seconds
    sent.is_sent = True


def sending_failed(cursor: Any, op: DbOperation, sent: SentQuery | None, error: BaseException) -> None:
    """
    Handle what sending a query raised: its own failure, or that of an earlier one whose result arrived meanwhile.
    """
    pipeline = getattr(cursor.connection, "_pipeline", None)
    if sent is not None and pipeline is not None:
        last = pipeline.result_queue[-1] if pipeline.result_queue else None
        if last is not None and last[0] is cursor and sent.arrived < sent.expected:
            _add_sending(sent)
            return
        sent.state.remove(sent)
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
    sent = next((sent for sent in state.sent if sent.cursor is cursor), None)
    if sent is None:
        return
    state.add_wait()
    sent.arrived += 1
    op = sent.op
    if error is not None:
        state.aborted = True
        op.error = type(error).__name__
    if sent.is_sent and sent.arrived >= sent.expected:
        state.remove(sent)
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
                while state.sent:
                    fail(state.sent.popleft().op, lost)

    return exit


METHODS: dict[str, Around] = {"_process_results": _process_results, "_fetch_gen": _fetch_gen, "_exit": _exit}
