"""
Whether this process serves: one that does may lead, and no other ever asks.

A process serves from its first request on, from ASGI's start-up, from the start of a Celery worker, or because the
setting `serving` says so. What only imports the application does not: commands, migrations, scripts, test runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from obskit.default_service import program_name
from obskit.operation import HttpOperation, Operation
from obskit.recorder import Recorder, Sink, Step, recorder
from obskit.storage.state_folder import is_pytest

# What the active runtime's setting says: None leaves it to what happens, and without a runtime nothing serves.
_setting: bool | None = False
_serving_pid = 0
_starts: list[tuple[str, Callable[[], object]]] = []


def bind(serving: bool | None) -> None:
    """
    Apply the setting of the runtime that becomes active.
    """
    global _setting
    _setting = serving


def unbind() -> None:
    """
    Stop being a candidate until the next runtime, which says anew what it starts.
    """
    bind(False)
    _starts.clear()


def when_serving(start: Callable[[], object], part: str) -> None:
    """
    Call this once the process serves: now where it does, else with its first request; and again in each forked child
    that serves. Importing an application, or a command that does, starts nothing.

    Args:
        start: Starts a thread, say. It is called in a request, so it waits for nothing.
        part: Whose it is, in `obskit_errors_total`.
    """
    _starts.append((part, start))
    if is_candidate():
        _call(part, start)


def after_fork() -> None:
    """
    Start over in a forked child: what was started ended with its parent's threads.
    """
    if _setting:
        _call_all()


def _call_all() -> None:
    for part, start in list(_starts):
        _call(part, start)


def _call(part: str, start: Callable[[], object]) -> None:
    try:
        start()
    except Exception as error:
        recorder.failed(part, error)


def note_serving() -> None:
    """
    Record that this process serves: it is about to answer a request, or to run tasks. Its children are not.
    """
    global _serving_pid
    pid = os.getpid()
    if _serving_pid != pid and not is_test_run():
        _serving_pid = pid
        if _setting is None:
            _call_all()


def is_candidate() -> bool:
    """
    Return whether this process may lead.
    """
    return _serving_pid == os.getpid() if _setting is None else _setting


def is_test_run() -> bool:
    """
    Return whether this process runs tests, whose clients make requests that nobody serves.
    """
    program = program_name()
    by_django = program in ("manage", "django-admin") and sys.argv[1:2] == ["test"]
    return is_pytest() or program == "unittest" or by_django


class FirstRequest(Sink):
    """
    Notes the first request that this process serves; later ones do not pass here.
    """

    name = "serving"
    wants = frozenset[str]()
    guards = True

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._is_over = False

    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]:
        """
        Return a step until the first request.
        """
        is_awaited = kind is HttpOperation and not self._is_over and _setting is None
        return (self._note if is_awaited else None), None

    def start_over(self) -> None:
        """
        Await a request of a forked process's own: that its parent has served says nothing of it.
        """
        self._is_over = False
        self._recorder.rebind(HttpOperation)

    def _note(self, operation: Operation) -> None:
        self._is_over = True
        note_serving()
        self._recorder.rebind(HttpOperation)
