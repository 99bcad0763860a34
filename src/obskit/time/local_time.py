"""
Find moments by the clock on the wall of a place, also on the days on which that clock is changed.

A time that the change skips is the moment of the change: 02:30, where 02:00 is followed by 03:00, is 03:00. A time that
comes twice is the first of the two. Moments are seconds since the epoch, throughout.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, available_timezones

from obskit.errors import ScheduleError
from obskit.late_patterns import late

MINUTES_A_DAY = 1440

_match_time = late(r"([01]?[0-9]|2[0-4]):([0-5][0-9])")


def zone_named(name: object) -> tzinfo:
    """
    Return a time zone by its name, such as `Europe/Berlin` or `UTC`.

    Raises:
        ScheduleError: There is none of that name on this machine; near names are suggested.
    """
    if isinstance(name, str) and name.upper() == "UTC":
        return UTC  # also where the machine has no time zones at all
    try:
        return ZoneInfo(name)  # type: ignore[arg-type]
    except (ValueError, OSError, LookupError, TypeError, AttributeError):
        known = available_timezones() if isinstance(name, str) else set()
        from difflib import get_close_matches

        near = get_close_matches(name, known, 1) if isinstance(name, str) else []
        hint = f"did you mean {near[0]!r}?" if near else "expected a name such as 'Europe/Berlin' or 'UTC'"
        empty = "" if known or not isinstance(name, str) else "; this machine has none: pip install tzdata"
        shown = repr(name) if isinstance(name, str) else f"a value of {type(name).__name__}"
        raise ScheduleError(f"{shown:.80} is no time zone: {hint}{empty}") from None


def minute_of_day(text: str) -> int:
    """
    Return the minutes since midnight of a time such as `08:30`; `24:00` is the end of the day.

    Raises:
        ScheduleError: It is something else.
    """
    found = _match_time.fullmatch(text)
    minute = -1 if found is None else int(found[1]) * 60 + int(found[2])
    if not 0 <= minute <= MINUTES_A_DAY:
        raise ScheduleError(f"{text!r:.80} is no time of day: expected one such as '08:30', from '00:00' to '24:00'")
    return minute


def local_day(moment: float, zone: tzinfo) -> date:
    """
    Return the day that a moment is in.
    """
    return datetime.fromtimestamp(moment, zone).date()


def moment_at(day: date, minute: int, zone: tzinfo) -> float:
    """
    Return the moment at which the clock shows this minute of this day; 1440 is the next day's midnight.
    """
    naive = datetime(day.year, day.month, day.day) + timedelta(minutes=minute)
    # In a gap, the first is what it would be without the change, and the second a moment before it.
    first, second = (naive.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
    if first <= second:
        return first
    return _change_between(second, first, zone)


def _change_between(before: float, after: float, zone: tzinfo) -> float:
    """
    Return the moment at which the zone's offset changes, to the second: zones change at whole ones.
    """
    low, high = int(before), int(after)
    offset = datetime.fromtimestamp(low, zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return float(high)
