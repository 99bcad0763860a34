"""
Declare the application's own metrics: at import if you like, before or after `configure()`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any, TypeVar, cast

from obskit.catalogue import CATALOGUE, Metric
from obskit.catalogue.spec import Workers
from obskit.errors import ConfigurationError, MetricConflictError, MetricNameError
from obskit.metrics.family import Counter, Family, Gauge, Histogram
from obskit.metrics.gauge_callbacks import GaugeCallback, gauge_callbacks
from obskit.observation import kind_of

F = TypeVar("F", bound=Family[Any])

# prometheus_client's default bounds, in seconds.
DEFAULT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)

declared: dict[str, Family[Any]] = {}
# Called with each metric that is declared while a runtime is active.
listeners: list[Callable[[Family[Any]], object]] = []
_own = {row.name: row for row in CATALOGUE}


def counter(
    name: str, help: str, labels: Iterable[str] = (), *, namespace: str | None = None, unit: str = ""
) -> Counter:
    """
    Declare a counter: a value that only grows, such as plates recognised.

    Args:
        name: Without the namespace; `_total` is added where it is missing.
        help: One sentence, shown on the metrics page.
        labels: Names of labels, each with a bounded set of values; at most `max_label_sets` combinations are kept.
        namespace: An empty string leaves the application's namespace out.
        unit: What it counts, a word in lower case such as `plates`. Default: what the end of the name says
            (`_seconds`, `_bytes`, `_usd`, `_percent`, `_ratio`, `_celsius` ...), else `count`.

    Returns:
        The counter; the same declaration again returns the same object. Thread-safe.

    Raises:
        MetricNameError: Prometheus does not accept the name or a label, or `unit` is no word or not what the name says.
        MetricConflictError: The name is declared already, with another type, help or labels.
    """
    name = name if name.endswith("_total") else name + "_total"
    spec = Metric(name, "counter", help, _label_names(name, labels), prefixed=namespace != "", unit=unit)
    return _declare(spec, Counter, namespace)


def gauge(
    name: str,
    help: str,
    labels: Iterable[str] = (),
    *,
    namespace: str | None = None,
    workers: Workers = "sum",
    query: Callable[[], Any] | None = None,
    every: float = 60.0,
    unit: str = "",
) -> Gauge:
    """
    Declare a gauge: a value that goes up and down, such as open connections.

    Args:
        name: Without the namespace; a name that ends in `_total` warns, since that says counter.
        help: One sentence, shown on the metrics page.
        labels: Names of labels, each with a bounded set of values.
        namespace: An empty string leaves the application's namespace out.
        workers: How the values of several workers are merged: `sum`, `min`, `max` or `latest`.
        query: Called in a background thread, never in a request; returns the value, or `{labels: value}` where
            the gauge has labels (a tuple where it has several). Label sets that it no longer returns are removed from
            the page. An error keeps the last result and is counted in `obskit_errors_total{sink="gauge_query"}`.
        every: Seconds between two calls of `query`, from 0.1 up.
        unit: As for `counter()`; where neither it nor the name says one, the gauge is a plain number.

    Returns:
        The gauge; the same declaration again returns the same object. Thread-safe.

    Raises:
        MetricNameError: Prometheus does not accept the name or a label, or `unit` is no word or not what the name says.
        MetricConflictError: The name is declared already, differently.
        ConfigurationError: `query` is not a plain function, `every` or `workers` is out of range.
    """
    if name.endswith("_total"):
        warnings.warn(f"the gauge {name} ends in _total, which says counter; rename it", stacklevel=2)
    if workers not in ("sum", "min", "max", "latest"):
        raise ConfigurationError(f"workers={workers!r}: expected 'sum', 'min', 'max' or 'latest'")
    names, is_prefixed = _label_names(name, labels), namespace != ""
    spec = Metric(name, "gauge", help, names, workers=workers, prefixed=is_prefixed, unit=unit)
    if query is None:
        return _declare(spec, Gauge, namespace)
    ask, seconds = _checked_query(name, query), _checked_every(name, every)
    made = _declare(spec, Gauge, namespace)
    gauge_callbacks.add(GaugeCallback(made, ask, seconds))
    return made


def histogram(
    name: str,
    help: str,
    labels: Iterable[str] = (),
    *,
    namespace: str | None = None,
    buckets: Iterable[float] = DEFAULT_BUCKETS,
    unit: str = "",
) -> Histogram:
    """
    Declare a histogram: observations by bucket, such as seconds of OCR.

    Args:
        name: Without the namespace; put the base unit last (`_seconds`, `_bytes`).
        help: One sentence, shown on the metrics page.
        labels: Names of labels, each with a bounded set of values.
        namespace: An empty string leaves the application's namespace out.
        buckets: Upper bounds, ascending; `+Inf` is added. Default: `prometheus_client`'s, for seconds.
        unit: As for `gauge()`.

    Returns:
        The histogram; the same declaration again returns the same object. Thread-safe.

    Raises:
        MetricNameError: Prometheus does not accept the name or a label, or `unit` is no word or not what the name says.
        MetricConflictError: The name is declared already, differently.
        ConfigurationError: The bounds are not ascending.
    """
    names, bounds = _label_names(name, labels), _bounds(name, buckets)
    spec = Metric(name, "histogram", help, names, buckets=bounds, prefixed=namespace != "", unit=unit)
    return _declare(spec, Histogram, namespace)


def _label_names(name: str, labels: Iterable[str]) -> tuple[str, ...]:
    if isinstance(labels, str):
        raise MetricNameError(f"labels={labels!r} of {name} is one string: give a list, labels=[{labels!r}]")
    return tuple(labels)


def _bounds(name: str, buckets: Iterable[float]) -> tuple[float, ...]:
    try:
        bounds = tuple(float(bound) for bound in buckets)
    except (TypeError, ValueError, OverflowError):
        bounds = ()
    if bounds and bounds[-1] == float("inf"):
        bounds = bounds[:-1]
    if not bounds or bounds[0] != bounds[0] or not all(low < high for low, high in pairwise(bounds)):
        raise ConfigurationError(f"buckets={buckets!r} of {name}: expected ascending numbers, such as (0.1, 0.5, 1)")
    return bounds


def collect(listener: Callable[[Family[Any]], object]) -> None:
    """
    Call a runtime's listener with each metric that is declared, and with each that will be.
    """
    for family in declared.values():
        listener(family)
    listeners.append(listener)


def leave(listener: Callable[[Family[Any]], object]) -> None:
    """
    Call this listener no more.
    """
    listeners[:] = [known for known in listeners if known != listener]


def _declare(spec: Metric, kind: Callable[[Metric], F], namespace: str | None) -> F:
    if namespace:
        spec = replace(spec, name=f"{namespace}_{spec.name}", prefixed=False)
    if spec.name in _own:
        raise MetricConflictError(f"{spec.name!r} is one of obskit's own metrics; choose another name")
    known = declared.get(spec.name)
    if known is None:
        family = kind(spec)
        for listener in listeners:
            listener(family)
        declared[spec.name] = family
        return family
    if known.spec != spec:
        raise MetricConflictError(
            f"the metric {spec.name!r} is declared twice, differently: first {known.spec}, now {spec}"
        )
    return cast(F, known)


def unknown(names: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    """
    Yield the names that are neither obskit's metrics nor declared so far, each with the most similar known name.
    """
    from difflib import get_close_matches

    known = [*_own, *declared]
    for name in names:
        if name not in known:
            yield name, next(iter(get_close_matches(name, known, n=1)), None)


def _checked_query(name: str, query: Any) -> Callable[[], Mapping[Any, float] | float]:
    if not callable(query) or (not isinstance(query, type) and kind_of(query) != "function"):
        raise ConfigurationError(
            f"the query of {name} must be a plain function without arguments: it runs in a thread of its own"
        )
    return query  # type: ignore[no-any-return]


def _checked_every(name: str, every: float) -> float:
    if not isinstance(every, (int, float)) or not every >= 0.1:
        raise ConfigurationError(f"every={every!r} of {name}: expected seconds, 0.1 or more")
    return float(every)
