"""
Say what becomes of locks, threads and counts when the process forks, and at its end.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable

_last_steps: list[Callable[[], object]] = []
_watched: set[str] = set()
# Celery's is a copy of the other, with the same functions.
_LIBRARIES = ("multiprocessing.util", "billiard.util")
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
    Register what is done at the end of this process, and of the children that `multiprocessing` and Celery's pool fork:
    those end without `atexit`, with `multiprocessing` up to Python 3.13. This process may be such a child.
    """
    atexit.register(step)
    _last_steps.append(step)
    _watch()


def _take_last_steps() -> None:
    for step in _last_steps:
        step()


def _watch() -> None:
    for name in _LIBRARIES:
        util = sys.modules.get(name)
        if util is not None and name not in _watched:
            _watched.add(name)
            # It is called once the child has forgotten what its parent wanted to have done at the end.
            finish = _finishing(util.Finalize)
            util.register_after_fork(_take_last_steps, finish)
            parent = getattr(sys.modules.get(name.replace("util", "process")), "parent_process", None)
            if parent is not None and parent() is not None:
                finish(None)  # that has been: the child itself imports this


def _finishing(finalize: Callable[..., object]) -> Callable[[object], None]:
    def finish(_: object) -> None:
        finalize(None, _take_last_steps, exitpriority=_LAST)

    return finish


at_fork(after_in_child=_watch)
