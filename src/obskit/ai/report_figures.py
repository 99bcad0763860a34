"""
The figures of a report on AI calls.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from obskit.ai.advice import Recommendation
from obskit.ai.pricing import PriceData


@dataclass(frozen=True, slots=True)
class Spread:
    """
    The exact distribution of one figure over calls.

    Attributes:
        count: Of how many calls the figure is known.
        mean, min, max: Of them.
        p50, p95, p99: The smallest figures that this percentage of them does not exceed.
    """

    count: int
    mean: float
    min: float
    p50: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class CallGroup:
    """
    Totals of calls with a common label.

    Attributes:
        name: What they have in common; `(none)` for those that have none of it, `(others)` for the groups that are
            not listed.
        calls: How many.
        errors: Of them.
        success_rate: 0 to 1.
        tokens: As the providers told, by `input`, `cache_read`, `cache_write` and `output`, which add up.
        estimated_tokens: Likewise, of streams that ended before they told.
        cost_usd: Dollars, without estimates; None where not one call's is known.
        cost_by_source: `cost_usd` by whose word it is: `own`, of the setting `prices`; `told`, by the provider or the
            gateway in its replies; `list`, of `genai-prices`.
        estimated_cost_usd: Dollars, of streams that ended before they told.
        unknown_cost_calls: Calls that are in neither.
        seconds: How long calls took, failed ones included; None where there were none.
        tokens_per_call: Of the calls in `tokens`, all kinds together; None where there were none.
        cost_usd_per_call: Of the calls in `cost_usd`; None where there were none.
    """

    name: str
    calls: int
    errors: int
    success_rate: float
    tokens: dict[str, int]
    estimated_tokens: dict[str, int]
    cost_usd: float | None
    cost_by_source: dict[str, float]
    estimated_cost_usd: float
    unknown_cost_calls: int
    seconds: Spread | None
    tokens_per_call: Spread | None
    cost_usd_per_call: Spread | None

    @property
    def all_tokens(self) -> int:
        """
        Add up the tokens that providers told.
        """
        return sum(self.tokens.values())


@dataclass(frozen=True, slots=True)
class FailedCall:
    """
    One call that failed, without its message.

    Attributes:
        at: UTC, ISO 8601.
        error: Class of the exception, or the provider's name for what ended a stream.
        status: HTTP status of the last answer; None where there was none.
        cost_usd: That was billed all the same, estimates included; None where that is not known.
    """

    at: str
    service: str
    provider: str
    model: str
    endpoint: str
    error: str
    status: int | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Projection:
    """
    The projected cost of this calendar month (UTC), estimates included.

    Attributes:
        month_usd: What was counted of this month, and for the rest of it, and for what this process did not see, the
            rate of the last 7 days. None where `status` is not `ok`.
        per_day_usd: That rate.
        days: Of how many days it is the rate.
        status: `ok`; `too early` with less than a day of data; `unknown` where the cost of no call is known.
    """

    month_usd: float | None
    per_day_usd: float | None
    days: float
    status: str


@dataclass(frozen=True, slots=True)
class AiFigures:
    """
    The fields of `AiReport`.
    """

    made_at: str
    hours: float
    known_since: str
    is_complete: bool
    is_of_all_workers: bool
    total: CallGroup
    by_service: tuple[CallGroup, ...]
    by_model: tuple[CallGroup, ...]
    by_route: tuple[CallGroup, ...]
    by_feature: tuple[CallGroup, ...]
    by_user: tuple[CallGroup, ...]
    by_day: tuple[CallGroup, ...]
    by_day_and_model: dict[str, tuple[CallGroup, ...]]
    seconds: Spread | None
    first_chunk_seconds: Spread | None
    output_tokens_per_second: float | None
    cache_savings_usd: float
    wasted_usd: dict[str, float]
    unknown_cost: dict[str, int]
    maybe_billed_calls: int
    retries: int
    retry_wait_seconds: float
    projection: Projection
    price_data: PriceData | None
    recent_errors: tuple[FailedCall, ...]
    recommendations: tuple[Recommendation, ...]
    conclusion: str

    def to_dict(self) -> dict[str, Any]:
        """
        Return the fields as dictionaries and lists that are ready for JSON.
        """
        return asdict(self)

    def to_json(self, *, indent: int | None = None) -> str:
        """
        Return the fields as one JSON object.
        """
        return json.dumps(self.to_dict(), indent=indent)
