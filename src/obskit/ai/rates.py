"""
What a model costs, by the package `genai-prices`.

It is imported at the first call that needs it (0.15 s, 30 MB). Its rates are derived once for each model, tier, side
of a context threshold and time of the day, and multiplied from then on. What has rates of its own beside the four
kinds of tokens is calculated by the package itself, call by call.
"""

from __future__ import annotations

import os
import re
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time
from functools import lru_cache
from typing import Any, NamedTuple

from obskit.ai.token_kinds import Usage
from obskit.catalogue import events
from obskit.recorder import recorder
from obskit.time.timestamps import to_the_second

MTOK = 1_000_000
SECONDS_A_DAY = 86_400
MAX_RATES = 1024
MAX_AGE_DAYS = 60  # models and prices change every few weeks
INF = float("inf")
_FIRST_PACKAGE = datetime(2025, 1, 1, tzinfo=UTC).timestamp()
# OpenTelemetry's name of a provider -> that of genai-prices, where they differ (0.2.3, 2026-11).
IDS = {
    "aws.bedrock": "aws",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "mistral_ai": "mistral",
    "moonshot_ai": "moonshotai",
    "x_ai": "x-ai",
}
# What providers call the tier that everybody has.
_STANDARD = (None, "standard", "default", "auto", "on_demand", "on-demand")
# Usage's names -> those of the package's units.
_UNITS = {
    "audio_input": "input_audio_tokens",
    "image_input": "input_image_tokens",
    "video_input": "input_video_tokens",
    "audio_read": "cache_audio_read_tokens",
    "image_read": "cache_image_read_tokens",
    "video_read": "cache_video_read_tokens",
    "audio_output": "output_audio_tokens",
    "image_output": "output_image_tokens",
    "video_output": "output_video_tokens",
    "citations": "output_citation_tokens",
    "web_searches": "web_searches",
    "file_searches": "storage_searches",
    "audio_seconds": "audio_seconds",
    "pages": "input_document_pages",
    "annotated_pages": "input_annotated_document_pages",
    "messages": "input_text_messages",
}
# A model that has no price of these is not sold them at the price of text, or of what is kept for minutes.
_DEMANDED = {
    "cache_write_12h": "cache_write_12h_mtok",
    "audio_input": "input_audio_mtok",
    "audio_read": "input_audio_mtok",
    "audio_output": "output_audio_mtok",
    "web_searches": "web_searches_kcount",
    "file_searches": "storage_searches_kcount",
}
FEES = ("web_searches", "file_searches")
# What Anthropic, Google and OpenAI ask for the place: 1.1 times the list's price of tokens, for Claude in the USA
# (`inference_geo`, 2026-02) and at any but the global endpoint of Vertex AI (Claude 4.5 and later), and for GPT-5.4 and
# later at regional hosts (their pages on prices, 2026-11).
REGIONAL = 1.1
_version_in = re.compile(r"(claude|gpt)-(?:[a-z]+-)?(\d+)(?:[.-](\d)(?!\d))?").search


class Rates(NamedTuple):
    """
    Dollars per token, and dollars per request.
    """

    input: float
    cache_read: float
    cache_write: float
    cache_write_1h: float
    output: float
    reasoning: float  # on top of output; below 0 where it is cheaper
    request: float


class CachedRates(NamedTuple):
    """
    The rates of a model's last call, and the time and input range in which they are valid.
    """

    start: float  # in seconds since the epoch
    end: float
    above: float  # tokens of input
    upto: float
    rates: Rates


class RateBoundaries(NamedTuple):
    """
    Where a model's rates change: at which tokens of input, and at which seconds of the day (UTC).
    """

    tokens: tuple[int, ...] = ()
    seconds: tuple[float, ...] = ()


Key = tuple[str, str, str, str | None, str | None]  # provider, the model that answered and that was asked, tier, speed

