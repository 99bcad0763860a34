"""
Store what budgets have spent and reserved, in a SQLite file that all processes of a machine share.

Whatever takes from a budget does so in one transaction that holds the file's write lock: two processes never take the
same dollar. What was reserved by a process that died, or more than an hour ago, is given back.
"""

from __future__ import annotations

import errno
import functools
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

from obskit.ai.budget_file import (
    BUSY,
    BUSY_SECONDS,
    CORRUPT,
    HEADER_BYTES,
    VERSION,
    corrupt_error,
    create_file,
    exclusive_lock,
    inode_of,
    open_file,
    primary_code,
    write_schema,
)
from obskit.ai.budget_rows import INVALID_ROW_ERRORS, BudgetRows
from obskit.ai.reservations import (
    BudgetFigures,
    PendingReply,
    ReservationRefusal,
    ReservationRequest,
    ReservedAmount,
    Settlement,
    ThresholdCrossing,
    UnavailableError,
)
from obskit.file_modes import make_folder, refuse_foreign
from obskit.process_identity import identity
from obskit.recorder import recorder
from obskit.storage.filesystems import EPHEMERAL, filesystem_of
from obskit.time.clock import Patience

T = TypeVar("T")

TURN_SECONDS = 10.0  # to wait for the other threads of this one
MAX_PENDING = 10_000


