"""
The hooks of the `anthropic` SDK: what they count equals the provider's bill, and says so where it cannot.
"""

import asyncio
import gc

import pytest

import obskit
from obskit.testing import RecordingSink, isolated_runtime

from .bill import counted, estimated, unknown
from .provider import headers

pytest.importorskip("anthropic")

from . import forms

FULL = {"input": 120, "cache_read": 800, "cache_write": 200, "cache_write_1h": 50, "output": 70, "reasoning": 30}


@pytest.mark.parametrize("form", forms.ANTHROPIC, ids=lambda form: form.__name__)
def test_every_form_is_counted_as_billed(form, claude, provider, runtime, sink):
    """
    One call in each form is one operation, with every token and cent of the bill.
    """
    form(claude, extra_headers=headers(**FULL))

    [op] = sink.operations
    assert (op.provider, op.model, op.operation, op.outcome, op.attempts) == (
        "anthropic",
        "claude-test",
        "chat",
        "success",
        1,
    )
    assert (op.tokens.reasoning, op.tokens.cache_write_1h) == (30, 50)
    assert counted(runtime) == (provider.tokens(), pytest.approx(float(provider.usd()), abs=1e-12))
    assert len(provider.bill) == 1


@pytest.mark.parametrize("form", forms.ASYNC_ANTHROPIC, ids=lambda form: form.__name__)
def test_every_async_form_is_counted_as_billed(form, anthropic, provider, runtime, sink):
    """
    One call in each asynchronous form is one operation, with every token and cent of the bill.
    """

    async def main():
        async with anthropic.AsyncAnthropic(api_key="none", base_url=provider.url) as client:
            await form(client, extra_headers=headers(**FULL))

    asyncio.run(main())

    [op] = sink.operations
    assert (op.model, op.outcome, op.tokens.reasoning) == ("claude-test", "success", 30)
    assert counted(runtime) == (provider.tokens(), pytest.approx(float(provider.usd()), abs=1e-12))


def test_iterations_are_counted_under_their_own_model(claude, provider, runtime, sink):
    """
    A compaction, and an advisor with a model of its own, are billed beside the message, and counted so.
    """
    step = {"input_tokens": 30, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 2, "output_tokens": 9}
    steps = (
        {"type": "message", **step},
        {"type": "compaction", **step},
        {"type": "advisor_message", "model": "claude-advisor", **step},
    )
    forms.beta(claude, extra_headers=headers(**FULL, iterations=steps))
    forms.beta_stream(claude, extra_headers=headers(**FULL, iterations=steps))

    assert len(provider.bill) == 6
    assert counted(runtime) == (provider.tokens(), pytest.approx(float(provider.usd()), abs=1e-12))


def test_what_is_no_inference_is_not_counted(claude, sink):
    """
    Counting tokens is not billed, and is no operation.
    """
    claude.messages.count_tokens(model="claude-test", messages=forms.CLAUDE["messages"])

    assert sink.operations == []


@pytest.mark.parametrize("form", [forms.create, forms.stream, forms.raw], ids=lambda form: form.__name__)
def test_retries_are_attempts_of_one_call(form, claude, provider, runtime, sink):
    """
    429, 529 and a dropped connection before the answer are one call of four attempts, billed once.
    """
    form(claude.with_options(max_retries=3), extra_headers=headers(fail=(429, 529, "drop")))

    [op] = sink.operations
    assert (op.attempts, op.failed_attempts, op.outcome) == (4, ("429", "529", "error"), "success")
    assert op.retry_wait_seconds > 0
    assert len(provider.attempts) == 4
    assert counted(runtime) == (provider.tokens(), pytest.approx(float(provider.usd()), abs=1e-12))
    labels = {"service": "", "provider": "anthropic"}
    found = {s: runtime.value("ai_attempts_total", status=s, **labels) for s in ("ok", "429", "529", "error")}
    assert found == {"ok": 1, "429": 1, "529": 1, "error": 1}
    assert runtime.value("ai_retry_wait_seconds_total", **labels) == op.retry_wait_seconds


@pytest.mark.parametrize("more", [{}, {"stream": True}], ids=["plain", "stream"])
def test_a_refusal_costs_nothing(more, claude, anthropic, provider, runtime, sink):
    """
    An HTTP error as the last answer is a failed call of no cost.
    """
    refused = headers(fail=(529, 429))
    with pytest.raises(anthropic.RateLimitError):
        claude.with_options(max_retries=1).messages.create(**forms.CLAUDE, **more, extra_headers=refused)

    [op] = sink.operations
    assert (op.error, op.cost_usd, op.tokens, op.attempts) == ("RateLimitError", 0.0, None, 2)
    assert (provider.bill, unknown(runtime), op.status_code) == ([], 0, 429)
    labels = {"service": "", "provider": "anthropic"}
    assert [runtime.value("ai_attempts_total", status=status, **labels) for status in ("529", "429")] == [1, 1]


