"""
The metrics of database queries.
"""

from obskit.catalogue.spec import Metric

DURATION = Metric(
    "database_query_duration_seconds",
    "histogram",
    "Seconds that database queries took, failed ones included.",
    labels=("system", "table", "operation"),
)
ERRORS = Metric(
    "database_errors_total",
    "counter",
    "Database queries that raised.",
    labels=("system", "table", "operation", "error"),
)
N_PLUS_ONE = Metric(
    "database_n_plus_one_total",
    "counter",
    "Statements that one request made again and again from one line.",
    labels=("endpoint",),
)

METRICS = (DURATION, ERRORS, N_PLUS_ONE)
