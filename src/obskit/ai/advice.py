"""
Recommend what to look at, from the calls themselves. Each recommendation quotes the figures it rests on.

The thresholds are this library's own: where a look has been worth its while, and none with so few calls that chance
could have made it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from obskit.ai.pricing import MAX_AGE_DAYS, PriceData
from obskit.ai.rate_limit_headers import RateLimit
from obskit.ai.recent_calls import RecentCall

MIN_CALLS = 20
ERROR_SHARE = 0.05
WASTE_SHARE = 0.05
RETRY_SHARE = 0.10
COST_SHARE = 0.50
NAMELESS_SHARE = 0.50
HEADROOM = 0.10
MAX_SLOW = 3  # services, those that took the most time
CACHED_SHARE = 0.10
CACHEABLE_TOKENS = 2048  # of input a call: most models cache from 1,024 on, some from 2,048 or 4,096 (2026-11)
CACHING = ("anthropic", "openai", "azure.ai.openai", "aws.bedrock", "gcp.vertex_ai")
_FOR_REASON = {
    "no_usage": 'a streamed chat completion tells its usage only with stream_options={"include_usage": True}',
    "no_price": "add their models to `prices`, or update genai-prices",
    "no_price_data": "pip install 'obskit[ai]', or fill `prices`",
    "unknown_provider": "name their host in `providers` of instrument_openai(), or their models in `prices`",
    "not_by_token": "they are not billed by the token",
    "background": "nobody has asked for their replies since",
    "no_reply": "they broke before their answer, and may have been billed",
    "not_read": "the application took their raw bodies and never parsed them",
}


@dataclass(frozen=True, slots=True)
class Recommendation:
    """
    One recommendation.

    Attributes:
        code: A short name that stays the same, to filter by: `wasted-cost`.
        text: What was found, with its figures, and what to do.
    """

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Thresholds:
    """
    The thresholds of high cost and slowness, and the costs to compare.

    Attributes:
        high_cost_usd: Dollars a month that are too many; None where none are.
        slow_seconds: What a service's calls may take on average; None where they may take for ever.
        spent_usd: What the last 30 days cost, as far as they are known.
        month_usd: What this month is projected to cost; None where that is not known.
    """

    high_cost_usd: float | None
    slow_seconds: float | None
    spent_usd: float
    month_usd: float | None


def advise(
    rows: Sequence[RecentCall], limits: Sequence[RateLimit], prices: PriceData | None, thresholds: Thresholds
) -> tuple[Recommendation, ...]:
    """
    Return recommendations from these calls, the rate limits and the age of the prices; the most pressing first.
    """
    parts = (
        _headroom(limits),
        _errors(rows),
        _high_cost(rows, thresholds),
        _waste(rows),
        _unknown(rows),
        _old_prices(prices),
    )
    others = (
        _retries(rows),
        _slow(rows, thresholds),
        _uncached(rows),
        _cache_writes(rows),
        _expensive(rows),
        _without_service(rows),
    )
    return tuple(found for part in (*parts, *others) for found in part)


def dollars(usd: float) -> str:
    """
    Format dollars, small sums with as many decimals as they need.
    """
    shown = float(f"{usd:.3g}")  # 0.9999 is a dollar
    if abs(shown) >= 1 or not usd:
        return f"${usd:,.2f}"
    return f"${shown:.{max(2, 2 - math.floor(math.log10(abs(shown))))}f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _usd(rows: Sequence[RecentCall]) -> float:
    return math.fsum(row.usd or 0.0 for row in rows)


def _headroom(limits: Sequence[RateLimit]) -> Iterator[Recommendation]:
    for limit in limits:
        if limit.headroom is not None and limit.headroom < HEADROOM:
            kind = limit.kind.replace("_", " ")
            yield Recommendation(
                "rate-limit",
                f"{limit.remaining:,} of {limit.limit:,} {kind} were left at {limit.provider} for {limit.model} "
                f"{limit.age_seconds:.0f} s ago: spread the calls, or ask for a higher limit",
            )


def _errors(rows: Sequence[RecentCall]) -> Iterator[Recommendation]:
    failed = Counter(row.labels.error for row in rows if row.is_error)
    count = failed.total()
    if len(rows) >= MIN_CALLS and count >= ERROR_SHARE * len(rows):
        [(most, times)] = failed.most_common(1)
        share = _percent(count / len(rows))
        yield Recommendation(
            "errors", f"{count:,} of {len(rows):,} calls failed, {share}; {times:,} of them with {most}"
        )


def _high_cost(rows: Sequence[RecentCall], thresholds: Thresholds) -> Iterator[Recommendation]:
    limit, month, spent = thresholds.high_cost_usd, thresholds.month_usd, thresholds.spent_usd
    if limit is None:
        return
    if month is not None and month > limit:
        what = f"this month is projected to cost {dollars(month)}, more than {dollars(limit)}"
    elif spent > limit:
        what = f"{dollars(spent)} were spent in the last 30 days, more than {dollars(limit)}"
    else:
        return
    usd = _usd(rows)
    if usd:
        names = {name: _usd(some) for name, some in _by_service(rows).items()}
        most = max(names, key=lambda name: names[name])
        what += f"; {most or 'calls of no service'} made {_percent(names[most] / usd)} of {dollars(usd)} in this report"
    yield Recommendation("high-cost", f"{what}: see which calls are worth it, and keep them in a budget")


def _waste(rows: Sequence[RecentCall]) -> Iterator[Recommendation]:
    wasted, usd = [row for row in rows if row.is_wasted], _usd(rows)
    lost = _usd(wasted)
    if usd and len(rows) >= MIN_CALLS and lost >= WASTE_SHARE * usd:
        [(most, times)] = Counter(row.labels.aborted or row.labels.error for row in wasted).most_common(1)
        yield Recommendation(
            "wasted-cost",
            f"{dollars(lost)} of {dollars(usd)}, {_percent(lost / usd)}, went into {len(wasted):,} calls that failed "
            f"or were cut short, {times:,} of them by {most!r}: raise max_tokens or timeouts, and close streams that "
            "nobody reads",
        )


def _unknown(rows: Sequence[RecentCall]) -> Iterator[Recommendation]:
    reasons = Counter(row.labels.reason for row in rows if row.usd is None and row.labels.reason != "no_reply")
    reasons["background"] -= sum(row.is_fetch_of_own_call for row in rows)
    for reason, count in (+reasons).most_common(3):
        hint = _FOR_REASON.get(reason, "see the counter ai_cost_unknown_total")
        yield Recommendation(
            "unknown-cost", f"the cost of {count:,} of {len(rows):,} calls is not known ({reason}): {hint}"
        )


def _old_prices(prices: PriceData | None) -> Iterator[Recommendation]:
    if prices is not None and prices.age_days is not None and prices.age_days > MAX_AGE_DAYS:
        yield Recommendation(
            "old-prices",
            f"the prices of genai-prices {prices.version} are {prices.age_days:.0f} days old or older: update it",
        )


def _retries(rows: Sequence[RecentCall]) -> Iterator[Recommendation]:
    retries = sum(max(row.attempts - 1, 0) for row in rows)
    if len(rows) >= MIN_CALLS and retries >= RETRY_SHARE * len(rows):
        waited = math.fsum(row.waited_seconds for row in rows)
        yield Recommendation(
            "retries",
            f"{len(rows):,} calls took {retries:,} retries and waited {waited:,.1f} s for them: limit how many run at "
            "once, or ask for a higher limit",
        )


def _slow(rows: Sequence[RecentCall], thresholds: Thresholds) -> Iterator[Recommendation]:
    limit = thresholds.slow_seconds
    if limit is None:
        return
    services = {name: [row for row in some if row.is_call] for name, some in _by_service(rows).items()}
    means = {name: _mean_seconds(some) for name, some in services.items() if len(some) >= MIN_CALLS}
    slow = sorted((name for name in means if means[name] > limit), key=lambda name: -means[name] * len(services[name]))
    for name in slow[:MAX_SLOW]:
        some = services[name]
        mean, longest = means[name], max(row.seconds for row in some)
        (_, model), most = max(_by_model(some).items(), key=lambda item: math.fsum(row.seconds for row in item[1]))
        reported = [row.tokens[3] for row in most if row.tokens is not None]
        output = f" and {sum(reported) // len(reported):,} tokens of output" if reported else ""
        yield Recommendation(
            "slow",
            f"{len(some):,} calls of {name or 'no service'} took {mean:.1f} s on average, more than {limit:g} s, and "
            f"{longest:.1f} s at most; {len(most):,} of them with {model}, {_mean_seconds(most):.1f} s{output} each: "
            "ask for less output, stream it, or take a faster model",
        )


def _mean_seconds(rows: Sequence[RecentCall]) -> float:
    return math.fsum(row.seconds for row in rows) / len(rows)


def _by_service(rows: Sequence[RecentCall]) -> dict[str, list[RecentCall]]:
    found: defaultdict[str, list[RecentCall]] = defaultdict(list)
    for row in rows:
        found[row.labels.service].append(row)
    return found


def _by_model(rows: Sequence[RecentCall]) -> dict[tuple[str, str], list[RecentCall]]:
    found: defaultdict[tuple[str, str], list[RecentCall]] = defaultdict(list)
    for row in rows:
        found[row.labels.provider, row.labels.model].append(row)
    return found


def _uncached(rows: Sequence[RecentCall]) -> Iterator[Recommendation]:
    for (provider, model), some in _by_model(rows).items():
        reported = [row.tokens for row in some if row.tokens is not None and not row.is_estimated]
        taken = sum(sum(tokens[:3]) for tokens in reported)
        read = sum(tokens[1] for tokens in reported)
        if provider not in CACHING or len(reported) < MIN_CALLS or taken < CACHEABLE_TOKENS * len(reported):
            continue
        if read < CACHED_SHARE * taken:
            yield Recommendation(
                "cache",
                f"{len(reported):,} calls of {model} took {taken // len(reported):,} tokens of input each, and "
                f"{_percent(read / taken)} of them came from the provider's cache: where prompts begin alike, put what "
                "they share first, and mark it for the cache where the provider wants that",
            )


def _cache_writes(rows: Sequence[RecentCall]) -> Iterator[Recommendation]:
    for (_, model), some in _by_model(rows).items():
        saved = math.fsum(row.saved_usd for row in some)
        if len(some) >= MIN_CALLS and saved < 0:
            yield Recommendation(
                "cache-writes",
                f"the cache made {len(some):,} calls of {model} {dollars(-saved)} dearer: what is written to it is "
                "read too rarely",
            )


def _expensive(rows: Sequence[RecentCall]) -> Iterator[Recommendation]:
    usd = _usd(rows)
    models = _by_model(rows)
    if not usd or len(rows) < MIN_CALLS or len(models) < 2:
        return
    (_, model), some = max(models.items(), key=lambda item: _usd(item[1]))
    share, of_calls = _usd(some) / usd, len(some) / len(rows)
    if share >= COST_SHARE and of_calls < share:
        yield Recommendation(
            "expensive-model",
            f"{model} makes {_percent(share)} of the cost ({dollars(_usd(some))} of {dollars(usd)}) with "
            f"{_percent(of_calls)} of the calls: see whether a smaller one does for some of them",
        )


def _without_service(rows: Sequence[RecentCall]) -> Iterator[Recommendation]:
    count = sum(not row.labels.service for row in rows)
    if len(rows) >= MIN_CALLS and count >= NAMELESS_SHARE * len(rows):
        yield Recommendation(
            "no-service",
            f"{count:,} of {len(rows):,} calls have no service: put them into `with obskit.observe_ai(service=...)` to "
            "see what they are for",
        )
