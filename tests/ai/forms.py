"""
Call a model in every form that the two SDKs have. Each function makes one call and reads it to its end.
"""

import asyncio
import inspect
import json
import threading
from typing import Any

from pydantic import BaseModel

from .provider import headers

CLAUDE: dict[str, Any] = {
    "model": "claude-test",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "Which plate?"}],
}
CHAT: dict[str, Any] = {"model": "gpt-test", "messages": [{"role": "user", "content": "Which plate?"}]}
RESPONSE: dict[str, Any] = {"model": "gpt-test", "input": "Which plate?"}
TOLD = {"stream_options": {"include_usage": True}}


class Plates(BaseModel):
    plates: int


def create(client, **more):
    client.messages.create(**CLAUDE, **more)


def stream(client, **more):
    for _ in client.messages.create(**CLAUDE, stream=True, **more):
        pass


def helper(client, **more):
    with client.messages.stream(**CLAUDE, **more) as events:
        events.get_final_message()


def text(client, **more):
    with client.messages.stream(**CLAUDE, **more) as events:
        assert "plate" in "".join(events.text_stream)


def parse(client, **more):
    assert client.messages.parse(**CLAUDE, output_format=Plates, **more).parsed_output.plates == 1


def raw(client, **more):
    client.messages.with_raw_response.create(**CLAUDE, **more)


def raw_parsed(client, **more):
    client.messages.with_raw_response.create(**CLAUDE, **more).parse()


def raw_stream(client, **more):
    for _ in client.messages.with_raw_response.create(**CLAUDE, stream=True, **more).parse():
        pass


def streaming(client, **more):
    with client.messages.with_streaming_response.create(**CLAUDE, **more) as response:
        response.parse()


def streaming_json(client, **more):
    with client.messages.with_streaming_response.create(**CLAUDE, **more) as response:
        response.json()


def streaming_stream(client, **more):
    with client.messages.with_streaming_response.create(**CLAUDE, stream=True, **more) as response:
        for _ in response.parse():
            pass


def beta(client, **more):
    client.beta.messages.create(**CLAUDE, **more)


def beta_stream(client, **more):
    for _ in client.beta.messages.create(**CLAUDE, stream=True, **more):
        pass


def with_options(client, **more):
    client.with_options(max_retries=5).messages.create(**CLAUDE, **more)


def post(client, **more):
    client.post("/v1/messages", body=CLAUDE, cast_to=object, options={"headers": more["extra_headers"]})


def streaming_read(client, **more):
    with client.messages.with_streaming_response.create(**CLAUDE, **more) as response:
        response.read()


def beta_helper(client, **more):
    with client.beta.messages.stream(**CLAUDE, **more) as events:
        events.get_final_message()


def beta_parse(client, **more):
    assert client.beta.messages.parse(**CLAUDE, output_format=Plates, **more).parsed_output.plates == 1


def beta_raw(client, **more):
    client.beta.messages.with_raw_response.create(**CLAUDE, **more)


def tool_runner(client, **more):
    client.beta.messages.tool_runner(**CLAUDE, tools=[], **more).until_done()


ANTHROPIC = (
    *(create, stream, helper, text, parse, raw, raw_parsed, raw_stream, streaming, streaming_json, streaming_read),
    *(streaming_stream, beta, beta_stream, beta_helper, beta_parse, beta_raw, tool_runner, with_options, post),
)


async def async_create(client, **more):
    await client.messages.create(**CLAUDE, **more)


async def async_stream(client, **more):
    async for _ in await client.messages.create(**CLAUDE, stream=True, **more):
        pass


async def async_helper(client, **more):
    async with client.messages.stream(**CLAUDE, **more) as events:
        await events.get_final_message()


async def async_text(client, **more):
    async with client.messages.stream(**CLAUDE, **more) as events:
        async for _ in events.text_stream:
            pass


async def async_parse(client, **more):
    await client.messages.parse(**CLAUDE, output_format=Plates, **more)


