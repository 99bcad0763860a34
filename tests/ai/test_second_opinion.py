"""
A second opinion: the same replies, read and priced by `genai-prices` on its own.
"""

from collections import Counter

import pytest

from obskit.ai.pricing import cost
from obskit.ai.usage import read

pytest.importorskip("genai_prices")

from .second_opinion import AT, opinion, replies

# Why ours may differ, and how such a reply is told. Theirs was read in the package's source, 0.2.3, 2026-11.
REASONS = {
    "ours by design: sound is not sold at the price of text, which theirs takes where a model has no other": (
        lambda theirs, usage, found: usage and (usage.audio_input or usage.audio_output) and found.reason == "no_price"
    ),
    "ours by design: a search of a model whose list has no price of searches is not free, as it is with theirs": (
        lambda theirs, usage, found: usage and usage.web_searches and found.reason == "no_price"
    ),
    "ours by design: what has prices, and none by the units that were told, does not cost 0": (
        lambda theirs, usage, found: theirs.usd == 0 and found and found.reason == "not_by_token"
    ),
    "ours by design: a reply that told nothing is unknown, and costs 0 with theirs": (
        lambda theirs, usage, found: theirs.usd == 0 and not any(theirs.tokens) and usage is None
    ),
    "theirs refuses, or has fewer than no tokens: parts that are more than their whole; ours is unknown or a guess": (
        lambda theirs, usage, found: (theirs.usd is None or min(theirs.tokens) < 0) and (not usage or usage.is_doubtful)
    ),
    "theirs is told by the caller what the JSON does not say: that pages were annotated": (
        lambda theirs, usage, found: theirs.flavour == "ocr_annotated"
    ),
}


def test_every_reply_of_every_provider_costs_what_a_second_opinion_says():
    """
    All forms of all providers, with every field and without each: the same tokens and dollars, or a known reason.
    """
    counts, unexplained = Counter(), []
    for reply in replies():
        theirs = opinion(reply)
        usage = read(reply.body, reply.name)
        found = usage and cost(reply.name, reply.model, usage, AT.timestamp())
        usd = found.usd if found else None
        is_same = usd == theirs.usd if None in (usd, theirs.usd) else abs(usd - theirs.usd) < 1e-9
        if is_same and (usage.tokens() == theirs.tokens if usage else theirs.usd is None):
            counts["the same"] += 1
            continue
        why = next((reason for reason, holds in REASONS.items() if holds(theirs, usage, found)), None)
        if why is None:
            unexplained.append((reply, theirs, usage, found))
        counts[why] += 1

    assert unexplained == []
    assert set(REASONS) <= set(counts)  # none of them has had its day
    assert counts["the same"] > 1500
