"""
Read what the system knows of each worker's process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from obskit.catalogue import Metric, process
from obskit.metrics.family import Labels

READ: dict[Metric, Callable[[Any], float]] = {
    process.CPU: lambda it: sum(it.cpu_times()[:2]),
    process.MEMORY: lambda it: it.memory_info().rss,
    process.START: lambda it: it.create_time(),
    process.THREADS: lambda it: it.num_threads(),
    process.OPEN_FDS: lambda it: it.num_fds(),
}


def figures(workers: Mapping[str, int]) -> dict[Metric, dict[Labels, float]]:
    """
    Read each worker's figures, by the metric; what the system does not tell is left out.

    Args:
        workers: The process's id, by the label `worker`.
    """
    import psutil

    found: dict[Metric, dict[Labels, float]] = {spec: {} for spec in READ}
    for worker, pid in workers.items():
        try:
            it = psutil.Process(pid)
            with it.oneshot():
                for spec, read in READ.items():
                    try:
                        found[spec][worker,] = float(read(it))
                    except (psutil.AccessDenied, AttributeError, NotImplementedError):
                        continue
        except psutil.Error:
            continue
    return found
