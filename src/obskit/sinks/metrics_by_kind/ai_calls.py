"""
Metrics of AI calls, and of the providers' rate limits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from obskit.ai.ai_operation import AiOperation
from obskit.ai.budget_book import budget_book
from obskit.ai.rate_limit_headers import KINDS, LimitFigures, latest_rate_limits
from obskit.catalogue import ai, budgets
from obskit.metrics.family import Counter
from obskit.operation import OTHER
from obskit.recorder import Step
from obskit.sinks.metrics_by_kind.binding import Binding

# An application may let its users name models; every other label of AI calls is bounded by its code.
MAX_MODELS = 50
# What lies in `sparse` and has a metric: a call in a trace has its ids there, and most have nothing of this.
_SPARSE_WITH_METRICS = frozenset(("error", "failed_attempts", "retry_wait_seconds", "aborted", "first_chunk_seconds"))
_TOKEN_KINDS = ("input", "cache_read", "cache_write", "output")
# Figures that are not in the gauges yet, by provider and kind, with the moment of their reply.
PendingLimits = dict[tuple[str, int], tuple[LimitFigures, float]]


class _Models(dict[str, str]):
    """
    The label `model`: the first MAX_MODELS models have their own, all others share one.
    """

    def __missing__(self, model: str) -> str:
        if len(self) >= MAX_MODELS:
            return OTHER
        self[model] = model
        return model


def bind_calls(binding: Binding) -> tuple[None, Step]:
    """
    Return the step at a call's end.
    """
    buckets = binding.settings.ai_buckets
    duration = binding.histogram(ai.DURATION, buckets)
    first_chunk = binding.histogram(ai.FIRST_CHUNK, buckets)
    requests, attempts = binding.counter(ai.REQUESTS), binding.counter(ai.ATTEMPTS)
    tokens, cost = binding.counter(ai.TOKENS), binding.counter(ai.COST)
    estimated_tokens, estimated_cost = binding.counter(ai.ESTIMATED_TOKENS), binding.counter(ai.ESTIMATED_COST)
    unknown, rest, saved = binding.counter(ai.COST_UNKNOWN), _rest(binding, attempts), binding.counter(ai.SAVINGS)
    failed, models = binding.recorder.failed, _Models()
    blocked = binding.counter(budgets.BLOCKED)
    budget_book.blocked.subscribe(lambda name, calls: blocked.cell((name,)).inc(calls))
    latest_rate_limits.on_reply = _rate_limits(binding)
    binding.at_close.append(_show_no_limits)

    def finish(op: AiOperation) -> None:
        try:
            service, provider, model = key = (op.service, op.provider, models[op.model])
            sparse = op.sparse or {}
            is_call = op.is_call  # else it only reports the usage of an earlier call
            if is_call:
                duration.cell(key).observe(op.duration_seconds)
                requests.cell((*key, op.outcome)).inc()
            used, estimated = op.tokens, sparse.get("estimated", False)
            if used is not None:
                family = estimated_tokens if estimated else tokens
                for kind, count in zip(_TOKEN_KINDS, used.tokens(), strict=True):
                    if count:
                        family.cell((*key, kind)).inc(count)
            if op.cost_usd is None:
                unknown.cell((service, model, op.cost_reason or "unknown")).inc()
            elif op.cost_usd:
                (estimated_cost if estimated else cost).cell((*key, op.endpoint)).inc(op.cost_usd)
            if op.attempts and is_call and sparse.get("error") is None:
                attempts.cell((service, provider, "ok")).inc()
            if op.savings_usd > 0 and is_call:
                saved.cell((service, provider)).inc(op.savings_usd)
            if sparse and is_call:
                if not _SPARSE_WITH_METRICS.isdisjoint(sparse):
                    if op.first_chunk_seconds is not None:
                        first_chunk.cell(key).observe(op.first_chunk_seconds)
                    rest(op)
                if op.sampled:
                    duration.record_exemplar(key, op.duration_seconds, op.trace_id, binding.recorder.wall_clock())
        except Exception as error:
            failed("metrics", error)

    return None, finish


def _rest(binding: Binding, attempts: Counter) -> Callable[[AiOperation], None]:
    """
    Create the families of what few calls have; return the function that updates them.
    """
    waited, wasted = binding.counter(ai.RETRY_WAIT), binding.counter(ai.WASTED)

    def rest(op: AiOperation) -> None:
        key = (op.service, op.provider)
        for status in op.failed_attempts:
            attempts.cell((*key, status)).inc()
        if op.error is not None and op.attempts:
            code = op.status_code or 0
            attempts.cell((*key, str(code) if code >= 400 else "error")).inc()
        if op.retry_wait_seconds:
            waited.cell(key).inc(op.retry_wait_seconds)
        if op.cost_usd and (op.error is not None or op.aborted is not None):
            wasted.cell((*key, op.aborted or "error")).inc(op.cost_usd)

    return rest


def _rate_limits(binding: Binding) -> Callable[[str, Mapping[int, LimitFigures], float], None]:
    """
    Create the gauges of rate limits; return the function that takes each reply's. Where other workers read them it
    sets them at once, else the next scrape does.
    """
    workers = binding.workers
    latest: PendingLimits = {}
    limit, remaining = binding.gauge(ai.RATELIMIT_LIMIT), binding.gauge(ai.RATELIMIT_REMAINING)
    reset, read = binding.gauge(ai.RATELIMIT_RESET), binding.gauge(ai.RATELIMIT_READ)

    def show(told_of: tuple[str, int], row: LimitFigures, at: float) -> None:
        provider, kind = told_of
        key = provider, KINDS[kind]
        allowed, left, moment = row
        if allowed is not None:
            limit.cell(key).set(allowed)
        if left is not None:
            remaining.cell(key).set(left)
        if moment is not None:
            reset.cell(key).set(max(moment - at, 0.0))
        read.cell(key).set(at)

    def told(provider: str, figures: Mapping[int, LimitFigures], at: float) -> None:
        workers.resolve()
        are_shared = workers.are_shared
        for kind, row in figures.items():
            key = provider, kind
            if are_shared:
                show(key, row, at)
            elif None in row and key in latest:  # write what this reply does not report first
                show(key, *latest[key])
                latest[key] = row, at
            else:
                latest[key] = row, at

    def refresh() -> None:
        for key, (row, at) in latest.copy().items():
            show(key, row, at)

    binding.collector.refresh.append(refresh)
    binding.in_child.append(latest.clear)
    return told


def _show_no_limits() -> None:
    latest_rate_limits.on_reply = None
