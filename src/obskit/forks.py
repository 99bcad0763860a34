"""
What is done with locks, threads and counts when the process forks, and at its end.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module
from typing import Any

# Before a fork, after it in the parent, and in the child.
fork_steps: list[tuple[Callable[[], object] | None, Callable[[], object] | None, Callable[[], object] | None]] = []
_last_steps: list[Callable[[], object]] = []
_watched: set[str] = set()
# Celery's is a copy of the other, with the same functions.
_LIBRARIES = ("multiprocessing", "billiard")
# After all that an application has the library call at the end of a process.
_LAST = -100


def at_fork(
    *,
    before: Callable[[], object] | None = None,
    after_in_parent: Callable[[], object] | None = None,
    after_in_child: Callable[[], object] | None = None,
) -> None:
    """
    Register steps for all forks, as `os.register_at_fork()` does: what is done before one in the reverse order. Nothing
    where the system cannot fork, such as Windows. Steps stay for good, so modules register them, and no objects.
    """
    if not hasattr(os, "register_at_fork"):
        return
    if not fork_steps:
        os.register_at_fork(
            before=lambda: _take_all(reversed([step for step, _, _ in fork_steps])),
            after_in_parent=lambda: _take_all(step for _, step, _ in fork_steps),
            after_in_child=lambda: _take_all(step for _, _, step in fork_steps),
        )
    fork_steps.append((before, after_in_parent, after_in_child))


def _take_all(steps: Iterable[Callable[[], object] | None]) -> None:
    """
    Take every step, whatever one of them raises; raise the first error at the end.
    """
    raised: BaseException | None = None
    for step in steps:
        if step is not None:
            try:
                step()
            except BaseException as error:
                raised = raised or error
    if raised is not None:
        raise raised


def at_exit(step: Callable[[], object]) -> None:
    """
    Register what is done at the end of this process, and of the children that `multiprocessing` and Celery's pool fork:
    those end without `atexit`, with `multiprocessing` up to Python 3.13. This process may be such a child.

    What was registered last is done first. It may be called twice.
    """
    atexit.register(step)
    _last_steps.append(step)
    _watch()


def _take_last_steps() -> None:
    _take_all(reversed(_last_steps))


def _watch() -> None:
    for name in _LIBRARIES:
        util = sys.modules.get(f"{name}.util")
        if util is not None and name not in _watched:
            _watched.add(name)
            # It is called once the child has forgotten what its parent wanted to have done at the end.
            finish = _finishing(util.Finalize)
            util.register_after_fork(_take_last_steps, finish)
            if _is_child(sys.modules.get(f"{name}.process")):
                finish(None)  # that has been: the child itself imports this
    signals = sys.modules.get("celery.signals")
    # A worker of its pool ends by `os._exit()`, past all of this, and with this signal.
    if hasattr(signals, "worker_process_shutdown") and "celery" not in _watched:
        _watched.add("celery")
        signals.worker_process_shutdown.connect(_at_worker_exit, weak=False)  # type: ignore[union-attr]


def _is_child(processes: Any) -> bool:
    """
    Return whether the library has started this process. Celery's has no `parent_process()`.
    """
    return processes is not None and getattr(processes.current_process(), "_parent_pid", None) is not None


def _at_worker_exit(**_: object) -> None:
    _take_last_steps()


def _finishing(finalize: Callable[..., object]) -> Callable[[object], None]:
    def finish(_: object) -> None:
        finalize(None, _take_last_steps, exitpriority=_LAST)

    return finish


def _watch_in_child() -> None:
    if "billiard.process" in sys.modules:
        with suppress(Exception):
            import_module("billiard.util")  # as a plain process of billiard's does, but only after this
    _watch()


at_fork(after_in_child=_watch_in_child)
