"""
What frameworks on top of the SDKs do with them: their clients, and how they call. Each call is counted once.
"""

import asyncio
import copy
import functools
import pickle
import re
from pathlib import Path

import pytest

import obskit
from obskit.ai import report
from obskit.testing import isolated_runtime

from .scripted import chat, chunk, message_events, response, running

pytest.importorskip("genai_prices")
openai, anthropic = pytest.importorskip("openai"), pytest.importorskip("anthropic")

ASKED = [{"role": "user", "content": "Which plate?"}]
CHAT = {"model": "gpt-4o", "messages": ASKED}
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
TOLD = {
    **{"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100},
    **{"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}},
}
TOOL = {"type": "function", "function": {"name": "plates", "parameters": {"type": "object", "properties": {}}}}
USD = {"gpt-4o": 0.0035, "claude-opus-4-8": 0.0075}


def reply(path, asked):
    if path.endswith("/responses"):
        return response(TOLD, model="gpt-4o")
    if path.endswith("/messages?beta=true") or path.endswith("/messages"):
        return message_events({"input_tokens": 1000, "output_tokens": 100})
    if not asked.get("stream"):
        return chat(USAGE)
    told = (asked.get("stream_options") or {}).get("include_usage")
    return [chunk("hi"), chunk(end="stop"), *([chunk(usage=USAGE)] if told else []), "[DONE]"]


@pytest.fixture
def script():
    with running() as script:
        script.reply = reply
        yield script


@pytest.fixture
def runtime(sink):
    with isolated_runtime(sinks=[sink]) as runtime:
        obskit.instrument_openai(providers={"127.0.0.1": "openai"})
        obskit.instrument_anthropic()
        yield runtime
        obskit.uninstrument_openai()
        obskit.uninstrument_anthropic()


class OwnClient(openai.OpenAI):
    """
    A client of an application's own.
    """

    def request(self, *args, **kwargs):
        return super().request(*args, **kwargs)


def clients(url):
    """
    Make clients as frameworks do: copied, with options, of a class or a transport of their own.
    """
    import httpx2

    made = openai.OpenAI(api_key="none", base_url=url)
    own = httpx2.Client(transport=httpx2.HTTPTransport(retries=1), timeout=9)
    return {
        "plain": made,
        "with_options": made.with_options(timeout=9),
        "copy": made.copy(max_retries=0),
        "subclass": OwnClient(api_key="none", base_url=url),
        "transport": openai.OpenAI(api_key="none", base_url=url, http_client=own),
    }


@pytest.mark.parametrize("name", ["plain", "with_options", "copy", "subclass", "transport"])
def test_every_client_of_an_sdk_is_hooked(name, script, runtime, sink):
    """
    Copies, clients with options, of subclasses and with transports of their own are timed like any other, once.
    """
    made = clients(f"{script.url}/v1")
    made[name].chat.completions.create(**CHAT)
    for client in made.values():
        client.close()

    assert [op.cost_usd for op in sink.operations] == [pytest.approx(USD["gpt-4o"])]


def langchain(client):
    """
    As langchain-openai does: a raw response that is parsed, and a stream in its own `with`.
    """
    client.chat.completions.with_raw_response.create(**CHAT).parse()
    with client.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True}) as events:
        for _ in events:
            pass


def instructor(client):
    """
    As instructor does: `create` behind a function of its own, which asks for a tool.
    """
    create = client.chat.completions.create

    @functools.wraps(create)
    def ask(*args, **kwargs):
        return create(*args, tools=[TOOL], tool_choice="auto", **kwargs)

    ask(**CHAT)
    ask(**CHAT)


def llama_index(client):
    """
    As llama-index does: plain calls, of a client that is made for each.
    """
    for _ in range(2):
        client.copy().chat.completions.create(**CHAT, stream=False)


@pytest.mark.parametrize("framework", [langchain, instructor, llama_index])
def test_calls_in_the_shapes_of_frameworks_are_counted(framework, script, runtime, sink):
    """
    Raw, wrapped and copied: two calls are two, with their dollars.
    """
    with openai.OpenAI(api_key="none", base_url=f"{script.url}/v1") as client:
        framework(client)

    assert [op.cost_usd for op in sink.operations] == [pytest.approx(USD["gpt-4o"])] * 2


