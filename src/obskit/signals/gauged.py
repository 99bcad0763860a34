"""
Signals of gauges: what they are, how long ago they say something was, how they grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from obskit.errors import SignalError
from obskit.signals.arithmetic import forecast_of, slope_of
from obskit.signals.page import Page
from obskit.signals.samples import Samples
from obskit.signals.selection import Grouping, Selection, Values
from obskit.signals.signal import Signal, number_text
from obskit.signals.units import SECONDS, unit_of
from obskit.signals.windows import Span

# How the series of a group are combined, by how a gauge's row says that workers are.
_COMBINED: dict[str, tuple[str, Callable[[Iterable[float]], float]]] = {
    "sum": ("sum", sum),
    "min": ("min", min),
    "max": ("max", max),
    "latest": ("max", max),
}


@dataclass(frozen=True, eq=False)
class Level(Signal):
    """
    What gauges are at a moment.
    """

    selection: Selection
    grouping: Grouping

    @property
    def unit(self) -> str:
        """
        Return the gauge's unit.
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
        Yield nothing.
        """
        yield from ()

    def render(self, page: Page) -> str:
        """
        Render the gauges, combined as those of workers are.
        """
        name, _ = _COMBINED[self.selection.metric.workers]
        return f"{name} {self.grouping.promql(page)} ({self.selection.promql(page)})"

    def values(self, samples: Samples, at: float) -> Values:
        """
        Combine the gauges that are there.
        """
        _, combine = _COMBINED[self.selection.metric.workers]
        return self.grouping.group(self.selection.at(samples, at), combine)


@dataclass(frozen=True, eq=False)
class _OfMoments(Signal):
    """
    How far the moments are that gauges hold; 0 there is none.
    """

    selection: Selection
    grouping: Grouping

    @property
    def unit(self) -> str:
        """
        Return `seconds`.
        """
        return SECONDS

    @property
    def labels(self) -> tuple[str, ...]:
        """
        Return the labels that are kept.
        """
        return self.grouping.labels

    def spans(self) -> Iterator[Span]:
        """
        Yield nothing.
        """
        yield from ()


@dataclass(frozen=True, eq=False)
class Age(_OfMoments):
    """
    How long ago the latest of the moments is that gauges hold; 0 there is none yet.
    """

    def render(self, page: Page) -> str:
        """
        Render the time since the latest moment.
        """
        return f"time() - max {self.grouping.promql(page)} ({self.selection.promql(page)} > 0)"

    def values(self, samples: Samples, at: float) -> Values:
        """
        Compute the time since the latest moment.
        """
        latest = self.grouping.group((it for it in self.selection.at(samples, at) if it[1] > 0), max)
        return {key: at - moment for key, moment in latest.items()}


@dataclass(frozen=True, eq=False)
class TimeLeft(_OfMoments):
    """
    How long it is until the first of the moments that gauges hold; 0 there is none, and one that is over is below 0.
    """

    def render(self, page: Page) -> str:
        """
        Render the time to the first moment.
        """
        return f"min {self.grouping.promql(page)} ({self.selection.promql(page)} > 0) - time()"

    def values(self, samples: Samples, at: float) -> Values:
        """
        Compute the time to the first moment.
        """
        first = self.grouping.group((it for it in self.selection.at(samples, at) if it[1] > 0), min)
        return {key: moment - at for key, moment in first.items()}


@dataclass(frozen=True, eq=False)
class Growth(Signal):
    """
    By how much gauges grow in a window, along the straight line that fits best.
    """

    selection: Selection
    grouping: Grouping
    span: Span

    @property
    def unit(self) -> str:
        """
        Return the gauge's unit.
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

    def averaged(self) -> Signal:
        """
        Refuse: a gauge may have fallen before, and then there is nothing that it grows twice as fast as.
        """
        raise SignalError("growth() may have been below 0 before: there is no such factor; compare it with a threshold")

    def render(self, page: Page) -> str:
        """
        Render the sum of the growths.
        """
        ranged = self.selection.promql(page, self.span.window, self.span.offset)
        return f"sum {self.grouping.promql(page)} (deriv({ranged})) * {number_text(self.span.window)}"

    def values(self, samples: Samples, at: float) -> Values:
        """
        Sum the growths.
        """
        found = self.selection.between(samples, at - self.span.start, at - self.span.offset)
        slopes = self.grouping.group((series, slope_of(series.times, series.values)) for series in found)
        return {key: slope * self.span.window for key, slope in slopes.items()}


@dataclass(frozen=True, eq=False)
class Forecast(Signal):
    """
    What gauges will be some time from now, along the straight line that fits a window best.
    """

    selection: Selection
    grouping: Grouping
    span: Span
    ahead_seconds: float

    @property
    def unit(self) -> str:
        """
        Return the gauge's unit.
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

    def render(self, page: Page) -> str:
        """
        Render the sum of the forecasts.
        """
        ranged = self.selection.promql(page, self.span.window, self.span.offset)
        return f"sum {self.grouping.promql(page)} (predict_linear({ranged}, {number_text(self.ahead_seconds)}))"

    def values(self, samples: Samples, at: float) -> Values:
        """
        Sum the forecasts.
        """
        found = self.selection.between(samples, at - self.span.start, at - self.span.offset)
        then = at + self.ahead_seconds
        return self.grouping.group((series, forecast_of(series.times, series.values, then)) for series in found)
