"""
Replies as providers and gateways send them, through the real SDKs: what is counted, as what, and at which price.
"""

import asyncio
import base64
import gc
import random
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import obskit
from obskit.ai import Price, budget, report
from obskit.ai.ai_operation import AiOperation
from obskit.ai.background_responses import background_responses
from obskit.ai.budget_book import budget_book
from obskit.ai.request_size import PICTURE_TOKENS, text_bytes
from obskit.errors import BudgetExceededError
from obskit.testing import isolated_runtime

from .scripted import chat, chunk, message, message_events, response, running

pytest.importorskip("genai_prices")
sdk_openai, sdk_anthropic = pytest.importorskip("openai"), pytest.importorskip("anthropic")

ASKED = [{"role": "user", "content": "Which plate?"}]
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
USD = 0.0035  # of these, with gpt-4o
TOLD = {
    **{"input_tokens": 1000, "output_tokens": 1000, "total_tokens": 2000},
    **{"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}},
}
CLAUDE = {"input_tokens": 1000, "output_tokens": 500, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}


@pytest.fixture
def script():
    with running() as script:
        yield script


@pytest.fixture
def runtime(sink, tmp_path):
    with isolated_runtime(sinks=[sink], state_dir=tmp_path) as runtime:
        obskit.instrument_openai(providers={"127.0.0.1": "openai"})
        obskit.instrument_anthropic()
        yield runtime
        obskit.uninstrument_openai()
        obskit.uninstrument_anthropic()
        for name in [found.name for found in obskit.ai.budgets()]:
            budget_book.remove(name)
        background_responses.start_over()


@pytest.fixture
def gpt(script, runtime):
    with sdk_openai.OpenAI(api_key="none", base_url=f"{script.url}/v1", max_retries=1) as client:
        yield client


@pytest.fixture
def claude(script, runtime):
    with sdk_anthropic.Anthropic(api_key="none", base_url=script.url, max_retries=1) as client:
        yield client


def ask(gpt, **more):
    return gpt.chat.completions.create(model="gpt-4o", messages=ASKED, **more)


def read(gpt, **more):
    for _ in ask(gpt, stream=True, **more):
        pass


# Streams


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ([chunk("hi"), chunk(usage=USAGE), "[DONE]"], (None, None, False, USD)),
        ([chunk("hi"), chunk(usage=USAGE)], (None, None, False, USD)),
        ([chunk("hi", usage=USAGE), "[DONE]"], (None, None, False, USD)),
        ([chunk("hi"), "[DONE]"], (None, None, False, None)),
        ([chunk("hi")], ("truncated", "truncated", True, "guess")),
        ([chunk("hi", usage=USAGE)], ("truncated", "truncated", True, USD)),
        ([chunk("hi"), chunk(end="stop", usage=USAGE), chunk(usage=dict.fromkeys(USAGE, 0))], (None, None, False, USD)),
        ([chunk("hi"), chunk(end="stop", x_groq={"usage": USAGE})], (None, None, False, USD)),
        (
            [chunk("hi", usage=USAGE), chunk(end="stop", usage={**USAGE, "completion_tokens": 50})],
            (None, None, True, USD),
        ),
    ],
)
def test_a_stream_ends_with_whatever_its_server_ends_it(events, found, gpt, script, sink):
    """
    `[DONE]`, and usage, end a stream without `finish_reason`; later zeros are no word, and what falls is doubted.
    """
    script.reply = events
    read(gpt)

    [op] = sink.operations
    usd = op.cost_usd if found[3] != "guess" else "guess"
    expected = found[3] if isinstance(found[3], (str, type(None))) else pytest.approx(found[3])
    assert (op.error, op.aborted, op.estimated, usd) == (*found[:3], expected)


def test_usage_of_each_chunk_is_an_estimate_where_a_stream_is_left(gpt, script, sink):
    """
    What has come so far was told, and what would have come was not.
    """
    usages = [{**USAGE, "completion_tokens": n, "total_tokens": 1000 + n} for n in (1, 2, 3)]
    script.reply = [*(chunk("hi", usage=usage) for usage in usages), chunk(end="stop")]
    with ask(gpt, stream=True) as events:
        next(iter(events))

    [op] = sink.operations
    assert (op.aborted, op.estimated, op.tokens.tokens()) == ("closed", True, (1000, 0, 0, 1))


def test_the_older_completions_end_with_the_last_of_several_prompts(gpt, script, sink):
    """
    A stream of three prompts has three ends.
    """
    made = {"id": "c", "object": "text_completion", "created": 1, "model": "gpt-3.5-turbo-instruct"}
    end = [
        {**made, "choices": [{"index": n, "text": "hi", "finish_reason": "stop", "logprobs": None}]} for n in range(3)
    ]
    for sent in (end[:1], end):
        script.reply = [*sent]
        prompts = ["a", "b", "c"]
        for _ in gpt.completions.create(model="gpt-3.5-turbo-instruct", prompt=prompts, stream=True):
            pass

    assert [op.aborted for op in sink.operations] == ["truncated", None]