async def agents(url):
    """
    As openai-agents does: responses, and streamed chat completions with the usage asked for.
    """
    async with openai.AsyncOpenAI(api_key="none", base_url=f"{url}/v1") as client:
        await client.responses.create(model="gpt-4o", input="x", stream=False)
        told = {"stream_options": {"include_usage": True}}
        async for _ in await client.chat.completions.create(**CHAT, **told, stream=True):
            pass


async def pydantic_ai(url):
    """
    As pydantic-ai does: headers of its own, and Anthropic's messages streamed from the beta.
    """
    async with openai.AsyncOpenAI(api_key="none", base_url=f"{url}/v1") as client:
        await client.chat.completions.create(**CHAT, extra_headers={"User-Agent": "pydantic-ai"})
    async with anthropic.AsyncAnthropic(api_key="none", base_url=url) as client:
        ask = client.beta.messages.create(model="claude-opus-4-8", max_tokens=9, messages=ASKED, stream=True)
        async with await ask as events:
            async for _ in events:
                pass


@pytest.mark.parametrize("framework", [agents, pydantic_ai])
def test_asynchronous_calls_in_the_shapes_of_frameworks_are_counted(framework, script, runtime, sink):
    """
    The same of frameworks that are asynchronous.
    """
    asyncio.run(framework(script.url))

    assert [op.cost_usd for op in sink.operations] == [pytest.approx(USD[op.model]) for op in sink.operations]
    assert len(sink.operations) == 2


def test_a_stream_without_usage_says_why_its_cost_is_not_known(script, runtime):
    """
    A framework that asks for no usage of its streams has calls of unknown cost, and the report says what to do.
    """
    with openai.OpenAI(api_key="none", base_url=f"{script.url}/v1") as client:
        for _ in client.chat.completions.create(**CHAT, stream=True):
            pass

    found = report(1)
    assert found.unknown_cost == {"no_usage": 1}
    assert "include_usage" in found.recommendations[0].text


def test_what_asks_without_the_sdks_is_not_counted(script, runtime, sink):
    """
    A request that passes by them, to whatever URL, is no call; within `observe_ai` it is one, and its reply is read.
    """
    import httpx2

    def ask():
        return httpx2.post(f"{script.url}/v1/chat/completions", json=CHAT).json()

    ask()
    before = len(sink.operations)
    obskit.observe_ai(provider="openai")(ask)()

    assert (before, [op.cost_usd for op in sink.operations]) == (0, [pytest.approx(USD["gpt-4o"])])


def test_the_page_names_a_test_for_all_that_is_counted():
    """
    Each test that the page on frameworks names is there, and each shape of a framework is on the page.
    """
    here = Path(__file__).parent
    page = (here.parents[1] / "docs/how-to/ai-frameworks.md").read_text()
    named = re.findall(r"`(\w+\.py)::(test_\w+)(?:\[(\w+)\])?`", page)
    shapes = {shape for _, _, shape in named if shape}

    assert [name for file, name, _ in named if f"def {name}(" not in (here / file).read_text()] == []
    assert shapes == {made.__name__ for made in (langchain, instructor, llama_index, agents, pydantic_ai)} | {
        "subclass"
    }


@pytest.mark.parametrize("kept", [copy.copy, copy.deepcopy, lambda reply: pickle.loads(pickle.dumps(reply))])
def test_replies_are_what_the_sdk_makes_of_them(kept, script, runtime, sink):
    """
    A reply can be copied and pickled, whole or raw, and its copy is no further call.
    """
    with openai.OpenAI(api_key="none", base_url=f"{script.url}/v1") as client:
        whole = client.chat.completions.create(**CHAT)
        raw = client.chat.completions.with_raw_response.create(**CHAT)
        raw.parse()

    assert kept(whole) == whole
    assert kept(raw.parse()) == whole
    assert len(sink.operations) == 2
