"""
Add up what a request causes.
"""

from __future__ import annotations

from typing import Any


class RequestTotals:
    """
    The totals of the queries and AI calls that one request made.
    """

    __slots__ = ("ai_calls", "ai_cost_usd", "ai_seconds", "db_queries", "db_seconds", "latest", "repeats", "way")

    def __init__(self) -> None:
        self.db_queries = self.ai_calls = 0
        self.db_seconds = self.ai_seconds = self.ai_cost_usd = 0.0
        self.repeats: Any = None  # statements that come again, where they are counted
        # Its slower queries, where requests are recorded.
        self.way: list[tuple[float, int, str, str | None]] | None = None
        self.latest: Any = None  # its last ones, likewise
