"""
The collector: exposes families on the metrics page and to `prometheus_client` registries, under configured names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import get_ident
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as ClientMetric

from obskit.catalogue import Metric
from obskit.catalogue import internal as own
from obskit.deferred_endings import drain
from obskit.errors import MetricConflictError
from obskit.metrics import process_gauges
from obskit.metrics.cell_format import LabelSet
from obskit.metrics.cells import Cell
from obskit.metrics.exposition import Section, negotiate, render_page
from obskit.metrics.family import (
    MEMORY_ALLOCATOR,
    CountedHistogram,
    Counter,
    Family,
    Gauge,
    sanitize_label_value,
)
from obskit.metrics.family_renderer import CellValues, Exemplars, FamilyRenderer
from obskit.metrics.foreign_registry import foreign_families, is_collecting_foreign
from obskit.metrics.label_names import NO_RENAMES, LabelRenames
from obskit.metrics.merge import exact_sum, latest_by_bucket
from obskit.metrics.workers import Workers
from obskit.recorder import recorder

F = TypeVar("F", bound=Family[Any])
K = TypeVar("K")
V = TypeVar("V")
_CLIENT_METRICS = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
_CellExemplars = Mapping[LabelSet, Exemplars]


@dataclass(frozen=True, slots=True)
class _CellColumns:
    """
    One metric's label sets, and what their values are read from, in the same order.

    Two plain lists, since thousands of live tuples would trigger the garbage collector.
    """

    keys: Sequence[LabelSet]
    sources: Sequence[Any]
    read: Callable[[Any], CellValues]

    def shown(self, spec: Metric) -> Iterable[tuple[LabelSet, CellValues]]:
        """
        Return pairs of label set and values; a gauge's without the time it was set, which only merging needs.
        """
        if spec.kind == "histogram":
            return zip(self.keys, map(self.read, self.sources), strict=True)
        return zip(self.keys, zip([self.read(source)[0] for source in self.sources], strict=True), strict=True)


class _Groups:
    """
    Label sets of a counted histogram, grouped by the label set on the page; cached while the label sets are the same.
    """

    def __init__(self, keys: Sequence[LabelSet]) -> None:
        self.keys = keys
        self.members: dict[LabelSet, list[int]] = {}
        for index, key in enumerate(keys):
            self.members.setdefault(key[:-1], []).append(index)

    def histograms(self, cells: _CellColumns, totals: list[float | None]) -> Iterator[tuple[LabelSet, CellValues]]:
        """
        Yield the histograms, and write the number of observations of each label set into `totals`.
        """
        for key, members in self.members.items():
            rows = [cells.read(cells.sources[index]) for index in members]
            for index, row in zip(members, rows, strict=True):
                totals[index] = sum(row[2:])
            yield key, rows[0] if len(rows) == 1 else _sum_rows(rows)

    def counters(self, cells: _CellColumns, totals: list[float | None]) -> Iterator[tuple[LabelSet, CellValues]]:
        """
        Yield the counters from the histograms' totals, so that both agree; read now where those are not on the page.
        """
        for key, source, total in zip(cells.keys, cells.sources, totals, strict=True):
            yield key, (sum(cells.read(source)[2:]) if total is None else total,)


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
        self._max_label_sets = max_label_sets
        self._workers = workers
        self._registering, self._is_outdated = 0, False  # by which thread; whether a name came meanwhile
        self._families: dict[str, Family[Any]] = {}
        self._scrape_time: list[tuple[Metric, Callable[[], Mapping[LabelSet, float]]]] = []
        self._registries: list[CollectorRegistry] = []
        self._renderers: dict[tuple[Metric, str], FamilyRenderer] = {}
        self._groups: dict[str, _Groups] = {}
        # Called before each page, to update what is counted elsewhere.
        self.refresh: list[Callable[[], None]] = []
        overflowed = self.add(Counter(own.OVERFLOW))
        self._overflow = lambda family: overflowed.cell((family.name,)).inc()
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
        name = self._renames.get(spec.name, spec.name)
        if name is None or not spec.prefixed or not self._namespace:
            return name
        return f"{self._namespace}_{name}"

    def add(self, family: F) -> F:
        """
        Expose a family, unless the settings leave it out; it can be updated either way. Return it.

        Raises:
            MetricConflictError: Another family, or the application, has the name.
            ConfigurationError: `metric_labels` renames a label it does not have, or to a name it cannot have.
        """
        self._label_renames.check(family.spec)
        family.max_label_sets = self._max_label_sets
        name = self.name_of(family.spec)
        if name is not None:
            if self._families.get(name, family) is not family:
                raise _conflict(name, family.spec)
            self._reregister(family, name)
            family.name = name
            if family.spec is not own.OVERFLOW:
                family.on_overflow = self._overflow
            family.move_to(self._workers)
            self._families[name] = family
        return family

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
        taken = set(getattr(registry, "_names_to_collectors", {}))
        for spec, name in self._specs_and_names():
            samples = _sample_names(self._empty_family(spec, name))
            if not taken.isdisjoint(samples):
                raise _conflict(name, spec)
            taken.update(samples)
        registry.register(self)
        self._registries.append(registry)

    def _reregister(self, family: Family[Any], name: str) -> None:
        """
        Register again, so that the registry knows a name that was added later.

        A signal's handler, or a finaliser, may come here on top of its own thread, which then holds the registry's
        lock: it leaves the registering to that.
        """
        names = _sample_names(self._empty_family(family.spec, name))
        for registry in self._registries:
            taken = getattr(registry, "_names_to_collectors", {})
            if any(taken.get(sample, self) is not self for sample in names):
                raise _conflict(name, family.spec)
        self._families[name] = family
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
        self._groups.clear()
        self._workers.close()

    def describe(self) -> Iterable[ClientMetric]:
        """
        Return the families without samples, for a registry.
        """
        return [self._empty_family(spec, name) for spec, name in self._specs_and_names()]

    def _empty_family(self, spec: Metric, name: str) -> Any:
        return _CLIENT_METRICS[spec.kind](name, spec.help, labels=self._label_renames.rename(spec))

    def _specs_and_names(self) -> Iterator[tuple[Metric, str]]:
        for name, family in self._families.copy().items():
            yield family.spec, name
            if isinstance(family, CountedHistogram) and (counted := self.name_of(family.counter_spec)):
                yield family.counter_spec, counted
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
        Yield the families with the values of all workers.

        Args:
            exemplars: With exemplars, which only OpenMetrics shows.
        """
        drain()
        for refresh in self.refresh:
            refresh()
        snapshot = self._workers.snapshot(exemplars=exemplars)
        found = dict(snapshot.families) if snapshot else {}
        counts: dict[LabelSet, float] = {}
        for name, family in self._families.copy().items():
            if snapshot is None:
                cells, cell_exemplars = _local_cells(family), _local_exemplars(family) if exemplars else {}
                cell_spec = family.cell_spec
            else:
                shared = found.pop(name, None)
                cells = _CellColumns(shared.keys, shared.rows, _identity) if shared else _NO_CELLS
                cell_spec, cell_exemplars = (shared.spec, shared.exemplars) if shared else (family.cell_spec, {})
                if not cells.keys and not family.spec.labels:
                    cells = _CellColumns([()], [[0.0] * (len(family.spec.buckets) + 3)], _identity)
            if isinstance(family, CountedHistogram) and cell_spec.labels == family.cell_spec.labels:
                yield from self._counted(name, family, cells, cell_exemplars, counts)
            else:
                counts[name,] = len(cells.keys)
                yield Section(self._renderer(cell_spec, name), cells.shown(cell_spec), cell_exemplars)
        for name, shared in found.items():  # declared by other workers only
            cells = _CellColumns(shared.keys, shared.rows, _identity)
            yield Section(self._renderer(shared.spec, name), cells.shown(shared.spec), shared.exemplars)
        pids = {str(worker.slot): worker.pid for worker in snapshot.workers} if snapshot else {}
        yield from self._scrape_time_sections(counts, pids or {self._workers.slot: os.getpid()})

    def _counted(
        self,
        name: str,
        family: CountedHistogram,
        cells: _CellColumns,
        cell_exemplars: _CellExemplars,
        counts: dict[LabelSet, float],
    ) -> Iterator[Section]:
        """
        Yield a histogram, summed over the last label, and the counter of its observations.
        """
        groups = self._groups.get(name)
        if groups is None or groups.keys != cells.keys:
            groups = self._groups[name] = _Groups(cells.keys)
        counts[name,] = len(groups.members)
        totals: list[float | None] = [None] * len(cells.keys)
        shown: dict[LabelSet, Exemplars] = {}
        for key, found in cell_exemplars.items():
            known = shown.get(key[:-1])
            shown[key[:-1]] = found if known is None else latest_by_bucket(known, found)
        yield Section(self._renderer(family.spec, name), groups.histograms(cells, totals), shown)
        if counted := self.name_of(family.counter_spec):
            yield Section(self._renderer(family.counter_spec, counted), groups.counters(cells, totals))

    def _scrape_time_sections(self, counts: Mapping[LabelSet, float], pids: Mapping[str, int]) -> Iterator[Section]:
        read = [(spec, _guarded(pull)) for spec, pull in self._scrape_time]
        read += [(own.LABEL_SETS, counts), *_guarded(lambda: process_gauges.read_all(pids)).items()]
        for spec, values in read:
            if (name := self.name_of(spec)) and values:
                cells = [(tuple(map(sanitize_label_value, key)), [value]) for key, value in values.items()]
                yield Section(self._renderer(spec, name), cells)

    def _renderer(self, spec: Metric, name: str) -> FamilyRenderer:
        renderer = self._renderers.get((spec, name))
        if renderer is None:
            labels = self._label_renames.rename(spec)
            renderer = self._renderers[spec, name] = FamilyRenderer(name, spec.kind, spec.help, labels, spec.buckets)
        return renderer


