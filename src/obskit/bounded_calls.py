"""
Bound how many calls of a kind run at once in a process, and how long an event loop waits for one.

On an event loop each runs in a thread of its own, never in one of the application's pool: the pool may be full of what
the application waits for, just when somebody looks at its metrics. A call that hangs keeps its place until it is over,
so that those after it are refused and do not hang as well.
"""

from __future__ import annotations

import contextvars
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Lock
from typing import Any, TypeVar

from obskit import background
from obskit.event_loop import is_done_within

T = TypeVar("T")

# How long a server's own thread is held for its turn: it is one of few, and the application needs it.
TURN_SECONDS = 1.0


class BusyError(Exception):
    """
    No place became free in time.
    """


class TooLateError(Exception):
    """
    A call did not end in time.
    """


class Lane:
    """
    Places for calls, given in the order in which they are asked for. Thread-safe; a forked child has its own.

    Args:
        at_once: How many calls may run.
        name: Of the threads.
        may_hold_loop: Whether a call runs here, on an event loop too, where no thread can be started; else it is
            refused.
        most_waiting: How many may wait for a place.
    """

    def __init__(
        self,
        at_once: int,
        *,
        name: str,
        may_hold_loop: bool = False,
        most_waiting: int = 100,
    ) -> None:
        self._at_once, self._most_waiting, self._name = at_once, most_waiting, name
        self._may_hold_loop = may_hold_loop
        self._start_over()

    def _start_over(self) -> None:
        self._lock = Lock()
        self._free = self._at_once
        self._waiting: deque[Future[None]] = deque()
        self._pid = os.getpid()

    def run(self, call: Callable[[], T], turn_seconds: float = TURN_SECONDS) -> T:
        """
        Run a call here, in its turn.

        Args:
            turn_seconds: How long to wait for the turn; the call itself takes its time.

        Raises:
            BusyError: Its turn did not come.
        """
        self._take_turn(turn_seconds)
        try:
            return call()
        finally:
            self._leave()

    def _take_turn(self, seconds: float) -> None:
        turn = self._ask()
        try:
            turn.result(seconds)
        except BaseException as error:  # gevent's timeouts are no exceptions
            self._withdraw(turn)
            if isinstance(error, TimeoutError):
                raise BusyError from None
            raise

    async def run_async(
        self, call: Callable[[], T], seconds: float, on_late: Callable[[T], object] = lambda late: None
    ) -> T:
        """
        Run a call in a thread, in its turn and in this context, and wait for it on the event loop.

        Args:
            seconds: How long to wait for the turn, and then for the call.
            on_late: Called, in that thread, with what comes after nobody waits for it any more.

        Raises:
            BusyError: Its turn did not come, or there is no thread.
            TooLateError: It was not over in time; it keeps its place until it is.
        """
        turn = self._ask()
        try:
            if not await is_done_within(seconds, turn):
                raise BusyError
        except BaseException:
            self._withdraw(turn)
            raise
        answer = self._start(call)
        if answer is None:
            return self._run_here(call)
        try:
            if not await is_done_within(seconds, answer):
                raise TooLateError
        except BaseException:
            answer.add_done_callback(lambda over: None if over.exception() else on_late(over.result()))
            raise
        return answer.result()

    def run_within(self, call: Callable[[], T], seconds: float) -> T:
        """
        Run a call in a thread, in its turn, and wait for it here: as `run_async()` does on an event loop.

        Raises:
            BusyError: Its turn did not come, or there is no thread.
            TooLateError: It was not over in time; it keeps its place until it is.
        """
        self._take_turn(seconds)
        answer = self._start(call)
        if answer is None:
            return self._run_here(call)
        wait([answer], seconds)
        if not answer.done():
            raise TooLateError
        return answer.result()

    def _start(self, call: Callable[[], T]) -> Future[T] | None:
        """
        Start a call in a thread; None where none can be had.
        """
        answer: Future[T] = Future()
        answer.set_running_or_notify_cancel()
        context = contextvars.copy_context()
        thread = background.start(self._work, context, call, answer, name=self._name, ends=True)
        return None if thread is None else answer

    def _work(self, context: contextvars.Context, call: Callable[[], Any], answer: Future[Any]) -> None:
        try:
            found = context.run(call)
        except BaseException as error:
            self._leave()
            answer.set_exception(error)
        else:
            self._leave()
            answer.set_result(found)

    def _run_here(self, call: Callable[[], T]) -> T:
        try:
            if not self._may_hold_loop:
                raise BusyError
            return call()
        finally:
            self._leave()

    def _ask(self) -> Future[None]:
        """
        Ask for a place; the future that is returned is done once there is one.
        """
        if self._pid != os.getpid():
            self._start_over()
        turn: Future[None] = Future()
        with self._lock:
            if not self._free:
                if len(self._waiting) >= self._most_waiting:
                    raise BusyError
                self._waiting.append(turn)
                return turn
            self._free -= 1
        turn.set_result(None)
        return turn

    def _withdraw(self, turn: Future[None]) -> None:
        with self._lock:
            is_waiting = turn in self._waiting
            if is_waiting:
                self._waiting.remove(turn)
        if not is_waiting:  # it came meanwhile
            self._leave()

    def _leave(self) -> None:
        with self._lock:
            turn = self._waiting.popleft() if self._waiting else None
            if turn is None:
                self._free += 1
        if turn is not None:
            turn.set_result(None)
