"""
Read what a reply used, whatever form it has: raw JSON, or an SDK's object.

Sources: the API references of Anthropic (messages, `usage`) and OpenAI (chat completions, responses, embeddings,
images, audio), read 2026-11-20; what other providers put beside OpenAI's fields, as the price list `genai-prices`
0.2.3 reads it (2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from obskit.ai.json_fields import (
    MAPPED,
    MAX_TOKENS,
    Fields,
    Mapped,
    Unreadable,
    count,
    detail,
    drop_absurd_parts,
    figure,
    inside,
    mapped,
    none_read,
    take_kept,
)
from obskit.ai.refusals import declined, take_refusal
from obskit.ai.token_kinds import Usage
from obskit.ai.usage_formats import FORMS, take_seconds

__all__ = ["Unreadable", "Usage", "read"]

# Of a picture that a response's tool drew, where neither the reply nor the request names its model.
IMAGE_TOOL = "image_generation"
TICKS = 10_000_000_000  # a dollar, as xAI counts them
MAX_DOLLARS = 1e15
# Their chat completions tell reasoning beside the output, also where no total says so (2026-11).
_BESIDE = ("x_ai", "x-ai", "xai")
_ANYWHERE = ("global", "not_available")
_PLAIN = frozenset(
    (
        *("input_tokens", "output_tokens", "total_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
        *("cache_creation", "service_tier", "inference_geo", "speed"),
        *("input_tokens_details", "input_token_details", "output_tokens_details", "output_token_details"),
    )
)
_PLAIN_CHAT = frozenset(
    ("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details")
)
_MODALITIES = ("audio", "image", "video")
_INPUT_DETAILS = {
    **{"cached_tokens": "cache_read", "cache_read_input_tokens": "cache_read", "cache_write_tokens": "cache_write"},
    **{f"{modality}_tokens": f"{modality}_input" for modality in _MODALITIES},
}
_OUTPUT_DETAILS = {
    **{"reasoning_tokens": "reasoning", "thinking_tokens": "reasoning"},
    **{f"{modality}_tokens": f"{modality}_output" for modality in _MODALITIES},
}
_READ_DETAILS = {f"{modality}_tokens": f"{modality}_read" for modality in _MODALITIES}
_CACHED = ("cached_tokens", "prompt_cache_hit_tokens", "cached_prompt_text_tokens", "cache_read_input_tokens")
# What few bill beside tokens, and no list has a price of: xAI's searches, Mistral's connectors and its sound.
_UNPRICED = ("num_sources_used", "num_server_side_tools_used", "connector_tokens", "connectors", "prompt_audio_seconds")
# Items of a response that are billed by their tokens alone: most are.
_FREE = ("message", "reasoning", "function_call", "custom_tool_call")
# What stands around a reply in few of them: Groq's chunks, Cloudflare, events of streams, Bedrock's.
_PLACES = ("x_groq", "result", "response", "message", "metadata")


def read(reply: Any, provider: str = "") -> Usage | None:
    """
    Read a reply; None where it has no usage, or figures that cannot be right: negative, absurd, or no numbers.

    Args:
        reply: JSON, or an object with its fields.
        provider: Who answered, by OpenTelemetry's names: some mean other things by the same fields.
    """
    whole = reply if isinstance(reply, dict) else mapped(reply)
    found = _direct(whole, provider)
    if found is None and (isinstance(whole, dict) or whole.is_record):
        found = _elsewhere(whole, provider)
    return found


def _direct(whole: Mapped, provider: str) -> Usage | None:
    """
    Read usage from where it belongs, in whatever form.
    """
    usage = whole.get("usage")
    found = _readable(whole, usage, provider) if isinstance(usage, MAPPED) else None
    if found is not None:
        return found
    for form in FORMS:
        try:
            found = form(whole)
        except Unreadable:
            continue
        if found is not None and found.has_any():
            return found
    authored = whole.get("svg_usage")  # alone, where nothing was drawn beside it
    return _readable({"model": authored.get("model")}, authored, provider) if isinstance(authored, MAPPED) else None


def _readable(whole: Mapped, usage: Mapped, provider: str) -> Usage | None:
    """
    Read usage, and what stands beside it; None where it is none.
    """
    try:
        found = _read(whole, usage, provider)
    except Unreadable:
        return None
    if found is None:
        return None
    model = whole.get("model")
    if isinstance(model, str):
        if found.model is None:
            found.model = model
        if "-search-" in model and "prompt_tokens" in usage and not found.web_searches:
            found.is_doubtful = True  # OpenAI's models of chat that search: each call does, and none is told
    tier = whole.get("service_tier") or usage.get("service_tier")
    if isinstance(tier, str):
        found.tier = tier
    if "cost" in usage or "cost_in_usd_ticks" in usage:
        _take_told_cost(found, usage)
    if not (found.input or found.output) and not found.has_any() and found.reported_usd is None:
        return None  # a call that used nothing at all has not told what it used
    return found


def _elsewhere(whole: Mapped, provider: str) -> Usage | None:
    """
    Read usage from inside of what few providers put around it: an event, a result, one of the choices.
    """
    choices = whole.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    for inner in (*(whole.get(name) for name in _PLACES), first):
        found = None if inner is None else _direct(mapped(inner), provider)
        if found is not None:
            model = whole.get("model")
            found.model = found.model or (model if isinstance(model, str) else None)
            return found
    return None


def _read(whole: Mapped, usage: Mapped, provider: str) -> Usage | None:
    if "prompt_tokens" in usage:
        return _chat(usage, provider)
    if "input_tokens" not in usage and "output_tokens" not in usage:
        return None
    found = _messages_or_responses(usage)
    if not _is_plain(usage, _PLAIN):
        take_seconds(found, usage)
        _take_server_tools(found, usage)
        steps = usage.get("iterations")
        if isinstance(steps, list) and steps:
            _take_steps(found, [mapped(step) for step in steps], declined(whole.get("content")))
    if "svg_usage" in whole:
        _take_vectors(found, whole)
    if whole.get("stop_reason") == "refusal":
        take_refusal(found, whole)
    if "output" in whole or "tool_usage" in whole:
        _take_tools(found, whole, usage)
    return found


def _is_plain(usage: Mapped, names: frozenset[str]) -> bool:
    """
    Tell whether usage has nothing but what all have: most has not, and looking for the rest takes longer than all else.
    """
    return isinstance(usage, dict) and usage.keys() <= names


# OpenAI's chat completions, and what others made of them


def _chat(usage: Mapped, provider: str) -> Usage:
    """
    Read chat completions: caches are a part of the input, and reasoning of the output, where the total agrees.
    """
    found = Usage()
    taken, given = figure(usage, "prompt_tokens"), figure(usage, "completion_tokens")
    total = _total(found, usage)
    ins, outs = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    if ins:
        _take_input_details(found, ins)
    if outs:
        _take_details(found, outs, _OUTPUT_DETAILS)
    is_beside = provider in _BESIDE and total is None
    citations = 0
    if not _is_plain(usage, _PLAIN_CHAT):
        citations = _take_beside(found, usage)
        if citations or found.web_searches:  # Perplexity's own fields: its reasoning is in neither figure
            is_beside, total = True, None
        _take_server_tools(found, usage)
    if provider == "perplexity":
        is_beside, total = True, None
    if total is None and given is not None and found.reasoning > given:
        is_beside = True  # more than its whole: it is none of its parts
    _settle(found, taken, given, total, citations=citations, is_beside=is_beside)
    if given is None and total is None and "completion_tokens" in usage:
        found.is_doubtful = True  # not told, which is not none
    return found


def _take_beside(found: Usage, usage: Mapped) -> int:
    """
    Take what few providers put beside the details, and give the tokens of citations.
    """
    if not found.cache_read:
        found.cache_read = max(detail(found, usage, name) for name in _CACHED)
    if not found.reasoning:
        found.reasoning = detail(found, usage, "reasoning_tokens")
    if searches := detail(found, usage, "num_search_queries"):
        found.web_searches = searches
    citations = detail(found, usage, "citation_tokens")
    if citations:
        found.citations = citations
    return citations


def _total(found: Usage, usage: Mapped) -> int | None:
    """
    Take the total, which says more than the others do, and less than that they are wrong.
    """
    total = usage.get("total_tokens")
    return total if type(total) is int and 0 <= total <= MAX_TOKENS else detail(found, usage, "total_tokens") or None


def _settle(
    found: Usage,
    taken: int | None,
    given: int | None,
    total: int | None,
    *,
    citations: int = 0,
    is_beside: bool = False,
    has_caches: bool = False,
) -> None:
    """
    Work out input and output from the figures that were told, and mend what contradicts itself.

    The total is the bill's word: what is above prompt and completion is output that stands beside the completion.

    Args:
        is_beside: Reasoning and citations are not in the completion.
        has_caches: There is input beside what was taken.
    """
    if taken is None and given is None and not total:
        raise Unreadable("neither input nor output")
    if given is None and taken is not None and total is not None and total >= taken:
        given = total - taken
    elif taken is None and given is not None and total is not None and total >= given:
        taken = total - given
    if taken is None or (given is None and (has_caches or found.cache_read or found.reasoning)):
        found.is_doubtful = True  # each answer has a question, and what has caches has an answer
    taken, output = taken or 0, given or 0
    cached = found.cache_read + found.cache_write
    if cached and total == taken + cached + output and cached != found.reasoning:  # caches stand beside the input
        taken += cached
    elif cached > taken:
        found.cache_read = found.cache_write = cached = 0
        found.is_doubtful = True
    if total is not None and total > taken + output:
        output = total - taken
    elif is_beside:
        output += found.reasoning + citations
    found.input, found.output = taken - cached, output
    if found.sparse is not None or found.reasoning > output:
        drop_absurd_parts(found)


def _take_input_details(found: Usage, details: Any) -> None:
    _take_details(found, details, _INPUT_DETAILS)
    kept = inside(details, "cache_write_tokens_details") if found.cache_write else None
    if kept is not None and (hours := detail(found, kept, "ttl_12h_tokens")):
        found.cache_write_12h = hours
    cached = inside(details, "cached_tokens_details")
    if cached is not None:
        none_read(found)
        _take_details(found, cached, _READ_DETAILS)


def _take_details(found: Usage, details: Any, names: Mapping[str, str]) -> None:
    """
    Take details, by the names that usage has for them.
    """
    if isinstance(details, dict):
        for name, value in details.items():
            if value and name in names:
                setattr(found, names[name], detail(found, details, name))
    elif isinstance(details, Fields):
        for name, field in names.items():
            if tokens := detail(found, details, name):
                setattr(found, field, tokens)


# Anthropic's messages, OpenAI's responses, images and audio


def _messages_or_responses(usage: Mapped) -> Usage:
    """
    Read figures that are called input and output: caches that are named beside them stand beside the input, and those
    in details are a part of it.
    """
    found = Usage()
    ins = usage.get("input_tokens_details") or usage.get("input_token_details")
    outs = usage.get("output_tokens_details") or usage.get("output_token_details")
    if ins:
        _take_input_details(found, ins)
    if outs:
        _take_details(found, outs, _OUTPUT_DETAILS)
    taken, given = figure(usage, "input_tokens"), figure(usage, "output_tokens")
    read, written = detail(found, usage, "cache_read_input_tokens"), detail(found, usage, "cache_creation_input_tokens")
    has_caches = bool(read or written)
    total = None if has_caches else _total(found, usage)
    _settle(found, taken, given, total, has_caches=has_caches)
    if given is None and total is None and "output_tokens" in usage:
        found.is_doubtful = True  # not told, which is not none
    found.cache_read += read
    found.cache_write += written
    split = usage.get("cache_creation")
    if isinstance(split, MAPPED):
        hour = detail(found, split, "ephemeral_1h_input_tokens")
        take_kept(found, hour, detail(found, split, "ephemeral_5m_input_tokens"))
    speed, geo = usage.get("speed"), usage.get("inference_geo")
    if isinstance(speed, str):
        found.speed = speed
    if isinstance(geo, str) and geo not in _ANYWHERE:
        found.geo = geo
    return found


def _take_steps(found: Usage, steps: list[Mapped], billed: list[bool]) -> None:
    """
    Take the steps that are not in a message's own figures: compactions, advisors, and models that declined first.

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
            _take_part(found, step, model)


