"""
The metrics of connection pools.
"""

from obskit.catalogue.spec import Metric

ACTIVE = Metric(
    "database_connections_active",
    "gauge",
    "Connections of a pool that are in use.",
    labels=("pool",),
)
IDLE = Metric(
    "database_connections_idle",
    "gauge",
    "Connections of a pool that are open and free.",
    labels=("pool",),
)
MAX = Metric(
    "database_connections_max",
    "gauge",
    "Connections that a pool may have.",
    labels=("pool",),
    note="where it has a bound",
)
WAIT = Metric(
    "database_connection_wait_seconds",
    "histogram",
    "Seconds that it took to get a connection from a pool, also where none came in time.",
    labels=("pool",),
)
USE = Metric(
    "database_connection_use_seconds",
    "histogram",
    "Seconds that a connection was held before it came back to its pool.",
    labels=("pool",),
)
TIMEOUTS = Metric(
    "database_connection_timeouts_total",
    "counter",
    "Times that a pool gave no connection in time.",
    labels=("pool",),
)

METRICS = (ACTIVE, IDLE, MAX, WAIT, USE, TIMEOUTS)
