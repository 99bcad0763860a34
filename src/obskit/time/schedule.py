"""
When something is to be done again and again, and what of it after an absence.

A schedule has no thread: who has one asks it for the next moment, and after waiting, a sleep, a restart or a change of
leader whether something is due. However many moments have passed meanwhile, one run makes up for all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, timedelta, tzinfo
from math import floor

from obskit.errors import ScheduleError
from obskit.time.cron import cron
from obskit.time.durations import seconds_of
from obskit.time.local_time import local_day, minute_of_day, moment_at

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_match_weekly = re.compile(r"([a-z]{3,9}) ([0-9:]+)").fullmatch


@dataclass(frozen=True, slots=True)
class Schedule:
    """
    When something is to be done.

    Attributes:
        text: As it was written.
        next_after: Gives the first moment after another one, both in seconds since the epoch.
    """

    text: str
    next_after: Callable[[float], float]

    def due(self, since: float, now: float) -> float | None:
        """
        Return the last of the moments that have come since the last run; None where none has.

        Args:
            since: The moment that the last run was for, or when there was no run yet, the start. One in the future, by
                a clock that was wrong then, counts as now.
            now: By the wall clock.
        """
        last = self.next_after(min(since, now))
        if last > now:
            return None
        # Halve where it can lie: a schedule by the minute may have missed a year.
        low, high = last, now
        while high - low > 1.0:
            middle = (low + high) / 2
            found = self.next_after(middle)
            if found <= now:
                low = last = found
            else:
                high = middle
        while (found := self.next_after(low)) <= now:
            low = last = found
        return last


def every(interval: str | timedelta) -> Schedule:
    """
    Return the schedule of whole multiples of an interval since the epoch, such as `"10s"`: all processes share them.

    Raises:
        DurationError: It is no duration.
        ScheduleError: It is shorter than a millisecond.
    """
    seconds = seconds_of(interval)
    if seconds < 0.001:
        raise ScheduleError(f"every {interval!r} is no schedule: expected a millisecond or longer")

    def next_after(moment: float) -> float:
        times = floor(moment / seconds) + 1
        found = times * seconds
        return found if found > moment else (times + 1) * seconds  # what is left over by rounding

    return Schedule(str(interval), next_after)


def daily(at: str, zone: tzinfo = UTC) -> Schedule:
    """
    Return the schedule of a time of every day, such as `"06:00"`.

    Raises:
        ScheduleError: It is no time of day.
    """
    return Schedule(at, _next_by_day(range(7), minute_of_day(at), zone))


def weekly(day: str, at: str, zone: tzinfo = UTC) -> Schedule:
    """
    Return the schedule of a time of one day of the week, such as `"mon", "06:00"`.

    Raises:
        ScheduleError: One of them is something else.
    """
    return Schedule(f"{day} {at}", _next_by_day((day_of_week(day),), minute_of_day(at), zone))


def schedule_of(text: str, zone: tzinfo = UTC) -> Schedule:
    """
    Return the schedule that a text says: `"10s"`, `"06:00"`, `"mon 06:00"`, or a cron expression.

    Raises:
        ScheduleError: It is none of them.
        DurationError: It is a bare number.
    """
    words = text.lower().split()
    if len(words) == 1 and ":" in text:
        return daily(words[0], zone)
    if len(words) == 1:
        return every(words[0])
    if len(words) == 2 and (found := _match_weekly(" ".join(words))):
        return weekly(found[1], found[2], zone)
    return Schedule(text, cron(text, zone))


def day_of_week(name: str) -> int:
    """
    Return 0 for `mon` to 6 for `sun`; whole names and capitals are read as well.

    Raises:
        ScheduleError: It is no day of the week.
    """
    lower = name.lower()
    whole = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    if lower in DAYS:
        return DAYS.index(lower)
    if lower in whole:
        return whole.index(lower)
    raise ScheduleError(f"{name!r:.80} is no day of the week: expected one of {', '.join(DAYS)}")


def _next_by_day(days: tuple[int, ...] | range, minute: int, zone: tzinfo) -> Callable[[float], float]:
    def next_after(moment: float) -> float:
        day = local_day(moment, zone) - timedelta(days=1)  # whose 24:00 is today's midnight
        while True:
            if day.weekday() in days and (found := moment_at(day, minute, zone)) > moment:
                return found
            day += timedelta(days=1)

    return next_after
