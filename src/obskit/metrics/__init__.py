"""
Read the figures of all workers as data, and not as a page.
"""

from obskit.lazy_names import lazy_names

__getattr__, __all__ = lazy_names(
    globals(), {"snapshots": ("Exemplar", "FamilySnapshot", "MetricsSnapshot", "snapshot")}
)
