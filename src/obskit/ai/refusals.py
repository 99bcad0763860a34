"""
The cost of refusals. Whether a model that declines before any output is billed depends on what it declined.

Sources: Anthropic's guide "Refusals and fallback", sections "How refusals are billed" and "Billing and rate limits",
and its release notes of 2026-09-24, read 2026-11. A credit for a fallback is in the retry's own usage already: as
reads from the cache in place of writes to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from obskit.ai.json_fields import JsonFields, fields_of, nested
from obskit.ai.token_kinds import Usage

# Billed before any output; a refusal of any other category, or of none, is not.
BILLED = ("bio", "frontier_llm", "reasoning_extraction")
MAX_OUTPUT_TOKENS = 1  # tokens that some clouds tell of a refusal without any content


def apply_refusal(found: Usage, reply: JsonFields) -> None:
    """
    Mark a refusal that is not billed as free, and one without a category as doubtful.
    """
    if found.output > MAX_OUTPUT_TOKENS or any(
        block.get("type") != "fallback" for block in _blocks(reply.get("content"))
    ):
        return
    details = nested(reply, "stop_details")
    if details is None:
        found.is_doubtful = True
    elif details.get("category") not in BILLED:
        found.is_free = True


def billed_refusals(content: Any) -> list[bool]:
    """
    Return for each model that declined, in order, whether its refusal is billed before any output: read from the blocks
    that mark where another model took over.
    """
    triggers = (nested(block, "trigger") for block in _blocks(content) if block.get("type") == "fallback")
    return [trigger is not None and trigger.get("category") in BILLED for trigger in triggers]


def _blocks(content: Any) -> Iterator[JsonFields]:
    return map(fields_of, content) if isinstance(content, list) else iter(())
