"""
What a runtime has of metrics: their values, the declared ones, the page, and the callbacks of gauges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from obskit.components import Assembly, Component
from obskit.metrics.settings import MetricsSettings
from obskit.service_settings import ServiceSettings
from obskit.time.clock import Deadline

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from obskit.metrics.collector import MetricCollector
    from obskit.metrics.refresher import Refresher
    from obskit.metrics.workers import Workers


class Collection(Component):
    """
    The collector of all metrics, and where this process's values are.

    Attributes:
        registry: The `prometheus_client` registry that it joins.
        collector: The collector.
        workers: Allocates values, and merges those of all workers.
    """

    name = "metrics"
    registry: CollectorRegistry
    collector: MetricCollector
    workers: Workers

    def __init__(self, assembly: Assembly) -> None:
        self._settings = assembly.settings.of(MetricsSettings)
        self._service = assembly.settings.of(ServiceSettings).service

    def start(self) -> None:
        """
        Create the collector, without metrics yet.
        """
        from prometheus_client import REGISTRY

        from obskit.metrics.collector import MetricCollector
        from obskit.metrics.declare import declared
        from obskit.metrics.label_names import LabelRenames
        from obskit.metrics.workers import Workers
        from obskit.workers import instance_leader

        settings = self._settings
        self.registry = settings.registry if settings.registry is not None else REGISTRY
        names, cap = settings.metric_names, settings.max_label_sets
        labels = LabelRenames(settings.metric_labels, names, [family.spec for family in declared.values()])
        self.workers = Workers(self._service, settings.metrics_dir, cap)
        instance_leader.bind(self.workers.folder)
        self.collector = MetricCollector(settings.namespace, names, cap, self.workers, labels)

    def page(self, accept: str, packed: bool, names: frozenset[str] | None) -> tuple[list[tuple[str, str]], bytes]:
        """
        Render the metrics page: the headers that describe the body, and the body.
        """
        page: tuple[list[tuple[str, str]], bytes] = self.collector.render_page(self.registry, accept, names, packed)
        return page


class Declared(Component):
    """
    The application's own metrics, those that it declares later too.
    """

    name = "metrics"

    def __init__(self, assembly: Assembly) -> None:
        self._collection: Collection = assembly.part("metrics")

    def start(self) -> None:
        """
        Add them to the collector.
        """
        from obskit.metrics import declare

        declare.collect(self._collection.collector.add)

    def stop(self, deadline: Deadline) -> None:
        """
        Remove them from the collector.
        """
        from obskit.metrics import declare

        declare.leave(self._collection.collector.add)


class Exposition(Component):
    """
    The collector in its registry, the callbacks of gauges and the refresher, once every metric is known.
    """

    name = "metrics"

    def __init__(self, assembly: Assembly) -> None:
        self._collection: Collection = assembly.part("metrics")
        self._refresher: Refresher | None = None

    def start(self) -> None:
        """
        Register the collector, and start the gauge callbacks and the refresher.
        """
        from obskit.metrics import snapshots
        from obskit.metrics.gauge_callbacks import gauge_callbacks
        from obskit.metrics.refresher import Refresher

        collector, workers = self._collection.collector, self._collection.workers
        collector.register(self._collection.registry)
        gauge_callbacks.start(workers.asks_for_all)
        self._refresher = Refresher(workers, collector.update_own)
        collector.refresh.append(self._refresher.ensure_running)
        self._refresher.start()
        snapshots.bind(collector)

    def stop(self, deadline: Deadline) -> None:
        """
        Stop them. The metrics sink unregisters the collector, once it has the last figures.
        """
        from obskit.metrics import snapshots
        from obskit.metrics.gauge_callbacks import gauge_callbacks

        snapshots.bind(None)
        gauge_callbacks.stop()
        refresher, self._refresher = self._refresher, None
        if refresher is not None:
            self._collection.collector.refresh.remove(refresher.ensure_running)
            refresher.stop(deadline)


def collection(assembly: Assembly) -> Collection | None:
    """
    Return the collection where metrics are on.
    """
    return Collection(assembly) if assembly.settings.of(MetricsSettings).metrics else None


def declared(assembly: Assembly) -> Declared | None:
    """
    Return the declared metrics where metrics are on.
    """
    return Declared(assembly) if assembly.part("metrics") else None


def exposition(assembly: Assembly) -> Exposition | None:
    """
    Return the exposition where metrics are on.
    """
    return Exposition(assembly) if assembly.part("metrics") else None
