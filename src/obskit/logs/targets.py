"""
Open the targets that the settings name.
"""

from __future__ import annotations

import dataclasses
import os
import stat
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import IO, Any

from obskit.errors import ConfigurationError
from obskit.logs.line_settings import LineSettings
from obskit.logs.queued import QueuedTarget
from obskit.logs.stream import LineStream, Target, standard_output


def target_for(settings: LineSettings) -> Target:
    """
    Return the main target: `log_file`, else `log_stream`, else standard output; behind a queue with `log_queue`.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    path = settings.log_file
    target = LineStream(settings.log_stream) if path is None else file_target_for(settings, path)
    return target if settings.log_queue is None else QueuedTarget(target, settings.log_queue)


def error_target_for(settings: LineSettings) -> Target | None:
    """
    Return the second target of ERROR and CRITICAL lines, `error_file`; None where it is not set.
    """
    return None if settings.error_file is None else file_target_for(settings, settings.error_file)


def channel_target_for(settings: LineSettings, channel: Mapping[str, Any]) -> Target:
    """
    Return the file of one of `log_channels`; options that it does not set are those of `log_file`.

    A channel that says for how many days it is kept is kept for all of them, however many files that makes.
    """
    given = {name: value for name, value in channel.items() if name != "file"}
    if "keep_days" in given:
        given.setdefault("keep_files", None)
    return file_target_for(settings, channel["file"], **given)


def output_settings(settings: LineSettings) -> list[LineSettings]:
    """
    Return the settings of each of `log_outputs`: the main ones, overridden by its own.

    Raises:
        ConfigurationError: It goes where other lines go.
    """
    files = [channel["file"] for channel in settings.log_channels.values()]
    used_destinations = [
        _destination_of(settings),
        *(os.path.realpath(file) for file in (*files, settings.error_file) if file is not None),
    ]
    outputs = []
    for number, given in enumerate(settings.log_outputs):
        own = {f"log_{name}": value for name, value in given.items() if name not in ("level", "stream")}
        if "keep_days" in given:
            own.setdefault("log_keep_files", None)
        stream = _stream_of(given.get("stream"))
        output = dataclasses.replace(settings, **{"log_file": None, "log_stream": stream, **own})
        destination = _destination_of(output)
        if any(destination is other or destination == other for other in used_destinations):
            raise ConfigurationError(
                f"log_outputs[{number}] goes where other lines go already; set a `file` or a `stream` of its own"
            )
        used_destinations.append(destination)
        outputs.append(output)
    return outputs


def _stream_of(given: Any) -> Any:
    if given != "stderr":
        return None if given == "stdout" else given
    if sys.stderr is None:
        raise ConfigurationError("log_outputs has stderr, and this process has no standard error; set a `file`")
    return sys.stderr


def _destination_of(settings: LineSettings) -> Any:
    if settings.log_file is not None:
        return os.path.realpath(settings.log_file)
    return standard_output() if settings.log_stream is None else settings.log_stream


def file_target_for(settings: LineSettings, path: str, **given: Any) -> Target:
    """
    Return the target of a path: a rotated file, or what else is there, such as `/dev/stderr` or a FIFO.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        mode = stat.S_IFREG  # LogFile makes it, or says why not
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return LineStream(_open_device(path), owned=True)
    rotation = {
        name: getattr(settings, f"log_{name}")
        for name in (
            *("rotate_bytes", "rotate_daily", "keep_files", "keep_days", "gzip", "archive_dir", "archive_after"),
        )
    }
    if find_spec("fcntl") is None:
        raise ConfigurationError(
            f"log file {path!r} cannot be written: this system lacks the file locks that rotation needs (fcntl); "
            "write to standard output, and let the service manager store it"
        )
    from obskit.logs.log_file import LogFile

    return LogFile(path, **{**rotation, **given})


def _open_device(path: str) -> IO[bytes]:
    try:
        # Opening a FIFO without a reader would block here; writes to it block as usual.
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise ConfigurationError(
            f"log file {path!r} cannot be opened: {error.strerror}; does a process read it?"
        ) from error
    os.set_blocking(descriptor, True)
    return open(descriptor, "ab", buffering=0)
