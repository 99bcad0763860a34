"""
Windows that signals look at.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from obskit.errors import SignalError
from obskit.signals.page import SCRAPE_SECONDS, Page
from obskit.signals.samples import Samples
from obskit.signals.selection import offset_text
from obskit.time.durations import duration_text, seconds_of

# Text such as "5m", as `seconds_of()` reads it.
Duration: TypeAlias = str | timedelta
# A longer window has no value until nine tenths of it are covered, counted at sixty moments.
UNGUARDED_SECONDS, MOMENTS, MOMENTS_NEEDED = 600.0, 60, 54
SHORTEST_SECONDS, LONGEST_SECONDS = 3 * SCRAPE_SECONDS, 31 * 86_400.0


@dataclass(frozen=True)
class Span:
    """
    The window (t - offset - window, t - offset], in seconds.
    """

    window: float
    offset: float = 0.0

    @property
    def start(self) -> float:
        """
        Return how long before t it begins.
        """
        return self.offset + self.window

    @property
    def is_guarded(self) -> bool:
        """
        Return whether it must be covered.
        """
        return self.window > UNGUARDED_SECONDS

    def guard(self, page: Page) -> str:
        """
        Render the condition that it is covered.
        """
        asked = f"[{duration_text(self.window)}:{duration_text(self.window / MOMENTS)}]{offset_text(self.offset)}"
        return f"on (job) (count_over_time((count by (job) ({page.heartbeat()})){asked}) >= {MOMENTS_NEEDED})"

    def is_covered(self, samples: Samples, at: float) -> bool:
        """
        Return whether there were samplings in nine tenths of it.
        """
        step, end = self.window / MOMENTS, at - self.offset
        last = end // step
        moments = (step * (last - place) for place in range(MOMENTS))
        return sum(samples.was_sampled(moment) for moment in moments) >= MOMENTS_NEEDED


def window_seconds(given: Duration, name: str = "window") -> float:
    """
    Return the seconds of a window that samples can fill.
    """
    seconds = seconds_of(given, name)
    if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        raise SignalError(
            f"{name}={given!r}: expected a window from {duration_text(SHORTEST_SECONDS)}, which has three samples, to "
            f"{duration_text(LONGEST_SECONDS)}, beyond which no figures are kept"
        )
    return seconds
