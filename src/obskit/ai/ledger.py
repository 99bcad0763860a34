"""
Keep what budgets have spent and reserved, in a SQLite file that all processes of a machine share.

Whatever takes from a budget does so in one transaction that holds the file's write lock: two processes never take the
same dollar. What was reserved by a process that died, or more than an hour ago, is given back.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import Any, NamedTuple, TypeVar

from obskit.permissions import make_file, make_folder, refuse_foreign
from obskit.processes import boot, namespace, started
from obskit.recorder import recorder

T = TypeVar("T")

BUSY_SECONDS = 2.0  # to wait for another process; a transaction takes less than a millisecond
TURN_SECONDS = 10.0  # to wait for the other threads of this one
RESERVE_SECONDS = 3600.0  # after which a call is taken for lost: the SDKs give up after ten minutes
KEPT_SECONDS = 100 * 86_400.0  # of past periods, for the projection
SHARE_SECONDS = 7 * 86_400.0  # what the projection looks back on
MAX_PENDING = 10_000
VERSION = 1

LEVELS = ((1, 50), (2, 80), (4, 100))  # bit of `told`, percent
BLOCKED = 8

# SQLite's result codes.
_BUSY = (5, 6)  # SQLITE_BUSY, SQLITE_LOCKED
_CORRUPT = (11, 26)  # SQLITE_CORRUPT, SQLITE_NOTADB
# What reading a row raises that somebody has changed by hand.
_EDITED = (ValueError, TypeError, AttributeError, OverflowError)
_AHEAD_SECONDS = 400 * 86_400.0  # so far a clock may have been ahead, in an earlier period
_LEAST_BYTES = 100  # of SQLite's header
_EPHEMERAL = frozenset({"tmpfs", "ramfs", "overlay", "aufs"})
_SCHEMA = """
CREATE TABLE IF NOT EXISTS spent (
    budget TEXT NOT NULL,
    period_start REAL NOT NULL,
    began REAL NOT NULL,
    usd REAL NOT NULL DEFAULT 0,
    estimated_usd REAL NOT NULL DEFAULT 0,
    told INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (budget, period_start)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reserve (
    id INTEGER PRIMARY KEY,
    budget TEXT NOT NULL,
    period_start REAL NOT NULL,
    usd REAL NOT NULL,
    pid INTEGER NOT NULL,
    pid_start TEXT NOT NULL,
    at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS reserve_of ON reserve (budget, period_start);
CREATE TABLE IF NOT EXISTS lost (at REAL NOT NULL);
"""


class UnavailableError(Exception):
    """
    Report a ledger that cannot be asked; the message says why.
    """


class Ask(NamedTuple):
    """
    Ask one budget for dollars.

    Attributes:
        key: The budget, by all that tells its periods from those of another declaration.
        start: Of the period, by the clock.
        usd: 0 asks whether anything is left at all.
        limit: Of the period.
        blocks: False takes whatever is left.
    """

    key: str
    start: float
    usd: float
    limit: float
    blocks: bool


class Held(NamedTuple):
    """
    Be what was given: to be settled or released.
    """

    id: int | None
    key: str
    start: float
    usd: float
    limit: float


class Refused(NamedTuple):
    """
    Say which ask was refused, and by what figures.

    Attributes:
        place: Of the ask, counted from 0.
        is_first: True for the first refusal of its period.
        is_lost: True where the count of the period was lost with a broken file.
    """

    place: int
    start: float
    spent: float
    reserved: float
    is_first: bool
    is_lost: bool


class Figures(NamedTuple):
    """
    Say how a budget stands.

    Attributes:
        start: Of the period that counts.
        rate: Dollars a second, lately; None where there is less than a day of data.
    """

    start: float
    spent: float
    estimated: float
    reserved: float
    rate: float | None


class Crossing(NamedTuple):
    """
    Say that a budget has come to a share of its limit, for the first time in a period.
    """

    key: str
    start: float
    percent: int
    spent: float


def file_of(state_dir: str | os.PathLike[str], service: str) -> Path:
    """
    Name the file of a service.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", service.lower()).strip("-")[:60] or "service"
    return Path(state_dir) / f"ai-budgets-{slug}.sqlite3"


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
        self._pending: deque[tuple[tuple[Held, ...], tuple[float, ...], bool]] = deque()
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._pid = 0
        self._left: list[Any] = []  # connections of a parent: closing one here would meddle with the parent's file
        self._news: list[Callable[[], None]] = []  # to be told once the lock is free
        self._crossings: list[Crossing] = []  # that hold if the transaction does
        self._last: dict[str, tuple[float, float, float]] = {}
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
                if ask.blocks and (refused := self._remembered(ask)) is not None:
                    return refused._replace(place=place)
            return tuple(Held(None, ask.key, ask.start, 0.0, ask.limit) for ask in asks)
        with self._turn():
            return self._again(lambda db: self._reserve(db, asks, now))

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

    def settle(self, held: tuple[Held, ...], usd: Sequence[float], estimated: bool = False) -> None:
        """
        Say what a call cost each budget that it was reserved from. It is written with the next `write()` or
        `reserve()`; this neither waits nor raises, so that a finaliser may call it.
        """
        if len(self._pending) >= MAX_PENDING:
            recorder.dropped.inc(("ai", "budget_settle"))
            return
        self._pending.append((held, tuple(usd), estimated))

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
            return self._again(lambda db: self._figures(db, key, start, now))

    def glance(self, ask: Ask) -> Refused | None:
        """
        Refuse where nothing is left at all, and wait for nobody: where somebody is at the file, by what was last known
        of it.

        Raises:
            UnavailableError: The file cannot be used.
        """
        if not self._lock.acquire(blocking=False):
            return self._remembered(ask)
        if self._is_busy:  # further down, in this thread
            self._lock.release()
            return self._remembered(ask)
        self._is_busy = True
        try:
            db = self._open(patience=0.0)
            db.execute("PRAGMA busy_timeout = 0")
            try:
                start = self._start(db, ask.key, ask.start)
                spent, reserved, _ = self._sums(db, ask.key, start)
                is_lost = self._is_lost(db, start)
                return (
                    Refused(0, start, spent, reserved, True, is_lost)
                    if is_lost or spent + reserved >= ask.limit
                    else None
                )
            finally:
                db.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
        except sqlite3.Error as error:
            if _code(error) in _BUSY:
                return self._remembered(ask)
            raise self._unavailable(error) from error
        except (OSError, *_EDITED) as error:
            raise self._unavailable(error) from error
        finally:
            self._is_busy = False
            self._lock.release()
            self._tell()

    def _remembered(self, ask: Ask) -> Refused | None:
        start, spent, reserved = self._last.get(ask.key, (0.0, 0.0, 0.0))
        is_used_up = start >= ask.start and spent + reserved >= ask.limit
        return Refused(0, start, spent, reserved, True, False) if is_used_up else None

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
                    written, self._crossings = len(self._pending), []
                    self._settle_pending(db, written)
                    found = work(db)
                    db.execute("COMMIT")
                except BaseException:
                    with suppress(sqlite3.Error):
                        if db.in_transaction:
                            db.execute("ROLLBACK")
                    raise
                for _ in range(written):
                    self._pending.popleft()
                self._news += [functools.partial(self._crossed, crossing) for crossing in self._crossings]
                self._said.discard("unavailable")
                return found
            except sqlite3.Error as error:
                if _code(error) in _BUSY and time.monotonic() < end:
                    # SQLite waits by itself, but not where two make the file at the same time.
                    time.sleep(0.005)
                    continue
                if is_new or _code(error) not in _CORRUPT:
                    raise self._unavailable(error) from error
                try:
                    self._set_aside(inode or _inode_of(self.path))
                except (OSError, sqlite3.Error) as failure:
                    raise self._unavailable(failure) from failure
                is_new = True
            except (OSError, *_EDITED) as error:
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
            if self._pid == pid and self._inode == _inode_of(self.path):
                return self._connection
            self._drop()
        self._ensure_there()
        os.close(_opened(self.path))
        inode = _inode_of(self.path)
        if os.stat(self.path).st_size < _LEAST_BYTES:
            raise _damaged("it is empty, which no file of ours ever is")  # SQLite would take it for a new one
        # Not by `sqlite3.connect()`, which may be hooked.
        db = sqlite3.Connection(self.path, timeout=patience, isolation_level=None, check_same_thread=False)
        try:
            [version] = db.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise sqlite3.OperationalError(f"a newer version of obskit wrote it (format {version})")
            if version < VERSION:
                _write_schema(db)
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
            with _alone(self.path):
                _make(self.path)

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
        with _alone(self.path):
            if inode is None or _inode_of(self.path) != inode:
                return  # somebody else was faster
            aside = self.path.with_name(f"{self.path.name}.broken-{int(recorder.wall_clock())}-{os.getpid()}")
            for suffix in ("-wal", "-shm", ""):
                with suppress(FileNotFoundError):
                    os.replace(f"{self.path}{suffix}", f"{aside}{suffix}")
            _make(self.path)
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

    # Work inside of a transaction

    def _reserve(self, db: sqlite3.Connection, asks: Sequence[Ask], now: float) -> tuple[Held, ...] | Refused:
        starts = []
        for index, ask in enumerate(asks):
            start = self._start(db, ask.key, ask.start)
            starts.append(start)
            if not ask.blocks:
                continue
            spent, reserved, told = self._sums(db, ask.key, start)
            if _is_too_much(spent + reserved, ask) and reserved:
                self._give_back(db, now)
                spent, reserved, told = self._sums(db, ask.key, start)
            is_lost = self._is_lost(db, start)
            if is_lost or _is_too_much(spent + reserved, ask):
                self._row(db, ask.key, start, now)
                db.execute(
                    "UPDATE spent SET told = told | ? WHERE budget = ? AND period_start = ?", (BLOCKED, ask.key, start)
                )
                return Refused(index, start, spent, reserved, not told & BLOCKED, is_lost)
        held = []
        for ask, start in zip(asks, starts, strict=True):
            self._row(db, ask.key, start, now)
            id = None
            if ask.usd:
                # No counter: those of a file that was set aside would come again.
                id = int.from_bytes(os.urandom(8), "big") >> 2
                row = (id, ask.key, start, ask.usd, self._pid, self._own, now)
                db.execute("INSERT INTO reserve VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            held.append(Held(id, ask.key, start, ask.usd, ask.limit))
        return tuple(held)

    def _start(self, db: sqlite3.Connection, key: str, start: float) -> float:
        [latest] = db.execute("SELECT max(period_start) FROM spent WHERE budget = ?", (key,)).fetchone()
        if latest is None:
            return start
        latest = _number(latest, f"period_start of {key}")
        if latest > start + _AHEAD_SECONDS:
            raise ValueError(f"a row was changed by somebody else: period_start of {key} is {latest}")
        return max(start, latest)

    def _row(self, db: sqlite3.Connection, key: str, start: float, now: float) -> None:
        made = db.execute(
            "INSERT OR IGNORE INTO spent (budget, period_start, began) VALUES (?, ?, ?)", (key, start, now)
        )
        if made.rowcount:
            db.execute("DELETE FROM spent WHERE budget = ? AND period_start < ?", (key, start - KEPT_SECONDS))

    def _sums(self, db: sqlite3.Connection, key: str, start: float) -> tuple[float, float, int]:
        row = db.execute("SELECT usd, told FROM spent WHERE budget = ? AND period_start = ?", (key, start)).fetchone()
        [reserved] = db.execute(
            "SELECT total(usd) FROM reserve WHERE budget = ? AND period_start = ?", (key, start)
        ).fetchone()
        spent, told = row or (0.0, 0)
        spent, reserved = _number(spent, f"usd of {key}"), _number(reserved, f"usd that is reserved of {key}")
        self._last[key] = start, spent, reserved
        return spent, reserved, int(told)

    def _is_lost(self, db: sqlite3.Connection, start: float) -> bool:
        return db.execute("SELECT 1 FROM lost WHERE at >= ?", (start,)).fetchone() is not None

    def _give_back(self, db: sqlite3.Connection, now: float) -> None:
        """
        Free what dead processes, and calls that were lost, have reserved.
        """
        db.execute("DELETE FROM reserve WHERE at < ?", (now - RESERVE_SECONDS,))
        for pid, pid_start in db.execute("SELECT DISTINCT pid, pid_start FROM reserve").fetchall():
            if is_dead(pid, pid_start):
                db.execute("DELETE FROM reserve WHERE pid = ? AND pid_start = ?", (pid, pid_start))

    def _settle_pending(self, db: sqlite3.Connection, count: int) -> None:
        for index in range(count):
            held, dollars, estimated = self._pending[index]
            for entry, usd in zip(held, dollars, strict=True):
                if entry.id is not None:
                    db.execute("DELETE FROM reserve WHERE id = ? AND budget = ?", (entry.id, entry.key))
                if usd:
                    self._spend(db, entry, usd, estimated)

    def _spend(self, db: sqlite3.Connection, entry: Held, usd: float, estimated: bool) -> None:
        where = (entry.key, entry.start)
        self._row(db, *where, recorder.wall_clock())
        db.execute(
            "UPDATE spent SET usd = usd + ?, estimated_usd = estimated_usd + ? WHERE budget = ? AND period_start = ?",
            (usd, usd if estimated else 0.0, *where),
        )
        spent, _, told = self._sums(db, *where)
        for bit, percent in LEVELS:
            if spent * 100 >= entry.limit * percent and not told & bit:
                told |= bit
                db.execute("UPDATE spent SET told = ? WHERE budget = ? AND period_start = ?", (told, *where))
                self._crossings.append(Crossing(*where, percent, spent))

    def _figures(self, db: sqlite3.Connection, key: str, start: float, now: float) -> Figures:
        start = self._start(db, key, start)
        self._give_back(db, now)
        spent, reserved, _ = self._sums(db, key, start)
        row = db.execute(
            "SELECT estimated_usd FROM spent WHERE budget = ? AND period_start = ?", (key, start)
        ).fetchone()
        since = min(start, now - SHARE_SECONDS)
        usd, began = db.execute(
            "SELECT total(usd), min(began) FROM spent WHERE budget = ? AND period_start >= ?", (key, since)
        ).fetchone()
        seconds = 0.0 if began is None else now - began
        rate = _number(usd, f"usd of {key}") / seconds if seconds >= 86_400 else None
        estimated = _number(row[0] if row else 0.0, f"estimated_usd of {key}")
        return Figures(start, spent, estimated, reserved, rate)

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


def _is_too_much(taken: float, ask: Ask) -> bool:
    return taken + ask.usd > ask.limit or taken >= ask.limit


def _number(found: Any, what: str) -> float:
    """
    Read what may have been written by hand.
    """
    if not isinstance(found, (int, float)) or not 0 <= found < float("inf"):
        shown = repr(found)
        raise ValueError(f"a row was changed by somebody else: {what} is {shown[:40]}")
    return float(found)


def _damaged(why: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(why)
    error.sqlite_errorcode = _CORRUPT[0]
    return error


def _write_schema(db: sqlite3.Connection) -> None:
    # A write-ahead log: readers wait for nobody, and nobody waits for the disk.
    db.execute("PRAGMA journal_mode = WAL")
    db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT")


def _make(path: Path) -> None:
    """
    Make a file whole, under another name first: nobody ever finds one that is empty. Called by one process at a time.
    """
    if os.path.lexists(path):
        return  # somebody else was faster
    new = path.with_name(f"{path.name}.new")
    with suppress(FileNotFoundError):
        os.unlink(new)  # of a process that was killed
    os.close(_opened(new))
    db = sqlite3.Connection(new, isolation_level=None)
    try:
        _write_schema(db)
    finally:
        db.close()
    os.rename(new, path)


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _inode_of(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """
    Be the only process that sets a file aside, where the system has such locks.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    file = _opened(path.with_name(f"{path.name}.lock"))
    try:
        end = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
        yield
    finally:
        os.close(file)


def identity(pid: int) -> str:
    """
    Tell a process of this machine from any other that has, had or will have its id; empty where it is gone.
    """
    since = started(pid)
    return f"{_place()} {since}" if since else ""


def is_dead(pid: int, known: str) -> bool:
    """
    Tell whether a process is gone; of one in another container nobody here can know.
    """
    place, _, _ = known.rpartition(" ")
    if not place:
        return False
    if place.partition(" ")[0] != _place().partition(" ")[0]:
        return True  # before the machine was started
    return place == _place() and identity(pid) != known


@functools.lru_cache(1)
def _place() -> str:
    return f"{boot() or 'here'} {namespace() or 'here'}"


def filesystem_of(path: Path, mounts: str = "/proc/self/mounts") -> str | None:
    """
    Name the kind of file system that holds a path, such as `ext4`; None where the system does not tell.
    """
    try:
        lines = Path(mounts).read_text().splitlines()
        real = os.path.realpath(path)
    except OSError:
        return None
    found, longest = None, -1
    for line in lines:
        _, _, rest = line.partition(" ")
        point, _, rest = rest.partition(" ")
        point = point.replace("\\040", " ")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest:
            found, longest = rest.partition(" ")[0], len(point)
    return found


def _opened(path: Path) -> int:
    """
    Open a file of this user's, made with 0600 where it is missing.
    """
    try:
        return make_file(path, os.O_RDWR, 0o600)
    except FileExistsError:
        return os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
