"""
The hooks of the `openai` SDK: what they count equals the provider's bill, and says so where it cannot.
"""

import asyncio
import gc

import pytest

import obskit

from .bill import counted, estimated, unknown
from .provider import headers

pytest.importorskip("openai")

from . import forms

FULL = {"input": 120, "cache_read": 800, "cache_write": 200, "output": 70, "reasoning": 30}


def usd(provider):
    return pytest.approx(float(provider.usd()), abs=1e-12)


@pytest.mark.parametrize("form", forms.OPENAI, ids=lambda form: form.__name__)
def test_every_form_is_counted_as_billed(form, gpt, provider, runtime, sink):
    """
    One call in each form is one operation, with every token and cent of the bill.
    """
    form(gpt, extra_headers=headers(**FULL))

    [op] = sink.operations
    assert (op.provider, op.model, op.outcome, op.attempts) == ("openai", "gpt-test", "success", 1)
    assert op.operation == ("text_completion" if form.__name__.startswith("completions") else "chat")
    assert op.tokens.reasoning == 30
    assert counted(runtime) == (provider.tokens(), usd(provider))
    assert len(provider.bill) == 1


@pytest.mark.parametrize("form", forms.ASYNC_OPENAI, ids=lambda form: form.__name__)
def test_every_async_form_is_counted_as_billed(form, openai, provider, runtime, sink):
    """
    One call in each asynchronous form is one operation, with every token and cent of the bill.
    """

    async def main():
        async with openai.AsyncOpenAI(api_key="none", base_url=f"{provider.url}/v1") as client:
            await form(client, extra_headers=headers(**FULL))

    asyncio.run(main())

    [op] = sink.operations
    assert (op.model, op.outcome, op.tokens.reasoning) == ("gpt-test", "success", 30)
    assert counted(runtime) == (provider.tokens(), usd(provider))


TIERED = [forms.chat, forms.chat_stream, forms.chat_helper, forms.responses, forms.responses_stream]


@pytest.mark.parametrize("form", TIERED, ids=lambda form: form.__name__)
def test_the_tier_that_answered_is_priced(form, gpt, sink, monkeypatch):
    """
    Whichever event of a stream, or part of a reply, names the service tier: its price is what the call costs.
    """
    pytest.importorskip("genai_prices")
    for asked in (forms.CHAT, forms.RESPONSE):
        monkeypatch.setitem(asked, "model", "gpt-5.6-sol")
    for tier in ("default", "priority"):
        form(gpt, extra_headers=headers(input=1000, output=10, tier=tier))

    plain, priority = (op.cost_usd for op in sink.operations)
    assert (plain, priority) == (pytest.approx(0.0042), pytest.approx(0.0084))


def test_embeddings_are_counted_as_billed(gpt, provider, runtime, sink):
    """
    Embeddings use input alone.
    """
    gpt.embeddings.create(model="embed-test", input="plate", extra_headers=headers(input=77, output=0))

    [op] = sink.operations
    assert (op.operation, op.tokens.tokens()) == ("embeddings", (77, 0, 0, 0))
    assert counted(runtime) == (provider.tokens(), usd(provider))


def test_reading_a_stored_response_is_not_billed(gpt, sink):
    """
    `responses.retrieve` carries a usage, and is no inference.
    """
    assert gpt.responses.retrieve("resp_1").usage.input_tokens == 100

    assert sink.operations == []


def test_a_stream_that_was_not_asked_for_usage_has_no_known_cost(gpt, provider, runtime, sink):
    """
    A chat stream without `include_usage` was billed and never says how much: unknown, not 0, and no failure.
    """
    for _ in gpt.chat.completions.create(**forms.CHAT, stream=True):
        pass

    [op] = sink.operations
    assert (op.outcome, op.tokens, op.cost_usd, op.cost_reason) == ("success", None, None, "no_usage")
    assert (op.aborted, op.finish_reason, unknown(runtime)) == (None, "stop", 1)
    assert provider.usd(told=False) > 0


