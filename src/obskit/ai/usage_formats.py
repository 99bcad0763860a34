"""
Read the forms of usage that neither SDK's providers have: Google's, Bedrock's, Cohere's, and what is not by tokens.

Sources: the references of Gemini's `generateContent` (`usageMetadata`) and Bedrock's `Converse` (`TokenUsage`), and of
what LangChain makes of a reply, read 2026-11; the others as the price list `genai-prices` 0.2.3 reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from obskit.ai.json_fields import (
    MAX_TOKENS,
    JsonFields,
    Unreadable,
    count,
    detail,
    drop_impossible_details,
    fields_of,
    nested,
    optional_count,
    set_cache_durations,
    set_no_cached_modalities,
)
from obskit.ai.token_kinds import Usage

Format = Callable[[JsonFields], Usage | None]
_TOKENS = ("input_tokens", "output_tokens", "input_token_details", "output_token_details")
_MODALITIES = {"AUDIO": "audio", "IMAGE": "image", "DOCUMENT": "image", "VIDEO": "video"}


def _google(whole: JsonFields) -> Usage | None:
    """
    Read Gemini's usage, by the names of its JSON or by those of google-genai's objects.
    """
    usage = nested(whole, "usageMetadata") or nested(whole, "usage_metadata")
    if usage is None:
        return None
    if "input_tokens" in usage:
        return _langchain(whole, usage)

    def count_of(name: str) -> int | None:
        found = optional_count(usage, name)
        return optional_count(usage, _snake(name)) if found is None else found

    taken, given, total = (
        count_of("promptTokenCount"),
        count_of("candidatesTokenCount") or 0,
        count_of("totalTokenCount") or 0,
    )
    found = Usage()
    tools, thoughts, cached = (
        detail(found, usage, name) or detail(found, usage, _snake(name))
        for name in ("toolUsePromptTokenCount", "thoughtsTokenCount", "cachedContentTokenCount")
    )
    if taken is None:
        found.is_doubtful = True
    found.input, found.reasoning = (taken or 0) + tools, thoughts
    found.output = max(given + thoughts, total - found.input)
    if cached > found.input:
        found.is_doubtful = True
    else:
        found.cache_read, found.input = cached, found.input - cached
    for name, kind in (
        ("promptTokensDetails", "input"),
        ("toolUsePromptTokensDetails", "input"),
        ("candidatesTokensDetails", "output"),
        ("cacheTokensDetails", "read"),
    ):
        parts = usage.get(name) or usage.get(_snake(name))
        if parts and kind == "read":
            set_no_cached_modalities(found)
        _take_modalities(found, parts, kind)
    traffic = usage.get("trafficType") or usage.get("traffic_type")
    if isinstance(traffic, str):
        found.tier = _traffic_tier(str(getattr(traffic, "value", traffic)))
    tier = usage.get("serviceTier") or usage.get("service_tier")
    if isinstance(tier, str):
        found.tier = tier.lower()
    found.model = _text(whole, "modelVersion", "model_version")
    found.is_doubtful = found.is_doubtful or _is_grounded(whole)
    if found.sparse is not None:
        drop_impossible_details(found)
    return found


def _traffic_tier(traffic: str) -> str | None:
    """
    Return the service tier of a Vertex AI traffic type; None for plain `ON_DEMAND`, the standard tier.
    """
    if traffic.startswith("PROVISIONED"):
        return "provisioned"
    return traffic.removeprefix("ON_DEMAND_").lower() if traffic.startswith("ON_DEMAND_") else None


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _text(whole: JsonFields, *names: str) -> str | None:
    return next((value for name in names if isinstance(value := whole.get(name), str)), None)


def _take_modalities(found: Usage, details: Any, kind: str) -> None:
    for one in details if isinstance(details, (list, tuple)) else ():
        fields = fields_of(one)
        modality = fields.get("modality")
        name = _MODALITIES.get(str(getattr(modality, "value", modality)).upper())
        tokens = detail(found, fields, "tokenCount") or detail(found, fields, "token_count")
        if name is not None and tokens:
            field = f"{name}_{kind}"
            setattr(found, field, getattr(found, field) + tokens)


def _is_grounded(whole: JsonFields) -> bool:
    """
    Return whether the model searched the web, which is billed beside tokens and counted nowhere.
    """
    answers = whole.get("candidates")
    for answer in answers if isinstance(answers, list) else ():
        fields = fields_of(answer)
        grounds = nested(fields, "groundingMetadata") or nested(fields, "grounding_metadata")
        if grounds and (grounds.get("webSearchQueries") or grounds.get("web_search_queries")):
            return True
    return False


def _langchain(whole: JsonFields, usage: JsonFields) -> Usage:
    """
    Read what LangChain makes of any provider's usage: caches are a part of the input.
    """
    found = Usage(input=count(usage.get("input_tokens")), output=count(usage.get("output_tokens")))
    ins = nested(usage, "input_token_details")
    if ins is not None:
        found.cache_read, found.cache_write = detail(found, ins, "cache_read"), detail(found, ins, "cache_creation")
        if sound := detail(found, ins, "audio"):
            found.audio_input = sound
    outs = nested(usage, "output_token_details")
    if outs is not None:
        found.reasoning = detail(found, outs, "reasoning")
        if sound := detail(found, outs, "audio"):
            found.audio_output = sound
    found.input -= found.cache_read + found.cache_write
    if found.input < 0:
        raise Unreadable("more cached than there was")
    metadata = nested(whole, "response_metadata")
    found.model = None if metadata is None else _text(metadata, "model_name", "model")
    return found


def _bedrock(whole: JsonFields) -> Usage | None:
    """
    Read Bedrock's Converse, and Cursor's events: caches stand beside the input.
    """
    usage = nested(whole, "usage") or nested(whole, "tokenUsage") or nested(whole, "amazon-bedrock-invocationMetrics")
    if usage is None:
        return None
    if "inputTokenCount" in usage:
        found = Usage(input=count(usage.get("inputTokenCount")), output=count(usage.get("outputTokenCount")))
        found.cache_read = detail(found, usage, "cacheReadInputTokenCount")
        found.cache_write = detail(found, usage, "cacheWriteInputTokenCount")
        return found
    if "inputTokens" not in usage:
        return None
    found = Usage(input=count(usage.get("inputTokens")), output=count(usage.get("outputTokens")))
    found.cache_read = detail(found, usage, "cacheReadInputTokens") or detail(found, usage, "cacheReadTokens")
    found.cache_write = detail(found, usage, "cacheWriteInputTokens") or detail(found, usage, "cacheWriteTokens")
    details = usage.get("cacheDetails")
    hour = minutes = 0
    for one in details if isinstance(details, list) else ():
        fields = fields_of(one)
        if fields.get("ttl") == "1h":
            hour += detail(found, fields, "inputTokens")
        else:
            minutes += detail(found, fields, "inputTokens")
    set_cache_durations(found, hour, minutes)
    if usage.get("inputTokens") is None or usage.get("outputTokens") is None:
        found.is_doubtful = True  # not reported, which is not 0
    tier = nested(whole, "serviceTier")
    found.tier = None if tier is None else _text(tier, "type")
    found.model = _text(whole, "model", "modelId")
    return found


def _cohere(whole: JsonFields) -> Usage | None:
    """
    Read what Cohere bills, or else what it counted.
    """
    usage = nested(whole, "usage")
    units = nested(usage, "billed_units") or nested(whole, "meta", "billed_units") or nested(usage, "tokens")
    if units is None or ("input_tokens" not in units and "output_tokens" not in units):
        return None
    found = Usage(input=count(units.get("input_tokens")), output=count(units.get("output_tokens")))
    if units.get("input_tokens") is None:
        found.is_doubtful = True  # each answer has a question
    cached = 0 if usage is None else detail(found, usage, "cached_tokens")
    if cached <= found.input:
        found.cache_read, found.input = cached, found.input - cached
    else:
        found.is_doubtful = True
    found.model = _text(whole, "model")
    return found


def _other_units(whole: JsonFields) -> Usage | None:
    """
    Read what is billed by the page or by the second. A transcription that is billed by the second is not among them: it
    looks like one of the free tier.
    """
    found = Usage(model=_text(whole, "model"))
    info = nested(whole, "usage_info")
    if info is not None and (pages := detail(found, info, "pages_processed")):
        found.pages = pages
        if whole.get("document_annotation") is not None:
            found.annotated_pages = pages
        return found
    usage = nested(whole, "usage")
    if usage is None or usage.get("type") == "duration":
        return None
    take_seconds(found, usage)
    if any(name in usage for name in _TOKENS):
        found.is_doubtful = True  # they could not be read, or are in no figure that could
    return found


def take_seconds(found: Usage, usage: JsonFields) -> None:
    """
    Read what voice conversations are billed by: seconds and messages.
    """
    if not any(name in usage for name in ("billable_audio_seconds", "seconds", "input_text_messages")):
        return
    seconds = usage.get("billable_audio_seconds") or usage.get("seconds")
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 < seconds <= MAX_TOKENS:
        found.audio_seconds = seconds
    elif seconds:
        found.is_doubtful = True
    if messages := detail(found, usage, "input_text_messages"):
        found.messages = messages


def provider_of_format(reply: Any) -> str | None:
    """
    Return the provider, if only one has a reply's format.
    """
    whole = fields_of(reply)
    google = nested(whole, "usageMetadata") or nested(whole, "usage_metadata")
    if google is not None and "input_tokens" not in google:
        return "gcp.gen_ai"
    usage = nested(whole, "usage")
    return "aws.bedrock" if usage is not None and "inputTokens" in usage else None


FORMATS: tuple[Format, ...] = (_google, _bedrock, _cohere, _other_units)
