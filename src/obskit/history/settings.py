"""
What is kept of figures, where, and for how long.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from obskit.fields import Section, duration, flag, number, one_of, path, section, setting

KEEP: Mapping[str, timedelta] = {
    "10s": timedelta(hours=6),
    "1m": timedelta(days=14),
    "1h": timedelta(days=400),
    "records": timedelta(days=30),
    "events": timedelta(days=90),
    "ai": timedelta(days=35),
    "ai_days": timedelta(days=400),
    "alerts": timedelta(days=30),
}
_RATE = re.compile(r"([0-9]{1,4})/(s|min|h)", re.ASCII)
_RATES = "how many in a second, minute or hour, such as '1/min', '20/s' or '0/h', at most 1000"
_UNIT_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_SHORTEST = timedelta(hours=1)
_STEPS = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)
_KEPT = "a mapping of kinds to lengths of time from an hour on, such as {'1m': '30d'}; the kinds are " + ", ".join(KEEP)
_kept_for = duration(_KEPT)


def rate_of(text: str) -> tuple[int, float]:
    """
    Return how many, and in how many seconds, of a rate such as `"1/min"`.

    Raises:
        ValueError: It is none.
    """
    found = _RATE.fullmatch(text) if isinstance(text, str) else None
    if found is None or int(found[1]) > 1000:
        raise ValueError(_RATES)
    return int(found[1]), _UNIT_SECONDS[found[2]]


def _rate(value: Any) -> str:
    rate_of(value)
    return str(value)


def _every(value: Any) -> timedelta:
    found: timedelta = duration("one of " + ", ".join(f"'{step}s'" for step in _STEPS))(value)
    if found.total_seconds() not in _STEPS:
        raise ValueError("whole seconds of which a minute has a whole number, from '1s' to '30s'")
    return found


def _keep(value: Any) -> dict[str, timedelta]:
    if not isinstance(value, Mapping) or not value.keys() <= KEEP.keys():
        raise ValueError(_KEPT)
    given = {kind: _kept_for(length) for kind, length in value.items()}
    if any(length < _SHORTEST for length in given.values()):
        raise ValueError(_KEPT)
    return {**KEEP, **given}


@section
class HistorySettings(Section, subject="History"):
    """
    What is kept of figures, where, and for how long.
    """

    history: bool = setting(
        False,
        flag,
        "Keep the figures of all metrics, in files of the application's own. It needs `metrics`.",
    )
    history_dir: str | None = setting(
        None,
        path("an absolute path of a folder that stays, on a disk of this machine", absolute=True),
        "Where. Default: `history` in the service's folder below `state_dir`.",
    )
    history_every: timedelta = setting(
        timedelta(seconds=10),
        _every,
        "How often figures are sampled: whole seconds from `1s` to `30s`, of which a minute has a whole number.",
    )
    history_keep: dict[str, timedelta] = setting(
        dict(KEEP),
        _keep,
        "How long each kind is kept; what is not named keeps its default. `10s` is the finest step, whatever "
        "`history_every` is.",
    )
    history_keep_ordinary: str = setting(
        "1/min",
        _rate,
        "How many requests that are neither slow nor failed each process keeps as records, of each method, endpoint "
        "and status. Where standard error is a terminal and it is not given: each one, at most 20 a second of all.",
    )
    history_users: str = setting(
        "hashed",
        one_of("hashed", "plain"),
        "How a user that was bound is named in records: `hashed`, by a key that lies beside them, or `plain`.",
    )
    history_max_bytes: int = setting(
        512 << 20,
        number(16 << 20, 1 << 40, "bytes from 16 MB (16777216) to 1 TB", int),
        "Cap of all files of the history, their logs included: beyond it, the finest and oldest figures go first.",
    )
