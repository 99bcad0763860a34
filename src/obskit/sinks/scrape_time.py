"""
Metrics of the machine, the process and budgets that are read on each scrape.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING

from obskit.catalogue import Metric, budgets, process
from obskit.catalogue import system as rows
from obskit.health.event_loop_lag import lag
from obskit.metrics.collector import MetricCollector
from obskit.metrics.family import Counter, Gauge
from obskit.metrics.workers import Workers
from obskit.system import gc_collections, sampler
from obskit.workers.candidates import when_serving

if TYPE_CHECKING:
    from obskit.ai.declared_budget import Budget, BudgetStatus

GaugeValues = Mapping[tuple[str, ...], float]


def _single(read: Callable[[], float | None]) -> Callable[[], GaugeValues]:
    def read_values() -> GaugeValues:
        found = read()
        return {} if found is None else {(): float(found)}

    return read_values


def _field(read: Callable[[], Mapping[str, float] | None], name: str) -> Callable[[], GaugeValues]:
    def read_values() -> GaugeValues:
        found = read()
        return {} if found is None else {(): float(found[name])}

    return read_values


def _disks(name: str) -> Callable[[], GaugeValues]:
    return lambda: {(label,): float(found[name]) for label, found in _all_disks().items() if name in found}


def _load() -> GaugeValues:
    return {(window,): value for window, value in (sampler.load() or {}).items()}


# What several metrics share is read once per scrape.
_memory, _swap, _all_disks = cache(sampler.memory), cache(sampler.swap), cache(sampler.disks)

READERS: dict[Metric, Callable[[], GaugeValues]] = {
    rows.CPU: _single(sampler.cpu_percent),
    rows.CPU_LIMIT: _single(lambda: sampler.limits.cpus()),
    rows.MEMORY: _field(_memory, "used_bytes"),
    rows.MEMORY_TOTAL: _field(_memory, "total_bytes"),
    rows.SWAP: _field(_swap, "used_bytes"),
    rows.SWAP_TOTAL: _field(_swap, "total_bytes"),
    rows.DISK: _disks("used_bytes"),
    rows.DISK_TOTAL: _disks("total_bytes"),
    rows.LOAD: _load,
    rows.NETWORK_ERRORS: _single(sampler.network_errors),
}


@cache
def _statuses() -> tuple[BudgetStatus, ...]:
    """
    Return the status of each budget, from the file that all workers share.
    """
    return tuple(budget.status() for budget in _declared())


def _declared() -> tuple[Budget, ...]:
    """
    Return the declared budgets: none where nothing has imported them.
    """
    budget_book = sys.modules.get("obskit.ai.budget_book")
    return () if budget_book is None else tuple(budget_book.budget_book.declared.values())


def _budgets(read: Callable[[BudgetStatus], float | None]) -> Callable[[], GaugeValues]:
    def read_values() -> GaugeValues:
        found = {(status.name,): read(status) for status in _statuses()}
        return {key: value for key, value in found.items() if value is not None}

    return read_values


def _limits() -> GaugeValues:
    return {(budget.name,): budget.usd for budget in _declared()}


BUDGET_READERS: dict[Metric, Callable[[], GaugeValues]] = {
    budgets.LIMIT: _limits,
    budgets.SPENT: _budgets(lambda status: status.spent_usd),
    budgets.PROJECTED: _budgets(lambda status: status.projected_usd),
}


def add_scrape_time_metrics(collector: MetricCollector, workers: Workers) -> None:
    """
    Expose the machine's values, and those that only the process itself can read.
    """
    for spec, read in (*READERS.items(), *BUDGET_READERS.items()):
        collector.add_scrape_time(spec, _guarded(read))
    collections, delay = collector.add(Counter(process.GC)), collector.add(Gauge(process.LOOP_LAG))

    def refresh() -> None:
        for read in (_memory, _swap, _all_disks, _statuses):
            read.cache_clear()
        worker = (workers.slot,)
        collections.cell(worker).set_total(gc_collections())
        seconds = lag.seconds()
        if seconds is not None:
            delay.cell(worker).set(seconds)

    collector.refresh.append(refresh)
    when_serving(lag.watch_running, "metrics")  # in the first request, and so on its loop


def _guarded(read: Callable[[], GaugeValues]) -> Callable[[], GaugeValues]:
    def read_values() -> GaugeValues:
        try:
            return read()
        except Exception:  # psutil raises various errors for what a platform does not report
            return {}

    return read_values
