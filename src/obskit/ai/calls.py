"""
The former name of `recent_calls`, for programs that read the latest calls by it.
"""

from __future__ import annotations

from obskit.ai.recent_calls import RecentCall as Row
from obskit.ai.recent_calls import RecentCalls as Calls
from obskit.ai.recent_calls import recent_calls as calls

__all__ = ["Calls", "Row", "calls"]
