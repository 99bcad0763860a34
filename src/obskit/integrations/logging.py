"""
Write the records of the standard library's loggers, and the lines of servers, as obskit's lines.

Handlers that write to the console are muted and not taken away, so that all can be undone; files and other handlers
stay as they are. Servers set up their loggers before the application is imported, after it, or at their first line:
what they set up later is found when they log.
"""

from __future__ import annotations

import logging
import logging.config
import logging.handlers
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any, TextIO
from weakref import WeakSet

from obskit.forks import at_fork
from obskit.integrations._console_handlers import is_console
from obskit.integrations._middleware import skipper
from obskit.integrations._patches import Patches
from obskit.integrations._served_request import OBSERVED
from obskit.integrations._uncaught import LOGGER, Uncaught
from obskit.logs import current_writer as writers
from obskit.logs import json_handler, record_origin
from obskit.logs.json_handler import JsonHandler, propagation_path
from obskit.logs.server_access import ACCESS_PARSERS, ALL_SERVER_LOGGERS, SERVER_LOGGERS, parse_access_record
from obskit.logs.writer import LEVELS, Writer
from obskit.recorder import recorder
from obskit.runtime import current_runtime, has_observers

_INTERNAL_LOGGERS = ("obskit", "py.warnings", LOGGER)
_OFF = logging.CRITICAL + 10
_handler = JsonHandler()


def _mute(record: logging.LogRecord) -> bool:
    return False


def _write_instead(record: logging.LogRecord) -> bool:
    """
    Write a record that reaches a console by way of a queue, or the like, unless it has its line already.
    """
    if not record_origin.written_by(record):
        _handler.handle(record)
    return False


def _downstream_handlers(handler: logging.Handler) -> list[logging.Handler]:
    """
    Return the handlers of this process that receive the records of one that keeps or sends them.
    """
    target, listener = getattr(handler, "target", None), getattr(handler, "listener", None)
    downstream = [target, *getattr(listener, "handlers", ())]
    return [found for found in downstream if isinstance(found, logging.Handler)]


def _mute_servers(record: logging.LogRecord) -> bool:
    return record.name not in ALL_SERVER_LOGGERS


