"""
Whether the running code may wait.
"""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module


def in_event_loop() -> bool:
    """
    Return whether this thread runs an event loop now: asyncio's or Trio's.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _in_trio()
    return True


def _in_trio() -> bool:
    if "trio" not in sys.modules:
        return False
    try:
        import_module("trio").lowlevel.current_task()
    except RuntimeError:
        return False
    return True
