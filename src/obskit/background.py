"""
Start our threads, and wait for calls in others', on a system that may have no thread to give.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from concurrent.futures import Future
from importlib import import_module
from threading import Lock, Thread
from typing import Any, Generic, TypeVar

from obskit.interpreters import IS_MAIN

T = TypeVar("T")


def start(work: Callable[..., object], *args: Any, name: str, ends: bool = False) -> Thread | None:
    """
    Start a daemon thread; None where none can be had: a limit of processes, no memory, an interpreter that ends.

    Whoever asks keeps what it gets, and asks again the next time that there is something to do. No lock may be held: a
    start waits for the new thread, and others patch it. Who must keep the thread under a lock makes it there with
    `new_thread()`, and has it begin behind that.

    Args:
        ends: Whether the work is over by itself. In a sub-interpreter only such a thread starts, and is waited for.
    """
    thread = new_thread(work, *args, name=name)
    return thread if try_start(thread, ends=ends) else None


def new_thread(work: Callable[..., object], *args: Any, name: str) -> Thread:
    """
    Make a thread that has not begun: a daemon, but in a sub-interpreter, which may not have any.
    """
    return Thread(target=work, args=args, name=name, daemon=IS_MAIN)


def try_start(thread: Thread, *, ends: bool = False) -> bool:
    """
    Start a thread that was made; False where none can be had. `ends` as for `start()`.
    """
    if not IS_MAIN and not ends:
        return False
    try:
        thread.start()
    except (RuntimeError, MemoryError):
        return False
    return True


class _OnceCall(Generic[T]):
    """
    A call that is made once, by whoever comes first: a pool that fails to start a thread keeps the call, and may
    make it later.
    """

    def __init__(self, call: Callable[..., T], args: tuple[Any, ...]) -> None:
        self._call, self._args = call, args
        self._taken = Lock()
        self.answer: Future[T] = Future()
        self.answer.set_running_or_notify_cancel()  # so that nobody who waits can cancel it

    def __call__(self) -> None:
        if not self._taken.acquire(blocking=False):
            return
        try:
            answer = self._call(*self._args)
        except BaseException as error:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(answer)


async def in_thread(call: Callable[..., T], *args: Any) -> T:
    """
    Wait for a call in a thread, on asyncio and on Trio; where no thread can be started, make it here.
    """
    import asyncio  # servers without an event loop do not pay for it

    once = _OnceCall(call, args)
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return await _in_trio(once)
    try:
        loop.run_in_executor(None, contextvars.copy_context().run, once)
    except (RuntimeError, MemoryError):
        once()
    return await asyncio.wrap_future(once.answer)


async def _in_trio(once: _OnceCall[T]) -> T:
    try:
        await import_module("trio").to_thread.run_sync(once)
    except (RuntimeError, MemoryError):
        once()
    return once.answer.result()
