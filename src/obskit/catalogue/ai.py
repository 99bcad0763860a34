"""
The metrics of AI calls.
"""

from obskit.catalogue.spec import Metric

CALL = ("service", "provider", "model")

REQUESTS = Metric(
    "ai_api_requests_total", "counter", "AI calls, each with all of its attempts.", labels=(*CALL, "status")
)
DURATION = Metric(
    "ai_api_duration_seconds",
    "histogram",
    "Seconds that AI calls took, to the end of the reply or of its stream, retries and their waits included.",
    labels=CALL,
)
FIRST_CHUNK = Metric(
    "ai_time_to_first_chunk_seconds",
    "histogram",
    "Seconds to the first event of a streamed reply.",
    labels=CALL,
    note="Streams only.",
)
TOKENS = Metric(
    "ai_tokens_used_total",
    "counter",
    "Tokens by kind: input, cache_read, cache_write, output. The kinds add up; reasoning is a part of output.",
    labels=(*CALL, "kind"),
)
ESTIMATED_TOKENS = Metric(
    "ai_tokens_estimated_total",
    "counter",
    "Tokens of streams that ended before they told; ai_tokens_used_total does not have them.",
    labels=(*CALL, "kind"),
)
COST = Metric(
    "ai_cost_usd_total",
    "counter",
    "Dollars that AI calls cost, by the route of the request that made them.",
    labels=(*CALL, "endpoint"),
)
ESTIMATED_COST = Metric(
    "ai_cost_estimated_usd_total",
    "counter",
    "Dollars by estimate, of streams that ended before they told; ai_cost_usd_total does not have them.",
    labels=(*CALL, "endpoint"),
)
COST_UNKNOWN = Metric(
    "ai_cost_unknown_total",
    "counter",
    "AI calls whose cost is not known, and why.",
    labels=("service", "model", "reason"),
)
ATTEMPTS = Metric(
    "ai_attempts_total",
    "counter",
    "HTTP requests that AI calls took, by status: ok, an HTTP status, or error.",
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
    "Dollars, estimated ones included, that AI calls cost which failed or were cut short.",
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
    "What a provider's latest reply allows in a period, by kind: requests, tokens, input_tokens, output_tokens.",
    labels=_LIMIT,
    workers="latest",
    note=_LIMIT_NOTE,
)
RATELIMIT_REMAINING = Metric(
    "ai_ratelimit_remaining",
    "gauge",
    "What was left of it when the provider answered.",
    labels=_LIMIT,
    workers="latest",
    note=_LIMIT_NOTE,
)
RATELIMIT_RESET = Metric(
    "ai_ratelimit_reset_seconds",
    "gauge",
    "Seconds from then until all of it is there again.",
    labels=_LIMIT,
    workers="latest",
    note=_LIMIT_NOTE,
)
RATELIMIT_READ = Metric(
    "ai_ratelimit_timestamp_seconds",
    "gauge",
    "When the provider answered, in seconds since the epoch: how old the other figures are.",
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
