"""
Name and time database queries, whatever the driver, and look after SQLite files.
"""

from obskit.lazy_names import lazy_names

__getattr__, __all__ = lazy_names(
    globals(),
    {
        "doctor": ("SqliteReport", "sqlite_doctor"),
        "observe": ("record",),
        "slow_log": ("SlowQuery", "SlowStatement", "slow_queries", "slow_statements"),
        "statement": ("Statement", "summarize"),
    },
)
