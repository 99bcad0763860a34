"""
What the metrics of every kind of operation are made with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from obskit.catalogue import Metric
from obskit.metrics.bucket_bounds import BucketBounds
from obskit.metrics.collector import MetricCollector
from obskit.metrics.family import Counter, Gauge, Histogram
from obskit.metrics.workers import Workers
from obskit.operation import Event
from obskit.recorder import Recorder
from obskit.sinks.sink_settings import MetricsSinkSettings


class Binding(NamedTuple):
    """
    What a sink binds kinds of operations with: families go to the collector, and what they count to its page.

    Attributes:
        bounds: The buckets that the settings give to histograms.
        workers: Say whether other workers read the values.
        events: What shows an event, by the name of the event.
        at_close: Called when the sink is closed.
        in_child: Called in a forked process, to forget what is its parent's.
    """

    settings: MetricsSinkSettings
    collector: MetricCollector
    bounds: BucketBounds
    workers: Workers
    recorder: Recorder
    events: dict[str, Callable[[Event], object]]
    at_close: list[Callable[[], object]]
    in_child: list[Callable[[], object]]

    def counter(self, spec: Metric) -> Counter:
        """
        Add a counter of the catalogue.
        """
        return self.collector.add(Counter(spec))

    def gauge(self, spec: Metric) -> Gauge:
        """
        Add a gauge of the catalogue.
        """
        return self.collector.add(Gauge(spec))

    def histogram(self, spec: Metric, usual: tuple[float, ...] = ()) -> Histogram:
        """
        Add a histogram of the catalogue, with these buckets where the settings give it none by its name.
        """
        return self.collector.add(Histogram(self.bounds.with_bounds(spec, usual)))
