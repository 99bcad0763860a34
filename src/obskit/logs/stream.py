"""
Put whole lines out, each with a single write.
"""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import sys
import weakref
from collections.abc import Callable
from threading import Lock
from typing import IO, Any, Protocol

from obskit.forks import at_fork
from obskit.logs.cut import cut

# What a pipe takes in one piece, in bytes. Systems that promise less have one developer, not several workers, and
# Windows, which promises none.
PIPE_BYTES = max(getattr(select, "PIPE_BUF", 0), 4096)


class Target(Protocol):
    """
    Take whole lines.
    """

    @property
    def put(self) -> Callable[[bytes], int | None]: ...  # writes a line, says how much of it was taken
    def rest(self, line: bytes, taken: int | None) -> None: ...  # goes on where not all of it was
    def write(self, line: bytes) -> None: ...  # both
    def at(self, level: int) -> Target: ...  # gives what takes the lines of a level, by logging's numbers
    def flush(self) -> object: ...  # waits for what is queued
    def close(self) -> None: ...  # flushes, and releases what it has opened itself


def reason_of(error: Exception) -> str:
    """
    Say in a word, for `obskit_dropped_total`, why a line was not written.
    """
    code = getattr(error, "errno", None)
    if code:
        return errno.errorcode.get(code, type(error).__name__)
    return "closed" if isinstance(error, ValueError) else type(error).__name__


class LineStream:
    """
    Take whole lines, past any buffer: one system call each, so that lines of several threads and processes do not mix.

    Attributes:
        put: Writes a line and says how much of it was taken. What is missing goes to `rest()`. It is a file's own
            method where there is one: that refuses a closed file, whose number may be somebody's socket by now. To a
            pipe, lines are cut to what it takes in one piece.
    """

    def __init__(self, stream: IO[Any] | None, *, owned: bool = False) -> None:
        self._owned = stream if owned else None
        target = sys.stdout if stream is None else stream
        buffer = getattr(target, "buffer", target)
        raw = getattr(buffer, "raw", buffer)  # with PYTHONUNBUFFERED the buffer is the file itself
        self._write: Callable[[bytes], int | None]
        if target is None:
            self._write = _nowhere
        elif isinstance(raw, io.FileIO):
            self._write = _to_pipe(raw.write) if _is_pipe(raw) else raw.write
        else:
            self._write = _Object(target)
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

    def at(self, level: int) -> LineStream:
        """
        Give what takes lines of this level: this stream.
        """
        return self

    def flush(self) -> None:
        """
        Have nothing queued: each line is written when it is put.
        """

    def close(self) -> None:
        """
        Leave the stream open, unless it is `owned`: it belongs to whoever opened it.
        """
        if self._owned is not None:
            self._owned.close()

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


def _is_pipe(raw: io.FileIO) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(raw.fileno()).st_mode)
    except (OSError, ValueError):
        return False  # it is closed


def _to_pipe(write: Callable[[bytes], int | None]) -> Callable[[bytes], int | None]:
    """
    Cut lines to what a pipe takes in one piece: longer ones mix with those of other processes.
    """

    def write_cut(line: bytes) -> int | None:
        if len(line) <= PIPE_BYTES:
            return write(line)
        short = cut(line, PIPE_BYTES)
        if write(short) != len(short):
            raise BlockingIOError(errno.EAGAIN, "the pipe takes no more now")
        return len(line)

    return write_cut


class _Object:
    """
    Write to whatever has `write()`, one line after the other.
    """

    def __init__(self, target: IO[Any]) -> None:
        self._target, self._flush = target, getattr(target, "flush", None)
        self._binary = isinstance(target, (io.RawIOBase, io.BufferedIOBase))
        self._lock = Lock()
        _objects.add(self)

    def __call__(self, line: bytes) -> int:
        with self._lock:
            self._target.write(line if self._binary else line.decode("utf-8"))
            if self._flush is not None:
                self._flush()
        return len(line)


_objects: weakref.WeakSet[_Object] = weakref.WeakSet()


def _unlock_in_child() -> None:
    # A thread of the parent may have been writing; the child has no such thread to wait for.
    for target in list(_objects):
        target._lock = Lock()


at_fork(after_in_child=_unlock_in_child)
