"""
Give the lines of one output their form: which names, JSON or for eyes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeAlias

from obskit.logs.console import console_renderer, wants_colour
from obskit.logs.rendering import (
    ORJSON_OPTIONS,
    SERIALIZATION_ERRORS,
    dumps,
    escape_unsafe,
    render,
    to_jsonable,
)
from obskit.logs.schemas import Shape, shape_of
from obskit.logs.stream import standard_output
from obskit.settings import Settings
from obskit.timestamps import rfc3339, split_second

Body: TypeAlias = dict[str, Any]
Make: TypeAlias = Callable[[float, Body], bytes]


class Form:
    """
    Turn bodies into lines of one form.

    Args:
        settings: Say which one; of an output beside the first with its own in their place.
        process: The fields that every line has.
        ahead: Holds by how many seconds the clock of records is ahead of that of operations; kept up by the lines.

    Attributes:
        key: Equal forms have equal keys.
        is_flat: Whether a line is one JSON object of single fields, under the contract's names or those of `log_names`.
        render: Renders fields under their final names; on the console whole lines only.
    """

    def __init__(self, settings: Settings, process: Body, ahead: list[float]) -> None:
        self._process, self._ahead = process, ahead
        self.key: tuple[str, str]
        self.render: Callable[[Body], bytes]
        self.is_flat = settings.log_format == "json" and settings.log_schema == "obskit"
        self._is_fused = self.is_flat and not settings.log_names
        if settings.log_format == "console":
            coloured = wants_colour(standard_output() if settings.log_stream is None else settings.log_stream)
            self.key, self.render = ("console", str(coloured)), console_renderer(coloured)
        else:
            self.key, self.render = ("json", settings.log_schema), _in_json(shape_of(settings))

    def maker(self, shared: Body) -> Make:
        """
        Give what makes lines that share these fields, such as their level and logger.
        """
        return self._fused(shared) if self._is_fused else self._formed(shared)

    def _fused(self, shared: Body) -> Make:
        """
        Render what the lines of one logger share once: the start of the line, and its end.
        """
        head = b'Z",' + render(shared)[1:-2] + b","
        tail = b"," + render(self._process)[1:] if self._process else b"}\n"
        ahead, moment = self._ahead, _stamped(0)  # one tuple, read once: threads without the GIL never see half of it

        def make(now: float, body: Body) -> bytes:
            nonlocal moment
            second, stamp = moment
            if not second <= now < second + 1:
                second, stamp = moment = _stamped(now)
                ahead[0] = ahead_now()
            try:
                own = dumps(body, to_jsonable, ORJSON_OPTIONS)
            except SERIALIZATION_ERRORS:
                own = render(body)[:-1]
            if not own.isascii():
                own = escape_unsafe(own)
            return b"%b%06d%b%b%b" % (stamp, (now - second) * 1e6, head, own[1:-1], tail)

        return make

    def _formed(self, shared: Body) -> Make:
        process, form = self._process, self.render

        def make(now: float, body: Body) -> bytes:
            return form({"timestamp": rfc3339(now), **shared, **body, **process})

        return make


def _in_json(shape: Shape | None) -> Callable[[Body], bytes]:
    return render if shape is None else lambda line: render(shape(line))


def ahead_now() -> float:
    """
    Tell by how many seconds the clock of records is ahead of that of operations; rather too many than too few.
    """
    running = time.perf_counter()
    return time.time() - running


def _stamped(now: float) -> tuple[int, bytes]:
    """
    Give the whole second, and the start of every line in it.
    """
    second, text = split_second(now)
    return second, b'{"timestamp":"%b.' % text.encode()
