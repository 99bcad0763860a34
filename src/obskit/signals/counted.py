"""
Signals of what is counted: how often, how many of how many, how long.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from obskit.signals.arithmetic import increase_of, quantile_of
from obskit.signals.derived import Difference, Ratio
from obskit.signals.page import Page, page_in_force
from obskit.signals.samples import LabelPairs, Samples, Series
from obskit.signals.selection import Grouping, Selection, Values, offset_text
from obskit.signals.signal import Signal, number_text
from obskit.signals.units import COUNT, PER_SECOND, SHARE, unit_of
from obskit.signals.windows import Span


@dataclass(frozen=True, eq=False)
class Rise(Signal):
    """
    By how much counters rose in a window, in all or per second.
    """

    selection: Selection
    grouping: Grouping
    span: Span
    per_second: bool = False

    @property
    def unit(self) -> str:
        """
        Return the counter's unit; buckets and counts of histograms are counts.
        """
        unit = COUNT if self.selection.suffix in ("_bucket", "_count") else unit_of(self.selection.metric)
        return unit + PER_SECOND if self.per_second else unit

    @property
    def labels(self) -> tuple[str, ...]:
        """
        Return the labels that are kept.
        """
        return self.grouping.labels

    def spans(self) -> Iterator[Span]:
        """
        Yield the window.
        """
        yield self.span

    def requests(self) -> Signal | None:
        """
        Return the rise itself, where it is one of counts.
        """
        return self.in_all() if self.unit.removesuffix(PER_SECOND) == COUNT else None

    def shifted(self, window: float, offset: float) -> Rise:
        """
        Return the rise in another window.
        """
        return replace(self, span=Span(window, offset))

    def averaged(self) -> Rise:
        """
        Return the rise per second.
        """
        return replace(self, per_second=True)

    def in_all(self) -> Rise:
        """
        Return the rise that is not divided by time.
        """
        return replace(self, per_second=False)

    def judged(self, sign: str, threshold: float) -> tuple[Signal, str, float]:
        """
        Return the comparison; one of whole counts is at the half, since a rise is extrapolated.
        """
        return self, sign, at_the_half(sign, threshold) if self.unit == COUNT else threshold

    def render(self, page: Page) -> str:
        """
        Render the sum of the rises.
        """
        text = f"sum {self.grouping.promql(page)} ({risen_text(self.selection, self.span, page)})"
        return f"{text} / {number_text(self.span.window)}" if self.per_second else text

    def values(self, samples: Samples, at: float) -> Values:
        """
        Sum the rises.
        """
        risen = self.grouping.group(rises(self.selection, self.span, samples, at))
        return {key: value / self.span.window for key, value in risen.items()} if self.per_second else risen


def at_the_half(sign: str, threshold: float) -> float:
    """
    Return where counts are compared, since a rise is extrapolated: more than 5 is more than 5.5.
    """
    if not threshold.is_integer():
        return threshold
    return threshold + (0.5 if sign in (">", "<=") else -0.5)


def risen_text(selection: Selection, span: Span, page: Page) -> str:
    """
    Render by how much each label set rose: from 0 where it appeared in the window, and its target was there before.
    """
    now, before = selection.promql(page, offset=span.offset), selection.promql(page, offset=span.start)
    there = page.heartbeat() + offset_text(span.start)
    appeared = f"({now} unless {before} and on (job, instance) {there})"
    return f"{appeared} or increase({selection.promql(page, span.window, span.offset)})"


def rises(selection: Selection, span: Span, samples: Samples, at: float) -> Iterator[tuple[Series, float | None]]:
    """
    Yield by how much each label set rose: from 0 where it appeared in the window, and samples were taken before.
    """
    end, start = at - span.offset, at - span.start
    was_there = samples.was_sampled(start)
    before = {_identity(series) for series, _ in selection.at(samples, start)} if was_there else set()
    for series in selection.between(samples, start, end):
        is_there = series.times[-1] > end - samples.every
        if was_there and is_there and _identity(series) not in before:
            yield series, series.values[-1]
        else:
            yield series, increase_of(series.times, series.values, start, end)


def _identity(series: Series) -> LabelPairs:
    return tuple(sorted(series.labels.items()))


@dataclass(frozen=True, eq=False)
class First(Signal):
    """
    Counts of kinds that were not there before the window, nor in the time before it that is looked at.
    """

    selection: Selection
    grouping: Grouping
    span: Span
    before_seconds: float

    @property
    def unit(self) -> str:
        """
        Return `count`.
        """
        return COUNT

    @property
    def labels(self) -> tuple[str, ...]:
        """
        Return the labels that a kind is made of.
        """
        return self.grouping.labels

    def spans(self) -> Iterator[Span]:
        """
        Yield nothing: that the target was there before is asked for by the signal itself.
        """
        yield from ()

    def judged(self, sign: str, threshold: float) -> tuple[Signal, str, float]:
        """
        Return the comparison, at the half where it is one of whole numbers.
        """
        return self, sign, at_the_half(sign, threshold)

    def render(self, page: Page) -> str:
        """
        Render the sums of the kinds that are new.
        """
        by, window = self.grouping.promql(page), self.span.window
        before = self.selection.promql(page, self.before_seconds, window)
        there = f"count by (job) ({page.heartbeat()}{offset_text(window)})"
        return (
            f"(sum {by} ({self.selection.promql(page)} > 0)) unless (sum {by} (max_over_time({before}) > 0)) "
            f"and on (job) ({there})"
        )

    def values(self, samples: Samples, at: float) -> Values:
        """
        Sum the kinds that are new.
        """
        start = at - self.span.window
        if not samples.was_sampled(start):
            return {}
        older = self.selection.between(samples, start - self.before_seconds, start)
        known = {self.grouping.key(series) for series in older if max(series.values) > 0}
        now = self.grouping.group(it for it in self.selection.at(samples, at) if it[1] > 0)
        return {key: value for key, value in now.items() if key not in known}


@dataclass(frozen=True, eq=False)
class Quantile(Signal):
    """
    A quantile of a histogram's observations in a window. A comparison with it is one of shares.
    """

    share: float
    selection: Selection
    grouping: Grouping
    span: Span
    fails_by_bound: ClassVar[bool] = True

    @property
    def unit(self) -> str:
        """
        Return the histogram's unit.
        """
        return unit_of(self.selection.metric)

    @property
    def labels(self) -> tuple[str, ...]:
        """
        Return the labels that are kept.
        """
        return self.grouping.labels

    def spans(self) -> Iterator[Span]:
        """
        Yield the window.
        """
        yield self.span

    def requests(self) -> Signal:
        """
        Return the number of observations.
        """
        return Rise(replace(self.selection, suffix="_count"), self.grouping, self.span)

    def shifted(self, window: float, offset: float) -> Quantile:
        """
        Return the quantile over another window.
        """
        return replace(self, span=Span(window, offset))

    def judged(self, sign: str, threshold: float) -> tuple[Signal, str, float]:
        """
        Return the comparison of the share of observations within a bound: exact, whatever lies between bounds.
        """
        self.selection.check_bound(threshold, page_in_force())
        within = Rise(replace(self.selection, bound=threshold), self.grouping, self.span)
        share = Ratio(within, self.requests(), SHARE, needs_part=True, failing=Difference(self.requests(), within))
        return share, "<" if sign in (">", ">=") else ">=", self.share

    def render(self, page: Page) -> str:
        """
        Render the quantile.
        """
        by = self.grouping.promql(page, "le")
        return (
            f"histogram_quantile({number_text(self.share)}, sum {by} ({risen_text(self.selection, self.span, page)}))"
        )

    def values(self, samples: Samples, at: float) -> Values:
        """
        Compute the quantile of each group.
        """
        groups: dict[LabelPairs, dict[float, float]] = {}
        for series, value in rises(self.selection, self.span, samples, at):
            if value is not None:
                counts, bound = groups.setdefault(self.grouping.key(series), {}), float(series.labels.get("le", "nan"))
                counts[bound] = counts.get(bound, 0.0) + value
        found = {key: quantile_of(self.share, counts.items()) for key, counts in groups.items()}
        return {key: value for key, value in found.items() if value is not None}
