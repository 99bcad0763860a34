"""
Other families of a registry than obskit's, for the metrics page.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from obskit.metrics.exposition import SUFFIXES, with_samples
from obskit.recorder import recorder

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric


class _Asked(threading.local):
    without_own = False


_asked = _Asked()


def is_collecting_foreign() -> bool:
    """
    Return whether this thread collects the other families: a collector of obskit's then yields none.
    """
    return _asked.without_own


def foreign_families(
    registry: CollectorRegistry, worker: str | None = None, names: Collection[str] | None = None
) -> Iterator[Metric]:
    """
    Collect the families of a registry that are not obskit's.

    Where `PROMETHEUS_MULTIPROC_DIR` is set, `prometheus_client`'s files there are merged over the processes, and the
    registry adds what is not in them. A collector that raises is counted, and only its own families are missing.

    Args:
        registry: Its collector of obskit's families asks `is_collecting_foreign()`.
        worker: The value of a label `worker` that this process's samples get, unless they have one; samples merged
            over the processes get none.
        names: `name[]`, names of samples or families; None is all.
    """
    merged = set()
    if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        for metric in _merged(folder):
            merged.add(metric.name)
            yield from _only(metric, names)
    for metric in _collected(registry, names):
        if metric.name not in merged:
            for chosen in _only(metric, names):
                yield chosen if worker is None else _labelled(chosen, worker)


def _merged(folder: str) -> Iterable[Metric]:
    from prometheus_client.multiprocess import MultiProcessCollector

    read: Any = MultiProcessCollector
    try:
        return list(read(None, folder).collect())
    except Exception as error:
        recorder.failed("metrics_page", error)
        return []


def _collected(registry: CollectorRegistry, names: Collection[str] | None) -> Iterator[Metric]:
    suffixes = {"", *(suffix for some in SUFFIXES.values() for suffix in some)}
    wanted = None if names is None else {name + suffix for name in names for suffix in suffixes}
    given = set()
    try:
        for metric in _without_own(registry if wanted is None else registry.restricted_registry(wanted)):
            given.add(metric.name)
            yield metric
        return
    except Exception as error:
        recorder.failed("metrics_page", error)
    # The registry's loop ended with the collector that raised. Where it lets them be told apart, the others answer.
    known: dict[Any, list[str]] = getattr(registry, "_collector_to_names", {})
    for collector, claimed in list(known.items()):
        if wanted is None or not wanted.isdisjoint(claimed):
            try:
                yield from (metric for metric in _without_own(collector) if metric.name not in given)
            except Exception:
                continue  # counted above


def _without_own(source: Any) -> Iterator[Metric]:
    """
    Collect with this thread's flag set, but unset while the consumer runs.
    """
    metrics: Iterator[Metric] | None = None
    while True:
        _asked.without_own = True
        try:
            metrics = iter(source.collect()) if metrics is None else metrics
            metric = next(metrics, None)
        finally:
            _asked.without_own = False
        if metric is None:
            return
        yield metric


def _only(metric: Metric, names: Collection[str] | None) -> Iterator[Metric]:
    """
    Yield what `name[]` asks for of a family: all of it by its own name, or single samples by theirs.
    """
    if names is None or metric.name in names:
        yield metric
    elif samples := [sample for sample in metric.samples if sample.name in names]:
        yield with_samples(metric, samples)


def _labelled(metric: Metric, worker: str) -> Metric:
    label = {"worker": worker}
    return with_samples(metric, [sample._replace(labels=label | sample.labels) for sample in metric.samples])