@pytest.mark.parametrize(
    "delta",
    [
        *({name: "x" * 400} for name in ("content", "reasoning_content", "reasoning", "refusal")),
        {"reasoning": "x" * 400, "reasoning_content": "x" * 400},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "x" * 400}]}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "x" * 400}}]},
        {"tool_calls": [{"index": 0, "custom": {"input": "x" * 400}}]},
        {"function_call": {"arguments": "x" * 400}},
        {"audio": {"data": "A" * 9000, "transcript": "x" * 400}},
    ],
)
def test_an_estimate_counts_all_that_was_said(delta, gpt, script, sink):
    """
    Reasoning, refusals, arguments and transcripts are output; sound in base64 is not its text.
    """
    script.reply = [{**chunk("hi"), "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}]
    read(gpt)

    [op] = sink.operations
    assert op.tokens.output == 100


@pytest.mark.parametrize("stream", [True, False])
def test_lines_that_the_application_reads_itself_are_not_read(stream, gpt, script, sink):
    """
    `iter_lines()` of a streaming response goes past the SDK: nothing is known of its usage, and nothing was cut short.
    """
    script.reply = [chunk("hi"), chunk(end="stop", usage=USAGE)] if stream else chat(USAGE)
    create = gpt.chat.completions.with_streaming_response.create
    with create(model="gpt-4o", messages=ASKED, stream=stream) as reply:
        assert list(reply.iter_lines())

    [op] = sink.operations
    assert (op.cost_reason, op.aborted, op.error) == ("not_read", None, None)


class Events:
    """
    An iterator that is no generator, and that cannot be closed.
    """

    def __init__(self, events):
        self.events = events

    def __aiter__(self):
        return self

    async def __anext__(self):
        return await anext(self.events)


@pytest.mark.parametrize("name", ["__stream__", "_iter_events"])
def test_another_tool_may_put_any_iterator_in_place_of_events(name, script, runtime, sink, monkeypatch):
    """
    What another tool has put into the SDK before us is iterated, and closed only where it can be.
    """

    async def main():
        async with sdk_openai.AsyncOpenAI(api_key="none", base_url=f"{script.url}/v1") as client:
            asked = {"model": "gpt-4o", "messages": ASKED, "stream": True}
            return [event async for event in await client.chat.completions.create(**asked)]

    script.reply = [chunk("hi"), chunk(end="stop", usage=USAGE)]
    obskit.uninstrument_openai()
    with monkeypatch.context() as other:
        original = getattr(sdk_openai.AsyncStream, name)
        other.setattr(sdk_openai.AsyncStream, name, lambda self: Events(original(self)))
        obskit.instrument_openai(providers={"127.0.0.1": "openai"})
        events = asyncio.run(main())
        obskit.uninstrument_openai()

    assert (len(events), [op.cost_usd for op in sink.operations]) == (2, [pytest.approx(USD)])


# Whole replies


@pytest.mark.parametrize(
    ("body", "error", "reason"),
    [
        ({"error": {"message": "no", "code": 502}}, "502", "no_reply"),
        ({"error": {"message": "no", "type": "overloaded"}}, "overloaded", "no_reply"),
        ({"error": "no"}, "error", "no_reply"),
        (chat(None, choices=[{"index": 0, "finish_reason": "error", "error": {"code": "x"}}]), "x", "no_reply"),
        (chat(USAGE, error={"code": "late"}), "late", None),
        (chat(USAGE, error=None), None, None),
    ],
)
def test_an_error_in_a_body_is_one_whatever_the_status(body, error, reason, gpt, script, sink):
    """
    A gateway's 200 with an error in it is an error; what it has told is counted all the same.
    """
    script.reply = body
    ask(gpt)

    [op] = sink.operations
    assert (op.error, op.cost_reason, op.outcome) == (error, reason, "error" if error else "success")


@pytest.mark.parametrize(
    ("usage", "text", "found"),
    [
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, "x" * 400, (None, "no_usage", False)),
        ({"prompt_tokens": 1000, "completion_tokens": 0}, "x" * 400, (USD, None, True)),
        ({"prompt_tokens": 1000, "completion_tokens": 0}, "ok", (0.0025, None, False)),
        ({"prompt_tokens": 1000, "completion_tokens": 0}, None, (0.0025, None, False)),
    ],
)
def test_no_output_for_so_much_text_is_not_exact(usage, text, found, gpt, script, sink):
    """
    A reply that tells nothing is unknown; one that tells no output, and has some, is an estimate by its text.
    """
    script.reply = chat(usage, text)
    ask(gpt)

    [op] = sink.operations
    usd = None if found[0] is None else pytest.approx(found[0])
    assert (op.cost_usd, op.cost_reason, op.estimated) == (usd, *found[1:])


REFUSED = {**CLAUDE, "output_tokens": 0}
INPUT_USD = 0.005


@pytest.mark.parametrize(
    ("category", "usd"),
    [
        *((name, INPUT_USD) for name in ("bio", "frontier_llm", "reasoning_extraction")),
        *((name, 0.0) for name in ("cyber", "general_harms", None, "of_tomorrow")),
    ],
)
@pytest.mark.parametrize("output", [0, 1])
@pytest.mark.parametrize("stream", [True, False])
def test_a_refusal_before_any_output_is_billed_by_what_was_refused(category, usd, output, stream, claude, script, sink):
    """
    Three categories are billed as any request, and all others are not; it is exact either way.
    """
    details = {"type": "refusal", "category": category, "explanation": None}
    usage = {**CLAUDE, "output_tokens": output}
    events = message_events(usage, stop="refusal", stop_details=details)
    script.reply = (
        [event for event in events if "content_block" not in event["type"]]
        if stream
        else message(usage, stop="refusal", stop_details=details, content=[])
    )
    sent = claude.messages.create(model="claude-opus-4-8", max_tokens=9, messages=ASKED, stream=stream)
    for _ in sent if stream else ():
        pass

    [op] = sink.operations
    assert (op.cost_usd, op.estimated) == (pytest.approx(usd and usd + output * 25e-6), False)
    assert op.tokens.tokens() == (1000, 0, 0, output)


@pytest.mark.parametrize("stream", [True, False])
def test_a_refusal_after_some_output_is_billed(stream, claude, script, sink):
    """
    Of whatever category: once something has come, input and output are billed.
    """
    details = {"type": "refusal", "category": "cyber"}
    usage = {**CLAUDE, "output_tokens": 1}
    make = message_events if stream else message
    script.reply = make(usage, stop="refusal", stop_details=details)
    sent = claude.messages.create(model="claude-opus-4-8", max_tokens=9, messages=ASKED, stream=stream)
    for _ in sent if stream else ():
        pass

    assert [op.cost_usd for op in sink.operations] == [pytest.approx(INPUT_USD + 25e-6)]


def test_a_refusal_that_does_not_say_of_what_is_an_estimate(claude, script, sink):
    """
    Without its details nobody knows whether it is billed.
    """
    script.reply = message(REFUSED, stop="refusal", content=[])
    claude.messages.create(model="claude-opus-4-8", max_tokens=9, messages=ASKED)

    assert [(op.cost_usd, op.estimated) for op in sink.operations] == [(INPUT_USD, True)]


def hop(model, output):
    return {"type": "message", "model": model, "input_tokens": 1000, "output_tokens": output}


def handed_over(category):
    trigger = {"type": "refusal", "category": category}
    return {
        **{"type": "fallback", "from": {"model": "claude-fable-5"}, "to": {"model": "claude-opus-4-8"}},
        "trigger": trigger,
    }


@pytest.mark.parametrize(
    ("triggers", "hops", "usd"),
    [
        (["cyber"], [hop("claude-fable-5", 0)], 0),
        (["bio"], [hop("claude-fable-5", 0)], 0.01),
        (["cyber"], [hop("claude-fable-5", 200)], 0.02),
        (["bio"], [hop("claude-fable-5", 100), hop("claude-fable-5", 100)], 0.03),
        (["cyber", "bio"], [hop("claude-fable-5", 0), hop("claude-opus-5", 0)], 0.005),
        (["bio", "cyber"], [hop("claude-fable-5", 0), hop("claude-opus-5", 0)], 0.01),
        ([], [hop("claude-fable-5", 0)], 0),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_a_fallback_of_the_provider_bills_each_model_by_its_refusal(triggers, hops, usd, stream, claude, script, sink):
    """
    Beside the model that answered, those that declined are billed for output, or for what they declined.
    """
    served = {**CLAUDE, "type": "fallback_message", "model": "claude-opus-4-8"}
    usage, blocks = {**CLAUDE, "iterations": [*hops, served]}, [handed_over(name) for name in triggers]
    if stream:
        events = message_events(usage)
        marks = [{"type": "content_block_start", "index": 0, "content_block": block} for block in blocks]
        script.reply = [events[0], *marks, *events[1:]]
    else:
        script.reply = message(usage, content=[*blocks, {"type": "text", "text": "hello"}])
    sent = claude.beta.messages.create(model="claude-fable-5", max_tokens=9, messages=ASKED, stream=stream)
    for _ in sent if stream else ():
        pass

    [op] = sink.operations
    assert (op.cost_usd, op.estimated) == (pytest.approx(0.0175 + usd), False)


def test_a_last_refusal_that_is_free_leaves_the_others_billed(claude, script, sink):
    """
    Where all models declined, each is billed or not by itself.
    """
    served = {**REFUSED, "type": "fallback_message", "model": "claude-opus-4-8"}
    usage = {**REFUSED, "iterations": [hop("claude-fable-5", 200), served]}
    details = {"type": "refusal", "category": "general_harms"}
    script.reply = message(usage, stop="refusal", stop_details=details, content=[handed_over("cyber")])
    claude.beta.messages.create(model="claude-fable-5", max_tokens=9, messages=ASKED)

    assert [op.cost_usd for op in sink.operations] == [pytest.approx(0.02)]


def test_no_price_of_the_application_s_own_makes_a_free_refusal_cost(script, sink):
    """
    What is not billed costs nothing by whatever price, nor the price's fee for a request.
    """
    own = {"claude-opus-4-8": Price(input=7, output=7, request=3)}
    details = {"type": "refusal", "category": "cyber"}
    script.reply = message(REFUSED, stop="refusal", stop_details=details, content=[])
    with isolated_runtime(sinks=[sink], prices=own):
        obskit.instrument_anthropic()
        with sdk_anthropic.Anthropic(api_key="none", base_url=script.url) as client:
            client.messages.create(model="claude-opus-4-8", max_tokens=9, messages=ASKED)
        obskit.uninstrument_anthropic()

    assert [op.cost_usd for op in sink.operations] == [0.0]


def test_a_picture_is_priced_by_the_model_that_the_request_names(gpt, script, sink):
    """
    The reply tells the tokens of a drawn picture, and the request's tools by which model; else nobody knows the price.
    """
    drawn = {"input_tokens": 1000, "output_tokens": 4000, "output_tokens_details": {"image_tokens": 4000}}
    script.reply = response(TOLD, tool_usage={"image_gen": drawn, "web_search": {"num_requests": 0}})
    for tool in ({"type": "image_generation", "model": "gpt-image-1.5"}, {"type": "image_generation"}):
        gpt.responses.create(model="gpt-5", input="x", tools=[tool])

    known, unknown = sink.operations
    assert known.cost_usd == pytest.approx(0.01125 + 0.005 + 0.128)
    assert (unknown.cost_usd, unknown.cost_reason) == (None, "no_price")


def test_what_is_not_sold_by_the_token_says_so(gpt, script, sink):
    """
    Speech, transcriptions and pictures that tell no usage are `not_by_token`, whole, streamed or written to a file.
    """
    script.reply = b"\0" * 100
    gpt.audio.speech.create(model="tts-1", voice="alloy", input="hello")
    with gpt.audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input="hello") as speech:
        speech.read()
    script.reply = {"text": "hi", "usage": {"type": "duration", "seconds": 12}}
    gpt.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"1"))
    script.reply = {"created": 1, "data": [{"url": "http://x"}]}
    gpt.images.generate(model="dall-e-3", prompt="x")
    script.reply = [{"type": "transcript.text.delta", "delta": "hi"}, {"type": "transcript.text.done", "text": "hi"}]
    for _ in gpt.audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", b"1"), stream=True):
        pass

    assert [(op.cost_reason, op.error) for op in sink.operations] == [("not_by_token", None)] * 5


