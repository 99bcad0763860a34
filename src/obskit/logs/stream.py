"""
Put whole lines out, each with a single write.
"""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Callable
from threading import Lock
from typing import IO, Any


class LineStream:
    """
    Take whole lines, past any buffer: one system call each, so that lines of several threads and processes do not mix.

    Attributes:
        put: Writes a line and says how much of it was taken. What is missing goes to `rest()`. It is a file's own
            method where there is one: that refuses a closed file, whose number may be somebody's socket by now.
    """

    def __init__(self, stream: IO[Any] | None) -> None:
        target = sys.stdout if stream is None else stream
        raw = getattr(getattr(target, "buffer", target), "raw", target)
        self._write: Callable[[bytes], int | None]
        if target is None:
            self._write = _nowhere
        elif isinstance(raw, io.FileIO):
            self._write = raw.write
        else:
            self._write = _to_object(target)
        self.put: Callable[[bytes], int | None] = self._write

    def write(self, line: bytes) -> None:
        """
        Write one line.

        Raises:
            OSError: The line could not be written whole.
            ValueError: The stream is closed, or the process has no standard output.
        """
        taken = self.put(line)
        if taken != len(line):
            self.rest(line, taken)

    def rest(self, line: bytes, taken: int | None) -> None:
        """
        Go on where a stream takes a line in pieces, such as a pipe that is nearly full.
        """
        sent = taken or 0
        try:
            while sent < len(line):
                taken = self._write(line[sent:])
                if taken is None:
                    raise BlockingIOError(errno.EAGAIN, "the log stream takes no more now")
                sent += taken
        finally:
            if 0 < sent < len(line):
                self.put = self._mend

    def _mend(self, line: bytes) -> int:
        """
        End the line of which only the start was taken, so that this one is whole.
        """
        if self._write(b"\n") != 1:
            raise BlockingIOError(errno.EAGAIN, "the log stream takes no more now")
        self.put = self._write
        self.write(line)
        return len(line)


def _nowhere(line: bytes) -> int:
    raise ValueError("this process has no standard output; set log_stream")


def _to_object(target: IO[Any]) -> Callable[[bytes], int]:
    lock = Lock()
    binary = isinstance(target, (io.RawIOBase, io.BufferedIOBase))
    flush = getattr(target, "flush", None)

    def write(line: bytes) -> int:
        with lock:
            target.write(line if binary else line.decode("utf-8"))
            if flush is not None:
                flush()
        return len(line)

    return write
