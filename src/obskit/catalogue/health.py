"""
The metrics of health checks: `component` is the name that a check was declared by.

Each worker runs its own checks; the page shows the worst of them.
A figure is as old as the last run: give a check `background=True` where there are no probes.
"""

from obskit.catalogue.spec import Metric

_COMPONENT = ("component",)

STATUS = Metric(
    "health_status",
    "gauge",
    "Status of a health check as probes see it: 1 pass, 0.5 warn, 0 fail.",
    _COMPONENT,
    workers="min",
    unit="state",
    values=((1.0, "pass"), (0.5, "warn"), (0.0, "fail")),
)
DURATION = Metric(
    "health_check_duration_seconds",
    "histogram",
    "Duration of health checks in seconds, to their result or timeout.",
    _COMPONENT,
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0),
)
TIMEOUTS = Metric("health_check_timeouts_total", "counter", "Health checks that timed out.", _COMPONENT)
LAST_RUN = Metric(
    "health_check_last_run_timestamp_seconds",
    "gauge",
    "Time at which the health check last ended, in seconds since the epoch.",
    _COMPONENT,
    workers="max",
)

CERTIFICATE_EXPIRY = Metric(
    "health_certificate_expiry_timestamp_seconds",
    "gauge",
    "Time at which the certificate that the health check looks at expires, in seconds since the epoch.",
    _COMPONENT,
    workers="min",
    note="of checks whose details have `certificate_expires_at`, as those of `certificate()` have",
)

METRICS = (STATUS, DURATION, TIMEOUTS, LAST_RUN, CERTIFICATE_EXPIRY)
