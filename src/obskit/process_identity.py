"""
Tell one process from any other that has, had or will have its id: ids are used again, and containers have their own.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path


def start_time(pid: int) -> str:
    """
    Say when a process started, as the system counts; empty where it is gone, or the system hides it.
    """
    return _in_proc(pid) if sys.platform == "linux" else _by_psutil(pid)


def _in_proc(pid: int) -> str:
    try:
        # The second field is the program's name, in brackets, and may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return "" if fields[0] in (b"Z", b"X") else fields[19].decode()
    except (OSError, IndexError):
        return ""


def _by_psutil(pid: int) -> str:
    import psutil

    try:
        return f"{psutil.Process(pid).create_time():.0f}"
    except psutil.Error:
        return ""


def boot_id() -> str:
    """
    Name the boot of the machine; empty where the system does not tell, but by a clock time that may be set.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def pid_namespace() -> str:
    """
    Name what the ids of processes are numbers in, as containers have their own; empty where the system does not tell.
    """
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def identity(pid: int) -> str:
    """
    Tell a process of this machine from any other that has, had or will have its id; empty where it is gone.
    """
    since = start_time(pid)
    return f"{_place()} {since}" if since else ""


def is_dead(pid: int, known: str) -> bool:
    """
    Tell whether a process is gone; of one in another container nobody here can know.
    """
    place, _, _ = known.rpartition(" ")
    if not place:
        return False
    if place.partition(" ")[0] != _place().partition(" ")[0]:
        return True  # before the machine was started
    return place == _place() and identity(pid) != known


@functools.lru_cache(1)
def _place() -> str:
    return f"{boot_id() or 'here'} {pid_namespace() or 'here'}"
