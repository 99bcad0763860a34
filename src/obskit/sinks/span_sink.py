"""
The span sink: turns operations into OpenTelemetry spans, by its semantic conventions.

Each request has one server span: one that another instrumentation has started for it is reused, and one that would
start its own inside ours finds ours.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Set
from types import ModuleType
from typing import TYPE_CHECKING, Any

from obskit._version import __version__
from obskit.ai.ai_operation import AiOperation
from obskit.bounded_cache import BoundedCache
from obskit.db.db_operation import DbOperation
from obskit.jobs import JobOperation
from obskit.logs.clients import client_formatter
from obskit.logs.rendering import as_text
from obskit.logs.server_access import MAX_HEADER, MAX_PATH, loggable_path
from obskit.observation import FunctionOperation
from obskit.operation import OTHER, UNMATCHED, HttpOperation, Operation
from obskit.propagation import baggage, trace_headers
from obskit.recorder import Recorder, Sink, Step
from obskit.redaction.redactor import Redactor
from obskit.sinks import genai_attributes
from obskit.sinks.sink_settings import SpanSinkSettings
from obskit.sinks.tracer_provider import Provider, imported, provider_of

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

SCOPE = "obskit"
# The version of the conventions whose stable part these names are from.
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
MAX_METHOD = 64
# Bytes of a header that a propagator reads: W3C's limit for baggage, the longest. Some warn about longer ones.
MAX_PROPAGATED = 8192
# FastAPI >= 0.16x leaves a request alone that has this key in its scope (fastapi/applications.py, `__call__`).
FASTAPI_MARK = "fastapi.telemetry"

_PRIMITIVES = (str, bool, int, float)
# Values that redaction handles itself, by the names inside them.
_LOOKED_INTO = (*_PRIMITIVES, Mapping, list, tuple, Set, BaseException)


def span_sink(settings: SpanSinkSettings, recorder: Recorder) -> Sink | None:
    """
    Return the sink where tracing is on, or a tracer provider is set; None elsewhere.

    Raises:
        MissingExtraError: `tracing="otlp"` without its exporter.
        ConfigurationError: OpenTelemetry cannot be imported, or refuses its own settings.
    """
    provider = provider_of(settings)
    if provider is None:
        return None
    sink = SpanSink(settings, recorder, provider)
    if sink.records:
        return sink
    sink.close()
    return None


class SpanScope:
    """
    A span between begin and end of its operation, as `operation.span`.

    Adapters call `enter()` before each piece of the application's code and `leave()` after it, in the same thread or
    task. So the span is OpenTelemetry's current one exactly while the operation is obskit's.
    """

    __slots__ = ("_api", "_context", "_outer", "span", "started_ns")

    def __init__(self, api: ModuleType, context: Context, span: Span, started_ns: int | None) -> None:
        self._api = api
        self._context = context
        self._outer: Context | None = None
        self.span = span
        self.started_ns = started_ns  # None: the span belongs to another instrumentation, which ends it

    def enter(self) -> None:
        """
        Make the span current.
        """
        self._outer = self._api.get_current()
        self._api.attach(self._context)

    def leave(self) -> None:
        """
        Make the context of before current again.

        What the application attached and did not detach is dropped too. `detach()` would log an error where a
        generator or coroutine is closed from another context; attaching the earlier context cannot fail.
        """
        outer, self._outer = self._outer, None
        if outer is not None:
            self._api.attach(outer)


class SpanSink(Sink):
    """
    Turns requests into server spans, functions into internal spans, queries and AI calls into client spans.

    Attributes:
        records: False where the provider makes no-op spans, as with `OTEL_SDK_DISABLED`.
    """

    name = "spans"
    wants = frozenset(["client", "agent"])

    def __init__(self, settings: SpanSinkSettings, recorder: Recorder, provider: Provider) -> None:
        self._settings = settings
        self._recorder = recorder
        self._provider = provider
        self._redactor = redactor = Redactor(settings.redact_keys, settings.redact_values)
        self._names = BoundedCache(redactor.text)  # of spans and routes
        self._servers: BoundedCache[tuple[str, str], dict[str, Any]] = BoundedCache(
            lambda asked: {**redactor.fields(_server(*asked))}
        )
        self._agents: BoundedCache[str, str] = BoundedCache(lambda agent: redactor.short(agent, MAX_HEADER))
        self._trace = imported("opentelemetry.trace")
        self._context = imported("opentelemetry.context")
        tracecontext = imported("opentelemetry.trace.propagation.tracecontext")
        self._extract = tracecontext.TraceContextTextMapPropagator().extract
        if not _DEFAULT_PROPAGATORS.issuperset(_propagators()):
            self._propagate = imported("opentelemetry.propagate")
            self._headers = _headers_of(imported("opentelemetry.propagators.textmap"))
            self._inherit = self._inherit_by_propagators  # type: ignore[method-assign]
        # Marks a span as reused, so that a request that the application sends to itself does not reuse it too.
        self._taken = self._context.create_key("obskit-taken")
        self._tracer = provider.tracer(SCOPE, __version__, schema_url=SCHEMA_URL)
        self.records = not isinstance(self._tracer, self._trace.NoOpTracer)

    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]:
        """
        Return the steps that start and end spans of this kind.
        """
        if kind is HttpOperation:
            return self._request_start(), self._request_finish()
        if kind is FunctionOperation or kind is JobOperation:
            return self._function_start(), self._function_finish()
        if kind is DbOperation:
            return self._query_start(), self._query_finish()
        if kind is AiOperation:
            return self._call_start(), self._call_finish()
        return None, None

    def _now_ns(self) -> Callable[[], int]:
        clock = self._recorder.wall_clock
        return lambda: int(clock() * 1e9)

    def _request_start(self) -> Callable[[HttpOperation], None]:
        api, trace, tracer, now_ns = self._context, self._trace, self._tracer, self._now_ns()
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
            _take_ids(op, span)
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
            getattr(span, "kind", None) is self._trace.SpanKind.SERVER
            and span.is_recording()
            and _scope_of(span) != SCOPE
            and self._taken not in context
        )

    def _reuse(self, op: HttpOperation, span: Any, context: Context, attributes: dict[str, Any]) -> None:
        if self._settings.tracing is not None and "url.query" in (getattr(span, "attributes", None) or ()):
            # FastAPI records it whenever there is a provider, which here is obskit's doing.
            attributes.setdefault("url.query", "REDACTED")
        span.set_attributes(attributes)
        op.span = SpanScope(self._context, self._context.set_value(self._taken, True, context), span, None)
        _take_ids(op, span)

    def _request_attributes(self) -> Callable[[HttpOperation], dict[str, Any]]:
        client_of, with_query = client_formatter(self._settings.log_client), self._settings.log_query_string
        redactor, servers, agents = self._redactor, self._servers, self._agents

        def attributes_of(op: HttpOperation) -> dict[str, Any]:
            scheme = op.scheme
            found: dict[str, Any] = {
                "http.request.method": op.method,
                "url.path": loggable_path(op.path, "", redactor),
                "url.scheme": scheme,
            }
            host, agent, client = op.header("host"), op.agent, client_of(op.client)
            if host:
                found.update(servers[host, scheme])
            if agent:
                found["user_agent.original"] = agents[agent]
            if client is not None:
                found["client.address"] = client
            if op.correlation_id is not None:
                found["obskit.correlation_id"] = op.correlation_id
            if op.method == OTHER:
                found["http.request.method_original"] = redactor.short(op.raw_method, MAX_METHOD)
            if with_query and op.query:
                found["url.query"] = redactor.short_query(op.query, MAX_PATH)
            return found

        return attributes_of

    def _request_finish(self) -> Callable[[HttpOperation], None]:
        failed, names = self._trace.StatusCode.ERROR, self._names

        def finish(op: HttpOperation) -> None:
            scope = op.span
            if scope is None or not scope.span.is_recording():
                return
            span = scope.span
            try:
                attributes = self._free_attributes(op)
                attributes["http.response.status_code"] = op.status
                if op.endpoint != UNMATCHED:
                    route = names[op.endpoint]
                    if route.startswith("/"):  # else it is an endpoint's name, by `endpoint_style`
                        attributes["http.route"] = route
                    span.update_name(f"{_method_of(op)} {route}")
                if op.aborted:
                    attributes["obskit.aborted"] = True
                if op.totals is not None and op.totals.db_queries:
                    attributes["obskit.db_queries"] = op.totals.db_queries
                    attributes["obskit.db_ms"] = int(op.totals.db_seconds * 1e6 + 0.5) / 1000
                error = op.exception or op.error
                if error is None and op.status >= 500:
                    error = str(op.status)
                if error is not None:
                    attributes["error.type"] = error
                    span.set_status(failed)
                span.set_attributes(attributes)
            finally:
                _end(scope, op)

        return finish

    def _function_start(self) -> Callable[[FunctionOperation], None]:
        api, tracer, now_ns, with_span = self._context, self._tracer, self._now_ns(), self._trace.set_span_in_context
        names = self._names

        def start(op: FunctionOperation) -> None:
            context, started = api.get_current(), now_ns()
            span = tracer.start_span(names[op.function], context, start_time=started)
            op.span = SpanScope(api, with_span(span, context), span, started)
            _take_ids(op, span)

        return start

    def _function_finish(self) -> Callable[[FunctionOperation], None]:
        failed = self._trace.StatusCode.ERROR

        def finish(op: FunctionOperation) -> None:
            scope = op.span
            if scope is None or not scope.span.is_recording():
                return
            try:
                attributes = self._free_attributes(op)
                if op.error is not None:
                    attributes["error.type"] = op.error
                    scope.span.set_status(failed)
                if attributes:
                    scope.span.set_attributes(attributes)
            finally:
                _end(scope, op)

        return finish

    def _query_start(self) -> Callable[[DbOperation], None]:
        """
        Return a step that keeps the context of a query's begin: it may end in another, when its cursor is collected.
        """
        get_current = self._context.get_current

        def start(op: DbOperation) -> None:
            op.began_in = get_current()

        return start

    def _query_finish(self) -> Callable[[DbOperation], None]:
        """
        Return a step that makes the whole span of a query at its end: no application code runs inside it.

        Its duration is the driver's, without what the application did between two fetches.
        """
        tracer, now_ns, trace = self._tracer, self._now_ns(), self._trace
        client, failed, clock = trace.SpanKind.CLIENT, trace.StatusCode.ERROR, self._recorder.clock
        names = self._names

        def finish(op: DbOperation) -> None:
            started = now_ns() - int((clock() - op.started) * 1e9)
            attributes = self._free_attributes(op)
            attributes.update(_query_attributes(op, names))
            span = tracer.start_span(names[_query_name(op)], op.began_in, client, attributes, start_time=started)
            _take_ids(op, span)
            if op.error is not None:
                span.set_status(failed)
            span.end(started + int(op.duration_seconds * 1e9))

        return finish

    def _call_start(self) -> Callable[[AiOperation], None]:
        api, trace, tracer, now_ns = self._context, self._trace, self._tracer, self._now_ns()
        with_span, current_span, client = trace.set_span_in_context, trace.get_current_span, trace.SpanKind.CLIENT
        names, hide = self._names, self._redactor.fields
        asked_of, made = genai_attributes.asked_of, genai_attributes.start_attributes
        attributes = BoundedCache[genai_attributes.Asked, dict[str, Any]](lambda asked: {**hide(made(asked))})

        def start(op: AiOperation) -> None:
            context = api.get_current()
            outer = current_span(context)
            if op.has_sdk_span:
                op.span = genai_attributes.BorrowedSpan(None, current_span, hide)
            elif genai_attributes.is_call_of_others(outer, SCOPE):
                op.span = genai_attributes.BorrowedSpan(outer, current_span, hide)
                _take_ids(op, outer)
            else:
                started = now_ns()
                if op.started:  # a block that turned out to be the call only now
                    started -= int((self._recorder.clock() - op.started) * 1e9)
                name, begun = names[genai_attributes.name_of(op)], attributes[asked_of(op)].copy()
                span = tracer.start_span(name, context, client, begun, start_time=started)
                op.span = SpanScope(api, with_span(span, context), span, started)
                _take_ids(op, span)

        return start

    def _call_finish(self) -> Callable[[AiOperation], None]:
        failed, hide, reasons = self._trace.StatusCode.ERROR, self._redactor.fields, genai_attributes.FINISH_REASONS

        def finish(op: AiOperation) -> None:
            scope = op.span
            if scope is None or scope.span is None or not scope.span.is_recording():
                return
            if scope.started_ns is None:
                scope.tell(op)
                return
            try:
                attributes = self._free_attributes(op, of_root=True)
                attributes.update(hide(genai_attributes.end_attributes(op)))
                if op.finish_reason is not None:  # a list, which it becomes here: redaction is faster with plain values
                    attributes[reasons] = (attributes[reasons],)
                if op.error is not None:
                    scope.span.set_status(failed)
                scope.span.set_attributes(attributes)
            finally:
                _end(scope, op)

        return finish

    def _free_attributes(self, op: Operation, of_root: bool = False) -> dict[str, Any]:
        """
        Return the bound fields that are plain values, and all extras, redacted as in log lines.
        """
        found: dict[str, Any] = {}
        for bound in (op.root.fields if of_root else None, op.fields):
            if bound:
                plain = {name: value for name, value in bound.items() if isinstance(value, _PRIMITIVES)}
                found.update(self._redactor.fields(plain))
        if op.extra:
            extra = {name: value if isinstance(value, _LOOKED_INTO) else str(value) for name, value in op.extra.items()}
            for name, value in self._redactor.fields(extra).items():
                found[name] = value if isinstance(value, _PRIMITIVES) else as_text(value)
        return found

    def flush(self) -> None:
        """
        Flush the provider, in bounded time; a timeout is counted as dropped.
        """
        if not self._provider.flush():
            self._recorder.dropped.inc((self.name, "flush_timeout"))

    def close(self) -> None:
        """
        Shut the provider down, where obskit has built it.
        """
        self._provider.close()


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


def _query_name(op: DbOperation) -> str:
    if op.statement.summary and not op.labels.given:
        return op.statement.summary
    return f"{op.operation} {op.table}".strip() or op.system


def _query_attributes(op: DbOperation, names: Mapping[str, str]) -> dict[str, Any]:
    """
    Return what is known of the statement; operation and collection only where the application has set them, since the
    conventions forbid to parse them out of a statement.
    """
    labels, statement = op.labels, op.statement
    found: dict[str, Any] = {}
    if op.system != "unknown":
        found["db.system.name"] = names[op.system]
    if op.database is not None:
        found.update(op.database.attributes, **found)
    if labels.given and op.operation:
        found["db.operation.name"] = names[op.operation]
    if labels.given and op.table:
        found["db.collection.name"] = names[op.table]
    if statement.summary:
        found["db.query.summary"] = statement.summary
        found["db.query.text"] = statement.text
    if op.rows is not None and statement.operation == "select":
        found["db.response.returned_rows"] = op.rows
    if op.error is not None:
        found["error.type"] = op.error
    return found


def _take_ids(op: Operation, span: Span) -> None:
    context = span.get_span_context()
    if context.is_valid:
        op.trace_id = f"{context.trace_id:032x}"
        op.span_id = f"{context.span_id:016x}"
        op.sampled = context.trace_flags.sampled


def _end(scope: SpanScope, op: Operation) -> None:
    if scope.started_ns is not None:
        scope.span.end(scope.started_ns + int(op.duration_seconds * 1e9))


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
    found: dict[str, Any] = {"server.address": match[1] or match[2]}
    if port is not None:
        found["server.port"] = port
    return found
