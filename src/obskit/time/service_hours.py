"""
Hours in which people are at work: `"mon-fri 08:00-18:00, sat 09:00-12:00"`, in a time zone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, timedelta, tzinfo

from obskit.errors import ScheduleError
from obskit.time.local_time import local_day, minute_of_day, moment_at
from obskit.time.schedule import day_of_week

_DAYS = r"[a-z]+(?:-[a-z]+)?"
_TIMES = r"[0-9:]+-[0-9:]+"
_match_part = re.compile(
    rf"\A(?P<days>{_DAYS}(?:,{_DAYS})*)?(?P<space>\s+)?(?P<times>{_TIMES}(?:,{_TIMES})*)?", re.IGNORECASE
).fullmatch
# From one opening to the next: of a single day of the week, which a change of the clock may leave without its hours.
_HORIZON_DAYS = 22


@dataclass(frozen=True, slots=True)
class ServiceHours:
    """
    Hours of the week.

    Attributes:
        text: As they were written.
        zone: Whose clock they are by.
        spans: Day of the week (0 is Monday), first minute of that day, and the minute that is no longer in it; over
            1440, it is one of the next day.
    """

    text: str
    zone: tzinfo
    spans: tuple[tuple[int, int, int], ...]

    def is_open(self, moment: float) -> bool:
        """
        Whether a moment is in them.
        """
        day = local_day(moment, self.zone)
        return any(start <= moment < end for start, end in self._of_days(day - timedelta(days=2), 4))

    def next_change(self, moment: float) -> float | None:
        """
        Return the first moment after this one at which they begin or end; None where they never do.
        """
        day, is_open = local_day(moment, self.zone), self.is_open(moment)
        edges = {edge for span in self._of_days(day - timedelta(days=2), _HORIZON_DAYS) for edge in span}
        return next((edge for edge in sorted(edges) if edge > moment and self.is_open(edge) is not is_open), None)

    def next_opening(self, moment: float) -> float:
        """
        Return the moment itself where they are on, else when they begin.
        """
        if self.is_open(moment):
            return moment
        opening = self.next_change(moment)
        return moment if opening is None else opening  # there is always one: no text says never

    def open_seconds(self, since: float, until: float) -> float:
        """
        Return how many seconds of a stretch are in them.
        """
        total, at = 0.0, since
        while at < until:
            change = self.next_change(at)
            end = until if change is None else min(change, until)
            total += end - at if self.is_open(at) else 0.0
            at = end
        return total

    def _of_days(self, first: date, days: int) -> Iterator[tuple[float, float]]:
        for ahead in range(days):
            day = first + timedelta(days=ahead)
            for weekday, start, end in self.spans:
                if weekday == day.weekday():
                    yield moment_at(day, start, self.zone), moment_at(day, end, self.zone)


def service_hours(text: str, zone: tzinfo = UTC) -> ServiceHours:
    """
    Read service hours.

    Args:
        text: Parts with `, ` or `;` between them, each of days (`mon-fri`, `mon,thu`; none: every day) and times
            (`08:00-12:00,13:00-18:00`; none: the whole day). `22:00-06:00` ends on the next day.
        zone: Whose clock they are by.

    Raises:
        ScheduleError: It says something else, or nothing.
    """
    parts = [part.strip() for part in re.split(r",\s+|;", text) if part.strip()]
    spans = [span for part in parts for span in _spans(part, text)]
    if not spans:
        raise ScheduleError(_wrong(text))
    return ServiceHours(text, zone, tuple(sorted(set(spans))))


def _spans(part: str, text: str) -> Iterator[tuple[int, int, int]]:
    found = _match_part(part)
    if found is None or (found["days"] and found["times"] and not found["space"]):
        raise ScheduleError(_wrong(text))
    days = [day for each in (found["days"] or "mon-sun").split(",") for day in _days(each)]
    for times in (found["times"] or "00:00-24:00").split(","):
        start, end = map(minute_of_day, times.split("-"))
        if start == end:
            raise ScheduleError(f"service hours {text!r:.80}: {times} has no length; 00:00-24:00 is the whole day")
        for day in days:
            yield day, start, end if end > start else end + 1440


def _days(text: str) -> list[int]:
    first, _, last = text.partition("-")
    start = day_of_week(first)
    return [(start + ahead) % 7 for ahead in range((day_of_week(last or first) - start) % 7 + 1)]


def _wrong(text: str) -> str:
    return f"{text!r:.80} are no service hours: expected some such as 'mon-fri 08:00-18:00, sat 09:00-12:00'"
