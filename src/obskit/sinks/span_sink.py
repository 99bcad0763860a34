"""
The span sink: turns operations into OpenTelemetry spans, by its semantic conventions.

Each request has one server span: one that another instrumentation has started for it is reused, and one that would
start its own inside ours finds ours.
"""

from __future__ import annotations

from obskit._version import __version__
from obskit.ai.ai_operation import AiOperation
from obskit.bounded_cache import BoundedCache
from obskit.db.db_operation import DbOperation
from obskit.jobs import JobOperation
from obskit.observation import FunctionOperation
from obskit.operation import HttpOperation, Operation
from obskit.recorder import Recorder, Sink, Step
from obskit.redaction.redactor import Redactor
from obskit.sinks.sink_settings import SpanSinkSettings
from obskit.sinks.spans_by_kind.ai_calls import call_finish, call_start
from obskit.sinks.spans_by_kind.functions import function_finish, function_start
from obskit.sinks.spans_by_kind.queries import query_finish, query_start
from obskit.sinks.spans_by_kind.requests import RequestSpans
from obskit.sinks.spans_by_kind.tracing import SCOPE, Tracing
from obskit.sinks.tracer_provider import Provider, imported, provider_of

# The version of the conventions whose stable part these names are from.
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"


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


class SpanSink(Sink):
    """
    Turns requests into server spans, functions into internal spans, queries and AI calls into client spans.

    Attributes:
        records: False where the provider makes no-op spans, as with `OTEL_SDK_DISABLED`.
    """

    name = "spans"
    wants = frozenset(["client", "agent"])

    def __init__(self, settings: SpanSinkSettings, recorder: Recorder, provider: Provider) -> None:
        self._recorder = recorder
        self._provider = provider
        trace, redactor = imported("opentelemetry.trace"), Redactor(settings.redact_keys, settings.redact_values)
        tracer = provider.tracer(SCOPE, __version__, schema_url=SCHEMA_URL)
        names = BoundedCache(redactor.text)
        self._tracing = tracing = Tracing(imported("opentelemetry.context"), trace, tracer, recorder, redactor, names)
        self._requests = RequestSpans(tracing, settings)
        self.records = not isinstance(tracer, trace.NoOpTracer)

    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]:
        """
        Return the steps that start and end spans of this kind.
        """
        tracing = self._tracing
        if kind is HttpOperation:
            return self._requests.start(), self._requests.finish()
        if kind is FunctionOperation or kind is JobOperation:
            return function_start(tracing, kind), function_finish(tracing, kind)
        if kind is DbOperation:
            return query_start(tracing), query_finish(tracing)
        if kind is AiOperation:
            return call_start(tracing), call_finish(tracing)
        return None, None

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
