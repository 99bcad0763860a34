"""
What objectives count: requests, and those of them that are bad; and how that is recorded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from obskit.catalogue import Metric, http
from obskit.errors import SignalError
from obskit.signals.counted import Rise
from obskit.signals.derived import Difference
from obskit.signals.matching import Matcher, quoted
from obskit.signals.page import Page
from obskit.signals.selection import Grouping, Selection
from obskit.signals.signal import Signal
from obskit.signals.windows import Span

# Sums over this window are recorded this often; each request is in so many of them.
WINDOW_SECONDS, EVERY_SECONDS = 300.0, 60.0
OVERLAP = WINDOW_SECONDS / EVERY_SECONDS
BAD, ALL = "obskit:objective_bad:increase5m", "obskit:objective_all:increase5m"
BURN_RATE, BUDGET_LEFT, COVERED = (f"obskit:objective:{it}" for it in ("burn_rate", "budget_left", "covered_seconds"))


@dataclass(frozen=True)
class Indicator:
    """
    What an objective counts: requests, and those of them that are bad.

    Attributes:
        objective: The objective's name.
        kind: `availability` or `latency`.
        target: The share that must be well.
        bound: Seconds within which a request must be answered; None where its status counts.
        endpoints: Whose requests; none are all.
    """

    objective: str
    kind: str
    target: float
    bound: float | None
    endpoints: tuple[str, ...]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """
        Return what it is counted by.
        """
        return (http.REQUESTS,) if self.bound is None else (http.DURATION,)

    @property
    def budget(self) -> float:
        """
        Return the share that may be bad.
        """
        return round(1.0 - self.target, 12)

    def missing(self, page: Page) -> str:
        """
        Return why a page does not tell it; nothing where it does.
        """
        try:
            self.bad().promql(page)
            self.all().promql(page)
        except SignalError as error:
            return str(error)
        return ""

    def all(self, window: float = WINDOW_SECONDS, offset: float = 0.0) -> Rise:
        """
        Return how many requests there were.
        """
        if self.bound is None:
            return Rise(Selection(http.REQUESTS, where=self._where), Grouping(http.REQUESTS, ()), Span(window, offset))
        selection = Selection(http.DURATION, "_count", self._where)
        return Rise(selection, Grouping(http.DURATION, ()), Span(window, offset))

    def bad(self, window: float = WINDOW_SECONDS) -> Signal:
        """
        Return how many of them were bad. A client that left, by 499 or in the middle of a reply, is not.
        """
        if self.bound is None:
            failed = (*self._where, ("status", Matcher("5..", is_pattern=True)))
            return Rise(Selection(http.REQUESTS, where=failed), Grouping(http.REQUESTS, ()), Span(window))
        within = Selection(http.DURATION, "_bucket", self._where, self.bound)
        return Difference(self.all(window), Rise(within, Grouping(http.DURATION, ()), Span(window)))

    @property
    def _where(self) -> tuple[tuple[str, Matcher], ...]:
        if not self.endpoints:
            return ()
        if len(self.endpoints) == 1:
            return (("endpoint", Matcher(self.endpoints[0])),)
        return (("endpoint", Matcher("|".join(map(re.escape, self.endpoints)), is_pattern=True)),)

    @property
    def labels(self) -> dict[str, str]:
        """
        Return the labels of what is recorded of it.
        """
        return {"kind": self.kind, "objective": self.objective}

    def recorded(self, name: str, page: Page, *matchers: str) -> str:
        """
        Return a selector of what is recorded of it.
        """
        return page.selector(name, *(f"{label}={quoted(text)}" for label, text in self.labels.items()), *matchers)
