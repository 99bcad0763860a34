"""
Put whole lines out, each with a single write.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from threading import Lock
from typing import IO, Any

Write = Callable[[bytes], None]


def writer(stream: IO[Any] | None) -> Write:
    """
    Build the function that writes a line to a stream, or to standard output.

    A stream with a descriptor gets one `os.write()` a line, past its buffer, so that lines of several threads and
    processes do not mix. It raises `OSError` where the line could not be written whole, and `ValueError` where the
    stream is closed, or the process has no standard output.
    """
    target = sys.stdout if stream is None else stream
    if target is None:
        return _to_nowhere
    try:
        descriptor = target.fileno()
    except (AttributeError, OSError, ValueError):
        return _to_object(target)
    return _to_descriptor(target, descriptor)


def _to_nowhere(line: bytes) -> None:
    raise ValueError("this process has no standard output; set log_stream")


def _to_descriptor(target: IO[Any], descriptor: int) -> Write:
    torn = False

    def write(line: bytes) -> None:
        nonlocal torn
        # The number of a closed descriptor may be somebody's socket by now.
        if target.closed:
            raise ValueError("the log stream is closed")
        if torn:  # end the line of which only the start was taken, so that this one is whole
            line = b"\n" + line
        sent = os.write(descriptor, line)
        while sent < len(line):
            torn = True
            sent += os.write(descriptor, line[sent:])
        torn = False

    return write


def _to_object(target: IO[Any]) -> Write:
    lock = Lock()
    binary = isinstance(target, (io.RawIOBase, io.BufferedIOBase))
    flush = getattr(target, "flush", None)

    def write(line: bytes) -> None:
        with lock:
            target.write(line if binary else line.decode("utf-8"))
            if flush is not None:
                flush()

    return write