@pytest.mark.parametrize(
    "form", [forms.chat, forms.chat_stream, forms.responses_stream], ids=lambda form: form.__name__
)
def test_retries_are_attempts_of_one_call(form, gpt, provider, runtime, sink):
    """
    429, 503 and a dropped connection before the answer are one call of four attempts, billed once.
    """
    form(gpt.with_options(max_retries=3), extra_headers=headers(fail=(429, 503, "drop")))

    [op] = sink.operations
    assert (op.attempts, op.failed_attempts, op.outcome) == (4, ("429", "503", "error"), "success")
    assert op.retry_wait_seconds > 0
    assert counted(runtime) == (provider.tokens(), usd(provider))


def test_a_refusal_costs_nothing(gpt, openai, provider, runtime, sink):
    """
    An HTTP error as the last answer is a failed call of no cost.
    """
    with pytest.raises(openai.RateLimitError):
        gpt.with_options(max_retries=1).chat.completions.create(**forms.CHAT, extra_headers=headers(fail=(500, 429)))

    [op] = sink.operations
    assert (op.error, op.cost_usd, op.tokens, op.attempts) == ("RateLimitError", 0.0, None, 2)
    assert (provider.bill, unknown(runtime)) == ([], 0)
    assert runtime.value("ai_attempts_total", service="", provider="openai", status="429") == 1


def test_a_billed_reply_that_cannot_be_parsed_is_wasted(gpt, openai, provider, runtime, sink):
    """
    `LengthFinishReasonError` comes after a billed reply: a failure with its whole cost, as waste.
    """
    with pytest.raises(openai.LengthFinishReasonError):
        forms.chat_parse(gpt, extra_headers=headers(**FULL, end="length"))

    [op] = sink.operations
    assert (op.error, op.finish_reason) == ("LengthFinishReasonError", "length")
    assert counted(runtime) == (provider.tokens(), usd(provider))
    wasted = runtime.value("ai_wasted_cost_usd_total", service="", provider="openai", reason="error")
    assert wasted == usd(provider)


ENDS = [
    ("truncate", None, "truncated", "truncated"),
    ("disconnect", "APIConnectionError", "APIConnectionError", "error"),
    ("error", "APIError", "APIError", "error"),
]


@pytest.mark.parametrize(("end", "raised", "error", "aborted"), ENDS)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_stream_that_breaks_is_an_estimate(kind, end, raised, error, aborted, openai, provider, runtime, sink):
    """
    A stream that ends before it told its usage failed; both sides of it are estimates, apart from what is known.
    """
    scene = {"extra_headers": headers(**FULL, end=end, events=8)}
    seen = None
    try:
        if kind == "sync":
            with openai.OpenAI(api_key="none", base_url=f"{provider.url}/v1") as client:
                forms.chat_stream(client, **scene)
        else:
            asyncio.run(_streamed(openai, provider, scene))
    except Exception as caught:
        seen = type(caught).__name__

    [op] = sink.operations
    assert (seen, op.error, op.aborted, op.estimated, op.chunks) == (raised, error, aborted, True, 8)
    assert counted(runtime) == ({"input": 0, "cache_read": 0, "cache_write": 0, "output": 0}, 0)
    # Eight times six characters came out; what went in is estimated by the size of the request.
    assert estimated(runtime)["output"] == 12
    assert estimated(runtime)["input"] > 0


async def _streamed(openai, provider, scene):
    async with openai.AsyncOpenAI(api_key="none", base_url=f"{provider.url}/v1") as client:
        await forms.async_chat_stream(client, **scene)


@pytest.mark.parametrize("kind", ["stream", "helper", "responses", "responses helper"])
def test_a_stream_that_is_left_is_no_failure(kind, gpt, sink):
    """
    Leaving a stream's block early ends the call there, as closed: an estimate, and a success.
    """
    scene = {"extra_headers": headers(hold=4)}
    made = {
        "stream": lambda: gpt.chat.completions.create(**forms.CHAT, stream=True, **scene),
        "helper": lambda: gpt.chat.completions.stream(**forms.CHAT, **scene),
        "responses": lambda: gpt.responses.create(**forms.RESPONSE, stream=True, **scene),
        "responses helper": lambda: gpt.responses.stream(**forms.RESPONSE, **scene),
    }
    with made[kind]() as events:
        for _ in events:
            break
        events_of_the_call = list(sink.operations)

    [op] = sink.operations
    assert events_of_the_call == []
    assert (op.outcome, op.aborted, op.estimated) == ("success", "closed", True)


