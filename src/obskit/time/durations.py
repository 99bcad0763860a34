"""
Read lengths of time as people write them: `"90s"`, `"15m"`, `"1h30m"`, `"14d"`, or a `timedelta`; write milliseconds.
"""

from __future__ import annotations

from datetime import timedelta

from obskit.errors import DurationError
from obskit.late_patterns import late

UNITS_SECONDS = {"w": 604_800.0, "d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
LONGEST_SECONDS = 100 * 366 * 86_400.0

_NUMBER = r"[0-9]{1,12}(?:\.[0-9]{1,12})?"
# The largest unit first, each once.
_match = late("".join(rf"(?:({_NUMBER}){unit}(?![a-z]))?" for unit in UNITS_SECONDS))
_is_number = late(rf"[+-]?{_NUMBER}")
_EXAMPLES = '"90s", "15m", "1h30m", "14d", or a timedelta'


def seconds_of(value: object, name: str = "") -> float:
    """
    Return the seconds of a duration.

    Args:
        value: Text of numbers with units (`w`, `d`, `h`, `m`, `s`, `ms`; the largest first), or a `timedelta`. From 0,
            whose meaning is known to whoever asks, to 100 years.
        name: Whose value it is, for the error's text, such as a setting's name.

    Raises:
        DurationError: It is something else. A bare number has two readings, and the error shows both.
    """
    if isinstance(value, timedelta):
        return _bounded(value.total_seconds(), value, name)
    if isinstance(value, str):
        text = value.strip()
        found = _match.fullmatch(text)
        if found is not None and text:
            amounts = zip(found.groups(), UNITS_SECONDS.values(), strict=True)
            return _bounded(sum(float(amount) * seconds for amount, seconds in amounts if amount), value, name)
        is_bare = _is_number.fullmatch(text) is not None
    else:
        text = _shown(value)
        is_bare = isinstance(value, int | float) and not isinstance(value, bool)
    if is_bare:
        raise DurationError(
            f'{_whose(name)}{_shown(value)} has no unit: "{text}s" is that many seconds, "{text}m" that many minutes; '
            "write which"
        )
    raise DurationError(f"{_whose(name)}{_shown(value)} is no length of time: expected {_EXAMPLES}")


def duration_text(seconds: float) -> str:
    """
    Write a length of time as `seconds_of()` reads it: `90.0` is `"1m30s"`. To the millisecond.
    """
    left, parts = round(seconds * 1000), []
    for unit, unit_seconds in UNITS_SECONDS.items():
        amount, left = divmod(left, round(unit_seconds * 1000))
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts) or "0s"


def _bounded(seconds: float, value: object, name: str) -> float:
    if not 0 <= seconds <= LONGEST_SECONDS:
        raise DurationError(f"{_whose(name)}{_shown(value)}: expected a length of time from 0 to 100 years")
    return seconds


def _whose(name: str) -> str:
    return f"{name}=" if name else ""


def _shown(value: object) -> str:
    try:
        shown = repr(value)
    except Exception:  # an integer of too many digits, and whatever another's object does
        return f"a value of {type(value).__name__}"
    return shown if len(shown) <= 80 else shown[:77] + "..."


def milliseconds(seconds: float) -> float:
    """
    Return milliseconds rounded to microseconds; `round()` would cost five times as much.
    """
    return int(seconds * 1e6 + 0.5) / 1000
