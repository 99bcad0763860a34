"""
Tell which instance of a server this process works for.

A process is a worker when a server it knows made it: gunicorn's worker object has this process's id, or
multiprocessing started the process on a server's own function, and the process that did so is its parent still.
A child that a worker forks has inherited those objects, with the worker's ids in them, and so is none.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from obskit.metrics.directory import Directory, held, is_in_use, make, write
from obskit.metrics.records import VERSION

# Modules of the functions that these servers hand to multiprocessing.
_SPAWNING = {"uvicorn._subprocess": "uvicorn", "granian.server": "granian", "hypercorn": "hypercorn"}
_SHARED_MEMORY = "/dev/shm"
# The file in a directory that says whose it is.
_WHOSE = "instance.json"
_GONE = ".gone"
# Seconds without a change after which the directory of a server in another container, or nobody knows which, may go.
_FORGOTTEN = 86400


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
        if self.boot != _boot():
            return True
        if self.namespace != _namespace():
            return None
        started = _started(self.pid)
        return not _exists(self.pid) or bool(started and self.started and started != self.started)


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
    return Instance(server, pid, _started(pid), _boot(), _namespace())


def place(service: str, instance: Instance) -> Path:
    """
    Give the directory of an instance.

    It lies in memory where there is such a place: writing a page of a disk file back can hold an update up.
    """
    digest = hashlib.sha256(repr((VERSION, service, instance.key)).encode()).hexdigest()[:16]
    slug = re.sub(r"[^a-z0-9]+", "-", service.lower()).strip("-")[:40] or "service"
    return base() / f"{slug}-{digest}"


def base() -> Path:
    """
    Give the directory that holds those of all instances of this user.
    """
    usable = os.path.isdir(_SHARED_MEMORY) and os.access(_SHARED_MEMORY, os.W_OK | os.X_OK)
    return Path(_SHARED_MEMORY if usable else tempfile.gettempdir()) / f"obskit-{os.geteuid()}"


def directory(service: str, instance: Instance, *, max_label_sets: int = 10_000) -> Directory:
    """
    Give the directory of an instance, made if it is not there; then those of servers that are gone are removed.

    Args:
        max_label_sets: As the directory has it.

    Raises:
        DirectoryError: It cannot be trusted or made.
    """
    path = place(service, instance)
    make(path.parent)
    found = Directory(path, max_label_sets=max_label_sets)
    if not (path / _WHOSE).exists():
        _sign(path, instance)
        remove_left_over(path.parent, path)
    return found


def _sign(path: Path, instance: Instance) -> None:
    temporary = path / f"{os.urandom(8).hex()}.tmp"
    try:
        write(temporary, json.dumps(asdict(instance)).encode())
        os.rename(temporary, path / _WHOSE)
    except OSError:  # full, or read-only, which the first worker's file will tell
        pass


def remove_left_over(base: Path, own: Path | None = None) -> None:
    """
    Remove the directories of instances whose server is gone, unless somebody else is at it.
    """
    try:
        with held(base / "lock") as alone:
            for path in base.iterdir() if alone else ():
                if path != own and path.is_dir() and not path.is_symlink() and _is_left_over(path):
                    _remove(path)
    except OSError:
        pass


def _is_left_over(path: Path) -> bool:
    """
    Tell whether nobody will come back to a directory.
    """
    if path.name.endswith(_GONE):
        return True
    try:
        with open(path / _WHOSE, "rb") as file:
            ended = Instance(**json.loads(file.read(4096))).has_ended()
    except (OSError, ValueError, TypeError):
        ended = None
    if ended is None:
        ended = time.time() - path.stat().st_mtime > _FORGOTTEN
    return ended and not is_in_use(path)


def _remove(path: Path) -> None:
    gone = path if path.name.endswith(_GONE) else path.with_name(f"{path.name}.{os.urandom(4).hex()}{_GONE}")
    try:
        os.rename(path, gone)
        for file in gone.iterdir():
            file.unlink()
        gone.rmdir()
    except OSError:  # the next instance tries again
        pass


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


if sys.platform == "linux":

    def _started(pid: int) -> str:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                # The second field is the program's name, in brackets, and may hold anything.
                return file.read().rpartition(b")")[2].split()[19].decode()
        except (OSError, IndexError):
            return ""

    def _boot() -> str:
        try:
            with open("/proc/sys/kernel/random/boot_id") as file:
                return file.read().strip()
        except OSError:
            return ""

    def _namespace() -> str:
        try:
            return os.readlink("/proc/self/ns/pid")
        except OSError:
            return ""

else:

    def _started(pid: int) -> str:
        import psutil

        try:
            return repr(psutil.Process(pid).create_time())
        except psutil.Error:
            return ""

    def _boot() -> str:
        return ""  # the only source is a clock time, which moves when the clock is set

    def _namespace() -> str:
        return ""


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
