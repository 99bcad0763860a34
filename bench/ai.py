"""
Measure what a call of an SDK costs more with its hooks: CPU time, above the same call without.

The provider is a transport in the same process, so that nothing but the SDK and obskit works. The SDK alone, obskit
without spans, obskit with a recorded one and the SDK's own tracing take turns, block by block.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from tempfile import TemporaryDirectory
from time import process_time_ns, thread_time_ns, time
from timeit import repeat
from types import SimpleNamespace
from typing import Any

import anthropic
import httpx2
import openai
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from prometheus_client import CollectorRegistry

import obskit
from bench.figures import keep
from obskit.ai import pricing
from obskit.ai.usage import Usage
from obskit.integrations import anthropic as claude_hooks
from obskit.integrations import openai as gpt_hooks

try:
    from obskit.ai.budget_book import budget_book
except ImportError:  # an older library, which `bench pair` compares with
    from obskit.ai.budgeting import keeper as budget_book

CHUNKS = 200
SOON = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds")
HEADERS = {"content-type": "application/json", "request-id": "r", "date": "Fri, 20 Nov 2026 09:00:00 GMT"}
CLAUDE_HEADERS = {
    **HEADERS,
    **{f"anthropic-ratelimit-{kind}-limit": "4000" for kind in ("requests", "input-tokens", "output-tokens")},
    **{f"anthropic-ratelimit-{kind}-remaining": "3999" for kind in ("requests", "input-tokens", "output-tokens")},
    **{f"anthropic-ratelimit-{kind}-reset": SOON for kind in ("requests", "input-tokens", "output-tokens")},
}
GPT_HEADERS = {
    **HEADERS,
    **{f"x-ratelimit-limit-{kind}": "4000" for kind in ("requests", "tokens")},
    **{f"x-ratelimit-remaining-{kind}": "3999" for kind in ("requests", "tokens")},
    **{f"x-ratelimit-reset-{kind}": "1m30s" for kind in ("requests", "tokens")},
}
PRICES = {"m": {"input": 2.0, "output": 10.0}}
USAGE = {"input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 50, "cache_creation_input_tokens": 0}
MESSAGE = {
    **{"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"},
    **{"content": [{"type": "text", "text": "plate"}], "stop_sequence": None, "usage": USAGE},
}
CHAT_USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
CHAT = {
    **{"id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": CHAT_USAGE},
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "plate"}}],
}


def _events(events: list[dict[str, Any]], named: bool) -> bytes:
    lines = [(f"event: {event['type']}\n" if named else "") + f"data: {json.dumps(event)}\n\n" for event in events]
    return "".join(lines).encode()


def _message_stream() -> bytes:
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "plate "}}
    last = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": USAGE}
    start = {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    return _events([start, block, *[delta] * CHUNKS, last, {"type": "message_stop"}], named=True)


def _chat_stream() -> bytes:
    made = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    delta = {**made, "choices": [{"index": 0, "delta": {"content": "plate "}, "finish_reason": None}]}
    end = {**made, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    told = {**made, "choices": [], "usage": CHAT_USAGE}
    return _events([*[delta] * CHUNKS, end, told], named=False) + b"data: [DONE]\n\n"


def _transport(whole: dict[str, Any], stream: bytes, headers: dict[str, str]) -> httpx2.MockTransport:
    body = json.dumps(whole).encode()

    def answer(request: httpx2.Request) -> httpx2.Response:
        if b'"stream":true' in request.content:
            return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream)
        return httpx2.Response(200, headers=headers, content=body)

    return httpx2.MockTransport(answer)


def _read(events: Any) -> None:
    for _ in events:
        pass


def _calls(native: bool) -> dict[str, Callable[[], object]]:
    messages: Any = [{"role": "user", "content": "Which plate?"}]
    claude = anthropic.Anthropic(
        api_key="none",
        **({} if native else {"open_telemetry": False}),
        http_client=httpx2.Client(
            transport=_transport(MESSAGE, _message_stream(), CLAUDE_HEADERS), base_url="https://api.anthropic.com"
        ),
    )
    gpt = openai.OpenAI(
        api_key="none", http_client=httpx2.Client(transport=_transport(CHAT, _chat_stream(), GPT_HEADERS))
    )
    ask, chat = claude.messages.create, gpt.chat.completions.create
    return {
        "anthropic, plain": lambda: ask(model="m", max_tokens=9, messages=messages),
        "anthropic, stream": lambda: _read(ask(model="m", max_tokens=9, messages=messages, stream=True)),
        "openai, plain": lambda: chat(model="m", messages=messages),
        "openai, stream": lambda: _read(
            chat(model="m", messages=messages, stream=True, stream_options={"include_usage": True})
        ),
    }


@contextmanager
def _hooked(**settings: Any) -> Iterator[None]:
    with open(os.devnull, "wb") as nowhere:
        obskit.configure(service="bench", registry=CollectorRegistry(), log_stream=nowhere, prices=PRICES, **settings)
        obskit.instrument_anthropic()
        obskit.instrument_openai()
        try:
            yield
        finally:
            obskit.uninstrument_anthropic()
            obskit.uninstrument_openai()
            obskit.shutdown()


@contextmanager
def _alone() -> Iterator[None]:
    yield


@contextmanager
def _traced(provider: TracerProvider) -> Iterator[None]:
    from opentelemetry import trace

    before, trace._TRACER_PROVIDER = trace._TRACER_PROVIDER, provider
    try:
        yield
    finally:
        trace._TRACER_PROVIDER = before


def _microseconds(call: Callable[[], object], times: int, clock: Callable[[], int] = process_time_ns) -> float:
    call()
    started = clock()
    for _ in range(times):
        call()
    return (clock() - started) / times / 1000


def _chunk(sdk: Any, description: Any, events: bytes) -> float:
    """
    Return the microseconds that one event of a stream costs more, by themselves: they are lost in a stream's own.
    """
    try:
        from obskit.integrations._ai_call import KEY, Call, Handle, StreamState

        accumulator = "accumulate"
    except ImportError:  # an older library
        from obskit.integrations._ai import KEY, Call, Handle
        from obskit.integrations._ai import Progress as StreamState

        accumulator = "fold"
    response = SimpleNamespace(extensions={})
    client = object.__new__(sdk._base_client.BaseClient)
    event = [json.loads(line[6:]) for line in events.decode().splitlines() if line.startswith("data: {")][5]

    def best() -> float:
        process = sdk._base_client.BaseClient._process_response_data
        taken = repeat(lambda: process(client, data=event, cast_to=object, response=response), number=20_000, repeat=15)
        return min(taken) / 20_000 * 1e6

    alone = best()
    with _hooked():
        call = Call("", "bench", "m", "chat")
        setattr(call, accumulator, getattr(next(iter(description.paths.values())), accumulator))
        call.stream, call.is_open = StreamState(), False
        response.extensions[KEY] = Handle(call)
        return best() - alone


def _price() -> dict[str, float]:
    """
    Return the microseconds that pricing takes once a model's rates are known, by where they come from.
    """
    used = Usage(input=2000, cache_read=8000, cache_write=2000, cache_write_1h=500, output=700)
    now = time()
    pricing.use(PRICES)
    taken = {}
    for name, (provider, model) in {
        "genai-prices": ("anthropic", "claude-sonnet-5-5"),
        "the setting": ("bench", "m"),
    }.items():
        if pricing.cost(provider, model, used, now).usd is None:
            raise SystemExit(f"{model} has no price")
        best = min(repeat(lambda p=provider, m=model: pricing.cost(p, m, used, now), number=50_000, repeat=15))  # type: ignore[misc]
        taken[name] = best / 50_000 * 1e6
    pricing.use({})
    return taken


def _part(with_it: list[float], without: list[float]) -> float:
    """
    Return what is added, as a part of what there is without it in the same block.
    """
    return statistics.median(more / less - 1.0 for more, less in zip(with_it, without, strict=True))


def _reserve(
    call: Callable[[], object], blocks: int, times: int, clock: Callable[[], int]
) -> tuple[list[float], list[float]]:
    """
    Return the microseconds of a call for which a budget reserves, and of one without, block by block.

    A thread settles what the call did cost.
    """
    spent: dict[bool, list[float]] = {True: [], False: []}
    with TemporaryDirectory() as state, _hooked(state_dir=state):
        for _ in range(blocks):
            for has_budget in random.sample(sorted(spent), 2):
                if has_budget:
                    obskit.ai.budget("bench", usd=1e6, action="block")
                try:
                    spent[has_budget].append(_microseconds(call, times, clock))
                finally:
                    budget_book.remove("bench")
    return spent[True], spent[False]


def main(arguments: list[str]) -> None:
    """
    Print a table of added microseconds.
    """
    parser = argparse.ArgumentParser(prog="python -m bench ai")
    parser.add_argument("--blocks", type=int, default=30)
    parser.add_argument("--calls", type=int, default=40)
    options = parser.parse_args(arguments)
    provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
    provider.add_span_processor(SpanProcessor())  # makes spans, and drops them
    ways: dict[str, Callable[[], Any]] = {
        "alone": _alone,
        "obskit": _hooked,
        "obskit, spans": lambda: _hooked(tracing=provider),
        "SDK's own spans": lambda: _traced(provider),
    }
    plain = _calls(native=False)
    spent: dict[tuple[str, str], list[float]] = {(way, name): [] for way in ways for name in plain}
    order = list(ways)
    for number in range(options.blocks + 1):
        random.shuffle(order)
        for way in order:
            with ways[way]():
                calls = _calls(native=True) if way == "SDK's own spans" else plain
                for name, call in calls.items():
                    times = max(1, options.calls // 10) if "stream" in name else options.calls
                    taken = _microseconds(call, times)
                    if number:
                        spent[way, name].append(taken)
    print(f"{'CPU, added, us':22}{'alone':>10}" + "".join(f"{way:>18}" for way in list(ways)[1:]))
    for name in plain:
        typical = {way: min(spent[way, name]) for way in ways}  # other processes only add
        added = [typical[way] - typical["alone"] for way in list(ways)[1:]]
        print(f"{name:22}{typical['alone']:10.0f}" + "".join(f"{value:18.1f}" for value in added), flush=True)
        if "plain" in name:  # a stream's own cost hides what is added
            for way in ("obskit", "obskit, spans"):
                keep(f"{name}, {way}", _part(spent[way, name], spent["alone", name]))
    print("a budget that may refuse the call")
    for name in ("anthropic, plain", "openai, plain"):
        for part, clock in {"all threads": process_time_ns, "the caller's own": thread_time_ns}.items():
            reserved, free = _reserve(plain[name], options.blocks, options.calls, clock)
            print(f"{name + ', ' + part:34}{min(reserved) - min(free):16.1f}", flush=True)
            keep(f"{name}, a budget, {part}", _part(reserved, free))
    print("an event of a stream")
    for sdk, description, events in (
        (anthropic, claude_hooks.SDK, _message_stream()),
        (openai, gpt_hooks.SDK, _chat_stream()),
    ):
        taken = _chunk(sdk, description, events)
        print(f"{sdk.__name__:32}{taken:18.2f}", flush=True)
        keep(f"{sdk.__name__}, an event: us", taken)
    print("the price of a call, of which the above has one")
    for name, taken in _price().items():
        print(f"{name:32}{taken:18.2f}", flush=True)
        keep(f"the price by {name}: us", taken)


if __name__ == "__main__":
    main([])
