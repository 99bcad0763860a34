"""
Calls that break, are left, cancelled or refused, in the forms of both SDKs: what is exact, estimated and unknown.
"""

import asyncio
import gc
import threading
from contextlib import suppress

import pytest

from .bill import counted, estimated, unknown
from .provider import headers

pytest.importorskip("anthropic")
pytest.importorskip("openai")

from . import forms

FULL = {"input": 120, "cache_read": 800, "cache_write": 200, "output": 70, "reasoning": 30}
NOTHING = ({"input": 0, "cache_read": 0, "cache_write": 0, "output": 0}, 0)


def usd(provider):
    return pytest.approx(float(provider.usd()), abs=1e-9)


def sent(**scene):
    return {"extra_headers": headers(**scene)}


@pytest.fixture
def run(anthropic, openai, provider):
    """
    Run an asynchronous function with both SDKs' asynchronous clients.
    """

    def run(work):
        async def main():
            async with (
                anthropic.AsyncAnthropic(api_key="none", base_url=provider.url, max_retries=3) as claude,
                openai.AsyncOpenAI(api_key="none", base_url=f"{provider.url}/v1", max_retries=3) as gpt,
            ):
                await work(claude, gpt)

        asyncio.run(main())
        gc.collect()

    return run


ASYNC_FORMS = ["async_create", "async_stream", "async_raw", "async_chat", "async_chat_stream", "async_responses_stream"]


@pytest.mark.parametrize("form", ASYNC_FORMS)
def test_retries_of_asynchronous_calls_are_attempts_of_one(form, run, provider, runtime, sink):
    """
    429, 529 and a dropped connection before the answer are one call of four attempts, billed once.
    """

    async def work(claude, gpt):
        client = gpt if "chat" in form or "responses" in form else claude
        await getattr(forms, form)(client, **sent(**FULL, fail=(429, 529, "drop")))

    run(work)

    [op] = sink.operations
    assert (op.attempts, op.failed_attempts, op.outcome) == (4, ("429", "529", "error"), "success")
    assert counted(runtime) == (provider.tokens(), usd(provider))
    assert len(provider.bill) == 1


@pytest.mark.parametrize("end", ["truncate", "disconnect", "error"])
@pytest.mark.parametrize("form", ["helper", "text", "raw_stream", "streaming_stream", "beta_stream", "beta_helper"])
def test_every_stream_of_anthropic_that_breaks_is_an_estimate(form, end, claude, runtime, sink):
    """
    Whatever form the stream has, its input was told, its output is by its characters, and nothing is among the exact.
    """
    with suppress(Exception):  # what it raises, the SDK's own tests say
        getattr(forms, form)(claude, **sent(**FULL, end=end, events=8))

    [op] = sink.operations
    assert (op.outcome, op.estimated, op.tokens.tokens()) == ("error", True, (120, 800, 200, 12))
    assert (counted(runtime), unknown(runtime)) == (NOTHING, 0)
    assert estimated(runtime) == {"input": 120, "cache_read": 800, "cache_write": 200, "output": 12}


OPENAI_STREAMS = ["chat_helper", "chat_raw_stream", "chat_streaming_stream", "completions_stream"]
OPENAI_STREAMS += ["responses_stream", "responses_helper", "responses_raw_stream"]


@pytest.mark.parametrize("end", ["truncate", "disconnect", "error"])
@pytest.mark.parametrize("form", OPENAI_STREAMS)
def test_every_stream_of_openai_that_breaks_is_an_estimate(form, end, gpt, runtime, sink):
    """
    The same for OpenAI's, where the input is by the size of the request.
    """
    with suppress(Exception):
        getattr(forms, form)(gpt, **sent(**FULL, end=end, events=8))

    [op] = sink.operations
    assert (op.outcome, op.estimated, op.tokens.output) == ("error", True, 12)
    assert op.tokens.input > 0
    assert (counted(runtime), unknown(runtime)) == (NOTHING, 0)


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    ("end", "outcome", "error", "reason"),
    [("incomplete", "success", None, "max_output_tokens"), ("failed", "error", "server_error", "failed")],
)
def test_a_response_that_fails_at_its_end_is_counted_as_billed(
    kind, end, outcome, error, reason, gpt, run, provider, runtime, sink
):
    """
    A stream whose last event says that it failed, or was cut, tells its usage: exact, not an estimate.
    """
    if kind == "sync":
        forms.responses_stream(gpt, **sent(**FULL, end=end))
    else:
        run(lambda claude, gpt: forms.async_responses_stream(gpt, **sent(**FULL, end=end)))

    [op] = sink.operations
    assert (op.outcome, op.error, op.estimated, op.finish_reason) == (outcome, error, False, reason)
    assert counted(runtime) == (provider.tokens(), usd(provider))


