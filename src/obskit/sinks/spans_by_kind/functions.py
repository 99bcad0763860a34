"""
Internal spans of functions and jobs.
"""

from __future__ import annotations

from collections.abc import Callable

from obskit.observation import FunctionOperation
from obskit.sinks.spans_by_kind.tracing import SpanScope, Tracing, end, take_ids


def function_start(tracing: Tracing) -> Callable[[FunctionOperation], None]:
    """
    Return the step at a function's begin.
    """
    api, tracer, now_ns, names = tracing.context, tracing.tracer, tracing.now_ns(), tracing.names
    with_span = tracing.trace.set_span_in_context

    def start(op: FunctionOperation) -> None:
        context, started = api.get_current(), now_ns()
        span = tracer.start_span(names[op.function], context, start_time=started)
        op.span = SpanScope(api, with_span(span, context), span, started)
        take_ids(op, span)

    return start


def function_finish(tracing: Tracing) -> Callable[[FunctionOperation], None]:
    """
    Return the step at its end.
    """
    failed = tracing.trace.StatusCode.ERROR

    def finish(op: FunctionOperation) -> None:
        scope = op.span
        if scope is None or not scope.span.is_recording():
            return
        try:
            attributes = tracing.free_attributes(op)
            if op.error is not None:
                attributes["error.type"] = op.error
                scope.span.set_status(failed)
            if attributes:
                scope.span.set_attributes(attributes)
        finally:
            end(scope, op)

    return finish
