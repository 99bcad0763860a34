"""
Time the calls of the `anthropic` SDK, from 0.76 on; it was tried with 0.76 and 2.11.

Messages are observed in every form: plain, streamed, parsed, raw, beta, of the tool runner, of Bedrock's and Vertex's
clients, of clients that were made before. Streams of Bedrock were not tried: they need its own package.
`count_tokens`, and the making and reading of batches, are no inference.
"""

from __future__ import annotations

from collections.abc import Mapping

from obskit.ai.provider_hosts import CLOUDS
from obskit.ai.stream import accumulate_message, accumulate_whole
from obskit.integrations._ai_install import install, remove
from obskit.integrations._ai_sdk import Path, Sdk

SDK = Sdk(
    name="anthropic",
    paths={"/v1/messages": Path("chat", accumulate_message), "/v1/complete": Path("text_completion", accumulate_whole)},
    hosts={
        **CLOUDS,
        "api.anthropic.com": "anthropic",
        "anthropic.com": "anthropic",
        "claude.googleapis.com": "anthropic",  # managed by it, on Google's cloud
        "services.ai.azure.com": "azure.ai.inference",
        "services.ai.azure.us": "azure.ai.inference",
        "cognitiveservices.azure.com": "azure.ai.inference",
        "azure-api.net": "azure.ai.inference",
        "api.x.ai": "x_ai",
        "api.fireworks.ai": "fireworks",
    },
    # Whatever gateway stands before it, these models are sold by one.
    default="anthropic",
    request_id="request-id",
)


def instrument(providers: Mapping[str, str] | None = None) -> None:
    """
    Time the calls of every client, those that were made before included.
    """
    install(SDK, providers or {})


def uninstrument() -> None:
    """
    Remove the hooks.
    """
    remove(SDK)
