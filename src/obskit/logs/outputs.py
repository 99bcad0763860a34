"""
Write lines to more than one place, each in its own form: what is wrong with one place is no matter of the others.

What the places are, and which lines they take, is decided when the writer is made. A line's body is made, and its
secrets are hidden, once; it is rendered once for each form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from obskit.logs.output_forms import Body, Form, Make
from obskit.logs.stream import Target

Failed = Callable[[Exception], None]


class Output(NamedTuple):
    """
    Be one output beside the first.

    Attributes:
        form: Of its lines.
        target: Where they go.
        level: Lines below it are not among them, by logging's numbers.
    """

    form: Form
    target: Target
    level: int


class _Line(bytes):
    """
    Be the first output's line, and have those of the others.
    """

    first: bytes
    others: Sequence[bytes | None]


class Also:
    """
    Put a line into a second place as well; that costs the first nothing.
    """

    def __init__(self, target: Target, second: Target, failed: Failed) -> None:
        self._target, self._second, self._failed = target, second, failed
        self.rest, self.flush, self.close, self.notice = target.rest, target.flush, target.close, target.notice

    def put(self, line: bytes) -> int | None:
        """
        Write the line to both places, and say how much of it the first has taken.
        """
        try:
            return self._target.put(line)
        finally:
            _write(self._second, line, self._failed)

    def write(self, line: bytes) -> None:
        """
        Write one line.
        """
        taken = self.put(line)
        if taken != len(line):
            self.rest(line, taken)

    def at(self, level: int) -> Target:
        """
        Give what takes lines of this level: this one, which was made for one.
        """
        return self


class _All(Also):
    """
    Put what `together()` makes into all its places, first the first.
    """

    def __init__(self, target: Target, others: Sequence[Target], failed: Failed) -> None:
        super().__init__(target, target, failed)
        self._others = others

    def put(self, line: bytes) -> int | None:
        assert isinstance(line, _Line)
        try:
            return self._target.put(line.first)
        finally:
            for target, other in zip(self._others, line.others, strict=True):
                if other is not None:
                    _write(target, other, self._failed)


def _write(target: Target, line: bytes, failed: Failed) -> None:
    try:
        target.write(line)
    except Exception as error:
        failed(error)


def together(
    form: Form, target: Target, others: Sequence[Output], level: int, shared: Body, failed: Failed
) -> tuple[Make, Target]:
    """
    Give what makes the lines of one logger and level in all their forms, and what puts them out.

    Args:
        form: The first output's.
        target: The first output's place.
        others: The other outputs that take this level.
        level: By logging's numbers.
        shared: The fields that these lines share.
        failed: Counts a line that an output has not got.
    """
    makes = {each.key: each.maker(shared) for each in (form, *(other.form for other in others))}
    keys = [other.form.key for other in others]
    first = makes.pop(form.key)

    def make(now: float, body: Body) -> bytes:
        own = first(now, body)
        lines: dict[object, bytes | None] = {form.key: own, **_made(makes, now, body, failed)}
        line = _Line(own)
        line.first, line.others = own, [lines[key] for key in keys]
        return line

    return make, _All(target, [other.target.at(level) for other in others], failed)


def _made(makes: Mapping[tuple[str, str], Make], now: float, body: Body, failed: Failed) -> dict[object, bytes | None]:
    lines: dict[object, bytes | None] = {}
    for key, make in makes.items():
        try:
            lines[key] = make(now, body)
        except Exception as error:
            lines[key] = None
            failed(error)
    return lines
