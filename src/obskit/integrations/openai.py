"""
Time the calls of the `openai` SDK, from 1.99.1 on; it was tried with 1.99.1 and 3.52.

Chat completions, responses and their compaction, completions, embeddings, decisions, images, audio, videos and the runs
of assistants are observed in every form: plain, streamed, parsed, raw, of Azure's client, of clients that were made
before. Reading back a stored response is no inference; that of the background tells what it has used, once.
"""

from __future__ import annotations

from collections.abc import Mapping

from obskit.ai.ai_operation import UNKNOWN
from obskit.ai.provider_hosts import CLOUDS
from obskit.ai.stream import accumulate_chat, accumulate_response, accumulate_run, accumulate_whole
from obskit.integrations._ai_install import install, remove
from obskit.integrations._ai_sdk import Path, Sdk

_AUDIO, _IMAGE, _VIDEO = (
    Path("audio", accumulate_whole),
    Path("image", accumulate_whole),
    Path("video", accumulate_whole),
)
_RUN = Path("chat", accumulate_run)

SDK = Sdk(
    name="openai",
    paths={
        "/chat/completions": Path("chat", accumulate_chat),
        "/responses": Path("chat", accumulate_response),
        "/responses/compact": Path("chat", accumulate_response),
        "/completions": Path("text_completion", accumulate_chat),
        "/embeddings": Path("embeddings", accumulate_whole),
        "/decisions": Path("decision", accumulate_whole, {"openai": "openai-decisions"}),
        "/images/generations": _IMAGE,
        "/images/edits": _IMAGE,
        "/images/variations": _IMAGE,
        "/audio/speech": _AUDIO,
        "/audio/transcriptions": _AUDIO,
        "/audio/translations": _AUDIO,
        "/videos": _VIDEO,
        "/videos/edits": _VIDEO,
        "/videos/extensions": _VIDEO,
        "/threads/runs": _RUN,
    },
    patterns=(
        (r"/threads/[^/]+/runs", _RUN),
        (r"/threads/[^/]+/runs/[^/]+/submit_tool_outputs", _RUN),
        (r"/videos/[^/]+/remix", _VIDEO),
    ),
    polls=((r"/responses/[^/]+", Path("chat", accumulate_response)), (r"/threads/[^/]+/runs/[^/]+", _RUN)),
    hosts={
        **CLOUDS,
        "api.openai.com": "openai",
        "openai.azure.com": "azure.ai.openai",
        "openai.azure.us": "azure.ai.openai",
        "openai.azure.cn": "azure.ai.openai",
        "cognitiveservices.azure.com": "azure.ai.openai",
        "cognitiveservices.azure.us": "azure.ai.openai",
        "cognitiveservices.azure.cn": "azure.ai.openai",
        "services.ai.azure.com": "azure.ai.openai",
        "services.ai.azure.us": "azure.ai.openai",
        "azure-api.net": "azure.ai.openai",
        "models.ai.azure.com": "azure.ai.inference",
        "models.github.ai": "azure.ai.inference",
        "models.inference.ai.azure.com": "azure.ai.inference",
        "generativelanguage.googleapis.com": "gcp.gemini",
        "api.anthropic.com": "anthropic",
        "api.arcee.ai": "arcee",
        "api.avian.io": "avian",
        "api.cerebras.ai": "cerebras",
        "api.cohere.ai": "cohere",
        "api.cohere.com": "cohere",
        "api.doubleword.ai": "doubleword",
        "api.fireworks.ai": "fireworks",
        "api.githubcopilot.com": "github-copilot",
        "api.groq.com": "groq",
        "api.meta.ai": "meta",
        "api.mistral.ai": "mistral_ai",
        "api.novita.ai": "novita",
        "api.perplexity.ai": "perplexity",
        "api.together.ai": "together",
        "api.together.xyz": "together",
        "api.x.ai": "x_ai",
        "azuredatabricks.net": "databricks",
        "cloud.databricks.com": "databricks",
        "gcp.databricks.com": "databricks",
        "oai.endpoints.kepler.ai.cloud.ovh.net": "ovhcloud",
    },
    # Many local servers speak this protocol, and none of them is billed at OpenAI's prices.
    default=UNKNOWN,
    request_id="x-request-id",
    stream_classes=(
        ("lib.streaming.chat._completions", "ChatCompletionStream"),
        ("lib.streaming.chat._completions", "AsyncChatCompletionStream"),
        ("lib.streaming.responses._responses", "ResponseStream"),
        ("lib.streaming.responses._responses", "AsyncResponseStream"),
    ),
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
