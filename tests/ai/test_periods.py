"""
Periods: where hours, days, weeks and months begin and end, clock changes included.
"""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from obskit.ai.budget_periods import PERIODS, around

BERLIN = "Europe/Berlin"


def at(text, zone="UTC"):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def shown(moment, zone):
    return datetime.fromtimestamp(moment, ZoneInfo(zone)).isoformat(timespec="minutes")


@pytest.mark.parametrize(
    ("per", "zone", "start", "end"),
    [
        ("hour", "UTC", "2026-11-20T13:00+00:00", "2026-11-20T14:00+00:00"),
        ("hour", "Asia/Kolkata", "2026-11-20T19:00+05:30", "2026-11-20T20:00+05:30"),
        ("day", "UTC", "2026-11-20T00:00+00:00", "2026-11-21T00:00+00:00"),
        ("day", "Pacific/Auckland", "2026-11-21T00:00+13:00", "2026-11-22T00:00+13:00"),
        ("week", BERLIN, "2026-11-16T00:00+01:00", "2026-11-23T00:00+01:00"),
        ("month", BERLIN, "2026-11-01T00:00+01:00", "2026-12-01T00:00+01:00"),
    ],
)
def test_a_moment_is_in_its_period(per, zone, start, end):
    """
    Periods follow the zone's own midnights, weeks begin on Monday, months on the first.
    """
    found = around(at("2026-11-20T13:59:59"), per, ZoneInfo(zone))

    assert tuple(shown(moment, zone) for moment in found) == (start, end)


@pytest.mark.parametrize(
    ("per", "moment", "zone", "hours"),
    [
        ("day", "2026-03-29T12:00", BERLIN, 23),
        ("day", "2026-10-25T12:00", BERLIN, 25),
        ("week", "2026-03-29T12:00", BERLIN, 167),
        ("week", "2026-10-25T12:00", BERLIN, 169),
        ("month", "2026-03-29T12:00", BERLIN, 31 * 24 - 1),
        ("month", "2026-10-25T12:00", BERLIN, 31 * 24 + 1),
        ("day", "2018-11-04T12:00", "America/Sao_Paulo", 23),  # it had no midnight
        ("day", "2026-10-04T12:00", "Australia/Lord_Howe", 23.5),
    ],
)
def test_a_clock_change_makes_a_period_shorter_or_longer(per, moment, zone, hours):
    """
    A period has the hours that pass, whatever the clock shows.
    """
    start, end = around(at(moment, zone), per, ZoneInfo(zone))

    assert (end - start) / 3600 == hours


@pytest.mark.parametrize(
    "zone", ["UTC", BERLIN, "America/New_York", "America/Sao_Paulo", "Pacific/Apia", "Asia/Kolkata"]
)
@pytest.mark.parametrize("per", PERIODS)
@pytest.mark.parametrize("year", [2011, 2018, 2026])
def test_periods_follow_each_other_without_a_gap(year, per, zone):
    """
    Over a whole year, quarter of an hour by quarter, each moment is in the period that is given for it, and the end of
    one is the start of the next; also where a day was left out.
    """
    step = timedelta(minutes=15).total_seconds() if per != "month" else 3600.0
    first = datetime(year, 1, 1, tzinfo=UTC).timestamp()
    moments = [first + step * count for count in range(int(366 * 86_400 / step))]
    found = [(moment, *around(moment, per, ZoneInfo(zone))) for moment in moments]

    assert [] == [row for row in found if not row[1] <= row[0] < row[2]]
    assert [] == [(was, now) for was, now in pairwise(found) if was[1] != now[1] and was[2] != now[1]]


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)], ids=["clock forward", "clock back"]
)
def test_each_hour_of_a_clock_change_is_a_period(day, hours):
    """
    An hour that comes twice is two periods, one that is left out is none.
    """
    start = at(day, BERLIN)
    starts = {around(start + 60 * minute, "hour", ZoneInfo(BERLIN))[0] for minute in range(hours * 60)}

    assert sorted(starts) == [start + 3600 * hour for hour in range(hours)]