class _LoggingCapture:
    """
    What was changed in the logging of this process.

    Args:
        all_loggers: Capture all loggers, not the servers' only.
    """

    def __init__(self, all_loggers: bool) -> None:
        self.all_loggers = all_loggers
        self._loggers_with_handler: set[logging.Logger] = set()
        self._muted: WeakSet[logging.Handler] = WeakSet()
        self._levels: dict[logging.Logger, int] = {}
        self._show_warning: Any = None
        self._configurator: Any = None
        self._uncaught = Uncaught()
        self._patches = Patches()

    # Applying it, as often as loggers are set up

    def apply(self) -> None:
        """
        Capture all loggers and handlers that are set up.
        """
        settings = writers.current_settings()
        for name, level in settings.log_levels.items():
            if self.all_loggers or name in ALL_SERVER_LOGGERS:
                self._set_level(logging.getLogger(name), LEVELS[level])
        if self.all_loggers:
            self._set_level(logging.root, LEVELS[settings.log_level])
            self._attach(logging.root)
            for logger in _loggers():
                self._capture_logger(logger)
            self._install_hooks()
        for name in SERVER_LOGGERS:
            self._capture_server_logger(logging.getLogger(name))
        for name in ACCESS_PARSERS:
            self._capture_access_logger(logging.getLogger(name))
        json_handler.is_duplicate = _is_duplicate

    def _capture_logger(self, logger: logging.Logger) -> None:
        if self._mute_consoles(logger):
            self._attach(logger)
        for handler in logger.handlers:
            self.capture_downstream(_downstream_handlers(handler))

    def capture_downstream(self, handlers: Iterable[logging.Handler]) -> None:
        """
        Make consoles write lines of ours where they receive records by way of other handlers.
        """
        for handler in handlers:
            if self.all_loggers and is_console(handler) and not _MUTE_FILTERS.intersection(handler.filters):
                handler.addFilter(_write_instead)
                self._muted.add(handler)
            self.capture_downstream(_downstream_handlers(handler))

    def _capture_server_logger(self, logger: logging.Logger) -> None:
        if _reapply_if_changed not in logger.filters:
            logger.addFilter(_reapply_if_changed)
        self._mute_consoles(logger)
        self._attach(logger)
        self._mute_above(logger)

    def _capture_access_logger(self, logger: logging.Logger) -> None:
        if _reapply_if_changed not in logger.filters:
            logger.addFilter(_reapply_if_changed)
        if not logger.hasHandlers():
            return  # the server was told to write none
        self._mute_consoles(logger)
        self._mute_above(logger)
        if self._is_unneeded(logger):
            self._set_level(logger, _OFF)
        else:
            self._restore_level(logger)
            self._attach(logger)

    def _is_unneeded(self, logger: logging.Logger) -> bool:
        """
        Return whether these records go nowhere: then uvicorn need not make one for each request.
        """
        handlers = [handler for here in propagation_path(logger) for handler in here.handlers]
        ours = all(is_console(handler) or isinstance(handler, JsonHandler) for handler in handlers)
        return logger.name == "uvicorn.access" and ours and _writes_access_lines()

    def _attach(self, logger: logging.Logger) -> None:
        if not any(isinstance(handler, JsonHandler) for here in propagation_path(logger) for handler in here.handlers):
            logger.addHandler(_handler)
            self._loggers_with_handler.add(logger)

    def _mute_consoles(self, logger: logging.Logger, how: Callable[[logging.LogRecord], bool] = _mute) -> bool:
        consoles = [handler for handler in logger.handlers if is_console(handler)]
        for handler in consoles:
            if how not in handler.filters and not {_mute, _write_instead}.intersection(handler.filters):
                handler.addFilter(how)
                self._muted.add(handler)
        return bool(consoles)

    def _mute_above(self, logger: logging.Logger) -> None:
        for here in propagation_path(logger):
            if here is not logger:
                self._mute_consoles(here, _mute_servers)

    def _set_level(self, logger: logging.Logger, level: int) -> None:
        self._levels.setdefault(logger, logger.level)
        logger.setLevel(level)

    def _restore_level(self, logger: logging.Logger) -> None:
        if logger.level == _OFF:
            logger.setLevel(self._levels.pop(logger))

    def _install_hooks(self) -> None:
        """
        Hook what sets up loggers later, `warnings` and uncaught exceptions.
        """
        self._uncaught.watch()
        self._patches.put(logging.Logger, "addHandler", _add_handler_hook)
        self._patches.put(logging.handlers.QueueListener, "handle", _queue_listener_hook)
        self._patches.put(logging.config, "_install_loggers", _file_config_hook)
        if self._configurator is None:
            before = logging.config.dictConfigClass

            class Configurator(before):  # type: ignore[misc, valid-type]
                def configure(self) -> None:
                    with _keep_enabled():
                        super().configure()
                    reapply()

            self._configurator = before, Configurator
            logging.config.dictConfigClass = Configurator
        if self._show_warning is None:
            self._show_warning = warnings.showwarning
            warnings.showwarning = _show_warning

    def is_up_to_date(self, logger: logging.Logger) -> bool:
        """
        Return whether nothing about a server's logger has changed since.
        """
        consoles = [handler for here in propagation_path(logger) for handler in here.handlers if is_console(handler)]
        if any(handler not in self._muted for handler in consoles):
            return False
        if logger.name in ACCESS_PARSERS and self._is_unneeded(logger) != (logger.level == _OFF):
            return False
        return logger.level == _OFF or any(_handler in here.handlers for here in propagation_path(logger))

    # Undoing it

    def undo(self) -> None:
        for logger in self._loggers_with_handler:
            logger.removeHandler(_handler)
        for handler in self._muted:
            for mute in _MUTE_FILTERS:
                handler.removeFilter(mute)
        for logger, level in self._levels.items():
            logger.setLevel(level)
        for name in ALL_SERVER_LOGGERS:
            logging.getLogger(name).removeFilter(_reapply_if_changed)
        if self._configurator is not None and logging.config.dictConfigClass is self._configurator[1]:
            logging.config.dictConfigClass = self._configurator[0]
        if self._show_warning is not None and warnings.showwarning is _show_warning:
            warnings.showwarning = self._show_warning
        self._patches.restore()
        self._uncaught.undo()
        json_handler.is_duplicate = lambda record: False
        self.__init__(self.all_loggers)  # type: ignore[misc]


_MUTE_FILTERS = frozenset([_mute, _mute_servers, _write_instead])


def _loggers() -> list[logging.Logger]:
    """
    Return all existing loggers, parents first.
    """
    named = sorted(logging.root.manager.loggerDict.items())
    return [logging.root, *(logger for _, logger in named if isinstance(logger, logging.Logger))]


_lock = RLock()
_capture: _LoggingCapture | None = None
_is_stale = False  # something was set up while it was applied
_outlives_runtime = False  # the application asked for it; else it ends with the runtime


def instrument(*, outlives_runtime: bool = True, all_loggers: bool = True) -> None:
    """
    Write the standard library's records as obskit's lines.

    Args:
        outlives_runtime: Keep it beyond the runtime, until `uninstrument()`.
        all_loggers: Capture all loggers; False: the servers' only.
    """
    global _capture, _outlives_runtime
    with _lock:
        _outlives_runtime = _outlives_runtime or outlives_runtime
        if _capture is not None and all_loggers and not _capture.all_loggers:
            _capture.undo()
            _capture = None
        if _capture is None:
            _capture = _LoggingCapture(all_loggers)
        _capture.apply()


