"""
Price what a call used: by the application's own table first, then by the package `genai-prices`.

The package is imported at the first call that needs it (0.15 s, 30 MB). Its rates are derived once for each model,
tier, side of a context threshold and day, and multiplied from then on.
"""

from __future__ import annotations

import os
import sys
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, NamedTuple

from obskit.ai.usage import Usage
from obskit.errors import ConfigurationError
from obskit.operation import Event
from obskit.recorder import recorder

MTOK = 1_000_000
SECONDS_A_DAY = 86_400
MAX_RATES = 1024
MAX_AGE_DAYS = 60  # models and prices change every few weeks
_FIRST_PACKAGE = datetime(2025, 1, 1, tzinfo=UTC).timestamp()
# OpenTelemetry's name of a provider -> that of genai-prices, where they differ (0.2.3, 2026-11).
_IDS = {
    "aws.bedrock": "aws",
    "azure.ai.openai": "azure",
    "gcp.gemini": "google",
    "gcp.vertex_ai": "google",
    "mistral_ai": "mistral",
    "x_ai": "x-ai",
}


@dataclass(frozen=True)
class Price:
    """
    Say what a model costs, in dollars per million tokens.

    Attributes:
        input: Of tokens that are in no cache.
        output: Reasoning included.
        cache_read: None is the price of input.
        cache_write: None is the price of input.
        cache_write_1h: None is the price of `cache_write`.

    Raises:
        ConfigurationError: One is negative, or no finite number.
    """

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None
    cache_write_1h: float | None = None

    def __post_init__(self) -> None:
        for name, rate in vars(self).items():
            good = isinstance(rate, (int, float)) and not isinstance(rate, bool) and 0 <= rate < float("inf")
            if not good and (rate is not None or name in ("input", "output")):
                raise ConfigurationError(f"Price({name}={rate!r}): expected dollars per million tokens, 0 or more")


class Cost(NamedTuple):
    """
    Say what a call cost.

    Attributes:
        usd: Dollars; None where that is not known.
        reason: Then why, one of `no_price`, `no_price_data`, `unknown_provider`, `not_by_token`.
        savings_usd: What reads from a cache saved against plain input, less what writes cost on top; may be negative.
    """

    usd: float | None
    reason: str | None = None
    savings_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class PriceData:
    """
    Say which prices are asked where the application has none of its own.

    Attributes:
        version: Of the package `genai-prices`.
        of: The prices are of this moment or before: when the package was installed, or its prices were updated in
            this process. ISO 8601, UTC; None where that cannot be told.
        age_days: At least; None likewise.
    """

    version: str
    of: str | None
    age_days: float | None


class Rates(NamedTuple):
    """
    Hold dollars per token.
    """

    input: float
    cache_read: float
    cache_write: float
    cache_write_1h: float
    output: float


_own: dict[str, Rates] = {}
_is_age_told = False


def use(prices: Mapping[str, Mapping[str, float]]) -> None:
    """
    Ask this table first, from now on: the setting `prices`, as it was checked.
    """
    global _is_age_told
    _own.clear()
    _last.clear()
    _is_age_told = False
    for model, rates in prices.items():
        price = Price(**rates)
        read = price.input if price.cache_read is None else price.cache_read
        write = price.input if price.cache_write is None else price.cache_write
        hour = write if price.cache_write_1h is None else price.cache_write_1h
        _own[model] = Rates(*(rate / MTOK for rate in (price.input, read, write, hour, price.output)))


def has_source() -> bool:
    """
    Tell whether anything says what a model costs: the application's table, or the package.
    """
    return bool(_own) or find_spec("genai_prices") is not None


def cost(provider: str, model: str, usage: Usage, at: float) -> Cost:
    """
    Price a call: by the model that answered, else by the one that was asked.

    Args:
        provider: Who is paid, by OpenTelemetry's names.
        model: As the request named it.
        at: Seconds since the epoch; prices change by the day.
    """
    whole = _cost(provider, model, usage, at)
    for part in usage.parts:
        if whole.usd is None:
            return whole
        more = _cost(provider, part.model or usage.model or model, part, at)
        if more.usd is None:
            return more
        whole = Cost(whole.usd + more.usd, None, whole.savings_usd + more.savings_usd)
    return whole


