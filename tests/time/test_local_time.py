"""
A local time is one moment, on the days of a change too.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zones import face, moments

from obskit.errors import ScheduleError
from obskit.time.local_time import local_day, minute_of_day, moment_at, zone_named


@settings(deadline=None, max_examples=60)
@given(moments(), st.integers(0, 1440))
def test_it_is_the_first_moment_that_shows_it(drawn, minute):
    """
    A local time is the first moment at which the clock shows it or, where it is skipped, what comes after.
    """
    zone, near = drawn
    day = local_day(near, zone)
    asked = datetime(day.year, day.month, day.day) + timedelta(minutes=minute)
    start = asked.replace(tzinfo=UTC).timestamp() - 26 * 3600

    expected = next(start + 60 * ahead for ahead in range(60 * 52) if face(start + 60 * ahead, zone) >= asked)
    assert expected == moment_at(day, minute, zone)


@pytest.mark.parametrize(
    ("zone", "day", "minute", "expected"),
    [
        ("Europe/Berlin", "2026-03-29", 150, "2026-03-29T01:00"),  # 02:30 is skipped: 03:00
        ("Europe/Berlin", "2026-10-25", 150, "2026-10-25T00:30"),  # 02:30 comes twice: the first
        ("America/Santiago", "2026-09-06", 0, "2026-09-06T04:00"),  # no midnight: 01:00
        ("Pacific/Apia", "2011-12-30", 720, "2011-12-30T10:00"),  # no such day: the next one's midnight
        ("Australia/Lord_Howe", "2026-10-04", 135, "2026-10-03T15:30"),  # half an hour is skipped
    ],
)
def test_hours_that_are_skipped_or_come_twice(zone, day, minute, expected):
    """
    What is skipped is the moment of the change; what comes twice is the first.
    """
    moment = moment_at(datetime.fromisoformat(day).date(), minute, ZoneInfo(zone))

    assert expected == datetime.fromtimestamp(moment, UTC).isoformat()[:16]


@pytest.mark.parametrize(("text", "minute"), [("00:00", 0), ("8:05", 485), ("08:05", 485), ("24:00", 1440)])
def test_a_time_of_day_is_read(text, minute):
    """
    A time is hours and minutes, up to the end of the day.
    """
    assert minute == minute_of_day(text)


@pytest.mark.parametrize(
    "wrong", ["", "8", "8:5", "24:01", "25:00", "08:60", "08:00:00", "8pm", "-1:00", "\u0660\u0668:\u0660\u0660"]
)
def test_what_is_no_time_of_day_is_refused(wrong):
    """
    Whatever else is given is the one error.
    """
    with pytest.raises(ScheduleError, match="is no time of day"):
        minute_of_day(wrong)


def test_a_zone_is_found_by_its_name():
    """
    UTC needs no data of zones; the others are those of the machine.
    """
    assert UTC is zone_named("utc")
    assert ZoneInfo("Europe/Berlin") is zone_named("Europe/Berlin")


@pytest.mark.parametrize("wrong", ["Europe/Berln", "", "../etc/passwd", "/etc/localtime", "a\0b", None, 3, "x" * 5000])
def test_what_is_no_zone_is_refused(wrong):
    """
    Whatever else is given is the one error; a near name is suggested.
    """
    with pytest.raises(ScheduleError, match="is no time zone") as caught:
        zone_named(wrong)

    assert ("did you mean 'Europe/Berlin'?" in str(caught.value)) is (wrong == "Europe/Berln")
    assert len(str(caught.value)) < 300
