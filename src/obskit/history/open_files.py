"""
Series files that are open while a question is answered.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from obskit.history.tables import SERIES
from obskit.storage.own_sqlite import reading
from obskit.storage.periods import PeriodFile

T = TypeVar("T")


class OpenFiles:
    """
    Files that are open while one question is answered. What cannot be read is told once, and has nothing.
    """

    def __init__(self, on_error: Callable[[Exception], object]) -> None:
        self._on_error = on_error
        self._open: dict[Path, sqlite3.Connection | None] = {}
        self._stack = ExitStack()

    def __enter__(self) -> OpenFiles:
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()

    def read(self, file: PeriodFile, read: Callable[[sqlite3.Connection], list[T]]) -> list[T]:
        """
        Return what is read of a file.
        """
        try:
            if file.path not in self._open:
                self._open[file.path] = None
                self._open[file.path] = self._stack.enter_context(reading(file.path, SERIES))
            db = self._open[file.path]
            return [] if db is None else read(db)
        except FileNotFoundError:  # it was unlinked meanwhile
            return []
        except (OSError, sqlite3.Error, ValueError, KeyError, TypeError) as error:
            self._open[file.path] = None
            self._on_error(error)
            return []
