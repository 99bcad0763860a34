"""
Spans of AI calls: one for each, whoever makes it, with figures and names on it, and no text.
"""

import gc
import json

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import obskit
from obskit.testing import isolated_runtime

from .provider import headers

pytest.importorskip("anthropic")
pytest.importorskip("openai")

from . import forms

FULL = {"input": 120, "cache_read": 800, "cache_write": 200, "output": 70, "reasoning": 30}


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()


@pytest.fixture
def runtime(sink, prices, tracing):
    with isolated_runtime(sinks=[sink], prices=prices, tracing=tracing) as runtime:
        yield runtime


@pytest.fixture
def native(tracing, monkeypatch):
    """
    Return OpenTelemetry the provider, so that an SDK's own tracing has it too.
    """
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", tracing)


def only(exporter):
    [span] = exporter.get_finished_spans()
    return span


def test_a_call_is_a_client_span(gpt, provider, exporter, sink):
    """
    A call's span is named and described by the conventions; what they have no name for has ours.
    """
    forms.chat(gpt, max_completion_tokens=9, extra_headers=headers(**FULL, fail=(429,)))

    span, [op] = only(exporter), sink.operations
    port = int(provider.url.rpartition(":")[2])
    assert (span.name, span.kind, span.status.status_code) == ("chat gpt-test", SpanKind.CLIENT, StatusCode.UNSET)
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-test",
        "gen_ai.request.max_tokens": 9,
        "gen_ai.response.id": "c",
        "gen_ai.response.model": "gpt-test",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 1120,
        "gen_ai.usage.output_tokens": 70,
        "gen_ai.usage.cache_read.input_tokens": 800,
        "gen_ai.usage.cache_write.input_tokens": 200,
        "gen_ai.usage.reasoning.output_tokens": 30,
        "server.address": "127.0.0.1",
        "server.port": port,
        "http.request.resend_count": 1,
        "obskit.ai.cost.usd": op.cost_usd,
        "obskit.ai.cost.status": "exact",
    }


@pytest.mark.parametrize("form", [forms.chat_stream, forms.responses_stream, forms.chat_raw], ids=lambda f: f.__name__)
def test_every_form_is_one_span(form, gpt, exporter):
    """
    A stream's span ends with the stream, and says how long its first event took.
    """
    form(gpt, extra_headers=headers(**FULL))

    span = only(exporter)
    is_stream = form is not forms.chat_raw
    assert span.attributes["gen_ai.usage.output_tokens"] == 70
    assert ("gen_ai.response.time_to_first_chunk" in span.attributes) is is_stream
    assert span.attributes.get("gen_ai.request.stream", False) is is_stream


def test_a_broken_stream_tells_its_estimate_apart(gpt, exporter):
    """
    What a provider never said is not among the usage: the span has it as an estimate, and the error.
    """
    forms.chat_stream(gpt, extra_headers=headers(end="truncate"))

    span = only(exporter)
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes["error.type"], span.attributes["obskit.ai.aborted"]) == ("truncated", "truncated")
    assert (span.attributes["obskit.ai.cost.status"], span.attributes["obskit.ai.estimated.output_tokens"]) == (
        "estimate",
        8,
    )
    assert [name for name in span.attributes if name.startswith("gen_ai.usage")] == []


@pytest.mark.parametrize("form", [forms.create, forms.stream, forms.helper, forms.raw], ids=lambda f: f.__name__)
def test_the_sdks_own_span_is_the_one(form, native, claude, exporter, sink):
    """
    Where the SDK traces itself, its span is the only one, and carries the cost.
    """
    with obskit.observe_ai(service="planogram"):
        form(claude, extra_headers=headers(**FULL))

    span, [op] = only(exporter), sink.operations
    assert span.instrumentation_scope.name == "com.anthropic.sdk.python"
    assert (span.attributes["obskit.ai.cost.usd"], span.attributes["obskit.ai.service"]) == (op.cost_usd, "planogram")


@pytest.mark.parametrize("form", [forms.create, forms.stream], ids=lambda form: form.__name__)
def test_an_sdk_whose_tracing_is_off_has_our_span(form, native, anthropic, provider, exporter):
    """
    A client with its tracing turned off has a span of ours.
    """
    with anthropic.Anthropic(api_key="none", base_url=provider.url, open_telemetry=False) as client:
        form(client, extra_headers=headers(**FULL))

    span = only(exporter)
    assert (span.instrumentation_scope.name, span.name) == ("obskit", "chat claude-test")


