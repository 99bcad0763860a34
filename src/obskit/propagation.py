"""
Carry a request's ids on to the services that it calls.
"""

from __future__ import annotations

import sys

from obskit.context import correlation_id, current, trace_id_of

ID_HEADER = "X-Correlation-ID"
# OpenTelemetry reads no more of either, and warns of more: a client could fill the log with it.
MAX_TRACE_HEADER = 512


def outgoing_headers() -> dict[str, str]:
    """
    Give the headers that an outgoing call made here should carry.

    They are `X-Correlation-ID`, and `traceparent` with `tracestate` where a span is current or the request came with
    a trace. Add them to calls of your own services only: they tell a stranger which of his calls belong together.

    Returns:
        A new dict; empty outside of a request and of a span.
    """
    headers = {}
    given = correlation_id()
    if given is not None:
        headers[ID_HEADER] = given
    # Where nobody has imported it, no span can be current.
    trace = sys.modules.get("opentelemetry.trace")
    if trace is not None and trace.get_current_span().get_span_context().is_valid:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        TraceContextTextMapPropagator().inject(headers)
        return headers
    operation = current.get()
    root = operation.root if operation is not None else None
    return {**headers, **trace_headers(root)}


def trace_headers(request: object) -> dict[str, str]:
    """
    Read the `traceparent` and `tracestate` that a request came with; empty where they break the W3C rules.

    Args:
        request: An `HttpOperation`; anything else has no headers.
    """
    header = getattr(request, "header", None)
    parent = header("traceparent") if header is not None else None
    if header is None or parent is None or len(parent) > MAX_TRACE_HEADER or trace_id_of(parent) is None:
        return {}
    state = header("tracestate")
    if not state or len(state) > MAX_TRACE_HEADER:
        return {"traceparent": parent}
    return {"traceparent": parent, "tracestate": state}
