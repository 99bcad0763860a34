"""
The metrics sink: updates metrics from operations; labels come from their fields, families from the catalogue.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from obskit._version import __version__
from obskit.ai.ai_operation import AiOperation
from obskit.ai.rate_limit_headers import latest_rate_limits
from obskit.catalogue import db, events
from obskit.catalogue import internal as own
from obskit.db.db_operation import DbOperation
from obskit.db.pools import ConnectionUse, ConnectionWait
from obskit.health.check_operation import CheckOperation
from obskit.metrics.bucket_bounds import BucketBounds
from obskit.metrics.collector import MetricCollector
from obskit.metrics.family import Counter
from obskit.metrics.workers import Workers
from obskit.observation import FunctionOperation
from obskit.operation import Event, HttpOperation, Operation
from obskit.recorder import Recorder, Sink, Step
from obskit.sinks.metrics_by_kind.ai_calls import PendingLimits, bind_calls
from obskit.sinks.metrics_by_kind.binding import Binding
from obskit.sinks.metrics_by_kind.checks import bind_checks
from obskit.sinks.metrics_by_kind.functions import bind_functions
from obskit.sinks.metrics_by_kind.pools import bind_uses, bind_waits
from obskit.sinks.metrics_by_kind.queries import bind_queries
from obskit.sinks.metrics_by_kind.requests import RequestMetrics, Watch
from obskit.sinks.scrape_time import add_scrape_time_metrics
from obskit.sinks.sink_settings import MetricsSinkSettings


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
        binding = Binding(settings, collector, BucketBounds(settings.metric_buckets), workers, recorder)
        self._requests = RequestMetrics(binding)
        self._limits: PendingLimits = {}
        self._show_health: Callable[[str, str], None] | None = None
        self._binders: dict[type[Operation], Callable[[], tuple[Step | None, Step | None]]] = {
            FunctionOperation: partial(bind_functions, binding),
            DbOperation: partial(bind_queries, binding),
            AiOperation: partial(bind_calls, binding, self._limits),
            ConnectionWait: partial(bind_waits, binding),
            ConnectionUse: partial(bind_uses, binding),
            CheckOperation: partial(self._bind_checks, binding),
        }
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
            binder = self._binders.get(kind)
            self._bound[kind] = binder() if binder else (None, None)
        return self._bound[kind]

    def _bind_checks(self, binding: Binding) -> tuple[None, Step]:
        finish, self._show_health = bind_checks(binding)
        return None, finish

    def emit(self, event: Event) -> None:
        """
        Count N+1 statements, and set a component's new status, which may change while its check hangs; other events
        with a metric update it themselves.
        """
        if event.name == events.N_PLUS_ONE.name:
            self._n_plus_one.cell((event.fields["route"],)).inc()
        elif event.name == events.HEALTH_TRANSITION.name and self._show_health is not None:
            fields = event.fields
            if "component" in fields and "health" in fields:
                self._show_health(fields["component"], fields["health"])

    def close(self) -> None:
        latest_rate_limits.on_reply = None
        self._collector.close()

    def after_fork(self) -> None:
        """
        Drop the requests, errors and losses of the parent of a forked process.
        """
        self._requests.forget_live()
        self._limits.clear()
        self._recorder.errors.clear()
        self._recorder.dropped.clear()
        self._recorder.rebind(HttpOperation)
