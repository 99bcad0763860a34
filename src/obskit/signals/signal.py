"""
What all signals have in common, and the conditions that comparisons with them make.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NoReturn

from obskit.errors import SignalError
from obskit.signals.page import Page, page_in_force
from obskit.signals.samples import Samples
from obskit.signals.selection import Grouping, Values
from obskit.signals.units import TIMES, threshold_in
from obskit.signals.windows import Duration, Span, window_seconds

HOLDS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


class Signal(ABC):
    """
    A figure that is computed from metrics, by label set. Two that ask the same are equal.

    Comparing one with a threshold, a number in its unit or text such as `"500ms"` or `"5%"`, makes a condition.

    Each kind says its windows in `spans()`, and gives PromQL in `render()` and figures in `values()`, both without the
    guards of long windows.

    Attributes:
        unit: The unit of its values.
        labels: The labels that its values are told apart by, sorted.
        fails_by_bound: Whether what counts as a failure is known with the threshold.
    """

    fails_by_bound: ClassVar[bool] = False

    @property
    @abstractmethod
    def unit(self) -> str: ...

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]: ...

    @abstractmethod
    def spans(self) -> Iterator[Span]: ...

    @abstractmethod
    def render(self, page: Page) -> str: ...

    @abstractmethod
    def values(self, samples: Samples, at: float) -> Values: ...

    def label_names(self, page: Page) -> dict[str, str]:
        """
        Return the names of its labels on the page, by the catalogue's.
        """
        grouping = _grouping_of(self)
        return grouping.label_names(page) if grouping else {}

    @property
    def keeps_instance(self) -> bool:
        """
        Return whether to Prometheus each instance of the service has a value of its own.
        """
        grouping = _grouping_of(self)
        return grouping is not None and grouping.keeps_instance

    def requests(self) -> Signal | None:
        """
        Return how many observations it is made of; None where that means nothing.
        """
        return None

    def failures(self) -> Signal | None:
        """
        Return how many of them are what it is about; None where that means nothing.
        """
        return None

    def shifted(self, window: float, offset: float) -> Signal:
        """
        Return the same over another window.
        """
        raise SignalError(f"{type(self).__name__.lower()}() has no window to compare with another")

    def averaged(self) -> Signal:
        """
        Return what of it can be compared over windows of different length.
        """
        return self

    def judged(self, sign: str, threshold: float) -> tuple[Signal, str, float]:
        """
        Return what is compared, how, and with what, where `self sign threshold` is asked.
        """
        return self, sign, threshold

    def promql(self, page: Page | None = None) -> str:
        """
        Render it for Prometheus.

        Args:
            page: Names and bounds; those of the active runtime by default.
        """
        page = page or page_in_force()
        return _guarded(self, self.render(page), page)

    def evaluate(self, samples: Samples, at: float | None = None) -> Values:
        """
        Compute it.

        Args:
            samples: Figures over time.
            at: The moment, in seconds as the samples have them; by default that of the latest sampling.

        Returns:
            The values by label set; no entry means no data.
        """
        at = samples.latest() if at is None else at
        if not all(span.is_covered(samples, at) for span in self.spans() if span.is_guarded):
            return {}
        return self.values(samples, at)

    def against(self, window: Duration) -> Signal:
        """
        Compare it with itself over the window that ended where its own began: 2 is twice as much.

        Args:
            window: A duration such as `"1h"`.
        """
        own = next(self.spans(), None)
        if own is None:
            self.shifted(0.0, 0.0)
            raise SignalError("this signal has no window to compare with another")
        now = self.averaged()
        return Against(now, now.shifted(window_seconds(window, "against"), own.start))

    def at_least(self, requests: int = 0, failures: int = 0) -> Signal:
        """
        Silence it where there is too little to judge.

        Args:
            requests: How many observations there must be in its window.
            failures: How many of them must be what it is about, such as those over a threshold.
        """
        for name, number in (("requests", requests), ("failures", failures)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 0:
                raise SignalError(f"at_least({name}={number!r}): expected a whole number from 0")
        if requests and self.requests() is None:
            raise SignalError("at_least(requests=...): this signal is not made of observations that can be counted")
        return AtLeast(self, requests, failures)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Signal):
            return type(self) is type(other) and _asked(self) == _asked(other)
        if isinstance(other, int | float | str):
            raise SignalError(f"a signal == {other!r} is no condition: values are measured; write <, <=, > or >=")
        return NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), *_asked(self)))

    def __gt__(self, threshold: float | str) -> Condition:
        return self._compared(">", threshold)

    def __ge__(self, threshold: float | str) -> Condition:
        return self._compared(">=", threshold)

    def __lt__(self, threshold: float | str) -> Condition:
        return self._compared("<", threshold)

    def __le__(self, threshold: float | str) -> Condition:
        return self._compared("<=", threshold)

    def _compared(self, sign: str, threshold: float | str) -> Condition:
        condition = Condition(self, sign, threshold_in(self.unit, threshold))
        self.judged(sign, condition.threshold)  # what cannot be judged is an error now
        return condition


@dataclass(frozen=True)
class Condition:
    """
    A signal compared with a threshold in its unit: it holds for some label sets, or for none.

    Attributes:
        signal: What is compared.
        sign: `>`, `>=`, `<` or `<=`.
        threshold: In the signal's unit.
    """

    signal: Signal
    sign: str
    threshold: float

    @cached_property
    def compared(self) -> tuple[Signal, str, float]:
        """
        Return what is really compared, and with what: a share for a quantile, a half more for a count.
        """
        return self.signal.judged(self.sign, self.threshold)

    def promql(self, page: Page | None = None) -> str:
        """
        Render it for Prometheus: label sets for which it does not hold are left out.
        """
        page = page or page_in_force()
        signal, sign, threshold = self.compared
        return _guarded(signal, f"{enclosed(signal.render(page))} {sign} {number_text(threshold)}", page)

    def evaluate(self, samples: Samples, at: float | None = None) -> Values:
        """
        Return the signal's values for the label sets for which it holds.
        """
        at = samples.latest() if at is None else at
        signal, sign, threshold = self.compared
        holding = {key: value for key, value in signal.evaluate(samples, at).items() if HOLDS[sign](value, threshold)}
        shown = self.signal.evaluate(samples, at) if holding and signal is not self.signal else holding
        return {key: shown.get(key, value) for key, value in holding.items()}

    def at_least(self, requests: int = 0, failures: int = 0) -> Condition:
        """
        Silence it where there is too little to judge, as `Signal.at_least()` does.
        """
        return Condition(self.signal.at_least(requests, failures), self.sign, self.threshold)

    def __bool__(self) -> NoReturn:
        raise SignalError(
            "a condition is neither true nor false before it is evaluated: write two conditions instead of a chain, "
            "and ask condition.evaluate(samples)"
        )


@dataclass(frozen=True)
class ConditionOrNoData(Condition):
    """
    A condition that holds as well where nothing is known of any label set, though the service was sampled.
    """

    def promql(self, page: Page | None = None) -> str:
        """
        Render it; the value is 0 where there is none.
        """
        page = page or page_in_force()
        there = f"0 * count by (job) ({page.heartbeat()})"
        absent = f"{there} unless on (job) {enclosed(self.signal.render(page))}"
        return f"{enclosed(super().promql(page))} or {enclosed(_guarded(self.signal, enclosed(absent), page))}"

    def evaluate(self, samples: Samples, at: float | None = None) -> Values:
        """
        Return what the condition does, or 0 where there is no value of any label set.
        """
        at = samples.latest() if at is None else at
        covered = all(span.is_covered(samples, at) for span in self.signal.spans() if span.is_guarded)
        if covered and samples.was_sampled(at) and not self.signal.values(samples, at):
            return {(): 0.0}
        return super().evaluate(samples, at)


@dataclass(frozen=True, eq=False)
class Against(Signal):
    """
    A signal divided by itself over an earlier window.
    """

    now: Signal
    earlier: Signal

    @property
    def unit(self) -> str:
        """
        Return `times`.
        """
        return TIMES

    @property
    def labels(self) -> tuple[str, ...]:
        """
        Return the labels of the signal.
        """
        return self.now.labels

    def spans(self) -> Iterator[Span]:
        """
        Yield both windows.
        """
        yield from self.now.spans()
        yield from self.earlier.spans()

    def requests(self) -> Signal | None:
        """
        Return the observations of the later window.
        """
        return self.now.requests()

    def render(self, page: Page) -> str:
        """
        Render the quotient.
        """
        return f"{enclosed(self.now.render(page))} / ({enclosed(self.earlier.render(page))} > 0)"

    def values(self, samples: Samples, at: float) -> Values:
        """
        Divide where there was something before.
        """
        earlier = self.earlier.values(samples, at)
        return {
            key: value / earlier[key]
            for key, value in self.now.values(samples, at).items()
            if earlier.get(key, 0.0) > 0
        }


@dataclass(frozen=True, eq=False)
class AtLeast(Signal):
    """
    A signal where there is enough to judge.
    """

    signal: Signal
    fewest_requests: int
    fewest_failures: int

    def __post_init__(self) -> None:
        if self.fewest_failures and self.signal.failures() is None and not self.signal.fails_by_bound:
            raise SignalError("at_least(failures=...): this signal has no failures among what it counts")

    @property
    def unit(self) -> str:
        """
        Return the unit of the signal.
        """
        return self.signal.unit

    @property
    def labels(self) -> tuple[str, ...]:
        """
        Return the labels of the signal.
        """
        return self.signal.labels

    def spans(self) -> Iterator[Span]:
        """
        Yield the windows of the signal.
        """
        yield from self.signal.spans()

    def requests(self) -> Signal | None:
        """
        Return the observations of the signal.
        """
        return self.signal.requests()

    def failures(self) -> Signal | None:
        """
        Return the failures of the signal.
        """
        return self.signal.failures()

    def shifted(self, window: float, offset: float) -> Signal:
        """
        Return the signal over another window, where little counts as well.
        """
        return self.signal.shifted(window, offset)

    def averaged(self) -> Signal:
        """
        Return the signal's, silenced in the same way.
        """
        return AtLeast(self.signal.averaged(), self.fewest_requests, self.fewest_failures)

    def judged(self, sign: str, threshold: float) -> tuple[Signal, str, float]:
        """
        Return what the signal compares, silenced in the same way.
        """
        signal, sign, threshold = self.signal.judged(sign, threshold)
        return AtLeast(signal, self.fewest_requests, self.fewest_failures), sign, threshold

    def render(self, page: Page) -> str:
        """
        Render the signal with its floors.
        """
        floors = "".join(f" and {enclosed(it.render(page))} > {number_text(least)}" for it, least in self._floors())
        return enclosed(self.signal.render(page)) + floors

    def values(self, samples: Samples, at: float) -> Values:
        """
        Leave out what is below a floor.
        """
        found = self.signal.values(samples, at)
        for counted, least in self._floors():
            enough = counted.values(samples, at)
            found = {key: value for key, value in found.items() if enough.get(key, 0.0) > least}
        return found

    def _floors(self) -> Iterator[tuple[Signal, float]]:
        for counted, fewest in ((self.requests(), self.fewest_requests), (self.failures(), self.fewest_failures)):
            if counted is not None and fewest:
                yield counted, fewest - 0.5


def number_text(number: float) -> str:
    """
    Render a number for PromQL.
    """
    return f"{number:.15g}"


def enclosed(expression: str) -> str:
    """
    Return an expression in brackets.
    """
    return f"({expression})"


def _grouping_of(signal: Signal) -> Grouping | None:
    for part in _asked(signal):
        found = part if isinstance(part, Grouping) else _grouping_of(part) if isinstance(part, Signal) else None
        if found:
            return found
    return None


def _asked(signal: Signal) -> tuple[object, ...]:
    return tuple(vars(signal).values())


def _guarded(signal: Signal, expression: str, page: Page) -> str:
    guards = [span.guard(page) for span in dict.fromkeys(signal.spans()) if span.is_guarded]
    return " and ".join([enclosed(expression), *guards]) if guards else expression
