"""
Metrics of connection pools: waiting for a connection, and using it.
"""

from __future__ import annotations

from obskit.catalogue import pools as pool_rows
from obskit.db.pools import TIMEOUT, ConnectionUse, ConnectionWait, pools
from obskit.recorder import Step
from obskit.sinks.metrics_by_kind.binding import Binding


def bind_waits(binding: Binding) -> tuple[None, Step]:
    """
    Return the step at the end of a wait.
    """
    seconds = binding.histogram(pool_rows.WAIT, binding.settings.db_buckets)
    timeouts, failed = binding.counter(pool_rows.TIMEOUTS), binding.recorder.failed

    def finish(op: ConnectionWait) -> None:
        try:
            seconds.cell((op.pool,)).observe(op.duration_seconds)
            if op.error == TIMEOUT:
                timeouts.cell((op.pool,)).inc()
        except Exception as error:
            failed("metrics", error)

    return None, finish


def bind_uses(binding: Binding) -> tuple[Step, Step]:
    """
    Return steps that update a pool's gauges with each connection, since another worker's page may read them.
    """
    failed = binding.recorder.failed
    seconds = binding.histogram(pool_rows.USE, binding.settings.db_buckets)
    gauges = [binding.gauge(spec) for spec in (pool_rows.ACTIVE, pool_rows.IDLE, pool_rows.MAX)]

    def show(op: ConnectionUse, given_back: int = 0) -> None:
        size = pools.size_of(op.pool)
        if size is not None:
            size = size._replace(active=size.active - given_back, idle=size.idle + given_back)
            for gauge, value in zip(gauges, size, strict=True):
                if value is not None:
                    gauge.cell((op.pool,)).set(value)

    def start(op: ConnectionUse) -> None:
        try:
            show(op)
        except Exception as error:
            failed("metrics", error)

    def finish(op: ConnectionUse) -> None:
        try:
            seconds.cell((op.pool,)).observe(op.duration_seconds)
            show(op, given_back=1)  # the pool gets it back after this step
        except Exception as error:
            failed("metrics", error)

    def refresh() -> None:
        sizes = dict(pools.sizes())
        for index, gauge in enumerate(gauges):
            figures = {(name,): size[index] for name, size in sizes.items()}
            gauge.replace({key: float(value) for key, value in figures.items() if value is not None})

    binding.collector.refresh.append(refresh)
    return start, finish
