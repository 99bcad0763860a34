"""
Say what becomes of locks, threads and counts when the process forks, and at its end.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable

_last_steps: list[Callable[[], object]] = []
_are_watched = False
# After all that an application has the library call at the end of a process.
_LAST = -100


def at_fork(**steps: Callable[[], object]) -> None:
    """
    Register steps as `os.register_at_fork()` does; nothing where the system cannot fork, such as Windows.

    Args:
        **steps: `before`, `after_in_parent`, `after_in_child`.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(**steps)


def at_exit(step: Callable[[], object]) -> None:
    """
    Register what is done at the end of this process, and of the children that `multiprocessing` forks: up to Python
    3.13 those end without `atexit`.
    """
    atexit.register(step)
    _last_steps.append(step)


def _take_last_steps() -> None:
    for step in _last_steps:
        step()


def _finish(_: object) -> None:
    sys.modules["multiprocessing.util"].Finalize(None, _take_last_steps, exitpriority=_LAST)


def _watch_child() -> None:
    # The library calls this once the child has forgotten what its parent wanted to have done at the end.
    global _are_watched
    util = sys.modules.get("multiprocessing.util")
    if util is not None and not _are_watched:
        util.register_after_fork(_finish, _finish)
        _are_watched = True


at_fork(after_in_child=_watch_child)
