"""
The collector: exposes families on the metrics page and to `prometheus_client` registries, under configured names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from obskit.catalogue import Metric
from obskit.catalogue import internal as own
from obskit.deferred_endings import drain
from obskit.errors import MetricConflictError
from obskit.metrics import process_gauges
from obskit.metrics.cell_format import LabelSet
from obskit.metrics.exposition import SUFFIXES, Section, negotiate, render_page
from obskit.metrics.family import (
    MEMORY_ALLOCATOR,
    CountedHistogram,
    Counter,
    Family,
    Gauge,
    sanitize_label_value,
)
from obskit.metrics.family_renderer import CellValues, FamilyRenderer
from obskit.metrics.figures import CountedFigures, Figures, NameOf, columns_of, counted_by_others, finer, local, merged
from obskit.metrics.foreign_registry import foreign_families, is_collecting_foreign
from obskit.metrics.label_names import NO_RENAMES, LabelRenames
from obskit.metrics.workers import Workers
from obskit.recorder import recorder
from obskit.workers.instance_leader import note_scrape

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric as ClientMetric

    from obskit.metrics.directory import Snapshot
    from obskit.metrics.merge import FineRows

F = TypeVar("F", bound=Family[Any])
K = TypeVar("K")
V = TypeVar("V")
_NAMED_BY_LABEL = {own.LABEL_SETS.name, own.OVERFLOW.name}


class MetricCollector:
    """
    Names families, and answers scrapes with the values of all workers.

    Args:
        namespace: Prefix of the application's metrics.
        renames: `metric_names`.
        max_label_sets: The cap of each family.
        workers: Where the values are kept.
        labels: `metric_labels`.
    """

    def __init__(
        self,
        namespace: str,
        renames: Mapping[str, str | None],
        max_label_sets: int,
        workers: Workers,
        labels: LabelRenames = NO_RENAMES,
    ) -> None:
        self._namespace = namespace
        self._renames = renames
        self._label_renames = labels
        self._names: dict[tuple[str, bool], str | None] = {}
        self._max_label_sets = max_label_sets
        self._workers = workers
        self._registering, self._is_outdated = 0, False  # by which thread; whether a name came meanwhile
        self._families: dict[str, Family[Any]] = {}  # by their name in the catalogue
        self._shown: dict[str, Family[Any]] = {}  # by each name that they have on the page
        self._scrape_time: list[tuple[Metric, Callable[[], Mapping[LabelSet, float]]]] = []
        self._registries: list[CollectorRegistry] = []
        self._renderers: dict[tuple[Metric, str], FamilyRenderer] = {}
        self._counted = CountedFigures()
        # Called before each reading, and meanwhile, to update what is counted elsewhere.
        self.refresh: list[Callable[[], None]] = []
        overflowed = self.add(Counter(own.OVERFLOW))
        self._overflow = lambda family: overflowed.cell((family.spec.name,)).inc()
        degraded, set_aside = self.add(Gauge(own.DEGRADED)).labels(), self.add(Counter(own.SET_ASIDE))

        def refresh() -> None:
            degraded.set(float(workers.degraded))
            for reason, files in workers.set_aside.items():
                set_aside.cell((reason,)).set_total(files)

        self.refresh.append(refresh)

    def name_of(self, spec: Metric) -> str | None:
        """
        Return the metric's name on the page; None where the settings leave it out.
        """
        try:
            return self._names[spec.name, spec.prefixed]  # a page asks twice for each
        except KeyError:
            name = self._renames.get(spec.name, spec.name)
            if name is not None and spec.prefixed and self._namespace:
                name = f"{self._namespace}_{name}"
            self._names[spec.name, spec.prefixed] = name
            return name

    def add(self, family: F) -> F:
        """
        Expose a family. One that the settings leave out is not on the page, and is counted all the same. Return it.

        Raises:
            MetricConflictError: Another family, or the application, has the name.
            ConfigurationError: `metric_labels` renames a label it does not have, or to a name it cannot have.
        """
        self._label_renames.check(family.spec)
        family.max_label_sets = self._max_label_sets
        shown = list(self._on_page(family))
        for spec, name in shown:
            if self._shown.get(name, family) is not family or self._is_taken(spec, name):
                raise _conflict(name, spec)
        self._families[family.spec.name] = family
        self._shown.update((name, family) for _, name in shown)
        if shown:
            self._register_again()
        if family.spec is not own.OVERFLOW:
            family.on_overflow = self._overflow
        family.move_to(self._workers)
        return family

    def _on_page(self, family: Family[Any]) -> Iterator[tuple[Metric, str]]:
        """
        Yield what a family has on the page: its row, and that of the counter which comes with it.
        """
        for spec in (family.spec, *([family.counter_spec] if isinstance(family, CountedHistogram) else [])):
            if (name := self.name_of(spec)) is not None:
                yield spec, name

    def add_scrape_time(self, spec: Metric, read: Callable[[], Mapping[LabelSet, float]]) -> None:
        """
        Expose values that are read on each scrape, and that are the same in every worker.
        """
        self._scrape_time.append((spec, read))

    def register(self, registry: CollectorRegistry) -> None:
        """
        Register with a registry.

        Raises:
            MetricConflictError: The application has registered one of the names itself.
        """
        self.check_names(getattr(registry, "_names_to_collectors", {}))
        registry.register(self)
        self._registries.append(registry)

    def check_names(self, others: Iterable[str] = ()) -> None:
        """
        Raise MetricConflictError where two metrics have one name, or one has a name of others.
        """
        taken = set(others)
        for spec, name in self._specs_and_names():
            samples = _sample_names(spec, name)
            if not taken.isdisjoint(samples):
                raise _conflict(name, spec)
            taken.update(samples)

    def _register_again(self) -> None:
        """
        Register again, so that the registries know a name that was added later.

        A signal's handler, or a finaliser, may come here on top of its own thread, which then holds a registry's
        lock: it leaves the registering to that.
        """
        self._is_outdated = True
        if self._registering == get_ident():
            return
        self._registering = get_ident()
        try:
            while self._is_outdated:
                self._is_outdated = False
                for registry in self._registries:
                    registry.unregister(self)
                    registry.register(self)
        finally:
            self._registering = 0

    def _is_taken(self, spec: Metric, name: str) -> bool:
        """
        Whether the application has registered one of the names of a metric's samples itself.
        """
        samples = _sample_names(spec, name)
        taken = [getattr(registry, "_names_to_collectors", {}) for registry in self._registries]
        return any(known.get(sample, self) is not self for known in taken for sample in samples)

    def close(self) -> None:
        """
        Unregister everywhere, and reset all families.
        """
        for registry in self._registries:
            registry.unregister(self)
        self._registries.clear()
        for family in self._families.copy().values():
            family.allocator = MEMORY_ALLOCATOR
            family.clear()
        self._families.clear()
        self._shown.clear()
        self._counted.clear()
        self._workers.close()

    def describe(self) -> Iterable[ClientMetric]:
        """
        Return the families without samples, for a registry.
        """
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        made = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
        labels = self._label_renames.rename
        return [made[spec.kind](name, spec.help, labels=labels(spec)) for spec, name in self._specs_and_names()]

    def _specs_and_names(self) -> Iterator[tuple[Metric, str]]:
        for family in self._families.copy().values():
            yield from self._on_page(family)
        for spec in (*(spec for spec, _ in self._scrape_time), own.LABEL_SETS, *process_gauges.READERS):
            if (shown := self.name_of(spec)) is not None:
                yield spec, shown

    def collect(self) -> Iterator[ClientMetric]:
        """
        Yield the families with their samples, for a registry.
        """
        if not is_collecting_foreign():
            for section in self.sections():
                yield section.metric()

    @property
    def is_degraded(self) -> bool:
        """
        Whether the values are this process's alone since sharing them failed.
        """
        return self._workers.degraded

    @property
    def is_of_one_process(self) -> bool:
        """
        Whether the values are this process's alone by design, and not since sharing them failed.
        """
        return self._workers.is_resolved and not self._workers.are_shared and not self._workers.degraded

    def render_page(
        self, registry: CollectorRegistry, accept: str, names: frozenset[str] | None, packed: bool
    ) -> tuple[list[tuple[str, str]], bytes]:
        """
        Render the metrics page: obskit's families, and the others of the registry.

        Args:
            registry: The registry that this collector is registered with.
            accept: The client's `Accept` header.
            names: `name[]`; None is all.
            packed: Whether to compress it with gzip.

        Returns:
            The headers `Content-Type` and, compressed, `Content-Encoding`; and the body.
        """
        openmetrics = negotiate(accept).openmetrics
        self._workers.resolve()
        worker = self._workers.slot if self._workers.are_shared or self._workers.degraded else None
        others = foreign_families(registry, worker, names)
        headers, pieces = render_page(self.sections(openmetrics), others, accept=accept, names=names, packed=packed)
        return headers, b"".join(pieces)

    def sections(self, exemplars: bool = False) -> Iterator[Section]:
        """
        Yield the families with the values of all workers, as the page has them.

        Args:
            exemplars: With exemplars, which only OpenMetrics shows.
        """
        note_scrape()
        reading = self.read(exemplars=exemplars)
        for figures in self.figures(reading, self.name_of, exemplars=exemplars):
            name, spec, cells, marks = figures
            if spec.name in _NAMED_BY_LABEL:
                cells = self._renamed(cells, reading)
            yield Section(self._renderer(spec, name), cells, marks)

    def _renamed(
        self, cells: Iterable[tuple[LabelSet, CellValues]], reading: Snapshot | None
    ) -> Iterator[tuple[LabelSet, CellValues]]:
        """
        Yield these cells, of metrics that are named by a label, with the names on the page, of those that it has.
        """
        others = reading.families if reading else {}
        for key, values in cells:
            known = self._families.get(key[0]) or others.get(key[0])
            if known is None:
                yield key, values
            elif (name := self.name_of(known.spec)) is not None:
                yield (name,), values

    def read(self, *, exemplars: bool = False) -> Snapshot | None:
        """
        Read the files of all workers, once what this process alone knows is in its own; None: it is alone.
        """
        drain()
        self.update_own()
        return self._workers.snapshot(exemplars=exemplars)

    def update_own(self) -> None:
        """
        Update the figures that this process alone knows.
        """
        for refresh in self.refresh:
            try:
                refresh()
            except Exception as error:
                recorder.failed("metrics", error)

    def pids(self, reading: Snapshot | None) -> dict[str, int]:
        """
        Return the process ids of the workers that live, by the label `worker`.
        """
        found = {str(worker.slot): worker.pid for worker in reading.workers} if reading else {}
        return found or {self._workers.slot: os.getpid()}

    def figures(self, reading: Snapshot | None, name_of: NameOf, *, exemplars: bool = False) -> Iterator[Figures]:
        """
        Yield each metric's figures, of all workers.

        Args:
            reading: What `read()` has returned.
            name_of: Names those that are asked for; what takes time is not read for others.
            exemplars: With exemplars.
        """
        found = dict(reading.families) if reading else {}
        counts: dict[LabelSet, float] = {}
        for name, family in self._families.copy().items():
            spec, cells, marks = local(family, exemplars) if reading is None else merged(family, found.pop(name, None))
            if isinstance(family, CountedHistogram) and spec.labels == family.cell_spec.labels:
                yield from self._counted.figures((family.spec, family.counter_spec), cells, marks, counts, name_of)
            elif (asked := name_of(spec)) is not None:
                counts[name,] = len(cells.keys)
                yield Figures(asked, spec, cells.shown(spec), marks)
        for shared in found.values():  # which other workers alone have
            cells, rows = columns_of(shared), counted_by_others(shared.spec)
            if rows is not None:
                yield from self._counted.figures(rows, cells, shared.exemplars, counts, name_of)
            elif (asked := name_of(shared.spec)) is not None:
                counts[shared.spec.name,] = len(shared.keys)
                yield Figures(asked, shared.spec, cells.shown(shared.spec), shared.exemplars)
        yield from self._scrape_time_figures(counts, self.pids(reading), name_of)

    def fine_figures(self, reading: Snapshot | None) -> Iterator[tuple[str, FineRows]]:
        """
        Yield histograms on buckets that are finer than their own, as far as there are any.
        """
        return finer(self._families.copy().values(), reading)

    def _scrape_time_figures(
        self, counts: Mapping[LabelSet, float], pids: Mapping[str, int], name_of: NameOf
    ) -> Iterator[Figures]:
        read = [(spec, _guarded(pull)) for spec, pull in self._scrape_time if name_of(spec) is not None]
        read += [(own.LABEL_SETS, counts), *_guarded(lambda: process_gauges.read_all(pids)).items()]
        for spec, values in read:
            if values and (name := name_of(spec)) is not None:
                cells = [(tuple(map(sanitize_label_value, key)), [value]) for key, value in values.items()]
                yield Figures(name, spec, cells)

    def _renderer(self, spec: Metric, name: str) -> FamilyRenderer:
        renderer = self._renderers.get((spec, name))
        if renderer is None:
            labels = self._label_renames.rename(spec)
            renderer = self._renderers[spec, name] = FamilyRenderer(name, spec.kind, spec.help, labels, spec.buckets)
        return renderer


def _guarded(read: Callable[[], Mapping[K, V]]) -> Mapping[K, V]:
    """
    Return what `read` returns; nothing where it raises, which is counted.
    """
    try:
        return read()
    except Exception as error:
        recorder.failed("metrics_page", error)
        return {}


def _sample_names(spec: Metric, name: str) -> list[str]:
    family = name.removesuffix("_total") if spec.kind == "counter" else name
    return [family + suffix for suffix in ("", *SUFFIXES.get(spec.kind, ()))]


def _conflict(name: str, spec: Metric) -> MetricConflictError:
    prefix = "Give obskit's a prefix with namespace='...', r" if spec.prefixed else "R"
    return MetricConflictError(
        f"the metric {name!r} is registered already, by the application or another library. {prefix}ename it or leave "
        f"it out with metric_names={{{spec.name!r}: 'other_name'}} (None leaves it out), or remove the application's "
        "own"
    )
