"""
Where ours may read or price a reply otherwise than `genai-prices` does, and what ours must be then.

Whether a reason holds is asked of the reply and of theirs alone, never of ours; the first one that holds is the only
one. Theirs was read in the package's source, 0.2.3 (2026-11).

`python -m tests.ai.differences` writes the page that has the counts.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from obskit.ai.pricing import Cost, cost
from obskit.ai.usage import read

from .second_opinion import (
    AT,
    LEFT,
    Bill,
    Reply,
    comparable,
    in_their_units,
    is_impossible,
    models,
    price_by_them,
    read_by_them,
    replies,
)

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "second-opinion.md"
VERSION = "0.2.3"  # of the package, whose counts the page has
SAME = "The same."
Used = dict[str, float] | None  # by the package's units; None is its refusal
NO_NUMBERS = ("text", "negative", "a fraction", "true", "huge")


@dataclass(frozen=True)
class Reading:
    """
    A reason why ours reads another usage.

    Attributes:
        holds: Told of the reply, and of what theirs reads.
        ours: Gives what ours must be by theirs, in the package's units. None: no usage, or an estimate, whatever it is.
    """

    why: str
    holds: Callable[[Reply, Used], bool]
    ours: Callable[[Reply, Used], Used] | None = None


def _without_path(reply: Reply, used: Used) -> Used:
    """
    Return what theirs reads where the odd path says 0.
    """
    return read_by_them(reply.saying(0))


def _with_reasoning_beside(reply: Reply, used: Used) -> Used:
    return {**used, "output_tokens": used.get("output_tokens", 0) + used["output_reasoning_tokens"]}


# What ours takes for 0 where it is missing, though theirs refuses the reply: by the provider, the flavour and the path.
SPARED = {
    ("cloudflare", "decisions", "result.usage.output_tokens"),
    ("cohere", "default", "usage.billed_units.output_tokens"),
    ("cursor", "usage-event", "tokenUsage.cacheReadTokens"),
    ("cursor", "usage-event", "tokenUsage.cacheWriteTokens"),
    ("openai", "images", "usage.input_tokens_details.image_tokens"),
    ("openai", "images", "usage.input_tokens_details.text_tokens"),
    ("openrouter", "decisions", "usage.output_tokens"),
    ("openrouter", "systemone", "usage.output_tokens"),
    ("perplexity", "decisions", "usage.output_tokens"),
    ("typesafe", "default", "usage.output_tokens"),
    ("x-ai", "realtime", "usage.billable_audio_seconds"),
}
READINGS = [
    Reading(
        "Ours by design: a reply that used nothing has not told what it used.",
        lambda reply, used: used is not None and not any(used.values()),
        lambda reply, used: None,
    ),
    Reading(
        "Ours by design: text is what is left of a whole; what is told of nothing else counts nothing.",
        lambda reply, used: bool(used) and not comparable(used),
        lambda reply, used: None,
    ),
    Reading(
        "Ours by design: text is what is left of a whole; an odd figure of it changes nothing (theirs refuses, or "
        "takes it).",
        lambda reply, used: reply.path.endswith(".text_tokens") and reply.odd in NO_NUMBERS,
        _without_path,
    ),
    Reading(
        "Ours by design: an answer whose question is null or left out is an estimate (theirs takes it for 0).",
        lambda reply, used: (
            bool(used)
            and "input_tokens" not in used
            and used.get("output_tokens", 0) > 0
            and reply.flavour != "default"
        ),
    ),
    Reading(
        "Ours by design: Gemini's answer whose prompt is null or left out is an estimate (theirs takes it for 0).",
        lambda reply, used: (
            bool(used)
            and reply.provider == "google"
            and reply.flavour == "default"
            and not reply.tells("promptTokenCount")
        ),
    ),
    Reading(
        "Ours by design: a session by voice whose answer is null, or left out though a cache was read, is an estimate "
        "(theirs takes it for 0).",
        lambda reply, used: (
            bool(used)
            and reply.flavour == "realtime"
            and "output_tokens" not in used
            and ("cache_read_tokens" in used or reply.tells("output_tokens", None))
        ),
    ),
    Reading(
        "Ours by design: xAI's seconds beside details of tokens that are in no figure are an estimate (theirs passes "
        "over them).",
        lambda reply, used: (
            bool(used)
            and (reply.provider, reply.flavour) == ("x-ai", "realtime")
            and not {"input_tokens", "output_tokens"} & set(used)
            and reply.has("text_tokens")
        ),
    ),
    Reading(
        "Theirs wrong: more reasoning than completion, and no total, stands beside the completion, as xAI tells it "
        "(replies of grok, 2026-11).",
        lambda reply, used: (
            bool(used)
            and reply.has("prompt_tokens")
            and used.get("output_reasoning_tokens", 0) > used.get("output_tokens", 0)
            and reply.odd not in NO_NUMBERS
        ),
        _with_reasoning_beside,
    ),
    Reading(
        "Ours by design: an answer may lack caches, pictures or seconds, and what decides or embeds lacks an output "
        "(theirs refuses).",
        lambda reply, used: (
            used is None
            and (reply.provider, reply.flavour, reply.path) in SPARED
            and (reply.odd == "left out" or (reply.odd == "null" and not reply.path.endswith("usage.output_tokens")))
        ),
        _without_path,
    ),
    Reading(
        "Ours by design: where a needed figure is missing, the usage is unknown or an estimate (theirs refuses).",
        lambda reply, used: used is None and reply.odd in ("left out", "null"),
    ),
    Reading(
        "Ours by design: where a figure is no count, the usage is unknown or an estimate (theirs refuses, skips or "
        "takes it).",
        lambda reply, used: (
            reply.odd in NO_NUMBERS and not (reply.odd == "a fraction" and reply.path.endswith("seconds"))
        ),
    ),
    Reading(
        "Ours by design: parts above their whole make an estimate (theirs takes them, and refuses some of the prices).",
        lambda reply, used: bool(used) and is_impossible(used),
    ),
    Reading(
        "Theirs is told by the caller what the JSON does not say: that pages were annotated.",
        lambda reply, used: reply.flavour == "ocr_annotated",
        lambda reply, used: {"input_document_pages": used["input_document_pages"]},
    ),
]


@dataclass(frozen=True)
class Pricing:
    """
    A reason why ours gives the same usage no price, or one that theirs refuses.

    Attributes:
        holds: Told of what was used, and of what theirs asks for it.
        reason: What ours must say of it. None: it has the price that theirs gives once the rest is told as 0.
    """

    why: str
    holds: Callable[[dict[str, float], Bill], bool]
    reason: str | None


def _has_none_for(used: dict[str, float], bill: Bill, unit: str, price: str) -> bool:
    is_covered = bill.is_free or "requests_kcount" in bill.prices or used.get("audio_seconds", 0)
    return used.get(unit, 0) > 0 and price not in bill.prices and not is_covered


READ = ("cache_audio_read_tokens", "cache_image_read_tokens", "cache_video_read_tokens")
PRICINGS = [
    Pricing(
        "Ours by design: sound that was taken in is not sold at the price of text, which theirs takes without another.",
        lambda used, bill: (
            _has_none_for(used, bill, "input_audio_tokens", "input_audio_mtok")
            or _has_none_for(used, bill, "cache_audio_read_tokens", "input_audio_mtok")
        ),
        "no_price",
    ),
    Pricing(
        "Ours by design: sound that was given is not sold at the price of text, which theirs takes without another.",
        lambda used, bill: _has_none_for(used, bill, "output_audio_tokens", "output_audio_mtok"),
        "no_price",
    ),
    Pricing(
        "Ours by design: kinds that the split of a cache does not name are none of it (theirs refuses to guess).",
        lambda used, bill: bill.usd is None and any(unit in used for unit in (*READ, "cache_text_read_tokens")),
        None,
    ),
    Pricing(
        "Both: what of the cache was sound is not told, where it has another price (theirs refuses, ours is unknown).",
        lambda used, bill: (
            bill.usd is None
            and "cache_audio_read_mtok" in bill.prices
            and used.get("input_audio_tokens", 0) > 0
            and used.get("cache_read_tokens", 0) > 0
        ),
        "not_by_token",
    ),
    Pricing(
        "Ours by design: searches of a model whose list has no price of them are not free, as they are with theirs.",
        lambda used, bill: _has_none_for(used, bill, "web_searches", "web_searches_kcount"),
        "no_price",
    ),
    Pricing(
        "Ours by design: what has prices, and none by the units that were told, does not cost 0.",
        lambda used, bill: bill.usd == 0 and not bill.is_free,
        "not_by_token",
    ),
]


@dataclass(frozen=True)
class Difference:
    """
    How two opinions on a reply compare.

    Attributes:
        why: `SAME`, or a reason's.
        is_right: Whether ours is what it must be.
        used: What is to be billed, by the package's units; None where that is not known.
        ours: What we read.
    """

    why: str
    is_right: bool
    used: Used
    ours: Any


def compared(reply: Reply) -> Difference:
    """
    Read a reply twice.
    """
    used, ours = read_by_them(reply), read(reply.body, reply.name)
    found = next((reading for reading in READINGS if reading.holds(reply, used)), None)
    expected = used if found is None else found.ours and found.ours(reply, used)
    is_told = ours is not None and not ours.is_doubtful
    is_right = not is_told if expected is None else is_told and in_their_units(ours) == comparable(expected)
    return Difference(found.why if found else SAME, is_right, expected, ours)


_billed = lru_cache(None)(lambda provider, model, used: price_by_them(provider, model, dict(used)))


class _Same:
    """
    Usage that is told apart by its figures, those that are told as 0 included.
    """

    def __init__(self, usage: Any) -> None:
        self.usage = usage
        self.key = repr(usage), tuple(sorted(usage.sparse or ()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@lru_cache(None)
def _cost(provider: str, model: str, used: _Same) -> Cost:
    return cost(provider, model, used.usage, AT.timestamp())


def priced(reply: Reply, model: str, read: Difference) -> Difference:
    """
    Price what was read, twice.
    """
    used = {unit: value for unit, value in read.used.items() if unit not in LEFT}
    bill = _billed(reply.provider, model, tuple(sorted(used.items())))
    found = next((pricing for pricing in PRICINGS if pricing.holds(read.used, bill)), None)
    if found and found.reason is None:
        bill = _billed(reply.provider, model, tuple(sorted((dict.fromkeys(READ, 0) | used).items())))
    ours = _cost(reply.name, model, _Same(read.ours))
    return Difference(found.why if found else SAME, agrees(ours, bill.usd, found and found.reason), used, ours)


def agrees(ours: Cost, usd: float | None, reason: str | None) -> bool:
    """
    Return whether a cost is these dollars, to a billionth, or is unknown for this reason.
    """
    if reason is not None:
        return ours.usd is None and ours.reason == reason
    return ours.usd is not None and usd is not None and abs(ours.usd - usd) < 1e-9


@dataclass
class Opinions:
    """
    All comparisons: how many there are of each provider, flavour and reason, and those that are not right.
    """

    read: Counter[tuple[str, str, str]]
    priced: Counter[tuple[str, str, str]]
    wrong: list[tuple[Any, ...]]


@lru_cache(1)
def opinions() -> Opinions:
    found = Opinions(Counter(), Counter(), [])
    for reply in replies():
        reading = compared(reply)
        found.read[reply.provider, reply.flavour, reading.why] += 1
        if not reading.is_right:
            found.wrong.append((reply, reading))
        elif reading.used is not None:
            for model in models(reply.provider):
                pricing = priced(reply, model, reading)
                found.priced[reply.provider, reply.flavour, pricing.why] += 1
                if not pricing.is_right:
                    found.wrong.append((reply, model, pricing))
    return found


def page(found: Opinions) -> str:
    """
    Write the page that has the counts.
    """
    lines = [
        "# A second opinion on AI usage and cost",
        "",
        "The package `genai-prices` brings not only prices: it also reads replies, by paths of its own for each "
        "provider and flavour of API.",
        "The tests make replies from these paths and let both judge them, and this page, which is written by "
        f"`python -m tests.ai.differences`, has the counts, for version {VERSION}.",
        "",
        "A reply has every path of its flavour, or lacks any one or two, or has none but one or two, and all subsets "
        "where there are few paths.",
        "Then each path in turn is null, 0, text, negative, a fraction, `true`, absurdly high, left out, or as much as "
        "its whole and more; and all are multiplied beyond each threshold of a context.",
        "What was read is priced by one model for each set of prices that the provider has.",
        "The same is: each kind of token and unit alike, no estimate, and the same dollars to a billionth.",
        "",
        "## What was read",
        "",
        *_table(found.read, [reading.why for reading in READINGS]),
        "",
        "## What it costs",
        "",
        *_table(found.priced, [pricing.why for pricing in PRICINGS]),
        "",
        "## By provider",
        "",
        "| Provider | Flavour | Replies | Read the same | Priced | Priced the same |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for provider, flavour in dict.fromkeys(key[:2] for key in found.read):
        counts = [
            count
            for counter in (found.read, found.priced)
            for count in (
                sum(n for key, n in counter.items() if key[:2] == (provider, flavour)),
                counter[provider, flavour, SAME],
            )
        ]
        lines.append(f"| {provider} | {flavour} | {' | '.join(f'{count:,}' for count in counts)} |")
    return "\n".join(lines) + "\n"


def _table(counts: Counter[tuple[str, str, str]], reasons: list[str]) -> list[str]:
    by_reason: Counter[str] = Counter()
    for (_, _, why), count in counts.items():
        by_reason[why] += count
    rows = [f"| {why} | {by_reason[why]:,} |" for why in (SAME, *reasons)]
    return [f"| Of {counts.total():,} | |", "| --- | ---: |", *rows]


if __name__ == "__main__":
    PAGE.write_text(page(opinions()))
