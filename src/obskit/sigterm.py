"""
Put out what is queued before SIGTERM ends the process, where nobody else handles that signal.

A handler runs on top of whatever it interrupts, which may hold any lock: ours wakes a thread, and returns.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from queue import SimpleQueue

from obskit import background
from obskit.forks import at_fork
from obskit.recorder import recorder
from obskit.time.clock import Deadline

# How long all of it may take: servers kill a process that takes 10 to 30.
DEADLINE_SECONDS = 5.0


class Sigterm:
    """
    What is to be done, the thread that waits for it, and whether the signal has come. There is one a process.
    """

    def __init__(self) -> None:
        self._drains: tuple[Callable[[], object], ...] = ()
        self._is_forked = False
        self.start_over()

    def start_over(self) -> None:
        """
        Start over in a forked child: it has no thread until `ensure_running()`.
        """
        self._wake: SimpleQueue[bool] | None = None  # of the thread; None where there is none
        self._thread: threading.Thread | None = None
        self._received = False

    def after_fork(self) -> None:
        """
        Start over in a forked child, which may have something to drain without asking for it here.
        """
        self.start_over()
        self._is_forked = True

    def watch(self, *drains: Callable[[], object]) -> None:
        """
        Handle the signal from now on, unless somebody else does, or this is no main thread.

        Servers install their own handler after us; uvicorn puts ours back and raises the signal again when it has
        stopped, since it ends its workers without `atexit`.

        Args:
            *drains: Carried out side by side, each in a thread.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, _handle):
            return
        try:
            signal.signal(signal.SIGTERM, _handle)
        except ValueError:  # a sub-interpreter has a main thread too, and handles no signals
            return
        self._drains = drains
        self._start()

    def ensure_running(self) -> None:
        """
        Start the thread where the handler is ours and there is none: in a forked child that has something to drain.
        """
        if self._wake is None and self._drains and signal.getsignal(signal.SIGTERM) is _handle:
            self._start()

    def _start(self) -> None:
        if self._wake is None:
            wake: SimpleQueue[bool] = SimpleQueue()
            self._thread = background.start(self._run, wake, name="obskit-sigterm")
            self._wake = None if self._thread is None else wake

    def _start_bare(self) -> None:
        """
        Start the thread in the handler itself: as a `threading.Thread` it would take locks, and wait.
        """
        wake: SimpleQueue[bool] = SimpleQueue()
        if background.start_bare(self._run, wake):
            self._wake = wake

    def leave(self) -> None:
        """
        Restore what the signal does without obskit. Nothing happens here once it has come.
        """
        if self._received:
            return
        self._drains = ()
        wake, self._wake = self._wake, None
        if wake is not None:
            wake.put(False)
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGTERM) is _handle:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def on_signal(self) -> None:
        """
        Wake the thread. Called in the handler: this takes no lock, and a `SimpleQueue` may be put to on top of itself.
        """
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second signal ends the process at once
        if self._wake is None and self._is_forked:
            self._start_bare()
        wake = self._wake
        if wake is None:
            signal.raise_signal(signal.SIGTERM)
        else:
            self._received = True
            wake.put(True)

    def _run(self, wake: SimpleQueue[bool]) -> None:
        if not wake.get():
            return
        deadline = Deadline(DEADLINE_SECONDS)
        started = [background.start(_guarded, drain, name="obskit-drain", ends=True) for drain in self._drains]
        for drain, thread in zip(self._drains, started, strict=True):
            if thread is None:
                _guarded(drain)
            else:
                thread.join(deadline.remaining())
        os.kill(os.getpid(), signal.SIGTERM)

    def finish(self) -> None:
        """
        End by the signal, where it has come and the program is about to end in another way: as it would without us.
        """
        if self._received and self._thread is not None:
            self._thread.join(2 * DEADLINE_SECONDS)


def _guarded(drain: Callable[[], object]) -> None:
    try:
        drain()
    except Exception as error:
        recorder.failed("drain", error)


def _handle(number: int, frame: object) -> None:
    sigterm.on_signal()


sigterm = Sigterm()
at_fork(after_in_child=sigterm.after_fork)