# What else is billed


def _take_tools(found: Usage, whole: Mapped, usage: Mapped) -> None:
    tools, output = whole.get("tool_usage"), whole.get("output")
    items = [
        mapped(item)
        for item in (output if isinstance(output, list) else ())
        if not (isinstance(item, dict) and item.get("type") in _FREE)
    ]
    web = tools.get("web_search") if isinstance(tools, MAPPED) else None
    if isinstance(web, MAPPED) and (searches := detail(found, web, "num_requests")):
        found.web_searches = searches
    if items:
        _take_items(found, items, counts_searches=not isinstance(web, MAPPED))
    drawn = tools.get("image_gen") if isinstance(tools, MAPPED) else None
    if isinstance(drawn, MAPPED) and (drawn.get("input_tokens") or drawn.get("output_tokens")):
        _take_part(found, drawn, image_model(whole.get("tools")) or IMAGE_TOOL)


def _take_items(found: Usage, items: list[Mapped], *, counts_searches: bool) -> None:
    """
    Take what the items of a response are billed for, where nothing else counts them.
    """
    if counts_searches and (searches := sum(map(_is_search, items))):
        found.web_searches = searches
    if searches := sum(item.get("type") == "file_search_call" for item in items):
        found.file_searches = searches
    if ran := {name for item in items if (name := _container_of(item)) is not None}:
        found.containers = len(ran)
    for item in items:
        _take_vectors(found, item)


