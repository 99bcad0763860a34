"""
Write whole lines, each with a single call.
"""

from __future__ import annotations

import codecs
import errno
import io
import logging
import os
import select
import stat
import sys
import weakref
from collections import deque
from collections.abc import Callable
from threading import RLock, get_ident
from typing import IO, Any, Protocol, cast

from obskit.forks import at_fork
from obskit.logs.line_truncation import truncate_line
from obskit.logs.rendering import render
from obskit.recorder import recorder
from obskit.time.clock import Deadline

# What a pipe takes atomically, in bytes. Systems that promise less run one developer's process, not several workers.
PIPE_BYTES = max(getattr(select, "PIPE_BUF", 0), 4096)
# Lines that may be pending for a stream that is not a file while another thread writes to it.
MAX_PENDING = 1000
# The length of a line's start by which an echo of it is recognised.
_ECHO_BYTES = 64


class Target(Protocol):
    """
    What takes whole lines.
    """

    @property
    def put(self) -> Callable[[bytes], int | None]: ...  # writes a line, returns the bytes that were written
    def write_rest(self, line: bytes, taken: int | None) -> None: ...  # writes what is missing
    def write(self, line: bytes) -> None: ...  # both
    def for_level(self, level: int) -> Target: ...  # returns the target of a level's lines, by logging's numbers
    def notice(self) -> str | None: ...  # returns a warning for the log, if there is one
    def flush(self, deadline: Deadline | None = None) -> object: ...  # waits for what is queued
    def close(self, deadline: Deadline | None = None) -> None: ...  # flushes, and releases what it has opened itself


def drop_reason(error: Exception) -> str:
    """
    Return the `reason` in `obskit_dropped_total` of a line that was not written.
    """
    code = getattr(error, "errno", None)
    if code:
        return errno.errorcode.get(code, type(error).__name__)
    return "closed" if isinstance(error, ValueError) else type(error).__name__


