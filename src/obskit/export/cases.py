"""
What rules are tried with: a scene, and at which moments which alerts are pending or firing.

What is expected is judged here, by the same definition, and only where it holds for a scrape more or less as well: so
the tests say the same of each version of Prometheus.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import accumulate, pairwise
from typing import Any, TypeAlias

from obskit.catalogue import Metric
from obskit.export.scenes import NEAR_ABOVE, NEAR_BELOW, Play, Scene, SeriesKey, bare, label_sets, leaves
from obskit.rules.hours_promql import as_rendered
from obskit.rules.rule import Outside, Rule
from obskit.rules.states import AlertStates
from obskit.signals.counted import First, Rise
from obskit.signals.derived import Ratio
from obskit.signals.gauged import Age, Growth
from obskit.signals.matching import Matcher
from obskit.signals.page import Page
from obskit.signals.samples import LabelPairs
from obskit.signals.signal import Against, AtLeast, Condition, Signal
from obskit.signals.units import SHARE
from obskit.signals.windows import Span

EVALUATION_SECONDS = 60.0
# Prometheus forgets a sample after five minutes; long windows are tried with samples this far apart at most.
_MOST_SECONDS_APART = 240.0
# promtool takes 10,000 of a series.
_MOST_SAMPLES = 8000
_LONG_SECONDS, _VERY_LONG_SECONDS = 3600.0, 12 * 3600.0

# By label set, `pending` or `firing`.
States: TypeAlias = Mapping[LabelPairs, str]
UP = SeriesKey(Metric("up", "gauge", "Whether the target answers.", prefixed=False), "", ())


@dataclass(frozen=True)
class Case:
    """
    One history, and what a rule says of it.

    Attributes:
        title: What happens.
        scene: The figures.
        checks: Seconds, and the alerts that there are then, by label set.
        evaluation_seconds: How often it is judged.
    """

    title: str
    scene: Scene
    checks: tuple[tuple[float, States], ...]
    evaluation_seconds: float = EVALUATION_SECONDS


def cases_of(rule: Rule, page: Page) -> list[Case]:
    """
    Return the histories that a rule is tried with: one in which it fires and ends, and one for each floor.
    """
    if isinstance(rule.condition, Outside):
        return [_of_target(rule, rule.condition, page)]
    return _Trial(rule, rule.condition, page).cases()


def _of_target(rule: Rule, outside: Outside, page: Page) -> Case:
    """
    Return what only Prometheus sees: that the target is down, and that it is there again.
    """
    held = math.ceil(rule.for_seconds / EVALUATION_SECONDS)
    scene = Scene((5, held + 3, 5), EVALUATION_SECONDS)
    scene.add_gauge(UP, [1.0, 0.0, 1.0])
    if "{up}" not in outside.text:
        return Case("is always there", scene, ((0.0, {(): "firing"}), (scene.seconds, {(): "firing"})))
    start, end = (count * EVALUATION_SECONDS for count in (5, held + 8))
    states = [(start - EVALUATION_SECONDS, ""), (start, "pending" if held else "firing")]
    if held:
        states.append((start + (held - 1) * EVALUATION_SECONDS, "pending"))
    states += [(start + held * EVALUATION_SECONDS, "firing"), (end - EVALUATION_SECONDS, "firing"), (end, "")]
    return Case("goes and comes", scene, tuple((at, {(): state} if state else {}) for at, state in states))


class _Trial:
    """
    One rule, and the scenes for it.
    """

    def __init__(self, rule: Rule, condition: Condition, page: Page) -> None:
        self._rule, self._condition, self._page = rule, condition, page
        self._signal, self._sign, threshold = condition.compared
        self._bare = bare(self._signal)
        self._floor = _floor_of(self._signal)
        self._quiet, self._loud = _near(self._bare, self._sign, threshold)
        spans = list(self._signal.spans()) or [Span(0.0)]
        if isinstance(self._bare, First):
            spans = [self._bare.span]
        self._window, self._reach = min(span.window for span in spans), max(span.start for span in spans)
        longest = max(span.window for span in spans)
        self._evaluation = EVALUATION_SECONDS if longest <= _VERY_LONG_SECONDS else longest / 120
        self._evaluation = rule.every_seconds or self._evaluation
        self._hours = as_rendered(rule.hours) if rule.hours else None
        self._every = _seconds_apart(longest, page)

    def cases(self) -> list[Case]:
        """
        Return all.
        """
        found = [self._comes_and_goes("comes and goes", self._volume(), self._wait())]
        if self._wait():
            found.append(self._comes_and_goes("comes outside of its hours", self._volume()))
        if self._rule.no_data == "keep":
            found.append(self._comes_and_goes("is not known any more", self._volume(), self._wait(), goes=True))
        return [*found, *self._thin()]

    def _wait(self) -> float:
        """
        Return how much later it must hold to do so within hours; 0 where they are on then, or far away.
        """
        if self._hours is None:
            return 0.0
        begins = sum(self._counts()[:2]) * self._every
        wait = self._hours.next_opening(begins) - begins
        return wait if wait <= _MOST_SAMPLES * self._every else 0.0

    def _comes_and_goes(self, title: str, volume: float, wait: float = 0.0, goes: bool = False) -> Case:
        quiet, loud, signal = self._quiet, self._loud, self._signal
        wanted = [1.0 if isinstance(self._bare, Against) else quiet, quiet, loud, quiet]
        silent = [wanted[0], quiet, quiet, quiet]
        if isinstance(self._bare, First):
            wanted, silent = [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]
        lead, *others = self._counts()
        scene = Scene((lead + math.ceil(wait / self._every), *others), self._every)
        play = Play(scene, self._page, volume)
        one, other = label_sets(signal, lambda label: _matchers(signal, label))
        play.play(signal, wanted, one)
        if other != one:
            play.play(signal, silent, other)
        if goes:
            scene.series = {key: [*pieces[:-1], None] for key, pieces in scene.series.items()}
        return self._case(title, scene)

    def _thin(self) -> Iterator[Case]:
        floor, of = self._floor, self._bare
        if floor is None:
            return
        if isinstance(of, Against):
            yield self._comes_and_goes("too few to judge", floor.fewest_requests * 0.7 / self._loud)
        if not isinstance(of, Ratio):
            return
        worst = self._loud * 2 if of.unit != SHARE else 0.0 if self._sign.startswith("<") else 1.0
        if floor.fewest_requests:
            yield self._silent("too few to judge", worst, floor.fewest_requests * 0.7)
        if floor.fewest_failures:
            volume = floor.fewest_failures * 0.8 / abs(self._loud - _is_bound(of))
            if volume > floor.fewest_requests * 1.1:
                yield self._silent("too few failures to judge", self._loud, volume)

    def _silent(self, title: str, wanted: float, volume: float) -> Case:
        seconds = self._reach * 1.2 + self._rule.for_seconds + 3 * self._evaluation
        scene = Scene((math.ceil(seconds / self._every),), self._every)
        one, _ = label_sets(self._signal, lambda label: _matchers(self._signal, label))
        Play(scene, self._page, volume).play(self._signal, [wanted], one)
        return self._case(title, scene)

    def _volume(self) -> float:
        """
        Return how many there are in a window, so that no floor silences anything.
        """
        if self._floor is None:
            return 100.0
        least = self._floor.fewest_requests * 4.0
        if self._floor.fewest_failures and isinstance(self._bare, Ratio):
            rarest = min(abs(value - _is_bound(self._bare)) for value in (self._quiet, self._loud))
            least = max(least, self._floor.fewest_failures * 2.0 / rarest)
        return max(least, 100.0)

    def _counts(self) -> tuple[int, ...]:
        """
        Return how many samples there are before anything is judged, until it settled, while it holds, and afterwards.
        """
        of, window, pause = self._bare, self._window, 4 * self._evaluation
        lead = max(self._reach * 1.15, self._loud) if isinstance(of, Age) else self._reach * 1.15
        settled = window * 1.1 if isinstance(of, Against) else 0.0
        over = window * (0.2 if isinstance(of, First) else 0.6) + self._rule.for_seconds
        after = 0.0 if self._reach > _LONG_SECONDS else self._reach * 1.1 + self._rule.keep_firing_seconds
        return tuple(math.ceil((seconds + pause) / self._every) for seconds in (lead, settled, over, after))

    def _case(self, title: str, scene: Scene) -> Case:
        return Case(title, scene, tuple(self._moments(scene)), self._evaluation)

    def _moments(self, scene: Scene) -> Iterator[tuple[float, States]]:
        """
        Yield the moments just before and just after each change, and the middle and the end of each stretch.
        """
        samples, rule = scene.samples(), self._rule
        judges = [
            AlertStates(
                _asked(self._condition, longer),
                rule.for_seconds,
                rule.keep_firing_seconds,
                self._hours,
                keeps=rule.no_data == "keep",
            )
            for longer in (0.0, scene.every_seconds, -scene.every_seconds)
        ]
        sure: list[tuple[float, States]] = []
        for step in range(int(scene.seconds // self._evaluation) + 1):
            at = step * self._evaluation
            told = [{key: it.state for key, it in judge.evaluate(samples, at).items()} for judge in judges]
            if all(it == told[0] for it in told):
                sure.append((at, told[0]))
        kept = {at: states for pair in pairwise(sure) if pair[0][1] != pair[1][1] for at, states in pair}
        ends = [0.0, *(end * scene.every_seconds for end in accumulate(scene.counts))]
        looked = [*ends, *((start + end) / 2 for start, end in pairwise(ends))]
        last = {at: states for end in looked for at, states in [it for it in sure if it[0] < end][-1:]}
        yield from sorted({**kept, **last}.items())


def _floor_of(signal: Signal) -> AtLeast | None:
    if isinstance(signal, Against):
        signal = signal.now
    return signal if isinstance(signal, AtLeast) else None


def _near(of: Signal, sign: str, threshold: float) -> tuple[float, float]:
    """
    Return a value at which the comparison just does not hold, and one at which it just does.
    """
    size = abs(threshold) or 1.0
    if isinstance(of, Ratio) and isinstance(of.whole, Rise) and of.unit == SHARE and threshold < 1:
        size = min(size, 1 - threshold)  # it is 1 at most
    below, above = threshold - size * NEAR_BELOW, threshold + size * NEAR_ABOVE
    if threshold == 0 and not isinstance(of, Age):
        below = 0.0
    return (below, above) if sign.startswith(">") else (above, below)


def _is_bound(ratio: Ratio) -> bool:
    """
    Return whether the ratio is the share within a bound, so that what is not in it has failed.
    """
    return isinstance(ratio.part, Rise) and ratio.part.selection.bound is not None


def _seconds_apart(longest: float, page: Page) -> float:
    if longest <= 900:
        return page.scrape_seconds
    if longest > _VERY_LONG_SECONDS:  # promtool takes 10,000 samples; each moment that is looked at has one
        return longest / 960
    return min(_MOST_SECONDS_APART, math.ceil(longest / 60 / 15) * 15.0)


def _asked(condition: Condition, longer: float) -> Condition:
    """
    Return the condition with windows that are longer by so many seconds; what grows with a window is compared with
    more.
    """
    signal, sign, threshold = condition.compared
    of = bare(signal)
    if isinstance(of, Growth) or (isinstance(of, Rise) and not of.per_second):
        threshold *= (of.span.window + longer) / of.span.window
    return type(condition)(_stretched(signal, longer), sign, threshold)


def _stretched(asked: Any, longer: float) -> Any:
    """
    Return a signal with every window longer by so many seconds.
    """
    if isinstance(asked, Span):
        return replace(asked, window=max(asked.window + longer, 1.0)) if longer and asked.window else asked
    if is_dataclass(asked) and not isinstance(asked, type):
        inside = {it.name: getattr(asked, it.name) for it in fields(asked)}
        other = {name: _stretched(value, longer) for name, value in inside.items()}
        return replace(asked, **other) if any(other[name] is not inside[name] for name in inside) else asked
    return asked


def _matchers(signal: Signal, label: str) -> Sequence[Matcher]:
    return [matcher for leaf in leaves(signal) for name, matcher in leaf.selection.where if name == label]
