"""
Objectives as Prometheus reads them: what is recorded, what is told of, and tests of both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate

from obskit.catalogue import Metric, http
from obskit.export.cases import EVALUATION_SECONDS, Case, States
from obskit.export.rule_files import FOLDER, commented
from obskit.export.rule_tests import document_of_tests, input_series
from obskit.export.scenes import NEAR_ABOVE, NEAR_BELOW, Play, Scene, SeriesKey
from obskit.export.yaml_text import Value
from obskit.rules.burn_rates import FEWEST_FAILURES, FOR_SECONDS, WINDOWS_SECONDS, Pace, window_text
from obskit.rules.indicators import ALL, BAD, BUDGET_LEFT, BURN_RATE, EVERY_SECONDS, WINDOW_SECONDS, Indicator
from obskit.rules.objectives import Objective
from obskit.rules.recordings import recordings
from obskit.signals.page import Page
from obskit.signals.selection import Selection
from obskit.signals.signal import number_text
from obskit.time.durations import duration_text

FILE = "objectives_recorded"
_LABELS = ("kind", "objective", "window")
_RECORDED = {
    name: Metric(name, "gauge", "What is recorded of an objective.", labels, prefixed=False)
    for name, labels in ((BURN_RATE, _LABELS), (BAD, _LABELS[:2]), (ALL, _LABELS[:2]))
}
# How fast the budget is used up where recorded figures are tried, and for how long.
_TRIED_TIMES, _TRIED_SECONDS = 20.0, 4500.0


def recorded_files(objectives: Iterable[Objective], page: Page) -> dict[str, str]:
    """
    Return the file of what is recorded and its tests, by path; none without objectives.
    """
    kept = [it.on(page) for it in objectives]
    rules: list[Value] = [
        {"record": it.name, "expr": it.expression, "labels": it.labels}
        for each in kept
        for it in recordings(each, page)
    ]
    if not rules:
        return {}
    group: Value = {"name": f"{page.service} {FILE}", "interval": duration_text(EVERY_SECONDS), "rules": rules}
    tests = [_recorded_test(it, each, page) for each in kept for it in each.indicators]
    return {
        f"{FOLDER}/{FILE}.rules.yml": commented({"groups": [group]}),
        f"{FOLDER}/{FILE}.test.yml": commented(document_of_tests(f"{FILE}.rules.yml", tests, EVALUATION_SECONDS)),
    }


def _recorded_test(indicator: Indicator, objective: Objective, page: Page) -> Value:
    """
    Return a test that the recorded rates are near what they should be: versions of Prometheus differ by a little.
    """
    scene = Scene((int(_TRIED_SECONDS / page.scrape_seconds),), page.scrape_seconds)
    bad = min(_TRIED_TIMES * indicator.budget, 0.5)
    for endpoint in indicator.endpoints or ("/orders",):
        _served(scene, page, indicator, endpoint, bad)
    if indicator.endpoints:
        _served(scene, page, indicator, "/of-others", 0.5)
    times = bad / indicator.budget
    left = 1 - times
    at = duration_text(scene.seconds // EVALUATION_SECONDS * EVALUATION_SECONDS)
    seen = [seconds for seconds in WINDOWS_SECONDS if seconds <= scene.seconds]
    unseen = "|".join(window_text(seconds) for seconds in WINDOWS_SECONDS if seconds * 0.9 > scene.seconds)
    checks = [(indicator.recorded(BURN_RATE, page, f'window="{window_text(seconds)}"'), times, 1) for seconds in seen]
    checks.append((indicator.recorded(BURN_RATE, page, f'window=~"{unseen}"'), times, 0))
    window = window_text(objective.window_seconds)
    checks.append((indicator.recorded(BUDGET_LEFT, page, f'window="{window}"'), left, 1))
    return {
        "name": f"{objective.name}, {indicator.kind}: {number_text(times)} times the pace is recorded",
        "interval": duration_text(scene.every_seconds),
        "input_series": input_series(scene, page),
        "promql_expr_test": [
            {
                "expr": f"count(abs({selector} - ({number_text(value)})) < {number_text(abs(value) * 0.1 + 0.01)})",
                "eval_time": at,
                "exp_samples": [{"labels": "{}", "value": 1}] if count else [],
            }
            for selector, value, count in checks
        ],
    }


def _served(scene: Scene, page: Page, indicator: Indicator, endpoint: str, bad: float) -> None:
    """
    Add the requests of one endpoint.
    """
    labels = {"endpoint": endpoint, "method": "GET"}
    play = Play(scene, page, 1000.0)
    if indicator.bound is not None:
        within = Selection(http.DURATION, "_bucket", bound=indicator.bound)
        play.within(within, WINDOW_SECONDS, [1.0 - bad], labels)
        play.grow(play.key(Selection(http.DURATION, "_count"), labels), [1000.0], WINDOW_SECONDS)
        return
    for status, share in (("200", 1.0 - bad - 0.1), ("499", 0.1), ("503", bad)):
        play.grow(play.key(Selection(http.REQUESTS), {**labels, "status": status}), [1000.0 * share], WINDOW_SECONDS)


def burn_cases(indicator: Indicator, pace: Pace) -> tuple[Case, ...]:
    """
    Return what an alert of an objective is tried with: both windows count, and so does how much was bad.
    """
    return _burnt(indicator, pace), _barely(indicator, pace)


_MINUTES = (10, 10, 8, 6)


def _burnt(indicator: Indicator, pace: Pace) -> Case:
    quiet, loud = pace.times * (1 - NEAR_BELOW), pace.times * (1 + NEAR_ABOVE)
    scene = Scene(_MINUTES, EVALUATION_SECONDS)
    _burn(scene, indicator, pace, [quiet, loud, loud, loud], [quiet, quiet, loud, quiet], 10.0)
    _, start, end, _ = (minutes * 60.0 for minutes in accumulate(_MINUTES))
    states: dict[float, States] = {
        start - 60: {},
        start: {(): "pending"},
        start + FOR_SECONDS - 60: {(): "pending"},
        start + FOR_SECONDS: {(): "firing"},
        end - 60: {(): "firing"},
        end: {},
    }
    return Case("both windows have burnt enough", scene, tuple(states.items()))


def _barely(indicator: Indicator, pace: Pace) -> Case:
    scene = Scene((20,), EVALUATION_SECONDS)
    a_minute = (FEWEST_FAILURES - 0.9) * WINDOW_SECONDS / EVERY_SECONDS / sum(scene.counts)
    _burn(scene, indicator, pace, [pace.times * 2], [pace.times * 2], a_minute)
    return Case("too few failures to judge", scene, ((scene.seconds, {}),))


def _burn(scene: Scene, indicator: Indicator, pace: Pace, long: list[float], short: list[float], bad: float) -> None:
    other = {"kind": indicator.kind, "objective": f"{indicator.objective}-of-others"}
    for labels, always in ((indicator.labels, None), (other, pace.times * 2)):
        for seconds, rates in ((pace.long_seconds, long), (pace.short_seconds, short)):
            found = {**labels, "window": window_text(seconds)}
            scene.add_gauge(_key(BURN_RATE, found), [always or rate for rate in rates])
        scene.add_gauge(_key(BAD, labels), [bad if always is None else 100.0 for _ in long])


def _key(name: str, labels: Mapping[str, str]) -> SeriesKey:
    return SeriesKey(_RECORDED[name], "", tuple(sorted(labels.items())))
