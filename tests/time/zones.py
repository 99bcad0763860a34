"""
Places whose clocks are changed: in spring and autumn, by half an hour, at midnight, by a whole day.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

# Each with moments close to a change.
CHANGES = {
    "UTC": ["2026-03-29T01:00", "2027-01-01T00:00"],
    "Europe/Berlin": ["2026-03-29T01:00", "2026-10-25T01:00"],
    "America/New_York": ["2026-03-08T07:00", "2026-11-01T06:00"],
    "America/Santiago": ["2026-04-05T03:00", "2026-09-06T04:00"],  # at midnight
    "Australia/Lord_Howe": ["2026-04-04T15:00", "2026-10-03T15:30"],  # by half an hour
    "Asia/Kolkata": ["2026-06-01T00:00"],
    "Africa/Casablanca": ["2026-02-15T02:00", "2026-03-22T02:00"],  # back for a month
    "Pacific/Apia": ["2011-12-30T10:00"],  # left out 30 December
}


def moments():
    """
    Draw a zone, and a moment within days of one of its changes.
    """
    return st.sampled_from([(zone, change) for zone, changes in CHANGES.items() for change in changes]).flatmap(
        lambda drawn: st.tuples(
            st.just(ZoneInfo(drawn[0])),
            st.integers(-3 * 86_400, 3 * 86_400).map(
                lambda ahead: datetime.fromisoformat(drawn[1]).replace(tzinfo=UTC).timestamp() + ahead
            ),
        )
    )


def face(moment, zone):
    """
    Return what the clock shows.
    """
    return datetime.fromtimestamp(moment, zone).replace(tzinfo=None)


def at(text, zone):
    """
    Return the moment of a local time that comes once.
    """
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()
