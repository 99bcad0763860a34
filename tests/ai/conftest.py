"""
Serve a provider of the tests' own, and point the real SDKs at it.
"""

import pytest

import obskit
from obskit.testing import isolated_runtime

from .provider import TARIFF, running


@pytest.fixture
def provider():
    with running() as provider:
        yield provider


@pytest.fixture
def prices():
    """
    Return the provider's tariff as a price table.
    """
    from obskit.ai.pricing import Price

    names = ("input", "cache_read", "cache_write", "output")
    return {
        model: Price(**dict(zip(names, map(float, rates), strict=True)))
        for model, rates in TARIFF.items()
        if any(rates)
    }


@pytest.fixture
def runtime(sink, prices):
    with isolated_runtime(sinks=[sink], prices=prices) as runtime:
        yield runtime


@pytest.fixture
def anthropic(runtime, provider):
    """
    Yield the hooked SDK's module.
    """
    sdk = pytest.importorskip("anthropic")
    obskit.instrument_anthropic()
    yield sdk
    obskit.uninstrument_anthropic()


@pytest.fixture
def openai(runtime, provider):
    sdk = pytest.importorskip("openai")
    obskit.instrument_openai(providers={"127.0.0.1": "openai"})
    yield sdk
    obskit.uninstrument_openai()


@pytest.fixture
def claude(anthropic, provider):
    """
    Yield a client.
    """
    with anthropic.Anthropic(api_key="none", base_url=provider.url) as client:
        yield client


@pytest.fixture
def gpt(openai, provider):
    with openai.OpenAI(api_key="none", base_url=f"{provider.url}/v1") as client:
        yield client