def _take_vectors(found: Usage, whole: Mapped) -> None:
    """
    Take what the model used that authors SVG: it is in no other figure, of a picture as of a response's item.
    """
    authored = whole.get("svg_usage")
    if isinstance(authored, MAPPED):
        _take_part(found, authored, authored.get("model"))


def _take_part(found: Usage, usage: Mapped, model: Any) -> None:
    """
    Take what another model used for the same reply; where that cannot be read, the rest is an estimate.
    """
    try:
        part = _messages_or_responses(usage)
    except Unreadable:
        found.is_doubtful = True
        return
    if "cached_tokens" in usage:
        _take_cached_pictures(part, usage)
    if "reasoning_tokens" in usage:
        part.reasoning = min(detail(part, usage, "reasoning_tokens"), part.output)
    part.model = model if isinstance(model, str) else None
    found.parts = (*found.parts, part)
    if part.is_doubtful:
        found.is_doubtful = True


def _take_cached_pictures(part: Usage, drawn: Mapped) -> None:
    cached = detail(part, drawn, "cached_tokens")
    if cached > part.input:
        part.is_doubtful = True
    elif cached:
        part.cache_read, part.input = cached, part.input - cached
        split = inside(drawn, "cached_tokens_details")
        if split is not None:
            none_read(part)
            part.image_read = detail(part, split, "cached_image_tokens")
            drop_absurd_parts(part)


