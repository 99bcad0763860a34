"""
The metrics sink: updates metrics from operations; labels come from their fields, families from the catalogue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from obskit._version import __version__
from obskit.catalogue import db, events
from obskit.catalogue import internal as own
from obskit.metrics.bucket_bounds import BucketBounds
from obskit.metrics.collector import MetricCollector
from obskit.metrics.family import Counter
from obskit.metrics.workers import Workers
from obskit.operation import Event, HttpOperation, Operation
from obskit.recorder import Recorder, Sink, Step
from obskit.sinks import kinds
from obskit.sinks.metrics_by_kind.binding import Binding
from obskit.sinks.metrics_by_kind.requests import RequestMetrics, Watch
from obskit.sinks.scrape_time import add_scrape_time_metrics
from obskit.sinks.sink_settings import MetricsSinkSettings

# What binds a kind, imported with the first plan of it: an application without queries has nothing of them.
_BY_KIND = "obskit.sinks.metrics_by_kind"
BINDERS = {
    kinds.FUNCTION: f"{_BY_KIND}.functions:bind_functions",
    kinds.QUERY: f"{_BY_KIND}.queries:bind_queries",
    kinds.AI_CALL: f"{_BY_KIND}.ai_calls:bind_calls",
    kinds.CONNECTION_WAIT: f"{_BY_KIND}.pools:bind_waits",
    kinds.CONNECTION_USE: f"{_BY_KIND}.pools:bind_uses",
    kinds.CHECK: f"{_BY_KIND}.checks:bind_checks",
}


def _counter_updater(counter: Counter) -> Callable[[Any, int], object]:
    return lambda key, amount: counter.cell(key if isinstance(key, tuple) else (key,)).inc(amount)


class MetricsSink(Sink):
    """
    Updates a collector's metrics from operations and events.
    """

    name = "metrics"
    wants = frozenset[str]()
    guards = True

    def __init__(
        self, settings: MetricsSinkSettings, collector: MetricCollector, workers: Workers, recorder: Recorder
    ) -> None:
        self._collector = collector
        self._recorder = recorder
        bounds = BucketBounds(settings.metric_buckets)
        self._binding = Binding(settings, collector, bounds, workers, recorder, {}, [], [])
        self._requests = RequestMetrics(self._binding)
        self._bound: dict[type[Operation], tuple[Step | None, Step | None]] = {}
        self._n_plus_one = collector.add(Counter(db.N_PLUS_ONE))
        info = (settings.service, settings.version or "", settings.environment or "", __version__)
        collector.add_scrape_time(own.BUILD_INFO, lambda: {info: 1.0})
        add_scrape_time_metrics(collector, workers)
        recorder.errors.subscribe(_counter_updater(collector.add(Counter(own.ERRORS))))
        recorder.dropped.subscribe(_counter_updater(collector.add(Counter(own.DROPPED))))

    def watch_requests(self, watch: Watch) -> None:
        """
        Have requests looked at, which costs the others a comparison; before they are bound.
        """
        self._requests.watch(watch)

    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]:
        """
        Create the families of this kind; return the functions that update them.
        """
        if kind is HttpOperation:
            return self._requests.bind()
        if kind not in self._bound:  # a kind may be bound again: its families are there already
            self._bound[kind] = self._steps(kinds.name_of(kind))
        return self._bound[kind]

    def _steps(self, kind: str) -> tuple[Step | None, Step | None]:
        if kind not in BINDERS:
            return None, None
        steps: tuple[Step | None, Step | None] = kinds.found(BINDERS[kind])(self._binding)
        return steps

    def emit(self, event: Event) -> None:
        """
        Count N+1 statements, and pass the event to the kind that wants it; other events with a metric update it
        themselves.
        """
        if event.name == events.N_PLUS_ONE.name:
            self._n_plus_one.cell((event.fields["route"],)).inc()
        elif (show := self._binding.events.get(event.name)) is not None:
            show(event)

    def close(self) -> None:
        for step in self._binding.at_close:
            step()
        self._collector.close()

    def after_fork(self) -> None:
        """
        Drop the requests, errors and losses of the parent of a forked process.
        """
        self._requests.forget_live()
        for step in self._binding.in_child:
            step()
        self._recorder.errors.clear()
        self._recorder.dropped.clear()
        self._recorder.rebind(HttpOperation)
