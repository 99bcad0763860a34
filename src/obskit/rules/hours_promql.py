"""
Service hours as PromQL, which knows the UTC calendar and no time zones.

Where clocks are changed, the change is found by the calendar too: by month, day of the month and day of the week, as
laws put it. A zone whose law puts it otherwise, such as by the moon, cannot be rendered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache
from itertools import groupby
from typing import NamedTuple

from obskit.time.service_hours import ServiceHours

_DAY, _WEEK = 86_400, 7 * 86_400
_MONDAY = 4 * _DAY  # the first one since the epoch
# Fixed, so that files stay the same; in 28 years each date has been each day of the week. Not before the present law.
_FIRST_YEAR, _YEARS = 2027, 28


class Change(NamedTuple):
    """
    One change of the clock, each year.

    Attributes:
        shift_seconds: By how much later it is than the beginning of a day in UTC.
        month, day, weekday: That day: the first such weekday (0 is Sunday) from this day of the month on.
        by_seconds: How much is added to the zone's offset.
    """

    shift_seconds: int
    month: int
    day: int
    weekday: int
    by_seconds: int

    def promql(self) -> str:
        """
        Render 1 from the change to the end of the year, and 0 before it.
        """
        moment = f"vector(time(){-self.shift_seconds:+})" if self.shift_seconds else "vector(time())"
        since = f"(day_of_week({moment}) + {-self.weekday % 7}) % 7"
        # Months are 32 days apart, so that no day of one is beyond a day of the next.
        place = f"32 * month({moment}) + day_of_month({moment}) - {since}"
        return f"({place} >= bool {32 * self.month + self.day})"


class ZoneLaw(NamedTuple):
    """
    The offset from UTC that a zone has in January, in seconds, and the changes of a year.
    """

    offset_seconds: int
    changes: tuple[Change, ...]


def hours_promql(hours: ServiceHours) -> str | None:
    """
    Render what has a value while the hours are on; None where the zone's clock cannot be followed.

    Hours that begin or end in what the clock shows twice, once a year, are off by that much on that day.
    """
    law = law_of(hours.zone)
    if law is None:
        return None
    return " or ".join(f"({_stretch(law, *it)})" for it in _stretches(hours))


def as_rendered(hours: ServiceHours) -> ServiceHours:
    """
    Return hours by the clock that a zone has in January, by its present law: tests of rules are of January 1970.
    """
    law = law_of(hours.zone)
    return replace(hours, zone=timezone(timedelta(seconds=law.offset_seconds))) if law else hours


@cache
def law_of(zone: tzinfo) -> ZoneLaw | None:
    """
    Return when a zone's clock is changed; None where no such law is known.
    """
    years = [list(_changes_of(zone, _FIRST_YEAR + ahead)) for ahead in range(_YEARS)]
    each = list(zip(*years, strict=True)) if len({len(it) for it in years}) == 1 else [()]
    found = [_change_each_year(it) if it else None for it in each]
    if None in found:
        return None
    january = datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC)
    return ZoneLaw(_offset(january, zone), tuple(it for it in found if it))


def _offset(moment: datetime, zone: tzinfo) -> int:
    found = moment.astimezone(zone).utcoffset()
    return round(found.total_seconds()) if found else 0


def _changes_of(zone: tzinfo, year: int) -> Iterator[tuple[datetime, int]]:
    """
    Yield the first moment of each new offset in a year, in UTC, and by how much it is another.
    """
    day, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    while day < end:
        low, high = day, day + timedelta(days=1)
        before, after = _offset(low, zone), _offset(high, zone)
        if before != after:
            while high - low > timedelta(seconds=1):
                middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
                low, high = (middle, high) if _offset(middle, zone) == before else (low, middle)
            yield high, after - before
        day += timedelta(days=1)


def _change_each_year(changes: tuple[tuple[datetime, int], ...]) -> Change | None:
    """
    Return what changes of several years have in common. Where their days are of two months, as of a Saturday before
    the first Sunday, those of the day before or after may be of one.
    """
    times = {moment.hour * 3600 + moment.minute * 60 + moment.second for moment, _ in changes}
    amounts = {by for _, by in changes}
    if len(times) > 1 or len(amounts) > 1:
        return None
    for days in (0, 1, -1):
        dates = [(moment + timedelta(days=days)).date() for moment, _ in changes]
        first, last = min(it.day for it in dates), max(it.day for it in dates)
        is_one_day = len({(it.month, it.isoweekday()) for it in dates}) == 1 and last - first <= 6
        if is_one_day and 1 < dates[0].month < 12:
            month, weekday = dates[0].month, dates[0].isoweekday() % 7
            return Change(times.pop() - days * _DAY, month, first, weekday, amounts.pop())
    return None


def _stretches(hours: ServiceHours) -> Iterator[tuple[int, int, int, int]]:
    """
    Yield first day, number of days, first minute and length of hours that days in a row have.
    """
    for (start, end), of_times in groupby(sorted(hours.spans, key=lambda it: (it[1:], it[0])), lambda it: it[1:]):
        days = [day for day, _, _ in of_times]
        for _, row in groupby(enumerate(days), lambda it: it[1] - it[0]):
            in_row = [day for _, day in row]
            yield in_row[0], len(in_row), start, end - start


def _stretch(law: ZoneLaw, day: int, days: int, start: int, minutes: int) -> str:
    """
    Render the seconds since the first day's first minute, as far as they are within.
    """
    ahead = (law.offset_seconds - _MONDAY - day * _DAY - start * 60) % _WEEK
    ahead += _WEEK if law.changes else 0  # of less than 0, PromQL's remainder is less than 0
    since = f"vector(time(){ahead:+})" if ahead else "vector(time())"
    if law.changes:
        added = " + ".join(f"{change.by_seconds} * {change.promql()}" for change in law.changes)
        # At new year days may differ by the shifts; no clock is changed in December or January.
        since += f" + ({added}) * (month(vector(time())) % 12 > bool 1)"
    since = f"({since}) % {_WEEK}"
    if minutes == 1440:
        return f"{since} < {days * _DAY}"
    within = f"({since}) % {_DAY} < {minutes * 60}"
    return within if days == 7 else f"{within} and {since} < {days * _DAY}"
