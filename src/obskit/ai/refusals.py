"""
Tell what a refusal costs. A model that declines before any output is billed, or not, by what it declined.

Sources: Anthropic's guide "Refusals and fallback", sections "How refusals are billed" and "Billing and rate limits",
and its release notes of 2026-09-24, read 2026-11. A credit for a fallback is in the retry's own usage already: as
reads from the cache in place of writes to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from obskit.ai.json_fields import Mapped, inside, mapped
from obskit.ai.token_kinds import Usage

# Billed before any output; a refusal of any other category, or of none, is not.
BILLED = ("bio", "frontier_llm", "reasoning_extraction")
MOST_OUTPUT = 1  # tokens that some clouds tell of a refusal without any content


def take_refusal(found: Usage, reply: Mapped) -> None:
    """
    Take the price off a refusal that is not billed, and doubt that of one that does not say what was refused.
    """
    if found.output > MOST_OUTPUT or any(block.get("type") != "fallback" for block in _blocks(reply.get("content"))):
        return
    details = inside(reply, "stop_details")
    if details is None:
        found.is_doubtful = True
    elif details.get("category") not in BILLED:
        found.is_free = True


def declined(content: Any) -> list[bool]:
    """
    Tell of each model that declined, in their order, whether its refusal is billed before any output: by the blocks
    that mark where another model went on.
    """
    triggers = (inside(block, "trigger") for block in _blocks(content) if block.get("type") == "fallback")
    return [trigger is not None and trigger.get("category") in BILLED for trigger in triggers]


def _blocks(content: Any) -> Iterator[Mapped]:
    return map(mapped, content) if isinstance(content, list) else iter(())