def test_a_stream_with_several_choices_ends_with_the_last(gpt, provider, runtime, sink):
    """
    Of three choices, the first that ends is not the end: left there, a stream is an estimate; read on, it is exact.
    """
    with gpt.chat.completions.create(**forms.CHAT, **forms.TOLD, n=3, stream=True, **sent(**FULL)) as events:
        for event in events:
            if event.choices[0].finish_reason:
                break
    for _ in gpt.chat.completions.create(**forms.CHAT, **forms.TOLD, n=3, stream=True, **sent(**FULL)):
        pass

    left, whole = sink.operations
    assert (left.aborted, left.estimated, whole.aborted, whole.estimated) == ("closed", True, None, False)
    assert counted(runtime)[0] == {kind: count / 2 for kind, count in provider.tokens().items()}


@pytest.mark.parametrize("kind", ["anthropic", "openai"])
def test_asynchronous_streams_that_are_left_or_dropped(kind, run, sink):
    """
    Left inside of `async with` a stream is closed; broken off and forgotten, it is dropped: estimates, and no failure.
    """

    async def work(claude, gpt):
        def made():
            if kind == "anthropic":
                return claude.messages.create(**forms.CLAUDE, stream=True, **sent(hold=4))
            return gpt.chat.completions.create(**forms.CHAT, stream=True, **sent(hold=4))

        async with await made() as events:
            async for _ in events:
                break
        async for _ in await made():
            break
        unread = await made()
        del unread
        gc.collect()
        await asyncio.sleep(0)

    run(work)

    left, *others = sink.operations
    assert (left.outcome, left.aborted, left.estimated) == ("success", "closed", True)
    assert sorted((op.outcome, op.aborted, op.estimated, op.cost_reason or "") for op in others) == [
        ("success", "dropped", False, "no_reply"),
        ("success", "dropped", True, ""),
    ]


@pytest.mark.parametrize("kind", ["chat", "chat async", "messages async"])
def test_an_exception_thrown_into_a_stream_is_its_error(kind, gpt, run, sink):
    """
    What a caller throws into a stream's generator names the failure, of every client.
    """

    async def work(claude, gpt):
        if kind == "chat async":
            events = await gpt.chat.completions.create(**forms.CHAT, stream=True, **sent(hold=4))
        else:
            events = await claude.messages.create(**forms.CLAUDE, stream=True, **sent(hold=4))
        await anext(events)
        with pytest.raises(KeyError):
            await events._iterator.athrow(KeyError("shelf"))

    if kind == "chat":
        events = gpt.chat.completions.create(**forms.CHAT, stream=True, **sent(hold=4))
        next(events)
        with pytest.raises(KeyError):
            events._iterator.throw(KeyError("shelf"))
    else:
        run(work)

    [op] = sink.operations
    assert (op.error, op.aborted, op.estimated) == ("KeyError", "error", True)


@pytest.mark.parametrize("kind", ["anthropic", "openai", "embeddings"])
def test_a_cancelled_call_is_of_unknown_cost(kind, run, provider, runtime, sink):
    """
    A task that is cancelled while it waits for a whole reply may have been billed: cancelled, and unknown.
    """

    async def work(claude, gpt):
        made = {
            "anthropic": lambda: claude.messages.create(**forms.CLAUDE, **sent(hold=0)),
            "openai": lambda: gpt.responses.create(**forms.RESPONSE, **sent(hold=0)),
            "embeddings": lambda: gpt.embeddings.create(model="embed-test", input="plate", **sent(hold=0)),
        }
        task = asyncio.create_task(made[kind]())
        while not provider.attempts:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(work)

    [op] = sink.operations
    assert (op.error, op.cost_usd, op.cost_reason, op.attempts) == ("CancelledError", None, "no_reply", 1)
    assert (counted(runtime), unknown(runtime)) == (NOTHING, 1)


def test_a_call_that_times_out_is_of_unknown_cost(claude, gpt, anthropic, openai, runtime, sink):
    """
    A reply that did not come in time may have been billed.
    """
    with pytest.raises(anthropic.APITimeoutError):
        forms.create(claude.with_options(timeout=0.05, max_retries=0), **sent(hold=0))
    with pytest.raises(openai.APITimeoutError):
        forms.chat(gpt.with_options(timeout=0.05, max_retries=0), **sent(hold=0))

    assert [(op.error, op.cost_usd, op.cost_reason) for op in sink.operations] == [
        ("APITimeoutError", None, "no_reply")
    ] * 2


REFUSED = ["raw", "streaming", "helper", "parse", "beta", "beta_stream", "chat_raw", "chat_streaming", "chat_helper"]
REFUSED += ["chat_parse", "responses_stream", "completions"]


