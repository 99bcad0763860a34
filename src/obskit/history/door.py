"""
The functions that users ask the history with: of the active runtime, or of a folder.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from obskit.errors import HistoryError
from obskit.history.queries import Covered, History, SignalSeries, active, open_folder
from obskit.signals.samples import LabelPairs
from obskit.signals.signal import Signal
from obskit.storage.state_folder import StateFolder


def series(signal: Signal, *, since: str | timedelta = "24h", step: str | timedelta = "5m") -> SignalSeries:
    """
    Compute a signal at the end of each step, over all workers, over restarts too.

    Args:
        signal: What is asked: see `obskit.signals`.
        since: How far back, such as `"6h"`.
        step: How far apart; at most 5,000 steps.

    Returns:
        The values by label set, and which part of the time was seen. No value means no data.

    Raises:
        HistoryError: No history is kept, the steps are too many, or reading takes too long.
    """
    return active().series(signal, since=since, step=step)


def totals(signal: Signal, *, since: str | timedelta = "24h") -> dict[LabelPairs, float]:
    """
    Add up what a counter has counted, exactly: `totals(increase("http_requests_total", by=["status"]), since="7d")`.

    Args:
        signal: What `increase()` or `rate()` has made of a counter; its own window is not used.
        since: How far back. Beyond two hours it begins with a whole hour, beyond 40 days with a whole day.

    Raises:
        HistoryError: No history is kept, it is another kind of signal, or reading takes too long.
    """
    return active().totals(signal, since=since)


def records(
    kind: str = "request",
    *,
    since: str | timedelta = "24h",
    endpoint: str | None = None,
    slowest: int | None = None,
    latest: int = 100,
) -> list[dict[str, Any]]:
    """
    List single requests and others that were worth keeping, the latest first, each a dict ready for JSON.

    All have `at` (seconds since the epoch), `seconds`, `failed`, `user` (a keyed hash) and `correlation_id`. Errors are
    one for each class and place, with `first_at`, `last_at`, `times`, `routes` and an `example`; of what they are told
    apart by, the days that `since` reaches into are read.

    Args:
        kind: `request` (slow, failed, aborted, and one ordinary a route and minute), `query` (slow ones), `ai`,
            `error`, `event` or `job`.
        since: How far back.
        endpoint: Of requests, those of one route.
        slowest: How many of the slowest instead, the slowest first.
        latest: How many of the latest.

    Raises:
        HistoryError: No history is kept, there is no such kind, or it has nothing of what is asked.
    """
    return active().records(kind, since=since, endpoint=endpoint, slowest=slowest, latest=latest)


def covers(*, since: str | timedelta = "24h") -> Covered:
    """
    Return which part of the time was seen: there was a process that sampled, and it could store what it saw.

    Args:
        since: How far back.

    Raises:
        HistoryError: No history is kept, or reading takes too long.
    """
    return active().covers(since=since)


def open(folder: str | os.PathLike[str] | None = None, *, service: str | None = None) -> History:
    """
    Read a history from a process that configured nothing, such as a notebook's: it needs the rights of the application.

    Args:
        folder: The history folder. None: that of the service.
        service: The service's name, where no folder is given.

    Raises:
        HistoryError: There is none.
    """
    if folder is None and service is None:
        raise HistoryError("open(): say which history, by its folder or by service=")
    path = Path(folder) if folder is not None else StateFolder(None, service or "").path / "history"
    return open_folder(path, _raise)


def _raise(error: Exception) -> None:
    raise HistoryError(f"a file of the history cannot be read: {error}") from error
