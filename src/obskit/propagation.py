"""
Carry a request's ids on: to the services that it calls, and to the threads that work for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar
from urllib.parse import unquote

from obskit.context import correlation_id, current
from obskit.correlation_ids import ID_HEADER, trace_id_of
from obskit.late_patterns import late

P = ParamSpec("P")
R = TypeVar("R")

# OpenTelemetry reads no more of either, and warns of more: a client could fill the log with it.
MAX_TRACE_HEADER = 512


def outgoing_headers() -> dict[str, str]:
    """
    Return the headers that an outgoing call made here should carry.

    They are `X-Correlation-ID`, and `traceparent` with `tracestate` where a span is current or the request came with
    a trace. Add them to calls of your own services only: others could see from them which calls belong together.

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
    Read the `traceparent` and `tracestate` that a request came with; empty where they break the W3C rules, or where
    `trust_inbound_traces` is off.

    Args:
        request: An `HttpOperation`; anything else has no headers.
    """
    header = getattr(request, "header", None) if getattr(request, "trusts_traces", True) else None
    parent = header("traceparent") if header is not None else None
    if header is None or parent is None or len(parent) > MAX_TRACE_HEADER or trace_id_of(parent) is None:
        return {}
    state = header("tracestate")
    if not state or len(state) > MAX_TRACE_HEADER:
        return {"traceparent": parent}
    return {"traceparent": parent, "tracestate": state}


def baggage(request: object) -> dict[str, str]:
    """
    Read the `baggage` that a request came with, by W3C's rules; entries that break them are left out.

    OpenTelemetry's own reader warns of each of those, and a client could fill the log.

    Args:
        request: An `HttpOperation`; anything else has none.
    """
    header = getattr(request, "header", None) if getattr(request, "trusts_traces", True) else None
    given = header("baggage") if header is not None else None
    if not given or len(given) > MAX_BAGGAGE:
        return {}
    found = {}
    for member in given.split(",")[:MAX_MEMBERS]:
        name, sign, value = member.partition(";")[0].partition("=")
        name, value = name.strip(), value.strip()
        if sign and _is_name.fullmatch(name) and _is_value.fullmatch(value):
            found[name] = unquote(value)
    return found


# W3C Baggage, "Limits" and "Definition".
MAX_BAGGAGE = 8192
MAX_MEMBERS = 180
_is_name = late(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_is_value = late(r"[!#-+\--:<-\[\]-~]*")


def with_context(function: Callable[P, R]) -> Callable[P, R]:
    """
    Return a function that runs anywhere as a part of the request that is current here: with its ids and bound fields.

    It is for threads, which begin with nothing: `pool.submit(obskit.with_context(resize), image)`,
    `Thread(target=obskit.with_context(resize))`. Tasks and `asyncio.to_thread()` need none. What it gives may be called
    often, by several threads at once, and after the request's end. `obskit.instrument_threads()` does it everywhere.

    Args:
        function: A plain function; of a coroutine function it would carry no more than its call.
    """
    operation = current.get()
    # Where nobody has imported it, no span can be current.
    trace = sys.modules.get("opentelemetry.context")
    spans = trace.get_current() if trace is not None else None

    @wraps(function)
    def within(*args: P.args, **kwargs: P.kwargs) -> R:
        token = current.set(operation)
        attached = trace.attach(spans) if trace is not None else None
        try:
            return function(*args, **kwargs)
        finally:
            if trace is not None:
                trace.detach(attached)
            current.reset(token)

    return within
