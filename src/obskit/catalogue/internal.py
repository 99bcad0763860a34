"""
The metrics obskit keeps about itself. They never take the namespace.
"""

from obskit.catalogue.spec import Metric

DROPPED = Metric(
    "obskit_dropped_total",
    "counter",
    "Log lines, spans and rows that were dropped, by sink and reason.",
    ("sink", "reason"),
    prefixed=False,
)
ERRORS = Metric(
    "obskit_errors_total",
    "counter",
    "Errors inside obskit, caught before they reached the application.",
    ("sink",),
    prefixed=False,
)
LABEL_SETS = Metric(
    "obskit_label_sets",
    "gauge",
    "Label sets of a metric.",
    ("metric",),
    workers="max",
    prefixed=False,
    unit="count",
)
OVERFLOW = Metric(
    "obskit_overflow_total",
    "counter",
    "Updates counted under `_OVERFLOW` because their metric has reached `max_label_sets`.",
    ("metric",),
    prefixed=False,
)
BUILD_INFO = Metric(
    "obskit_build_info",
    "gauge",
    "Always 1; the labels name the service, its version and environment, and obskit's version.",
    ("service", "version", "environment", "obskit"),
    workers="max",
    prefixed=False,
    unit="state",
    values=((1.0, "on"),),
)

DEGRADED = Metric(
    "obskit_metrics_degraded",
    "gauge",
    "Whether this worker reports its own figures only, because those of several cannot be merged: 1, else 0.",
    workers="max",
    prefixed=False,
    unit="state",
    values=((0.0, "merged"), (1.0, "degraded")),
)
SET_ASIDE = Metric(
    "obskit_metrics_files_set_aside_total",
    "counter",
    "Workers' cell files that could not be read and were renamed to `*.bad`.",
    ("reason",),
    prefixed=False,
    note="under several workers only; `reason` is `truncated`, `foreign`, `newer` or `corrupt`",
)

METRICS = (DROPPED, ERRORS, LABEL_SETS, OVERFLOW, BUILD_INFO, DEGRADED, SET_ASIDE)
