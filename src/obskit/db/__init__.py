"""
Name and time database queries, whatever the driver.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from obskit.db.statement import Statement, summarize

_HOME = {"Statement": "statement", "summarize": "statement"}

__all__ = ["Statement", "summarize"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'obskit.db' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"obskit.db.{_HOME[name]}"), name)
    globals()[name] = value
    return value
