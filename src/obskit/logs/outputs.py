"""
Several outputs, each with a format of its own: a failure of one does not affect the others.

The outputs, and the lines that they take, are decided when the writer is made. A line's body is built and redacted
once, and rendered once for each format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from obskit.logs.line_format import Body, LineFormat, Renderer
from obskit.logs.stream import Target

OnError = Callable[[Exception], None]


class Output(NamedTuple):
    """
    An additional output.

    Attributes:
        line_format: The format of its lines.
        target: Where they are written.
        level: The lowest level of its lines, by logging's numbers.
    """

    line_format: LineFormat
    target: Target
    level: int


class _RenderedLines(bytes):
    """
    The first output's line, with those of the other outputs.
    """

    first: bytes
    others: Sequence[bytes | None]


class Tee:
    """
    A target that also writes to a second one; the first does not notice.
    """

    def __init__(self, target: Target, second: Target, failed: OnError) -> None:
        self._target, self._second, self._failed = target, second, failed
        self.write_rest, self.notice = target.write_rest, target.notice
        self.flush, self.close = target.flush, target.close

    def put(self, line: bytes) -> int | None:
        """
        Write the line to both targets, and return how many of its bytes the first took.
        """
        try:
            return self._target.put(line)
        finally:
            _write_guarded(self._second, line, self._failed)

    def write(self, line: bytes) -> None:
        taken = self.put(line)
        if taken != len(line):
            self.write_rest(line, taken)

    def for_level(self, level: int) -> Target:
        """
        Return this target: it was made for one level.
        """
        return self


class _FanOut(Tee):
    """
    A target that writes what `fan_out()` renders to all outputs, the first one first.
    """

    def __init__(self, target: Target, others: Sequence[Target], failed: OnError) -> None:
        super().__init__(target, target, failed)
        self._others = others

    def put(self, line: bytes) -> int | None:
        assert isinstance(line, _RenderedLines)
        try:
            return self._target.put(line.first)
        finally:
            for target, other in zip(self._others, line.others, strict=True):
                if other is not None:
                    _write_guarded(target, other, self._failed)


def _write_guarded(target: Target, line: bytes, failed: OnError) -> None:
    try:
        target.write(line)
    except Exception as error:
        failed(error)


def fan_out(
    line_format: LineFormat, target: Target, others: Sequence[Output], level: int, shared_fields: Body, failed: OnError
) -> tuple[Renderer, Target]:
    """
    Return the renderer of the lines of one logger and level in all formats, and the target that writes them.

    Args:
        line_format: The first output's format.
        target: The first output's target.
        others: The other outputs that take this level.
        level: By logging's numbers.
        shared_fields: The fields that these lines share.
        failed: Counts a line that an output did not get.
    """
    formats = [line_format, *(other.line_format for other in others)]
    renderers = {each.key: each.renderer(shared_fields) for each in formats}
    keys = [each.key for each in formats[1:]]
    first = renderers.pop(line_format.key)

    def render_line(now: float, body: Body) -> bytes:
        own = first(now, body)
        lines: dict[object, bytes | None] = {line_format.key: own, **_render_others(renderers, now, body, failed)}
        line = _RenderedLines(own)
        line.first, line.others = own, [lines[key] for key in keys]
        return line

    return render_line, _FanOut(target, [other.target.for_level(level) for other in others], failed)


def _render_others(
    renderers: Mapping[tuple[str, str], Renderer], now: float, body: Body, failed: OnError
) -> dict[object, bytes | None]:
    lines: dict[object, bytes | None] = {}
    for key, render_line in renderers.items():
        try:
            lines[key] = render_line(now, body)
        except Exception as error:
            lines[key] = None
            failed(error)
    return lines
