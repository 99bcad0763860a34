"""
How much of a history is on disk, through the real path: a short form of `python -m bench history`.
"""

import pytest

from obskit._history_day import DAY_SECONDS, sizes_of_days
from obskit.errors import ConfigurationError
from obskit.testing import history_day, isolated_runtime

MINUTES = 15
WEEK_BYTES = 150e6


def test_a_busy_service_takes_little_of_the_disk():
    """
    A quarter of an hour at 100 requests a second to 50 endpoints, taken for a week of minutes and six hours of fine
    steps, stays below the bound with its logs.
    """
    sizes = sizes_of_days(isolated_runtime, MINUTES / 1440, 100, 50)
    fine = sizes["series-10s"].file_bytes * 7 * 60 / MINUTES
    others = sum(size.file_bytes for name, size in sizes.items() if name != "series-10s")
    logs = sum(size.log_bytes for size in sizes.values())

    assert {"series-10s", "series-1m", ""} <= sizes.keys()
    assert 1e6 < fine + others * 7 * DAY_SECONDS / 60 / MINUTES + logs < WEEK_BYTES


@pytest.mark.parametrize("given", [{"requests_per_second": 0}, {"requests_per_second": float("nan")}, {"endpoints": 0}])
def test_a_day_of_nothing_is_refused(given):
    """
    No requests, or no endpoints, would say that a history takes nothing.
    """
    with pytest.raises(ConfigurationError, match=r"expected 0\.1 to 1e6"):
        history_day(**given)