def test_a_stream_that_is_dropped_ends_with_its_response(gpt, sink):
    """
    A stream that nobody closes is ended by its finaliser, and marked.
    """
    events = gpt.chat.completions.create(**forms.CHAT, stream=True, extra_headers=headers(hold=4))
    next(events)
    del events
    gc.collect()

    [op] = sink.operations
    assert (op.outcome, op.aborted, op.estimated) == ("success", "dropped", True)


def test_a_cancelled_call_and_a_cancelled_stream_are_cancelled(openai, provider, sink):
    """
    A task that is cancelled ends its call as cancelled: a stream with an estimate, a call without a known cost.
    """

    async def main():
        async with openai.AsyncOpenAI(api_key="none", base_url=f"{provider.url}/v1") as client:
            started = asyncio.Event()

            async def read():
                events = await client.chat.completions.create(**forms.CHAT, stream=True, extra_headers=headers(hold=3))
                async for _ in events:
                    started.set()

            task = asyncio.create_task(read())
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            task = asyncio.create_task(client.chat.completions.create(**forms.CHAT))
            while len(sink.begun) < 2:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())

    stream, call = sink.operations
    assert (stream.error, stream.aborted, stream.estimated) == ("CancelledError", "error", True)
    assert (call.error, call.cost_usd, call.cost_reason) == ("CancelledError", None, "no_reply")


def test_concurrent_calls_add_up_to_the_bill(openai, provider, runtime, sink):
    """
    Eight threads with eight calls each, and forty tasks, in turns of form: all of the bill, and nothing else.
    """
    with openai.OpenAI(api_key="none", base_url=f"{provider.url}/v1") as client:
        forms.in_threads(client, forms.OPENAI)

    async def main():
        async with openai.AsyncOpenAI(api_key="none", base_url=f"{provider.url}/v1") as client:
            await forms.in_tasks(client, forms.ASYNC_OPENAI)

    asyncio.run(main())

    assert len(sink.operations) == len(provider.bill) == 104
    assert counted(runtime) == (provider.tokens(), pytest.approx(float(provider.usd()), abs=1e-9))


def test_a_server_of_ones_own_is_not_billed_at_openai_prices(openai, provider, runtime, sink):
    """
    A host that is not known has the provider `unknown`; what its models cost is asked of the price table alone.
    """
    obskit.uninstrument_openai()
    obskit.instrument_openai()
    with openai.OpenAI(api_key="none", base_url=f"{provider.url}/v1") as client:
        client.chat.completions.create(**forms.CHAT)
        client.chat.completions.create(
            model="gpt-5.5", messages=forms.CHAT["messages"], extra_body={"model": "gpt-5.5"}
        )

    own, other = sink.operations
    assert (own.provider, own.cost_usd) == ("unknown", pytest.approx(float(provider.bill[0].usd)))
    assert (other.provider, other.cost_usd, other.cost_reason) == ("unknown", None, "unknown_provider")


def test_a_client_made_before_is_timed_and_undo_works(openai, provider, runtime, sink):
    """
    Clients that were made before instrumenting are timed; after undoing nothing is.
    """
    obskit.uninstrument_openai()
    plain = vars(openai._base_client.SyncAPIClient)["request"]
    with openai.OpenAI(api_key="none", base_url=f"{provider.url}/v1") as client:
        raw = client.chat.completions.with_raw_response
        obskit.instrument_openai()
        client.chat.completions.create(**forms.CHAT)
        raw.create(**forms.CHAT)
        obskit.uninstrument_openai()
        client.chat.completions.create(**forms.CHAT)

    assert len(sink.operations) == 2
    assert vars(openai._base_client.SyncAPIClient)["request"] is plain


def test_models_have_so_many_labels(gpt, runtime, sink):
    """
    The first 50 models have a label of their own; later ones share one.
    """
    for number in range(52):
        with obskit.observe_ai(model=f"model-{number}"):
            forms.chat(gpt)

    labels = {"service": "", "provider": "openai", "status": "success"}
    assert runtime.value("ai_api_requests_total", model="model-49", **labels) == 1
    assert runtime.value("ai_api_requests_total", model="model-50", **labels) is None
    assert runtime.value("ai_api_requests_total", model="_OTHER", **labels) == 2
