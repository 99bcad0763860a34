"""
The queue of records and the thread that writes them each second. Whoever puts one on it never waits.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import RLock
from typing import Any, TypeAlias

from obskit.background import Ticks
from obskit.history.record_slot import RecordSlot, StoredRow, stored_row
from obskit.history.record_tables import KINDS, ErrorRecord, Record
from obskit.recorder import recorder
from obskit.storage.own_sqlite import InUseError
from obskit.storage.periods import PeriodFiles
from obskit.time.clock import Deadline, clock
from obskit.workers.candidates import when_serving

PART = "records"
EVERY_SECONDS = 1.0
QUEUE_SIZE = 5000
# The most of each kind that one process stores in a second; a storm of errors is counted by the metrics.
# Of AI calls each is kept, since they are added up to dollars.
PER_SECOND: Mapping[str, int] = {
    **{"request": 50, "ordinary": 50, "query": 50, "error": 500, "event": 100, "job": 50},
    "ai": QUEUE_SIZE,
}

# What is kept of a process that does not serve yet, and is stored should it: calls are made at import, too.
BEFORE_SERVING = frozenset({"ai"})

Row: TypeAlias = tuple[Any, ...]
Make: TypeAlias = Callable[[float, Row], Record | ErrorRecord]


class RecordWriter:
    """
    Writes what is put on its queue. `put()` is thread-safe, and may be called by a finaliser.

    Args:
        open_folder: Makes the history folder where it is missing; None where it cannot be used, which was told.
        make_files: Makes the files' description of a folder.
        on_problem: As for `OwnDatabase`.
        takes: Whether this process keeps records at all.
    """

    def __init__(
        self,
        open_folder: Callable[[], Path | None],
        make_files: Callable[[Path], Mapping[str, PeriodFiles]],
        on_problem: Callable[[str, str], None],
        takes: Callable[[], bool] = lambda: True,
    ) -> None:
        self._takes = takes
        self._open_folder, self._make_files, self._on_problem = open_folder, make_files, on_problem
        self._thread = Ticks(name="obskit-records", step=self._step, failed=recorder.failed, part=PART)
        self._slot: RecordSlot | None = None
        self._is_stopped = False
        self.first: list[Callable[[], object]] = []  # called once, before the first writing
        self.each_second: list[Callable[[], object]] = []  # called before each writing
        self.start_over()

    def start_over(self) -> None:
        """
        Begin anew in a forked child: what waits is its parent's, and the slot too.
        """
        self._turn = RLock()
        self._waiting: deque[tuple[float, Make, Row]] = deque()
        self._taken: Counter[str] = Counter()
        self._slot = None

    def start(self) -> None:
        """
        Start as soon as this process serves.
        """
        when_serving(self._thread.start, PART)

    def ensure_running(self) -> None:
        """
        Start the thread where it is missed, since none was to be had before.
        """
        if self._takes() and not self._is_stopped:
            self._thread.start()

    def put(self, kind: str, make: Make, row: Row) -> None:
        """
        Queue a row; beyond what is stored in a second, or what may wait, it is dropped and counted.

        Args:
            kind: Of `PER_SECOND`.
            make: Makes the record of it, in the thread that writes.
            row: Plain values, which lead to no operation.
        """
        if not self._takes():
            if kind in BEFORE_SERVING and len(self._waiting) < QUEUE_SIZE:
                self._waiting.append((recorder.wall_clock(), make, row))
            return
        taken = self._taken
        taken[kind] += 1
        if taken[kind] > PER_SECOND[kind]:
            recorder.dropped.inc((PART, "rate_limit"))
        elif len(self._waiting) >= QUEUE_SIZE:
            recorder.dropped.inc((PART, "queue_full"))
        else:
            self._waiting.append((recorder.wall_clock(), make, row))

    def flush(self) -> bool:
        """
        Store what waits; False where it is lost.
        """
        return self._write()

    def stop(self, deadline: Deadline) -> None:
        """
        End the thread, and store what waits.
        """
        self._is_stopped = True
        self._thread.stop(deadline)
        with self._turn:
            self._write()
            if self._slot is not None:
                self._slot.close()
                self._slot = None

    def _step(self) -> float:
        self._taken.clear()
        while self.first:
            self._call(self.first.pop(0))
        for call in self.each_second:
            self._call(call)
        self._write()
        return EVERY_SECONDS

    def _call(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # records are written all the same
            recorder.failed(PART, error)

    @property
    def takes(self) -> bool:
        """
        Whether this process keeps records, since it serves.
        """
        return self._takes()

    def _write(self) -> bool:
        if not self._takes():
            return False
        with self._turn:
            rows, errors = self._made()
            count = sum(map(len, rows.values())) + sum(error.times for error in errors)
            reason = self._stored(rows, errors) if count else None
        if reason is not None:
            recorder.dropped.inc((PART, reason), count)
        return reason is None

    def _made(self) -> tuple[dict[str, list[StoredRow]], list[ErrorRecord]]:
        """
        Make rows of what waits, by kind of file; errors of one fingerprint are added up.
        """
        rows: dict[str, list[StoredRow]] = {}
        errors: dict[str, ErrorRecord] = {}
        for _ in range(len(self._waiting)):
            at, make, row = self._waiting.popleft()
            try:
                found = make(at, row)
                if isinstance(found, ErrorRecord):
                    known = errors.get(found.fingerprint)
                    errors[found.fingerprint] = found if known is None else known.plus(found)
                else:
                    rows.setdefault(KINDS[found.kind][1], []).append(stored_row(found))
            except Exception as error:
                recorder.dropped.inc((PART, "unreadable"))
                recorder.failed(PART, error)
        return rows, list(errors.values())

    def _stored(self, rows: Mapping[str, list[StoredRow]], errors: list[ErrorRecord]) -> str | None:
        """
        Store them; return why they are not.
        """
        try:
            slot = self._slot_or_open()
            if slot is None:
                return "unusable"
            if not all(files.has_room() for files in self._files.values()):
                return "disk_full"
            slot.write(clock.wall(), rows, errors)
            return None
        except (OSError, sqlite3.Error, InUseError):
            recorder.errors.inc(PART)
            slot, self._slot = self._slot, None
            if slot is not None:
                slot.close()
            return "unusable"

    def _slot_or_open(self) -> RecordSlot | None:
        if self._slot is not None and self._slot.is_held:
            return self._slot
        if self._slot is not None:
            self._slot.close()
            self._slot = None
        folder = self._open_folder()
        if folder is not None:
            self._files = self._make_files(folder)
            self._slot = RecordSlot(folder, self._files, self._on_problem)
        return self._slot
