"""
Our threads, all of them, on a system that may have none to give.

A thread starts late: with the first need in this process, so that importing and forking start none. One that cannot be
had is asked for again at the next need. None is waited for by an event loop. A forked child has none of its parent's,
and starts its own in the same way. In a sub-interpreter only those start that are over by themselves.

At the end they are stopped in the order of `ORDER`, within one deadline.
"""

from __future__ import annotations

import _thread
import os
import weakref
from collections import deque
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from math import inf
from threading import Lock, RLock, Thread, current_thread
from typing import Any, Generic, TypeVar

from obskit.event_loop import in_event_loop
from obskit.forks import at_exit, at_fork
from obskit.interpreters import IS_MAIN
from obskit.time.clock import Deadline, WakeUp, clock

T = TypeVar("T")
M = TypeVar("M")
Failed = Callable[[str, BaseException], object]

# Who works for another ends before it: what checks, gauges and budgets find is written to lines, which come last.
# A thread that is not named here ends before the lines.
LINES = "obskit-log-queue"
ORDER = (
    *("obskit-health", "obskit-gauges", "obskit-refresh", "obskit-explain", "obskit-budgets"),
    *("obskit-events", "obskit-event-writer", "obskit-old-files", "obskit-history", "obskit-records"),
    LINES,
)
# How long the end of the process waits for all of them: servers kill a process that takes 10 to 30.
DEADLINE_SECONDS = 5.0
# When a step that raised is tried again, unless somebody asks earlier.
RETRY_SECONDS = 60.0
# What a step returns when there is nothing left to do: the thread ends, and the next `wake()` starts another.
OVER = inf


def start(work: Callable[..., object], *args: Any, name: str, ends: bool = False) -> Thread | None:
    """
    Start a daemon thread for one piece of work; None where none can be had: a limit of processes, no memory, an
    interpreter that ends.

    Whoever asks does without, or asks again the next time that there is something to do. No lock may be held: a start
    waits for the new thread, and others patch it.

    Args:
        ends: Whether the work is over by itself. In a sub-interpreter only such a thread starts, and is waited for.
    """
    thread = _new_thread(work, *args, name=name)
    if not _try_start(thread, ends=ends):
        return None
    if ends:
        _pieces.add(thread)
    return thread


def start_bare(work: Callable[..., object], *args: Any) -> bool:
    """
    Start a thread from where no lock may be taken and nothing waited for: a finaliser, a signal's handler. False where
    none can be had.
    """
    if not IS_MAIN:
        return False
    try:
        _thread.start_new_thread(work, args)
    except RuntimeError:
        return False
    return True


def start_later(seconds: float, call: Callable[[], object], *, name: str) -> WakeUp:
    """
    Make a call in a thread, after seconds that no test can hurry; what is returned cancels it when it is set. Where no
    thread can be had, the call is not made.
    """
    cancelled = WakeUp()

    def wait() -> None:
        if not cancelled.wait(seconds):
            call()

    start(wait, name=name)
    return cancelled


def _new_thread(work: Callable[..., object], *args: Any, name: str) -> Thread:
    # A sub-interpreter may not have daemons.
    return Thread(target=work, args=args, name=name, daemon=IS_MAIN)


def _try_start(thread: Thread, *, ends: bool = False) -> bool:
    if not IS_MAIN and not ends:
        return False
    try:
        thread.start()
    except (RuntimeError, MemoryError):
        return False
    return True


class BackgroundThread:
    """
    A thread that stays: it starts with the first need, and again in a forked child. Thread-safe.

    Args:
        name: Of the thread.
        body: What it does, until `end` was called.
        end: Has the body return soon; called without any lock, in any thread.
        drained: Whether the end of the process waits for it; not for what hangs where others do, and is of no use then.

    Attributes:
        running: The thread, or one that is being started; None where there is none.
    """

    def __init__(
        self, *, name: str, body: Callable[[], object], end: Callable[[], object], drained: bool = True
    ) -> None:
        self.name, self.drained = name, drained
        self._body, self._end = body, end
        self.after_fork()
        _threads.add(self)

    def after_fork(self) -> None:
        """
        Drop the parent's thread and locks, which a forked child does not have and may never get.
        """
        self._lock = RLock()  # a signal's handler, or a finaliser, may need it while its thread is here
        self.running: Thread | None = None
        self._pid = os.getpid()

    @property
    def is_running(self) -> bool:
        """
        Whether there is a thread, or one is being started.
        """
        return self.running is not None

    @property
    def is_of_parent(self) -> bool:
        """
        Whether a server has forked without telling Python, as uWSGI does, and this has not started over since.
        """
        return self._pid != os.getpid()

    @property
    def is_current(self) -> bool:
        """
        Whether this is it.
        """
        return self.running is current_thread()

    def start(self) -> bool:
        """
        Start it where it is not running; False where no thread can be had. No lock may be held.
        """
        if self.is_of_parent:
            self.after_fork()
        if self.running is not None:
            return True
        thread = _new_thread(self._run, name=self.name)
        with self._lock:
            if self.running is not None:
                return True
            self._start_over()
            self.running = thread
        try:
            return _try_start(thread)
        finally:
            if not thread.is_alive():  # also where a signal's handler raised something here
                self._forget(thread)

    def _start_over(self) -> None: ...  # makes what one thread has for itself, before it starts

    def flush(self, deadline: Deadline) -> bool:
        """
        Wait until what it was given is done; False where that takes longer. A thread without a queue has nothing.
        """
        return True

    def stop(self, deadline: Deadline | None = None) -> bool:
        """
        End it, and wait no longer than the deadline, and not at all on an event loop; True where it has ended.

        Args:
            deadline: None does not wait: what it does may hang.
        """
        if self.is_of_parent:
            self.after_fork()
        with self._lock:
            thread, self.running = self.running, None
        if thread is None:
            return True
        self._end()
        return _joined(thread, deadline)

    def _run(self) -> None:
        try:
            self._body()
        finally:
            self._forget(current_thread())

    def _forget(self, thread: Thread) -> None:
        with self._lock:
            if self.running is thread:
                self.running = None


