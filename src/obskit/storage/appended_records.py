"""
Records that processes append to files in one folder, and read of each other as they come.

Each process has a file of its own, so that no record is ever in the middle of another, whichever of them is killed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from obskit.file_modes import make_file
from obskit.storage.private_files import check_folder, open_existing
from obskit.time.clock import Clock, system_clock

RECORD_BYTES = 16_384
# A file of this size is put aside for one more, so a process has twice as much at most.
FILE_BYTES = 1_000_000
# Read of one file at a time.
CHUNK_BYTES = 262_144
# A file that nobody has written to for so long goes, and not before everybody has had so long to read it, by the clock
# that is never set.
KEPT_SECONDS, READ_WITHIN_SECONDS = 3600.0, 60.0
MAX_FILES = 1000

_END, _OLD = ".records", ".records.old"
FORMAT = 1
# A file begins with a line that no other has: inodes are used again at once.
_HEAD = f'{{"file":"%s","format":{FORMAT}}}\n'
_HEAD_BYTES = len(_HEAD % (16 * "0"))
Record = Mapping[str, Any]


class RecordWriter:
    """
    Appends records to this process's file. Thread-safe. A forked child begins a file of its own.

    Args:
        folder: Where the files are; it must be there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._start_over()

    def _start_over(self) -> None:
        self._pid, self._lock, self._count, self._is_torn = os.getpid(), Lock(), 0, False
        self._name = f"{self._pid}-{os.urandom(6).hex()}"

    @property
    def name(self) -> str:
        """
        What tells this process's file from others'.
        """
        if self._pid != os.getpid():
            self._start_over()
        return self._name

    def append(self, record: Record) -> None:
        """
        Append a record, which JSON can hold.

        Raises:
            OSError: It cannot be written, or the folder is a link.
            ValueError: It is larger than 16 kB.
        """
        path = self._folder / (self.name + _END)
        check_folder(self._folder)
        with self._lock:
            line = json.dumps({**record, "n": self._count + 1}, separators=(",", ":"), default=str).encode() + b"\n"
            if len(line) > RECORD_BYTES:
                raise ValueError(f"a record has at most {RECORD_BYTES} bytes, and this one {len(line)}")
            if self._is_torn:  # the disk was full in the middle of the one before
                line = b"\n" + line
            descriptor = self._open(path)
            try:
                if os.fstat(descriptor).st_size == 0:
                    line = (_HEAD % os.urandom(8).hex()).encode() + line
                self._is_torn = True
                self._is_torn = os.write(descriptor, line) < len(line)
            finally:
                os.close(descriptor)
            self._count += 1

    def _open(self, path: Path) -> int:
        # Anew each time, since others may have put the file away: records are rare.
        with suppress(FileNotFoundError):
            descriptor = open_existing(path, os.O_WRONLY | os.O_APPEND)
            if os.fstat(descriptor).st_size < FILE_BYTES:
                return descriptor
            os.close(descriptor)
            os.replace(path, path.with_suffix(_OLD))
        return make_file(path, os.O_WRONLY | os.O_APPEND, 0o600)

    def close(self) -> None:
        """
        Begin another file with the next record; what was written stays for others to read.
        """
        self._start_over()


class _Position(NamedTuple):
    """
    How far a file was read.

    Attributes:
        head: Its first line, which tells it from others of its name.
        offset: Where the next record begins.
        seen: Its inode, size and time of change when it was looked at.
    """

    head: bytes
    offset: int
    seen: tuple[int, int, int]