def _cost(provider: str, model: str, usage: Usage, at: float) -> Cost:
    answered = usage.model or model
    read, written = usage.cache_read, usage.cache_write
    rates = (_own.get(answered) or _own.get(model)) if _own else None
    if rates is None:
        if provider == "unknown":
            return Cost(None, "unknown_provider")
        if usage.web_searches or usage.audio_input or usage.audio_output:  # not all tokens of text
            return _calculated(_IDS.get(provider, provider), answered, usage, at)
        # Most calls are like the last one of their model: of the same day, on the same side of its thresholds.
        start, end, above, upto, rates = _last.get((provider, answered, usage.tier, usage.speed), _NEVER)
        if not (start <= at < end and above < usage.input + read + written <= upto):
            found = _looked_up(provider, answered, usage, at)
            if isinstance(found, str):
                return Cost(None, found)
            rates = found
    input_rate, read_rate, write_rate, hour_rate, output_rate = rates
    caches = 0.0
    if read or written:
        hour = usage.cache_write_1h
        caches = read * read_rate + (written - hour) * write_rate + hour * hour_rate
    usd = usage.input * input_rate + caches + usage.output * output_rate
    # As Cost(...) does, in one call less: a tenth of all this.
    return tuple.__new__(Cost, (usd, None, (read + written) * input_rate - caches))


class _Last(NamedTuple):
    """
    Hold the rates that a model's last call had, and where they hold.
    """

    start: float  # of the day, in seconds since the epoch
    end: float
    above: float  # tokens of input
    upto: float
    rates: Rates


INF = float("inf")
_NEVER = _Last(0.0, 0.0, 0.0, 0.0, Rates(0.0, 0.0, 0.0, 0.0, 0.0))
_last: dict[tuple[str, str, str | None, str | None], _Last] = {}
_rates: dict[tuple[Any, ...], Rates | str] = {}
_thresholds: dict[tuple[str, str], tuple[int, ...]] = {}


def _looked_up(asked: str, model: str, usage: Usage, at: float) -> Rates | str:
    """
    Give the rates of the package, or why there are none.
    """
    provider = _IDS.get(asked, asked)
    total = usage.input + usage.cache_read + usage.cache_write
    bounds = _thresholds.get((provider, model), ())
    day = at // SECONDS_A_DAY
    side = bisect_left(bounds, total)
    found = _rates.get((provider, model, usage.tier, usage.speed, day, side))
    if found is None:
        found = _derived(provider, model, usage, at, max(total, 1))
        bounds = _thresholds.get((provider, model), ())
        side = bisect_left(bounds, total)
        if len(_rates) >= MAX_RATES:
            _rates.clear()
            _last.clear()
        _rates[provider, model, usage.tier, usage.speed, day, side] = found
    if not isinstance(found, str):
        above, upto = (-INF, *bounds)[side], (*bounds, INF)[side]
        start = day * SECONDS_A_DAY
        _last[asked, model, usage.tier, usage.speed] = _Last(start, start + SECONDS_A_DAY, above, upto, found)
    return found


@lru_cache(1)
def _package() -> Any:
    try:
        import genai_prices
    except ImportError:
        return None
    return genai_prices


