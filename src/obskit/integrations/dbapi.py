"""
Share what the hooks of databases do alike: which layer times a query, and how many rows it gave.

Where layers lie over each other (SQLAlchemy or Django over a driver), the innermost hook measures, and those above it
look once a query whether there is one below.
"""

from __future__ import annotations

from typing import Any

# What cursors carry that are timed themselves.
MARK = "_obskit_timed"
# An adapter of a cursor of a driver: no stack of layers is higher.
DEPTH = 4


def is_timed(cursor: Any) -> bool:
    """
    Tell whether a cursor, or what it adapts, is timed by a hook of its own.
    """
    for _ in range(DEPTH):
        if cursor is None:
            return False
        if getattr(cursor, MARK, False):
            return True
        # As SQLAlchemy's adapters of asynchronous drivers have it, those of 2.0 in part without a cursor.
        cursor = getattr(cursor, "_cursor", None) or getattr(cursor, "_connection", None)
    return False


def rows_of(cursor: Any) -> int | None:
    """
    Ask how many rows a statement changed or gave; None where the driver does not tell.
    """
    try:
        count: int = cursor.rowcount
        return count if count >= 0 else None
    except Exception:
        return None