def uninstrument() -> None:
    """
    Restore the loggers.
    """
    global _capture, _outlives_runtime
    with _lock:
        if _capture is not None:
            _capture.undo()
        _capture, _outlives_runtime = None, False


def reapply() -> None:
    """
    Capture what was set up since.
    """
    with _lock:
        _apply()


def reapply_or_defer() -> None:
    """
    Capture what was set up since, for a caller that holds the lock of `logging`, which `apply()` asks for while it has
    ours; where another thread has ours, that thread does it.
    """
    global _is_stale
    _is_stale = True
    if _lock.acquire(blocking=False):
        try:
            _apply()
        finally:
            _lock.release()


def _apply() -> None:
    global _is_stale
    while True:
        _is_stale = False
        if _capture is not None:
            _capture.apply()
        if not _is_stale:
            return


def _reapply_if_changed(record: logging.LogRecord) -> bool:
    """
    Check, as a filter of the servers' loggers, whether the server has set them up anew.
    """
    capture = _capture
    if capture is not None and not capture.is_up_to_date(logging.getLogger(record.name)):
        reapply()
    return True


def _on_writer_changed(writer: Writer | None) -> None:
    with _lock:
        if _capture is None:
            return
        if current_runtime() is None and not _outlives_runtime:
            uninstrument()
        else:
            _capture.undo()
            _capture.apply()


def _unlock_in_child() -> None:
    global _lock
    _lock = RLock()  # a thread of the parent may have been at it


at_fork(after_in_child=_unlock_in_child)
writers.subscribe(_on_writer_changed)


def _writes_access_lines() -> bool:
    """
    Return whether obskit writes access lines in this process.
    """
    runtime = current_runtime()
    return runtime is not None and runtime.settings.enabled and runtime.settings.access_log and has_observers()


def _is_duplicate(record: logging.LogRecord) -> bool:
    runtime, said = current_runtime(), parse_access_record(record)
    if runtime is None or said is None or not _writes_access_lines():
        return False
    if record.name != "gunicorn.access":
        return bool(said["status"] != 101)  # obskit does not observe WebSockets
    # gunicorn also tells of requests that never reached the application.
    atoms: Any = record.args
    skip, path = skipper(runtime.settings), said["path"]
    return f"{{{OBSERVED}}}e" in atoms or path in runtime.routes.paths or (skip is not None and skip(path))


def _add_handler_hook(plain: Any) -> Any:
    """
    Add a handler, and mute it where it writes to the console.

    No lock is taken here: `basicConfig()` holds that of `logging`, which `apply()` asks for while it has ours.
    """

    def addHandler(self: logging.Logger, hdlr: logging.Handler) -> None:
        plain(self, hdlr)
        capture = _capture
        try:
            if capture is not None and capture.all_loggers:
                if is_console(hdlr):
                    capture._capture_logger(self)
                capture.capture_downstream(_downstream_handlers(hdlr))
        except Exception as error:
            recorder.failed("logs", error)

    return addHandler


def _queue_listener_hook(plain: Any) -> Any:
    """
    Handle a record from a queue; consoles behind it write lines of ours.
    """

    def handle(self: logging.handlers.QueueListener, record: logging.LogRecord) -> None:
        capture = _capture
        try:
            if capture is not None:
                capture.capture_downstream(self.handlers)
        except Exception as error:
            recorder.failed("logs", error)
        plain(self, record)

    return handle


def _file_config_hook(plain: Any) -> Any:
    """
    Set up loggers as `fileConfig()` says, and then capture them, as after `dictConfig()`.

    It is what `fileConfig()` calls, since Alembic's `env.py` may have imported that before.
    """

    def _install_loggers(cp: Any, handlers: Any, disable_existing: Any) -> None:
        with _keep_enabled():
            plain(cp, handlers, disable_existing)
        reapply_or_defer()

    return _install_loggers


@contextmanager
def _keep_enabled() -> Iterator[None]:
    """
    Protect servers' loggers, and those that our own lines go through, when all existing ones are disabled.
    """
    loggers = [logging.getLogger(name) for name in (*ALL_SERVER_LOGGERS, *_INTERNAL_LOGGERS)]
    enabled = [logger for logger in loggers if not logger.disabled]
    yield
    if _capture is not None:
        for logger in enabled:
            logger.disabled = False


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """
    Write a warning as a line, where it would have gone to standard error.
    """
    capture = _capture
    if file is not None and capture is not None and capture._show_warning is not None:
        capture._show_warning(message, category, filename, lineno, file, line)
        return
    logger = logging.getLogger("py.warnings")
    if logger.isEnabledFor(logging.WARNING):
        said, where = (category.__name__, message), {"file": f"{filename}:{lineno}"}
        logger.handle(
            logger.makeRecord(logger.name, logging.WARNING, filename, lineno, "%s: %s", said, None, extra=where)
        )
