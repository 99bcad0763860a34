"""
The metrics obskit keeps about itself. They never take the namespace.
"""

from obskit.catalogue.spec import Metric

DROPPED = Metric(
    "obskit_dropped_total", "counter", "Lines and rows that could not be put out.", ("sink", "reason"), prefixed=False
)
ERRORS = Metric(
    "obskit_errors_total",
    "counter",
    "Errors inside obskit that were kept from the application.",
    ("sink",),
    prefixed=False,
)
LABEL_SETS = Metric(
    "obskit_label_sets", "gauge", "Label sets a metric has now.", ("metric",), workers="max", prefixed=False
)
OVERFLOW = Metric(
    "obskit_overflow_total",
    "counter",
    "Updates folded into `_OVERFLOW` since their metric has `max_label_sets` label sets.",
    ("metric",),
    prefixed=False,
)
BUILD_INFO = Metric(
    "obskit_build_info",
    "gauge",
    "Always 1; the labels say what runs.",
    ("service", "version", "environment", "obskit"),
    workers="max",
    prefixed=False,
)

DEGRADED = Metric(
    "obskit_metrics_degraded",
    "gauge",
    "Whether this worker answers for itself alone, since the figures of several cannot be added up: 1, else 0.",
    workers="max",
    prefixed=False,
)
SET_ASIDE = Metric(
    "obskit_metrics_files_set_aside_total",
    "counter",
    "Files of workers' figures that could not be read, and were renamed to `*.bad`.",
    ("reason",),
    prefixed=False,
    note="under several workers only; `reason` is `truncated`, `foreign`, `newer` or `corrupt`",
)

METRICS = (DROPPED, ERRORS, LABEL_SETS, OVERFLOW, BUILD_INFO, DEGRADED, SET_ASIDE)
