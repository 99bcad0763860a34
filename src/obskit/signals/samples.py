"""
Samples that signals are judged on: what is asked of whoever keeps them, and a set of them in memory.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple, Protocol, TypeAlias

from obskit.time.durations import seconds_of

LabelPairs: TypeAlias = tuple[tuple[str, str], ...]


class Series(NamedTuple):
    """
    One label set of a metric, and its samples from the oldest to the newest.
    """

    labels: Mapping[str, str]
    times: Sequence[float]
    values: Sequence[float]


class Samples(Protocol):
    """
    Figures over time, under the names of the catalogue, without the namespace, histograms as `_bucket`, `_sum` and
    `_count`.

    Attributes:
        every: Seconds between two samplings.
    """

    every: float

    def latest(self) -> float:
        """
        Return when the last sampling was, in seconds.
        """

    def was_sampled(self, at: float) -> bool:
        """
        Return whether there was a sampling in the `every` seconds that end at `at`.
        """

    def select(self, name: str, start: float, end: float) -> Iterator[Series]:
        """
        Yield the label sets of a name that have samples after `start` and not after `end`, with those samples.
        """


class MemorySamples:
    """
    Samples that lie in memory, such as a test's.

    A sampling time at which no series has a sample is a sampling that failed; a series without one at a time when
    others have one has left.

    Args:
        series: By name and pairs of labels, pairs of seconds and value.
        every: How long after a sampling the next one comes, such as `"15s"`.

    Attributes:
        every: In seconds.
    """

    def __init__(
        self, series: Mapping[tuple[str, LabelPairs], Iterable[tuple[float, float]]], every: str | timedelta
    ) -> None:
        self.every = seconds_of(every, "every")
        self._by_name: dict[str, list[Series]] = {}
        times: set[float] = set()
        for (name, labels), samples in series.items():
            values = dict(sorted(samples))  # one a moment, as a page has it
            times.update(values)
            self._by_name.setdefault(name, []).append(Series(dict(labels), list(values), list(values.values())))
        self._times = sorted(times)

    @property
    def times(self) -> Sequence[float]:
        """
        Return when there were samplings, in order.
        """
        return self._times

    def latest(self) -> float:
        """
        Return when the last sampling was; 0 where there was none.
        """
        return self._times[-1] if self._times else 0.0

    def was_sampled(self, at: float) -> bool:
        """
        Return whether any series has a sample in the `every` seconds that end at `at`.
        """
        place = bisect_right(self._times, at)
        return place > 0 and self._times[place - 1] > at - self.every

    def select(self, name: str, start: float, end: float) -> Iterator[Series]:
        """
        Yield the label sets of a name that have samples after `start` and not after `end`, with those samples.
        """
        for labels, times, values in self._by_name.get(name, ()):
            first, last = bisect_right(times, start), bisect_right(times, end)
            if first < last:
                yield Series(labels, times[first:last], values[first:last])
