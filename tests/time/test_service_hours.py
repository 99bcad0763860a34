"""
Service hours are what they say, in their place, all year.
"""

from datetime import timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zones import at, face, moments

from obskit.errors import ScheduleError
from obskit.time.service_hours import service_hours

BERLIN = ZoneInfo("Europe/Berlin")
# Text -> for each day of the week (0 is Monday), its first minute and the one after its last, as the clock shows them.
HOURS = {
    "mon-fri 08:00-18:00": {day: [(480, 1080)] for day in range(5)},
    "mon-fri 08:00-18:00, sat 09:00-12:00": {**{day: [(480, 1080)] for day in range(5)}, 5: [(540, 720)]},
    "sat-mon": {day: [(0, 1440)] for day in (5, 6, 0)},
    "00:30-03:15": {day: [(30, 195)] for day in range(7)},
    "mon,thu 08:00-12:00,13:00-17:30": {day: [(480, 720), (780, 1050)] for day in (0, 3)},
    "fri-sun 22:00-06:00": {4: [(1320, 1440)], 5: [(0, 360), (1320, 1440)], 6: [(0, 360), (1320, 1440)], 0: [(0, 360)]},
    "00:00-24:00": {day: [(0, 1440)] for day in range(7)},
}


def comes_twice(moment, zone):
    """
    Whether the clock shows the same again, or did before.
    """
    shown = face(moment, zone)
    return any(shown == face(moment + hours * 1800, zone) for hours in (-4, -3, -2, -1, 1, 2, 3, 4))


@settings(deadline=None, max_examples=200)
@given(moments(), st.sampled_from(list(HOURS)))
def test_they_are_on_when_the_clock_says_so(drawn, text):
    """
    At each moment they are on or off by what the clock shows there; in an hour that comes twice they begin once.
    """
    zone, moment = drawn
    if comes_twice(moment, zone):
        return
    shown = face(moment, zone)
    minute = shown.hour * 60 + shown.minute
    expected = any(start <= minute < end for start, end in HOURS[text].get(shown.weekday(), ()))

    assert expected is service_hours(text, zone).is_open(moment)


@settings(deadline=None, max_examples=60)
@given(moments(), st.sampled_from(list(HOURS)))
def test_a_change_is_where_it_turns(drawn, text):
    """
    Up to the next change it stays as it is, and there it turns; where they are always on there is none.
    """
    zone, moment = drawn
    hours = service_hours(text, zone)
    change = hours.next_change(moment)
    if change is None:
        assert text == "00:00-24:00"
        return

    steps = [moment + (change - moment) * share for share in (0, 0.25, 0.5, 0.75, 0.999)]
    assert {hours.is_open(moment)} == {hours.is_open(step) for step in steps}
    assert hours.is_open(change) is not hours.is_open(moment)
    assert hours.next_opening(moment) == (moment if hours.is_open(moment) else change)


@settings(deadline=None, max_examples=40)
@given(moments(), st.sampled_from(list(HOURS)), st.integers(0, 5 * 24 * 4))
def test_the_hours_of_a_stretch_add_up(drawn, text, quarters):
    """
    How long they are on within a stretch is what its quarters of an hour say one by one.
    """
    zone, moment = drawn
    hours, since = service_hours(text, zone), moment // 900 * 900
    expected = 900 * sum(hours.is_open(since + 900 * quarter) for quarter in range(quarters))

    assert expected == hours.open_seconds(since, since + 900 * quarters)


def test_days_of_a_change_have_their_hours():
    """
    A shift of a night is an hour shorter in spring and longer in autumn; one by day is as ever.
    """
    night, day = service_hours("22:00-06:00", BERLIN), service_hours("mon-sun 08:00-18:00", BERLIN)
    lengths = [
        (night.open_seconds(start, start + 86_400) / 3600, day.open_seconds(start, start + 86_400) / 3600)
        for start in (at(f"2026-{text}T12:00", "Europe/Berlin") for text in ("03-28", "06-28", "10-24"))
    ]

    assert [7, 8, 9] == [length for length, _ in lengths]
    assert [11, 10, 9] == [length for _, length in lengths]  # an hour later and earlier, by that night


def test_spans_that_touch_are_one():
    """
    Where one span goes on as the next, nothing changes.
    """
    hours = service_hours("mon 08:00-12:00,12:00-18:00")
    start = at("2026-06-01T08:00", "UTC")

    assert start + timedelta(hours=10).total_seconds() == hours.next_change(start)


@pytest.mark.parametrize(
    "wrong",
    [
        *("", ";", "always", "mon-fri 8-18", "mon-fri 08:00", "08:00-08:00", "mon-fri08:00-18:00", "mon fri", "mon-"),
        *(
            "mo-fr 08:00-18:00",
            "mon-fri 08:00-25:00",
            "mon-fri 08:00 - 18:00",
            "mon-fri-sun 08:00-18:00",
            "-",
            "mon--tue",
        ),
    ],
)
def test_what_are_no_service_hours_is_refused(wrong):
    """
    Whatever else is given is the one error.
    """
    with pytest.raises(ScheduleError):
        service_hours(wrong)


def test_edges_only_go_on():
    """
    From change to change, time goes on.
    """
    hours, edges = service_hours("mon-fri 08:00-18:00", BERLIN), [at("2026-03-20T00:00", "Europe/Berlin")]
    for _ in range(40):
        edges.append(hours.next_change(edges[-1]))

    assert all(earlier < later for earlier, later in pairwise(edges))
