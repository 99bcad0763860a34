"""
What a call may cost at most, before it is sent, and what it is charged once it has ended.
"""

from __future__ import annotations

from typing import Any, Literal

from obskit.ai import pricing
from obskit.ai.ai_operation import AiOperation
from obskit.ai.pricing import MTOK, Price
from obskit.ai.request_size import CHARACTERS_PER_TOKEN
from obskit.ai.token_kinds import Usage
from obskit.recorder import recorder

UnknownPrice = Literal["allow", "block"] | Price
# Of a request that sets no limit: few replies are longer, and the exact cost replaces the estimate.
DEFAULT_OUTPUT_TOKENS = 4096


def max_output_tokens(op: AiOperation, body: Any) -> int:
    """
    Return the most tokens of output that a request allows, over all its choices.
    """
    if op.operation == "embeddings":
        return 0
    asked = body if isinstance(body, dict) else {}
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
        bound = asked.get(name)
        if isinstance(bound, int) and not isinstance(bound, bool) and bound > 0:
            break
    else:
        bound = DEFAULT_OUTPUT_TOKENS
    count = asked.get("n")
    return bound * count if isinstance(count, int) and count > 0 else bound


def max_cost(
    op: AiOperation, request_bytes: int, output_tokens: int, now: float, unknown_price: UnknownPrice
) -> float | None:
    """
    Estimate what a call costs at most, in dollars; None where its model has no price and `unknown_price` is none.
    """
    usage = Usage(input=-(-request_bytes // CHARACTERS_PER_TOKEN), output=output_tokens)
    try:
        provider, model = (op.provider, op.model) if op.billed_as is None else op.billed_as
        usd = pricing.cost(provider, model, usage, now).usd
    except Exception as error:
        recorder.failed("ai", error)
        usd = None
    if usd is None and isinstance(unknown_price, Price):
        return fallback_cost(unknown_price, usage)
    return usd


def fallback_cost(price: Price, usage: Usage) -> float:
    """
    Price tokens by a budget's own price for models without one; cached tokens cost what input does, where it has no
    price for them.
    """
    read = price.input if price.cache_read is None else price.cache_read
    write = price.input if price.cache_write is None else price.cache_write
    parts = (usage.input * price.input, usage.cache_read * read, usage.cache_write * write, usage.output * price.output)
    return sum(parts) / MTOK


def settled_cost(op: AiOperation, unknown_price: UnknownPrice, reserved_usd: float) -> float:
    """
    Return what a budget is charged for a call: its cost, else its tokens by `unknown_price`, else what was reserved.
    """
    if op.cost_usd is not None:
        return op.cost_usd
    if op.tokens is not None and isinstance(unknown_price, Price):
        return fallback_cost(unknown_price, op.tokens)
    return reserved_usd
