"""
The series files of one slot, of which this process is the only writer.

A sampling is one transaction: what has changed, and the totals that it was taken from. So whoever goes on in its place,
in whatever process, neither counts twice nor leaves out.
"""

from __future__ import annotations

import os
import sqlite3
from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from obskit.history.files import MINUTE_SECONDS, SeriesFiles
from obskit.history.increments import Change, Point, Totals
from obskit.history.lanes import add_up, pack, unpack
from obskit.history.slot_files import SlotFiles
from obskit.history.tables import GRID, SERIES, Ids, MetricRow
from obskit.metrics.cell_format import LabelSet, Row, decode_doubles
from obskit.storage.own_sqlite import OwnDatabase, reading
from obskit.workers.file_lock import FileLock

MAGIC = b"SQLite format 3\0"
PUT = (
    "INSERT INTO point (at, metric, label_set, value, n, lanes, lowest, highest, highest_at, total) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
)
REPLACE = PUT + ", ".join(f"{name} = excluded.{name}" for name in Point._fields)
KEEP_TOTAL = "INSERT INTO total VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET figures = excluded.figures"


class Sampled(NamedTuple):
    """
    What one sampling stores.

    Attributes:
        at: The start of its step, in seconds since the epoch.
        instance: Whose figures they are.
        sequence: Grows with each sampling of that instance.
        changes: Since the last one.
        known: What was stored before, of which a file that does not have it gets all.
    """

    at: int
    instance: str
    sequence: int
    changes: Sequence[Change]
    known: Totals


class SeriesSlot(SlotFiles):
    """
    The files of one slot. Not thread-safe; a forked child leaves its parent's alone.

    Args:
        lock: On the slot, held until `close()`.
        number: The slot.
        files: Of all slots, by step.
        on_problem: As for `OwnDatabase`.

    Attributes:
        complete: Files of which nothing is due any more.
        lost: Files that were damaged, by their step and the start of their span: shorter steps may have what they had.
    """

    def __init__(self, lock: FileLock, number: int, files: SeriesFiles, on_problem: Callable[[str, str], None]) -> None:
        super().__init__(lock, number)
        self._files, self._on_problem = files, on_problem
        self._ids: dict[Path, tuple[sqlite3.Connection, Ids]] = {}
        self.complete: set[Path] = set()
        self.lost: set[tuple[int, int]] = set()
        self._sizes: dict[Path, int] = {}  # none ever becomes smaller

    @property
    def steps(self) -> Sequence[int]:
        """
        Seconds of the steps that there are, the finest first.
        """
        return tuple(self._files.by_step)

    def database(self, step: int, at: int) -> OwnDatabase:
        """
        Return the file that has a moment, at a step; those of the same step that have others are closed.
        """
        path = self._files.by_step[step].path_at(at, str(self.number))
        if path not in self._open:
            self._close_others_beside(path)
            on_problem = partial(self._note_problem, step, int(self._files.by_step[step].span_of(path).start))
            self._open[path] = OwnDatabase(path, SERIES, on_problem, has_one_writer=True)
        return self._open[path]

    def ids(self, path: Path, db: sqlite3.Connection) -> Ids:
        """
        Return the ids in an open file.
        """
        known = self._ids.get(path)
        if known is None or known[0] is not db:
            known = self._ids[path] = db, Ids(db)
        return known[1]

    def write(self, step: int, at: int, work: Callable[[sqlite3.Connection, Ids], None]) -> None:
        """
        Run work in one transaction on the file that has a moment.

        Raises:
            OSError, sqlite3.Error: The file cannot be used; nothing is stored.
        """
        database = self.database(step, at)
        self.complete.discard(database.path)
        try:
            with self._turn, database.exclusively():
                database.transaction(lambda db: work(db, self.ids(database.path, db)))
        except BaseException:
            self._ids.pop(database.path, None)  # those that were new are not there
            raise

    def store(self, sampled: Sampled) -> None:
        """
        Store a sampling. A step that is there already is added to.

        Raises:
            OSError, sqlite3.Error: The file cannot be used; nothing is stored.
        """
        step = self._files.every

        def work(db: sqlite3.Connection, ids: Ids) -> None:
            at, instance = sampled.at, sampled.instance
            if not db.execute("SELECT 1 FROM instance WHERE id = ?", (instance,)).fetchone():
                _keep_all(db, ids, sampled)
            minute = at - at % MINUTE_SECONDS
            starts_minute = not db.execute("SELECT 1 FROM sampling WHERE at >= ?", (minute,)).fetchone()
            points = [(change.metric, change.key, change.point) for change in sampled.changes if change.point]
            if starts_minute:  # each minute says all gauges that there are
                told = {(metric, key) for metric, key, _ in points}
                points += [
                    (metric, key, Point(row[0]))
                    for (metric, key), row in sampled.known.items()
                    if metric.kind == "gauge" and (metric, key) not in told
                ]
            add_points(db, ids, at, points)
            _keep_totals(db, ids, at, instance, ((it.metric, it.key, it.figures) for it in sampled.changes))
            note_sampling(db, at, 1, step)
            db.execute("INSERT OR IGNORE INTO due VALUES (?)", (minute,))
            db.execute("INSERT OR REPLACE INTO instance VALUES (?, ?, ?)", (instance, sampled.sequence, at))

        self.write(step, sampled.at, work)

    def reopen_damaged(self) -> None:
        """
        Close the files that others cannot read, though they are open here: whoever opens one anew finds the damage.
        """
        for path, database in self._open.items():
            before = self._sizes.get(path, 0)
            self._sizes[path] = size = _readable_size(path)
            if size < before or not size:
                self._sizes.pop(path)
                database.close()

    def _note_problem(self, step: int, at: int, problem: str, what: str) -> None:
        if problem == "damaged" and step > self._files.every:
            self.lost.add((step, at))
        self._on_problem(problem, what)

    def last_at(self) -> int:
        """
        Return the start of the last step that this slot has, as its newest file says; 0 where that is not known.
        """
        kind = self._files.by_step[self._files.every]
        mine = [file for file in kind.files() if file.writer == str(self.number)]
        try:
            with reading(mine[-1].path, SERIES) as db:
                [[at]] = db.execute("SELECT coalesce(max(at), 0) FROM sampling").fetchall()
        except (IndexError, OSError, sqlite3.Error):
            return 0
        return int(at)

    def _forget(self, path: Path) -> None:
        self._ids.pop(path, None)
        self._sizes.pop(path, None)
        super()._forget(path)

    def abandon(self) -> None:
        """
        Leave the slot and its files to the parent, in a forked child.
        """
        super().abandon()
        self._ids.clear()


