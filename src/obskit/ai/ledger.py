"""
Keep what budgets have spent and reserved, in a SQLite file that all processes of a machine share.

Whatever takes from a budget does so in one transaction that holds the file's write lock: two processes never take the
same dollar. What was reserved by a process that died, or more than an hour ago, is given back.
"""

from __future__ import annotations

import errno
import functools
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

from obskit.ai.budget_book import EDITED, Book
from obskit.ai.budget_file import (
    BUSY,
    BUSY_SECONDS,
    CORRUPT,
    LEAST_BYTES,
    VERSION,
    alone,
    code_of,
    damaged,
    filesystem_of,
    inode_of,
    make,
    opened,
    write_schema,
)
from obskit.ai.reservations import Ask, Awaited, Crossing, Figures, Held, Refused, Settlement, UnavailableError
from obskit.file_modes import make_folder, refuse_foreign
from obskit.process_identity import identity
from obskit.recorder import recorder

T = TypeVar("T")

TURN_SECONDS = 10.0  # to wait for the other threads of this one
MAX_PENDING = 10_000
_EPHEMERAL = frozenset({"tmpfs", "ramfs", "overlay", "aufs"})


class Ledger:
    """
    Hold the file. Thread-safe; a forked child opens it anew.

    Args:
        path: Of the file; its directory is made when it is first needed, for this user alone.
        notice: Told what is wrong with the file, as (kind, message): `ephemeral`, `unavailable` or `lost`.
        crossed: Told each crossing, once among all processes.
    """

    def __init__(self, path: Path, notice: Callable[[str, str], None], crossed: Callable[[Crossing], None]) -> None:
        self.path = path
        self._notice, self._crossed = notice, crossed
        self._lock = RLock()
        self._is_busy = False  # whether somebody is at the file: nobody but his own thread may find it so
        self._pending: deque[Settlement] = deque()
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._pid = 0
        self._left: list[Any] = []  # connections of a parent: closing one here would meddle with the parent's file
        self._news: list[Callable[[], None]] = []  # to be told once the lock is free
        self._book = Book()
        self._own = ""
        self._said: set[str] = set()
        self._held_for_fork = False

    # What callers ask

    def reserve(self, asks: Sequence[Ask], now: float) -> tuple[Held, ...] | Refused:
        """
        Take from all budgets or from none. A period never goes back, whatever the clock does.

        A finaliser or a signal's handler that asks in the middle of a transaction of its thread is answered by what was
        last known, and reserves nothing.

        Raises:
            UnavailableError: The file cannot be used.
        """
        if self._is_further_down():
            for place, ask in enumerate(asks):
                if ask.blocks and (refused := self._book.remembered(ask)) is not None:
                    return refused._replace(place=place)
            return tuple(Held(None, ask.key, ask.start, 0.0, ask.limit) for ask in asks)
        with self._turn():
            return self._again(lambda db: self._book.reserve(db, asks, now, (self._pid, self._own)))

    def _is_further_down(self) -> bool:
        """
        Tell whether a transaction of this thread is going on, further down its stack.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            return self._is_busy
        finally:
            self._lock.release()

    def settle(
        self, held: tuple[Held, ...], usd: Sequence[float], estimated: bool = False, name: str | None = None
    ) -> None:
        """
        Say what a call cost each budget that it was reserved from. It is written with the next `write()` or
        `reserve()`; this neither waits nor raises, so that a finaliser may call it.

        Args:
            name: The provider's, of a reply that another process may tell as well: it is spent once.
        """
        self._put(Settlement(held, tuple(usd), estimated, name))

    def expect(self, name: str, labels: tuple[str, ...], held: tuple[Held, ...]) -> None:
        """
        Say that a reply comes later, and by what name, as `settle()` does.
        """
        self._put(Settlement(held, (), False, name, labels))

    def _put(self, made: Settlement) -> None:
        if len(self._pending) >= MAX_PENDING:
            recorder.dropped.inc(("ai", "budget_settle"))
            return
        self._pending.append(made)

    def release(self, held: tuple[Held, ...]) -> None:
        """
        Give back what was reserved, as `settle()` does.
        """
        self.settle(held, [0.0] * len(held))

    def write(self) -> None:
        """
        Write what was settled.

        Raises:
            UnavailableError: The file cannot be used; what was settled waits for the next time.
        """
        if self._pending:
            with self._turn():
                self._again(lambda db: None)

    def figures(self, key: str, start: float, now: float) -> Figures:
        """
        Read how a budget stands, after whatever is to be given back was.

        Raises:
            UnavailableError: The file cannot be used.
        """
        with self._turn():
            return self._again(lambda db: self._book.figures(db, key, start, now))

    def glance(self, ask: Ask) -> Refused | None:
        """
        Refuse where nothing is left at all, and wait for nobody: where somebody is at the file, by what was last known
        of it.

        Raises:
            UnavailableError: The file cannot be used.
        """
        return self._look(lambda db: self._book.glance(db, ask), lambda: self._book.remembered(ask))

    def awaited(self, name: str, *, may_wait: bool) -> Awaited | None:
        """
        Say what is known of a reply that comes later; None where nothing is, or nobody may wait for who is at the file.

        Raises:
            UnavailableError: The file cannot be used.
        """
        if may_wait and not self._is_further_down():
            with self._turn():
                return self._again(lambda db: self._book.awaited(db, name))
        return self._look(lambda db: self._book.awaited(db, name), lambda: None)

    def _look(self, read: Callable[[sqlite3.Connection], T], otherwise: Callable[[], T]) -> T:
        """
        Read, and wait for nobody: where somebody is at the file, answer otherwise.
        """
        if not self._lock.acquire(blocking=False):
            return otherwise()
        if self._is_busy:  # further down, in this thread
            self._lock.release()
            return otherwise()
        self._is_busy = True
        try:
            db = self._open(patience=0.0)
            db.execute("PRAGMA busy_timeout = 0")
            try:
                return read(db)
            finally:
                db.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
        except sqlite3.Error as error:
            if code_of(error) in BUSY:
                return otherwise()
            raise self._unavailable(error) from error
        except (OSError, *EDITED) as error:
            raise self._unavailable(error) from error
        finally:
            self._is_busy = False
            self._lock.release()
            self._tell()

    def close(self) -> None:
        """
        Write what is pending, where that can be, and close the file; the next question opens it again.
        """
        with suppress(UnavailableError):
            self.write()
        with suppress(UnavailableError), self._turn():
            self._drop()

    # Transactions

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=TURN_SECONDS):
            raise UnavailableError(f"{self.path} is locked: another thread has waited for it for long")
        if self._is_busy:
            self._lock.release()
            raise UnavailableError(f"{self.path} is in use by the code that a finaliser, or a signal, interrupted")
        self._is_busy = True
        try:
            yield
        finally:
            self._is_busy = False
            self._lock.release()
            self._tell()

    def _tell(self) -> None:
        """
        Tell what came up, once nobody is kept waiting by it.
        """
        while self._news:
            try:
                tell = self._news.pop(0)
            except IndexError:  # another thread tells it
                return
            tell()

    def _again(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """
        Do work in one transaction, and once more on a new file where this one is broken.
        """
        is_new, end = False, time.monotonic() + BUSY_SECONDS
        while True:
            inode = None
            try:
                db = self._open()
                inode = self._inode
                db.execute("BEGIN IMMEDIATE")
                try:
                    written, self._book.crossings = len(self._pending), []
                    for index in range(written):
                        self._book.settle(db, self._pending[index])
                    found = work(db)
                    db.execute("COMMIT")
                except BaseException:
                    with suppress(sqlite3.Error):
                        if db.in_transaction:
                            db.execute("ROLLBACK")
                    raise
                for _ in range(written):
                    self._pending.popleft()
                self._news += [functools.partial(self._crossed, crossing) for crossing in self._book.crossings]
                self._said.discard("unavailable")
                return found
            except sqlite3.Error as error:
                if code_of(error) in BUSY and time.monotonic() < end:
                    # SQLite waits by itself, but not where two make the file at the same time.
                    time.sleep(0.005)
                    continue
                if is_new or code_of(error) not in CORRUPT:
                    raise self._unavailable(error) from error
                try:
                    self._set_aside(inode or inode_of(self.path))
                except (OSError, sqlite3.Error) as failure:
                    raise self._unavailable(failure) from failure
                is_new = True
            except (OSError, *EDITED) as error:
                raise self._unavailable(error) from error

    def _unavailable(self, error: BaseException) -> UnavailableError:
        self._drop()
        message = f"{self.path} cannot be used: {error}"
        self._say("unavailable", message)
        return UnavailableError(message)

    def _say(self, kind: str, message: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            self._news.append(lambda: self._notice(kind, message))

    def _open(self, patience: float = BUSY_SECONDS) -> sqlite3.Connection:
        pid = os.getpid()
        if self._connection is not None:
            if self._pid == pid and self._inode == inode_of(self.path):
                return self._connection
            self._drop()
        self._ensure_there()
        os.close(opened(self.path))
        inode = inode_of(self.path)
        if os.stat(self.path).st_size < LEAST_BYTES:
            raise damaged("it is empty, which no file of ours ever is")  # SQLite would take it for a new one
        # Not by `sqlite3.connect()`, which may be hooked.
        db = sqlite3.Connection(self.path, timeout=patience, isolation_level=None, check_same_thread=False)
        try:
            [version] = db.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise sqlite3.OperationalError(f"a newer version of obskit wrote it (format {version})")
            if version < VERSION:
                write_schema(db)
            db.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            db.close()
            raise
        if patience != BUSY_SECONDS:
            db.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
        self._connection, self._inode, self._pid, self._own = db, inode, pid, identity(pid)
        kind = filesystem_of(self.path.parent)
        if kind in _EPHEMERAL:
            self._say(
                "ephemeral",
                f"{self.path.parent} is on {kind}: budgets start anew when that goes; set state_dir to a directory "
                "that stays",
            )
        return db

    def _ensure_there(self) -> None:
        """
        Make the folder and the file where they are missing.
        """
        if not self.path.is_absolute():
            raise FileNotFoundError(
                errno.ENOENT, "this user has no home folder: set state_dir (OBSKIT_STATE_DIR)", str(self.path.parent)
            )
        make_folder(self.path.parent, 0o700)
        refuse_foreign(os.stat(self.path.parent), self.path.parent)
        if not os.path.lexists(self.path):
            with alone(self.path):
                make(self.path)

    def _drop(self) -> None:
        db, self._connection = self._connection, None
        if db is not None:
            if self._pid == os.getpid():
                with suppress(sqlite3.Error):
                    db.close()
            else:
                self._left.append(db)

    def _set_aside(self, inode: tuple[int, int] | None) -> None:
        """
        Put a broken file out of the way, once among all processes, and start a new one that knows that a count was
        lost.
        """
        self._drop()
        with alone(self.path):
            if inode is None or inode_of(self.path) != inode:
                return  # somebody else was faster
            aside = self.path.with_name(f"{self.path.name}.broken-{int(recorder.wall_clock())}-{os.getpid()}")
            for suffix in ("-wal", "-shm", ""):
                with suppress(FileNotFoundError):
                    os.replace(f"{self.path}{suffix}", f"{aside}{suffix}")
            make(self.path)
            db = self._open()
            db.execute("INSERT INTO lost VALUES (?)", (recorder.wall_clock(),))
        self._news.append(
            lambda: self._notice(
                "lost",
                f"{self.path} was broken and is now {aside.name}: what was spent in the current periods is not known "
                "any more. Budgets that block refuse calls until their period ends; to start them at 0 now, remove "
                f"{self.path}",
            )
        )

    # Forks

    def before_fork(self) -> None:
        """
        Let no thread be in the middle of a transaction, where that does not take too long, and close the file: SQLite
        would take the parent's locks for the child's, and the two would undo each other's work.
        """
        self._held_for_fork = self._lock.acquire(timeout=BUSY_SECONDS + 1)
        if self._held_for_fork:
            self._drop()

    def after_fork(self) -> None:
        """
        Go on, in the parent.
        """
        if self._held_for_fork:
            self._held_for_fork = False
            self._lock.release()

    def start_over(self) -> None:
        """
        Begin anew in a forked child: what is pending is the parent's to write.
        """
        self._lock, self._is_busy, self._held_for_fork = RLock(), False, False
        self._pending = deque()
        self._news = []
        self._drop()
