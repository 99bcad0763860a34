"""
Units of metrics and signals, and thresholds in them.
"""

from __future__ import annotations

import math
import re

from obskit.catalogue import Metric
from obskit.errors import DurationError, SignalError
from obskit.time.durations import seconds_of

COUNT, SHARE, TIMES, SECONDS, TIMESTAMP = "count", "share", "times", "seconds", "timestamp"
PER_SECOND = " per second"

_BY_SUFFIX = {
    "_timestamp_seconds": TIMESTAMP,
    "_seconds": SECONDS,
    "_bytes": "bytes",
    "_usd": "usd",
    "_percent": "percent",
    "_cores": "cores",
}
_TIMESTAMPS = {"obskit_process_start_time_seconds"}
_SPANS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
# What text may say beside a number, by unit: how much one of it is in the unit.
_FACTORS: dict[str, dict[str, float]] = {
    "bytes": {
        "B": 1.0,
        **{f"{letter}B": 1000.0**power for power, letter in enumerate("kMGT", 1)},
        **{f"{letter}iB": 1024.0**power for power, letter in enumerate("KMGT", 1)},
    },
    "usd": {"USD": 1.0, "$": 1.0},
    "percent": {"%": 1.0},
    SHARE: {"%": 0.01},
    TIMES: {"x": 1.0},
}
_match = re.compile(r"(\$?)\s?([+-]?[0-9]{1,15}(?:\.[0-9]{1,15})?)\s?([A-Za-z%$]{0,5})(?:/(s|min|h|d))?").fullmatch


def unit_of(metric: Metric) -> str:
    """
    Return a metric's unit: what its row says, else what its name's suffix does, else `count`.
    """
    said = getattr(metric, "unit", "")
    if said:
        return str(said)
    if metric.name in _TIMESTAMPS:
        return TIMESTAMP
    name = metric.name.removesuffix("_total")
    return next((unit for suffix, unit in _BY_SUFFIX.items() if name.endswith(suffix)), COUNT)


def threshold_in(unit: str, given: object) -> float:
    """
    Return a threshold as a number of `unit`.

    Args:
        unit: The signal's.
        given: A number in that unit, or text with a unit of the same kind: `"500ms"`, `"5%"`, `"10GB"`, `"10/min"`.

    Raises:
        SignalError: It is neither, is not finite, or has a unit of another kind.
    """
    if isinstance(given, str):
        return _seconds(given) if unit == SECONDS else _read(unit, given)
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise SignalError(
            f"{_shown(given)} is no threshold: expected a number of {unit}, or text such as {_like(unit)}"
        )
    return float(given)


def _seconds(text: str) -> float:
    try:
        return seconds_of(text)
    except DurationError as error:
        raise SignalError(f"{_shown(text)} is no threshold of seconds: {error}") from None


def _read(unit: str, text: str) -> float:
    found = _match(text.strip())
    if found is None:
        raise SignalError(f"{_shown(text)} is no threshold: expected a number of {unit}, or text such as {_like(unit)}")
    dollar, number, word, span = found.groups()
    base, is_rate = unit.removesuffix(PER_SECOND), unit.endswith(PER_SECOND)
    word = word or dollar
    factor = _FACTORS.get(base, {}).get(word) if word else 1.0
    if factor is None or (span is not None) != is_rate or (dollar and word != dollar):
        raise SignalError(f"{_shown(text)} is no threshold of {unit}: write a number, or text such as {_like(unit)}")
    return float(number) * factor / (_SPANS[span] if span else 1.0)


def _like(unit: str) -> str:
    if unit == SECONDS:
        return '"500ms"'
    word = next(iter(_FACTORS.get(unit.removesuffix(PER_SECOND), {""})))
    return f'"10{word}{"/min" if unit.endswith(PER_SECOND) else ""}"'


def _shown(given: object) -> str:
    shown = repr(given) if isinstance(given, str | int | float) else f"a value of {type(given).__name__}"
    return shown if len(shown) <= 80 else shown[:77] + "..."
