"""
The metric of functions and blocks marked with `obskit.observe`.
"""

from obskit.catalogue.spec import Metric

# prometheus_client's default bounds with 20 s and 60 s added: functions also run in jobs.
_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0)

DURATION = Metric(
    "function_duration_seconds",
    "histogram",
    "Duration of observed functions and blocks in seconds.",
    labels=("function", "status"),
    buckets=_BUCKETS,
)

METRICS = (DURATION,)
