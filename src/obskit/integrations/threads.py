"""
Let the threads that a request starts, and the pools that it uses, work with its ids.

A thread begins with an empty context, and a pool's threads outlive the requests that they work for. So each call that
is submitted takes the context from where it was submitted, and a thread from where it was started.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from threading import Lock, Thread, local
from typing import Any

from obskit.propagation import with_context

_lock = Lock()
_submit: Any = ThreadPoolExecutor.submit
_start = Thread.start
_on = False
_pool = local()


@wraps(_submit)
def _submit_with_context(self: ThreadPoolExecutor, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
    if not _on:  # taken back, yet still called by whoever patched after us
        return _submit(self, fn, *args, **kwargs)
    _pool.grows = True
    try:
        return _submit(self, with_context(fn), *args, **kwargs)
    finally:
        _pool.grows = False


@wraps(_start)
def _start_with_context(self: Thread) -> None:
    # A pool's own thread serves every later request too.
    if not _on or getattr(_pool, "grows", False):
        _start(self)
        return
    run = self.run

    def run_once() -> None:
        del self.run  # it would keep the thread alive beyond its end
        run()

    self.run = with_context(run_once)  # type: ignore[method-assign]
    try:
        _start(self)
    except BaseException:
        self.__dict__.pop("run", None)
        raise


def instrument() -> None:
    """
    Carry the context into `ThreadPoolExecutor` and `Thread` from now on.
    """
    global _on
    with _lock:
        _on = True
        ThreadPoolExecutor.submit = _submit_with_context  # type: ignore[assignment, method-assign]
        Thread.start = _start_with_context  # type: ignore[method-assign]


def uninstrument() -> None:
    """
    Start threads and submit calls as before; what runs already keeps its context.
    """
    global _on
    with _lock:
        _on = False
        if ThreadPoolExecutor.submit is _submit_with_context:
            ThreadPoolExecutor.submit = _submit  # type: ignore[method-assign]
        if Thread.start is _start_with_context:
            Thread.start = _start  # type: ignore[method-assign]
