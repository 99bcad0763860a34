"""
Show families on the metrics page, and to a `prometheus_client` registry, under the names that a runtime gives them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Page

from obskit.catalogue import Metric
from obskit.catalogue import self as own
from obskit.deferred import drain
from obskit.errors import MetricConflictError
from obskit.metrics import process_gauges
from obskit.metrics.cells import Cell
from obskit.metrics.exposition import Exemplars, Figures, Layout, Section, negotiate, page
from obskit.metrics.family import MEMORY, CountedHistogram, Counter, Family, Gauge, Labels, label_text
from obskit.metrics.foreign_registry import foreign, own_left_out
from obskit.metrics.label_names import AS_THEY_ARE, LabelNames
from obskit.metrics.merge import exact, latest
from obskit.metrics.workers import Workers
from obskit.recorder import recorder

F = TypeVar("F", bound=Family[Any])
K = TypeVar("K")
V = TypeVar("V")
_PAGES = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
_Marks = Mapping[Labels, Exemplars]


@dataclass(frozen=True, slots=True)
class _Cells:
    """
    Hold one metric's label sets, and what their figures are read from, in the same order.

    Two plain lists, since thousands of pairs that live together would set off the garbage collector.
    """

    keys: Sequence[Labels]
    places: Sequence[Any]
    read: Callable[[Any], Figures]

    def shown(self, spec: Metric) -> Iterable[tuple[Labels, Figures]]:
        """
        Give label sets and figures one by one; of a gauge without the time it was set, which only adding up needs.
        """
        if spec.kind == "histogram":
            return zip(self.keys, map(self.read, self.places), strict=True)
        return zip(self.keys, zip([self.read(place)[0] for place in self.places], strict=True), strict=True)


class _Groups:
    """
    Know which label sets of a counted histogram are one on the page; kept from page to page while they are the same.
    """

    def __init__(self, keys: Sequence[Labels]) -> None:
        self.keys = keys
        self.members: dict[Labels, list[int]] = {}
        for index, key in enumerate(keys):
            self.members.setdefault(key[:-1], []).append(index)

    def histograms(self, cells: _Cells, totals: list[float | None]) -> Iterator[tuple[Labels, Figures]]:
        """
        Give the histograms one by one, and note how many observations each label set has.
        """
        for key, members in self.members.items():
            rows = [cells.read(cells.places[index]) for index in members]
            for index, row in zip(members, rows, strict=True):
                totals[index] = sum(row[2:])
            yield key, rows[0] if len(rows) == 1 else _joined(rows)

    def counters(self, cells: _Cells, totals: list[float | None]) -> Iterator[tuple[Labels, Figures]]:
        """
        Give the counts as the histograms had them, so that both agree; read now where those are not on the page.
        """
        for key, place, total in zip(cells.keys, cells.places, totals, strict=True):
            yield key, (sum(cells.read(place)[2:]) if total is None else total,)


class MetricCollector:
    """
    Take families up, name them, and answer scrapes for all workers.

    Args:
        namespace: Prefix of the application's metrics.
        renames: `metric_names`.
        max_label_sets: The cap of each family.
        workers: Where the figures lie.
        labels: `metric_labels`.
    """

    def __init__(
        self,
        namespace: str,
        renames: Mapping[str, str | None],
        max_label_sets: int,
        workers: Workers,
        labels: LabelNames = AS_THEY_ARE,
    ) -> None:
        self._namespace = namespace
        self._renames = renames
        self._labels = labels
        self._max_label_sets = max_label_sets
        self._workers = workers
        self._families: dict[str, Family[Any]] = {}
        self._scrape_time: list[tuple[Metric, Callable[[], Mapping[Labels, float]]]] = []
        self._registries: list[CollectorRegistry] = []
        self._layouts: dict[tuple[Metric, str], Layout] = {}
        self._groups: dict[str, _Groups] = {}
        # Called before a page is made: what is counted elsewhere is brought in.
        self.refresh: list[Callable[[], None]] = []
        overflowed = self.add(Counter(own.OVERFLOW))
        self._overflow = lambda family: overflowed.cell((family.name,)).inc()
        degraded, set_aside = self.add(Gauge(own.DEGRADED)).labels(), self.add(Counter(own.SET_ASIDE))

        def refresh() -> None:
            degraded.set(float(workers.degraded))
            for reason, files in workers.set_aside.items():
                set_aside.cell((reason,)).show(files)

        self.refresh.append(refresh)

    def name_of(self, spec: Metric) -> str | None:
        """
        Give the metric's name on the page; None where the settings leave it out.
        """
        name = self._renames.get(spec.name, spec.name)
        if name is None or not spec.prefixed or not self._namespace:
            return name
        return f"{self._namespace}_{name}"

    def add(self, family: F) -> F:
        """
        Take a family up, unless the settings leave it out; either way it can be updated.

        Raises:
            MetricConflictError: Another family, or the application, has the name.
            ConfigurationError: `metric_labels` renames what it has not, or to what it may not have.
        """
        self._labels.check(family.spec)
        family.max_label_sets = self._max_label_sets
        name = self.name_of(family.spec)
        if name is not None:
            if self._families.get(name, family) is not family:
                raise _conflict(name, family.spec)
            self._claim(family, name)
            family.name = name
            if family.spec is not own.OVERFLOW:
                family.on_overflow = self._overflow
            family.move(self._workers)
            self._families[name] = family
        return family

    def add_scrape_time(self, spec: Metric, read: Callable[[], Mapping[Labels, float]]) -> None:
        """
        Show figures that are read when the page is asked for, and that are the same in every worker.
        """
        self._scrape_time.append((spec, read))

    def register(self, registry: CollectorRegistry) -> None:
        """
        Join a registry.

        Raises:
            MetricConflictError: The application has registered one of the names itself.
        """
        taken = set(getattr(registry, "_names_to_collectors", {}))
        for spec, name in self._named():
            samples = _sample_names(self._empty(spec, name))
            if not taken.isdisjoint(samples):
                raise _conflict(name, spec)
            taken.update(samples)
        registry.register(self)
        self._registries.append(registry)

    def _claim(self, family: Family[Any], name: str) -> None:
        """
        Re-register with a name that comes after the registry was joined, so that the registry knows it.
        """
        for registry in self._registries:
            names = _sample_names(self._empty(family.spec, name))
            taken = getattr(registry, "_names_to_collectors", {})
            if any(taken.get(sample, self) is not self for sample in names):
                raise _conflict(name, family.spec)
            registry.unregister(self)
            self._families[name] = family
            registry.register(self)

    def close(self) -> None:
        """
        Leave every registry; the families zero themselves when they are taken up again.
        """
        for registry in self._registries:
            registry.unregister(self)
        self._registries.clear()
        for family in self._families.copy().values():
            family.home = MEMORY
            family.clear()
        self._families.clear()
        self._groups.clear()
        self._workers.close()

    def describe(self) -> Iterable[Page]:
        """
        Tell a registry the names, without the figures.
        """
        return [self._empty(spec, name) for spec, name in self._named()]

    def _empty(self, spec: Metric, name: str) -> Any:
        return _PAGES[spec.kind](name, spec.help, labels=self._labels.shown(spec))

    def _named(self) -> Iterator[tuple[Metric, str]]:
        for name, family in self._families.copy().items():
            yield family.spec, name
            if isinstance(family, CountedHistogram) and (counted := self.name_of(family.counted)):
                yield family.counted, counted
        for spec in (*(spec for spec, _ in self._scrape_time), own.LABEL_SETS, *process_gauges.READ):
            if (shown := self.name_of(spec)) is not None:
                yield spec, shown

    def collect(self) -> Iterator[Page]:
        """
        Answer a registry.
        """
        if not own_left_out():
            for section in self.sections():
                yield section.metric()

    @property
    def is_of_one_process(self) -> bool:
        """
        Tell whether the figures are this process's alone, and nothing has failed that would say so.
        """
        return self._workers.is_resolved and not self._workers.are_shared and not self._workers.degraded

    def page(
        self, registry: CollectorRegistry, accept: str, names: frozenset[str] | None, packed: bool
    ) -> tuple[list[tuple[str, str]], bytes]:
        """
        Render the metrics page: own families, and what else the registry holds.

        Args:
            registry: The registry that was joined.
            accept: The client's `Accept` header.
            names: `name[]`; None is all.
            packed: Whether to pack it with gzip.

        Returns:
            Headers that tell of the body, and the body.
        """
        openmetrics = negotiate(accept).openmetrics
        self._workers.resolve()
        worker = self._workers.slot if self._workers.are_shared or self._workers.degraded else None
        others = foreign(registry, worker, names)
        headers, pieces = page(self.sections(openmetrics), others, accept=accept, names=names, packed=packed)
        return headers, b"".join(pieces)

    def sections(self, exemplars: bool = False) -> Iterator[Section]:
        """
        Give the figures of all workers.

        Args:
            exemplars: Give exemplars too; only OpenMetrics has room for them.
        """
        drain()
        for refresh in self.refresh:
            refresh()
        snapshot = self._workers.snapshot(exemplars=exemplars)
        found = dict(snapshot.families) if snapshot else {}
        counts: dict[Labels, float] = {}
        for name, family in self._families.copy().items():
            if snapshot is None:
                cells, marks = _own_cells(family), _own_exemplars(family) if exemplars else {}
                stored = family.stored
            else:
                shared = found.pop(name, None)
                cells = _Cells(shared.keys, shared.rows, _as_it_is) if shared else _NO_CELLS
                stored, marks = (shared.spec, shared.exemplars) if shared else (family.stored, {})
                if not cells.keys and not family.spec.labels:
                    cells = _Cells([()], [[0.0] * (len(family.spec.buckets) + 3)], _as_it_is)
            if isinstance(family, CountedHistogram) and stored.labels == family.stored.labels:
                yield from self._counted(name, family, cells, marks, counts)
            else:
                counts[name,] = len(cells.keys)
                yield Section(self._layout(stored, name), cells.shown(stored), marks)
        for name, shared in found.items():  # which only other workers have declared
            cells = _Cells(shared.keys, shared.rows, _as_it_is)
            yield Section(self._layout(shared.spec, name), cells.shown(shared.spec), shared.exemplars)
        pids = {str(worker.slot): worker.pid for worker in snapshot.workers} if snapshot else {}
        yield from self._read_now(counts, pids or {self._workers.slot: os.getpid()})

    def _counted(
        self, name: str, family: CountedHistogram, cells: _Cells, marks: _Marks, counts: dict[Labels, float]
    ) -> Iterator[Section]:
        """
        Give a histogram, which adds up over the last label, and the counter of its observations.
        """
        groups = self._groups.get(name)
        if groups is None or groups.keys != cells.keys:
            groups = self._groups[name] = _Groups(cells.keys)
        counts[name,] = len(groups.members)
        totals: list[float | None] = [None] * len(cells.keys)
        shown: dict[Labels, Exemplars] = {}
        for key, found in marks.items():
            known = shown.get(key[:-1])
            shown[key[:-1]] = found if known is None else latest(known, found)
        yield Section(self._layout(family.spec, name), groups.histograms(cells, totals), shown)
        if counted := self.name_of(family.counted):
            yield Section(self._layout(family.counted, counted), groups.counters(cells, totals))

    def _read_now(self, counts: Mapping[Labels, float], pids: Mapping[str, int]) -> Iterator[Section]:
        read = [(spec, _guarded(pull)) for spec, pull in self._scrape_time]
        read += [(own.LABEL_SETS, counts), *_guarded(lambda: process_gauges.figures(pids)).items()]
        for spec, figures in read:
            if (name := self.name_of(spec)) and figures:
                cells = [(tuple(map(label_text, key)), [figure]) for key, figure in figures.items()]
                yield Section(self._layout(spec, name), cells)

    def _layout(self, spec: Metric, name: str) -> Layout:
        layout = self._layouts.get((spec, name))
        if layout is None:
            labels = self._labels.shown(spec)
            layout = self._layouts[spec, name] = Layout(name, spec.kind, spec.help, labels, spec.buckets)
        return layout


def _joined(rows: list[Figures]) -> Figures:
    """
    Make one histogram of several. A page may have them in another order than the one before, and the sum may not go
    backwards for that.
    """
    joined: list[float] = [*map(sum, zip(*rows, strict=True))]
    joined[1] = exact([row[1] for row in rows])
    return joined


def _own_cells(family: Family[Any]) -> _Cells:
    keys, cells = family.listed()
    return _Cells(keys, cells, Cell.figures)


def _as_it_is(row: Figures) -> Figures:
    return row


_NO_CELLS = _Cells([], [], _as_it_is)


def _own_exemplars(family: Family[Any]) -> _Marks:
    return {key: cell.exemplars for key, cell in family.items() if cell.exemplars}


def _guarded(read: Callable[[], Mapping[K, V]]) -> Mapping[K, V]:
    """
    Read figures; where that fails the page is without them.
    """
    try:
        return read()
    except Exception as error:
        recorder.failed("metrics_page", error)
        return {}


def _sample_names(page: Page) -> list[str]:
    suffixes = {"counter": ("_total", "_created"), "histogram": ("_bucket", "_sum", "_count", "_created")}
    return [page.name + suffix for suffix in ("", *suffixes.get(page.type, ()))]


def _conflict(name: str, spec: Metric) -> MetricConflictError:
    prefix = "Give obskit's a prefix with namespace='...', r" if spec.prefixed else "R"
    return MetricConflictError(
        f"the metric {name!r} is registered already, by the application or another library. {prefix}ename it or leave "
        f"it out with metric_names={{{spec.name!r}: 'other_name'}} (None leaves it out), or remove the application's "
        "own"
    )
