"""
Bucket bounds of obskit's histograms, as the settings give them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from obskit.catalogue import CATALOGUE, Metric
from obskit.errors import ConfigurationError

_HISTOGRAMS = [spec.name for spec in CATALOGUE if spec.kind == "histogram"]


class BucketBounds:
    """
    The bucket bounds that `metric_buckets` sets, by metric.

    Args:
        given: `metric_buckets`.

    Raises:
        ConfigurationError: It names a metric that is not a histogram of obskit's.
    """

    def __init__(self, given: Mapping[str, tuple[float, ...]]) -> None:
        self._given = given
        for name in given:
            if name not in _HISTOGRAMS:
                from difflib import get_close_matches

                near = get_close_matches(name, _HISTOGRAMS, n=1)
                hint = f"did you mean {near[0]!r}?" if near else "your own have theirs where they are declared"
                raise ConfigurationError(f"metric_buckets has {name!r}, which is not a histogram of obskit's; {hint}")

    def with_bounds(self, spec: Metric, usual: tuple[float, ...] = ()) -> Metric:
        """
        Return the metric with its bounds: those of `metric_buckets`, else `usual`, else those of the catalogue.
        """
        return replace(spec, buckets=self._given.get(spec.name) or usual or spec.buckets)