NO_RATES = CachedRates(0.0, 0.0, 0.0, 0.0, Rates(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
last_rates: dict[Key, CachedRates] = {}
_rates: dict[tuple[Any, ...], Rates | str] = {}
_boundaries: dict[tuple[str, str, str], RateBoundaries] = {}
_is_age_reported = False


def start_over() -> None:
    """
    Clear the derived rates, and allow one more warning of old prices.
    """
    global _is_age_reported
    last_rates.clear()
    _rates.clear()
    _is_age_reported = False


def rates_for(asked: str, model: str, requested: str, usage: Usage, at: float) -> Rates | str:
    """
    Return the rates of the package, or the reason why there are none.
    """
    provider = IDS.get(asked, asked)
    name = (provider, model, requested)
    total = usage.input + usage.cache_read + usage.cache_write
    boundaries = _boundaries.get(name, RateBoundaries())
    place = _place(boundaries, total, at)
    found = _rates.get((name, usage.tier, usage.speed, place))
    if found is None:
        found, boundaries = _derive(name, usage, at, max(total, 1))
        _boundaries[name] = boundaries
        place = _place(boundaries, total, at)
        if len(_rates) >= MAX_RATES:
            _rates.clear()
            last_rates.clear()
        _rates[name, usage.tier, usage.speed, place] = found
    if not isinstance(found, str):
        (day, slot), side = place
        above, upto = (-INF, *boundaries.tokens)[side], (*boundaries.tokens, INF)[side]
        midnight = day * SECONDS_A_DAY
        start, end = (0.0, *boundaries.seconds)[slot], (*boundaries.seconds, float(SECONDS_A_DAY))[slot]
        last_rates[asked, model, requested, usage.tier, usage.speed] = CachedRates(
            midnight + start, midnight + end, above, upto, found
        )
    return found


def _place(boundaries: RateBoundaries, total: int, at: float) -> tuple[tuple[float, int], int]:
    day, second = divmod(at, SECONDS_A_DAY)
    return (day, bisect_right(boundaries.seconds, second)), bisect_left(boundaries.tokens, total)


@lru_cache(1)
def package() -> Any:
    """
    Import the package; None where it is not installed.
    """
    try:
        import genai_prices
    except ImportError:
        return None
    return genai_prices


class PriceLookup:
    """
    A model in the package's price list, at a moment and for a service tier.
    """

    def __init__(self, name: tuple[str, str, str], usage: Usage, at: float) -> None:
        provider, answered, requested = name
        self.provider_id = provider
        self.moment = datetime.fromtimestamp(at, UTC)
        self.context = _price_context(usage)
        for self.model in _candidate_names(provider, answered, requested):
            try:
                found = self.price(input_tokens=0)
                break
            except LookupError:
                continue
        else:
            raise LookupError(answered)
        self.found, self.fee = found.model, found.total_price
        self.has_tier = not self.context or self._sells(found)
        self.list = vars(found.model_price)

    def price(self, **units: float) -> Any:
        return package().calc_price(
            package().Usage(**units),
            self.model,
            provider_id=self.provider_id,
            genai_request_timestamp=self.moment,
            price_context=self.context or None,
        )

    def _sells(self, found: Any) -> bool:
        """
        Return whether the list has a price for the tier: if not, the package falls back to the standard one.
        """
        if not any(found.model is model for model in found.provider.models):
            return False  # the list of another provider, whose tiers are not this one's
        active = [
            variant.when
            for variant in found.model.price_variants or ()
            if variant.constraint is None or variant.constraint.active(self.moment)
        ]
        return all(any(when.get(name) == value for when in active) for name, value in self.context.items())

    def boundaries(self, *prices: Any) -> RateBoundaries:
        tokens = {
            tier.start for price in prices for rate in vars(price).values() for tier in getattr(rate, "tiers", ())
        }
        dated = self.found.prices if isinstance(self.found.prices, list) else []
        seconds = {s for one in (*dated, *(self.found.price_variants or ())) for s in _seconds(one.constraint)}
        return RateBoundaries(tuple(sorted(tokens)), tuple(sorted(seconds - {0.0})))

    def is_priced(self) -> bool:
        """
        Return whether the model has any price above 0: some are free.
        """
        return any(rate for rate in self.list.values() if rate is not None)


def _seconds(constraint: Any) -> Iterator[float]:
    for name in ("start_time", "end_time"):
        moment = getattr(constraint, name, None)
        if isinstance(moment, time):
            offset = moment.utcoffset()
            shift = offset.total_seconds() if offset is not None else 0.0
            yield (moment.hour * 3600 + moment.minute * 60 + moment.second - shift) % SECONDS_A_DAY


def _candidate_names(provider: str, answered: str, requested: str) -> Iterator[str]:
    """
    Yield the names to look a model up by: a provider may answer with a short name that its list lacks.
    """
    is_bare = answered != requested and _is_bare_name(answered, requested)
    if is_bare and provider == "aws":
        yield requested  # which has the region's price
    yield answered
    if is_bare and provider != "aws":
        yield requested
    if provider in ("google", "azure") and "/" in answered:
        yield answered.rpartition("/")[2]


def _is_bare_name(answered: str, requested: str) -> bool:
    before, found, after = requested.partition(answered)
    return bool(found) and before[-1:] in ("", "/", ".", ":") and (not after or after[0] in ":@" or after[:2] == "-v")


def _price_context(usage: Usage) -> dict[str, str]:
    context = {}
    if usage.tier == "batch":
        context["processing"] = "batch"
    elif usage.tier not in _STANDARD:
        context["service_tier"] = str(usage.tier)
    if usage.speed not in (None, "standard"):
        context["speed"] = str(usage.speed)
    return context


def _derive(name: tuple[str, str, str], usage: Usage, at: float, total: int) -> tuple[Rates | str, RateBoundaries]:
    """
    Derive rates from the price of tokens of one kind alone; or return why there are none.
    """
    if package() is None:
        return "no_price_data", RateBoundaries()
    _warn_of_age(at)
    try:
        asked = PriceLookup(name, usage, at)
        plain = asked.price(input_tokens=total)
        boundaries = asked.boundaries(plain.model_price)
        if not asked.has_tier:
            return "no_price", boundaries
        base, fee = plain.total_price - asked.fee, asked.fee
        read = asked.price(input_tokens=total, cache_read_tokens=total).total_price - fee
        write = asked.price(input_tokens=total, cache_write_tokens=total, cache_write_5m_tokens=total).total_price - fee
        hour = asked.price(input_tokens=total, cache_write_tokens=total, cache_write_1h_tokens=total).total_price - fee
        output = asked.price(input_tokens=total, output_tokens=MTOK).total_price - plain.total_price
        thought = asked.price(input_tokens=total, output_tokens=MTOK, output_reasoning_tokens=MTOK).total_price
    except LookupError:
        return "no_price", RateBoundaries()
    except ValueError:
        return "not_by_token", RateBoundaries()
    if not base and not output and asked.is_priced():
        return "not_by_token", boundaries  # such as speech, by the hour: by its tokens it would seem free
    per_token = (base / total, read / total, write / total, hour / total, output / MTOK)
    return Rates(*map(float, (*per_token, (thought - plain.total_price - output) / MTOK, fee))), boundaries


def calculate(asked: str, model: str, requested: str, usage: Usage, at: float) -> float | str:
    """
    Calculate a call that has more than the four kinds of tokens; or say why that cannot be.
    """
    if package() is None:
        return "no_price_data"
    _warn_of_age(at)
    units = _units(usage)
    try:
        found = PriceLookup((IDS.get(asked, asked), model, requested), usage, at)
        if not found.has_tier or _lacks_price(usage, found):
            return "no_price"
        whole = found.price(**units).total_price
        times = regional_factor(asked, model, usage.geo)
        if times is None:
            return "no_price"
        if times != 1:
            fees = found.price(**{unit: units[unit] for name in FEES if (unit := _UNITS[name]) in units}).total_price
            whole = float(whole - fees) * times + float(fees)
    except LookupError:
        return "no_price"
    except (ValueError, TypeError):
        return "not_by_token"
    if not whole and found.is_priced() and any(units.values()):
        return "not_by_token"
    return float(whole)


def _units(usage: Usage) -> dict[str, float]:
    units: dict[str, float] = {
        "input_tokens": usage.input + usage.cache_read + usage.cache_write,
        "cache_read_tokens": usage.cache_read,
        "cache_write_tokens": usage.cache_write,
        "output_tokens": usage.output,
    }
    if usage.cache_write_1h:
        units["cache_write_5m_tokens"] = usage.cache_write - usage.cache_write_1h
        units["cache_write_1h_tokens"] = usage.cache_write_1h
    if usage.reasoning:
        units["output_reasoning_tokens"] = usage.reasoning
    told = usage.sparse or {}
    for name, unit in _UNITS.items():
        if name in told:  # also as none of what was read: the package refuses to guess it
            units[unit] = told[name]
    if usage.audio_seconds:
        units["input_audio_seconds"] = usage.audio_seconds
    return units


def _lacks_price(usage: Usage, found: PriceLookup) -> bool:
    """
    Return whether anything was used that the list has no price for, and would count as text or as free.
    """
    if found.fee or usage.audio_seconds or not found.is_priced():  # which cover it, or all is free
        return False
    return any(getattr(usage, name) and found.list.get(price) is None for name, price in _DEMANDED.items())


def fees(provider: str, model: str, requested: str, usage: Usage, at: float) -> float | None:
    """
    Return what a provider bills for searches alone, in dollars; None if unknown.
    """
    searches = Usage(web_searches=usage.web_searches, file_searches=usage.file_searches)
    found = calculate(provider, model, requested, searches, at)
    return found if isinstance(found, float) else None


def regional_factor(provider: str, model: str, geo: str | None) -> float | None:
    """
    Return the factor on the list's price that a provider charges for a region; None if unknown.
    """
    if geo is None:
        return 1
    version = _version_in(model)
    family, generation = (version[1], (int(version[2]), int(version[3] or 0))) if version else ("", (0, 0))
    if provider == "anthropic":
        return REGIONAL if geo == "us" else None
    if provider == "gcp.vertex_ai":
        return REGIONAL if family == "claude" and generation >= (4, 5) else 1
    if provider == "openai":
        return REGIONAL if family == "gpt" and generation >= (5, 4) else 1
    return 1


@dataclass(frozen=True, slots=True)
class PriceData:
    """
    The version and age of the price list that is used where the application sets no price.

    Attributes:
        version: Of the package `genai-prices`.
        of: The prices are of this moment or before: when the package was installed, or its prices were updated in
            this process. ISO 8601, UTC; None where that cannot be told.
        age_days: At least; None likewise.
    """

    version: str
    of: str | None
    age_days: float | None


def price_data(at: float) -> PriceData | None:
    """
    Return the age of the package's prices; None if it is not installed or no call has needed it yet.
    """
    package = sys.modules.get("genai_prices")
    if package is None:
        return None
    snapshot = package.data_snapshot.get_snapshot()
    of = snapshot.timestamp.timestamp() if snapshot.from_auto_update else os.stat(str(package.__file__)).st_mtime
    if of < _FIRST_PACKAGE:  # builds that are to be repeatable set the times of files to one long ago
        return PriceData(package.__version__, None, None)
    moment = to_the_second(of)
    return PriceData(package.__version__, moment, max((at - of) / SECONDS_A_DAY, 0.0))


def _warn_of_age(at: float) -> None:
    """
    Warn once of prices that are too old to be believed.
    """
    global _is_age_reported
    known = None if _is_age_reported else price_data(at)
    if known is not None and known.age_days is not None and known.age_days > MAX_AGE_DAYS:
        _is_age_reported = True
        message = f"the prices of AI calls are {known.age_days:.0f} days old or older: update genai-prices"
        recorder.emit(events.OLD_PRICES.event(message, {"version": known.version, "of": known.of}))
