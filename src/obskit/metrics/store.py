"""
Show families as one collector of a `prometheus_client` registry, under the names that a runtime gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Page
from prometheus_client.utils import floatToGoString

from obskit.catalogue import Metric
from obskit.errors import MetricConflictError
from obskit.metrics.family import CountedHistogram, Family, Histogram, Labels

F = TypeVar("F", bound=Family[Any])
_PAGES = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}


class MetricStore:
    """
    Take families up, name them, and answer the registry's scrapes.
    """

    def __init__(self, namespace: str, renames: Mapping[str, str | None], max_label_sets: int) -> None:
        self._namespace = namespace
        self._renames = renames
        self._max_label_sets = max_label_sets
        self._families: dict[str, Family[Any]] = {}
        self._pulled: list[tuple[Metric, Callable[[], Mapping[Labels, float]]]] = []
        self._registries: list[CollectorRegistry] = []

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
        """
        family.max_label_sets = self._max_label_sets
        name = self.name_of(family.spec)
        if name is not None:
            if self._families.get(name, family) is not family:
                raise _conflict(name, family.spec)
            self._claim(family, name)
            family.name = name
            self._families[name] = family
        return family

    def add_pulled(self, spec: Metric, read: Callable[[], Mapping[Labels, float]]) -> None:
        """
        Show figures that are read when the page is asked for.
        """
        self._pulled.append((spec, read))

    def register(self, registry: CollectorRegistry) -> None:
        """
        Join a registry.

        Raises:
            MetricConflictError: The application has registered one of the names itself.
        """
        taken = set(getattr(registry, "_names_to_collectors", {}))
        for spec, name in self._named():
            samples = _sample_names(_empty(spec, name))
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
            page = _empty(family.spec, name)
            taken = getattr(registry, "_names_to_collectors", {})
            if any(taken.get(sample, self) is not self for sample in _sample_names(page)):
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
        for family in self._families.values():
            family.clear()
        self._families.clear()

    def describe(self) -> Iterable[Page]:
        """
        Tell a registry the names, without the figures.
        """
        return [_empty(spec, name) for spec, name in self._named()]

    def _named(self) -> Iterator[tuple[Metric, str]]:
        for name, family in self._families.items():
            yield family.spec, name
            if isinstance(family, CountedHistogram) and (counted := self.name_of(family.counted)):
                yield family.counted, counted
        for spec, _ in self._pulled:
            if pulled := self.name_of(spec):
                yield spec, pulled

    def collect(self) -> Iterator[Page]:
        """
        Answer a scrape.
        """
        for name, family in list(self._families.items()):
            page = _empty(family.spec, name)
            if isinstance(family, CountedHistogram):
                for key, buckets, total in family.merged():
                    _add_histogram(page, key, family.spec.buckets, buckets, total)
                yield page
                if counted := self.name_of(family.counted):
                    yield _counts(family, counted)
            else:
                for key, cell in family.items():
                    if isinstance(family, Histogram):
                        _add_histogram(page, key, family.spec.buckets, *cell.read())
                    else:
                        page.add_metric(key, cell.value)
                yield page
        for spec, read in self._pulled:
            if pulled := self.name_of(spec):
                page = _empty(spec, pulled)
                for key, value in read().items():
                    page.add_metric(key, value)
                yield page

    def label_sets(self) -> dict[Labels, float]:
        """
        Count each family's label sets.
        """
        return {(name,): family.label_sets() for name, family in self._families.items()}

    def overflowed(self) -> dict[Labels, float]:
        """
        Count each family's updates beyond the cap.
        """
        return {(name,): family.overflowed for name, family in self._families.items() if family.overflowed}


def _empty(spec: Metric, name: str) -> Any:
    return _PAGES[spec.kind](name, spec.help, labels=spec.labels)


def _counts(family: CountedHistogram, name: str) -> Page:
    page = CounterMetricFamily(name, family.counted.help, labels=family.counted.labels)
    for key, cell in family.items():
        page.add_metric(key, sum(cell.read()[0]))
    return page


def _add_histogram(page: Any, key: Labels, bounds: tuple[float, ...], buckets: list[int], total: float) -> None:
    edges = [*map(floatToGoString, bounds), "+Inf"]
    page.add_metric(key, buckets=list(zip(edges, accumulate(buckets), strict=True)), sum_value=total)


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
