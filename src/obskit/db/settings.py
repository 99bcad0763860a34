"""
Which queries are slow, or repeated too often.
"""

from __future__ import annotations

from obskit.fields import Section, count, flag, items, number, section, setting, text

_milliseconds = number(0, 86_400_000, "milliseconds from 0 to a day, or None for off")
_call_sites = items(text, "files, lines or functions, such as ('shop/reports.py', 'shop/views.py:88', 'export')")


@section
class DatabaseSettings(Section, subject="Databases"):
    """
    Which queries are slow, or repeated too often.
    """

    slow_query_ms: float | None = setting(
        500.0, _milliseconds, "Queries that take this long are logged as ERROR. None: off.", optional=True
    )
    slow_query_warning_ms: float | None = setting(
        100.0, _milliseconds, "Queries that take this long are logged as WARNING. None: off.", optional=True
    )
    explain_slow_queries: bool = setting(
        False, flag, "Ask SQLite and PostgreSQL how they run a slow query that reads; never one that writes."
    )
    n_plus_one: int | None = setting(
        5,
        count(1_000_000, ", or None for off"),
        "One request may make the same statement from the same line so often; more is told of. None: off.",
        optional=True,
    )
    n_plus_one_allow: tuple[str, ...] = setting(
        (),
        _call_sites,
        "Call sites that may: a file (`shop/reports.py`), a line of it (`shop/reports.py:88`), a function (`export`).",
    )
