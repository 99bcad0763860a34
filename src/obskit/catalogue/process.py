"""
The metrics of the processes that serve: one label set a worker.
"""

from obskit.catalogue.spec import Metric

_WORKER = ("worker",)

CPU = Metric(
    "obskit_process_cpu_seconds_total",
    "counter",
    "CPU time of the process in seconds, user and system.",
    _WORKER,
    prefixed=False,
    note="`worker` is a small number that a new worker takes over from a dead one; likewise below",
)
MEMORY = Metric(
    "obskit_process_resident_memory_bytes",
    "gauge",
    "Resident memory of the process in bytes; pages that workers share count for each.",
    _WORKER,
    prefixed=False,
)
START = Metric(
    "obskit_process_start_time_seconds",
    "gauge",
    "Start time of the process, in seconds since the epoch.",
    _WORKER,
    prefixed=False,
)
THREADS = Metric("obskit_process_threads", "gauge", "Threads of the process.", _WORKER, prefixed=False, unit="count")
OPEN_FDS = Metric(
    "obskit_process_open_fds",
    "gauge",
    "Open file descriptors of the process.",
    _WORKER,
    prefixed=False,
    unit="count",
)

GC = Metric(
    "obskit_process_gc_collections_total",
    "counter",
    "Garbage collections of all generations.",
    _WORKER,
    prefixed=False,
    note="at most five seconds old, of workers that serve",
)
LOOP_LAG = Metric(
    "obskit_process_event_loop_lag_seconds",
    "gauge",
    "Largest delay of the event loop in the last ten seconds, in seconds.",
    _WORKER,
    prefixed=False,
    note="under asyncio servers; at most five seconds old, of workers that serve",
)

METRICS = (CPU, MEMORY, START, THREADS, OPEN_FDS, GC, LOOP_LAG)
