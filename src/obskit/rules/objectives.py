"""
Objectives: what share of requests must be well over weeks. The rest is the budget.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from obskit.catalogue import http
from obskit.errors import ObjectiveError
from obskit.rules.burn_rates import FEWEST_FAILURES, FOR_SECONDS, PACES, BurnRate, Pace, window_text
from obskit.rules.indicators import Indicator
from obskit.rules.rule import Rule
from obskit.signals.page import Page, page_in_force
from obskit.signals.selection import Selection
from obskit.signals.windows import Duration
from obskit.time.durations import seconds_of

_DAY = 86_400.0
SHORTEST_SECONDS, LONGEST_SECONDS = 7 * _DAY, 31 * _DAY


@dataclass(frozen=True)
class Objective:
    """
    What a service promises of its requests.

    Attributes:
        name: Of letters, digits, `_` and `-`.
        indicators: What is counted: of availability, of latency, or of both.
        window_seconds: Over how long the promise is kept.
    """

    name: str
    indicators: tuple[Indicator, ...]
    window_seconds: float

    def alert_name(self, indicator: Indicator, pace: Pace) -> str:
        """
        Return what an alert of it is called: `CheckoutAvailabilityBurn1h`.
        """
        words = (*re.split("[-_]", self.name), indicator.kind)
        return "".join(it[:1].upper() + it[1:] for it in words) + f"Burn{window_text(pace.long_seconds)}"

    def rules(self) -> Iterator[tuple[Indicator, Pace, Rule]]:
        """
        Yield what is told of.
        """
        for indicator in self.indicators:
            yield from ((indicator, pace, self._rule(indicator, pace)) for pace in PACES)

    def _rule(self, indicator: Indicator, pace: Pace) -> Rule:
        signal = BurnRate(indicator, pace.long_seconds, pace.short_seconds)
        over, allowed = window_text(pace.long_seconds), window_text(self.window_seconds)
        return Rule(
            name=self.alert_name(indicator, pace),
            condition=signal.at_least(failures=FEWEST_FAILURES) > pace.times,
            severity=pace.severity,
            area="http",
            for_seconds=FOR_SECONDS,
            summary=f"The objective {self.name} is in danger: {indicator.kind}",
            description=f"Over {over}, requests fail at {{value}} the pace that {allowed} allow.",
            component="http",
        )

    def on(self, page: Page) -> Objective:
        """
        Return the objective with what can be counted of it on a page.
        """
        return replace(self, indicators=tuple(it for it in self.indicators if not it.missing(page)))


declared: dict[str, Objective] = {}
_is_name = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}").fullmatch


def objective(
    name: str,
    *,
    availability: float | None = None,
    latency_seconds: float | None = None,
    latency_share: float | None = None,
    endpoints: Iterable[str] = (),
    window: Duration = "30d",
) -> None:
    """
    Promise a share of requests that are answered, or answered in time, and be told when that is in danger.

    Alerts tell how fast what may fail, the budget, is used up: critical at 14.4 times the pace that it lasts for over
    an hour, and at 6 times over six; a warning at 3 times over a day, and at that pace over three. Each needs 5 bad
    requests. Replies of 500 and above are bad; a client that leaves is not.

    Args:
        name: Of letters, digits, `_` and `-`, such as `"checkout"`.
        availability: The share of requests that must not fail, from 0.5 to below 1, such as 0.999.
        latency_seconds: Seconds within which requests must be answered, one of the bounds of `http_buckets`.
        latency_share: The share of requests that must be, from 0.5 to below 1, such as 0.99.
        endpoints: Routes that are meant, such as `["/checkout"]`. Default: all.
        window: Over how long, from `"7d"` to `"31d"`.

    Raises:
        ObjectiveError: Nothing is promised, a share or window is out of range, or the name is another one's.
        SignalError: `latency_seconds` is no bound.
    """
    if not isinstance(name, str) or not _is_name(name):
        raise ObjectiveError(f"objective({name!r}): expected a name of letters, digits, _ and -, such as 'checkout'")
    routes = _routes(name, endpoints)
    made = Objective(name, tuple(_indicators(name, availability, latency_seconds, latency_share, routes)), 0.0)
    if not made.indicators:
        raise ObjectiveError(
            f"objective({name!r}) promises nothing: give availability=, or latency_seconds= and latency_share="
        )
    made = Objective(name, made.indicators, _window_seconds(name, window))
    if declared.setdefault(name, made) != made:
        raise ObjectiveError(
            f"objective({name!r}) is declared already, and promises something else; choose another name"
        )


def _indicators(
    name: str,
    availability: float | None,
    latency_seconds: float | None,
    latency_share: float | None,
    endpoints: tuple[str, ...],
) -> Iterator[Indicator]:
    if availability is not None:
        yield Indicator(name, "availability", _share(name, "availability", availability), None, endpoints)
    if (latency_seconds is None) != (latency_share is None):
        raise ObjectiveError(f"objective({name!r}): latency_seconds= and latency_share= go together")
    if latency_seconds is not None:
        if isinstance(latency_seconds, bool) or not isinstance(latency_seconds, int | float):
            raise ObjectiveError(f"objective({name!r}): latency_seconds={latency_seconds!r} is no number of seconds")
        share, bound = _share(name, "latency_share", latency_share), float(latency_seconds)
        Selection(http.DURATION, "_bucket").check_bound(bound, page_in_force())
        yield Indicator(name, "latency", share, bound, endpoints)


def _share(name: str, argument: str, given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0.5 <= given < 1:
        raise ObjectiveError(
            f"objective({name!r}): {argument}={given!r}: expected a share from 0.5 to below 1, such as 0.999"
        )
    return float(given)


def _routes(name: str, endpoints: object) -> tuple[str, ...]:
    if isinstance(endpoints, str) or not isinstance(endpoints, Iterable):
        raise ObjectiveError(f"objective({name!r}): endpoints={endpoints!r}: expected a list, such as ['/checkout']")
    return tuple(sorted(set(map(str, endpoints))))


def _window_seconds(name: str, window: object) -> float:
    seconds = seconds_of(window, "window")
    if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        raise ObjectiveError(f"objective({name!r}): window={window!r}: expected from '7d' to '31d'")
    return seconds
