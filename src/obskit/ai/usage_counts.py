"""
Read the counts of input and output tokens, their caches and their details, and check them against each other.

Sources: the API references of Anthropic (messages, `usage`) and OpenAI (responses, images, audio), read 2026-11-20.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from obskit.ai.json_fields import (
    JSON_FIELDS_TYPES,
    MAX_TOKENS,
    JsonFields,
    ObjectFields,
    Unreadable,
    detail,
    drop_impossible_details,
    has_only,
    nested,
    optional_count,
    set_cache_durations,
    set_no_cached_modalities,
)
from obskit.ai.token_kinds import Usage

_WITHOUT_DETAILS = frozenset(
    (
        *("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
        *("cache_creation", "service_tier", "inference_geo", "speed"),
    )
)
_NO_REGION = ("global", "not_available")
_MODALITIES = ("audio", "image", "video")
_INPUT_DETAILS = {
    **{"cached_tokens": "cache_read", "cache_read_input_tokens": "cache_read", "cache_write_tokens": "cache_write"},
    **{f"{modality}_tokens": f"{modality}_input" for modality in _MODALITIES},
}
OUTPUT_DETAILS = {
    **{"reasoning_tokens": "reasoning", "thinking_tokens": "reasoning"},
    **{f"{modality}_tokens": f"{modality}_output" for modality in _MODALITIES},
}
_READ_DETAILS = {f"{modality}_tokens": f"{modality}_read" for modality in _MODALITIES}


def read_counts(usage: JsonFields) -> Usage:
    """
    Read figures that are called input and output, and what says how long caches are kept, where and how fast.
    """
    found = _plain_counts(usage) if has_only(usage, _WITHOUT_DETAILS) else None
    if found is None:
        found = _detailed_counts(usage)
    if "cache_creation" in usage and isinstance(split := usage.get("cache_creation"), JSON_FIELDS_TYPES):
        hour = detail(found, split, "ephemeral_1h_input_tokens")
        set_cache_durations(found, hour, detail(found, split, "ephemeral_5m_input_tokens"))
    if "speed" in usage and isinstance(speed := usage.get("speed"), str):
        found.speed = speed
    if "inference_geo" in usage and isinstance(geo := usage.get("inference_geo"), str) and geo not in _NO_REGION:
        found.geo = geo
    return found


def _plain_counts(usage: dict[str, Any]) -> Usage | None:
    """
    Read the figures of usage that has no details and no total, where each is a count; None where one is not.
    """
    taken, given = usage.get("input_tokens"), usage.get("output_tokens")
    read, written = usage.get("cache_read_input_tokens", 0), usage.get("cache_creation_input_tokens", 0)
    if not type(taken) is type(given) is type(read) is type(written) is int:
        return None
    if min(taken, given, read, written) < 0 or max(taken, given, read, written) > MAX_TOKENS:
        return None
    return Usage(input=taken, cache_read=read, cache_write=written, output=given)


def _detailed_counts(usage: JsonFields) -> Usage:
    """
    Read figures with details: caches that are named beside them stand beside the input, and those in details are a
    part of it.
    """
    found = Usage()
    ins = usage.get("input_tokens_details") or usage.get("input_token_details")
    outs = usage.get("output_tokens_details") or usage.get("output_token_details")
    if ins:
        add_input_details(found, ins)
    if outs:
        add_details(found, outs, OUTPUT_DETAILS)
    taken, given = optional_count(usage, "input_tokens"), optional_count(usage, "output_tokens")
    read, written = detail(found, usage, "cache_read_input_tokens"), detail(found, usage, "cache_creation_input_tokens")
    has_caches = bool(read or written)
    total = None if has_caches else total_of(found, usage)
    set_input_and_output(found, taken, given, total, has_caches=has_caches)
    if given is None and total is None and "output_tokens" in usage:
        found.is_doubtful = True  # not reported, which is not 0
    found.cache_read += read
    found.cache_write += written
    return found


def plain_chat_counts(usage: dict[str, Any]) -> Usage | None:
    """
    Read what most chats have: figures that add up, and no detail that is above 0. None where it is anything else.
    """
    taken, given, total = usage.get("prompt_tokens"), usage.get("completion_tokens"), usage.get("total_tokens")
    if not (type(taken) is type(given) is type(total) is int and taken >= 0 <= given):
        return None
    if total != taken + given or total > MAX_TOKENS:
        return None
    for details in (usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")):
        if details and (not isinstance(details, dict) or any(details.values())):
            return None
    return Usage(input=taken, output=given)


def set_input_and_output(
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
    Set input and output from the reported counts, and correct contradictions.

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
        drop_impossible_details(found)


def total_of(found: Usage, usage: JsonFields) -> int | None:
    """
    Return the reported total, also one above the limit of a single count; None if there is none.
    """
    total = usage.get("total_tokens")
    return total if type(total) is int and 0 <= total <= MAX_TOKENS else detail(found, usage, "total_tokens") or None


def add_input_details(found: Usage, details: Any) -> None:
    """
    Add the parts of the input: caches, how long they are kept, audio, images and video.
    """
    add_details(found, details, _INPUT_DETAILS)
    kept = nested(details, "cache_write_tokens_details") if found.cache_write else None
    if kept is not None and (hours := detail(found, kept, "ttl_12h_tokens")):
        found.cache_write_12h = hours
    cached = nested(details, "cached_tokens_details")
    if cached is not None:
        set_no_cached_modalities(found)
        add_details(found, cached, _READ_DETAILS)


def add_details(found: Usage, details: Any, names: Mapping[str, str]) -> None:
    """
    Add details to the usage, under the names that `names` maps them to.
    """
    if isinstance(details, dict):
        for name, value in details.items():
            if value and name in names:
                setattr(found, names[name], detail(found, details, name))
    elif isinstance(details, ObjectFields):
        for name, field in names.items():
            if tokens := detail(found, details, name):
                setattr(found, field, tokens)
