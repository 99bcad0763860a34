"""
The budgets' file: where it lies, and its tables.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from obskit.storage.own_sqlite import Schema
from obskit.storage.state_folder import StateFolder, former_bases

_SPENT = """
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
_BACKGROUND_REPLIES = """
CREATE TABLE IF NOT EXISTS awaited (
    place INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    told INTEGER NOT NULL,
    labels TEXT NOT NULL DEFAULT '[]',
    held TEXT NOT NULL DEFAULT '[]'
);
"""
SCHEMA = Schema((_SPENT, _BACKGROUND_REPLIES))


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
