"""
Prometheus' own arithmetic, so that a figure is the same here and there.

Source: promql/functions.go and promql/quantile.go of Prometheus 3.5: `extrapolatedRate`, `linearRegression` and
`bucketQuantile`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise


def increase_of(times: Sequence[float], values: Sequence[float], start: float, end: float) -> float | None:
    """
    Return by how much a counter rose from `start` to `end`, resets included, extrapolated to both; None for less than
    two samples.
    """
    if len(times) < 2:
        return None
    risen = values[-1] - values[0] + sum(before for before, after in pairwise(values) if after < before)
    covered = times[-1] - times[0]
    between = covered / (len(times) - 1)
    to_start, to_end = times[0] - start, end - times[-1]
    if to_start >= between * 1.1:
        to_start = between / 2
    if risen > 0 and values[0] >= 0:  # a counter was 0 at some time, and cannot have been less before
        to_start = min(to_start, covered * values[0] / risen)
    if to_end >= between * 1.1:
        to_end = between / 2
    return risen * (covered + to_start + to_end) / covered


def slope_of(times: Sequence[float], values: Sequence[float]) -> float | None:
    """
    Return by how much a gauge grows a second, by least squares; None for less than two samples.
    """
    if len(times) < 2:
        return None
    ages, changes = [at - times[0] for at in times], [value - values[0] for value in values]
    mean_age, mean_change = sum(ages) / len(ages), sum(changes) / len(changes)
    spread = sum((age - mean_age) ** 2 for age in ages)
    return sum((age - mean_age) * (it - mean_change) for age, it in zip(ages, changes, strict=True)) / spread


def forecast_of(times: Sequence[float], values: Sequence[float], at: float) -> float | None:
    """
    Return what a gauge is at a moment, along the line of `slope_of()`.
    """
    slope = slope_of(times, values)
    if slope is None:
        return None
    since = at - sum(time - times[0] for time in times) / len(times) - times[0]
    return sum(values) / len(values) + slope * since


def quantile_of(share: float, buckets: Iterable[tuple[float, float]]) -> float | None:
    """
    Return the quantile of cumulative buckets, pairs of upper bound and count; None where nothing was observed.
    """
    rising, most = [], 0.0
    for bound, count in sorted(buckets):
        most = max(most, count)
        rising.append((bound, most))
    if len(rising) < 2 or rising[-1][0] != float("inf") or not most > 0:
        return None
    rank = share * most
    place = next(place for place, (_, count) in enumerate(rising) if count >= rank)
    upper, count = rising[place]
    if place == len(rising) - 1:
        return rising[-2][0]
    if place == 0:
        return upper if upper <= 0 else upper * rank / count
    lower, below = rising[place - 1]
    return lower + (upper - lower) * (rank - below) / (count - below)
