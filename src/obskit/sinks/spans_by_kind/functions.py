"""
Internal spans of functions and jobs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from obskit.jobs import JobOperation
from obskit.observation import FunctionOperation
from obskit.recorder import Step
from obskit.rows.compiled import renderer
from obskit.rows.field import Rows
from obskit.rows.functions import FUNCTION, JOB
from obskit.sinks.spans_by_kind.tracing import SpanScope, Tracing, end, take_ids

_ROWS: dict[type, Rows] = {FunctionOperation: FUNCTION, JobOperation: JOB}
Ours = FunctionOperation | JobOperation


def bind_functions(tracing: Tracing, kind: type[Ours]) -> tuple[Step, Step]:
    """
    Return the steps that start and end the spans of functions or jobs.
    """
    return function_start(tracing, kind), function_finish(tracing, kind)


def function_start(tracing: Tracing, kind: type[Ours]) -> Callable[[Ours], None]:
    """
    Return the step at the begin of a function or a job.
    """
    api, tracer, now_ns, names = tracing.context, tracing.tracer, tracing.now_ns(), tracing.names
    with_span = tracing.trace.set_span_in_context
    add_fields = renderer("span", kind, _ROWS[kind].on_spans(at_begin=True), {})

    def start(op: Ours) -> None:
        context, started = api.get_current(), now_ns()
        attributes: dict[str, Any] = {}
        add_fields(op, attributes)
        span = tracer.start_span(names[op.function], context, attributes=attributes, start_time=started)
        op.span = SpanScope(api, with_span(span, context), span, started)
        take_ids(op, span)

    return start


def function_finish(tracing: Tracing, kind: type[Ours]) -> Callable[[Ours], None]:
    """
    Return the step at its end.
    """
    failed = tracing.trace.StatusCode.ERROR
    add_fields = renderer("span", kind, _ROWS[kind].on_spans(at_begin=False), {})

    def finish(op: Ours) -> None:
        scope = op.span
        if scope is None or not scope.span.is_recording():
            return
        try:
            attributes = tracing.free_attributes(op)
            add_fields(op, attributes)
            if op.error is not None:
                scope.span.set_status(failed)
            if attributes:
                scope.span.set_attributes(attributes)
        finally:
            end(scope, op)

    return finish
