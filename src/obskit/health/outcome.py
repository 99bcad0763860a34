"""
What a check can find.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from obskit.time.clock import clock

Status: TypeAlias = Literal["pass", "skipped", "warn", "fail"]
STATUSES: tuple[Status, ...] = ("pass", "skipped", "warn", "fail")
_BADNESS = {"pass": 0, "skipped": 0, "warn": 1, "fail": 2}


# From here on a dependency that answers is slow: a warning, so that it is not taken out of service.
WARN_MS = 1000.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What one run of a check found.

    Attributes:
        status: `pass`, `warn`, `fail`, or `skipped`: there was nothing to ask.
        reason: Why it is not `pass`, in a few words; for the authorised and the log.
        details: Figures and names, for the same.
    """

    status: Status = "pass"
    reason: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


def passed(**details: Any) -> Outcome:
    """
    Return a pass, with figures for the authorised.
    """
    return Outcome("pass", None, details)


def warned(reason: str, **details: Any) -> Outcome:
    """
    Return a warning, for an operator to look into: probes still get 200.
    """
    return Outcome("warn", reason, details)


def failed(reason: str, **details: Any) -> Outcome:
    """
    Return a failure, where there is nothing to raise.
    """
    return Outcome("fail", reason, details)


def skipped(reason: str, **details: Any) -> Outcome:
    """
    Return that there is nothing to check, as for a service that is not configured here: probes get 200, the body says
    so, and the component has no figure on the metrics page.
    """
    return Outcome("skipped", reason, details)


def judged(answer: Any) -> Outcome:
    """
    Return the outcome for what a check returned: an `Outcome`, a status, details, `False`; anything else is a pass.
    """
    if isinstance(answer, Outcome):
        return answer
    if answer is False:
        return Outcome("fail", "answered False")
    if isinstance(answer, str) and answer in STATUSES:
        return Outcome(answer, None if answer == "pass" else "answered " + answer)
    return Outcome("pass", None, answer if isinstance(answer, Mapping) else {})


def limited(figure: float, warn: float | None, fail: float | None, what: str, **details: Any) -> Outcome:
    """
    Return the outcome for a figure that is worse the higher it is.

    Args:
        figure: What was measured.
        warn: From here up it is a warning; None: never.
        fail: From here up it is a failure; None: never.
        what: What is measured, for the reason.
    """
    for status, limit in (("fail", fail), ("warn", warn)):
        if limit is not None and figure >= limit:
            return Outcome("fail" if status == "fail" else "warn", f"{what} is {figure:g}, limit {limit:g}", details)
    return Outcome("pass", None, details)


def with_time(outcome: Outcome, seconds: float, warn_ms: float | None) -> Outcome:
    """
    Return a warning in place of a pass that took `warn_ms` or longer.
    """
    if outcome.status != "pass" or warn_ms is None or seconds * 1000 < warn_ms:
        return outcome
    return Outcome("warn", f"took {seconds * 1000:.0f} ms, limit {warn_ms:g}", outcome.details)


def milliseconds_since(began: float) -> float:
    """
    Return the milliseconds since this `clock.monotonic()`, to the microsecond.
    """
    return round((clock.monotonic() - began) * 1000, 3)


def worst(*statuses: Status) -> Status:
    """
    Return the worst status; of none, `pass`.
    """
    return max(statuses, key=_BADNESS.__getitem__, default="pass")
