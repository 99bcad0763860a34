"""
The budgets' file: its path, its creation, its opening and its locks.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from obskit.file_modes import make_file
from obskit.storage.state_folder import StateFolder, former_bases
from obskit.time.clock import Patience

BUSY_SECONDS = 2.0  # to wait for another process; a transaction takes less than a millisecond
VERSION = 2
# SQLite's result codes.
BUSY = (5, 6)  # SQLITE_BUSY, SQLITE_LOCKED
CORRUPT = (11, 26)  # SQLITE_CORRUPT, SQLITE_NOTADB
HEADER_BYTES = 100  # of SQLite's header
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
CREATE TABLE IF NOT EXISTS awaited (
    place INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    told INTEGER NOT NULL,
    labels TEXT NOT NULL DEFAULT '[]',
    held TEXT NOT NULL DEFAULT '[]'
);
"""


def file_of(state_dir: str | os.PathLike[str] | None, service: str) -> Path:
    """
    Return the path of a service's file: in the service's folder, or where earlier versions have left one.

    Args:
        state_dir: The setting.
    """
    folder = StateFolder(state_dir, service)
    now = folder.path / "ai-budgets.sqlite3"
    slug = re.sub(r"[^a-z0-9]+", "-", service.lower()).strip("-")[:60] or "service"
    former = [base / f"ai-budgets-{slug}.sqlite3" for base in (folder.base, *former_bases(state_dir))]
    return next((path for path in (now, *former) if os.path.lexists(path)), now)


def corrupt_error(why: str) -> sqlite3.DatabaseError:
    """
    Return SQLite's error for a file that is not a database.
    """
    error = sqlite3.DatabaseError(why)
    error.sqlite_errorcode = CORRUPT[0]
    return error


def write_schema(db: sqlite3.Connection) -> None:
    """
    Create missing tables.
    """
    # A write-ahead log: readers wait for nobody, and nobody waits for the disk.
    db.execute("PRAGMA journal_mode = WAL")
    db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT")


def create_file(path: Path) -> None:
    """
    Create a complete file under a temporary name and rename it: no process ever sees an empty one. One at a time.
    """
    if os.path.lexists(path):
        return  # somebody else was faster
    new = path.with_name(f"{path.name}.new")
    with suppress(FileNotFoundError):
        os.unlink(new)  # of a process that was killed
    os.close(open_file(new))
    db = sqlite3.Connection(new, isolation_level=None)
    try:
        write_schema(db)
    finally:
        db.close()
    os.rename(new, path)


def primary_code(error: sqlite3.Error) -> int:
    """
    Return SQLite's primary result code of an error.
    """
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def inode_of(path: Path) -> tuple[int, int] | None:
    """
    Return a file's identity, device and inode; None if it does not exist.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """
    Take a lock that processes share for the block, where the system has such locks.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    file = open_file(path.with_name(f"{path.name}.lock"))
    try:
        patience = Patience(BUSY_SECONDS)
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if patience.is_over():
                    raise
                patience.rest(0.01)
        yield
    finally:
        os.close(file)


def open_file(path: Path) -> int:
    """
    Open a file of this user's, made with 0600 where it is missing.
    """
    try:
        return make_file(path, os.O_RDWR, 0o600)
    except FileExistsError:
        return os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