def test_a_call_that_nobody_answered_has_no_known_cost(claude, anthropic, runtime, sink):
    """
    A connection that broke before the answer may have been billed: unknown, not 0.
    """
    with pytest.raises(anthropic.APIConnectionError):
        claude.with_options(max_retries=0).messages.create(**forms.CLAUDE, extra_headers=headers(fail=("drop",)))

    [op] = sink.operations
    assert (op.error, op.cost_usd, op.cost_reason) == ("APIConnectionError", None, "no_reply")
    assert unknown(runtime) == 1


@pytest.mark.parametrize(
    ("end", "raised", "error", "aborted"),
    [
        ("truncate", None, "truncated", "truncated"),
        ("disconnect", "RemoteProtocolError", "RemoteProtocolError", "error"),
        ("error", "APIStatusError", "overloaded_error", "error"),
    ],
)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_stream_that_breaks_is_an_estimate(kind, end, raised, error, aborted, anthropic, provider, runtime, sink):
    """
    A stream that ends before it told its usage failed, and what it cost is an estimate, apart from what is known.
    """
    scene = {"extra_headers": headers(**FULL, end=end, events=8)}
    seen = None
    try:
        if kind == "sync":
            with anthropic.Anthropic(api_key="none", base_url=provider.url) as client:
                forms.stream(client, **scene)
        else:
            asyncio.run(_streamed(anthropic, provider, scene))
    except Exception as caught:
        seen = type(caught).__name__

    [op] = sink.operations
    assert (seen, op.error, op.aborted, op.estimated, op.chunks) == (raised, error, aborted, True, 10)
    # The start told the input; eight times six characters came out.
    assert op.tokens.tokens() == (120, 800, 200, 12)
    assert counted(runtime) == ({"input": 0, "cache_read": 0, "cache_write": 0, "output": 0}, 0)
    assert estimated(runtime) == {"input": 120, "cache_read": 800, "cache_write": 200, "output": 12}
    wasted = runtime.value("ai_wasted_cost_usd_total", service="", provider="anthropic", reason=aborted)
    assert wasted == pytest.approx(op.cost_usd)


async def _streamed(anthropic, provider, scene):
    async with anthropic.AsyncAnthropic(api_key="none", base_url=provider.url) as client:
        await forms.async_stream(client, **scene)


def test_a_stream_that_is_left_is_no_failure(claude, provider, sink):
    """
    Leaving a stream's block early ends the call as closed: an estimate, and a success.
    """
    with claude.messages.create(**forms.CLAUDE, stream=True, extra_headers=headers(hold=4)) as events:
        for _, _ in zip(range(4), events, strict=False):
            pass

    [op] = sink.operations
    assert (op.outcome, op.aborted, op.estimated, op.tokens.input, op.tokens.output) == (
        "success",
        "closed",
        True,
        100,
        3,
    )


@pytest.mark.parametrize("taken", [0, 2])
def test_a_stream_that_is_dropped_ends_with_its_response(taken, claude, sink):
    """
    A stream that nobody closes is ended by its finaliser, and marked; one that nobody read has no known cost.
    """
    events = claude.messages.create(**forms.CLAUDE, stream=True, extra_headers=headers(hold=4))
    for _ in range(taken):
        next(events)
    del events
    gc.collect()

    [op] = sink.operations
    assert (op.aborted, op.estimated, op.cost_reason) == (
        ("dropped", True, None) if taken else ("dropped", False, "no_reply")
    )


def test_a_stream_that_is_left_at_its_end_is_whole(claude, provider, runtime, sink):
    """
    A reader that stops at the last event has all of it.
    """
    with claude.messages.create(**forms.CLAUDE, stream=True, extra_headers=headers(**FULL)) as events:
        for event in events:
            if event.type == "message_stop":
                break

    [op] = sink.operations
    assert (op.aborted, op.estimated) == (None, False)
    assert counted(runtime)[0] == provider.tokens()


def test_an_exception_thrown_into_a_stream_is_its_error(claude, sink):
    """
    What a caller throws into a stream's generator names the failure.
    """
    events = claude.messages.create(**forms.CLAUDE, stream=True, extra_headers=headers(hold=4))
    next(events)
    with pytest.raises(KeyError):
        events._iterator.throw(KeyError("shelf"))

    [op] = sink.operations
    assert (op.error, op.aborted, op.estimated) == ("KeyError", "error", True)


