"""
Client spans of AI calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from obskit.ai.ai_operation import AiOperation
from obskit.bounded_cache import BoundedCache
from obskit.recorder import Step
from obskit.sinks import genai_attributes
from obskit.sinks.spans_by_kind.tracing import SCOPE, SpanScope, Tracing, end, take_ids


def bind_calls(tracing: Tracing, kind: type[AiOperation]) -> tuple[Step, Step]:
    """
    Return the steps that start and end the spans of AI calls.
    """
    return call_start(tracing), call_finish(tracing)


def call_start(tracing: Tracing) -> Callable[[AiOperation], None]:
    """
    Return the step at a call's begin.
    """
    api, trace, tracer, now_ns = tracing.context, tracing.trace, tracing.tracer, tracing.now_ns()
    with_span, current_span, client = trace.set_span_in_context, trace.get_current_span, trace.SpanKind.CLIENT
    names, hide = tracing.names, tracing.redactor.fields
    asked_of, made = genai_attributes.asked_of, genai_attributes.start_attributes
    attributes = BoundedCache[genai_attributes.Asked, dict[str, Any]](lambda asked: {**hide(made(asked))})

    def start(op: AiOperation) -> None:
        context = api.get_current()
        outer = current_span(context)
        if op.has_sdk_span:
            op.span = genai_attributes.BorrowedSpan(None, current_span, hide)
        elif genai_attributes.is_call_of_others(outer, SCOPE):
            op.span = genai_attributes.BorrowedSpan(outer, current_span, hide)
            take_ids(op, outer)
        else:
            started = now_ns()
            if op.started:  # a block that turned out to be the call only now
                started -= int((tracing.recorder.clock() - op.started) * 1e9)
            name, begun = names[genai_attributes.name_of(op)], attributes[asked_of(op)].copy()
            span = tracer.start_span(name, context, client, begun, start_time=started)
            op.span = SpanScope(api, with_span(span, context), span, started)
            take_ids(op, span)

    return start


def call_finish(tracing: Tracing) -> Callable[[AiOperation], None]:
    """
    Return the step at its end.
    """
    failed, hide, reasons = tracing.trace.StatusCode.ERROR, tracing.redactor.fields, genai_attributes.FINISH_REASONS

    def finish(op: AiOperation) -> None:
        scope = op.span
        if scope is None or scope.span is None or not scope.span.is_recording():
            return
        if scope.started_ns is None:
            scope.tell(op)
            return
        try:
            attributes = tracing.free_attributes(op, of_root=True)
            attributes.update(hide(genai_attributes.end_attributes(op)))
            if op.finish_reason is not None:  # a list, which it becomes here: redaction is faster with plain values
                attributes[reasons] = (attributes[reasons],)
            if op.error is not None:
                scope.span.set_status(failed)
            scope.span.set_attributes(attributes)
        finally:
            end(scope, op)

    return finish
