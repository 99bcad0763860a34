"""
Every metric's name, type, labels and buckets: the one place where they are written.
"""

from obskit.catalogue import ai, budgets, db, function, health, http, internal, pools, process, system
from obskit.catalogue.spec import Metric

CATALOGUE: tuple[Metric, ...] = (
    *http.METRICS,
    *db.METRICS,
    *pools.METRICS,
    *ai.METRICS,
    *budgets.METRICS,
    *function.METRICS,
    *health.METRICS,
    *system.METRICS,
    *process.METRICS,
    *internal.METRICS,
)

__all__ = [
    "CATALOGUE",
    "Metric",
    "ai",
    "budgets",
    "db",
    "function",
    "health",
    "http",
    "internal",
    "pools",
    "process",
    "system",
]
