"""
Files by hour, day or month, of which the old ones are unlinked: nothing is deleted inside of a file, and none is
rewritten to be smaller.

A file's name tells its span, in UTC, and which process writes it, alone: `2026-11-30T17.4242.sqlite3`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple

Period = Literal["hour", "day", "month"]

_FORMATS: dict[Period, str] = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m"}
_NAME = re.compile(r"([0-9]{4}-[0-9]{2}(?:-[0-9]{2}(?:T[0-9]{2})?)?)\.([a-z0-9_-]+)(\.[a-z0-9.]+)", re.ASCII)
_WRITER = re.compile(r"[a-z0-9_-]{1,60}", re.ASCII)
# In the order in which they go: a log without its file would be taken for that of the next one of this name.
_LOGS = ("-wal", "-shm", "-journal")
_BESIDE = (*_LOGS, "", *(f".new{log}" for log in _LOGS), ".new", ".replacement", ".lock")
_BROKEN = ".broken-"
FLOOR_BYTES, FLOOR_SHARE = 1 << 30, 0.05


class Span(NamedTuple):
    """
    A stretch of time, in seconds since the epoch: `start` is in it, `end` is not.
    """

    start: float
    end: float


class PeriodFile(NamedTuple):
    """
    One file, with what SQLite and the locks keep beside it.

    Attributes:
        path: Of the file.
        span: That its name tells.
        writer: Which process, or other part, writes it.
        size_bytes: With its log, what lies beside it, and what was set aside as damaged.
    """

    path: Path
    span: Span
    writer: str
    size_bytes: int


class Trimmed(NamedTuple):
    """
    What `PeriodFiles.trim()` did.

    Attributes:
        removed: Files that are gone.
        left: Files that should be, and could not be removed.
        size_bytes: Of all that stay.
    """

    removed: list[Path]
    left: list[Path]
    size_bytes: int


def span_at(period: Period, at: float) -> Span:
    """
    Return the hour, day or month, in UTC, that holds a moment.

    Raises:
        ValueError: It is no year of four digits.
    """
    return _span(period, _name_at(period, at))


def _name_at(period: Period, at: float) -> str:
    try:
        moment = datetime.fromtimestamp(at // 1, UTC)  # not rounded up into the next one
    except (OverflowError, OSError) as error:
        raise ValueError(f"{at} is no moment of which there is a file") from error
    return f"{moment.year:04d}{moment.strftime(_FORMATS[period].removeprefix('%Y'))}"


def _span(period: Period, name: str) -> Span:
    start = datetime.strptime(name, _FORMATS[period]).replace(tzinfo=UTC)
    match period:
        case "hour":
            length = timedelta(hours=1)
        case "day":
            length = timedelta(days=1)
        case "month":
            length = timedelta(days=31 if start.month == 12 else (start.replace(month=start.month + 1) - start).days)
    return Span(start.timestamp(), start.timestamp() + length.total_seconds())


class PeriodFiles:
    """
    The files of one kind, in a folder of their own. Thread-safe; several processes may use one folder.

    Args:
        folder: It need not be there.
        period: That each file is of.
        max_bytes: Of all of them, with their logs.
        keep: For how long after its span a file stays; None: as long as the others leave room.
        suffix: Of their names.
    """

    def __init__(
        self,
        folder: Path,
        period: Period,
        max_bytes: int,
        keep: timedelta | None = None,
        suffix: str = ".sqlite3",
    ) -> None:
        self.folder, self.period, self.max_bytes, self.keep, self.suffix = folder, period, max_bytes, keep, suffix

    def path_at(self, at: float, writer: str) -> Path:
        """
        Return the file that is written at a moment.

        Args:
            at: Seconds since the epoch.
            writer: Small letters, digits, `_` and `-`, at most 60: one for each process.

        Raises:
            ValueError: It is not a name of a writer, or no moment with a year of four digits.
        """
        if _WRITER.fullmatch(writer) is None:
            raise ValueError(f"{writer!r} cannot be part of a file's name: small letters, digits, '_' and '-' can")
        return self.folder / f"{_name_at(self.period, at)}.{writer}{self.suffix}"

    def span_of(self, path: Path) -> Span:
        """
        Return the span of a file that `path_at()` has named.
        """
        return _span(self.period, path.name.partition(".")[0])

    def parse(self, name: str) -> tuple[Span, str] | None:
        """
        Return the span and the writer of a file of this kind; None for anything else.
        """
        match = _NAME.fullmatch(name)
        if match is None or match[3] != self.suffix or _WRITER.fullmatch(match[2]) is None:
            return None
        try:
            span = _span(self.period, match[1])
            return (span, match[2]) if _name_at(self.period, span.start) == match[1] else None
        except ValueError:
            return None

    def files(self) -> list[PeriodFile]:
        """
        List what is there, oldest first. Links, folders and files of other names are left out.
        """
        sizes: dict[str, int] = {}
        for name, size in self._entries():
            main = self._main_of(name)
            if main is not None:
                sizes[main] = sizes.get(main, 0) + size
        found = []
        for name, size in sizes.items():
            if (parsed := self.parse(name)) is not None:
                found.append(PeriodFile(self.folder / name, *parsed, size))
        return sorted(found, key=lambda file: (file.span, file.writer))

    def overlapping(self, span: Span) -> list[PeriodFile]:
        """
        List the files, oldest first, that may know something of a stretch of time.
        """
        return [file for file in self.files() if file.span.start < span.end and span.start < file.span.end]

    def trim(self, now: float) -> Trimmed:
        """
        Unlink what is older than it is kept, then the oldest until all are small enough; never what is written now.

        Args:
            now: Seconds since the epoch.
        """
        files = self.files()
        total = sum(file.size_bytes for file in files)
        removed, left = [], []
        for file in files:
            if file.span.start <= now < file.span.end:
                continue
            is_old = self.keep is not None and file.span.end + self.keep.total_seconds() <= now
            if not is_old and total <= self.max_bytes:
                continue
            if self._unlink(file.path.name):
                total -= file.size_bytes
                removed.append(file.path)
            else:
                left.append(file.path)
        return Trimmed(removed, left, total)

    def has_room(self) -> bool:
        """
        Return whether the disk has room for more: it has 1 GB left, or 5 % of all.
        """
        folder = self.folder
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        try:
            found = os.statvfs(folder)
        except (OSError, AttributeError):  # Windows has none
            return True
        return not is_short(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)

    def _entries(self) -> Iterator[tuple[str, int]]:
        """
        List plain files, and what was set aside, with their sizes.
        """
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                except OSError:
                    continue  # it has gone meanwhile
                if stat.S_ISREG(found.st_mode):
                    yield entry.name, found.st_size

    def _main_of(self, name: str) -> str | None:
        """
        Return the file that another one lies beside: itself, most of the time.
        """
        name = name.partition(_BROKEN)[0]
        return next((name.removesuffix(end) for end in _BESIDE if name.endswith(f"{self.suffix}{end}")), None)

    def _unlink(self, main: str) -> bool:
        broken = [name for name, _ in self._entries() if name.startswith(f"{main}{_BROKEN}")]
        for name in (*broken, *(f"{main}{suffix}" for suffix in _BESIDE)):
            try:
                os.unlink(self.folder / name)
            except FileNotFoundError:
                continue
            except OSError:
                return False
        return True


def is_short(free_bytes: int, total_bytes: int) -> bool:
    """
    Return whether a disk is nearly full: under 1 GB, and under 5 % of all. Each alone says little of a small, or of a
    large, disk.
    """
    return free_bytes < FLOOR_BYTES and free_bytes < FLOOR_SHARE * total_bytes
