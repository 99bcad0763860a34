"""
Log uncaught exceptions as lines, where Python would print them to standard error.
"""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType
from typing import Any

from obskit.logs import current_writer as writers

LOGGER = "py.exceptions"


class Uncaught:
    """
    Replacements of `sys.excepthook` and `threading.excepthook`. Hooks that others have set are called as before;
    Python's own only where lines go to a file, so that whoever started the process sees why it ended.
    """

    def __init__(self) -> None:
        self._previous: tuple[Any, Any] | None = None

    def watch(self) -> None:
        if self._previous is None:
            self._previous = sys.excepthook, threading.excepthook
            self._hooks = self._in_main, self._in_thread
            sys.excepthook, threading.excepthook = self._hooks

    def undo(self) -> None:
        """
        Restore the previous hooks, unless others were set since: these then call the previous ones through ours.
        """
        if self._previous is None:
            return
        if sys.excepthook is self._hooks[0]:
            sys.excepthook = self._previous[0]
        if threading.excepthook is self._hooks[1]:
            threading.excepthook = self._previous[1]
        self._previous = None

    def _in_main(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        before = sys.__excepthook__ if self._previous is None else self._previous[0]
        logged = self._log(logging.CRITICAL, error, "uncaught exception", {})
        if not logged or before is not sys.__excepthook__:
            before(kind, error, trace)

    def _in_thread(self, given: threading.ExceptHookArgs) -> None:
        before = threading.__excepthook__ if self._previous is None else self._previous[1]
        error, name = given.exc_value, None if given.thread is None else given.thread.name
        logged = error is not None and self._log(
            logging.ERROR, error, "uncaught exception in a thread", {"thread_name": name}
        )
        if not logged or before is not threading.__excepthook__:
            before(given)

    def _log(self, level: int, error: BaseException, message: str, fields: dict[str, Any]) -> bool:
        """
        Log the exception; return False where Python's own hook has to report it too.
        """
        if self._previous is None or not isinstance(error, Exception):
            return False  # an end that was asked for: Ctrl+C, sys.exit()
        logger = logging.getLogger(LOGGER)
        if not logger.isEnabledFor(level):
            return False
        record = logger.makeRecord(
            LOGGER, level, "", 0, message, (), (type(error), error, error.__traceback__), extra=fields
        )
        logger.handle(record)
        settings = writers.current_settings()
        return settings.log_file is None or any("file" not in output for output in settings.log_outputs)