def _sum_rows(rows: list[CellValues]) -> CellValues:
    """
    Return the sum of several histograms. Their order may change between pages, and the sum must not decrease for that.
    """
    joined: list[float] = [*map(sum, zip(*rows, strict=True))]
    joined[1] = exact_sum([row[1] for row in rows])
    return joined


def _local_cells(family: Family[Any]) -> _CellColumns:
    keys, cells = family.keys_and_cells()
    return _CellColumns(keys, cells, Cell.read_values)


def _identity(row: CellValues) -> CellValues:
    return row


_NO_CELLS = _CellColumns([], [], _identity)


def _local_exemplars(family: Family[Any]) -> _CellExemplars:
    return {key: cell.exemplars for key, cell in family.items() if cell.exemplars}


def _guarded(read: Callable[[], Mapping[K, V]]) -> Mapping[K, V]:
    """
    Return what `read` returns; nothing where it raises, which is counted.
    """
    try:
        return read()
    except Exception as error:
        recorder.failed("metrics_page", error)
        return {}


def _sample_names(page: ClientMetric) -> list[str]:
    suffixes = {"counter": ("_total", "_created"), "histogram": ("_bucket", "_sum", "_count", "_created")}
    return [page.name + suffix for suffix in ("", *suffixes.get(page.type, ()))]


def _conflict(name: str, spec: Metric) -> MetricConflictError:
    prefix = "Give obskit's a prefix with namespace='...', r" if spec.prefixed else "R"
    return MetricConflictError(
        f"the metric {name!r} is registered already, by the application or another library. {prefix}ename it or leave "
        f"it out with metric_names={{{spec.name!r}: 'other_name'}} (None leaves it out), or remove the application's "
        "own"
    )
