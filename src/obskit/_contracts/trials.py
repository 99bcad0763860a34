"""
Try a call where it may hang, and in a forked child; what happens is told as an `AssertionError`.
"""

from __future__ import annotations

import os
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import Context
from select import select
from typing import Any, TypeVar

from obskit import background

T = TypeVar("T")


class BrokenContractError(AssertionError):
    """
    What was promised is not kept.
    """


Steps = Sequence[tuple[str, Callable[[], object]]]


def expect(is_so: object, message: str) -> None:
    """
    Raise where something is not as promised.

    Raises:
        BrokenContractError: It is not.
    """
    if not is_so:
        raise BrokenContractError(message)


def returns(what: str, seconds: float, call: Callable[[], T]) -> T:
    """
    Return what a call gives, made in a thread and outside of any request.

    Raises:
        BrokenContractError: It raised, or was not over in time.
    """
    answer: Future[T] = Future()

    def work() -> None:
        try:
            answer.set_result(Context().run(call))
        except BaseException as error:
            answer.set_exception(error)

    if background.start(work, name="contract", ends=True) is None:
        raise BrokenContractError("no thread can be started, so nothing can be tried")
    try:
        return answer.result(seconds)
    except BrokenContractError:
        raise
    except TimeoutError as error:
        if answer.done():
            raise BrokenContractError(f"{what} raised {error!r}") from error
        raise BrokenContractError(f"{what} has not returned after {seconds:g} s: nothing may wait there") from None
    except BaseException as error:
        raise BrokenContractError(f"{what} raised {error!r}") from error


def together(what: str, seconds: float, call: Callable[[], object], count: int = 4) -> None:
    """
    Make a call in several threads at once.

    Raises:
        BrokenContractError: One raised, or was not over in time.
    """
    barrier = threading.Barrier(count)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            barrier.wait(seconds)
            call()
        except BaseException as error:
            errors.append(error)

    started = [background.start(work, name="contract", ends=True) for _ in range(count)]
    for thread in started:
        if thread is not None:
            thread.join(seconds)
            if thread.is_alive():
                raise BrokenContractError(f"{what} has not returned after {seconds:g} s in {count} threads at once")
    for error in errors:
        raise BrokenContractError(f"{what} raised {error!r} in {count} threads at once") from error


def in_child(what: str, seconds: float, steps: Steps) -> None:
    """
    Take steps in a forked child.

    Raises:
        BrokenContractError: One of them raised there, or was not over in time.
    """
    if not hasattr(os, "fork"):  # such as Windows, where nothing is forked
        return
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of threads: that is what is tried
        pid = os.fork()
    if not pid:
        _take(steps, writer)
    os.close(writer)
    try:
        told = _told_by(reader, seconds)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)
    if told[-1:] != ["done"]:
        last = told[-1] if told else "its start"
        how = last if last.startswith("raised ") else f"hangs in {last}"
        raise BrokenContractError(
            f"{what} does not survive a fork: the child {how}; locks and threads are the parent's"
        )


def _take(steps: Steps, writer: int) -> None:
    try:
        for name, step in steps:
            os.write(writer, f"{name}\n".encode())
            step()
        os.write(writer, b"done\n")
    except BaseException as error:
        os.write(writer, f"raised {error!r} in {name}".replace("\n", " ").encode() + b"\n")
        traceback.print_exc()
    finally:
        os._exit(0)


def _told_by(reader: int, seconds: float) -> list[str]:
    """
    Read what a child says until it is done; the last line is where it hangs.
    """
    told = b""
    while select([reader], [], [], seconds)[0]:
        said = os.read(reader, 65536)
        told += said
        if not said:
            break
    return told.decode().splitlines()


@contextmanager
def busy(call: Callable[[], object]) -> Iterator[None]:
    """
    Make a call again and again in another thread, meanwhile.
    """
    is_over = threading.Event()

    def work() -> None:
        while not is_over.is_set():
            with suppress(Exception):  # which other checks find
                call()

    thread = background.start(work, name="contract", ends=True)
    try:
        yield
    finally:
        is_over.set()
        if thread is not None:
            thread.join(10)


@contextmanager
def no_thread_left(what: str, seconds: float) -> Iterator[None]:
    """
    Fail where a thread that began in a block goes on after it.
    """
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name != "contract":
            thread.join(seconds)
            if thread.is_alive():
                raise BrokenContractError(f"{what} leaves the thread {thread.name!r} running")


def shown(value: Any) -> str:
    """
    Return a value for a message, not too long.
    """
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."