def _joined(thread: Thread, deadline: Deadline | None) -> bool:
    if deadline is not None and thread is not current_thread() and not in_event_loop():
        with suppress(RuntimeError):  # it is being started by another thread
            thread.join(deadline.remaining())
    return not thread.is_alive()


class Ticks(BackgroundThread):
    """
    A thread that takes a step again and again: when it is due by the clock, or when it is woken.

    Args:
        name: Of the thread.
        step: Returns the seconds until it is due again; None: not before it is woken; `OVER`: nothing is left to do.
        failed: Told what a step raises, and the part; the step is taken again later.
        part: Whose step it is.
        began: Called in a new thread before its first step.
        drained: As for `BackgroundThread`.

    Attributes:
        due: When the next step is, by the monotonic clock.
    """

    def __init__(
        self,
        *,
        name: str,
        step: Callable[[], float | None],
        failed: Failed,
        part: str,
        began: Callable[[], object] | None = None,
        drained: bool = True,
    ) -> None:
        self._step, self._failed, self._part, self._began = step, failed, part, began
        super().__init__(name=name, body=self._take_steps, end=lambda: None, drained=drained)

    def after_fork(self) -> None:
        """
        Drop the parent's thread, which a forked child does not have, and what it was about to do.
        """
        super().after_fork()
        self._woken = False
        self._start_over()

    def _start_over(self) -> None:
        # Each thread has its own: none waits for one that hangs, and where gevent has replaced locks after the import,
        # none waits with a lock from before, which would hold up all.
        self._turn: Lock | None = Lock()  # a step is taken by the thread, or by a test that moves the clock
        self._wake_up = WakeUp()
        self.due, self._is_over = -inf, False

    def wake(self) -> None:
        """
        Wake the thread for a step now, or for one more after the present one.
        """
        self._woken = True
        self._wake_up.set()

    def stop(self, deadline: Deadline | None = None) -> bool:
        """
        End it, as every thread; the next one takes a step at once.
        """
        if self.is_of_parent:
            self.after_fork()
        with self._lock:
            thread, self.running = self.running, None
            wake_up, self._turn = self._wake_up, None
        wake_up.set()
        return thread is None or _joined(thread, deadline)

    @property
    def next_step(self) -> float:
        """
        When the next step is, by the monotonic clock; infinite where there is no thread, or nothing to wait for.
        """
        if self.running is None:
            return inf
        return -inf if self._woken else self.due

    def take_due_step(self, deadline: Deadline) -> bool:
        """
        Take the step that is due, here and not in the thread; False where the thread is at one, and does not end it.
        """
        turn = self._turn
        if turn is None:  # it was stopped meanwhile
            return True
        if not turn.acquire(timeout=deadline.remaining()):
            return False
        try:
            self._step_if_due(turn)
        finally:
            turn.release()
        return True

    def await_step(self, deadline: Deadline) -> bool:
        """
        Wait until the thread is at no step; False where it does not end the one that it is at.
        """
        turn = self._turn
        if turn is None:  # it was stopped meanwhile
            return True
        is_over = turn.acquire(timeout=deadline.remaining())
        if is_over:
            turn.release()
        return is_over

    def _take_steps(self) -> None:
        turn, wake_up = self._turn, self._wake_up
        if self._began is not None:
            self._began()
        while turn is not None and self.is_current:
            with turn:
                if not _moved_by_a_test:
                    self._step_if_due(turn)
            if self._is_over and self._ends():
                return
            due = inf if _moved_by_a_test else self.next_step
            if self.is_current:
                clock.wait(wake_up, None if due == inf else due - clock.monotonic())

    def _step_if_due(self, turn: Lock) -> None:
        if not self._woken and clock.monotonic() < self.due:
            return
        self._woken = False  # who wakes it from here on has it take another step
        self.due = clock.monotonic() + RETRY_SECONDS
        try:
            wait = self._step()
        except Exception as error:
            self._failed(self._part, error)
            return
        if turn is not self._turn:  # it was stopped meanwhile, and the next thread has a plan of its own
            return
        self._is_over = wait == OVER
        self.due = inf if wait is None else clock.monotonic() + wait

    def _ends(self) -> bool:
        """
        Whether the thread ends, since there is nothing to do; not where it was woken meanwhile.
        """
        with self._lock:
            if self._woken or not self.is_current:
                return not self.is_current
            self.running = None
            return True


