"""
Read the pragmas of the application's own SQLite connections: `synchronous` and others belong to a connection, and no
other connection can read them.

A connection that was opened in the surveying thread is read at once. Those of other threads must not be touched from
here: they answer where they are used, between two statements, and never before their first, which may have to be the
first: one that sets a key, or a pragma of a new file.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from threading import get_ident
from typing import Any
from weakref import ref

from obskit.db.query_watch import thresholds
from obskit.forks import at_fork
from obskit.sqlite_doctor.report import ConnectionPragmas

SYNCHRONOUS = ("off", "normal", "full", "extra")
MAX_CLOSED_ANSWERS = 1000
TEMP_STORE = ("default", "file", "memory")

# What is open, by `id()`: a connection of the application's need not be hashable. Single steps in C, so without a lock.
_open: dict[int, tuple[ref[sqlite3.Connection], int]] = {}
at_fork(after_in_child=_open.clear)  # a connection must not be used behind a fork


class PragmaSurvey:
    """
    One survey of connections' pragmas.

    Attributes:
        answers: The file and the pragmas of each connection, by its `id()`; None where they could not be read.
        seen: Connections of other threads that have been used since.
        closed_answers: Answers of connections that were dropped since.
    """

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.closed_answers: deque[tuple[str, ConnectionPragmas] | None] = deque(maxlen=MAX_CLOSED_ANSWERS)
        self.answers: dict[int, tuple[str, ConnectionPragmas] | None] = {}

    @property
    def has_answers(self) -> bool:
        """
        Whether the pragmas of any connection could be read.
        """
        return any(answer is not None for answer in self._all())

    def _all(self) -> list[tuple[str, ConnectionPragmas] | None]:
        return [*self.answers.copy().values(), *self.closed_answers.copy()]

    def unanswered(self) -> int:
        """
        Count the open connections that have not answered, to whatever file they are.
        """
        return len(_open.keys() - self.answers.keys())

    def found(self, path: str) -> tuple[ConnectionPragmas, ...]:
        """
        Return the pragmas of the connections to a file, the most common first.
        """
        file = os.path.realpath(path)
        told = [answer for answer in self._all() if answer is not None]
        counts = Counter(pragmas for name, pragmas in told if name and os.path.realpath(name) == file)
        return tuple(replace(pragmas, connections=count) for pragmas, count in counts.most_common())


surveys = thresholds.surveys


def track(connection: sqlite3.Connection) -> None:
    """
    Track a connection that the hook has opened, as long as it lives.
    """
    key = id(connection)
    try:
        _open[key] = ref(connection, partial(_closed, key)), get_ident()
    except TypeError:  # a class that cannot be referred to weakly
        pass


def _closed(key: int, _: object) -> None:
    _open.pop(key, None)
    for survey in surveys.copy():  # the next connection may have its `id()`
        survey.closed_answers.append(survey.answers.pop(key, None))
        survey.seen.discard(key)


@contextmanager
def survey_connections() -> Iterator[PragmaSurvey]:
    """
    Survey connections while a block runs: those of this thread at once, those of others as they are used.
    """
    survey = PragmaSurvey()
    surveys.append(survey)
    thresholds.update()
    try:
        for known, thread in list(_open.values()):
            connection = known() if thread == get_ident() else None
            if connection is not None:
                record_pragmas(connection, survey)
        yield survey
    finally:
        surveys.remove(survey)
        thresholds.update()


def respond(connection: sqlite3.Connection) -> None:
    """
    Reply to running surveys, in the thread that uses the connection, unless this is its first statement. Never raises.
    """
    key = id(connection)
    for survey in surveys.copy():
        if key not in survey.seen:
            survey.seen.add(key)
        elif key not in survey.answers:
            record_pragmas(connection, survey)


def record_pragmas(connection: sqlite3.Connection, survey: PragmaSurvey) -> None:
    """
    Add a connection's pragmas to a survey. Never raises.
    """
    try:
        pragmas = _pragmas_of(connection)
    except Exception:  # closed, locked, or its authorizer says no
        pragmas = None
    survey.answers[id(connection)] = pragmas


def _pragmas_of(connection: sqlite3.Connection) -> tuple[str, ConnectionPragmas]:
    cursor = sqlite3.Cursor(connection)  # whatever `cursor()` a class of the application's gives
    cursor.row_factory = None

    def pragma(name: str) -> Any:
        rows = sqlite3.Cursor.execute(cursor, f"PRAGMA {name}")
        row = sqlite3.Cursor.fetchall(rows)[:1]
        return row[0] if row else (None,) * 3

    try:
        return _text(pragma("database_list")[2]), ConnectionPragmas(
            connections=1,
            synchronous=SYNCHRONOUS[pragma("synchronous")[0]],
            foreign_keys=bool(pragma("foreign_keys")[0]),
            busy_timeout_ms=pragma("busy_timeout")[0],
            cache_size=pragma("cache_size")[0],
            mmap_size_bytes=pragma("mmap_size")[0] or 0,
            temp_store=TEMP_STORE[pragma("temp_store")[0]],
            locking_mode=_text(pragma("locking_mode")[0]),
            wal_autocheckpoint_pages=pragma("wal_autocheckpoint")[0],
        )
    finally:
        sqlite3.Cursor.close(cursor)


def _text(found: object) -> str:
    """
    Return text, whatever the connection's text factory makes of it.
    """
    return os.fsdecode(found) if isinstance(found, bytes) else str(found or "")
