"""
Read what a reply used, whatever form it has: raw JSON, or an SDK's object.

Sources: the API references of Anthropic (messages, `usage`) and OpenAI (chat completions, responses, embeddings,
images, audio), read 2026-11-20; what other providers put beside OpenAI's fields, as the price list `genai-prices`
0.2.3 reads it (2026-11).
"""

from __future__ import annotations

from typing import Any

from obskit.ai.billed_extras import add_part, add_reported_cost, add_server_tools, add_tools, add_vector_graphics
from obskit.ai.json_fields import (
    JSON_FIELDS_TYPES,
    JsonFields,
    Unreadable,
    count,
    detail,
    fields_of,
    has_only,
    optional_count,
)
from obskit.ai.refusals import apply_refusal, billed_refusals
from obskit.ai.token_kinds import Usage
from obskit.ai.usage_counts import (
    OUTPUT_DETAILS,
    add_details,
    add_input_details,
    plain_chat_counts,
    read_counts,
    set_input_and_output,
    total_of,
)
from obskit.ai.usage_formats import FORMATS, take_seconds

__all__ = ["Unreadable", "Usage", "read"]

# Their chat completions tell reasoning beside the output, also where no total says so (2026-11).
_REASONING_IS_EXTRA = ("x_ai", "x-ai", "xai")
_COMMON_FIELDS = frozenset(
    (
        *("input_tokens", "output_tokens", "total_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
        *("cache_creation", "service_tier", "inference_geo", "speed"),
        *("input_tokens_details", "input_token_details", "output_tokens_details", "output_token_details"),
    )
)
_COMMON_CHAT_FIELDS = frozenset(
    ("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details")
)
_CACHE_FIELDS = ("cached_tokens", "prompt_cache_hit_tokens", "cached_prompt_text_tokens", "cache_read_input_tokens")
# What stands around a reply in few of them: Groq's chunks, Cloudflare, events of streams, Bedrock's.
_WRAPPERS = ("x_groq", "result", "response", "message", "metadata")


def read(reply: Any, provider: str = "") -> Usage | None:
    """
    Read a reply; None where it has no usage, or figures that cannot be right: negative, absurd, or no numbers.

    Args:
        reply: JSON, or an object with its fields.
        provider: Who answered, by OpenTelemetry's names: some mean other things by the same fields.
    """
    whole = reply if isinstance(reply, dict) else fields_of(reply)
    found = _direct(whole, provider)
    if found is None and (isinstance(whole, dict) or whole.is_model):
        found = _wrapped(whole, provider)
    return found


def _direct(whole: JsonFields, provider: str) -> Usage | None:
    """
    Read usage from where it belongs, in whatever form.
    """
    usage = whole.get("usage")
    found = _checked(whole, usage, provider) if isinstance(usage, JSON_FIELDS_TYPES) else None
    if found is not None:
        return found
    for form in FORMATS:
        try:
            found = form(whole)
        except Unreadable:
            continue
        if found is not None and found.has_any():
            return found
    authored = whole.get("svg_usage")  # alone, where nothing was drawn beside it
    if isinstance(authored, JSON_FIELDS_TYPES):
        return _checked({"model": authored.get("model")}, authored, provider)
    return None


def _checked(whole: JsonFields, usage: JsonFields, provider: str) -> Usage | None:
    """
    Read usage, and what stands beside it; None where it is none.
    """
    try:
        found = _parse(whole, usage, provider)
    except Unreadable:
        return None
    if found is None:
        return None
    model = whole.get("model")
    if isinstance(model, str):
        if found.model is None:
            found.model = model
        if "-search-" in model and "prompt_tokens" in usage and not found.web_searches:
            found.is_doubtful = True  # OpenAI's models of chat that search: each call does, and none is reported
    tier = whole.get("service_tier") or usage.get("service_tier")
    if isinstance(tier, str):
        found.tier = tier
    if "cost" in usage or "cost_in_usd_ticks" in usage:
        add_reported_cost(found, usage)
    if not (found.input or found.output) and not found.has_any() and found.reported_usd is None:
        return None  # a call that used nothing at all has not reported its usage
    return found


def _wrapped(whole: JsonFields, provider: str) -> Usage | None:
    """
    Read usage from inside of what few providers put around it: an event, a result, one of the choices.
    """
    choices = whole.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    for inner in (*(whole.get(name) for name in _WRAPPERS), first):
        found = None if inner is None else _direct(fields_of(inner), provider)
        if found is not None:
            model = whole.get("model")
            found.model = found.model or (model if isinstance(model, str) else None)
            return found
    return None


def _parse(whole: JsonFields, usage: JsonFields, provider: str) -> Usage | None:
    if "prompt_tokens" in usage:
        return _chat(usage, provider)
    if "input_tokens" not in usage and "output_tokens" not in usage:
        return None
    found = read_counts(usage)
    if not has_only(usage, _COMMON_FIELDS):
        take_seconds(found, usage)
        add_server_tools(found, usage)
        steps = usage.get("iterations")
        if isinstance(steps, list) and steps:
            _add_steps(found, [fields_of(step) for step in steps], billed_refusals(whole.get("content")))
    if "svg_usage" in whole:
        add_vector_graphics(found, whole)
    if whole.get("stop_reason") == "refusal":
        apply_refusal(found, whole)
    if "output" in whole or "tool_usage" in whole:
        add_tools(found, whole, usage)
    return found


# OpenAI's chat completions, and what others made of them


def _chat(usage: JsonFields, provider: str) -> Usage:
    """
    Read chat completions: caches are a part of the input, and reasoning of the output, where the total agrees.
    """
    plain = plain_chat_counts(usage) if provider != "perplexity" and has_only(usage, _COMMON_CHAT_FIELDS) else None
    if plain is not None:
        return plain
    found = Usage()
    taken, given = optional_count(usage, "prompt_tokens"), optional_count(usage, "completion_tokens")
    total = total_of(found, usage)
    ins, outs = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    if ins:
        add_input_details(found, ins)
    if outs:
        add_details(found, outs, OUTPUT_DETAILS)
    is_beside = provider in _REASONING_IS_EXTRA and total is None
    citations = 0
    if not has_only(usage, _COMMON_CHAT_FIELDS):
        citations = _add_provider_fields(found, usage)
        if citations or found.web_searches:  # Perplexity's own fields: its reasoning is in neither figure
            is_beside, total = True, None
        add_server_tools(found, usage)
    if provider == "perplexity":
        is_beside, total = True, None
    if total is None and given is not None and found.reasoning > given:
        is_beside = True  # more than its whole: it is none of its parts
    set_input_and_output(found, taken, given, total, citations=citations, is_beside=is_beside)
    if given is None and total is None and "completion_tokens" in usage:
        found.is_doubtful = True  # not reported, which is not 0
    return found


def _add_provider_fields(found: Usage, usage: JsonFields) -> int:
    """
    Read the fields that few providers have beside the details, and return the tokens of citations.
    """
    if not found.cache_read:
        found.cache_read = max(detail(found, usage, name) for name in _CACHE_FIELDS)
    if not found.reasoning:
        found.reasoning = detail(found, usage, "reasoning_tokens")
    if searches := detail(found, usage, "num_search_queries"):
        found.web_searches = searches
    citations = detail(found, usage, "citation_tokens")
    if citations:
        found.citations = citations
    return citations


# Anthropic's messages, OpenAI's responses, images and audio


def _add_steps(found: Usage, steps: list[JsonFields], billed: list[bool]) -> None:
    """
    Add the steps outside a message's own counts: compactions, advisors, and models that declined first.

    Args:
        billed: Of each model that declined, whether that is billed before any output.
    """
    served = next((step.get("model") for step in steps if step.get("type") == "fallback_message"), None)
    if isinstance(served, str):
        found.model = served  # a stream was begun by another
    hops: list[Any] = []
    for step in steps:
        kind, model = step.get("type"), step.get("model")
        is_own = kind not in ("compaction", "advisor_message")
        if kind == "message" and served is not None and model not in (None, served):
            if model not in hops:
                hops.append(model)
            place = hops.index(model)
            is_own = not count(step.get("output_tokens")) and not (place < len(billed) and billed[place])
        if not is_own:
            add_part(found, step, model)
