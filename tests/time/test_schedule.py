"""
What is to be done again is due at its moments, over changes of the clock and after an absence.
"""

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zones import at, face, moments

from obskit.errors import DurationError, ScheduleError
from obskit.time.schedule import Schedule, daily, every, schedule_of, weekly

BERLIN = ZoneInfo("Europe/Berlin")
TEXTS = ["10s", "26h", "7m", "00:00", "02:30", "24:00", "sun 02:30", "mon 06:00"]
EXPRESSIONS = [
    *("30 2 * * *", "*/20 * * * *", "0 * * * *", "15 6 * * mon-fri", "0 0 1 * *", "0 12 * * 0", "*/30 1-3 * * *"),
]


def faces(schedule, since, count, zone):
    """
    Return what the clock shows at the next moments.
    """
    shown = []
    for _ in range(count):
        since = schedule.next_after(since)
        shown.append(f"{face(since, zone):%d %H:%M}")
    return shown


@settings(deadline=None, max_examples=150)
@given(moments(), st.sampled_from([*TEXTS, *EXPRESSIONS]))
def test_the_next_moment_is_later(drawn, text):
    """
    Moments only go on, also in an hour that comes twice; and what is next before a moment is next there as well.
    """
    zone, moment = drawn
    schedule = schedule_of(text, zone)
    found = [moment]
    for _ in range(4):
        found.append(schedule.next_after(found[-1]))

    assert all(earlier < later for earlier, later in pairwise(found))
    assert found[1] == schedule.next_after((found[0] + found[1]) / 2)


@settings(deadline=None, max_examples=100)
@given(moments(), st.sampled_from([*TEXTS[1:], *EXPRESSIONS]), st.integers(0, 40 * 3600))
def test_one_run_makes_up_for_all_that_were_missed(drawn, text, absence):
    """
    After an absence the last moment that has come is due, and then none.
    """
    zone, since = drawn
    schedule, now = schedule_of(text, zone), since + absence
    missed = [since]
    while schedule.next_after(missed[-1]) <= now:
        missed.append(schedule.next_after(missed[-1]))

    due = schedule.due(since, now)
    assert (missed[-1] if missed[1:] else None) == due
    assert schedule.due(now if due is None else due, now) is None


def test_a_long_absence_is_made_up_for_at_once():
    """
    Ten years of minutes are not gone through one by one.
    """
    asked = []

    def next_after(moment):
        asked.append(moment)
        return moment // 60 * 60 + 60

    now = 10 * 366 * 86_400.0

    assert now == Schedule("every minute", next_after).due(0.0, now)
    assert len(asked) < 100


def test_a_run_in_the_future_does_not_stop_it():
    """
    Where the clock was ahead at the last run, the next moment from now on is waited for, and no year.
    """
    schedule = daily("06:00")
    now = at("2026-06-01T07:00", "UTC")

    assert schedule.due(now + 365 * 86_400, now) is None
    assert at("2026-06-02T06:00", "UTC") == schedule.due(now, at("2026-06-02T06:00", "UTC"))


@pytest.mark.parametrize("text", ["02:30", "30 2 * * *"])
def test_over_a_change_of_the_clock(text):
    """
    A run of a time that is skipped comes at the change; one of a time that comes twice comes once.
    """
    schedule = schedule_of(text, BERLIN)

    assert ["28 02:30", "29 03:00", "30 02:30"] == faces(schedule, at("2026-03-28T00:00", "Europe/Berlin"), 3, BERLIN)
    assert ["24 02:30", "25 02:30", "26 02:30"] == faces(schedule, at("2026-10-24T00:00", "Europe/Berlin"), 3, BERLIN)


def test_what_comes_by_the_hour_comes_each_hour():
    """
    A schedule of every hour leaves none out, and none of a doubled hour.
    """
    hours = schedule_of("0 * * * *", BERLIN)
    since = datetime(2026, 10, 24, 23, 30, tzinfo=UTC).timestamp()

    assert ["25 02:00", "25 02:00", "25 03:00"] == faces(hours, since, 3, BERLIN)


def test_texts_are_read():
    """
    Intervals, times, days with times, and cron expressions are told apart.
    """
    since = at("2026-06-03T10:00", "UTC")  # a Wednesday

    assert since + 10 == schedule_of("10s").next_after(since)
    assert at("2026-06-04T06:00", "UTC") == schedule_of("06:00").next_after(since)
    assert at("2026-06-08T06:00", "UTC") == schedule_of("Monday 06:00").next_after(since)
    assert at("2026-06-08T06:30", "UTC") == schedule_of("30 6 * * MON").next_after(since)
    assert at("2026-06-10T09:00", "UTC") == weekly("wed", "09:00").next_after(since)


@given(st.sampled_from(["10s", "15m", "1ms", "333ms", "7s", "1h"]), st.floats(0, 4e9))
def test_an_interval_is_shared(interval, moment):
    """
    The moments of an interval are multiples since the epoch, whoever asks, and each is later than what was asked.
    """
    found = every(interval).next_after(moment)

    assert moment < found <= moment + 3601
    assert every(interval).next_after(found - 1e-6) in (found, every(interval).next_after(found))


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "sometimes", "0s", "25:00", "mo 06:00", "mon 6", "mon 06:00 x", "61 * * * *", "* * * *", "* * * * * *"),
        *("0 0 30 2 *", "a b c d e", "*/0 * * * *", "5-1 * * * *", "L/2 * * * *", "* * L-3 * *", "@daily", "0 0 * * 9"),
    ],
)
def test_what_is_no_schedule_is_refused(wrong):
    """
    What has no meaning, and what never comes, is an error at once, and not when it should be due.
    """
    with pytest.raises((ScheduleError, DurationError)):
        schedule_of(wrong)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("0123456789*/,-L#WMONJA", min_size=1, max_size=5), min_size=5, max_size=5))
def test_no_expression_breaks_it(fields):
    """
    Whatever the fields hold, an expression comes or is refused.
    """
    try:
        schedule = schedule_of(" ".join(fields))
    except (ScheduleError, DurationError):
        return

    assert schedule.next_after(1.8e9) > 1.8e9
