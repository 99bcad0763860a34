"""
Give histograms the bounds that the settings ask for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches

from obskit.catalogue import CATALOGUE, Metric
from obskit.errors import ConfigurationError

_HISTOGRAMS = [spec.name for spec in CATALOGUE if spec.kind == "histogram"]


class Bounds:
    """
    Know the bounds of obskit's histograms.

    Args:
        given: `metric_buckets`.

    Raises:
        ConfigurationError: It names what is none of obskit's histograms.
    """

    def __init__(self, given: Mapping[str, tuple[float, ...]]) -> None:
        self._given = given
        for name in given:
            if name not in _HISTOGRAMS:
                near = get_close_matches(name, _HISTOGRAMS, n=1)
                hint = f"did you mean {near[0]!r}?" if near else "your own have theirs where they are declared"
                raise ConfigurationError(f"metric_buckets has {name!r}, which is no histogram of obskit's; {hint}")

    def of(self, spec: Metric, usual: tuple[float, ...] = ()) -> Metric:
        """
        Give the row with its bounds: its own, else those of its kind, else those of the catalogue.
        """
        return replace(spec, buckets=self._given.get(spec.name) or usual or spec.buckets)
