"""
Read what the machine, the container and the process use: pulled when somebody asks, by one sampler.

Nothing here waits: processor shares are taken over the time since this sampler last looked, and nobody else's looks
reset it. What the platform does not tell is left out, never 0. `psutil` is imported with the first look.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from obskit.components import Assembly, Component
from obskit.forks import at_fork
from obskit.metrics.settings import MetricsSettings
from obskit.service_settings import ServiceSettings
from obskit.time.clock import Deadline, system_clock

__all__ = ["snapshot"]

T = TypeVar("T")

DISK_PATHS: Mapping[str, str] = {"/": "/"}
# Seconds that a processor share is taken over at least; who asks more often gets the same figure.
WINDOW_SECONDS = 1.0
# cgroup v1 says "no limit" with the largest multiple of a page below 2**63.
_UNLIMITED = 2**60


class ContainerLimits:
    """
    The limits of the container, by cgroup v2 or v1.

    Args:
        root: Where the control groups are mounted.
        own: Says which of them this process is in.
    """

    def __init__(self, root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> None:
        self._root = Path(root)
        self._is_v2 = (self._root / "cgroup.controllers").is_file()
        self._paths = self._own(own)

    def _own(self, own: str) -> dict[str, str]:
        """
        Map controllers to this process's group; v2 has one group, under the empty name.
        """
        try:
            lines = Path(own).read_text("ascii").splitlines()
        except (OSError, ValueError):
            return {}
        found = {}
        for line in lines:
            _, colon, rest = line.partition(":")
            controllers, other, path = rest.partition(":")
            if colon and other:  # sandboxes write lines of their own, and empty ones
                found.update(dict.fromkeys(controllers.split(","), path))
        return found

    def _chain(self, controller: str) -> list[Path]:
        """
        List the group's directories from the innermost out; inside a container the mount itself is the group.
        """
        base = self._root if self._is_v2 else self._root / controller
        inside = base / self._paths.get("" if self._is_v2 else controller, "/").lstrip("/")
        if not inside.is_dir() or ".." in inside.parts:
            inside = base
        return [inside, *(parent for parent in inside.parents if parent == base or base in parent.parents)]

    def memory(self) -> tuple[int, int] | None:
        """
        Return the bytes used, without what can be dropped, and the limit; None where there is none.
        """
        names = ("memory.max", "memory.current") if self._is_v2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        found: tuple[int, Path] | None = None
        for group in self._chain("memory"):
            limit = _number(group / names[0])
            if limit is not None and limit < _UNLIMITED and (found is None or limit < found[0]):
                found = limit, group
        if found is None:
            return None
        limit, group = found
        used = _number(group / names[1])
        if used is None:
            return None
        idle = "inactive_file" if self._is_v2 else "total_inactive_file"
        return max(0, used - _fields(group / "memory.stat").get(idle, 0)), limit

    def cpus(self) -> float | None:
        """
        Return how many processors the container may keep busy; None where it is not limited.
        """
        found = self._tightest()
        return None if found is None else found[0]

    def cpu_seconds(self) -> float | None:
        """
        Return the processor seconds used of that limit, by all who share it; without a limit, by the container.
        """
        chain, found = self._chain("cpu"), self._tightest()
        groups = [chain[0]] if found is None else [found[1], chain[0]]
        return next((used for group in groups if (used := self._used(group)) is not None), None)

    def _tightest(self) -> tuple[float, Path] | None:
        """
        Find the group whose limit is reached first, and how many processors that are.
        """
        shares = []
        for group in self._chain("cpu"):
            if self._is_v2:
                words = _text(group / "cpu.max").split()
                quota, period = (words[0], words[1]) if len(words) == 2 else ("max", "")
            else:
                quota, period = _text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")
            if quota.isdigit() and period.isdigit() and int(period):
                shares.append((int(quota) / int(period), group))
        return min(shares, key=lambda share: share[0], default=None)

    def _used(self, group: Path) -> float | None:
        if self._is_v2:
            usage = _fields(group / "cpu.stat").get("usage_usec")
            return None if usage is None else usage / 1e6
        # Controllers have trees of their own, in which the same group has the same path.
        usage = _number(self._root / "cpuacct" / group.relative_to(self._root / "cpu") / "cpuacct.usage")
        return None if usage is None else usage / 1e9


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None


def _fields(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in _text(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


class _CpuReading(NamedTuple):
    """
    What the processors had done at one moment.

    Attributes:
        at: When that was.
        busy: Seconds that they were busy.
        there: Seconds that there were to be busy in, of each processor of `share`, else of all of them together.
        share: How many the container may keep busy; None where it has no limit.
    """

    at: float
    busy: float
    there: float
    share: float | None


class Sampler:
    """
    The figures of the machine, the container and the process. Thread-safe.
    """

    def __init__(
        self, limits: ContainerLimits | None = None, clock: Callable[[], float] = system_clock.monotonic
    ) -> None:
        self._limits = limits
        self._clock = clock
        self.disk_paths: Mapping[str, str] = DISK_PATHS
        self.version: str | None = None  # of the application, as `configure()` was told
        self.start_over()

    def start_over(self) -> None:
        """
        Start over, as in a forked child: what the parent read last says nothing here.
        """
        self._lock = threading.RLock()
        self._last: _CpuReading | None = None
        self._percent: float | None = None

    @property
    def limits(self) -> ContainerLimits:
        """
        Return the container's limits; where they are written is looked up once.
        """
        if self._limits is None:
            self._limits = ContainerLimits()
        return self._limits

    def cpu_percent(self) -> float | None:
        """
        Return how busy the processors were since the last call, from 0 to 100; None the first time.

        In a container that is limited, 100 is its share.
        """
        last, now = self._last, self._clock()
        if last is not None and now - last.at < WINDOW_SECONDS:
            return self._percent
        look = self._look(now)
        # By the limit of now, also for what passed before: it may have been raised in place.
        there = 0.0 if last is None else (look.there - last.there) * (look.share or 1.0)
        with self._lock:
            if self._last is last:  # else another thread has looked meanwhile
                if last is not None and there > 0 and (look.share is None) == (last.share is None):
                    self._percent = min(100.0, max(0.0, 100.0 * (look.busy - last.busy) / there))
                self._last = look
            return self._percent

    def _look(self, now: float) -> _CpuReading:
        share = self.limits.cpus()
        used = self.limits.cpu_seconds() if share is not None else None
        if share is not None and used is not None:
            return _CpuReading(now, used, now, share)
        import psutil

        times = psutil.cpu_times()
        # Guests' time is in user's already; waiting for a disk is idle.
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        return _CpuReading(now, total - times.idle - getattr(times, "iowait", 0.0), total, None)

    def memory(self) -> dict[str, int] | None:
        """
        Return bytes used, available and in total: of the container where it is limited, else of the machine.
        """
        limit = self.limits.memory()
        import psutil

        machine = _told(psutil.virtual_memory)
        if limit is not None and (machine is None or limit[1] < machine.total):
            return _memory(limit[0], limit[1])
        if machine is None:
            return None
        return _memory(machine.total - machine.available, machine.total)

    def swap(self) -> dict[str, int] | None:
        """
        Return bytes used and in total; None where there is no swap.
        """
        import psutil

        found = _told(psutil.swap_memory)
        return {"used_bytes": found.used, "total_bytes": found.total} if found and found.total else None

    def disks(self) -> dict[str, dict[str, int]]:
        """
        Return bytes used, and free and in total for directories, by the labels of `disk_paths`. What is missing is
        left out. The size of a SQLite file is that of its write-ahead log too.
        """
        from shutil import disk_usage

        found = {}
        for label, path in self.disk_paths.items():
            try:
                if os.path.isdir(path):
                    volume = disk_usage(path)
                    figures = {"used_bytes": volume.used, "free_bytes": volume.free, "total_bytes": volume.total}
                    found[label] = figures
                else:
                    found[label] = {"used_bytes": os.path.getsize(path) + _size(f"{path}-wal")}
            except OSError:
                continue
        return found

    def load(self) -> dict[str, float] | None:
        try:
            return dict(zip(("1m", "5m", "15m"), os.getloadavg(), strict=True))
        except (AttributeError, OSError):
            return None

    def network_errors(self) -> int | None:
        """
        Count the packets that interfaces received or sent with errors, since the machine started.
        """
        import psutil

        found = _told(lambda: psutil.net_io_counters(nowrap=False))
        return None if found is None else found.errin + found.errout

    def file_descriptors(self) -> tuple[int, int] | None:
        """
        Count the process's open file descriptors, and those it may have.
        """
        import psutil

        try:
            import resource

            count, most = psutil.Process().num_fds(), resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        except (ImportError, AttributeError, OSError, psutil.Error):
            return None
        return (count, most) if most > 0 else None

    def process(self) -> dict[str, Any]:
        """
        Read this process: processor time, memory, threads, descriptors, rounds of the garbage collector.
        """
        import psutil

        it = psutil.Process()
        read: dict[str, Callable[[], Any]] = {
            "uptime_seconds": lambda: max(0.0, system_clock.wall() - it.create_time()),
            "cpu_seconds": lambda: sum(it.cpu_times()[:2]),
            "resident_bytes": lambda: it.memory_info().rss,
            "threads": it.num_threads,
            "open_fds": lambda: it.num_fds(),
            "gc_collections": gc_collections,
        }
        with it.oneshot():
            found = {name: _told(ask) for name, ask in read.items()}
        return {name: figure for name, figure in found.items() if figure is not None}


def _memory(used: int, total: int) -> dict[str, int]:
    return {"used_bytes": used, "available_bytes": max(0, total - used), "total_bytes": total}


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def gc_collections() -> int:
    """
    Count the garbage collector's rounds, of all generations.
    """
    return sum(generation["collections"] for generation in gc.get_stats())


def _told(ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except Exception:  # psutil has several ways of saying that a platform does not tell
        return None


class Machine(Component):
    """
    What a runtime says of the process and its machine.
    """

    name = "system"

    def __init__(self, assembly: Assembly) -> None:
        self._version = assembly.settings.of(ServiceSettings).version
        self._disk_paths = assembly.settings.of(MetricsSettings).disk_paths

    def start(self) -> None:
        """
        Name the version, and look at the disks that are set.
        """
        sampler.version, sampler.disk_paths = self._version, self._disk_paths

    def stop(self, deadline: Deadline) -> None:
        """
        Name no version, and look at the disk of the root.
        """
        sampler.version, sampler.disk_paths = None, DISK_PATHS


sampler = Sampler()
at_fork(after_in_child=sampler.start_over)


def snapshot() -> dict[str, Any]:
    """
    Return all figures: `version`, `cpu_percent`, `memory`, `swap`, `disks`, `load`, `network_errors`, `process`.

    Bytes and seconds are named so; percent is from 0 to 100. What the platform does not tell is not among them, and
    neither is `cpu_percent` with the first call, which has nothing to compare with. Takes less than 2 ms, and waits
    for nothing.
    """
    found = {
        "version": sampler.version,
        "cpu_percent": _told(sampler.cpu_percent),
        "cpu_limit": _told(lambda: sampler.limits.cpus()),
        "memory": _told(sampler.memory),
        "swap": _told(sampler.swap),
        "disks": _told(sampler.disks),
        "load": _told(sampler.load),
        "network_errors": _told(sampler.network_errors),
        "process": _told(sampler.process),
    }
    return {name: figure for name, figure in found.items() if figure is not None}
