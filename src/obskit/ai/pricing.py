"""
Price what a call used: by the application's own table first, then by what the reply itself says that it cost, then by
the package `genai-prices`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import NamedTuple

from obskit.ai import rates as lists
from obskit.ai.rates import MAX_AGE_DAYS, MTOK, NO_RATES, PriceData, Rates, last_rates, price_data
from obskit.ai.rates import _rates as _rates
from obskit.ai.rates import package as _package  # noqa: F401
from obskit.ai.token_kinds import Usage
from obskit.errors import ConfigurationError

__all__ = ["MAX_AGE_DAYS", "MTOK", "Cost", "Price", "PriceData", "cost", "has_source", "price_data", "source", "use"]

# Of a container in which OpenAI runs code, with 1 GB (its page on prices, 2026-11). How long it lived, and with how
# much memory, is told nowhere: what comes of it is an estimate.
CONTAINER_USD = 0.03
APPLICATION, REPORTED, LIST = "own", "told", "list"


@dataclass(frozen=True)
class Price:
    """
    The price of a model, in dollars per million tokens, and per thousand of what is billed beside them.

    Attributes:
        input: Of tokens that are in no cache.
        output: Reasoning included.
        cache_read: None is the price of input.
        cache_write: None is the price of input.
        cache_write_1h: None is the price of `cache_write`.
        reasoning: None is the price of output.
        audio_input: Of sound; None is the price of input.
        audio_output: None is the price of output.
        image_input: Of pictures; None is the price of input.
        image_output: None is the price of output.
        web_search: Dollars per 1,000; None is what `genai-prices` says of the model, and unknown where it does not.
        file_search: Likewise.
        request: Dollars per 1,000 calls.

    Raises:
        ConfigurationError: One is negative, or no finite number.
    """

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None
    cache_write_1h: float | None = None
    reasoning: float | None = None
    audio_input: float | None = None
    audio_output: float | None = None
    image_input: float | None = None
    image_output: float | None = None
    web_search: float | None = None
    file_search: float | None = None
    request: float = 0.0

    def __post_init__(self) -> None:
        for name, rate in vars(self).items():
            good = isinstance(rate, (int, float)) and not isinstance(rate, bool) and 0 <= rate < float("inf")
            if not good and (rate is not None or name in ("input", "output", "request")):
                raise ConfigurationError(f"Price({name}={rate!r}): expected dollars per million tokens, 0 or more")

    def rates(self) -> Rates:
        """
        Return dollars per token of the kinds that all calls have.
        """
        read = self.input if self.cache_read is None else self.cache_read
        write = self.input if self.cache_write is None else self.cache_write
        hour = write if self.cache_write_1h is None else self.cache_write_1h
        thought = 0.0 if self.reasoning is None else self.reasoning - self.output
        per_token = [rate / MTOK for rate in (self.input, read, write, hour, self.output, thought)]
        return Rates._make((*per_token, self.request / 1000))

    def modal(self, usage: Usage) -> float:
        """
        Return the dollars by which audio and images cost more than text; negative if they cost less.
        """
        usd = 0.0
        for name, text in _TEXT.items():
            rate = getattr(self, name)
            if rate is not None:
                usd += getattr(usage, name) * (rate - getattr(self, text))
        return usd / MTOK


_TEXT = {"audio_input": "input", "image_input": "input", "audio_output": "output", "image_output": "output"}


class Cost(NamedTuple):
    """
    The cost of a call.

    Attributes:
        usd: Dollars; None where that is not known.
        reason: Then why, one of `no_price`, `no_price_data`, `unknown_provider`, `not_by_token`.
        savings_usd: What reads from a cache saved against plain input, less what writes cost on top; may be negative.
    """

    usd: float | None
    reason: str | None = None
    savings_usd: float = 0.0


_application_rates: dict[str, Rates] = {}
_prices: dict[str, Price] = {}


def use(prices: Mapping[str, Mapping[str, float]]) -> None:
    """
    Use the checked setting `prices` from now on, ahead of all other sources.
    """
    _application_rates.clear()
    _prices.clear()
    lists.start_over()
    for model, told in prices.items():
        _prices[model] = Price(**told)
        _application_rates[model] = _prices[model].rates()


def has_source() -> bool:
    """
    Return whether there are any prices: the application's, or those of the package.
    """
    return bool(_application_rates) or find_spec("genai_prices") is not None


def source(model: str, usage: Usage) -> str:
    """
    Return the source of a known cost: `own`, the application's; `told`, the reply's; `list`, the package's.
    """
    if _application_rates and ((usage.model or model) in _application_rates or model in _application_rates):
        return APPLICATION
    return LIST if usage.reported_usd is None else REPORTED


def cost(provider: str, model: str, usage: Usage, at: float, without_parts: bool = False) -> Cost:
    """
    Price a call: by the model that answered, else by the one that was asked.

    Args:
        provider: Who is paid, by OpenTelemetry's names.
        model: As the request named it.
        at: Seconds since the epoch; prices change by the day, and some by the hour.
        without_parts: Leave out what further models used.
    """
    if usage.parts and not without_parts:
        return _cost_of_all(provider, model, usage, at)
    answered = usage.model or model
    read, written = usage.cache_read, usage.cache_write
    rates = (_application_rates.get(answered) or _application_rates.get(model)) if _application_rates else None
    beside = 0.0
    if usage.sparse is not None:  # not all tokens of text, and no more
        if usage.is_free:
            return Cost(0.0)
        if rates is None:
            return _list_cost(provider, answered, model, usage, at)
        found = _fees_beside_tokens(
            _prices[answered if answered in _application_rates else model], provider, model, usage, at
        )
        if found is None:
            return Cost(None, "no_price")
        beside = found
    elif rates is None:
        if provider == "unknown":
            return Cost(None, "unknown_provider")
        # Most calls are like the last one of their model: of the same hours, on the same side of its thresholds.
        start, end, above, upto, rates = last_rates.get((provider, answered, model, usage.tier, usage.speed), NO_RATES)
        if not (start <= at < end and above < usage.input + read + written <= upto):
            looked = lists.rates_for(provider, answered, model, usage, at)
            if isinstance(looked, str):
                return Cost(None, looked)
            rates = looked
    input_rate, read_rate, write_rate, hour_rate, output_rate, thought_rate, request = rates
    caches = 0.0
    if read or written:
        hour = usage.cache_write_1h
        caches = read * read_rate + (written - hour) * write_rate + hour * hour_rate
    usd = usage.input * input_rate + caches + usage.output * output_rate + usage.reasoning * thought_rate + request
    if not usd and not (_application_rates and (answered in _application_rates or model in _application_rates)):
        return _list_cost(provider, answered, model, usage, at)  # free, or of a kind that the list has no price for
    # As Cost(...) does, in one call less: a tenth of all this.
    return tuple.__new__(Cost, (usd + beside, None, (read + written) * input_rate - caches))


def _cost_of_all(provider: str, model: str, usage: Usage, at: float) -> Cost:
    """
    Price a call in which several models answered, where not all of it is in what the reply says that it cost.
    """
    whole = cost(provider, model, usage, at, without_parts=True)
    if usage.reported_usd is None or source(model, usage) == APPLICATION:
        for part in usage.parts:
            if whole.usd is None:
                return whole
            more = cost(provider, part.model or usage.model or model, part, at, without_parts=True)
            if more.usd is None:
                return more
            whole = Cost(whole.usd + more.usd, None, whole.savings_usd + more.savings_usd)
    return whole


def _fees_beside_tokens(price: Price, provider: str, model: str, usage: Usage, at: float) -> float | None:
    """
    Return the fees beside tokens by the application's price, in dollars; None if one is unknown.
    """
    usd = price.modal(usage) + usage.containers * CONTAINER_USD
    for name, rate in (("web_searches", price.web_search), ("file_searches", price.file_search)):
        number = getattr(usage, name)
        if number and rate is not None:
            usd += number * rate / 1000
        elif number:
            fee = lists.fees(provider, usage.model or model, model, Usage(**{name: number}), at)
            if fee is None:
                return None
            usd += fee
    return usd


def _list_cost(provider: str, answered: str, model: str, usage: Usage, at: float) -> Cost:
    """
    Price by what the reply told, else by the package.
    """
    if usage.reported_usd is not None:
        return Cost(usage.reported_usd)
    if provider == "unknown":
        return Cost(None, "unknown_provider")
    found = lists.calculate(provider, answered, model, usage, at)
    return Cost(None, found) if isinstance(found, str) else Cost(found + usage.containers * CONTAINER_USD)