async def async_raw(client, **more):
    await client.messages.with_raw_response.create(**CLAUDE, **more)


async def async_streaming(client, **more):
    async with client.messages.with_streaming_response.create(**CLAUDE, **more) as response:
        await response.parse()


async def async_streaming_json(client, **more):
    async with client.messages.with_streaming_response.create(**CLAUDE, **more) as response:
        await response.json()


async def async_streaming_stream(client, **more):
    async with client.messages.with_streaming_response.create(**CLAUDE, stream=True, **more) as response:
        async for _ in await response.parse():
            pass


async def async_beta(client, **more):
    await client.beta.messages.create(**CLAUDE, **more)


async def async_raw_stream(client, **more):
    response = await client.messages.with_raw_response.create(**CLAUDE, stream=True, **more)
    events = response.parse()
    async for _ in await events if inspect.isawaitable(events) else events:
        pass


async def async_streaming_read(client, **more):
    async with client.messages.with_streaming_response.create(**CLAUDE, **more) as response:
        await response.read()


async def async_beta_stream(client, **more):
    async for _ in await client.beta.messages.create(**CLAUDE, stream=True, **more):
        pass


async def async_beta_helper(client, **more):
    async with client.beta.messages.stream(**CLAUDE, **more) as events:
        await events.get_final_message()


async def async_tool_runner(client, **more):
    await client.beta.messages.tool_runner(**CLAUDE, tools=[], **more).until_done()


ASYNC_ANTHROPIC = (
    *(async_create, async_stream, async_helper, async_text, async_parse, async_raw, async_raw_stream, async_streaming),
    *(async_streaming_json, async_streaming_read, async_streaming_stream, async_beta, async_beta_stream),
    *(async_beta_helper, async_tool_runner),
)


def chat(client, **more):
    client.chat.completions.create(**CHAT, **more)


def chat_stream(client, **more):
    for _ in client.chat.completions.create(**CHAT, **TOLD, stream=True, **more):
        pass


def chat_helper(client, **more):
    with client.chat.completions.stream(**CHAT, **TOLD, **more) as events:
        events.until_done()


def chat_parse(client, **more):
    parsed = client.chat.completions.parse(**CHAT, response_format=Plates, **more)
    assert parsed.choices[0].message.parsed.plates == 1


def chat_raw(client, **more):
    client.chat.completions.with_raw_response.create(**CHAT, **more)


def chat_raw_parsed(client, **more):
    client.chat.completions.with_raw_response.create(**CHAT, **more).parse()


def chat_raw_stream(client, **more):
    for _ in client.chat.completions.with_raw_response.create(**CHAT, **TOLD, stream=True, **more).parse():
        pass


def chat_streaming(client, **more):
    with client.chat.completions.with_streaming_response.create(**CHAT, **more) as response:
        response.parse()


def chat_streaming_json(client, **more):
    with client.chat.completions.with_streaming_response.create(**CHAT, **more) as response:
        json.loads(response.text())


def chat_streaming_stream(client, **more):
    with client.chat.completions.with_streaming_response.create(**CHAT, **TOLD, stream=True, **more) as response:
        for _ in response.parse():
            pass


def responses(client, **more):
    client.responses.create(**RESPONSE, **more)


def responses_stream(client, **more):
    for _ in client.responses.create(**RESPONSE, stream=True, **more):
        pass


def responses_helper(client, **more):
    with client.responses.stream(**RESPONSE, **more) as events:
        events.until_done()


def responses_raw(client, **more):
    client.responses.with_raw_response.create(**RESPONSE, **more)


def completions(client, **more):
    client.completions.create(model="gpt-test", prompt="Which plate?", **more)


def completions_stream(client, **more):
    for _ in client.completions.create(model="gpt-test", prompt="Which plate?", stream=True, **TOLD, **more):
        pass