class Ledger:
    """
    The shared file of budgets. Thread-safe; a forked child opens it again.

    Args:
        path: Of the file; its directory is made when it is first needed, for this user alone.
        on_problem: Called with a problem of the file, as (kind, message): `ephemeral`, `unavailable` or `lost`.
        on_crossing: Called with each crossing, once among all processes.
    """

    def __init__(
        self, path: Path, on_problem: Callable[[str, str], None], on_crossing: Callable[[ThresholdCrossing], None]
    ) -> None:
        self.path = path
        self._on_problem, self._on_crossing = on_problem, on_crossing
        self._lock = RLock()
        self._is_busy = False  # whether somebody is at the file: nobody but his own thread may find it so
        self._pending: deque[Settlement] = deque()
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._pid = 0
        self._abandoned: list[Any] = []  # connections of a parent: closing one here would meddle with the parent's file
        self._callbacks: list[Callable[[], None]] = []  # to be told once the lock is free
        self._rows = BudgetRows()
        self._identity = ""
        self._reported: set[str] = set()
        self._is_locked_for_fork = False

    # Requests

    def reserve(
        self, requests: Sequence[ReservationRequest], now: float
    ) -> tuple[ReservedAmount, ...] | ReservationRefusal:
        """
        Reserve of all budgets or of none. A period never goes back, whatever the clock does.

        A finaliser or a signal's handler that asks in the middle of a transaction of its thread is answered by what was
        last known, and reserves nothing.

        Raises:
            UnavailableError: The file cannot be used.
        """
        if self._is_reentrant():
            for place, request in enumerate(requests):
                if request.blocks and (refused := self._rows.last_known_refusal(request)) is not None:
                    return refused._replace(place=place)
            return tuple(ReservedAmount(None, request.key, request.start, 0.0, request.limit) for request in requests)
        with self._exclusively():
            return self._in_transaction(lambda db: self._rows.reserve(db, requests, now, (self._pid, self._identity)))

    def _is_reentrant(self) -> bool:
        """
        Return whether this thread is in a transaction, further down its stack.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            return self._is_busy
        finally:
            self._lock.release()

    def settle(
        self,
        amounts: tuple[ReservedAmount, ...],
        usd: Sequence[float],
        estimated: bool = False,
        name: str | None = None,
    ) -> None:
        """
        Settle a call by its cost, for each budget that it reserved of. The next `write()` or `reserve()` writes it;
        this neither waits nor raises, so that a finaliser may call it.

        Args:
            name: The provider's, of a reply that another process may tell as well: it is spent once.
        """
        self._append(Settlement(amounts, tuple(usd), estimated, name))

    def expect_reply(self, name: str, labels: tuple[str, ...], amounts: tuple[ReservedAmount, ...]) -> None:
        """
        Record that a reply is fetched later, and its id, in the way of `settle()`.
        """
        self._append(Settlement(amounts, (), False, name, labels))

    def _append(self, settlement: Settlement) -> None:
        if len(self._pending) >= MAX_PENDING:
            recorder.dropped.inc(("ai", "budget_settle"))
            return
        self._pending.append(settlement)

    def release(self, amounts: tuple[ReservedAmount, ...]) -> None:
        """
        Release what was reserved, in the way of `settle()`.
        """
        self.settle(amounts, [0.0] * len(amounts))

    def write(self) -> None:
        """
        Write pending settlements.

        Raises:
            UnavailableError: The file cannot be used; what was settled waits for the next time.
        """
        if self._pending:
            with self._exclusively():
                self._in_transaction(lambda db: None)

    def figures(self, key: str, start: float, now: float) -> BudgetFigures:
        """
        Read how a budget stands, after whatever is to be given back was.

        Raises:
            UnavailableError: The file cannot be used.
        """
        with self._exclusively():
            return self._in_transaction(lambda db: self._rows.figures(db, key, start, now))

    def current_refusal(self, request: ReservationRequest) -> ReservationRefusal | None:
        """
        Return a refusal if nothing is left, else None, without waiting: if the file is busy, by the last known figures.

        Raises:
            UnavailableError: The file cannot be used.
        """
        return self._read_without_waiting(
            lambda db: self._rows.current_refusal(db, request), lambda: self._rows.last_known_refusal(request)
        )

    def pending_reply(self, name: str, *, may_wait: bool) -> PendingReply | None:
        """
        Return what is known of a pending reply; None if nothing is, or the file is busy and `may_wait` is False.

        Raises:
            UnavailableError: The file cannot be used.
        """
        if may_wait and not self._is_reentrant():
            with self._exclusively():
                return self._in_transaction(lambda db: self._rows.pending_reply(db, name))
        return self._read_without_waiting(lambda db: self._rows.pending_reply(db, name), lambda: None)

    def _read_without_waiting(self, read: Callable[[sqlite3.Connection], T], otherwise: Callable[[], T]) -> T:
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
            if primary_code(error) in BUSY:
                return otherwise()
            raise self._unavailable(error) from error
        except (OSError, *INVALID_ROW_ERRORS) as error:
            raise self._unavailable(error) from error
        finally:
            self._is_busy = False
            self._lock.release()
            self._run_callbacks()

    def close(self) -> None:
        """
        Write what is pending, if possible, and close the file; the next use opens it again.
        """
        with suppress(UnavailableError):
            self.write()
        with suppress(UnavailableError), self._exclusively():
            self._disconnect()

    # Transactions

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
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
            self._run_callbacks()

    def _run_callbacks(self) -> None:
        """
        Run the pending callbacks, after the lock is free.
        """
        while self._callbacks:
            try:
                tell = self._callbacks.pop(0)
            except IndexError:  # another thread tells it
                return
            tell()

    def _in_transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """
        Run work in one transaction, and once more on a new file if this one is corrupt.
        """
        is_new, patience = False, Patience(BUSY_SECONDS)
        while True:
            inode = None
            try:
                db = self._open()
                inode = self._inode
                db.execute("BEGIN IMMEDIATE")
                try:
                    written, self._rows.crossings = len(self._pending), []
                    for index in range(written):
                        self._rows.settle(db, self._pending[index])
                    found = work(db)
                    db.execute("COMMIT")
                except BaseException:
                    with suppress(sqlite3.Error):
                        if db.in_transaction:
                            db.execute("ROLLBACK")
                    raise
                for _ in range(written):
                    self._pending.popleft()
                self._callbacks += [functools.partial(self._on_crossing, crossing) for crossing in self._rows.crossings]
                self._reported.discard("unavailable")
                return found
            except sqlite3.Error as error:
                if primary_code(error) in BUSY and not patience.is_over():
                    # SQLite waits by itself, but not where two make the file at the same time.
                    patience.rest(0.005)
                    continue
                if is_new or primary_code(error) not in CORRUPT:
                    raise self._unavailable(error) from error
                try:
                    self._set_aside(inode or inode_of(self.path))
                except (OSError, sqlite3.Error) as failure:
                    raise self._unavailable(failure) from failure
                is_new = True
            except (OSError, *INVALID_ROW_ERRORS) as error:
                raise self._unavailable(error) from error

    def _unavailable(self, error: BaseException) -> UnavailableError:
        self._disconnect()
        message = f"{self.path} cannot be used: {error}"
        self._report("unavailable", message)
        return UnavailableError(message)

    def _report(self, kind: str, message: str) -> None:
        if kind not in self._reported:
            self._reported.add(kind)
            self._callbacks.append(lambda: self._on_problem(kind, message))

    def _open(self, patience: float = BUSY_SECONDS) -> sqlite3.Connection:
        pid = os.getpid()
        if self._connection is not None:
            if self._pid == pid and self._inode == inode_of(self.path):
                return self._connection
            self._disconnect()
        self._ensure_there()
        os.close(open_file(self.path))
        inode = inode_of(self.path)
        if os.stat(self.path).st_size < HEADER_BYTES:
            raise corrupt_error("it is empty, which no file of ours ever is")  # SQLite would take it for a new one
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
        self._connection, self._inode, self._pid, self._identity = db, inode, pid, identity(pid)
        kind = filesystem_of(self.path.parent)
        if kind in EPHEMERAL:
            self._report(
                "ephemeral",
                f"{self.path.parent} is on {kind}: budgets start anew when that goes; set state_dir to a directory "
                "that stays",
            )
        return db

    def _ensure_there(self) -> None:
        """
        Create the folder and the file if they are missing.
        """
        if not self.path.is_absolute():
            raise FileNotFoundError(
                errno.ENOENT, "this user has no home folder: set state_dir (OBSKIT_STATE_DIR)", str(self.path.parent)
            )
        make_folder(self.path.parent, 0o700)
        refuse_foreign(os.stat(self.path.parent), self.path.parent)
        if not os.path.lexists(self.path):
            with exclusive_lock(self.path):
                create_file(self.path)

    def _disconnect(self) -> None:
        db, self._connection = self._connection, None
        if db is not None:
            if self._pid == os.getpid():
                with suppress(sqlite3.Error):
                    db.close()
            else:
                self._abandoned.append(db)

    def _set_aside(self, inode: tuple[int, int] | None) -> None:
        """
        Move a corrupt file aside, once among all processes, and create a new one that records that a count was lost.
        """
        self._disconnect()
        with exclusive_lock(self.path):
            if inode is None or inode_of(self.path) != inode:
                return  # somebody else was faster
            aside = self.path.with_name(f"{self.path.name}.broken-{int(recorder.wall_clock())}-{os.getpid()}")
            for suffix in ("-wal", "-shm", ""):
                with suppress(FileNotFoundError):
                    os.replace(f"{self.path}{suffix}", f"{aside}{suffix}")
            create_file(self.path)
            db = self._open()
            db.execute("INSERT INTO lost VALUES (?)", (recorder.wall_clock(),))
        self._callbacks.append(
            lambda: self._on_problem(
                "lost",
                f"{self.path} was broken and is now {aside.name}: what was spent in the current periods is not known "
                "any more. Budgets that block refuse calls until their period ends; to start them at 0 now, remove "
                f"{self.path}",
            )
        )

    # Forks

    def before_fork(self) -> None:
        """
        Wait until no thread is in a transaction, at most a few seconds, and close the file: SQLite would take the
        parent's locks for the child's, and each would undo the other's work.
        """
        self._is_locked_for_fork = self._lock.acquire(timeout=BUSY_SECONDS + 1)
        if self._is_locked_for_fork:
            self._disconnect()

    def after_fork(self) -> None:
        """
        Unlock, in the parent.
        """
        if self._is_locked_for_fork:
            self._is_locked_for_fork = False
            self._lock.release()

    def start_over(self) -> None:
        """
        Begin anew in a forked child: what is pending is the parent's to write.
        """
        self._lock, self._is_busy, self._is_locked_for_fork = RLock(), False, False
        self._pending = deque()
        self._callbacks = []
        self._disconnect()
