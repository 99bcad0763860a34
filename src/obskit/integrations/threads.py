"""
Carry a request's ids into the threads that it starts, and into the pools that it uses.

A thread begins with an empty context, and a pool's threads outlive the requests that they work for. So each call that
is submitted takes the context from where it was submitted, and a thread from where it was started.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Thread, local
from typing import Any

from obskit.integrations._patches import Patches
from obskit.propagation import with_context

_patches = Patches()
_pool = local()


def _submitting(submit: Callable[..., Any]) -> Callable[..., Any]:
    def submit_with_context(self: ThreadPoolExecutor, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        if not _patches.on:  # restored, yet still called by what was patched over ours
            return submit(self, fn, *args, **kwargs)
        _pool.grows = True
        try:
            return submit(self, with_context(fn), *args, **kwargs)
        finally:
            _pool.grows = False

    return submit_with_context


def _starting(start: Callable[[Thread], None]) -> Callable[[Thread], None]:
    def start_with_context(self: Thread) -> None:
        # A pool's own thread serves every later request too.
        if not _patches.on or getattr(_pool, "grows", False):
            start(self)
            return
        run = self.run

        def run_once() -> None:
            self.__dict__.pop("run", None)  # it would keep the thread alive beyond its end
            run()

        self.run = with_context(run_once)  # type: ignore[method-assign]
        try:
            start(self)
        except BaseException:
            self.__dict__.pop("run", None)
            raise

    return start_with_context


def instrument() -> None:
    """
    Carry the context into `ThreadPoolExecutor` and `Thread` from now on.
    """
    _patches.put(ThreadPoolExecutor, "submit", _submitting)
    _patches.put(Thread, "start", _starting)


def uninstrument() -> None:
    """
    Start threads and submit calls as before; what runs already keeps its context.
    """
    _patches.restore()
