"""
Detection of the server instance that this process is a worker of.

A process is a worker when a known server started it: gunicorn's worker object has this process's id, or
multiprocessing started the process on a server's own function, and that process is still its parent.
A child that a worker forks inherits those objects, with the worker's ids in them, and so is not a worker.
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

from obskit.process_identity import boot_id, pid_namespace, start_time

# Modules of the functions that these servers pass to multiprocessing.
_SPAWNING = {"uvicorn._subprocess": "uvicorn", "granian.server": "granian", "hypercorn": "hypercorn"}


@dataclass(frozen=True, slots=True)
class Instance:
    """
    One run of a server.

    Attributes:
        server: Its kind, such as `gunicorn`.
        pid: The process that starts the workers.
        started: When that process started, in the system's own unit; empty where the system hides it.
        boot: The boot id of the machine.
        namespace: The pid namespace of `pid`; containers have their own.
    """

    server: str
    pid: int
    started: str
    boot: str
    namespace: str

    @property
    def key(self) -> tuple[str, str, int, str]:
        """
        What identifies it, also across reboots, containers and reused process ids.
        """
        return self.boot, self.namespace, self.pid, self.started

    def has_ended(self) -> bool | None:
        """
        Return whether it has ended; None where that cannot be known, as for another container's.
        """
        if self.boot != boot_id():
            return True
        if self.namespace != pid_namespace():
            return None
        now = start_time(self.pid)
        return not _exists(self.pid) or bool(now and self.started and now != self.started)


def current_instance() -> Instance | None:
    """
    Return the server that this process is a worker of; None where it is not a worker.
    """
    for detect in (_gunicorn, _spawned):
        found = detect()
        if found is not None:
            return instance_of(*found)
    return None


def instance_of(server: str, pid: int) -> Instance:
    """
    Return the instance whose main process is `pid`.
    """
    return Instance(server, pid, start_time(pid), boot_id(), pid_namespace())


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
    Yield objects that may be gunicorn's worker.

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
