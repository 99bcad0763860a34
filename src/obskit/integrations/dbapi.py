"""
What the hooks of databases share: which layer times a query, and how many rows it returned.

Where layers lie over each other (SQLAlchemy or Django over a driver), the innermost hook measures, and those above it
check once for each query whether there is one below.
"""

from __future__ import annotations

from typing import Any

# An attribute of cursors that are timed themselves.
TIMED_ATTRIBUTE = "_obskit_timed"
# How many adapters may wrap a driver's cursor.
MAX_ADAPTERS = 4


def is_timed(cursor: Any) -> bool:
    """
    Return whether a cursor, or what it adapts, is timed by a hook of its own.
    """
    for _ in range(MAX_ADAPTERS):
        if cursor is None:
            return False
        if getattr(cursor, TIMED_ATTRIBUTE, False):
            return True
        # As SQLAlchemy's adapters of asynchronous drivers have it, those of 2.0 in part without a cursor.
        cursor = getattr(cursor, "_cursor", None) or getattr(cursor, "_connection", None)
    return False


def rows_of(cursor: Any) -> int | None:
    """
    Return how many rows a statement changed or returned; None where the driver does not know.
    """
    try:
        count: int = cursor.rowcount
        return count if count >= 0 else None
    except Exception:
        return None