def test_a_block_changes_labels_and_no_price(gpt, script, sink):
    """
    `observe_ai(provider=..., model=...)` around a hooked call says how it is counted; what it costs, the call does.
    """
    script.reply = chat(USAGE)
    with obskit.observe_ai(service="shelf", provider="acme", model="gpt-5"):
        ask(gpt)

    [op] = sink.operations
    assert (op.provider, op.model, op.cost_usd) == ("acme", "gpt-5", pytest.approx(USD))


def test_whose_word_a_cost_is(gpt, script, runtime):
    """
    The report tells a told cost from the list's.
    """
    for usage in (USAGE, {**USAGE, "cost": 0.5}):
        script.reply = chat(usage)
        ask(gpt)

    assert report(1).total.cost_by_source == {"list": pytest.approx(USD), "told": 0.5}


def test_a_time_out_before_the_answer_is_told_beside_the_cost(script, runtime):
    """
    An attempt that nobody answered may have been billed: the cost is exact, and the report says that there was one.
    """
    seen = []

    def reply(path, asked):
        seen.append(path)
        if len(seen) == 1:
            raise ConnectionAbortedError
        return chat(USAGE)

    script.reply = reply
    with sdk_openai.OpenAI(api_key="none", base_url=f"{script.url}/v1", max_retries=1) as client:
        ask(client)

    found = report(1)
    assert (found.total.cost_usd, found.maybe_billed_calls) == (pytest.approx(USD), 1)
    assert "1 more attempts were never answered" in found.render()


