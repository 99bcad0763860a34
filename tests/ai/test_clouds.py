"""
Models behind a cloud's own paths, and requests in the middle of others: each call is counted, under its own name.
"""

import asyncio

import pytest

import obskit

from .bill import counted
from .provider import headers

pytest.importorskip("anthropic")
pytest.importorskip("openai")

from . import forms

FULL = {"input": 120, "cache_read": 800, "cache_write": 200, "output": 70, "reasoning": 30}
AZURE = {"api_key": "none", "api_version": "2026-01-01"}
VERTEX = {"project_id": "shelves", "region": "europe-west1", "access_token": "none"}


def usd(provider):
    return pytest.approx(float(provider.usd()), abs=1e-12)


@pytest.mark.parametrize(
    "form",
    [forms.chat, forms.chat_stream, forms.chat_raw, forms.responses, forms.completions],
    ids=lambda f: f.__name__,
)
def test_azure_is_counted_as_billed(form, openai, provider, runtime, sink):
    """
    Azure's client writes the deployment into the path; its calls are counted like any other.
    """
    with openai.AzureOpenAI(azure_endpoint=provider.url, **AZURE) as client:
        form(client, extra_headers=headers(**FULL))

    [op] = sink.operations
    assert (op.model, op.outcome, op.tokens.reasoning) == ("gpt-test", "success", 30)
    assert counted(runtime) == (provider.tokens(), usd(provider))


def test_bedrock_is_counted_as_billed(anthropic, provider, runtime, sink):
    """
    Bedrock's client has a path of its own too.
    """
    with anthropic.AnthropicBedrock(api_key="none", aws_region="eu-west-1", base_url=provider.url) as client:
        forms.create(client, extra_headers=headers(**FULL))
        forms.raw(client, extra_headers=headers(**FULL))

    assert len(sink.operations) == 2
    assert counted(runtime) == (provider.tokens(), usd(provider))


@pytest.mark.parametrize("form", [forms.async_chat, forms.async_chat_stream], ids=lambda form: form.__name__)
def test_azure_is_counted_as_billed_from_tasks(form, openai, provider, runtime, sink):
    """
    The same holds for its asynchronous client.
    """

    async def main():
        async with openai.AsyncAzureOpenAI(azure_endpoint=provider.url, **AZURE) as client:
            await form(client, extra_headers=headers(**FULL))

    asyncio.run(main())

    assert len(sink.operations) == 1
    assert counted(runtime) == (provider.tokens(), usd(provider))


@pytest.mark.parametrize("form", [forms.create, forms.stream, forms.helper, forms.raw], ids=lambda form: form.__name__)
def test_vertex_is_counted_as_billed(form, anthropic, provider, runtime, sink):
    """
    Vertex's client writes project, region and model into the path; its calls are counted like any other.
    """
    with anthropic.AnthropicVertex(base_url=provider.url, **VERTEX) as client:
        form(client, extra_headers=headers(**FULL))

    [op] = sink.operations
    assert (op.model, op.outcome) == ("claude-test", "success")
    assert counted(runtime) == (provider.tokens(), usd(provider))


def test_vertex_is_counted_as_billed_from_tasks(anthropic, provider, runtime, sink):
    """
    The same holds for its asynchronous client.
    """

    async def main():
        async with anthropic.AsyncAnthropicVertex(base_url=provider.url, **VERTEX) as client:
            await forms.async_create(client, extra_headers=headers(**FULL))
            await forms.async_stream(client, extra_headers=headers(**FULL))

    asyncio.run(main())

    assert len(sink.operations) == 2
    assert counted(runtime) == (provider.tokens(), usd(provider))


def test_a_request_in_the_middle_of_a_call_is_not_taken_for_it(anthropic, provider, runtime, sink):
    """
    Tokens that are counted while a call is being sent are neither its reply nor its attempts.
    """
    transport = pytest.importorskip("httpx2")

    def before(request):
        if not request.url.path.endswith("count_tokens"):
            client.messages.count_tokens(
                model="claude-test", messages=forms.CLAUDE["messages"], extra_headers=headers(input=7, fail=(529,))
            )

    http = transport.Client(event_hooks={"request": [before]})
    with anthropic.Anthropic(api_key="none", base_url=provider.url, http_client=http) as client:
        forms.create(client, extra_headers=headers(**FULL))

    [op] = sink.operations
    assert (op.attempts, op.tokens.tokens()) == (1, (120, 800, 200, 70))
    assert [path.rpartition("/")[2] for path in provider.attempts] == ["count_tokens", "count_tokens", "messages"]
    assert counted(runtime) == (provider.tokens(), usd(provider))


