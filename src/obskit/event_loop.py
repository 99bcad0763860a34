"""
Whether the running code may wait.
"""

from __future__ import annotations

import sys


def in_event_loop() -> bool:
    """
    Return whether an event loop runs in this thread: asyncio's or Trio's. Neither is imported for it.
    """
    events, trio = sys.modules.get("asyncio.events"), sys.modules.get("trio.lowlevel")
    return (events is not None and events._get_running_loop() is not None) or (trio is not None and trio.in_trio_run())
