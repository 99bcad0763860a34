"""
Examine a SQLite file: sizes, tables, indexes, pragmas, damage, and what to do about it. It is only read, unless more is
asked for.
"""

from obskit.sqlite_doctor.cli import add_arguments, run

__all__ = ["add_arguments", "run"]
