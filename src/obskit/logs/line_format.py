"""
The format of an output's lines: their field names, and JSON or console text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from obskit.logs.console import console_renderer, wants_colour
from obskit.logs.line_settings import LineSettings
from obskit.logs.rendering import (
    ORJSON_OPTIONS,
    SERIALIZATION_ERRORS,
    dumps,
    escape_unsafe,
    render,
    to_jsonable,
)
from obskit.logs.schemas import SchemaMapper, schema_mapper
from obskit.logs.stream import standard_output
from obskit.time.clock import system_clock
from obskit.time.timestamps import rfc3339, split_second

Body: TypeAlias = dict[str, Any]
Renderer: TypeAlias = Callable[[float, Body], bytes]


class LineFormat:
    """
    The format of one output: turns bodies into lines.

    Args:
        settings: The settings of the output.
        process: The fields that every line has.
        clock_offset: Holds the offset in seconds from the clock of operations to that of records; lines update it.

    Attributes:
        key: Equal formats have equal keys.
        is_flat: Whether a line is one JSON object of single fields, under the contract's names or those of `log_names`.
        render: Renders fields under their final names; on the console whole lines only.
    """

    def __init__(self, settings: LineSettings, process: Body, clock_offset: list[float]) -> None:
        self._process, self._clock_offset = process, clock_offset
        self.key: tuple[str, str]
        self.render: Callable[[Body], bytes]
        self.is_flat = settings.log_format == "json" and settings.log_schema == "obskit"
        self._uses_template = self.is_flat and not settings.log_names
        if settings.log_format == "console":
            coloured = wants_colour(standard_output() if settings.log_stream is None else settings.log_stream)
            self.key, self.render = ("console", str(coloured)), console_renderer(coloured)
        else:
            self.key, self.render = ("json", settings.log_schema), _json_renderer(schema_mapper(settings))

    def renderer(self, shared_fields: Body) -> Renderer:
        """
        Return the renderer of lines that share these fields, such as their level and logger.
        """
        return self._template_renderer(shared_fields) if self._uses_template else self._mapping_renderer(shared_fields)

    def _template_renderer(self, shared_fields: Body) -> Renderer:
        """
        Render the fields that all lines share once: the start of the line, and its end.
        """
        head = b'Z",' + render(shared_fields)[1:-2] + b","
        tail = b"," + render(self._process)[1:] if self._process else b"}\n"
        clock_offset = self._clock_offset
        stamp_cache = _timestamp_prefix(0)  # one tuple, read once: threads without the GIL never see half of it

        def render_line(now: float, body: Body) -> bytes:
            nonlocal stamp_cache
            second, stamp = stamp_cache
            if not second <= now < second + 1:
                second, stamp = stamp_cache = _timestamp_prefix(now)
                clock_offset[0] = clock_offset_now()
            try:
                own = dumps(body, to_jsonable, ORJSON_OPTIONS)
            except SERIALIZATION_ERRORS:
                own = render(body)[:-1]
            if not own.isascii():
                own = escape_unsafe(own)
            return b"%b%06d%b%b%b" % (stamp, (now - second) * 1e6, head, own[1:-1], tail)

        return render_line

    def _mapping_renderer(self, shared_fields: Body) -> Renderer:
        process, form = self._process, self.render

        def render_line(now: float, body: Body) -> bytes:
            return form({"timestamp": rfc3339(now), **shared_fields, **body, **process})

        return render_line


def _json_renderer(mapper: SchemaMapper | None) -> Callable[[Body], bytes]:
    return render if mapper is None else lambda line: render(mapper(line))


def clock_offset_now() -> float:
    """
    Return the offset in seconds from the clock of operations to that of records, never too small.
    """
    running = system_clock.monotonic()  # records are stamped by the system's clock, whatever a test has
    return system_clock.wall() - running


def _timestamp_prefix(now: float) -> tuple[int, bytes]:
    """
    Return the whole second, and the start of every line in it.
    """
    second, text = split_second(now)
    return second, b'{"timestamp":"%b.' % text.encode()
