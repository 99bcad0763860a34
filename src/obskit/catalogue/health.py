"""
The metrics of health checks: `component` is the name that a check was declared by.

Each worker runs its own checks; the page shows the worst of them.
A figure is as old as the last run: give a check `background=True` where nobody probes.
"""

from obskit.catalogue.spec import Metric

_COMPONENT = ("component",)

STATUS = Metric(
    "health_status", "gauge", "What probes are told of a check: 1 pass, 0.5 warn, 0 fail.", _COMPONENT, workers="min"
)
DURATION = Metric(
    "health_check_duration_seconds",
    "histogram",
    "Seconds that checks ran, until their answer or their timeout.",
    _COMPONENT,
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0),
)
TIMEOUTS = Metric("health_check_timeouts_total", "counter", "Runs of checks that had not answered in time.", _COMPONENT)
LAST_RUN = Metric(
    "health_check_last_run_timestamp_seconds",
    "gauge",
    "When a run of the check last ended, in seconds since the epoch.",
    _COMPONENT,
    workers="max",
)

METRICS = (STATUS, DURATION, TIMEOUTS, LAST_RUN)