def test_a_cancelled_stream_is_cancelled(anthropic, provider, sink):
    """
    A task that is cancelled while it waits for the next event ends its call as cancelled, with an estimate.
    """

    async def main():
        async with anthropic.AsyncAnthropic(api_key="none", base_url=provider.url) as client:
            started = asyncio.Event()

            async def read():
                async for _ in await client.messages.create(**forms.CLAUDE, stream=True, extra_headers=headers(hold=3)):
                    started.set()

            task = asyncio.create_task(read())
            await started.wait()
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())

    [op] = sink.operations
    assert (op.error, op.aborted, op.estimated) == ("CancelledError", "error", True)


def test_concurrent_calls_add_up_to_the_bill(anthropic, provider, runtime, sink):
    """
    Eight threads with eight calls each, and forty tasks, in turns of form: all of the bill, and nothing else.
    """
    with anthropic.Anthropic(api_key="none", base_url=provider.url) as client:
        forms.in_threads(client, forms.ANTHROPIC)

    async def main():
        async with anthropic.AsyncAnthropic(api_key="none", base_url=provider.url) as client:
            await forms.in_tasks(client, forms.ASYNC_ANTHROPIC)

    asyncio.run(main())

    assert len(sink.operations) == len(provider.bill) == 104
    assert counted(runtime) == (provider.tokens(), pytest.approx(float(provider.usd()), abs=1e-9))


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": -5, "output_tokens": 1}, {"input_tokens": 10**15}])
def test_usage_that_cannot_be_right_is_unknown(usage, claude, runtime, sink):
    """
    A reply without usage, or with figures that no provider means, is counted as a call of unknown cost.
    """
    forms.create(claude, extra_headers=headers(usage=usage))

    [op] = sink.operations
    assert (op.tokens, op.cost_usd, op.cost_reason, op.outcome) == (None, None, "no_usage", "success")
    assert unknown(runtime) == 1


def test_a_client_made_before_is_timed_and_undo_works(anthropic, provider, runtime, sink):
    """
    Clients, and their raw forms, that were made before instrumenting are timed; after undoing nothing is.
    """
    obskit.uninstrument_anthropic()
    plain = vars(anthropic._base_client.SyncAPIClient)["request"]
    with anthropic.Anthropic(api_key="none", base_url=provider.url) as client:
        raw = client.messages.with_raw_response
        obskit.instrument_anthropic()
        obskit.instrument_anthropic()
        client.messages.create(**forms.CLAUDE)
        raw.create(**forms.CLAUDE)
        obskit.uninstrument_anthropic()
        client.messages.create(**forms.CLAUDE)

    assert len(sink.operations) == 2
    assert vars(anthropic._base_client.SyncAPIClient)["request"] is plain


def test_an_unknown_shape_is_left_alone(anthropic, provider, runtime, sink, monkeypatch):
    """
    An SDK without one of the choke points is not touched, and one event says so.
    """
    obskit.uninstrument_anthropic()
    monkeypatch.delattr(anthropic._base_client.BaseClient, "_process_response_data")
    plain = vars(anthropic._base_client.SyncAPIClient)["request"]
    obskit.instrument_anthropic()

    assert [event.name for event in sink.events] == ["ai.unknown_sdk"]
    assert vars(anthropic._base_client.SyncAPIClient)["request"] is plain


def test_nothing_is_done_while_no_runtime_stands(anthropic, provider):
    """
    A call after `shutdown()` works as it would without obskit.
    """
    obskit.shutdown()
    with anthropic.Anthropic(api_key="none", base_url=provider.url) as client:
        message = client.messages.create(**forms.CLAUDE)

    assert message.usage.input_tokens == 100


def test_a_failing_reader_never_breaks_a_call(anthropic, provider, prices, monkeypatch):
    """
    What raises while a reply is read is counted; the application gets its reply.
    """
    obskit.shutdown()
    monkeypatch.setattr("obskit.integrations._ai_call.read", lambda reply: 1 / 0)
    sink = RecordingSink()
    with isolated_runtime(sinks=[sink], strict=False) as runtime:
        with anthropic.Anthropic(api_key="none", base_url=provider.url) as client:
            forms.create(client)
            forms.stream(client)
        errors = runtime.value("obskit_errors_total", sink="ai")

    assert (len(sink.operations), errors) == (2, 2)


def test_a_call_takes_the_labels_of_the_block_around_it(claude, provider, sink):
    """
    An `observe_ai` around a hooked call gives its service, and is no operation of its own.
    """

    @obskit.observe_ai(service="planogram")
    def ask():
        return claude.messages.create(**forms.CLAUDE)

    ask()
    with obskit.observe_ai(service="shelf", model="house-model"):
        forms.stream(claude)

    found = [(op.service, op.provider, op.model, op.tokens.output) for op in sink.operations]
    assert found == [("planogram", "anthropic", "claude-test", 20), ("shelf", "anthropic", "house-model", 20)]
