"""
Say what becomes of locks, threads and counts when the process forks.
"""

from __future__ import annotations

import os
from collections.abc import Callable


def at_fork(**steps: Callable[[], object]) -> None:
    """
    Register steps as `os.register_at_fork()` does; nothing where the system cannot fork, such as Windows.

    Args:
        **steps: `before`, `after_in_parent`, `after_in_child`.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(**steps)
