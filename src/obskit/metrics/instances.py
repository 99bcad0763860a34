"""
Tell which instance of a server this process works for.

A process is a worker when a server it knows made it: gunicorn's worker object has this process's id, or
multiprocessing started the process on a server's own function, and the process that did so is its parent still.
A child that a worker forks has inherited those objects, with the worker's ids in them, and so is none.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from obskit.process_identity import boot, namespace, started

# Modules of the functions that these servers hand to multiprocessing.
_SPAWNING = {"uvicorn._subprocess": "uvicorn", "granian.server": "granian", "hypercorn": "hypercorn"}


@dataclass(frozen=True, slots=True)
class Instance:
    """
    Name a server, and the one time that it runs.

    Attributes:
        server: Its kind, such as `gunicorn`.
        pid: The process that makes the workers.
        started: When that process started, as the system counts; empty where the system hides it.
        boot: The boot of the machine.
        namespace: What `pid` is a number in; containers have their own.
    """

    server: str
    pid: int
    started: str
    boot: str
    namespace: str

    @property
    def key(self) -> tuple[str, str, int, str]:
        """
        Give what tells it from any other, also after a reboot, in another container, or when ids are used again.
        """
        return self.boot, self.namespace, self.pid, self.started

    def has_ended(self) -> bool | None:
        """
        Tell whether it has ended; None where nobody here can know, as of another container's.
        """
        if self.boot != boot():
            return True
        if self.namespace != namespace():
            return None
        now = started(self.pid)
        return not _exists(self.pid) or bool(now and self.started and now != self.started)


def instance() -> Instance | None:
    """
    Tell which server this process is a worker of; None when it is nobody's.
    """
    for detect in (_gunicorn, _spawned):
        found = detect()
        if found is not None:
            return instance_of(*found)
    return None


def instance_of(server: str, pid: int) -> Instance:
    """
    Name the server whose main process this is.
    """
    return Instance(server, pid, started(pid), boot(), namespace())


def _gunicorn() -> tuple[str, int] | None:
    base = sys.modules.get("gunicorn.workers.base")
    kind = getattr(base, "Worker", None)
    if kind is None:
        return None
    pid, parent = os.getpid(), os.getppid()
    for candidate in _candidates():
        if isinstance(candidate, kind):
            worker: Any = candidate
            if worker.pid == pid and worker.ppid == parent:
                return "gunicorn", parent
    return None


def _candidates() -> Iterator[object]:
    """
    Yield what may be the worker object.

    The main thread runs in its arbiter's `spawn_worker`; where greenlets hide that, its methods handle signals.
    """
    frame: FrameType | None = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        if frame.f_code.co_name == "spawn_worker":
            yield frame.f_locals.get("worker")
        frame = frame.f_back
    for number in (signal.SIGABRT, signal.SIGUSR1, signal.SIGTERM, signal.SIGQUIT):
        yield getattr(signal.getsignal(number), "__self__", None)


def _spawned() -> tuple[str, int] | None:
    processes = sys.modules.get("multiprocessing.process")
    if processes is None:
        return None
    parent = processes.parent_process()
    if parent is None or parent.pid != os.getppid():
        return None
    module = getattr(getattr(processes.current_process(), "_target", None), "__module__", None) or ""
    for prefix, server in _SPAWNING.items():
        if module == prefix or module.startswith(prefix + "."):
            return server, parent.pid
    return None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