def price_data(at: float) -> PriceData | None:
    """
    Say how old the package's prices are; None where it is not installed, or no call has needed it so far.
    """
    package = sys.modules.get("genai_prices")
    if package is None:
        return None
    snapshot = package.data_snapshot.get_snapshot()
    of = snapshot.timestamp.timestamp() if snapshot.from_auto_update else os.stat(str(package.__file__)).st_mtime
    if of < _FIRST_PACKAGE:  # builds that are to be repeatable set the times of files to one long ago
        return PriceData(package.__version__, None, None)
    moment = datetime.fromtimestamp(of, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return PriceData(package.__version__, moment, max((at - of) / SECONDS_A_DAY, 0.0))


def _tell_age(at: float) -> None:
    """
    Warn once of prices that are too old to be believed.
    """
    global _is_age_told
    known = None if _is_age_told else price_data(at)
    if known is not None and known.age_days is not None and known.age_days > MAX_AGE_DAYS:
        _is_age_told = True
        message = f"the prices of AI calls are {known.age_days:.0f} days old or older: update genai-prices"
        recorder.emit(Event("ai.old_prices", "WARNING", message, {"version": known.version, "of": known.of}))


def _context(usage: Usage) -> dict[str, str]:
    if usage.tier == "batch":
        return {"processing": "batch"}
    context = {}
    if usage.tier not in (None, "standard", "default", "auto"):
        context["service_tier"] = str(usage.tier)
    if usage.speed not in (None, "standard"):
        context["speed"] = str(usage.speed)
    return context


def _asking(provider: str, model: str, usage: Usage, at: float) -> Callable[..., Any]:
    package = _package()
    moment, context = datetime.fromtimestamp(at, UTC), _context(usage)

    def ask(**tokens: int) -> Any:
        return package.calc_price(
            package.Usage(**tokens),
            model,
            provider_id=provider,
            genai_request_timestamp=moment,
            price_context=context or None,
        )

    return ask


def _derived(provider: str, model: str, usage: Usage, at: float, total: int) -> Rates | str:
    """
    Derive rates by asking what so many tokens of one kind alone would cost; or say why there are none.
    """
    if _package() is None:
        return "no_price_data"
    _tell_age(at)
    ask = _asking(provider, model, usage, at)
    try:
        plain = ask(input_tokens=total)
        _thresholds[provider, model] = _bounds_of(plain.model_price)
        base = plain.total_price
        read = ask(input_tokens=total, cache_read_tokens=total).total_price
        write = ask(input_tokens=total, cache_write_tokens=total, cache_write_5m_tokens=total).total_price
        hour = ask(input_tokens=total, cache_write_tokens=total, cache_write_1h_tokens=total).total_price
        output = ask(input_tokens=total, output_tokens=MTOK).total_price - base
    except LookupError:
        return "no_price"
    except ValueError:
        return "not_by_token"
    if not base and not output and _is_priced(plain.model_price):
        return "not_by_token"  # such as speech, by the hour: by its tokens it would seem free
    per_token = (base / total, read / total, write / total, hour / total, output / MTOK)
    return Rates(*map(float, per_token))


def _bounds_of(price: Any) -> tuple[int, ...]:
    bounds = {tier.start for rate in vars(price).values() for tier in getattr(rate, "tiers", ())}
    return tuple(sorted(bounds))


def _is_priced(price: Any) -> bool:
    return any(rate for rate in vars(price).values() if rate is not None)


def _calculated(provider: str, model: str, usage: Usage, at: float) -> Cost:
    if _package() is None:
        return Cost(None, "no_price_data")
    tokens = {
        "input_tokens": usage.input + usage.cache_read + usage.cache_write,
        "cache_read_tokens": usage.cache_read,
        "cache_write_tokens": usage.cache_write,
        "output_tokens": usage.output,
    }
    if usage.cache_write_1h:
        tokens["cache_write_5m_tokens"] = usage.cache_write - usage.cache_write_1h
        tokens["cache_write_1h_tokens"] = usage.cache_write_1h
    if usage.web_searches:
        tokens["web_searches"] = usage.web_searches
    if usage.audio_input:
        tokens["input_audio_tokens"] = usage.audio_input
    if usage.audio_output:
        tokens["output_audio_tokens"] = usage.audio_output
    try:
        found = float(_asking(provider, model, usage, at)(**tokens).total_price)
    except LookupError:
        return Cost(None, "no_price")
    except (ValueError, TypeError):
        return Cost(None, "not_by_token")
    return Cost(found) if found or not any(tokens.values()) else Cost(None, "not_by_token")
