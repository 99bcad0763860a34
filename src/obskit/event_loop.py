"""
Whether an event loop runs here, and how to wait on one: on asyncio and on Trio alike. Neither is imported before it is
needed.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from typing import Any, TypeVar

T = TypeVar("T")


def in_event_loop() -> bool:
    """
    Return whether an event loop runs in this thread, where nothing may wait: asyncio's or Trio's.
    """
    events, trio = sys.modules.get("asyncio.events"), sys.modules.get("trio.lowlevel")
    return (events is not None and events._get_running_loop() is not None) or (trio is not None and trio.in_trio_run())


def _runs_asyncio() -> bool:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def within(seconds: float, call: Callable[[], Awaitable[T]]) -> T:
    """
    Await a call, no longer than so many seconds.

    Raises:
        TimeoutError: It took longer, and was cancelled.
    """
    if _runs_asyncio():
        import asyncio

        async with asyncio.timeout(seconds):
            return await call()
    trio = import_module("trio")
    try:
        with trio.fail_after(seconds):
            return await call()
    except trio.TooSlowError:
        raise TimeoutError from None


async def is_done_within(seconds: float, future: Future[Any]) -> bool:
    """
    Wait for what another thread does; return whether it is done. It is not cancelled.
    """
    if future.done():
        return True
    arrived, tell = _signal()

    def told(_: Future[Any]) -> None:
        with suppress(Exception):  # the loop has ended since
            tell()

    future.add_done_callback(told)
    with suppress(TimeoutError):
        await within(seconds, arrived.wait)
    return future.done()


def _signal() -> tuple[Any, Callable[[], object]]:
    """
    Make an event of the loop that runs here, and what sets it from another thread.
    """
    if _runs_asyncio():
        import asyncio

        loop, event = asyncio.get_running_loop(), asyncio.Event()
        return event, lambda: loop.call_soon_threadsafe(event.set)
    trio = import_module("trio")
    token, other = trio.lowlevel.current_trio_token(), trio.Event()
    return other, lambda: token.run_sync_soon(other.set)


@asynccontextmanager
async def beside(call: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """
    Run a call beside a block; it is cancelled when the block is left.
    """
    if _runs_asyncio():
        import asyncio

        task = asyncio.ensure_future(call())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])  # and what it raised is nobody's
            if not task.cancelled():
                task.exception()
        return
    raised: Exception | None = None
    async with import_module("trio").open_nursery() as nursery:
        nursery.start_soon(call)
        try:
            yield
        except Exception as error:  # as it is, and not in a group
            raised = error
        finally:
            nursery.cancel_scope.cancel()
    if raised is not None:
        raise raised
