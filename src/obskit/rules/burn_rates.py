"""
How fast a budget is used up, and at which paces that is told.

Source: The Site Reliability Workbook, chapter 5, "6: Multiwindow, Multi-Burn-Rate Alerts" (2018).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from obskit.rules.indicators import ALL, BAD, BURN_RATE, OVERLAP, Indicator
from obskit.rules.rule import Severity
from obskit.signals.page import Page
from obskit.signals.samples import Samples
from obskit.signals.selection import Values
from obskit.signals.signal import Signal, number_text
from obskit.signals.units import COUNT, TIMES
from obskit.signals.windows import Span
from obskit.time.durations import duration_text

_HOUR, _DAY = 3600.0, 86_400.0
FOR_SECONDS = 120.0
FEWEST_FAILURES = 5


class Pace(NamedTuple):
    """
    A burn rate that is told of: over both windows, so that an alert ends soon after what it is about.
    """

    times: float
    long_seconds: float
    short_seconds: float
    severity: Severity


# The workbook's, for 30 days: 2 % of the budget in an hour, 5 % in six, 10 % in a day and in three.
PACES = (
    Pace(14.4, _HOUR, 300.0, "critical"),
    Pace(6.0, 6 * _HOUR, 1800.0, "critical"),
    Pace(3.0, _DAY, 2 * _HOUR, "warning"),
    Pace(1.0, 3 * _DAY, 6 * _HOUR, "warning"),
)
WINDOWS_SECONDS = sorted({seconds for pace in PACES for seconds in (pace.long_seconds, pace.short_seconds)})


@dataclass(frozen=True, eq=False)
class BurnRate(Signal):
    """
    How many times faster than allowed the budget is used up: over the longer and the shorter window, whichever is less.
    """

    indicator: Indicator
    long_seconds: float
    short_seconds: float

    @property
    def unit(self) -> str:
        """
        Return `times`.
        """
        return TIMES

    @property
    def labels(self) -> tuple[str, ...]:
        """
        Return nothing.
        """
        return ()

    def spans(self) -> Iterator[Span]:
        """
        Yield nothing: what is recorded has its own guard.
        """
        yield from ()

    def requests(self) -> Signal:
        """
        Return the requests of the longer window.
        """
        return Recorded(self.indicator, ALL, self.long_seconds)

    def failures(self) -> Signal:
        """
        Return the bad requests of the longer window.
        """
        return Recorded(self.indicator, BAD, self.long_seconds)

    def render(self, page: Page) -> str:
        """
        Render the lesser of both, where both are recorded.
        """
        long, short = window_text(self.long_seconds), window_text(self.short_seconds)
        both = self.indicator.recorded(BURN_RATE, page, f'window=~"{long}|{short}"')
        each = [self.indicator.recorded(BURN_RATE, page, f'window="{window}"') for window in (long, short)]
        return f"min by (job) ({both}) and on (job) {each[0]} and on (job) {each[1]}"

    def values(self, samples: Samples, at: float) -> Values:
        """
        Compute the lesser of both.
        """
        found = [self._over(seconds, samples, at) for seconds in (self.long_seconds, self.short_seconds)]
        rates = [rate for rate in found if rate is not None]
        return {(): min(rates)} if len(rates) == len(found) else {}

    def _over(self, seconds: float, samples: Samples, at: float) -> float | None:
        span = Span(seconds)
        if span.is_guarded and not span.is_covered(samples, at):
            return None
        every = self.indicator.all(seconds).values(samples, at).get((), 0.0)
        bad = self.indicator.bad(seconds).values(samples, at).get((), 0.0)
        return bad / every / self.indicator.budget if every > 0 else None


@dataclass(frozen=True, eq=False)
class Recorded(Signal):
    """
    How many requests there were in a window, by the sums that are recorded.
    """

    indicator: Indicator
    name: str
    seconds: float

    @property
    def unit(self) -> str:
        """
        Return `count`.
        """
        return COUNT

    @property
    def labels(self) -> tuple[str, ...]:
        """
        Return nothing.
        """
        return ()

    def spans(self) -> Iterator[Span]:
        """
        Yield nothing: what is recorded has its own guard.
        """
        yield from ()

    def render(self, page: Page) -> str:
        """
        Render the sum of the sums, in which each request is as often as they overlap.
        """
        ranged = f"{self.indicator.recorded(self.name, page)}[{window_text(self.seconds)}]"
        return f"sum by (job) (sum_over_time({ranged})) / {number_text(OVERLAP)}"

    def values(self, samples: Samples, at: float) -> Values:
        """
        Count the requests.
        """
        signal = self.indicator.bad(self.seconds) if self.name == BAD else self.indicator.all(self.seconds)
        return signal.values(samples, at)


def window_text(seconds: float) -> str:
    """
    Return a window as people write it: 30 days are `30d`, and no weeks.
    """
    days, rest = divmod(seconds, _DAY)
    return f"{days:.0f}d" if days and not rest else duration_text(seconds)
