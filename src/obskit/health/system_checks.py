"""
Checks of what the process runs on: disks, memory, processor, threads, file descriptors.

The thresholds' defaults are one set, used throughout: a warning from 80 %, a failure from 95 %.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from obskit.errors import HealthCheckError
from obskit.health.outcome import Outcome, failed, limited, passed, warned, worst
from obskit.system import sampler

WARN_PERCENT = 80.0
FAIL_PERCENT = 95.0
NOT_REPORTED = "not available on this system"


@dataclass(frozen=True)
class Figure:
    """
    A check of one figure: it is read, and compared with two limits.
    """

    read: Callable[[], tuple[float | None, dict[str, Any]]] = field(repr=False)
    what: str
    warn: float | None
    fail: float | None

    def __call__(self) -> Outcome:
        try:
            figure, details = self.read()
        except Exception:  # as psutil says in several ways that a platform refuses
            figure = None
        if figure is None:
            return passed(note=NOT_REPORTED)
        return limited(round(figure, 2), self.warn, self.fail, self.what, **details)


def disk(
    path: str | os.PathLike[str] = "/", *, warn_percent: float = WARN_PERCENT, fail_percent: float = FAIL_PERCENT
) -> Disk:
    """
    Check how full the disk is that a path lies on.

    Args:
        path: A file or directory on it.
        warn_percent, fail_percent: From these shares of what unprivileged users may fill.
    """
    return Disk(os.fspath(path), warn_percent, fail_percent)


@dataclass(frozen=True)
class Disk:
    """
    The check of one disk.
    """

    path: str = field(repr=False)
    warn_percent: float
    fail_percent: float

    def __call__(self) -> Outcome:
        try:
            used = _disk(self.path)
        except PermissionError:
            return passed(note=NOT_REPORTED)
        return _judge_use(used, self.warn_percent, self.fail_percent)


def _disk(path: str) -> dict[str, Any]:
    usage = shutil.disk_usage(path)
    usable = usage.used + usage.free
    percent = round(100 * usage.used / usable, 2) if usable else 0.0
    return {"used_percent": percent, "free_bytes": usage.free, "total_bytes": usage.total}


def _judge_use(details: dict[str, Any], warn: float | None, fail: float | None) -> Outcome:
    return limited(details["used_percent"], warn, fail, "disk used, percent,", **details)


def memory(*, warn_percent: float = WARN_PERCENT, fail_percent: float = FAIL_PERCENT) -> Figure:
    """
    Check how much memory is used: of the container where it has a limit, else of the machine.
    """
    return Figure(_memory, "memory used, percent,", warn_percent, fail_percent)


def _memory() -> tuple[float | None, dict[str, Any]]:
    found = sampler.memory()
    if found is None:
        return None, {}
    percent = 100 * found["used_bytes"] / found["total_bytes"]
    return percent, {"used_percent": round(percent, 2), **found}


Limits: TypeAlias = tuple[float | None, float | None]


def system(
    *,
    cpu: Limits | None = (75.0, None),
    memory: Limits | None = (WARN_PERCENT, FAIL_PERCENT),
    disk: Limits | None = (WARN_PERCENT, FAIL_PERCENT),
    path: str | os.PathLike[str] = "/",
) -> System:
    """
    Check processors, memory and a disk as one component, with one reason that names what is elevated.

    Args:
        cpu, memory, disk: From which percent on it is a warning, and a failure; None in place of one: never, and in
            place of both: that figure is left out. A busy processor is no failure unless you say so.
        path: A file or directory on the disk.
    """
    given = {"cpu": cpu, "memory": memory, "disk": disk}
    for name, limits in given.items():
        if limits is not None and not _are_limits(limits):
            raise HealthCheckError(f"system({name}={limits!r}): expected two percents, such as (75, 90), or None")
    return System(cpu, memory, disk, os.fspath(path))


def _are_limits(limits: Any) -> bool:
    return (
        isinstance(limits, tuple)
        and len(limits) == 2
        and all(limit is None or (isinstance(limit, (int, float)) and 0 <= limit <= 100) for limit in limits)
    )


@dataclass(frozen=True)
class System:
    """
    The check of processors, memory and a disk together.
    """

    cpu: Limits | None
    memory: Limits | None
    disk: Limits | None
    path: str = field(repr=False)

    def __call__(self) -> Outcome:
        asked: dict[str, tuple[Limits | None, Callable[[], float | None]]] = {
            "cpu": (self.cpu, lambda: _cpu()[0]),
            "memory": (self.memory, lambda: _memory()[0]),
            "disk": (self.disk, lambda: float(_disk(self.path)["used_percent"])),
        }
        found: list[Outcome] = []
        details: dict[str, Any] = {}
        for name, (limits, read) in asked.items():
            if limits is None:
                continue
            try:
                percent = read()
            except Exception:  # as psutil says in several ways that a platform refuses
                percent = None
            if percent is not None:
                details[f"{name}_percent"] = round(percent, 2)
                found.append(limited(round(percent, 2), *limits, f"{name}, percent,"))
        reasons = [outcome.reason for outcome in found if outcome.reason]
        return Outcome(worst(*(outcome.status for outcome in found)), "; ".join(reasons) or None, details)


def cpu(*, warn_percent: float = WARN_PERCENT, fail_percent: float | None = None) -> Figure:
    """
    Check how busy the processors are, since they were last looked at.

    Args:
        warn_percent, fail_percent: Of all processors, or of the container's share. A busy processor is no failure
            unless you say so: to take a busy replica out makes the others busier.
    """
    return Figure(_cpu, "processors busy, percent,", warn_percent, fail_percent)


def _cpu() -> tuple[float | None, dict[str, Any]]:
    percent = sampler.cpu_percent()
    return percent, {} if percent is None else {"used_percent": round(percent, 2)}


def load(*, warn: float = 2.0, fail: float | None = None) -> Figure:
    """
    Check the load average of five minutes.

    Args:
        warn, fail: Of waiting and running tasks for each processor.
    """
    return Figure(_load, "load for each processor", warn, fail)


def _load() -> tuple[float | None, dict[str, Any]]:
    try:
        averages = os.getloadavg()
    except (AttributeError, OSError):
        return None, {}
    return averages[1] / (os.cpu_count() or 1), dict(zip(("1m", "5m", "15m"), averages, strict=True))


def threads(*, warn: int = 200, fail: int | None = None) -> Figure:
    """
    Check how many threads Python runs: one that grows forever is a leak.
    """
    return Figure(_threads, "threads", warn, fail)


def _threads() -> tuple[float, dict[str, Any]]:
    count = threading.active_count()
    return count, {"threads": count}


def file_descriptors(*, warn_percent: float = WARN_PERCENT, fail_percent: float = FAIL_PERCENT) -> Figure:
    """
    Check how many of the file descriptors that the process may have are open.
    """
    return Figure(_file_descriptors, "file descriptors open, percent,", warn_percent, fail_percent)


def _file_descriptors() -> tuple[float | None, dict[str, Any]]:
    found = sampler.file_descriptors()
    if found is None:
        return None, {}
    count, most = found
    return 100 * count / most, {"open": count, "limit": most}


def storage(
    path: str | os.PathLike[str],
    *,
    min_free_bytes: int = 100_000_000,
    max_files: int | None = None,
    warn_percent: float = WARN_PERCENT,
) -> Storage:
    """
    Check a directory that the application writes to: whether it can, and whether there is room.

    Args:
        path: The directory.
        min_free_bytes: Less than this is a failure.
        max_files: More entries than this is a warning; counting stops there. None: they are not counted.
        warn_percent: A disk filled to here is a warning.
    """
    return Storage(os.fspath(path), min_free_bytes, max_files, warn_percent)


@dataclass(frozen=True)
class Storage:
    """
    The check of one directory.
    """

    path: str = field(repr=False)
    min_free_bytes: int
    max_files: int | None
    warn_percent: float

    def __call__(self) -> Outcome:
        if not os.path.isdir(self.path):
            return failed("missing")
        try:
            with tempfile.TemporaryFile(dir=self.path, prefix=".obskit-health-") as file:
                file.write(b"\0" * 4096)
                file.flush()
        except OSError as error:
            return failed("cannot be written to", error=type(error).__name__, errno=error.errno)
        details = _disk(self.path)
        if details["free_bytes"] < self.min_free_bytes:
            return failed("too little space", **details)
        if self.max_files is not None:
            details["files"] = count = self._count(self.max_files)
            if count > self.max_files:
                return warned("too many files", **details)
        return _judge_use(details, self.warn_percent, None)

    def _count(self, most: int) -> int:
        count = 0
        with os.scandir(self.path) as entries:
            for _ in entries:
                count += 1
                if count > most:
                    break
        return count