# The SDK's own middleware


def messages(client, model="claude-opus-4-8", **more):
    return client.beta.messages.create(model=model, max_tokens=9, messages=ASKED, **more)


def middled(script, *middleware):
    return sdk_anthropic.Anthropic(api_key="none", base_url=script.url, middleware=list(middleware))


class Twice(sdk_anthropic.Middleware):
    def handle(self, request, call_next):
        call_next(request).parse()
        return call_next(request)


class Cached(sdk_anthropic.Middleware):
    reply = None

    def handle(self, request, call_next):
        if self.reply is None:
            self.reply = call_next(request)
        return self.reply


def test_each_request_of_a_middleware_is_billed(script, runtime, sink):
    """
    A middleware that asks twice has paid twice: one call, of two requests.
    """
    script.reply = message(CLAUDE)
    with middled(script, Twice()) as client:
        messages(client)

    [op] = sink.operations
    assert (op.cost_usd, op.attempts, op.tokens.tokens()) == (pytest.approx(0.035), 2, (2000, 0, 0, 1000))


def test_a_doubtful_earlier_reply_makes_the_call_an_estimate(script, runtime, sink):
    """
    What is not sure of the first of two replies is not sure of their sum.
    """
    doubtful = message(CLAUDE | {"cache_creation": {"ephemeral_1h_input_tokens": 9}})
    replies = [doubtful, message(CLAUDE)]
    script.reply = lambda path, asked: replies.pop(0)
    with middled(script, Twice()) as client:
        messages(client)

    [op] = sink.operations
    assert (op.estimated, op.attempts, op.tokens.tokens()) == (True, 2, (2000, 0, 0, 1000))


