"""
Hours in Prometheus are those of the process, wherever clocks are changed by the calendar.
"""

from datetime import UTC, datetime, timedelta

from obskit.rules.hours_promql import hours_promql, law_of
from obskit.time.local_time import zone_named
from obskit.time.service_hours import service_hours
from signals import prometheus

HOUR, DAY, STEP = 3600, 86_400, 1800
START = int(datetime(2028, 1, 1, tzinfo=UTC).timestamp())
# North and south of the equator, changed at midnight, on a Friday, by half an hour, and never.
ZONES = (
    *("UTC", "Europe/Berlin", "America/New_York", "Australia/Sydney", "Africa/Cairo", "Asia/Jerusalem"),
    *("Australia/Lord_Howe", "Asia/Kolkata", "America/Santiago", "Pacific/Chatham"),
)
TEXTS = ("mon-fri 08:00-18:00, sun", "fri,sat 22:00-05:30, wed", "08:15-12:00,13:00-17:45")


def changes(zone):
    """
    Return the days of a year, about, on which a clock is changed.
    """
    days = [datetime.fromtimestamp(START + day * DAY, zone) for day in range(366)]
    return [round(day.timestamp()) for day in days if day.utcoffset() != (day + timedelta(days=1)).utcoffset()]


def test_a_clock_that_follows_the_moon_has_no_law():
    """
    Such hours cannot be rendered.
    """
    assert law_of(zone_named("Africa/Casablanca")) is None
    assert hours_promql(service_hours("08:00-18:00", zone_named("Africa/Casablanca"))) is None
    assert law_of(zone_named("Asia/Tokyo")) == (9 * HOUR, ())


if prometheus.found():

    def test_hours_are_the_same(tmp_path):
        """
        Each half hour of the days around each change of a year, and around new year, in places whose clocks are
        changed in all ways that there are.
        """
        differing = []
        with prometheus.running(prometheus.found()[0], tmp_path, "global: {}\n", {}) as address:
            for zone, text in zip(ZONES * 2, TEXTS * 7, strict=False):
                hours = service_hours(text, zone_named(zone))
                asked = f"vector(1) and on () ({hours_promql(hours)})"
                for change in (START, *changes(hours.zone)):
                    moments = range(change - 4 * DAY, change + 4 * DAY, STEP)
                    span = {"start": moments[0], "end": moments[-1], "step": STEP}
                    found = prometheus.get(address, "query_range", query=asked, **span)["result"]
                    on = {round(at) for series in found for at, _ in series["values"]}
                    differing += [(zone, text, at) for at in moments if (at in on) is not hours.is_open(at)]

        assert [] == differing
