"""
Read rate limits from the headers of every reply, refusals included.

Sources: Anthropic's and OpenAI's pages on rate limits, read 2026-11-20. Other providers that speak OpenAI's protocol
send its headers too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from threading import RLock
from typing import Any

from obskit.forks import at_fork
from obskit.recorder import recorder

KINDS = ("requests", "tokens", "input_tokens", "output_tokens")
MAX_KEPT = 200  # pairs of provider and model: an application may let its users name models
MAX_FIGURE = 10**12  # of requests or tokens; no provider sells as many in a period
_MAX_DIGITS = len(str(MAX_FIGURE))
MAX_RESET_SECONDS = 31 * 86_400  # the longest period is a month
CURRENT_SECONDS = 60.0  # the usual period, where a reply does not say when it ends
_LIMIT, _REMAINING, _RESET = range(3)

_valid_duration = re.compile(
    r"\A(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?"
).fullmatch
_SECONDS = (86_400.0, 3600.0, 60.0, 1.0, 0.001)

LimitFigures = Sequence[float | None]  # limit, remaining, moment of the reset


@dataclass(frozen=True, slots=True)
class RateLimit:
    """
    One limit, as the latest reply reported it. Missing values are None.

    Attributes:
        provider: As in the metrics.
        model: That was asked: providers limit models apart, or in groups.
        kind: `requests`, `tokens`, `input_tokens` or `output_tokens`.
        limit: Of one period, which is most often a minute.
        remaining: When the provider answered.
        resets_at: When all of `limit` is there again; UTC.
        read_at: When the provider answered; UTC.
        age_seconds: Since then.
        is_current: False once the limit has been reset since, or, where the reply did not say when that is, after a
            minute: then what remains now is not known.
    """

    provider: str
    model: str
    kind: str
    limit: int | None
    remaining: int | None
    resets_at: datetime | None
    read_at: datetime
    age_seconds: float
    is_current: bool

    @property
    def headroom(self) -> float | None:
        """
        The share of the limit that is left, 0 to 1; None if it is unknown or outdated.
        """
        if not self.limit or self.remaining is None or not self.is_current:
            return None
        return min(self.remaining / self.limit, 1.0)

    def to_dict(self) -> dict[str, Any]:
        """
        Return the fields ready for JSON, times in ISO 8601.
        """
        resets_at = None if self.resets_at is None else self.resets_at.isoformat()
        return {**asdict(self), "resets_at": resets_at, "read_at": self.read_at.isoformat(), "headroom": self.headroom}


def _names() -> Iterator[tuple[bytes, tuple[int, int]]]:
    for kind, name in enumerate(KINDS):
        words = name.replace("_", "-")
        for field, word in enumerate(("limit", "remaining", "reset")):
            yield f"anthropic-ratelimit-{words}-{word}".encode(), (kind, field)
            if kind < 2:
                yield f"x-ratelimit-{word}-{words}".encode(), (kind, field)


_find = dict(_names()).get


class LatestRateLimits:
    """
    The latest limits of each provider and model. Thread-safe.

    Attributes:
        on_reply: Called for each reply with provider, figures by kind (its index in KINDS) and time: sets the gauges.
    """

    def __init__(self) -> None:
        self._latest: dict[tuple[str, str], tuple[float, Mapping[int, LimitFigures]]] = {}
        self._lock = RLock()
        self.on_reply: Callable[[str, Mapping[int, LimitFigures], float], None] | None = None

    def read(self, provider: str, model: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """
        Read the headers of a reply; impossible values are dropped and counted.
        """
        at = recorder.wall_clock()
        found: dict[int, list[float | None]] = {}
        pairs = tuple(headers)
        names, values = zip(*pairs, strict=True) if pairs else ((), ())
        for kind, columns in _places(names):
            row: list[float | None] = [None, None, None]
            for field, index in columns:
                value, figure = values[index], None
                if field == _RESET:
                    figure = _moment(value, at)
                elif value.isdigit() and len(value) < _MAX_DIGITS:  # as six of a reply's headers are
                    figure = int(value)
                else:
                    figure = _large(value)
                if figure is None:
                    recorder.dropped.inc(("ai", "rate_limit_header"))
                    continue
                row[field] = figure
                found[kind] = row
        if found:
            self._keep(provider, model, at, found)

    def _keep(self, provider: str, model: str, at: float, figures: Mapping[int, LimitFigures]) -> None:
        key = (provider, model)
        with self._lock:
            # The latest at the end: the first is the one to go.
            self._latest.pop(key, None)
            self._latest[key] = at, figures
            if len(self._latest) > MAX_KEPT:
                self._latest.pop(next(iter(self._latest)), None)
        if self.on_reply is not None:
            self.on_reply(provider, figures, at)

    def known(self) -> tuple[RateLimit, ...]:
        """
        List what is known, by provider, model and kind.
        """
        now = recorder.wall_clock()
        with self._lock:
            latest = self._latest.copy()  # in one step: a finaliser may add to it at the next
        return tuple(
            _described(provider, model, KINDS[kind], figures[kind], at, now)
            for (provider, model), (at, figures) in sorted(latest.items())
            for kind in sorted(figures)
        )

    def start_over(self) -> None:
        """
        Replace the lock, in a forked child.
        """
        self._lock = RLock()

    def clear(self) -> None:
        with self._lock:
            self._latest.clear()


def _described(provider: str, model: str, kind: str, row: LimitFigures, at: float, now: float) -> RateLimit:
    limit, remaining, reset = row
    return RateLimit(
        provider,
        model,
        kind,
        None if limit is None else int(limit),
        None if remaining is None else int(remaining),
        None if reset is None else datetime.fromtimestamp(reset, UTC),
        datetime.fromtimestamp(at, UTC),
        max(now - at, 0.0),
        now < (at + CURRENT_SECONDS if reset is None else reset),
    )


@lru_cache(64)  # one provider's replies have the same headers, nearly always
def _places(names: tuple[bytes, ...]) -> tuple[tuple[int, tuple[tuple[int, int], ...]], ...]:
    """
    Find the figures of each kind of limit among headers: which of the three it is, and the index of its header.
    """
    found: dict[int, list[tuple[int, int]]] = {}
    for index, name in enumerate(names):
        place = _find(name.lower())
        if place is not None:
            found.setdefault(place[0], []).append((place[1], index))
    return tuple((kind, tuple(columns)) for kind, columns in found.items())


def _large(value: bytes) -> int | None:
    """
    Read a count that is written with as many digits as the largest; None where it is larger, or no count.
    """
    figure = int(value) if value.isdigit() and len(value) <= _MAX_DIGITS else None
    return None if figure is None or figure > MAX_FIGURE else figure


def _moment(value: bytes, now: float) -> float | None:
    """
    Read when a limit is reset, as seconds since the epoch: from a moment in RFC 3339, or from a duration.
    """
    try:
        is_duration, seconds = _reset(value)
        reset = now + seconds if is_duration else seconds
    except (ValueError, OverflowError):
        return None
    # One that has just passed is a clock that goes differently, or a long way.
    return reset if -3600 <= reset - now <= MAX_RESET_SECONDS else None


@lru_cache(256)  # a reply's limits are often reset at the same moment
def _reset(value: bytes) -> tuple[bool, float]:
    text = value.decode("latin-1").strip()
    if "T" not in text:
        return True, _duration(text)
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return False, moment.timestamp()


def _duration(text: str) -> float:
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    match = _valid_duration(text)
    if not match or not text:
        raise ValueError(text)
    return sum(float(figure) * seconds for figure, seconds in zip(match.groups(), _SECONDS, strict=True) if figure)


latest_rate_limits = LatestRateLimits()
at_fork(after_in_child=latest_rate_limits.start_over)


def rate_limits(provider: str | None = None) -> tuple[RateLimit, ...]:
    """
    List the rate limits that providers told in their latest replies to this process, refusals included.

    They come from the headers of calls of the hooked SDKs, plain and streamed; a provider that has not answered yet
    is not in the list.

    Args:
        provider: Only this one's.

    Returns:
        One a provider, model and kind, in that order, for the 200 pairs of provider and model that were asked last.
    """
    return tuple(limit for limit in latest_rate_limits.known() if provider in (None, limit.provider))
