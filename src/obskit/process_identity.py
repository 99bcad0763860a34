"""
The identity of a process: ids are used again, and containers have their own.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path


def start_time(pid: int) -> str:
    """
    Return when a process started, in the system's ticks; empty where it is gone, or the system hides it.
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
    Return the id of the machine's boot; empty where the system has only a clock time, which may be set.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def pid_namespace() -> str:
    """
    Return the namespace of process ids, as containers have their own; empty where the system does not tell.
    """
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def identity(pid: int) -> str:
    """
    Return a text that no other process of this machine has, had or will have; empty where the process is gone.
    """
    since = start_time(pid)
    return f"{_place()} {since}" if since else ""


def is_dead(pid: int, known: str) -> bool:
    """
    Return whether a process is gone; False of one in another container, of which that cannot be known.
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
