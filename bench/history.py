"""
Serve days of requests by a clock that is moved, and see how much of them is on disk, by kind.

The real path: each request is served, each step sampled, and longer steps are put together. Of kinds that are kept for
longer than was served, the whole is what the days served have, without logs, as often as they are kept; a file goes
once all of it is old, so that one more of each is there.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from bench.figures import keep
from obskit._history_day import DAY_SECONDS, Size, sizes_of_days
from obskit.history.settings import KEEP
from obskit.testing import isolated_runtime

WEEK_MB, WHOLE_MB = 150, 400
KEPT_AS = {"series-10s": "10s", "series-1m": "1m", "series-1h": "1h"}
# Of a file, by the length of time that it is kept: hours by month, fine steps by hour, all else by day.
FILE_DAYS = {"series-10s": 1 / 24, "series-1h": 31}


def whole(name: str, size: Size, days: float) -> float:
    """
    Return the bytes of a kind once it is as old as it is kept.
    """
    kept = KEPT_AS.get(name, name.removesuffix("-day"))
    if kept not in KEEP:
        return size.file_bytes + size.log_bytes
    kept_days = KEEP[kept].total_seconds() / DAY_SECONDS + FILE_DAYS.get(name, 1)
    return size.file_bytes * max(1.0, kept_days / min(days, kept_days)) + size.log_bytes


def show(sizes: Mapping[str, Size], days: float) -> tuple[float, float]:
    """
    Print the table, and return the megabytes after these days, and of the whole retention.
    """
    print(f"{'kind':14}{'files MB':>10}{'logs MB':>10}{'retention MB':>14}")
    for name, size in sizes.items():
        print(
            f"{name or 'beside them':14}{size.file_bytes / 1e6:10.2f}{size.log_bytes / 1e6:10.2f}"
            f"{whole(name, size, days) / 1e6:14.1f}"
        )
    served = sum(size.file_bytes + size.log_bytes for size in sizes.values()) / 1e6
    retained = sum(whole(name, size, days) for name, size in sizes.items()) / 1e6
    print(f"{'all':14}{served:20.2f}{retained:14.1f}")
    return served, retained


def main(arguments: list[str]) -> None:
    """
    Serve, print a table, and fail where a week, or the whole retention, is more than it may be.
    """
    parser = argparse.ArgumentParser(prog="python -m bench history")
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--requests-per-second", type=float, default=100.0)
    parser.add_argument("--endpoints", type=int, default=50)
    options = parser.parse_args(arguments)
    traffic = options.requests_per_second, options.endpoints
    served, retained = show(sizes_of_days(isolated_runtime, options.days, *traffic), options.days)
    keep("history: MB", served)
    keep("history, whole retention: MB", retained)
    # Less than a day has little more than what each file begins with.
    if options.days >= 1 and (retained > WHOLE_MB or (options.days <= 7 and served > WEEK_MB)):
        raise SystemExit(f"more than {WEEK_MB} MB a week, or {WHOLE_MB} MB in all")