def _container_of(item: Mapped) -> str | None:
    """
    Name the container in which a call of the code interpreter, or of a hosted shell, ran.
    """
    kind = item.get("type")
    if kind == "shell_call":
        place = inside(item, "environment")
        found = None if place is None else place.get("container_id")
        return found if isinstance(found, str) else None
    return str(item.get("container_id")) if kind == "code_interpreter_call" else None


def _is_search(item: Mapped) -> bool:
    if item.get("type") != "web_search_call":
        return False
    action = item.get("action")
    return not isinstance(action, MAPPED) or action.get("type") in (None, "search")


def image_model(tools: Any) -> str | None:
    """
    Name the model that draws, by the tools of a request or of its reply.
    """
    for tool in tools if isinstance(tools, list) else ():
        told = mapped(tool)
        if told.get("type") == IMAGE_TOOL and isinstance(told.get("model"), str):
            return str(told.get("model"))
    return None


def _take_server_tools(found: Usage, usage: Mapped) -> None:
    web = inside(usage, "tool_calls_details", "search_web")
    if web is not None and (searches := detail(found, web, "invocation")):
        found.web_searches = searches
    tools = usage.get("server_tool_use")
    if isinstance(tools, MAPPED):
        if searches := detail(found, tools, "web_search_requests"):
            found.web_searches = searches
        if detail(found, tools, "code_execution_requests"):
            found.is_doubtful = True  # by the hour, of which some are free
    if any(usage.get(name) for name in _UNPRICED):
        found.is_doubtful = True


def _take_told_cost(found: Usage, usage: Mapped) -> None:
    """
    Take what a gateway says that it billed: OpenRouter and others as `cost`, Perplexity in it, xAI in its own unit.
    """
    ticks, cost = _dollars(usage.get("cost_in_usd_ticks")), usage.get("cost")
    if ticks is not None:
        found.reported_usd = ticks / TICKS
    elif cost is None:
        return
    elif isinstance(cost, MAPPED):
        if cost.get("currency") in (None, "USD"):
            found.reported_usd = _dollars(cost.get("total_cost"))
    elif usage.get("is_byok"):  # the cost is the gateway's fee alone, and the provider bills the rest
        fee, rest = _dollars(cost), inside(usage, "cost_details")
        upstream = None if rest is None else _dollars(rest.get("upstream_inference_cost"))
        found.reported_usd = None if fee is None or upstream is None else fee + upstream
    else:
        found.reported_usd = _dollars(cost)


def _dollars(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < MAX_DOLLARS else None
