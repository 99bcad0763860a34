"""
Write moments, given in seconds since the epoch, as RFC 3339 in UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime
from math import floor


def rfc3339(seconds: float) -> str:
    """
    Return a moment with microseconds: `2026-11-30T14:50:03.000125Z`.
    """
    second, text = split_second(seconds)
    return f"{text}.{int((seconds - second) * 1e6):06d}Z"


def to_the_second(seconds: float) -> str:
    """
    Return a moment without a fraction: `2026-11-30T14:50:03Z`.
    """
    return split_second(seconds)[1] + "Z"


def split_second(seconds: float) -> tuple[int, str]:
    """
    Return the whole second, and its text up to the fraction; who writes often keeps both for a second.
    """
    second = floor(seconds)
    return second, datetime.fromtimestamp(second, UTC).isoformat()[:19]
