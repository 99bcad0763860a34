"""
The metrics of the machine, or of the container where it is limited: read when the page is asked for.

What the platform does not tell is not on the page.
"""

from obskit.catalogue.spec import Metric

CPU = Metric(
    "system_cpu_usage_percent",
    "gauge",
    "CPU usage since the last scrape, in percent from 0 to 100.",
    note="from the second scrape on; in a container that is limited, 100 is its share",
    is_shared=True,
)
CPU_LIMIT = Metric(
    "system_cpu_limit_cores",
    "gauge",
    "CPU limit of the container, in cores.",
    note="in a container that is limited",
    is_shared=True,
)
MEMORY = Metric(
    "system_memory_usage_bytes", "gauge", "Memory in use in bytes, reclaimable caches excluded.", is_shared=True
)
MEMORY_TOTAL = Metric(
    "system_memory_total_bytes", "gauge", "Total memory in bytes, or the container's limit.", is_shared=True
)
SWAP = Metric("system_swap_usage_bytes", "gauge", "Swap in use in bytes.", note="where there is swap", is_shared=True)
SWAP_TOTAL = Metric(
    "system_swap_total_bytes", "gauge", "Total swap in bytes.", note="where there is swap", is_shared=True
)
DISK = Metric(
    "system_disk_usage_bytes",
    "gauge",
    "Bytes used on the disk of a path, or by the file at the path.",
    ("path",),
    note="`path` is a label of the setting `disk_paths`",
    is_shared=True,
)
DISK_TOTAL = Metric(
    "system_disk_total_bytes",
    "gauge",
    "Total size of the disk of a path in bytes.",
    ("path",),
    note="not for files",
    is_shared=True,
)
LOAD = Metric(
    "system_load_average",
    "gauge",
    "Load average by window: 1m, 5m, 15m.",
    ("window",),
    is_shared=True,
    unit="count",
)
NETWORK_ERRORS = Metric(
    "system_network_errors_total",
    "counter",
    "Network packets received or sent with errors.",
    note="since the machine started",
    is_shared=True,
)

METRICS = (CPU, CPU_LIMIT, MEMORY, MEMORY_TOTAL, SWAP, SWAP_TOTAL, DISK, DISK_TOTAL, LOAD, NETWORK_ERRORS)