def test_a_call_in_the_middle_of_a_call_is_one_of_its_own(anthropic, openai, provider, runtime, sink):
    """
    A gateway's check that asks another model before each call is a second call, with its own tokens and cents.
    """
    transport = pytest.importorskip("httpx2")
    gpt = openai.OpenAI(api_key="none", base_url=f"{provider.url}/v1")
    http = transport.Client(event_hooks={"request": [lambda request: forms.chat(gpt)]})
    with gpt, anthropic.Anthropic(api_key="none", base_url=provider.url, http_client=http) as client:
        forms.create(client, extra_headers=headers(**FULL))

    assert [op.model for op in sink.operations] == ["gpt-test", "claude-test"]
    assert counted(runtime) == (provider.tokens(), usd(provider))


def test_an_sdk_that_is_unhooked_in_the_middle_goes_on(openai, provider, sink):
    """
    A stream that was begun while the hooks were on is ended by them; what comes later is not observed.
    """
    with openai.OpenAI(api_key="none", base_url=f"{provider.url}/v1") as client:
        events = client.chat.completions.create(**forms.CHAT, **forms.TOLD, stream=True)
        next(events)
        obskit.uninstrument_openai()
        for _ in events:
            pass
        forms.chat(client)

    assert [(op.outcome, op.tokens and op.tokens.input) for op in sink.operations][:1] == [("success", 100)]
    assert len(sink.operations) == 1


HOSTS = [
    ("openai", "api.openai.com", "openai", None),
    ("openai", "eu.api.openai.com", "openai", "eu"),
    ("openai", "r.openai.azure.com", "azure.ai.openai", None),
    ("openai", "r.openai.azure.us", "azure.ai.openai", None),
    ("openai", "r.services.ai.azure.com", "azure.ai.openai", None),
    ("openai", "notopenai.azure.com", "unknown", None),
    ("openai", "openai.azure.com.evil.example", "unknown", None),
    ("openai", "notapi.openai.com", "unknown", None),
    ("openai", "us-central1-aiplatform.googleapis.com", "gcp.vertex_ai", "us-central1"),
    ("openai", "notaiplatform.googleapis.com", "unknown", None),
    ("openai", "bedrock-runtime.us-gov-west-1.amazonaws.com", "aws.bedrock", None),
    ("openai", "bedrock-runtime.cn-north-1.amazonaws.com.cn", "aws.bedrock", None),
    ("openai", "bedrock-mantle.us-east-1.api.aws", "aws.bedrock", None),
    ("openai", "localhost", "unknown", None),
    ("anthropic", "aiplatform.googleapis.com", "gcp.vertex_ai", None),
    ("anthropic", "europe-west1-aiplatform.googleapis.com", "gcp.vertex_ai", "europe-west1"),
    ("anthropic", "aiplatform.eu.rep.googleapis.com", "gcp.vertex_ai", "eu"),
    ("anthropic", "aws-external-anthropic.us-east-1.api.aws", "anthropic", None),
    ("anthropic", "r.services.ai.azure.com", "azure.ai.inference", None),
    ("anthropic", "api.deepseek.com", "deepseek", None),
    ("anthropic", "gateway.example", "anthropic", None),
]


@pytest.mark.parametrize(("name", "host", "provider", "region"), HOSTS)
def test_a_host_tells_who_is_paid(name, host, provider, region):
    """
    Regions and sovereign clouds belong to their provider, and a host that only ends alike to nobody that is known.
    """
    from obskit.ai.provider_hosts import region_of
    from obskit.integrations import anthropic, openai

    sdk = {"openai": openai.SDK, "anthropic": anthropic.SDK}[name]

    assert (sdk.provider_of(host), region_of(host)) == (provider, region)
