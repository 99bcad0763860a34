"""
Rows in a SQLite file of our own, which at any time may be damaged, locked, removed, or of another version.

No hook sees it: it is opened by `sqlite3.Connection`, not by `sqlite3.connect()`. Before SQLite 3.51.3 a write-ahead
log is corrupted where two connections write it, or move it into the file, at one instant
(https://sqlite.org/wal.html#walresetbug), so whoever writes holds a lock of our own.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import RLock
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from obskit.file_modes import make_folder, refuse_foreign
from obskit.recorder import recorder
from obskit.storage.filesystems import EPHEMERAL, filesystem_of, is_network
from obskit.storage.private_files import HAS_LOCKS, FileLock, NotAFileError, inode_of, open_existing, open_file
from obskit.time.clock import Deadline

T = TypeVar("T")

BUSY_SECONDS = 2.0  # to wait for another process; a transaction takes less than a millisecond
TURN_SECONDS = 10.0  # to wait for the other threads of this one
# SQLite's result codes.
BUSY = (5, 6)  # SQLITE_BUSY, SQLITE_LOCKED
CORRUPT = (11, 26)  # SQLITE_CORRUPT, SQLITE_NOTADB
READ_ONLY = (8, 14)  # SQLITE_READONLY, SQLITE_CANTOPEN
_HEADER_BYTES = 100  # of SQLite's header
_CHECKED_BYTES = 4 << 20  # files up to this are read whole when they are opened: a few milliseconds
_KEPT_BROKEN = 5  # files that were set aside; the oldest goes
_BESIDE = ("-wal", "-shm", "-journal")


class Schema(NamedTuple):
    """
    The tables of a file.

    Attributes:
        steps: SQL: the first makes them, each of the others brings the version before up to date.
    """

    steps: tuple[str, ...]

    @property
    def version(self) -> int:
        return len(self.steps)

    def apply(self, db: sqlite3.Connection) -> None:
        """
        Bring a file up to date, step by step. One process at a time.
        """
        [version] = db.execute("PRAGMA user_version").fetchone()
        for number, step in enumerate(self.steps[version:], version + 1):
            db.executescript(f"BEGIN IMMEDIATE; {step}; PRAGMA user_version = {number}; COMMIT")

    def is_in(self, db: sqlite3.Connection) -> bool:
        """
        Return whether a file that is up to date has all tables, with all columns.
        """
        return _columns_of(self) <= _columns(db)


@cache
def _columns_of(schema: Schema) -> frozenset[tuple[str, str]]:
    db = sqlite3.Connection(":memory:", isolation_level=None)
    try:
        schema.apply(db)
        return _columns(db)
    finally:
        db.close()


def _columns(db: sqlite3.Connection) -> frozenset[tuple[str, str]]:
    """
    Return the columns of all tables, each with the table's name.
    """
    asked = (
        "SELECT made.name, has.name FROM sqlite_master AS made, pragma_table_info(made.name) AS has "
        "WHERE made.type = 'table'"
    )
    return frozenset(db.execute(asked).fetchall())


class InUseError(Exception):
    """
    Report that this process itself is at the file, and for too long.
    """


class OwnDatabase:
    """
    One file. Thread-safe: `exclusively()` takes turns. A forked child opens it again, and leaves its parent's alone.

    Args:
        path: Of the file; its folder is made when it is first needed, for this user alone.
        schema: Its tables.
        on_problem: Called with what happened to the file, once nobody is at it any more: `damaged` with the name that
            it has now, `ephemeral` or `network` with the kind of its file system.
        on_replaced: Called with the new file, before anybody sees it, that takes the place of a damaged one.
        has_one_writer: Whether one process alone may have it open: others are told that it is locked.
    """

    def __init__(
        self,
        path: Path,
        schema: Schema,
        on_problem: Callable[[str, str], None],
        on_replaced: Callable[[sqlite3.Connection], None] = lambda db: None,
        *,
        has_one_writer: bool = False,
    ) -> None:
        self.path = path
        self._schema, self._on_problem, self._on_replaced = schema, on_problem, on_replaced
        self._has_one_writer = has_one_writer
        self._turn = RLock()
        self._is_busy = False  # whether the file is in use: no thread but the one that uses it may see this
        self._lock = FileLock(path.with_name(f"{path.name}.lock"))
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._log: tuple[int, int] | None = None  # of a file of one writer
        self._pid = 0
        self._callbacks: list[Callable[[], None]] = []
        self._reported: set[str] = set()
        self._is_locked_for_fork = False

    # Turns

    def exclusively(self) -> AbstractContextManager[None]:
        """
        Take a turn at the file: no other thread is at it within the block.

        Raises:
            InUseError: Another thread has been at it for long, or this one is, further down its stack.
        """
        return self

    def __enter__(self) -> None:
        if not self._turn.acquire(timeout=TURN_SECONDS):
            raise InUseError(f"{self.path} is locked: another thread has waited for it for long")
        if self._is_busy:
            self._turn.release()
            raise InUseError(f"{self.path} is in use by the code that a finaliser, or a signal, interrupted")
        self._is_busy = True

    def __exit__(self, *raised: object) -> None:
        self._is_busy = False
        self._turn.release()
        if self._callbacks:
            self._run_callbacks()

    @property
    def is_reentrant(self) -> bool:
        """
        Whether this thread is at the file already, further down its stack.
        """
        if not self._turn.acquire(blocking=False):
            return False
        try:
            return self._is_busy
        finally:
            self._turn.release()

    def call_later(self, callback: Callable[[], None]) -> None:
        """
        Call something once nobody is at the file.
        """
        self._callbacks.append(callback)
        if self._turn.acquire(blocking=False):
            is_busy = self._is_busy
            self._turn.release()
            if not is_busy:
                self._run_callbacks()

    def _run_callbacks(self) -> None:
        while self._callbacks:
            try:
                callback = self._callbacks.pop(0)
            except IndexError:  # another thread calls it
                return
            callback()

    # Reading and writing

    def transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """
        Run work in one transaction, and once more on a new file if this one is damaged. Within `exclusively()`.

        Raises:
            OSError, sqlite3.Error: The file cannot be used: another has locked it for `BUSY_SECONDS`, the disk is full,
                a newer version wrote it.
        """
        is_new, deadline = False, Deadline(BUSY_SECONDS)
        while True:
            inode = None
            try:
                db = self.connection()
                inode = self._inode
                # As `_writing()` does, which costs a generator.
                if self._lock.is_held:
                    return _committed(db, work)
                self._acquire(deadline.remaining())
                try:
                    return _committed(db, work)
                finally:
                    self._lock.release()
            except (sqlite3.Error, NotAFileError) as error:
                if primary_code(error) in BUSY and not deadline.is_over():
                    # SQLite waits by itself, but not where two make the file at the same time.
                    deadline.rest(0.005)
                    continue
                if is_new or not _is_damage(error):
                    self.disconnect()
                    raise
                self._set_aside(inode or inode_of(self.path))
                is_new = True
            except OSError:
                self.disconnect()
                raise

    def read_without_waiting(self, read: Callable[[sqlite3.Connection], T], otherwise: Callable[[], T]) -> T:
        """
        Read, and wait for nobody: where another thread or process is at the file, answer otherwise.

        Raises:
            OSError, sqlite3.Error: The file cannot be used.
        """
        if not self._turn.acquire(blocking=False):
            return otherwise()
        if self._is_busy:  # further down, in this thread
            self._turn.release()
            return otherwise()
        self._is_busy = True
        try:
            db = self.connection(patience_seconds=0.0)
            db.execute("PRAGMA busy_timeout = 0")
            try:
                return read(db)
            finally:
                db.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
        except sqlite3.Error as error:
            if primary_code(error) in BUSY:
                return otherwise()
            self.disconnect()
            raise
        finally:
            self._is_busy = False
            self._turn.release()
            self._run_callbacks()

    def connection(self, patience_seconds: float | None = None) -> sqlite3.Connection:
        """
        Open the file, or give what is open if that is still the file. Within `exclusively()`.

        Args:
            patience_seconds: To wait for other processes; `BUSY_SECONDS` by default.

        Raises:
            OSError, sqlite3.Error: It cannot be opened.
        """
        patience = BUSY_SECONDS if patience_seconds is None else patience_seconds
        if self._connection is not None:
            if self._pid == os.getpid() and self._inode == inode_of(self.path) and self._has_its_log():
                return self._connection
            self.disconnect()
        self._ensure_there(patience)
        os.close(open_existing(self.path, os.O_RDWR))
        inode = inode_of(self.path)
        if os.stat(self.path).st_size < _HEADER_BYTES:
            raise corrupt_error("it is empty, which no file of ours ever is")  # SQLite would take it for a new one
        kind = filesystem_of(self.path.parent)
        if self._has_one_writer:
            self._acquire(patience)
        try:
            db = self._opened(patience, kind)
        except BaseException:
            if self._has_one_writer:
                self._lock.release()
            raise
        self._connection, self._inode, self._log, self._pid = db, inode, None, os.getpid()
        if kind is not None and (kind in EPHEMERAL or is_network(kind)):
            self._report_once("ephemeral" if kind in EPHEMERAL else "network", kind)
        return db

    def _has_its_log(self) -> bool:
        """
        Whether the log beside the file is still the one that is written: SQLite goes on in one that was removed, which
        nobody else reads, and moves it into the file when it closes it.
        """
        if not self._has_one_writer:
            return True
        known, self._log = self._log, inode_of(f"{self.path}-wal")
        return known is None or known == self._log

    def _opened(self, patience: float, kind: str | None) -> sqlite3.Connection:
        db = connect(self.path, "rw", patience)
        try:
            [version] = db.execute("PRAGMA user_version").fetchone()
            if version > self._schema.version:
                raise sqlite3.OperationalError(f"a newer version of obskit wrote it (format {version})")
            if version == 0:
                raise sqlite3.OperationalError("obskit did not make it, but it is a database")
            if os.stat(self.path).st_size <= _CHECKED_BYTES:
                [[told], *_] = db.execute("PRAGMA quick_check(1)").fetchall()
                if told != "ok":
                    raise corrupt_error(str(told))
            if version < self._schema.version:
                with self._writing(patience):
                    self._schema.apply(db)
            if not self._schema.is_in(db):
                raise corrupt_error("it has other tables than ours")
            _set_journal(db, kind)
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
        except BaseException:
            db.close()
            raise
        return db

    def close(self) -> None:
        """
        Close the file, if nobody is at it; the next use opens it again.
        """
        with suppress(InUseError), self.exclusively():
            self.disconnect()

    def disconnect(self) -> None:
        """
        Close the file. Within `exclusively()`.
        """
        db, self._connection = self._connection, None
        if db is not None and self._pid == os.getpid():
            # What closes it last moves the log into the file, which is writing.
            with suppress(OSError):
                self._lock.acquire(0.0)
            with suppress(sqlite3.Error):
                db.close()
        elif db is not None:
            _keep_for_ever(db)
        self._lock.close()

    # Other processes

    @contextmanager
    def _writing(self, patience: float) -> Iterator[None]:
        """
        Take the lock that whoever writes holds.
        """
        if self._lock.is_held:
            yield
            return
        self._acquire(patience)
        try:
            yield
        finally:
            self._lock.release()

    def _acquire(self, patience: float) -> None:
        if not self._lock.acquire(max(0.0, patience)):
            raise _busy_error()

    def _ensure_there(self, patience: float) -> None:
        """
        Create the folder and the file if they are missing, and end what a killed process has begun.
        """
        if not self.path.is_absolute():
            why = "this user has no home folder: set state_dir (OBSKIT_STATE_DIR)"
            raise FileNotFoundError(errno.ENOENT, why, str(self.path.parent))
        make_folder(self.path.parent, 0o700)
        refuse_foreign(os.stat(self.path.parent), self.path.parent)
        if os.path.lexists(self._replacement):
            with self._writing(patience):
                self._replace()
        if not os.path.lexists(self.path):
            with self._writing(patience):
                if not os.path.lexists(self.path):  # else somebody else was faster
                    os.rename(self._build(), self.path)

    def _build(self, fill: Callable[[sqlite3.Connection], None] = lambda db: None) -> Path:
        """
        Make a complete file under another name: no process ever sees an empty one.
        """
        new = self.path.with_name(f"{self.path.name}.new")
        for suffix in ("", *_BESIDE):
            with suppress(FileNotFoundError):
                os.unlink(f"{new}{suffix}")  # of a process that was killed
        os.close(open_file(new))
        db = connect(new, "rw", BUSY_SECONDS)
        try:
            db.execute("PRAGMA journal_mode = TRUNCATE")
            self._schema.apply(db)
            fill(db)
        finally:
            db.close()
        with suppress(FileNotFoundError):
            os.unlink(f"{new}-journal")
        return new

    @property
    def _replacement(self) -> Path:
        return self.path.with_name(f"{self.path.name}.replacement")

    def _set_aside(self, inode: tuple[int, int] | None) -> None:
        """
        Move a damaged file aside, once among all processes, and put a new one in its place.

        Whatever of it a killed process has left undone, the next one that opens the file does.
        """
        self.disconnect()
        with self._writing(BUSY_SECONDS):
            if inode is None or inode_of(self.path) != inode:
                return  # somebody else was faster
            os.rename(self._build(self._on_replaced), self._replacement)
            self._replace()

    def _replace(self) -> None:
        if not os.path.lexists(self._replacement):
            return  # somebody else was faster
        aside = self._free_name(f"{self.path.name}.broken-{int(recorder.wall_clock())}-{os.getpid()}")
        for suffix in _BESIDE:  # first: they would be taken for the new file's
            with suppress(FileNotFoundError):
                os.replace(f"{self.path}{suffix}", f"{aside}{suffix}")
        with suppress(FileNotFoundError):
            os.replace(self.path, aside)
        os.rename(self._replacement, self.path)
        self._forget_old_ones()
        recorder.errors.inc("storage")
        self.call_later(lambda: self._on_problem("damaged", aside.name))

    def _free_name(self, name: str) -> Path:
        names = (self.path.with_name(f"{name}{end}") for end in ("", *(f"-{number}" for number in range(2, 1000))))
        return next((path for path in names if not os.path.lexists(path)), self.path.with_name(name))

    def _forget_old_ones(self) -> None:
        names = [name for name in os.listdir(self.path.parent) if name.startswith(f"{self.path.name}.broken-")]
        mains = sorted(name for name in names if not name.endswith(_BESIDE))
        for main in mains[:-_KEPT_BROKEN]:
            for suffix in ("", *_BESIDE):
                with suppress(OSError):  # also a folder, which stays
                    os.unlink(self.path.parent / f"{main}{suffix}")

    def _report_once(self, kind: str, what: str) -> None:
        if kind not in self._reported:
            self._reported.add(kind)
            self.call_later(lambda: self._on_problem(kind, what))

    # Forks

    def before_fork(self) -> None:
        """
        Wait until no thread is at the file, at most a few seconds, and close it: SQLite would take the parent's locks
        for the child's, and each would undo the other's work.
        """
        self._is_locked_for_fork = self._turn.acquire(timeout=BUSY_SECONDS + 1)
        if self._is_locked_for_fork and not self._is_busy:
            self.disconnect()

    def after_fork(self) -> None:
        """
        Go on, in the parent.
        """
        if self._is_locked_for_fork:
            self._is_locked_for_fork = False
            self._turn.release()

    def start_over(self) -> None:
        """
        Begin anew in a forked child.
        """
        self._turn, self._is_busy, self._is_locked_for_fork = RLock(), False, False
        self._callbacks = []
        self.disconnect()


def connect(path: Path, mode: str, patience_seconds: float) -> sqlite3.Connection:
    """
    Open a file that is there, unseen by hooks. `mode` is `ro` or `rw`.
    """
    uri = f"file://{quote(os.fsencode(os.path.abspath(path)))}?mode={mode}"
    return sqlite3.Connection(uri, timeout=patience_seconds, isolation_level=None, check_same_thread=False, uri=True)


@contextmanager
def reading(path: Path, schema: Schema, oldest: int = 1) -> Iterator[sqlite3.Connection]:
    """
    Read a file that another process may be writing, and change nothing.

    Args:
        path: The file.
        schema: That is known here.
        oldest: The first version of it that is read.

    Raises:
        OSError, sqlite3.Error: It cannot be read: it is missing, damaged, locked, or of another version.
    """
    os.close(open_existing(path))
    db = _opened_to_read(path)
    try:
        [version] = db.execute("PRAGMA user_version").fetchone()
        if not oldest <= version <= schema.version:
            raise sqlite3.OperationalError(
                f"it has format {version}, and this obskit reads {oldest} to {schema.version}"
            )
        yield db
    finally:
        db.close()


def _opened_to_read(path: Path) -> sqlite3.Connection:
    """
    Open a file to read; where nothing can be made beside it, as on a disk that is read-only, what is in it alone.
    """
    for options in ("", "&immutable=1"):
        db = connect(path, f"ro{options}", BUSY_SECONDS)
        try:
            db.execute("PRAGMA query_only = 1")
            db.execute("PRAGMA user_version").fetchone()
        except sqlite3.Error as error:
            db.close()
            has_log = os.path.exists(f"{path}-wal") and os.path.getsize(f"{path}-wal") > 0
            if options or has_log or primary_code(error) not in READ_ONLY:
                raise
        else:
            break
    return db


def primary_code(error: BaseException) -> int:
    """
    Return SQLite's primary result code of an error; 0 for one of somebody else's.
    """
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def corrupt_error(why: str) -> sqlite3.DatabaseError:
    """
    Return SQLite's error for a file that is not a database.
    """
    error = sqlite3.DatabaseError(why)
    error.sqlite_errorcode = CORRUPT[0]
    return error


def _busy_error() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = BUSY[0]
    return error


def _is_damage(error: BaseException) -> bool:
    return primary_code(error) in CORRUPT or isinstance(error, NotAFileError)


def _committed(db: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    db.execute("BEGIN IMMEDIATE")
    try:
        found = work(db)
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            if db.in_transaction:
                db.execute("ROLLBACK")
        raise
    return found


def _set_journal(db: sqlite3.Connection, kind: str | None) -> None:
    """
    Take a write-ahead log, with which readers wait for nobody and nobody waits for the disk; not where its memory is
    not shared, nor where whoever writes cannot be kept apart.
    """
    wanted = "wal" if HAS_LOCKS and not is_network(kind) else "truncate"
    [mode] = db.execute("PRAGMA journal_mode").fetchone()
    if mode != wanted:
        try:
            db.execute(f"PRAGMA journal_mode = {wanted}")
        except sqlite3.OperationalError as error:
            if primary_code(error) not in BUSY:  # another has it open: whoever opens it next asks again
                raise


def _keep_for_ever(db: Any) -> None:
    """
    Never close a parent's connection in a child, not even as Python ends: it would meddle with the parent's file.
    """
    with suppress(ImportError, AttributeError):
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(db))
