"""
The metrics of database queries.
"""

from obskit.catalogue.spec import Metric

DURATION = Metric(
    "database_query_duration_seconds",
    "histogram",
    "Duration of database queries in seconds, failed ones included.",
    labels=("system", "table", "operation"),
)
ERRORS = Metric(
    "database_errors_total",
    "counter",
    "Database queries that raised an error.",
    labels=("system", "table", "operation", "error"),
)
N_PLUS_ONE = Metric(
    "database_n_plus_one_total",
    "counter",
    "N+1 patterns: statements that one request repeated from one line of code.",
    labels=("endpoint",),
)

METRICS = (DURATION, ERRORS, N_PLUS_ONE)