def _readable_size(path: Path) -> int:
    """
    Return the bytes of a file; 0 where it cannot be read.
    """
    try:
        with open(path, "rb") as file, reading(path, SERIES) as db:
            db.execute("SELECT max(at) FROM sampling").fetchall()
            return os.fstat(file.fileno()).st_size if file.read(len(MAGIC)) == MAGIC else 0
    except (OSError, sqlite3.Error):
        return 0


def add_points(db: sqlite3.Connection, ids: Ids, at: int, points: Iterable[tuple[MetricRow, LabelSet, Point]]) -> None:
    """
    Store points of a step; what the step has already is added to, and a gauge's value replaced.
    """
    rows, is_there = [], db.execute("SELECT 1 FROM sampling WHERE at = ?", (at,)).fetchone() is not None
    for metric, key, point in points:
        place = (at, *ids.of(metric, key, at))
        known = None
        if is_there and metric.kind != "gauge":
            asked = "SELECT value, n, lanes FROM point WHERE (at, metric, label_set) = (?, ?, ?)"
            known = db.execute(asked, place).fetchone()
        rows.append((*place, *(point if known is None else _added(metric, Point(*known), point))))
    db.executemany(REPLACE, rows)


def _added(metric: MetricRow, known: Point, point: Point) -> Point:
    value = None if known.value is None or point.value is None else known.value + point.value
    if metric.kind == "counter":
        return Point(value)
    lanes = pack(add_up([known.lanes or b"", point.lanes or b""], len(metric.bounds) + 1))
    return Point(value, (known.n or 0) + (point.n or 0), lanes)


def note_sampling(db: sqlite3.Connection, at: int, samples: int, step: int) -> None:
    """
    Record that a step of so many seconds was sampled.
    """
    db.execute(
        "INSERT INTO sampling VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET samples = samples + excluded.samples",
        (at, samples, step),
    )


def _keep_all(db: sqlite3.Connection, ids: Ids, sampled: Sampled) -> None:
    """
    Write what was known before, in a file that does not have it.
    """
    known = ((metric, key, row) for (metric, key), row in sampled.known.items())
    _keep_totals(db, ids, sampled.at, sampled.instance, known)


def _keep_totals(
    db: sqlite3.Connection,
    ids: Ids,
    at: int,
    instance: str,
    figures: Iterable[tuple[MetricRow, LabelSet, Row | None]],
) -> None:
    rows = [
        (instance, ids.of(metric, key, at)[1], _figures_of(metric, row))
        for metric, key, row in figures
        if row is not None and metric.kind != "gauge"
    ]
    db.executemany(KEEP_TOTAL, rows)


def _figures_of(metric: MetricRow, row: Row) -> bytes:
    """
    Write totals as doubles, but those of fine buckets as lanes, a tenth of that, and without their sum.
    """
    return pack((row[0], 0.0, *row[2:])) if metric.kind == GRID else array("d", row).tobytes()


def _row_of(metric: MetricRow, figures: bytes) -> Row:
    if metric.kind == GRID:
        return tuple(map(float, unpack(figures, len(metric.bounds) + 3)))
    return decode_doubles(figures)


def read_totals(db: sqlite3.Connection, instance: str) -> Totals:
    """
    Read the totals of an instance.
    """
    ids = Ids(db)
    by_number = {number: place for place, number in ids.label_sets.items()}
    asked = "SELECT label_set, figures FROM total WHERE instance = ?"
    found = {}
    for number, figures in db.execute(asked, (instance,)):
        place = by_number[number]
        found[place] = _row_of(place[0], figures)
    return found
