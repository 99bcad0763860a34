"""
The metrics of AI calls.
"""

from obskit.catalogue.spec import Metric

CALL = ("service", "provider", "model")

REQUESTS = Metric(
    "ai_api_requests_total", "counter", "AI calls; retries of one call count once.", labels=(*CALL, "status")
)
DURATION = Metric(
    "ai_api_duration_seconds",
    "histogram",
    "Duration of AI calls in seconds, to the end of the reply or stream, retries and their waits included.",
    labels=CALL,
)
FIRST_CHUNK = Metric(
    "ai_time_to_first_chunk_seconds",
    "histogram",
    "Seconds to the first event of a streamed AI reply.",
    labels=CALL,
    note="Streams only.",
)
TOKENS = Metric(
    "ai_tokens_used_total",
    "counter",
    "Tokens by kind: input, cache_read, cache_write, output. The kinds add up; reasoning is a part of output.",
    labels=(*CALL, "kind"),
    unit="tokens",
)
ESTIMATED_TOKENS = Metric(
    "ai_tokens_estimated_total",
    "counter",
    "Estimated tokens of streams that ended without usage; not in ai_tokens_used_total.",
    labels=(*CALL, "kind"),
    unit="tokens",
)
COST = Metric(
    "ai_cost_usd_total",
    "counter",
    "Cost of AI calls in US dollars, by the route of the request that made them.",
    labels=(*CALL, "endpoint"),
)
ESTIMATED_COST = Metric(
    "ai_cost_estimated_usd_total",
    "counter",
    "Estimated cost in US dollars of streams that ended without usage; not in ai_cost_usd_total.",
    labels=(*CALL, "endpoint"),
)
COST_UNKNOWN = Metric(
    "ai_cost_unknown_total",
    "counter",
    "AI calls of unknown cost, by reason.",
    labels=("service", "model", "reason"),
)
ATTEMPTS = Metric(
    "ai_attempts_total",
    "counter",
    "HTTP attempts of AI calls, by status: ok, an HTTP status, or error.",
    labels=("service", "provider", "status"),
)
RETRY_WAIT = Metric(
    "ai_retry_wait_seconds_total",
    "counter",
    "Seconds that AI calls waited between attempts.",
    labels=("service", "provider"),
)
WASTED = Metric(
    "ai_wasted_cost_usd_total",
    "counter",
    "Cost in US dollars, estimates included, of AI calls that failed or were aborted.",
    labels=("service", "provider", "reason"),
)
SAVINGS = Metric(
    "ai_cache_savings_usd_total",
    "counter",
    "Dollars that reads from a provider's cache saved; what its writes cost on top is taken off, call by call, down "
    "to 0.",
    labels=("service", "provider"),
)
_LIMIT = ("provider", "kind")
_LIMIT_NOTE = "Where the provider's replies say it."
RATELIMIT_LIMIT = Metric(
    "ai_ratelimit_limit",
    "gauge",
    "Rate limit from the provider's latest reply, by kind: requests, tokens, input_tokens, output_tokens.",
    labels=_LIMIT,
    workers="latest",
    unit="count",
    note=_LIMIT_NOTE,
)
RATELIMIT_REMAINING = Metric(
    "ai_ratelimit_remaining",
    "gauge",
    "What was left of the rate limit at the provider's latest reply.",
    labels=_LIMIT,
    workers="latest",
    unit="count",
    note=_LIMIT_NOTE,
)
RATELIMIT_RESET = Metric(
    "ai_ratelimit_reset_seconds",
    "gauge",
    "Seconds from the provider's latest reply until its rate limit is full again.",
    labels=_LIMIT,
    workers="latest",
    note=_LIMIT_NOTE,
)
RATELIMIT_READ = Metric(
    "ai_ratelimit_timestamp_seconds",
    "gauge",
    "Time of the provider's latest reply with rate limits, in seconds since the epoch.",
    labels=_LIMIT,
    workers="latest",
    note=_LIMIT_NOTE,
)

METRICS = (
    REQUESTS,
    DURATION,
    FIRST_CHUNK,
    TOKENS,
    ESTIMATED_TOKENS,
    COST,
    ESTIMATED_COST,
    COST_UNKNOWN,
    ATTEMPTS,
    RETRY_WAIT,
    WASTED,
    SAVINGS,
    RATELIMIT_LIMIT,
    RATELIMIT_REMAINING,
    RATELIMIT_RESET,
    RATELIMIT_READ,
)
