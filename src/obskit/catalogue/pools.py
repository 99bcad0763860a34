"""
The metrics of connection pools.
"""

from obskit.catalogue.spec import Metric

ACTIVE = Metric(
    "database_connections_active",
    "gauge",
    "Connections of a pool in use.",
    labels=("pool",),
    unit="count",
)
IDLE = Metric(
    "database_connections_idle",
    "gauge",
    "Idle connections of a pool.",
    labels=("pool",),
    unit="count",
)
MAX = Metric(
    "database_connections_max",
    "gauge",
    "Maximum number of connections of a pool.",
    labels=("pool",),
    unit="count",
    note="where it has a bound",
)
WAIT = Metric(
    "database_connection_wait_seconds",
    "histogram",
    "Seconds waited for a connection of a pool, timeouts included.",
    labels=("pool",),
)
USE = Metric(
    "database_connection_use_seconds",
    "histogram",
    "Seconds for which a connection was in use before it returned to its pool.",
    labels=("pool",),
)
TIMEOUTS = Metric(
    "database_connection_timeouts_total",
    "counter",
    "Timeouts while waiting for a connection of a pool.",
    labels=("pool",),
)

METRICS = (ACTIVE, IDLE, MAX, WAIT, USE, TIMEOUTS)
