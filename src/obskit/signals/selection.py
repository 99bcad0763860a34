"""
Which series of a metric a signal is made of, and how their values are grouped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from obskit.catalogue import Metric, system
from obskit.errors import SignalError
from obskit.metrics.family_renderer import go_float
from obskit.signals.matching import Matcher
from obskit.signals.page import Page
from obskit.signals.samples import LabelPairs, Samples, Series
from obskit.time.durations import duration_text

# A figure by label set; the pairs are sorted by name.
Values: TypeAlias = dict[LabelPairs, float]


@dataclass(frozen=True)
class Selection:
    """
    The series of a metric.

    Attributes:
        metric: Its row.
        suffix: `_bucket`, `_sum` or `_count` of a histogram, else nothing.
        where: What labels must be, by the catalogue's names.
        bound: The bucket's upper bound, where it is one of them.
    """

    metric: Metric
    suffix: str = ""
    where: tuple[tuple[str, Matcher], ...] = ()
    bound: float | None = None

    def promql(self, page: Page, window: float = 0.0, offset: float = 0.0) -> str:
        """
        Render the selector, of a range where there is a window.
        """
        matchers = [page.label_of(self.metric, label) + matcher.promql() for label, matcher in self.where]
        if self.bound is not None:
            self.check_bound(self.bound, page)
            matchers.append(f'le="{go_float(self.bound)}"')
        selector = page.selector(page.name_of(self.metric) + self.suffix, *matchers)
        return selector + (f"[{duration_text(window)}]" if window else "") + offset_text(offset)

    def check_bound(self, bound: float, page: Page) -> None:
        """
        Raise SignalError where the histogram has no such bound.
        """
        bounds = page.bounds_of(self.metric)
        if bound not in bounds:
            below, above = ([it for it in bounds if it < bound][-1:], [it for it in bounds if it > bound][:1])
            near = " and ".join(f"{it:.15g}" for it in (*below, *above)) or "none"
            raise SignalError(
                f"{bound:.15g} is no bound of {self.metric.name}; the nearest are {near}. A condition on a quantile "
                "counts what is within a bound: choose one, or set the bounds before it is built"
            )

    def between(self, samples: Samples, start: float, end: float) -> Iterator[Series]:
        """
        Yield what was sampled after `start` and not after `end`.
        """
        for series in samples.select(self.metric.name + self.suffix, start, end):
            labels = series.labels
            if all(matcher.accepts(labels.get(label, "")) for label, matcher in self.where) and (
                self.bound is None or float(labels.get("le", "nan")) == self.bound
            ):
                yield series

    def at(self, samples: Samples, moment: float) -> Iterator[tuple[Series, float]]:
        """
        Yield the label sets that are there at a moment, with their value.
        """
        for series in self.between(samples, moment - samples.every, moment):
            yield series, series.values[-1]


@dataclass(frozen=True)
class Grouping:
    """
    The labels that values are told apart by.

    Attributes:
        metric: Whose labels they are.
        labels: By the catalogue's names, sorted.
    """

    metric: Metric
    labels: tuple[str, ...]

    @property
    def keeps_instance(self) -> bool:
        """
        Return whether each instance is a machine of its own, whose figures do not add up.
        """
        return self.metric in system.METRICS

    def label_names(self, page: Page) -> dict[str, str]:
        """
        Return the names of the labels on the page, by the catalogue's.
        """
        return {label: page.label_of(self.metric, label) for label in self.labels}

    def promql(self, page: Page, *further: str) -> str:
        """
        Render `by (...)`.
        """
        kept = ["job", *(["instance"] if self.keeps_instance else []), *further]
        return f"by ({', '.join([*kept, *(page.label_of(self.metric, label) for label in self.labels)])})"

    def group(
        self, found: Iterable[tuple[Series, float | None]], combine: Callable[[Iterable[float]], float] = sum
    ) -> Values:
        """
        Combine the values of each group; None is no value.
        """
        groups: dict[LabelPairs, list[float]] = {}
        for series, value in found:
            if value is not None:
                groups.setdefault(self.key(series), []).append(value)
        return {key: combine(values) for key, values in groups.items()}

    def key(self, series: Series) -> LabelPairs:
        """
        Return the group of a series.
        """
        return tuple((label, series.labels.get(label, "")) for label in self.labels)


def offset_text(offset: float) -> str:
    """
    Render `offset ...`, or nothing.
    """
    return f" offset {duration_text(offset)}" if offset else ""
