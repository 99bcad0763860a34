"""
The door to the SQLite doctor: `python -m obskit.db.doctor shop.db`.
"""

from __future__ import annotations

import sys

from obskit.sqlite_doctor.doctor import main, sqlite_doctor
from obskit.sqlite_doctor.report import SqliteReport

__all__ = ["SqliteReport", "main", "sqlite_doctor"]

if __name__ == "__main__":
    sys.exit(main())