def test_an_answer_from_a_middleware_s_cache_costs_nothing(script, runtime, sink):
    """
    What was never sent is no call of unknown cost, and spends nothing of what was reserved for it.
    """
    daily = budget("daily", usd=5)
    script.reply = message(CLAUDE)
    with middled(script, Cached()) as client:
        messages(client)
        messages(client)
    budget_book.flush()

    assert [(op.cost_usd, op.cost_reason, op.attempts) for op in sink.operations] == [
        (pytest.approx(0.0175), None, 1),
        (0.0, None, 0),
    ]
    assert (len(script.asked), daily.status().spent_usd) == (1, pytest.approx(0.0175))
    assert daily.status().reserved_usd == 0


class Observed(sdk_anthropic.Middleware):
    """
    Ask in a block, and for a count of tokens, which is no call, before it.
    """

    def handle(self, request, call_next):
        with obskit.observe("policy"), obskit.observe_db(table="cache", operation="select"):
            self.client.messages.count_tokens(model="claude-opus-4-8", messages=ASKED)
            return call_next(request)

    async def handle_async(self, request, call_next):
        with obskit.observe("policy"):
            return await call_next(request)


class Elsewhere(sdk_anthropic.Middleware):
    def handle(self, request, call_next):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(call_next, request).result()


class Stale(sdk_anthropic.Middleware):
    def handle(self, request, call_next):
        try:
            return call_next(request)
        except sdk_anthropic.APIConnectionError:
            return "of yesterday"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_middleware_may_open_blocks_around_its_requests(kind, stream, script, runtime, sink):
    """
    Whatever is observed between a call and its request: the reply, and the waits between attempts, are the call's.
    """
    replies = [529, message_events(CLAUDE) if stream else message(CLAUDE)]
    script.reply = lambda path, asked: {"input_tokens": 7} if "count" in path else replies.pop(0)
    observed = Observed()
    if kind == "sync":
        with middled(script) as observed.client, middled(script, observed) as client:
            found = messages(client, stream=stream)
            for _ in found if stream else ():
                pass
    else:

        async def main():
            made = sdk_anthropic.AsyncAnthropic(api_key="none", base_url=script.url, middleware=[observed])
            async with made as client:
                found = await messages(client, stream=stream)
                if stream:
                    async for _ in found:
                        pass

        asyncio.run(main())

    [op] = [op for op in sink.operations if isinstance(op, AiOperation)]
    assert (op.cost_usd, op.attempts, op.failed_attempts) == (pytest.approx(0.0175), 2, ("529",))
    assert op.tokens.tokens() == (1000, 0, 0, 500)


def test_a_request_of_another_thread_costs_nobody_knows_what(script, runtime, sink):
    """
    What a middleware has asked where its call is not known may be billed: it is unknown, and never nothing.
    """
    script.reply = message(CLAUDE)
    with middled(script, Elsewhere()) as client:
        messages(client)
        script.reply = 400
        with pytest.raises(sdk_anthropic.BadRequestError):
            messages(client)

    assert [(op.cost_usd, op.cost_reason) for op in sink.operations] == [(None, "not_read"), (None, "no_reply")]


def test_what_a_middleware_answers_after_a_request_failed_may_be_billed(runtime, sink):
    """
    A request that nobody answered may be billed, whatever the middleware gives in its place.
    """
    with sdk_anthropic.Anthropic(
        api_key="none", base_url="http://127.0.0.1:9", middleware=[Stale()], max_retries=0
    ) as client:
        messages(client)

    [op] = sink.operations
    assert (op.cost_usd, op.cost_reason, op.attempts) == (None, "no_reply", 1)


def test_an_earlier_reply_is_billed_though_a_later_request_fails(script, runtime, sink):
    """
    The call has the error of the latest request, and the bill of the first, whose id and end are not its own.
    """
    replies = [message(CLAUDE), 400]
    script.reply = lambda path, asked: replies.pop(0)
    with middled(script, Twice()) as client, pytest.raises(sdk_anthropic.BadRequestError):
        messages(client)

    [op] = sink.operations
    assert (op.cost_usd, op.tokens.tokens(), op.error) == (pytest.approx(0.0175), (1000, 0, 0, 500), "BadRequestError")
    assert (op.response_id, op.finish_reason, op.status_code) == (None, None, 400)


def test_a_request_that_is_refused_costs_nothing_while_others_are_sent(gpt, script, runtime, sink):
    """
    A file that another client sends meanwhile is no reason to doubt what an error costs.
    """

    def reply(path, asked):
        if path.endswith("/files"):
            return {"id": "f", "object": "file", "bytes": 1, "created_at": 1, "filename": "x", "purpose": "batch"}
        with ThreadPoolExecutor(1) as pool:
            pool.submit(gpt.files.create, file=b"x", purpose="batch").result()
        return 400

    script.reply = reply
    with pytest.raises(sdk_openai.BadRequestError):
        ask(gpt)

    assert [(op.cost_usd, op.cost_reason) for op in sink.operations] == [(0.0, None)]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("refused", [True, False])