@pytest.mark.parametrize("form", [forms.chat, forms.chat_stream], ids=lambda form: form.__name__)
def test_the_span_of_another_instrumentation_is_the_one(form, tracing, gpt, exporter, sink):
    """
    Inside of a span that another instrumentation has made of the call, none is added; it gets the cost.
    """
    tracer = tracing.get_tracer("opentelemetry.instrumentation.genai.openai")
    with tracer.start_as_current_span(
        "chat gpt-test", kind=SpanKind.CLIENT, attributes={"gen_ai.operation.name": "chat"}
    ):
        form(gpt, extra_headers=headers(**FULL))

    span, [op] = only(exporter), sink.operations
    assert span.attributes["obskit.ai.cost.usd"] == op.cost_usd


@pytest.mark.parametrize("how", ["dropped", "closed", "unread"])
def test_a_stream_that_is_left_has_its_one_span(how, gpt, exporter, runtime):
    """
    However a stream is left, its span is ended, once.
    """
    events = gpt.chat.completions.create(**forms.CHAT, stream=True, extra_headers=headers(hold=4))
    if how != "unread":
        next(events)
    if how == "closed":
        events.close()
    del events
    gc.collect()
    runtime.runtime.flush()  # what was dropped is ended by then

    span = only(exporter)
    assert span.attributes["obskit.ai.aborted"] == ("closed" if how == "closed" else "dropped")


def test_what_the_request_bound_is_on_its_calls(gpt, exporter):
    """
    A feature and a user, as `obskit.bind()` took them, are on the spans of calls, and on no label.
    """
    with obskit.observe("checkout"):
        obskit.bind(feature="shelf", user="u-7")
        forms.chat(gpt)

    call, _ = exporter.get_finished_spans()
    assert (call.attributes["feature"], call.attributes["user"]) == ("shelf", "u-7")


def test_an_agents_span_is_around_the_call_and_not_the_call(tracing, gpt, exporter):
    """
    An agent's turn has calls inside of it, each with a span.
    """
    tracer = tracing.get_tracer("opentelemetry.instrumentation.openai_agents")
    with tracer.start_as_current_span("invoke_agent", attributes={"gen_ai.operation.name": "invoke_agent"}):
        forms.chat(gpt)
        forms.chat(gpt)

    assert [span.name for span in exporter.get_finished_spans()] == ["chat gpt-test", "chat gpt-test", "invoke_agent"]


def test_a_block_that_is_the_call_has_a_span(runtime, exporter):
    """
    An `observe_ai` that no hooked call ran inside of is a span as long as the block.
    """
    with obskit.observe("outer"), obskit.observe_ai(service="planogram", provider="acme", model="gpt-test") as call:
        call.usage(input_tokens=5, output_tokens=1)

    inner, outer = exporter.get_finished_spans()
    assert (inner.name, inner.parent.span_id) == ("chat gpt-test", outer.context.span_id)
    assert outer.start_time <= inner.start_time <= inner.end_time <= outer.end_time + 1_000_000


def test_no_text_of_a_call_is_told(gpt, claude, exporter, runtime, sink):
    """
    Neither prompt nor completion is on a span, in a line, in a label or in an operation.
    """
    forms.chat_stream(gpt)
    forms.chat_stream(gpt, extra_headers=headers(end="truncate"))
    forms.responses_stream(gpt)
    forms.chat_parse(gpt)
    forms.create(claude)
    forms.stream(claude)

    told = [span.to_json() for span in exporter.get_finished_spans()]
    told += [json.dumps(line) for line in runtime.lines]
    told += [str(sample) for metric in runtime.registry.collect() for sample in metric.samples]
    kept = [
        getattr(op, slot, None)
        for op in sink.operations
        for cls in type(op).__mro__
        for slot in getattr(cls, "__slots__", ())
    ]
    told += [repr(value) for value in kept]
    told += [repr(op.sparse) for op in sink.operations]
    assert len(sink.operations) == 6
    assert [text for text in told if "Which plate" in text or "plate " in text or "plates" in text] == []
