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

METRICS = (DROPPED, ERRORS, LABEL_SETS, OVERFLOW, BUILD_INFO)
