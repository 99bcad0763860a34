"""
Read what is billed beside the tokens of the model that answered: searches, containers, pictures, other models' tokens,
and costs that a gateway reports itself.
"""

from __future__ import annotations

from typing import Any

from obskit.ai.json_fields import (
    JSON_FIELDS_TYPES,
    JsonFields,
    Unreadable,
    detail,
    drop_impossible_details,
    fields_of,
    nested,
    set_no_cached_modalities,
)
from obskit.ai.token_kinds import Usage
from obskit.ai.usage_counts import read_counts

# Of a picture that a response's tool drew, where neither the reply nor the request names its model.
IMAGE_TOOL = "image_generation"
TICKS = 10_000_000_000  # a dollar, as xAI counts them
MAX_DOLLARS = 1e15
# Billed beside tokens by few providers, and priced by no list: xAI's searches, Mistral's connectors and its audio.
_UNPRICED_FIELDS = (
    "num_sources_used",
    "num_server_side_tools_used",
    "connector_tokens",
    "connectors",
    "prompt_audio_seconds",
)
# Most items of a response: billed by their tokens alone.
_TOKENS_ONLY_ITEMS = ("message", "reasoning", "function_call", "custom_tool_call")


def add_tools(found: Usage, whole: JsonFields, usage: JsonFields) -> None:
    """
    Add what the tools of a response used: by its `tool_usage`, else by counting its items.
    """
    tools, output = whole.get("tool_usage"), whole.get("output")
    items = [
        fields_of(item)
        for item in (output if isinstance(output, list) else ())
        if not (isinstance(item, dict) and item.get("type") in _TOKENS_ONLY_ITEMS)
    ]
    web = tools.get("web_search") if isinstance(tools, JSON_FIELDS_TYPES) else None
    if isinstance(web, JSON_FIELDS_TYPES) and (searches := detail(found, web, "num_requests")):
        found.web_searches = searches
    if items:
        _add_items(found, items, counts_searches=not isinstance(web, JSON_FIELDS_TYPES))
    drawn = tools.get("image_gen") if isinstance(tools, JSON_FIELDS_TYPES) else None
    if isinstance(drawn, JSON_FIELDS_TYPES) and (drawn.get("input_tokens") or drawn.get("output_tokens")):
        add_part(found, drawn, image_model(whole.get("tools")) or IMAGE_TOOL)


def _add_items(found: Usage, items: list[JsonFields], *, counts_searches: bool) -> None:
    """
    Add what the items of a response are billed for, if nothing else counts them.
    """
    if counts_searches and (searches := sum(map(_is_search, items))):
        found.web_searches = searches
    if searches := sum(item.get("type") == "file_search_call" for item in items):
        found.file_searches = searches
    if ran := {name for item in items if (name := _container_of(item)) is not None}:
        found.containers = len(ran)
    for item in items:
        add_vector_graphics(found, item)


def add_vector_graphics(found: Usage, whole: JsonFields) -> None:
    """
    Add the tokens of the model that writes SVG, which no other count includes.
    """
    authored = whole.get("svg_usage")
    if isinstance(authored, JSON_FIELDS_TYPES):
        add_part(found, authored, authored.get("model"))


def add_part(found: Usage, usage: JsonFields, model: Any) -> None:
    """
    Add what another model used for the same reply; if that is unreadable, the rest is an estimate.
    """
    try:
        part = read_counts(usage)
    except Unreadable:
        found.is_doubtful = True
        return
    if "cached_tokens" in usage:
        _add_cached_images(part, usage)
    if "reasoning_tokens" in usage:
        part.reasoning = min(detail(part, usage, "reasoning_tokens"), part.output)
    part.model = model if isinstance(model, str) else None
    found.parts = (*found.parts, part)
    if part.is_doubtful:
        found.is_doubtful = True


def _add_cached_images(part: Usage, drawn: JsonFields) -> None:
    cached = detail(part, drawn, "cached_tokens")
    if cached > part.input:
        part.is_doubtful = True
    elif cached:
        part.cache_read, part.input = cached, part.input - cached
        split = nested(drawn, "cached_tokens_details")
        if split is not None:
            set_no_cached_modalities(part)
            part.image_read = detail(part, split, "cached_image_tokens")
            drop_impossible_details(part)


def _container_of(item: JsonFields) -> str | None:
    """
    Return the container in which the code interpreter or a hosted shell ran; None for other items.
    """
    kind = item.get("type")
    if kind == "shell_call":
        place = nested(item, "environment")
        found = None if place is None else place.get("container_id")
        return found if isinstance(found, str) else None
    return str(item.get("container_id")) if kind == "code_interpreter_call" else None


def _is_search(item: JsonFields) -> bool:
    if item.get("type") != "web_search_call":
        return False
    action = item.get("action")
    return not isinstance(action, JSON_FIELDS_TYPES) or action.get("type") in (None, "search")


def image_model(tools: Any) -> str | None:
    """
    Return the image model in the tools of a request or a reply; None if there is none.
    """
    for tool in tools if isinstance(tools, list) else ():
        fields = fields_of(tool)
        if fields.get("type") == IMAGE_TOOL and isinstance(fields.get("model"), str):
            return str(fields.get("model"))
    return None


def add_server_tools(found: Usage, usage: JsonFields) -> None:
    """
    Add the searches that the provider ran on its side; tools without a price make the usage doubtful.
    """
    web = nested(usage, "tool_calls_details", "search_web")
    if web is not None and (searches := detail(found, web, "invocation")):
        found.web_searches = searches
    tools = usage.get("server_tool_use")
    if isinstance(tools, JSON_FIELDS_TYPES):
        if searches := detail(found, tools, "web_search_requests"):
            found.web_searches = searches
        if detail(found, tools, "code_execution_requests"):
            found.is_doubtful = True  # by the hour, of which some are free
    if any(usage.get(name) for name in _UNPRICED_FIELDS):
        found.is_doubtful = True


def add_reported_cost(found: Usage, usage: JsonFields) -> None:
    """
    Read the cost that a gateway reports: OpenRouter and others in `cost`, Perplexity inside it, xAI in ticks.
    """
    ticks, cost = _dollars(usage.get("cost_in_usd_ticks")), usage.get("cost")
    if ticks is not None:
        found.reported_usd = ticks / TICKS
    elif cost is None:
        return
    elif isinstance(cost, JSON_FIELDS_TYPES):
        if cost.get("currency") in (None, "USD"):
            found.reported_usd = _dollars(cost.get("total_cost"))
    elif usage.get("is_byok"):  # the cost is the gateway's fee alone, and the provider bills the rest
        fee, rest = _dollars(cost), nested(usage, "cost_details")
        upstream = None if rest is None else _dollars(rest.get("upstream_inference_cost"))
        found.reported_usd = None if fee is None or upstream is None else fee + upstream
    else:
        found.reported_usd = _dollars(cost)


def _dollars(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < MAX_DOLLARS else None