class RecordFollower:
    """
    Reads what other processes append from now on, each record once. Not for several threads at once.

    It goes on where a writer is killed in the middle of a record, where a file is cut, replaced or deleted. What cannot
    be read, or was gone before it was, is counted.

    Args:
        folder: Where the files are.
        own: Returns the name of this process's own file, which is not read.
        lost: Called with a reason, `damaged` or `missed`, and how many records that are.
        clock: By which files are old: the system's, as their times are.
    """

    def __init__(
        self,
        folder: Path,
        own: Callable[[], str],
        lost: Callable[[str, int], object],
        clock: Clock = system_clock,
    ) -> None:
        self._folder, self._own, self._lost, self._clock = folder, own, lost, clock
        self._old_since: dict[str, float] = {}  # by file name, by the monotonic clock
        self._positions: dict[str, _Position] = {}  # by file name
        self._counts: dict[str, int] = {}  # the number of the last record, by the writer's name
        for name, found in self._files():
            with suppress(OSError):
                _, position = self._chunk_of(name, found)
                self._positions[name] = position._replace(offset=found.st_size)

    def read(self) -> list[Record]:
        """
        Return what has come since, of each writer in its order; the rest with the next call, where it is much.
        """
        records: list[Record] = []
        seen, unfinished = set(), set()
        for name, found in self._files():
            seen.add(name)
            if _writer_of(name) in unfinished:  # what was put aside comes first
                continue
            try:
                chunk, position = self._chunk_of(name, found)
            except OSError:  # it was put aside just now, or is no file of this user's
                continue
            if position.offset + len(chunk) < found.st_size:
                unfinished.add(_writer_of(name))
            records += self._records_in(name, chunk, position)
        for name in self._positions.keys() - seen:
            del self._positions[name]
        writers = {_writer_of(name) for name in seen}
        for writer in self._counts.keys() - writers:
            del self._counts[writer]
        return records

    def _files(self) -> list[tuple[str, os.stat_result]]:
        """
        List the files of other processes, the older of one writer's first; delete what is long read.
        """
        own = self._own()
        found: list[tuple[str, os.stat_result]] = []
        with suppress(OSError):
            check_folder(self._folder)
            for entry in self._entries():
                if not entry.name.endswith((_END, _OLD)):
                    continue
                with suppress(OSError):
                    status = os.lstat(entry.path)  # the entry's may be an older one
                    if self._is_read(entry.name, status):
                        os.unlink(entry.path)
                    elif _writer_of(entry.name) != own and len(found) < MAX_FILES:
                        found.append((entry.name, status))
        return sorted(found, key=lambda file: (_writer_of(file[0]), not file[0].endswith(_OLD)))

    def _entries(self) -> list[os.DirEntry[str]]:
        with os.scandir(self._folder) as entries:
            found = list(entries)
        names = {entry.name for entry in found}
        self._old_since = {name: since for name, since in self._old_since.items() if name in names}
        return found

    def _is_read(self, name: str, found: os.stat_result) -> bool:
        """
        Return whether everybody has read a file: it is old, and has been for a while. Where the clock was set, all are
        old at once.
        """
        if abs(self._clock.wall() - found.st_mtime) <= KEPT_SECONDS:
            self._old_since.pop(name, None)
            return False
        now = self._clock.monotonic()
        return now - self._old_since.setdefault(name, now) >= READ_WITHIN_SECONDS

    def _chunk_of(self, name: str, found: os.stat_result) -> tuple[bytes, _Position]:
        """
        Read on in a file; return what came, and where it begins.
        """
        known = self._positions.get(name)
        if known is not None and known.seen == _seen(found):
            return b"", known
        # One that was put aside is known by its former name.
        known_files = [known, self._positions.get(name.removesuffix(".old"))]
        descriptor = open_existing(self._folder / name)
        try:
            head = os.pread(descriptor, _HEAD_BYTES, 0)
            offset = next((file.offset for file in known_files if file is not None and file.head == head), 0)
            offset = offset if offset <= found.st_size else 0
            return os.pread(descriptor, CHUNK_BYTES, offset), _Position(head, offset, _seen(found))
        finally:
            os.close(descriptor)

    def _records_in(self, name: str, chunk: bytes, position: _Position) -> Iterator[Record]:
        end = chunk.rfind(b"\n") + 1
        if end == 0 and len(chunk) > RECORD_BYTES:  # nothing that a writer has written; parsed as one line
            end = len(chunk)
        # What is left of a file is looked at again.
        seen = position.seen if position.offset + len(chunk) >= position.seen[1] else (0, 0, 0)
        self._positions[name] = _Position(position.head, position.offset + end, seen)
        for line in chunk[:end].split(b"\n"):
            if line and not line.startswith(b'{"file":'):
                record = self._record(_writer_of(name), line)
                if record is not None:
                    yield record

    def _record(self, writer: str, line: bytes) -> Record | None:
        try:
            record = json.loads(line)
            number = int(record["n"])
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
            self._lost("damaged", 1)
            return None
        last = self._counts.get(writer)
        if last is not None and number <= last:  # the file was cut, and written again
            return None
        if last is not None and number > last + 1:
            self._lost("missed", number - last - 1)
        self._counts[writer] = number
        return dict(record)


def _seen(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_size, found.st_mtime_ns


def _writer_of(name: str) -> str:
    return name.partition(".")[0]
