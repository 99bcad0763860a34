"""
Time the calls of the `openai` SDK, from 1.99 on; it was tried with 1.99 and 3.52.

Chat completions, responses, completions, embeddings, images and audio are observed in every form: plain, streamed,
parsed, raw, of Azure's client, of clients that were made before. Reading back a stored response is no inference.
"""

from __future__ import annotations

from collections.abc import Mapping

from obskit.ai.operation import UNKNOWN
from obskit.ai.stream import fold_chat, fold_response, fold_whole
from obskit.integrations._ai import Path, Sdk, install, remove

_AUDIO, _IMAGE = Path("audio", fold_whole), Path("image", fold_whole)

SDK = Sdk(
    name="openai",
    paths={
        "/chat/completions": Path("chat", fold_chat),
        "/responses": Path("chat", fold_response),
        "/completions": Path("text_completion", fold_chat),
        "/embeddings": Path("embeddings", fold_whole),
        "/images/generations": _IMAGE,
        "/images/edits": _IMAGE,
        "/images/variations": _IMAGE,
        "/audio/speech": _AUDIO,
        "/audio/transcriptions": _AUDIO,
        "/audio/translations": _AUDIO,
    },
    # The names are `gen_ai.provider.name` of the OpenTelemetry GenAI conventions (2026-11).
    hosts={
        "api.openai.com": "openai",
        "openai.azure.com": "azure.ai.openai",
        "cognitiveservices.azure.com": "azure.ai.openai",
        "generativelanguage.googleapis.com": "gcp.gemini",
        "aiplatform.googleapis.com": "gcp.vertex_ai",
        "amazonaws.com": "aws.bedrock",
        "api.deepseek.com": "deepseek",
        "api.groq.com": "groq",
        "api.mistral.ai": "mistral_ai",
        "api.perplexity.ai": "perplexity",
        "api.x.ai": "x_ai",
        "openrouter.ai": "openrouter",
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
    Leave the SDK as it was.
    """
    remove(SDK)