@pytest.mark.parametrize("stream", [True, False])
def test_a_fallback_of_the_sdk_s_middleware_is_one_call(kind, refused, stream, script, runtime, sink):
    """
    Whether it rebuilds the stream, or asks another model after a refusal: one call, with both models' bills.
    """

    def reply(path, asked):
        declines = asked["model"] == "claude-fable-5" and refused
        usage = {**CLAUDE, "output_tokens": 300} if declines else CLAUDE
        details = {"type": "refusal", "category": "cyber", "fallback_credit_token": "t"} if declines else None
        make = message_events if asked.get("stream") else message
        return make(usage, asked["model"], "refusal" if declines else "end_turn", stop_details=details)

    script.reply = reply
    fallback = sdk_anthropic.BetaRefusalFallbackMiddleware([{"model": "claude-opus-4-8"}])
    if kind == "sync":
        with middled(script, fallback) as client:
            found = messages(client, "claude-fable-5", stream=stream)
            for _ in found if stream else ():
                pass
            del found
    else:

        async def main():
            made = sdk_anthropic.AsyncAnthropic(api_key="none", base_url=script.url, middleware=[fallback])
            async with made as client:
                found = await messages(client, "claude-fable-5", stream=stream)
                if stream:
                    async for _ in found:
                        pass

        asyncio.run(main())
    gc.collect()

    [op] = sink.operations
    fable = 0.01 + (0.015 if refused else 0.025)
    usd = fable + (0.0175 if refused else 0)
    assert (op.cost_usd, op.aborted, op.error, op.estimated) == (pytest.approx(usd), None, None, False)


# What is told later


def test_a_background_response_is_counted_once(gpt, script, runtime, sink):
    """
    Its usage comes with the first finished poll: one call, its dollars in the report, the metrics and the budget.
    """
    daily = budget("daily", usd=5)
    script.reply = lambda path, asked: (
        response(None, "queued", background=True) if asked else response(TOLD, background=True)
    )
    with obskit.observe_ai(service="night"):
        found = gpt.responses.create(model="gpt-5", input="x", background=True)
    assert report(1).unknown_cost == {"background": 1}
    for _ in range(3):
        gpt.responses.retrieve(found.id)
    budget_book.flush()

    made = report(1)
    assert (made.total.calls, made.total.cost_usd, made.unknown_cost) == (1, pytest.approx(0.01125), {})
    assert [(group.name, group.calls) for group in made.by_service] == [("night", 1)]
    assert (daily.status().spent_usd, daily.status().reserved_usd) == (pytest.approx(0.01125), 0)
    labels = {"service": "night", "provider": "openai", "model": "gpt-5"}
    assert runtime.value("ai_api_requests_total", status="success", **labels) == 1
    assert runtime.value("ai_tokens_used_total", kind="output", **labels) == 1000


def test_a_poll_of_another_process_tells_what_was_used_and_is_no_call(gpt, script, runtime):
    """
    A process that only asks for the reply counts its tokens and dollars, once, and no call.
    """
    script.reply = response(TOLD, background=True)
    for _ in range(2):
        gpt.responses.retrieve("resp_1")

    found = report(1)
    assert (found.total.calls, found.total.cost_usd, found.total.all_tokens) == (0, pytest.approx(0.01125), 2000)


QUEUED = response(None, "queued", background=True)
DONE = response(TOLD, background=True)
TOLD_USD = 0.01125


def elsewhere():
    """
    Forget what this process knows, as if another one asked.
    """
    budget_book.flush()
    background_responses.start_over()


def test_a_poll_of_another_process_settles_what_was_reserved(gpt, script, runtime):
    """
    The budgets' file knows whose reply it is: its labels, and its reserve; and it is told once among all processes.
    """
    daily, night = budget("daily", usd=5), budget("night", usd=5, services=["night"])
    script.reply = lambda path, asked: QUEUED if asked else DONE
    with obskit.observe_ai(service="night"):
        gpt.responses.create(model="gpt-5", input="x", background=True)
    budget_book.flush()
    reserved = [found.status().reserved_usd for found in (daily, night)]
    for _ in range(3):
        elsewhere()
        gpt.responses.retrieve("resp_1")
    budget_book.flush()

    assert min(reserved) > TOLD_USD
    for found in (daily, night):
        assert (found.status().spent_usd, found.status().reserved_usd) == (pytest.approx(TOLD_USD), 0)
    labels = {"service": "night", "provider": "openai", "model": "gpt-5"}
    assert runtime.value("ai_tokens_used_total", kind="output", **labels) == 1000
    assert report(1).total.calls == 1


@pytest.mark.parametrize("status", ["failed", "cancelled"])
@pytest.mark.parametrize("is_elsewhere", [True, False])
def test_a_background_response_that_ends_without_usage_is_charged_its_reservation(
    is_elsewhere, status, gpt, script, runtime
):
    """
    The first poll that finds it ended settles it, as an estimate and once, in whichever process; nothing stays
    reserved.
    """
    daily = budget("daily", usd=5)
    script.reply = lambda path, asked: QUEUED if asked else response(None, status, background=True)
    gpt.responses.create(model="gpt-5", input="x", background=True)
    budget_book.flush()
    reserved = daily.status().reserved_usd
    for _ in range(2):
        if is_elsewhere:
            elsewhere()
        gpt.responses.retrieve("resp_1")
        budget_book.flush()

    found = daily.status()
    assert reserved > 0
    assert (found.spent_usd, found.estimated_usd, found.reserved_usd) == (reserved, reserved, 0)


