"""
Decouple a slow output from the application: lines wait in a queue, and a thread writes them.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from queue import Empty, SimpleQueue
from typing import TypeAlias

from obskit.background import BackgroundThread
from obskit.event_loop import in_event_loop
from obskit.forks import at_exit, at_fork
from obskit.logs.stream import Target, drop_reason
from obskit.recorder import recorder
from obskit.sigterm import sigterm
from obskit.time.clock import Deadline

WARNING = 30
# How long the end of the process waits for queued lines, in seconds: servers kill a worker after 10 to 30.
DRAIN_TIMEOUT_SECONDS = 8.0
# How long a caller waits for a synchronous line, in seconds. Where the output takes longer, it is written later.
SYNC_TIMEOUT_SECONDS = 5.0
# How long a fork waits for the line that is being written, in seconds.
FORK_TIMEOUT_SECONDS = 1.0

# At each so many queued lines there is a look whether the thread is gone: uWSGI forks without telling Python.
_LOOK_EVERY = 63

_Item: TypeAlias = "bytes | _Request"


class _Request:
    """
    A request to the thread that the caller can wait for: to write one line now, or all that was queued before.
    """

    __slots__ = ("_completed", "line")

    def __init__(self, line: bytes | None = None) -> None:
        self.line = line
        self._completed = threading.Lock()
        self._completed.acquire()

    def complete(self) -> None:
        self._completed.release()

    def wait(self, seconds: float) -> bool:
        return self._completed.acquire(timeout=seconds)


class QueuedTarget:
    """
    A queue in front of a slow target. One thread writes to it, and starts with the first line.

    Lines of WARNING and above are written synchronously, before those that are queued, and the caller waits; but not on
    an event loop, and not for an output that is known to be stuck. Queued lines are lost when the process is killed. A
    forked child starts with an empty queue, since its parent writes what was in it.

    Args:
        target: Where lines go.
        size: The number of lines that may be queued; more are dropped, and counted as `queue_full`.
    """

    def __init__(self, target: Target, size: int = 10_000) -> None:
        self._target, self._size = target, size
        self._sync_target = _SyncTarget(self)
        self._reset()
        self.thread = BackgroundThread(name="obskit-log-queue", body=self._run, end=lambda: self._queue.put(_STOP))
        _queues.add(self)

    def _reset(self) -> None:
        # Both may be put to in a signal's handler that interrupts a put.
        self._queue: SimpleQueue[_Item] = SimpleQueue()
        self._urgent: deque[_Request] = deque()
        self._is_stuck = False  # a caller has timed out, and no line was written since
        self._writing = threading.Lock()
        self._closed = self._is_abandoned = False

    def _start_over(self) -> None:
        """
        Leave what is queued to the parent of a forked process.
        """
        closed = self._closed
        self._reset()
        self._closed = closed
        self.thread.after_fork()

    def for_level(self, level: int) -> Target:
        """
        Return the target of a level's lines: the queue below WARNING, else the synchronous one.
        """
        return self if level < WARNING else self._sync_target

    def put(self, line: bytes) -> int:
        """
        Queue a line. One that does not fit is counted and raises nothing.
        """
        waiting = self._queue.qsize()
        if (waiting >= self._size or waiting & _LOOK_EVERY == _LOOK_EVERY) and not self._has_room():
            recorder.dropped.inc(("logs", "queue_full"))
        elif self.thread.running is not None or self._is_running():
            self._queue.put(line)
        else:
            self._write_here(line)
        return len(line)

    def write_sync(self, line: bytes) -> int:
        """
        Write a line before all that are queued, and wait for it.
        """
        if self.thread.is_of_parent:
            self._start_over()
        if not self._is_running() or self.thread.is_current:
            self._write_here(line)
        elif len(self._urgent) >= self._size:
            recorder.dropped.inc(("logs", "queue_full"))
        else:
            request = _Request(line)
            self._urgent.append(request)
            self._queue.put(_WAKE)
            if not self._is_stuck and not in_event_loop():
                self._is_stuck = not request.wait(SYNC_TIMEOUT_SECONDS)
        return len(line)

    def _has_room(self) -> bool:
        if self.thread.is_of_parent:  # asking the system for each line would cost as much as queueing it
            self._start_over()
        return self._queue.qsize() < self._size

    def _write_here(self, line: bytes) -> None:
        if self._is_abandoned:
            recorder.dropped.inc(("logs", "flush_timeout"))
        else:
            self._target.write(line)

    def write_rest(self, line: bytes, taken: int | None) -> None: ...

    def write(self, line: bytes) -> None:
        self.put(line)

    def notice(self) -> str | None:
        """
        Return the warning of the target behind the queue.
        """
        return self._target.notice()

    def flush(self, deadline: Deadline | None = None) -> bool:
        """
        Wait until all that was queued before is written; False once the deadline is over, by default after
        `DRAIN_TIMEOUT_SECONDS`. On an event loop it waits for nothing, and the thread goes on.
        """
        return self._drain(Deadline(0.0) if in_event_loop() else deadline)

    def _drain(self, deadline: Deadline | None) -> bool:
        if self.thread.is_running and not self.thread.is_current:
            request = _Request()
            self._queue.put(request)
            if not request.wait((deadline or Deadline(DRAIN_TIMEOUT_SECONDS)).remaining()):
                return False
        self._target.flush()
        return True

    def close(self, deadline: Deadline | None = None) -> None:
        """
        Write what is queued, and stop the thread. Later lines are written directly.
        """
        if self._closed:
            return
        drained = self._drain(deadline)
        self._closed = True
        if not drained:
            self._drop_queued()
        # The output is still at a line that it does not take: whoever wrote to it now would wait for that.
        self._is_abandoned = not self.thread.stop(Deadline(SYNC_TIMEOUT_SECONDS) if drained else None) and not drained
        self._target.close()

    def _drop_queued(self) -> None:
        """
        Drop and count the lines that could not be written in time.
        """
        try:
            while True:
                item = self._queue.get_nowait()
                if isinstance(item, bytes):
                    recorder.dropped.inc(("logs", "flush_timeout"))
        except Empty:
            pass
        while _pop_first(self._urgent) is not None:
            recorder.dropped.inc(("logs", "flush_timeout"))

    def _is_running(self) -> bool:
        if self.thread.is_running:
            return True
        if self._closed or not self.thread.start():
            return False
        sigterm.ensure_running()  # in a forked child, whose lines nothing else would write
        return True

    def _run(self) -> None:
        while (item := self._queue.get()) is not _STOP:
            while (request := _pop_first(self._urgent)) is not None:
                self._serve(request)
            if isinstance(item, bytes):
                self._write(item)
            elif item is not _WAKE:
                self._serve(item)
        self._is_abandoned = False

    def _serve(self, request: _Request) -> None:
        try:
            if request.line is not None:
                self._write(request.line)
        finally:
            request.complete()

    def _write(self, line: bytes) -> None:
        with self._writing:
            try:
                self._target.write(line)
            except Exception as error:
                recorder.dropped.inc(("logs", drop_reason(error)))
                recorder.failed("logs", error)
        self._is_stuck = False


class _SyncTarget:
    """
    The target of lines that are written synchronously.
    """

    def __init__(self, queued: QueuedTarget) -> None:
        self.put = queued.write_sync
        self.for_level, self.write_rest, self.notice = queued.for_level, queued.write_rest, queued.notice
        self.flush, self.close = queued.flush, queued.close

    def write(self, line: bytes) -> None:
        self.put(line)


def _pop_first(requests: deque[_Request]) -> _Request | None:
    try:
        return requests.popleft()
    except IndexError:
        return None


_WAKE, _STOP = _Request(), _Request()
_queues: weakref.WeakSet[QueuedTarget] = weakref.WeakSet()
_held_locks: list[threading.Lock] = []


def _before_fork() -> None:
    """
    Wait until each queue has written its current line, so that no child inherits a target in the middle of one.
    """
    _held_locks[:] = [
        queued._writing for queued in list(_queues) if queued._writing.acquire(timeout=FORK_TIMEOUT_SECONDS)
    ]


def _after_in_parent() -> None:
    for lock in _held_locks:
        lock.release()


def _after_in_child() -> None:
    for queued in list(_queues):
        queued._start_over()


def _at_exit() -> None:
    deadline = Deadline(DRAIN_TIMEOUT_SECONDS)  # of all outputs together
    for queued in list(_queues):
        queued.close(deadline)


at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
at_exit(_at_exit)
