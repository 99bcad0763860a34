"""
Who is told of what: rules of one's own, and those in force.

    from obskit.signals import quantile

    obskit.alerts.rule("OcrSlow", quantile(0.95, "ocr_seconds") > "500ms", for_="5m", area="business")
"""

from obskit.lazy_names import lazy_names

# Lazily, since whoever configures declares nothing yet.
__getattr__, __all__ = lazy_names(
    globals(), {"declared": ("rule",), "in_force": ("rules",), "rule": ("Rule",)}, of="obskit.rules"
)
