"""
Find the hour, day, week or month around a moment, as a time zone has it.
"""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from typing import Literal, TypeAlias

from obskit.time.local_time import moment_at

Per: TypeAlias = Literal["hour", "day", "week", "month"]
PERIODS: tuple[Per, ...] = ("hour", "day", "week", "month")
SECONDS_AN_HOUR = 3600


def around(moment: float, per: Per, zone: tzinfo) -> tuple[float, float]:
    """
    Return the start and the end of a period, in seconds since the epoch; the end is the next one's start.

    Days begin at midnight, or where a clock change leaves midnight out, at the change; weeks begin on Monday. A day
    of a clock change has 23 or 25 hours, or what the zone makes of it.
    """
    local = datetime.fromtimestamp(moment, zone)
    if per == "hour":
        # By the offset, not by the clock's face: an hour that comes twice is two periods.
        offset = (local.utcoffset() or timedelta()).total_seconds()
        start = (moment + offset) // SECONDS_AN_HOUR * SECONDS_AN_HOUR - offset
        return start, start + SECONDS_AN_HOUR
    first = local.date()
    if per == "day":
        after = first + timedelta(days=1)
    elif per == "week":
        first -= timedelta(days=first.weekday())
        after = first + timedelta(days=7)
    else:
        first = first.replace(day=1)
        after = (first + timedelta(days=31)).replace(day=1)
    return moment_at(first, 0, zone), moment_at(after, 0, zone)