@pytest.mark.parametrize("stream", [True, False])
def test_a_reply_that_its_own_process_told_is_no_news_elsewhere(stream, gpt, script, runtime):
    """
    A background response that told what it used is not counted again by another process that asks for it.
    """
    daily = budget("daily", usd=5)
    event = {"type": "response.completed", "sequence_number": 1, "response": DONE}
    script.reply = lambda path, asked: [event] if asked and stream else DONE
    made = gpt.responses.create(model="gpt-5", input="x", background=True, stream=stream)
    for _ in made if stream else ():
        pass
    elsewhere()
    gpt.responses.retrieve("resp_1")
    budget_book.flush()

    assert daily.status().spent_usd == pytest.approx(TOLD_USD)
    assert report(1).total.cost_usd == pytest.approx(TOLD_USD)


def test_a_reply_that_no_budget_knows_is_spent_once(gpt, script, runtime):
    """
    One that was asked for where nothing counts is spent by the first process that is told, and by no other.
    """
    daily = budget("daily", usd=5)
    script.reply = DONE
    for _ in range(2):
        gpt.responses.retrieve("resp_1")
        elsewhere()

    assert daily.status().spent_usd == pytest.approx(TOLD_USD)
    assert (report(1).total.calls, report(1).total.cost_usd) == (0, pytest.approx(TOLD_USD))


POLLS = """
import sys
import openai
import obskit
from obskit.ai import budget, report

url, service, state_dir = sys.argv[1:]
obskit.configure(service=service, state_dir=state_dir, log_level="CRITICAL")
obskit.instrument_openai(providers={"127.0.0.1": "openai"})
budget("daily", usd=5)
with openai.OpenAI(api_key="none", base_url=url) as client:
    for _ in range(2):
        client.responses.retrieve("resp_1")
found = report(1).total
print(found.calls, found.all_tokens, found.cost_usd)
obskit.shutdown()
"""


def test_processes_that_poll_share_one_reply(gpt, script, runtime, tmp_path):
    """
    Of two other processes, the first counts tokens and dollars, and no call, and the second counts nothing.
    """
    daily = budget("daily", usd=5)
    script.reply = lambda path, asked: QUEUED if asked else DONE
    gpt.responses.create(model="gpt-5", input="x", background=True)
    budget_book.flush()
    arguments = [sys.executable, "-c", POLLS, f"{script.url}/v1", runtime.settings.service, str(tmp_path)]
    said = [subprocess.run(arguments, check=True, capture_output=True, text=True, timeout=60).stdout for _ in range(2)]

    assert [one.split() for one in said] == [["0", "2000", str(TOLD_USD)], ["0", "0", "0.0"]]
    assert (daily.status().spent_usd, daily.status().reserved_usd) == (pytest.approx(TOLD_USD), 0)


def left(gpt, how):
    """
    Leave a stream of a background response before its end.
    """
    events = gpt.responses.create(model="gpt-5", input="x", background=True, stream=True)
    if how == "truncated":
        for _ in events:
            pass
    else:
        next(iter(events))
        if how == "closed":
            events.close()
    del events
    gc.collect()


@pytest.mark.parametrize("how", ["dropped", "closed", "truncated"])
@pytest.mark.parametrize("resumed", [True, False])
def test_a_background_stream_that_is_left_is_told_by_who_asks_for_it(how, resumed, gpt, script, runtime, sink):
    """
    It goes on without anybody: no guess stands for it, and the poll, or the stream that takes it up, tells the truth.
    """
    daily = budget("daily", usd=5)
    begun = [
        {"type": "response.created", "sequence_number": 0, "response": QUEUED},
        *({"type": "response.output_text.delta", "sequence_number": n, "delta": "plate " * 9} for n in range(1, 4)),
    ]
    rest = [{"type": "response.completed", "sequence_number": 4, "response": DONE}]
    script.reply = lambda path, asked: begun if asked else rest if "stream=true" in path else DONE
    left(gpt, how)
    before = report(1)
    found = gpt.responses.retrieve("resp_1", stream=resumed, **({"starting_after": 3} if resumed else {}))
    for _ in found if resumed else ():
        pass
    budget_book.flush()

    assert (before.unknown_cost, before.total.estimated_cost_usd) == ({"background": 1}, 0)
    made = report(1)
    assert (made.total.calls, made.total.cost_usd, made.unknown_cost) == (1, pytest.approx(TOLD_USD), {})
    assert (daily.status().spent_usd, daily.status().reserved_usd) == (pytest.approx(TOLD_USD), 0)
    assert [op.aborted for op in sink.operations if op.is_call] == [how]


