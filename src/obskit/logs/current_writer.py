"""
The writer that every logger uses now.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import IO, Any, cast

from obskit.errors import ConfigurationError
from obskit.logs.line_settings import LineSettings
from obskit.logs.stream import StandardOutput
from obskit.logs.writer import Writer
from obskit.recorder import recorder

_current_writer: Writer | None = None
_observers: list[Callable[[Writer | None], None]] = []


def current_writer() -> Writer:
    """
    Return the writer of the current runtime; before the first one, a writer to standard output with the environment's
    settings.
    """
    if _current_writer is None:
        activate(_fallback_writer(_from_environment()))
    assert _current_writer is not None
    return _current_writer


def current_settings() -> LineSettings:
    """
    Return the settings of the current writer, or of the one that the next line creates.
    """
    return _from_environment() if _current_writer is None else _current_writer.settings


def is_current(writer: Writer) -> bool:
    """
    Return whether loggers use this writer.
    """
    return _current_writer is writer


def activate(writer: Writer | None) -> None:
    """
    Make every logger use this writer; None: the one that the next line creates.
    """
    global _current_writer
    _current_writer = writer
    for observer in _observers:
        observer(writer)


def activate_fallback(settings: LineSettings) -> None:
    """
    Write to standard output, in the same format, once the runtime with these settings is gone.
    """
    activate(_fallback_writer(settings))


def _fallback_writer(settings: LineSettings) -> Writer:
    stream = cast(IO[Any], StandardOutput())
    alone: dict[str, Any] = {"log_file": None, "log_channels": {}, "error_file": None, "log_outputs": ()}
    return Writer(dataclasses.replace(settings, log_stream=stream, **alone), recorder)


def _from_environment() -> LineSettings:
    known = {"OBSKIT_" + field.name.upper() for field in dataclasses.fields(LineSettings)} | {"OTEL_SERVICE_NAME"}
    try:
        return LineSettings.read({}, {name: text for name, text in os.environ.items() if name in known})
    except ConfigurationError:  # configure() says what is wrong
        return LineSettings.read({}, {})


def subscribe(observer: Callable[[Writer | None], None]) -> None:
    """
    Call an observer with the current writer, and with each that replaces it.
    """
    _observers.append(observer)
    observer(_current_writer)
