"""
Hold every metric's name, type, labels and buckets: the one place where they are written.
"""

from obskit.catalogue import db, function, http, process, self
from obskit.catalogue.spec import Metric

CATALOGUE: tuple[Metric, ...] = (
    *http.METRICS,
    *db.METRICS,
    *function.METRICS,
    *process.METRICS,
    *self.METRICS,
)

__all__ = ["CATALOGUE", "Metric", "db", "function", "http", "process", "self"]
