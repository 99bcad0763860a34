"""
The span sink: turns operations into OpenTelemetry spans, by its semantic conventions.

Each request has one server span: one that another instrumentation has started for it is reused, and one that would
start its own inside ours finds ours.
"""

from __future__ import annotations

from obskit._version import __version__
from obskit.bounded_cache import BoundedCache
from obskit.operation import HttpOperation, Operation
from obskit.recorder import Recorder, Sink, Step
from obskit.redaction.redactor import Redactor
from obskit.sinks import kinds
from obskit.sinks.sink_settings import SpanSinkSettings
from obskit.sinks.spans_by_kind.requests import RequestSpans
from obskit.sinks.spans_by_kind.tracing import SCOPE, Tracing
from obskit.sinks.tracer_provider import Provider, imported

# The version of the conventions whose stable part these names are from.
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
# What binds a kind, imported with the first plan of it.
_BY_KIND = "obskit.sinks.spans_by_kind"
BINDERS = {
    kinds.FUNCTION: f"{_BY_KIND}.functions:bind_functions",
    kinds.JOB: f"{_BY_KIND}.functions:bind_functions",
    kinds.QUERY: f"{_BY_KIND}.queries:bind_queries",
    kinds.AI_CALL: f"{_BY_KIND}.ai_calls:bind_calls",
}


def span_sink(settings: SpanSinkSettings, recorder: Recorder, provider: Provider) -> Sink | None:
    """
    Return the sink for a provider; None where that records nothing.
    """
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
        if kind is HttpOperation:
            return self._requests.start(), self._requests.finish()
        name = kinds.name_of(kind)
        if name not in BINDERS:
            return None, None
        steps: tuple[Step, Step] = kinds.found(BINDERS[name])(self._tracing, kind)
        return steps

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
