"""
Server spans of HTTP requests.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from obskit.bounded_cache import BoundedCache
from obskit.logs.clients import client_formatter
from obskit.logs.server_access import MAX_HEADER, MAX_PATH, loggable_path
from obskit.operation import OTHER, UNMATCHED, HttpOperation
from obskit.propagation import baggage, trace_headers
from obskit.rows.compiled import Forms, renderer
from obskit.rows.requests import HTTP
from obskit.sinks.sink_settings import SpanSinkSettings
from obskit.sinks.spans_by_kind.tracing import SCOPE, SpanScope, Tracing, end, take_ids
from obskit.sinks.tracer_provider import imported
from obskit.time.durations import milliseconds

if TYPE_CHECKING:
    from opentelemetry.context import Context

MAX_METHOD = 64
# Bytes of a header that a propagator reads: W3C's limit for baggage, the longest. Some warn about longer ones.
MAX_PROPAGATED = 8192
# FastAPI >= 0.16x leaves a request alone that has this key in its scope (fastapi/applications.py, `__call__`).
FASTAPI_MARK = "fastapi.telemetry"


def _span(name: str) -> str:
    return HTTP[name].span


class RequestSpans:
    """
    The server spans of requests: one that another instrumentation has started for a request is reused.
    """

    def __init__(self, tracing: Tracing, settings: SpanSinkSettings) -> None:
        self._tracing = tracing
        self._settings = settings
        redactor = tracing.redactor
        self._servers: BoundedCache[tuple[str, str], dict[str, Any]] = BoundedCache(
            lambda asked: {**redactor.fields(_server(*asked))}
        )
        self._agents: BoundedCache[str, str | None] = BoundedCache(
            lambda agent: redactor.short(agent, MAX_HEADER) or None
        )
        tracecontext = imported("opentelemetry.trace.propagation.tracecontext")
        self._extract = tracecontext.TraceContextTextMapPropagator().extract
        if not _DEFAULT_PROPAGATORS.issuperset(_propagators()):
            self._propagate = imported("opentelemetry.propagate")
            self._headers = _headers_of(imported("opentelemetry.propagators.textmap"))
            self._inherit = self._inherit_by_propagators  # type: ignore[method-assign]
        # Marks a span as reused, so that a request that the application sends to itself does not reuse it too.
        self._taken = tracing.context.create_key("obskit-taken")

    def start(self) -> Callable[[HttpOperation], None]:
        """
        Return the step at a request's begin.
        """
        tracing = self._tracing
        api, trace, tracer, now_ns = tracing.context, tracing.trace, tracing.tracer, tracing.now_ns()
        get_current, get_current_span, with_span = api.get_current, trace.get_current_span, trace.set_span_in_context
        attributes_of, server, inherit = self._request_attributes(), trace.SpanKind.SERVER, self._inherit

        def start(op: HttpOperation) -> None:
            context = get_current()
            outer = get_current_span(context)
            if not outer.get_span_context().is_valid:
                context = inherit(op, context)
            elif self._is_requests_own(outer, context):
                self._reuse(op, outer, context, attributes_of(op))
                return
            started = now_ns()
            span = tracer.start_span(_method_of(op), context, server, attributes_of(op), start_time=started)
            op.span = SpanScope(api, with_span(span, context), span, started)
            take_ids(op, span)
            _silence_fastapi(op)

        return start

    def _inherit(self, op: HttpOperation, context: Context) -> Context:
        """
        Return the context with the trace and baggage of the request's headers: OpenTelemetry's default propagators.
        """
        inherited = trace_headers(op)
        if inherited:
            context = self._extract(inherited, context)
        for name, value in baggage(op).items():
            context = imported("opentelemetry.baggage").set_baggage(name, value, context)
        return context

    def _inherit_by_propagators(self, op: HttpOperation, context: Context) -> Context:
        """
        Return the context that the propagators of `OTEL_PROPAGATORS` extract from a request.
        """
        if not getattr(op, "trusts_traces", True):
            return context
        return self._propagate.extract(op, context, self._headers)  # type: ignore[no-any-return]

    def _is_requests_own(self, span: Any, context: Context) -> bool:
        """
        Return whether the current span is this request's, by another instrumentation or FastAPI's own telemetry.

        It is a server span that is still open, not obskit's, and not reused by an outer request.
        """
        return (
            getattr(span, "kind", None) is self._tracing.trace.SpanKind.SERVER
            and span.is_recording()
            and _scope_of(span) != SCOPE
            and self._taken not in context
        )

    def _reuse(self, op: HttpOperation, span: Any, context: Context, attributes: dict[str, Any]) -> None:
        if self._settings.tracing is not None and _span("query") in (getattr(span, "attributes", None) or ()):
            # FastAPI records it whenever there is a provider, which here is obskit's doing.
            attributes.setdefault(_span("query"), "REDACTED")
        span.set_attributes(attributes)
        op.span = SpanScope(
            self._tracing.context, self._tracing.context.set_value(self._taken, True, context), span, None
        )
        take_ids(op, span)

    def _request_attributes(self) -> Callable[[HttpOperation], dict[str, Any]]:
        with_query, redactor, servers = self._settings.log_query_string, self._tracing.redactor, self._servers
        forms: Forms = {
            "client": client_formatter(self._settings.log_client),
            "header": self._agents.__getitem__,
            "path": lambda path: loggable_path(path, "", redactor),
        }
        plain = HTTP.without("query", "raw_method").on_spans(at_begin=True)
        add_fields, query, raw_method = (
            renderer("span", HttpOperation, plain, forms),
            _span("query"),
            _span("raw_method"),
        )

        def attributes_of(op: HttpOperation) -> dict[str, Any]:
            found: dict[str, Any] = {}
            add_fields(op, found)
            host = op.header("host")
            if host:
                found.update(servers[host, op.scheme])
            if op.method == OTHER:
                found[raw_method] = redactor.short(op.raw_method, MAX_METHOD)
            if with_query and op.query:
                found[query] = redactor.short_query(op.query, MAX_PATH)
            return found

        return attributes_of

    def finish(self) -> Callable[[HttpOperation], None]:
        """
        Return the step at its end.
        """
        failed, names = self._tracing.trace.StatusCode.ERROR, self._tracing.names
        plain = HTTP.without("endpoint", "error").on_spans(at_begin=False)
        add_fields = renderer("span", HttpOperation, plain, {"milliseconds": milliseconds})
        route_name, error_type = _span("endpoint"), _span("error")

        def finish(op: HttpOperation) -> None:
            scope = op.span
            if scope is None or not scope.span.is_recording():
                return
            span = scope.span
            try:
                attributes = self._tracing.free_attributes(op)
                add_fields(op, attributes)
                if op.endpoint != UNMATCHED:
                    route = names[op.endpoint]
                    if route.startswith("/"):  # else it is an endpoint's name, by `endpoint_style`
                        attributes[route_name] = route
                    span.update_name(f"{_method_of(op)} {route}")
                error = op.exception or op.error
                if error is None and op.status >= 500:
                    error = str(op.status)
                if error is not None:
                    attributes[error_type] = error
                    span.set_status(failed)
                span.set_attributes(attributes)
            finally:
                end(scope, op)

        return finish


# OpenTelemetry's default where `OTEL_PROPAGATORS` is not set.
_DEFAULT_PROPAGATORS = frozenset({"tracecontext", "baggage"})


def _propagators() -> Iterable[str]:
    given = os.environ.get("OTEL_PROPAGATORS")
    return _DEFAULT_PROPAGATORS if given is None else [name.strip() for name in given.split(",")]


def _headers_of(textmap: ModuleType) -> Any:
    """
    Return a getter with which propagators read the headers of a request.
    """

    class Headers(textmap.Getter):  # type: ignore[name-defined, misc]
        def get(self, carrier: HttpOperation, key: str) -> list[str] | None:
            value = carrier.header(key.lower())
            return None if value is None or len(value) > MAX_PROPAGATED else [value]

        def keys(self, carrier: HttpOperation) -> list[str]:
            return []

    return Headers()


def _scope_of(span: Any) -> str | None:
    return getattr(getattr(span, "instrumentation_scope", None), "name", None)


def _silence_fastapi(op: HttpOperation) -> None:
    """
    Prevent an inner FastAPI application from starting a second server span, in a trace of its own.

    Its telemetry does not look for a current span. It skips a request with its key in the scope, which is how
    `FastAPI(telemetry={"exclude": ...})` silences mounted applications. It is an inner one where obskit wraps the
    callable from outside, or an application that a FastAPI is mounted in; `instrument()` runs inside it, and reuses
    its span.
    """
    scope = getattr(op, "scope", None)
    if scope is not None:
        scope.setdefault(FASTAPI_MARK, None)


def _method_of(op: HttpOperation) -> str:
    return "HTTP" if op.method == OTHER else op.method


_host = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,253}))(?::([0-9]{1,5}))?").fullmatch
_PORTS = {"http": 80, "https": 443}


def _server(host: str, scheme: str) -> dict[str, Any]:
    """
    Return the server's attributes by `Host` header and scheme; none where the header is malformed.
    """
    match = _host(host)
    if match is None:
        return {}
    port = int(match[3]) if match[3] else _PORTS.get(scheme)
    found: dict[str, Any] = {_span("server_address"): match[1] or match[2]}
    if port is not None:
        found[_span("server_port")] = port
    return found
