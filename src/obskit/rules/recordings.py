"""
What Prometheus records for objectives.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from obskit.rules.burn_rates import WINDOWS_SECONDS, window_text
from obskit.rules.indicators import (
    ALL,
    BAD,
    BUDGET_LEFT,
    BURN_RATE,
    COVERED,
    EVERY_SECONDS,
    WINDOW_SECONDS,
)
from obskit.rules.objectives import Objective
from obskit.signals.page import Page
from obskit.signals.signal import number_text


class Recording(NamedTuple):
    """
    A rule that records a figure.
    """

    name: str
    expression: str
    labels: dict[str, str]


def recordings(objective: Objective, page: Page) -> Iterator[Recording]:
    """
    Yield what Prometheus records for an objective, in the order in which it is used.
    """
    for it in objective.indicators:
        # While the target is there, nothing was asked for: 0, and not unknown.
        idle = f"count by (job) ({page.heartbeat()}) * 0"
        yield Recording(BAD, f"({it.bad().render(page)}) or {idle}", it.labels)
        yield Recording(ALL, f"({it.all().render(page)}) or {idle}", it.labels)
    for it in objective.indicators:
        bad, every = it.recorded(BAD, page), it.recorded(ALL, page)
        for seconds in WINDOWS_SECONDS:
            text = window_text(seconds)
            share = f"{_summed(bad, seconds)} / ({_summed(every, seconds)} > 0) / {number_text(it.budget)}"
            yield Recording(BURN_RATE, share + _covered(every, seconds), {**it.labels, "window": text})
        text = window_text(objective.window_seconds)
        used = f"{_summed(bad, objective.window_seconds)} / ({_summed(every, objective.window_seconds)} > 0)"
        labels = {**it.labels, "window": text}
        yield Recording(BUDGET_LEFT, f"1 - {used} / {number_text(it.budget)}", labels)
        yield Recording(COVERED, f"count_over_time({every}[{text}]) * {number_text(EVERY_SECONDS)}", labels)


def _summed(selector: str, seconds: float) -> str:
    return selector if seconds == WINDOW_SECONDS else f"sum_over_time({selector}[{window_text(seconds)}])"


def _covered(selector: str, seconds: float) -> str:
    if seconds == WINDOW_SECONDS:
        return ""
    least = number_text(0.9 * seconds / EVERY_SECONDS)
    return f" and count_over_time({selector}[{window_text(seconds)}]) >= {least}"
