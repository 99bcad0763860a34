"""
Signals made of two others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from obskit.errors import SignalError
from obskit.signals.page import Page
from obskit.signals.samples import Samples
from obskit.signals.selection import Values
from obskit.signals.signal import Signal, enclosed
from obskit.signals.windows import Span


@dataclass(frozen=True, eq=False)
class Ratio(Signal):
    """
    A part of a whole. Without a whole, or of none, there is no value.

    Attributes:
        part: Of which a missing one is 0, unless `needs_part`.
        whole: Above 0.
        of_unit: The unit of the quotient.
        needs_part: Whether a missing part means that nothing is known.
        failing: What `at_least(failures=...)` counts.
    """

    part: Signal
    whole: Signal
    of_unit: str
    needs_part: bool = False
    failing: Signal | None = None

    @property
    def unit(self) -> str:
        """
        Return the unit of the quotient.
        """
        return self.of_unit

    @property
    def labels(self) -> tuple[str, ...]:
        """
        Return the labels of both.
        """
        return self.whole.labels

    def spans(self) -> Iterator[Span]:
        """
        Yield the windows of both.
        """
        yield from self.whole.spans()
        yield from self.part.spans()

    def requests(self) -> Signal | None:
        """
        Return the observations of the whole.
        """
        return self.whole.requests()

    def failures(self) -> Signal | None:
        """
        Return what is counted as failed.
        """
        return self.failing

    def shifted(self, window: float, offset: float) -> Ratio:
        """
        Return the ratio over another window.
        """
        return replace(
            self, part=self.part.shifted(window, offset), whole=self.whole.shifted(window, offset), failing=None
        )

    def render(self, page: Page) -> str:
        """
        Render the quotient.

        Raises:
            SignalError: The page has other names for the labels of the part than for those of the whole.
        """
        names = self.part.label_names(page), self.whole.label_names(page)
        if names[0] != names[1]:
            raise SignalError(
                f"metric_labels calls the labels of the two metrics of this ratio {', '.join(names[0].values())} and "
                f"{', '.join(names[1].values())}: Prometheus cannot divide one by the other; rename both alike"
            )
        part, whole = enclosed(self.part.render(page)), enclosed(self.whole.render(page))
        return f"{part if self.needs_part else f'({part} or {whole} * 0)'} / ({whole} > 0)"

    def values(self, samples: Samples, at: float) -> Values:
        """
        Divide where the whole is above 0.
        """
        part, wholes = self.part.values(samples, at), self.whole.values(samples, at)
        return {
            key: part.get(key, 0.0) / whole
            for key, whole in wholes.items()
            if whole > 0 and (key in part or not self.needs_part)
        }


@dataclass(frozen=True, eq=False)
class Difference(Signal):
    """
    What is left of a whole without a part.
    """

    whole: Signal
    part: Signal

    @property
    def unit(self) -> str:
        """
        Return the unit of both.
        """
        return self.whole.unit

    @property
    def labels(self) -> tuple[str, ...]:
        """
        Return the labels of both.
        """
        return self.whole.labels

    def spans(self) -> Iterator[Span]:
        """
        Yield the windows of both.
        """
        yield from self.whole.spans()

    def render(self, page: Page) -> str:
        """
        Render the difference.
        """
        whole = enclosed(self.whole.render(page))
        return f"{whole} - ({enclosed(self.part.render(page))} or {whole} * 0)"

    def values(self, samples: Samples, at: float) -> Values:
        """
        Subtract.
        """
        part = self.part.values(samples, at)
        return {key: whole - part.get(key, 0.0) for key, whole in self.whole.values(samples, at).items()}