@pytest.mark.parametrize("stream", [True, False])
def test_a_background_response_that_told_by_itself_is_told_once(stream, gpt, script, runtime):
    """
    One that was done at once, or followed to its end, is not counted again where it is asked for.
    """
    done = response(TOLD, background=True)
    script.reply = lambda path, asked: (
        [{"type": "response.completed", "sequence_number": 1, "response": done}] if asked and stream else done
    )
    made = gpt.responses.create(model="gpt-5", input="x", background=True, stream=stream)
    for _ in made if stream else ():
        pass
    gpt.responses.retrieve("resp_1")

    assert (report(1).total.calls, report(1).total.cost_usd) == (1, pytest.approx(0.01125))


def test_a_run_of_an_assistant_is_told_by_its_polls(gpt, script, runtime):
    """
    A run is a call, and its usage comes when it is over.
    """
    run = {
        **{"id": "run_1", "object": "thread.run", "created_at": 1, "thread_id": "t", "assistant_id": "a"},
        **{"model": "gpt-4o", "instructions": "", "tools": [], "usage": None, "status": "queued"},
    }
    script.reply = lambda path, asked: run if asked else {**run, "status": "completed", "usage": USAGE}
    with pytest.warns(DeprecationWarning, match="Assistants"):
        gpt.beta.threads.runs.create_and_poll(thread_id="t", assistant_id="a")

    found = report(1)
    assert (found.total.calls, found.total.cost_usd, found.unknown_cost) == (1, pytest.approx(USD), {})


# Budgets


def test_attached_files_are_no_text():
    """
    A picture, a document and sound in base64 count as what they are read as, and long text as text.
    """
    picture = base64.b64encode(random.Random(1).randbytes(1_000_000)).decode()
    text = text_bytes({"text": ""})
    sizes = {
        "url": text_bytes({"image_url": {"url": f"data:image/png;base64,{picture}"}}),
        "anthropic": text_bytes({"source": {"type": "base64", "media_type": "image/png", "data": picture}}),
        "pdf": text_bytes({"file": {"file_data": f"data:application/pdf;base64,{picture}"}}),
        "sound": text_bytes({"input_audio": {"data": picture, "format": "wav"}}),
        "bytes": text_bytes({"file": b"\0" * 1_000_000}),
    }

    assert text_bytes({"text": picture}) == text + len(picture)
    assert sizes["url"] < 4 * PICTURE_TOKENS + 100 > sizes["anthropic"]
    assert sizes["pdf"] < 150_000 > sizes["sound"]
    assert sizes["bytes"] < 100
    assert text_bytes({"text": "€" * 5000}) == text + 15_000


def test_a_blocking_budget_stops_every_kind_of_inference(gpt, script, runtime):
    """
    Once nothing is left, nothing that is billed is sent, whatever it is called; and the refusal names what was asked.
    """
    budget("tiny", usd=1e-9, action="block")
    refused = [
        lambda: ask(gpt),
        lambda: gpt.responses.compact(model="gpt-5", input="x"),
        lambda: gpt.responses.create(model="gpt-5", input="x", background=True),
        lambda: gpt.embeddings.create(model="text-embedding-3-small", input="x"),
        lambda: gpt.images.generate(model="gpt-image-1", prompt="x"),
        lambda: gpt.post("/videos", body={"model": "sora-2", "prompt": "x"}, cast_to=object),
        lambda: gpt.post("/threads/t/runs", body={"assistant_id": "a"}, cast_to=object),
    ]
    for send in refused:
        with pytest.raises(BudgetExceededError):
            send()
    with pytest.raises(BudgetExceededError, match=r"It asked for 'gpt-4o' of 'openai', which may cost \$\d") as caught:
        ask(gpt)

    assert script.asked == []
    assert caught.value.asked_usd > 0


# What is neither inference nor tells what one has used, of the SDKs' own paths.
OTHER = re.compile(
    r"/(?:v1/)?(?:agents|assistants|audio/voice|batches|chat/completions/\{|chatkit|containers|content_provenance|"
    r"conversations|deployments|dreams|environments|evals|files|fine_tuning|live|memory_stores|moderations|organization|"
    r"messages/batches|messages/count_tokens|projects|realtime|responses/input_tokens|responses/\{response_id\}/cancel|"
    r"sessions|skills|threads/\{thread_id\}(?:/messages|$|/runs/\{run_id\}(?:/cancel|$))|threads$|tunnels|uploads|"
    r"user_profiles|vaults|vector_stores|videos/characters|webhook_endpoints)"
)


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_every_path_of_an_sdk_is_known(name):
    """
    Each URL that an SDK posts to is inference, or known to be none: a new one shows up here.
    """
    from obskit.integrations import anthropic, openai

    module, sdk = {"openai": (sdk_openai, openai.SDK), "anthropic": (sdk_anthropic, anthropic.SDK)}[name]
    source = "\n".join(path.read_text() for path in Path(module.__file__).parent.joinpath("resources").rglob("*.py"))
    paths = set(re.findall(r'self\._post\(\s*(?:path_template\(|f)?"(/[^"?]*)', source))
    known = {path for path in paths if sdk.path_of("post", re.sub(r"\{[^}]*\}", "x", path)) is not None}

    assert {path for path in paths - known if not OTHER.match(path)} == set()
    assert {path for path in known if OTHER.match(path)} == set()
    assert len(known) >= (1 if name == "anthropic" else 12)
