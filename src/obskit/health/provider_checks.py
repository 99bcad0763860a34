"""
Checks of AI providers without a paid call: the key, and how the application's own recent calls went.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from obskit.ai.rate_limit_headers import RateLimit, rate_limits
from obskit.ai.recent_calls import RecentCall, recent_calls
from obskit.errors import HealthCheckError
from obskit.health.outcome import Outcome, Status, failed, skipped, worst
from obskit.recorder import recorder

# Provider -> the variable its SDK reads, and what its keys look like: as their consoles hand them out, November 2026.
_KEYS = {
    "anthropic": ("ANTHROPIC_API_KEY", r"sk-ant-[\w-]{20,}"),
    "openai": ("OPENAI_API_KEY", r"sk-[\w-]{20,}"),
}
NO_FIGURE = "unknown"
MAX_CALLS = 10_000  # of all providers, that a check looks back through: a tenth of a second
# What the request was refused for, and what the application did itself, says nothing of the provider.
_OWN_STATUS = frozenset({400, 404, 405, 409, 413, 415, 422})
_OWN_ERRORS = frozenset(
    {"BudgetExceededError", "CancelledError", "ContentFilterFinishReasonError", "LengthFinishReasonError"}
)


def ai_provider(
    provider: str,
    *,
    key: str | None = None,
    key_variable: str | None = None,
    required: bool = False,
    warn_error_percent: float | None = 10,
    fail_error_percent: float | None = 50,
    min_calls: int = 10,
    window_seconds: float = 300,
    warn_headroom_percent: float | None = 10,
    fail_headroom_percent: float | None = None,
) -> AiProvider:
    """
    Check that there is a key for a provider and that it looks like one, how many of this process's latest calls the
    provider failed, and how much of its rate limits is left. No call is made, and nothing is paid.

    Where too few calls were made, or no reply had a limit that still holds, the figure is `unknown`: no failure.

    Args:
        provider: `anthropic` or `openai`; any other, by its name in the metrics, with `key` or `key_variable`, whose
            key need only be there.
        key: The key itself, where the application does not keep it in a variable. It is never shown.
        key_variable: The variable that holds it. Default: the one that the provider's SDK reads.
        required: Whether a missing key is a failure. By default the check is skipped then: AI is not configured here.
        warn_error_percent, fail_error_percent: From these shares of failed calls; None: never. Requests that were
            refused for what they said (400, 404, ...), cancelled or stopped by a budget are no failures here.
        min_calls: With fewer, the share is unknown: one of two says nothing.
        window_seconds: How far back calls count.
        warn_headroom_percent, fail_headroom_percent: Below these shares of the scarcest limit; None: never. A limit
            that is used up is no failure unless you say so: within a minute it is there again.

    Raises:
        HealthCheckError: The provider is not known and no key is named, or a threshold cannot be.
    """
    if provider not in _KEYS and key is None and key_variable is None:
        raise HealthCheckError(
            f"ai_provider({provider!r}): known are {', '.join(sorted(_KEYS))}; for others give key_variable='...'"
        )
    shares = (warn_error_percent, fail_error_percent, warn_headroom_percent, fail_headroom_percent)
    if not all(share is None or 0 <= share <= 100 for share in shares) or min_calls < 1 or window_seconds <= 0:
        raise HealthCheckError(
            f"ai_provider({provider!r}): percents are 0 to 100, min_calls is 1 or more and window_seconds above 0; "
            f"it was given {shares}, {min_calls} and {window_seconds}"
        )
    variable, pattern = _KEYS.get(provider, ("", r"\S+"))
    return AiProvider(
        provider,
        key_variable or variable,
        pattern,
        key,
        required,
        (warn_error_percent, fail_error_percent),
        min_calls,
        window_seconds,
        (warn_headroom_percent, fail_headroom_percent),
    )


@dataclass(frozen=True)
class AiProvider:
    """
    The check of one provider: its key, and what its latest replies were.
    """

    provider: str
    variable: str
    pattern: str
    key: str | None = field(repr=False)
    required: bool
    error_percents: tuple[float | None, float | None]
    min_calls: int
    window_seconds: float
    headroom_percents: tuple[float | None, float | None]
    is_dependency = True

    def __call__(self) -> Outcome:
        key = self.key if self.key is not None else os.environ.get(self.variable, "")
        details: dict[str, Any] = {"provider": self.provider}
        if not key:
            return failed("no key", **details) if self.required else skipped("no key", **details)
        if not re.fullmatch(self.pattern, key):
            return failed("the key is not well formed", **details)
        found = [*self._errors(details), *self._headroom(details)]
        status = worst(*(judged for judged, _ in found))
        return Outcome(status, "; ".join(reason for judged, reason in found if judged != "pass") or None, details)

    def _errors(self, details: dict[str, Any]) -> Iterator[tuple[Status, str]]:
        begin = recorder.wall_clock() - self.window_seconds
        recent = [
            row
            for row in recent_calls.rows(MAX_CALLS)
            if row.at >= begin and row.is_call and row.labels.provider == self.provider
        ]
        judged = [row for row in recent if not _is_own_fault(row)]
        details["calls"] = len(recent)
        details["window_seconds"] = self.window_seconds
        details["error_percent"] = NO_FIGURE
        if len(judged) >= self.min_calls:
            errors = sum(row.is_error for row in judged)
            percent = 100 * errors / len(judged)
            details["error_percent"] = round(percent, 1)
            warn, fail = self.error_percents
            reason = f"{errors} of the last {len(judged)} calls failed"
            if fail is not None and percent >= fail:
                yield "fail", reason
            elif warn is not None and percent >= warn:
                yield "warn", reason

    def _headroom(self, details: dict[str, Any]) -> Iterator[tuple[Status, str]]:
        reported = [limit for limit in rate_limits(self.provider) if limit.headroom is not None]
        scarcest = min(reported, key=_headroom_of, default=None)
        details["headroom_percent"] = NO_FIGURE
        if scarcest is not None:
            percent = 100 * _headroom_of(scarcest)
            details["headroom_percent"] = round(percent, 1)
            details["headroom_of"] = f"{scarcest.kind} of {scarcest.model}"
            details["headroom_age_seconds"] = round(scarcest.age_seconds, 1)
            warn, fail = self.headroom_percents
            reason = f"{scarcest.remaining} of {scarcest.limit} {scarcest.kind.replace('_', ' ')} are left"
            if fail is not None and percent < fail:
                yield "fail", reason
            elif warn is not None and percent < warn:
                yield "warn", reason


def _headroom_of(limit: RateLimit) -> float:
    return limit.headroom or 0.0


def _is_own_fault(row: RecentCall) -> bool:
    return row.is_error and (row.status in _OWN_STATUS or row.labels.error in _OWN_ERRORS)
