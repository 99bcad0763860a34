"""
Tell what a refusal costs. A model that declines before any output is billed or not by what it declined.
"""

from __future__ import annotations

from typing import Any

from obskit.ai.kinds import Usage

# What Anthropic's classifiers block before any output is not billed (its guide to fallbacks and billing, 2026-06).
UNBILLED = ("cyber", "bio", "reasoning_extraction")


def doubt_refusal(found: Usage, reply: dict[str, Any]) -> None:
    """
    Take the price off a refusal that is not billed, and doubt that of one of which nobody says whether it is.
    """
    if reply.get("stop_reason") != "refusal" or found.output or reply.get("content"):
        return
    details = reply.get("stop_details")
    category = details.get("category") if isinstance(details, dict) else None
    if category in UNBILLED:
        found.told_usd = 0.0
    else:
        found.is_doubtful = True
