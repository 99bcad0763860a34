"""
Ends of operations whose owner was dropped: noted by a finaliser, and carried out later.

A finaliser runs wherever a garbage collection or the last reference leads it: in the middle of a sink, with its locks
held. So ours only note what has ended, and when. What is noted is ended by the next operation that begins or ends,
by whoever reads figures, and after two seconds by a thread that lives no longer than that.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

from obskit.background import start_bare
from obskit.context import current
from obskit.forks import at_fork
from obskit.operation import Operation
from obskit.time.clock import rest

Ending = Callable[[Any, float], object]
PATIENCE_SECONDS = 2.0

# Asked by all hot code: `if waiting: drain()`. Its `append()` and `popleft()` are single steps in C that run nothing
# in between, as those of a `SimpleQueue` are; its truth costs half as much, and gevent has no Python in its place.
waiting: deque[tuple[Operation, Ending, float]] = deque()
_draining: set[int] = set()  # threads
_failed: Callable[[str, BaseException], None]


class _State:
    """
    What a fork changes.

    Attributes:
        forked_at: When this process was forked, on the recorder's clock: what began before is the parent's to count.
        has_thread: Whether a thread will look at what waits.
    """

    forked_at = float("-inf")
    has_thread = False


_state = _State()


def end_later(op: Operation, ending: Ending, at: float) -> None:
    """
    Record that an operation has ended; to be called by finalisers. Takes no lock and runs no other code.

    Args:
        op: The operation.
        ending: Ends it, given the operation and the moment.
        at: The moment, on its plan's clock.
    """
    if op.ended or op.started < _state.forked_at:
        return
    waiting.append((op, ending, at))
    if not _state.has_thread:
        _state.has_thread = True
        _state.has_thread = start_bare(_drain_soon)  # else somebody else will drain


def drain() -> None:
    """
    End what is waiting, in the order in which it was noted, outside of whatever request or job runs here.
    """
    thread = threading.get_ident()  # asked for anew each time: of a greenlet, where those stand for threads
    if thread in _draining:
        return  # a sink has begun something while it took one of them
    _draining.add(thread)
    try:
        for _ in range(len(waiting)):
            try:
                op, ending, at = waiting.popleft()
            except IndexError:  # another thread was faster
                return
            Context().run(_end, op, ending, at)
    finally:
        _draining.discard(thread)


def _end(op: Operation, ending: Ending, at: float) -> None:
    if op.ended:
        return
    current.set(op.parent)
    try:
        ending(op, at)
    except Exception as error:
        _failed("endings", error)


def is_draining() -> bool:
    """
    Return whether what ends here was dropped elsewhere, so that the stack does not show where.
    """
    return threading.get_ident() in _draining


def _drain_soon() -> None:
    while True:
        rest(PATIENCE_SECONDS)
        drain()
        _state.has_thread = False
        if not waiting:  # else it came between these two lines, and found a thread
            return
        _state.has_thread = True


def bind_recorder(clock: Callable[[], float], failed: Callable[[str, BaseException], None]) -> None:
    """
    Set the recorder, which handles what endings raise; its clock says when a forked child was forked.
    """
    global _failed

    def start_over() -> None:  # what the parent has noted is the parent's
        waiting.clear()
        _draining.clear()
        _state.forked_at, _state.has_thread = clock(), False

    _failed = failed
    at_fork(after_in_child=start_over)