class LineStream:
    """
    A target without a buffer: one system call a line, so that lines of several threads and processes do not interleave.

    Attributes:
        put: Writes a line and returns how many of its bytes were written; `write_rest()` writes what is missing. It is
            a file's own method where there is one: that refuses a closed file, whose descriptor may be another's now.
            For a pipe, lines are truncated to what it takes atomically.
    """

    def __init__(self, stream: IO[Any] | None, *, owned: bool = False) -> None:
        self._owned = stream if owned else None
        target = standard_output() if stream is None else stream
        file = _raw_file_of(target)
        self._object_writer: _ObjectWriter | None = None
        self._write: Callable[[bytes], int | None]
        if target is None:
            self._write = _no_output
        elif file is not None:
            self._write = _pipe_writer(file.write) if _is_pipe(file) else file.write
        else:
            self._write = self._object_writer = _ObjectWriter(
                target, stream is None or isinstance(stream, StandardOutput)
            )
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
            self.write_rest(line, taken)

    def write_rest(self, line: bytes, taken: int | None) -> None:
        """
        Write the rest of a line that a stream takes in pieces, such as a pipe that is nearly full.
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
                self.put = self._put_after_newline

    def for_level(self, level: int) -> LineStream:
        return self

    def notice(self) -> None: ...

    def flush(self, deadline: Deadline | None = None) -> None:
        """
        Write pending lines; to a file each line is written by `put()`.
        """
        if self._object_writer is not None:
            self._object_writer.drain()

    def close(self, deadline: Deadline | None = None) -> None:
        """
        Write pending lines. The stream stays open, unless it is `owned`: its opener closes it.
        """
        self.flush()
        if self._owned is not None:
            self._owned.close()

    def _put_after_newline(self, line: bytes) -> int:
        """
        End the line of which only the start was written, so that this one is whole.
        """
        if self._write(b"\n") != 1:
            raise BlockingIOError(errno.EAGAIN, "the log stream takes no more now")
        self.put = self._write
        self.write(line)
        return len(line)


def _no_output(line: bytes) -> int:
    raise ValueError("this process has no standard output; set log_stream")


def _is_pipe(raw: io.FileIO) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(raw.fileno()).st_mode)
    except (OSError, ValueError):
        return False  # it is closed


def _pipe_writer(write: Callable[[bytes], int | None]) -> Callable[[bytes], int | None]:
    """
    Return a writer that truncates lines to what a pipe takes atomically: longer ones would interleave with those of
    other processes.
    """

    def write_truncated(line: bytes) -> int | None:
        if len(line) <= PIPE_BYTES:
            return write(line)
        short = truncate_line(line, PIPE_BYTES)
        if write(short) != len(short):
            raise BlockingIOError(errno.EAGAIN, "the pipe takes no more now")
        return len(line)

    return write_truncated


def _raw_file_of(target: Any) -> io.FileIO | None:
    """
    Return the file below a stream of the standard library; None where the stream overrides `write()`, such as a tee
    that delegates all else.
    """
    for _ in range(3):  # text, its buffer, the file; with PYTHONUNBUFFERED the buffer is the file
        if isinstance(target, io.FileIO):
            return target
        if target is None or _overrides_write(target):
            break
        target = getattr(target, "buffer", None) or getattr(target, "raw", None)
    return None


def _overrides_write(target: Any) -> bool:
    write = getattr(type(target), "write", None)
    return write is not None and getattr(getattr(write, "__objclass__", None), "__module__", "") != "_io"


def standard_output() -> IO[Any] | None:
    """
    Return standard output; the process's own where the current one logs what is printed.
    """
    return sys.__stdout__ if _ends_in_logging(sys.stdout) else sys.stdout


def _ends_in_logging(stream: object) -> bool:
    """
    Return whether a stream has a logger, as Celery's does, and those that many web pages suggest.
    """
    if not _overrides_write(stream):
        return False
    held = [*getattr(stream, "__dict__", {}).values(), *vars(type(stream)).values()]
    loggers = logging.Logger, logging.LoggerAdapter
    return any(isinstance(value, loggers) or isinstance(getattr(value, "__self__", None), loggers) for value in held)


class StandardOutput:
    """
    A stream that writes to the current standard output.
    """

    def write(self, text: str) -> int:
        return cast(IO[str], standard_output()).write(text)

    def flush(self) -> None:
        cast(IO[str], standard_output()).flush()

    def isatty(self) -> bool:
        return sys.stdout is not None and sys.stdout.isatty()


class _ObjectWriter:
    """
    A writer for any object with `write()`, one line after the other.

    No thread waits for another: a line is left to the thread that is writing. A line that is logged inside of `write()`
    or `flush()` is dropped, and counted as `reentrant`, since it would cause another one for ever.

    Args:
        target: The object with `write()`.
        is_standard: Whether it replaces standard output. If it turns out to log what it is given, the process's own
            standard output is used.
    """

    def __init__(self, target: IO[Any], is_standard: bool = False) -> None:
        self._target, self._is_standard = target, is_standard
        self._write: Callable[[bytes], None] = self._write_first
        if isinstance(target, io.RawIOBase):
            self._write = self._write_pieces
        elif isinstance(target, io.BufferedIOBase):
            self._write = self._write_bytes
        self._is_torn = False
        self.reset()
        _object_writers.add(self)

    def reset(self) -> None:
        """
        Forget the owner and the pending lines: a forked child has no such thread, and its parent writes them.
        """
        self._lock = RLock()
        self._owner: int | None = None
        self._line, self._is_echoed = b"", False
        self._pending: deque[bytes] = deque()

    def __call__(self, line: bytes) -> int:
        if self._owner == get_ident():
            recorder.dropped.inc(("logs", "reentrant"))
            self._is_echoed = self._is_echoed or (self._is_standard and _is_echo(line, self._line))
        elif len(self._pending) >= MAX_PENDING:
            recorder.dropped.inc(("logs", "queue_full"))
            self.drain()
        else:
            self._pending.append(line)
            self.drain(line)
        return len(line)

    def drain(self, own: bytes | None = None) -> None:
        """
        Write the pending lines, unless another thread is writing.

        Raises:
            Exception: What came of the line that is the caller's own.
        """
        failures: list[tuple[bytes, Exception]] = []
        # With an end: the write of a line may have another thread log the next.
        for _ in range(MAX_PENDING):
            if not self._pending or not (lock := self._lock).acquire(blocking=False):
                break
            try:
                self._owner = get_ident()
                if self._pending:
                    self._line = self._pending.popleft()
                    self._write_and_check(self._line)
            except Exception as error:
                failures.append((self._line, error))
            finally:
                self._owner = None
                lock.release()
        for line, failure in failures:
            if line is not own:
                recorder.dropped.inc(("logs", drop_reason(failure)))
                recorder.failed("logs", failure)
        for line, failure in failures:
            if line is own:
                raise failure

    def _write_and_check(self, line: bytes) -> None:
        self._is_echoed = False
        self._write(line)
        if self._is_echoed and sys.__stdout__ is not None:
            self._write = LineStream(sys.__stdout__).write
            self._write(line)

    def _write_first(self, line: bytes) -> None:
        """
        Write the first line, as text or bytes; where the stream rejects the one that it seems to take, as the other.
        """
        is_binary = _seems_binary(self._target)
        text = line.decode("utf-8")
        try:
            self._target.write(line if is_binary else text)
        except (TypeError, AttributeError) as error:
            try:
                self._target.write(text if is_binary else line)
            except Exception:
                raise error from None
            is_binary = not is_binary
        self._write = self._write_bytes if is_binary else self._write_text
        self._flush()

    def _write_text(self, line: bytes) -> None:
        self._target.write(line.decode("utf-8"))
        self._flush()

    def _write_bytes(self, line: bytes) -> None:
        self._target.write(line)
        self._flush()

    def _write_pieces(self, line: bytes) -> None:
        if self._is_torn:
            line = b"\n" + line
        sent = 0
        try:
            while sent < len(line):
                taken = self._target.write(line[sent:])
                if taken is None:
                    raise BlockingIOError(errno.EAGAIN, "the log stream takes no more now")
                sent += taken
        finally:
            self._is_torn = 0 < sent < len(line) or (self._is_torn and not sent)
        self._flush()

    def _flush(self) -> None:
        flush = getattr(self._target, "flush", None)
        if flush is not None:
            flush()


def _seems_binary(target: Any) -> bool:
    """
    Return whether a stream's mode is binary; a writer of `codecs` has that of the stream below it.
    """
    if isinstance(target, codecs.StreamWriter | codecs.StreamReaderWriter):
        return False
    return "b" in str(getattr(target, "mode", ""))


def _is_echo(line: bytes, of: bytes) -> bool:
    """
    Return whether a line repeats another one, as that of a stream which logs what is printed does.
    """
    start = of[:_ECHO_BYTES].rstrip()
    return start in line or render(start.decode("utf-8", "ignore"))[1:-2] in line


_object_writers: weakref.WeakSet[_ObjectWriter] = weakref.WeakSet()


def _reset_in_child() -> None:
    for target in list(_object_writers):
        target.reset()


at_fork(after_in_child=_reset_in_child)
