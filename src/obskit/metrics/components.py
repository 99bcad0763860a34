"""
What a runtime has of metrics: their values, the declared ones, the page, and the callbacks of gauges.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from obskit.components import Assembly, Component
from obskit.late_imports import Awaited
from obskit.metrics.settings import MetricsSettings
from obskit.recorder import recorder
from obskit.service_settings import ServiceSettings
from obskit.time.clock import Deadline

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from obskit.metrics.collector import MetricCollector
    from obskit.metrics.refresher import Refresher
    from obskit.metrics.workers import Workers

# What the first request of a worker needs beside, so that no event loop waits for it.
_FOR_SHARED_VALUES = ("obskit.metrics.directory", "obskit.workers.instance_folders")


class Collection(Component):
    """
    The collector of all metrics, and where this process's values are.

    Attributes:
        collector: The collector.
        workers: Allocates values, and merges those of all workers.
    """

    name = "metrics"
    collector: MetricCollector
    workers: Workers

    def __init__(self, assembly: Assembly) -> None:
        self._settings = assembly.settings.of(MetricsSettings)
        self._service = assembly.settings.of(ServiceSettings).service

    def start(self) -> None:
        """
        Create the collector, without metrics yet.
        """
        from obskit.metrics.collector import MetricCollector
        from obskit.metrics.declare import declared
        from obskit.metrics.label_names import LabelRenames
        from obskit.metrics.workers import Workers
        from obskit.storage.private_files import HAS_LOCKS
        from obskit.workers import instance_leader

        for module in _FOR_SHARED_VALUES if HAS_LOCKS else ():
            import_module(module)
        settings = self._settings
        names, cap = settings.metric_names, settings.max_label_sets
        labels = LabelRenames(settings.metric_labels, names, [family.spec for family in declared.values()])
        self.workers = Workers(self._service, settings.metrics_dir, cap)
        instance_leader.bind(self.workers.folder)
        self.collector = MetricCollector(settings.namespace, names, cap, self.workers, labels)

    @property
    def registry(self) -> CollectorRegistry:
        """
        The registry of the setting, or `prometheus_client`'s own, which is imported for it.
        """
        if self._settings.registry is not None:
            given: CollectorRegistry = self._settings.registry
            return given
        from prometheus_client import REGISTRY

        return REGISTRY

    @property
    def has_own_registry(self) -> bool:
        """
        Whether the setting names the registry.
        """
        return self._settings.registry is not None

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
        self._awaited: Awaited | None = None
        self._snapshots: Awaited | None = None

    def start(self) -> None:
        """
        Register the collector, and start the gauge callbacks and the refresher.
        """
        from obskit.metrics.gauge_callbacks import gauge_callbacks
        from obskit.metrics.refresher import Refresher

        collector, workers = self._collection.collector, self._collection.workers
        collector.check_names()
        if self._collection.has_own_registry or "prometheus_client" in sys.modules:
            collector.register(self._collection.registry)
        else:  # whoever asks its registry has imported it
            self._awaited = Awaited("prometheus_client", self._register_late)
        gauge_callbacks.start(workers.asks_for_all)
        self._refresher = Refresher(workers, collector.update_own)
        collector.refresh.append(self._refresher.ensure_running)
        self._refresher.start()
        self._snapshots = Awaited("obskit.metrics.snapshots", self._bind_snapshots)

    def _bind_snapshots(self) -> None:
        from obskit.metrics.snapshots import bind

        bind(self._collection.collector)

    def _register_late(self) -> None:
        try:
            self._collection.collector.register(self._collection.registry)
        except Exception as error:  # the application imports the library, and wants that alone
            recorder.failed("metrics", error)

    def stop(self, deadline: Deadline) -> None:
        """
        Stop them. The metrics sink unregisters the collector, once it has the last figures.
        """
        from obskit.metrics.gauge_callbacks import gauge_callbacks

        for awaited in (self._awaited, self._snapshots):
            if awaited is not None:
                awaited.cancel()
        if snapshots := sys.modules.get("obskit.metrics.snapshots"):
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
