"""
Values of each worker's process, as the system reports them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from obskit.catalogue import Metric, process
from obskit.metrics.cell_format import LabelSet

READERS: dict[Metric, Callable[[Any], float]] = {
    process.CPU: lambda process: sum(process.cpu_times()[:2]),
    process.MEMORY: lambda process: process.memory_info().rss,
    process.START: lambda process: process.create_time(),
    process.THREADS: lambda process: process.num_threads(),
    process.OPEN_FDS: lambda process: process.num_fds(),
}


def read_all(workers: Mapping[str, int]) -> dict[Metric, dict[LabelSet, float]]:
    """
    Return each worker's values, by metric; those the system does not report are left out.

    Args:
        workers: Process ids, by the label `worker`.
    """
    import psutil

    found: dict[Metric, dict[LabelSet, float]] = {spec: {} for spec in READERS}
    for worker, pid in workers.items():
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                for spec, read in READERS.items():
                    try:
                        found[spec][worker,] = float(read(process))
                    except (psutil.AccessDenied, AttributeError, NotImplementedError):
                        continue
        except psutil.Error:
            continue
    return found