@pytest.mark.parametrize("form", REFUSED)
def test_a_refusal_costs_nothing_in_any_form(form, claude, gpt, provider, runtime, sink):
    """
    An HTTP error as the last answer is a failed call of no cost, with its attempts.
    """
    client = gpt if form.startswith(("chat", "responses", "completions")) else claude
    with pytest.raises(Exception, match="not now") as caught:
        getattr(forms, form)(client.with_options(max_retries=1), **sent(fail=(529, 429)))

    [op] = sink.operations
    assert (op.error, op.cost_usd, op.status_code, op.attempts) == ("RateLimitError", 0.0, 429, 2)
    assert (type(caught.value).__name__, provider.bill, unknown(runtime)) == ("RateLimitError", [], 0)


def test_raw_bytes_that_nobody_parses_are_unknown(claude, runtime, sink):
    """
    A body, or a stream, that the application reads past the SDK was billed and is unknown, never 0.
    """
    with claude.messages.with_streaming_response.create(**forms.CLAUDE) as response:
        for _ in response.iter_lines():
            pass
    with claude.messages.with_streaming_response.create(**forms.CLAUDE, stream=True) as response:
        for _ in response.iter_lines():
            pass
    with claude.messages.with_streaming_response.create(**forms.CLAUDE):
        pass

    assert [(op.cost_usd, op.tokens) for op in sink.operations] == [(None, None)] * 3
    assert unknown(runtime) == 3


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": -5, "output_tokens": 1}, {"output_tokens": 10**15}])
def test_streams_with_usage_that_cannot_be_right_are_unknown(usage, claude, runtime, sink):
    """
    A whole stream without usage, or with figures that no provider means, is a call of unknown cost.
    """
    forms.stream(claude, **sent(usage=usage))

    [op] = sink.operations
    assert (op.tokens, op.cost_usd, op.cost_reason, op.outcome) == (None, None, "no_usage", "success")
    assert unknown(runtime) == 1


def test_everything_at_once_adds_up(anthropic, openai, provider, runtime, run, sink):
    """
    Threads and tasks whose calls succeed, are retried, refused, cut off and cancelled: each is one operation, what the
    provider told is exact to the token and the cent, and the rest is estimated or unknown.
    """
    scenes = [{}, {"fail": (429,)}, {"fail": (529, "drop")}, {"fail": (429,) * 9}, {"end": "truncate"}]
    claude = anthropic.Anthropic(api_key="none", base_url=provider.url, max_retries=3)
    gpt = openai.OpenAI(api_key="none", base_url=f"{provider.url}/v1", max_retries=3)

    def one(number):
        scene = sent(input=number, cache_read=3 * number, output=number + 1, **scenes[number % len(scenes)])
        form, client = ((forms.stream, claude), (forms.chat_stream, gpt), (forms.responses_stream, gpt))[number % 3]
        try:
            form(client, **scene)
        except (anthropic.RateLimitError, openai.RateLimitError):
            pass

    def thread(first):
        for number in range(first, first + 15):
            one(number)

    threads = [threading.Thread(target=thread, args=(15 * number,)) for number in range(4)]
    for each in threads:
        each.start()

    async def work(claude, gpt):
        async def hold(client, form):
            started = asyncio.Event()

            async def ask():
                started.set()
                await form(client, **sent(hold=0))

            task = asyncio.create_task(ask())
            await started.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        scene = sent(input=9, cache_write=4)
        await asyncio.gather(
            *(forms.async_create(claude, **scene) for _ in range(10)),
            *(forms.async_responses_stream(gpt, **scene) for _ in range(10)),
            *(hold(claude, forms.async_create) for _ in range(5)),
            *(hold(gpt, forms.async_chat) for _ in range(5)),
        )

    run(work)
    for each in threads:
        each.join()
    claude.close()
    gpt.close()

    ends = [op.error for op in sink.operations]
    assert len(sink.operations) == 60 + 20 + 10
    assert {error: ends.count(error) for error in set(ends)} == {
        **{None: 36 + 20, "RateLimitError": 12, "truncated": 12, "CancelledError": 10},
    }
    assert counted(runtime) == (provider.tokens(), usd(provider))
    assert sum(estimated(runtime).values()) > 0
    assert unknown(runtime) == 10


def test_a_stream_may_be_read_and_left_by_another_task(run, provider, runtime, sink):
    """
    A stream that one task begins, and another reads, closes or drops, is the call of the first, and raises nothing.
    """

    async def work(claude, gpt):
        async def begin(**scene):
            return await claude.messages.create(**forms.CLAUDE, stream=True, **sent(**scene))

        async def read(events, count):
            async for _ in events:
                count -= 1
                if not count:
                    break

        for count in (99, 2, 2):
            events = await asyncio.create_task(begin(**(FULL if count == 99 else {"hold": 4})))
            await asyncio.create_task(read(events, count))
            if len(sink.operations) == 1:
                await asyncio.create_task(events.close())
        del events
        gc.collect()
        while len(sink.operations) < 3:
            await asyncio.sleep(0)

    run(work)

    assert [(op.aborted, op.outcome) for op in sink.operations] == [
        (None, "success"),
        ("closed", "success"),
        ("dropped", "success"),
    ]
    assert counted(runtime) == (provider.tokens(), usd(provider))