def chat_streaming_read(client, **more):
    with client.chat.completions.with_streaming_response.create(**CHAT, **more) as response:
        response.read()


def responses_parse(client, **more):
    assert client.responses.parse(**RESPONSE, text_format=Plates, **more).output_parsed.plates == 1


def responses_streaming(client, **more):
    with client.responses.with_streaming_response.create(**RESPONSE, **more) as response:
        response.parse()


def responses_raw_stream(client, **more):
    for _ in client.responses.with_raw_response.create(**RESPONSE, stream=True, **more).parse():
        pass


OPENAI = (
    *(chat, chat_stream, chat_helper, chat_parse, chat_raw, chat_raw_parsed, chat_raw_stream, chat_streaming),
    *(chat_streaming_json, chat_streaming_read, chat_streaming_stream, responses, responses_stream, responses_helper),
    *(responses_parse, responses_raw, responses_raw_stream, responses_streaming, completions, completions_stream),
)


async def async_chat(client, **more):
    await client.chat.completions.create(**CHAT, **more)


async def async_chat_stream(client, **more):
    async for _ in await client.chat.completions.create(**CHAT, **TOLD, stream=True, **more):
        pass


async def async_chat_helper(client, **more):
    async with client.chat.completions.stream(**CHAT, **TOLD, **more) as events:
        await events.until_done()


async def async_chat_raw(client, **more):
    await client.chat.completions.with_raw_response.create(**CHAT, **more)


async def async_chat_streaming(client, **more):
    async with client.chat.completions.with_streaming_response.create(**CHAT, **more) as response:
        await response.parse()


async def async_chat_streaming_stream(client, **more):
    async with client.chat.completions.with_streaming_response.create(**CHAT, **TOLD, stream=True, **more) as response:
        async for _ in await response.parse():
            pass


async def async_responses(client, **more):
    await client.responses.create(**RESPONSE, **more)


async def async_responses_stream(client, **more):
    async for _ in await client.responses.create(**RESPONSE, stream=True, **more):
        pass


async def async_chat_parse(client, **more):
    await client.chat.completions.parse(**CHAT, response_format=Plates, **more)


async def async_chat_raw_stream(client, **more):
    response = await client.chat.completions.with_raw_response.create(**CHAT, **TOLD, stream=True, **more)
    events = response.parse()
    async for _ in await events if inspect.isawaitable(events) else events:
        pass


async def async_chat_streaming_json(client, **more):
    async with client.chat.completions.with_streaming_response.create(**CHAT, **more) as response:
        await response.json()


async def async_responses_helper(client, **more):
    async with client.responses.stream(**RESPONSE, **more) as events:
        await events.until_done()


async def async_responses_parse(client, **more):
    await client.responses.parse(**RESPONSE, text_format=Plates, **more)


async def async_responses_raw(client, **more):
    await client.responses.with_raw_response.create(**RESPONSE, **more)


async def async_completions(client, **more):
    await client.completions.create(model="gpt-test", prompt="Which plate?", **more)


ASYNC_OPENAI = (
    *(async_chat, async_chat_stream, async_chat_helper, async_chat_parse, async_chat_raw, async_chat_raw_stream),
    *(async_chat_streaming, async_chat_streaming_json, async_chat_streaming_stream, async_responses),
    *(async_responses_stream, async_responses_helper, async_responses_parse, async_responses_raw, async_completions),
)


def in_threads(client, forms):
    """
    Make eight calls in each of eight threads, in turns of form and each of another size.
    """

    def work(number):
        for turn in range(8):
            form = forms[(number + turn) % len(forms)]
            form(client, extra_headers=headers(input=number + 1, output=turn + 1, cache_read=turn))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def in_tasks(client, forms):
    """
    Make forty calls at once, in turns of form and each of another size.
    """
    await asyncio.gather(
        *(forms[n % len(forms)](client, extra_headers=headers(input=n, cache_write=n)) for n in range(40))
    )