class Queue(Ticks, Generic[T]):
    """
    A bounded queue, and the thread that works it off; it starts with the first item and ends with the last.

    Args:
        name: Of the thread.
        handle: Called with each item.
        failed: Told what that raises, and the part.
        part: Whose queue it is.
        size: How many items may wait.
        dropped: Called for each one more.
        drained: As for `BackgroundThread`.
    """

    def __init__(
        self,
        *,
        name: str,
        handle: Callable[[T], object],
        failed: Failed,
        part: str,
        size: int,
        dropped: Callable[[], object],
        drained: bool = True,
    ) -> None:
        self._handle, self._size, self._dropped = handle, size, dropped
        super().__init__(name=name, step=self._handle_next, failed=failed, part=part, drained=drained)

    def after_fork(self) -> None:
        """
        Drop the thread and what waits, which the parent works off.
        """
        super().after_fork()
        self._items: deque[T | WakeUp] = deque()

    @property
    def is_waiting(self) -> bool:
        """
        Whether something waits to be worked off, and no thread is there to do it.
        """
        return bool(self._items) and not self.is_running

    def put(self, item: T, *, starts: bool = True) -> None:
        """
        Queue an item; where the queue is full, it is dropped and counted.

        Args:
            starts: Whether the thread starts; else it does with the next one, or with a flush.
        """
        if len(self._items) >= self._size:
            self._dropped()
            return
        self._items.append(item)
        self.wake()
        if starts:
            self.start()

    def flush(self, deadline: Deadline) -> bool:
        """
        Wait until every item that waits is worked off; False where that takes longer, or this is an event loop.
        """
        if not self._items and not self.is_running:
            return True
        reached = WakeUp()
        self._items.append(reached)
        self.wake()
        return self.start() and reached.wait(0.0 if in_event_loop() or self.is_current else deadline.remaining())

    def stop(self, deadline: Deadline | None = None) -> bool:
        """
        Have what waits worked off as far as the deadline goes, and end the thread.
        """
        done = deadline is None or self.flush(deadline)
        return super().stop(deadline) and done

    def _handle_next(self) -> float:
        try:
            item = self._items.popleft()
        except IndexError:
            return OVER
        self._woken = True  # whatever comes of this one, there may be more
        if isinstance(item, WakeUp):
            item.set()
        else:
            self._handle(item)
        return 0.0


_threads: weakref.WeakSet[BackgroundThread] = weakref.WeakSet()
_pieces: weakref.WeakSet[Thread] = weakref.WeakSet()  # of work that are over by themselves
_moved_by_a_test: list[bool] = []


def listed(found: weakref.WeakSet[M]) -> list[M]:
    """
    List what is in a set to which other threads may add, which Python refuses to go through meanwhile.
    """
    while True:
        try:
            return list(found)
        except RuntimeError:  # it has changed
            continue


def stop_all(deadline: Deadline) -> bool:
    """
    Stop all threads in their order, within one deadline; True where all have ended.
    """
    return all([thread.stop(deadline if thread.drained else None) for thread in sorted(listed(_threads), key=_place)])


def _place(thread: BackgroundThread) -> int:
    return ORDER.index(thread.name if thread.name in ORDER else LINES) * 2 + (thread.name in ORDER)


@contextmanager
def moved_by_a_test() -> Iterator[None]:
    """
    Stop threads from taking steps by themselves, while a test moves the clock and takes those that are due.
    """
    _moved_by_a_test.append(True)
    try:
        yield
    finally:
        _moved_by_a_test.pop()
        for thread in ticking():
            thread._wake_up.set()


def ticking() -> list[Ticks]:
    """
    List the threads that take steps, by the next one, then in the order of `ORDER`.
    """
    found = [thread for thread in listed(_threads) if isinstance(thread, Ticks) and thread.is_running]
    return sorted(found, key=lambda thread: (thread.next_step, _place(thread), thread.name))


def join_pieces(deadline: Deadline, but: Container[Thread]) -> list[Thread]:
    """
    Wait for the pieces of work that are under way; return those that go on.

    Args:
        deadline: For all of them together.
        but: Those that are not waited for, and not returned.
    """
    awaited = [thread for thread in listed(_pieces) if thread is not current_thread() and thread not in but]
    return [thread for thread in awaited if not _joined(thread, deadline)]


def _start_over_in_child() -> None:
    _pieces.clear()
    _moved_by_a_test.clear()
    for thread in list(_threads):
        thread.after_fork()


at_fork(after_in_child=_start_over_in_child)
at_exit(lambda: stop_all(Deadline(DEADLINE_SECONDS)))
