"""
Name and time database queries, whatever the driver, and look after SQLite files.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from obskit.db.doctor import SqliteReport, sqlite_doctor
    from obskit.db.observe import record
    from obskit.db.slow_log import SlowQuery, SlowStatement, slow_queries, slow_statements
    from obskit.db.statement import Statement, summarize

_HOME = {
    "SlowQuery": "slow_log",
    "SlowStatement": "slow_log",
    "SqliteReport": "doctor",
    "Statement": "statement",
    "record": "observe",
    "slow_queries": "slow_log",
    "slow_statements": "slow_log",
    "sqlite_doctor": "doctor",
    "summarize": "statement",
}

__all__ = [
    "SlowQuery",
    "SlowStatement",
    "SqliteReport",
    "Statement",
    "record",
    "slow_queries",
    "slow_statements",
    "sqlite_doctor",
    "summarize",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'obskit.db' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"obskit.db.{_HOME[name]}"), name)
    globals()[name] = value
    return value
