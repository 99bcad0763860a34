"""
A second opinion: the same replies, read and priced by `genai-prices` on its own.
"""

from datetime import datetime, timedelta
from importlib.metadata import version

import pytest

from obskit.ai.pricing import cost
from obskit.ai.token_kinds import Usage

pytest.importorskip("genai_prices")

from .differences import PAGE, PRICINGS, READINGS, SAME, VERSION, agrees, opinions, page
from .second_opinion import AT, NAMES, every_model, price_by_them

SOLD = ("batch", "priority", "flex", "fast", "scale")
HOURS = tuple(
    AT.replace(hour=hour, minute=minute) for hour, minute in ((0, 59), (1, 0), (3, 59), (4, 0), (9, 0), (23, 0))
)
DAYS = tuple(AT + timedelta(days=days) for days in (-700, -300, -100, 50))
USED = {"input_tokens": 9000, "cache_read_tokens": 5000, "cache_write_tokens": 300, "output_tokens": 700}


def test_every_reply_of_every_provider_is_read_and_priced_as_a_second_opinion_does():
    """
    All forms of all providers, with each path told, odd and left out: the same, or what a documented reason demands.
    """
    found = opinions()

    assert found.wrong[:3] == []


def test_every_reason_has_its_replies():
    """
    A reason for which no reply is left any more has had its day.
    """
    found = opinions()

    assert {why for _, _, why in found.read} == {SAME, *(reading.why for reading in READINGS)}
    assert {why for _, _, why in found.priced} == {SAME, *(pricing.why for pricing in PRICINGS)}


def test_the_page_has_the_counts():
    """
    Whoever reads the documentation sees how many replies were compared, how many are equal, and all reasons.
    """
    told = PAGE.read_text()

    assert f"for version {VERSION}." in told
    assert version("genai-prices") != VERSION or told == page(opinions())


def _ours(provider: str, model: str, times: int, tier: str | None, at: datetime) -> object:
    usage = Usage(input=3700 * times, cache_read=5000 * times, cache_write=300 * times, output=700 * times, tier=tier)
    return cost(NAMES.get(provider, provider), model, usage, at.timestamp())


def test_every_model_costs_the_same_on_both_sides_of_thresholds_and_at_every_hour():
    """
    All models, short and beyond each threshold of their context, and those of dated prices at their hours and days.
    """
    wrong = []
    for provider, model in every_model():
        moments = [(AT, 1), (AT, 40), (AT, 200)]
        if isinstance(model.prices, list):
            moments += [(at, 1) for at in HOURS + DAYS]
        for at, times in moments:
            bill = price_by_them(provider, model.id, {unit: number * times for unit, number in USED.items()}, at)
            reason = "not_by_token" if bill.usd == 0 and not bill.is_free else None
            ours = _ours(provider, model.id, times, None, at)
            if not agrees(ours, bill.usd, reason):
                wrong.append((provider, model.id, at, times, bill.usd, ours))

    assert wrong == []


def test_every_tier_costs_the_same_or_is_unknown():
    """
    A tier that a model's list sells costs what theirs says; one that it does not sell is unknown, and standard theirs.
    """
    wrong, sold = [], 0
    for provider, model in every_model():
        active = [v.when for v in model.price_variants or () if v.constraint is None or v.constraint.active(AT)]
        for tier in SOLD if active else ("priority",):
            context = {"processing" if tier == "batch" else "service_tier": tier}
            bill = price_by_them(provider, model.id, USED, AT, context)
            reason = "not_by_token" if bill.usd == 0 and not bill.is_free else None
            if context in active:
                sold += 1
            else:
                reason = "no_price"
            ours = _ours(provider, model.id, 1, tier, AT)
            if not agrees(ours, bill.usd, reason):
                wrong.append((provider, model.id, tier, bill.usd, ours))

    assert wrong == []
    assert sold > 100
