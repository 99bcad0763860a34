"""
Turn the records of the standard library's loggers, and the lines of servers, into obskit's lines.

Handlers that write to the console are muted and not taken away, so that all can be undone; files and other handlers
stay as they are. Servers set up their loggers before the application is imported, after it, or at their first line:
what they set up later is found when they log.
"""

from __future__ import annotations

import logging
import logging.config
import sys
import warnings
from collections.abc import Callable, Iterator
from threading import RLock
from typing import Any, TextIO
from weakref import WeakSet

from obskit.forks import at_fork
from obskit.integrations._http import MARK, skipper
from obskit.integrations._uncaught import Uncaught
from obskit.logs import records
from obskit.logs import writer as writers
from obskit.logs.access import READERS, read
from obskit.logs.records import JsonHandler
from obskit.logs.writer import NUMBERS, Writer
from obskit.recorder import recorder
from obskit.runtime import is_followed, standing

# Where servers log, the outer ones first; their access records go to the loggers of READERS.
SERVERS = ("uvicorn", "uvicorn.error", "uvicorn.asgi", "gunicorn.error", "hypercorn.error", "_granian")
_OF_SERVERS = frozenset([*SERVERS, *READERS])
_OFF = logging.CRITICAL + 10
_CONSOLE_NAMES = ("<stdout>", "<stderr>")

_handler = JsonHandler()


def is_console(handler: logging.Handler) -> bool:
    """
    Tell whether a handler writes to standard output or standard error.
    """
    if not isinstance(handler, logging.StreamHandler) or isinstance(handler, logging.FileHandler):
        return False
    stream: Any = handler.stream
    standard = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    # Flask's is a proxy that has the name.
    return stream is not None and (stream in standard or getattr(stream, "name", None) in _CONSOLE_NAMES)


def _way_of(logger: logging.Logger) -> Iterator[logging.Logger]:
    """
    Yield the loggers whose handlers see what is logged here.
    """
    here: logging.Logger | None = logger
    while here is not None:
        yield here
        here = here.parent if here.propagate else None


def _mute(record: logging.LogRecord) -> bool:
    return False


def _mute_servers(record: logging.LogRecord) -> bool:
    return record.name not in _OF_SERVERS


class _Takeover:
    """
    Hold what was changed in the logging of this process.

    Args:
        everything: Take over all loggers, not the servers' alone.
    """

    def __init__(self, everything: bool) -> None:
        self.everything = everything
        self._handled: set[logging.Logger] = set()
        self._muted: WeakSet[logging.Handler] = WeakSet()
        self._levels: dict[logging.Logger, int] = {}
        self._show_warning: Any = None
        self._configurator: Any = None
        self._uncaught = Uncaught()

    # Doing it, as often as somebody has set up loggers

    def apply(self) -> None:
        """
        Take over whatever is set up by now.
        """
        settings = writers.settings()
        for name, level in settings.log_levels.items():
            if self.everything or name in _OF_SERVERS:
                self._set_level(logging.getLogger(name), NUMBERS[level])
        if self.everything:
            self._set_level(logging.root, NUMBERS[settings.log_level])
            self._attach(logging.root)
            for logger in _loggers():
                self._take(logger)
            self._watch_the_rest()
        for name in SERVERS:
            self._take_server(logging.getLogger(name))
        for name in READERS:
            self._take_access(logging.getLogger(name))
        records.is_duplicate = _is_duplicate

    def _take(self, logger: logging.Logger) -> None:
        if self._mute_consoles(logger):
            self._attach(logger)

    def _take_server(self, logger: logging.Logger) -> None:
        if _heal not in logger.filters:
            logger.addFilter(_heal)
        self._mute_consoles(logger)
        self._attach(logger)
        self._mute_above(logger)

    def _take_access(self, logger: logging.Logger) -> None:
        if _heal not in logger.filters:
            logger.addFilter(_heal)
        if not logger.hasHandlers():
            return  # the server was told to write none
        self._mute_consoles(logger)
        self._mute_above(logger)
        if self._is_needless(logger):
            self._set_level(logger, _OFF)
        else:
            self._restore_level(logger)
            self._attach(logger)

    def _is_needless(self, logger: logging.Logger) -> bool:
        """
        Tell whether nobody wants these records: then uvicorn need not make one for each request.
        """
        handlers = [handler for here in _way_of(logger) for handler in here.handlers]
        ours = all(is_console(handler) or isinstance(handler, JsonHandler) for handler in handlers)
        return logger.name == "uvicorn.access" and ours and _is_replaced()

    def _attach(self, logger: logging.Logger) -> None:
        if not any(isinstance(handler, JsonHandler) for here in _way_of(logger) for handler in here.handlers):
            logger.addHandler(_handler)
            self._handled.add(logger)

    def _mute_consoles(self, logger: logging.Logger, how: Callable[[logging.LogRecord], bool] = _mute) -> bool:
        consoles = [handler for handler in logger.handlers if is_console(handler)]
        for handler in consoles:
            if how not in handler.filters and _mute not in handler.filters:
                handler.addFilter(how)
                self._muted.add(handler)
        return bool(consoles)

    def _mute_above(self, logger: logging.Logger) -> None:
        for here in _way_of(logger):
            if here is not logger:
                self._mute_consoles(here, _mute_servers)

    def _set_level(self, logger: logging.Logger, level: int) -> None:
        self._levels.setdefault(logger, logger.level)
        logger.setLevel(level)

    def _restore_level(self, logger: logging.Logger) -> None:
        if logger.level == _OFF:
            logger.setLevel(self._levels.pop(logger))

    def _watch_the_rest(self) -> None:
        """
        Find what is set up later, and what `warnings` and the hooks for uncaught exceptions say.
        """
        self._uncaught.watch()
        setattr(logging.Logger, "addHandler", _add_handler)  # noqa: B010  # it is a method
        if self._configurator is None:
            before = logging.config.dictConfigClass

            class Configurator(before):  # type: ignore[misc, valid-type]
                def configure(self) -> None:
                    super().configure()
                    heal()

            self._configurator = before, Configurator
            logging.config.dictConfigClass = Configurator
        if self._show_warning is None:
            self._show_warning = warnings.showwarning
            warnings.showwarning = _show_warning

    def is_settled(self, logger: logging.Logger) -> bool:
        """
        Tell whether nothing about a server's logger has changed since.
        """
        consoles = [handler for here in _way_of(logger) for handler in here.handlers if is_console(handler)]
        if any(handler not in self._muted for handler in consoles):
            return False
        if logger.name in READERS and self._is_needless(logger) != (logger.level == _OFF):
            return False
        return logger.level == _OFF or any(_handler in here.handlers for here in _way_of(logger))

    # Undoing it

    def undo(self) -> None:
        """
        Leave everything as it was.
        """
        for logger in self._handled:
            logger.removeHandler(_handler)
        for handler in self._muted:
            handler.removeFilter(_mute)
            handler.removeFilter(_mute_servers)
        for logger, level in self._levels.items():
            logger.setLevel(level)
        for name in _OF_SERVERS:
            logging.getLogger(name).removeFilter(_heal)
        if self._configurator is not None and logging.config.dictConfigClass is self._configurator[1]:
            logging.config.dictConfigClass = self._configurator[0]
        if self._show_warning is not None and warnings.showwarning is _show_warning:
            warnings.showwarning = self._show_warning
        if logging.Logger.addHandler is _add_handler:
            setattr(logging.Logger, "addHandler", _plain_add_handler)  # noqa: B010
        self._uncaught.undo()
        records.is_duplicate = lambda record: False
        self.__init__(self.everything)  # type: ignore[misc]


def _loggers() -> list[logging.Logger]:
    """
    List the loggers that there are, the outer ones first.
    """
    named = sorted(logging.root.manager.loggerDict.items())
    return [logging.root, *(logger for _, logger in named if isinstance(logger, logging.Logger))]


_lock = RLock()
_takeover: _Takeover | None = None
_is_kept = False  # somebody asked for it; else it ends with the runtime


def instrument(*, kept: bool = True, everything: bool = True) -> None:
    """
    Write what the standard library's loggers say as obskit's lines.

    Args:
        kept: Beyond the runtime, until `uninstrument()`.
        everything: All loggers; False: the servers' alone.
    """
    global _takeover, _is_kept
    with _lock:
        _is_kept = _is_kept or kept
        if _takeover is not None and everything and not _takeover.everything:
            _takeover.undo()
            _takeover = None
        if _takeover is None:
            _takeover = _Takeover(everything)
        _takeover.apply()


def uninstrument() -> None:
    """
    Leave loggers as they were.
    """
    global _takeover, _is_kept
    with _lock:
        if _takeover is not None:
            _takeover.undo()
        _takeover, _is_kept = None, False


def heal() -> None:
    """
    Take over what was set up since.
    """
    with _lock:
        if _takeover is not None:
            _takeover.apply()


def _heal(record: logging.LogRecord) -> bool:
    """
    Look, as a filter of the servers' loggers, whether the server has set them up anew.
    """
    takeover = _takeover
    if takeover is not None and not takeover.is_settled(logging.getLogger(record.name)):
        heal()
    return True


def _follow(writer: Writer | None) -> None:
    with _lock:
        if _takeover is None:
            return
        if standing() is None and not _is_kept:
            uninstrument()
        else:
            _takeover.undo()
            _takeover.apply()


def _unlock_in_child() -> None:
    global _lock
    _lock = RLock()  # a thread of the parent may have been at it


at_fork(after_in_child=_unlock_in_child)
writers.follow(_follow)


def _is_replaced() -> bool:
    """
    Tell whether obskit writes access lines in this process.
    """
    runtime = standing()
    return runtime is not None and runtime.settings.enabled and runtime.settings.access_log and is_followed()


def _is_duplicate(record: logging.LogRecord) -> bool:
    runtime, said = standing(), read(record)
    if runtime is None or said is None or not _is_replaced():
        return False
    if record.name != "gunicorn.access":
        return bool(said["status"] != 101)  # obskit does not observe WebSockets
    # gunicorn also tells of requests that never reached the application.
    atoms: Any = record.args
    skip, path = skipper(runtime.settings), said["path"]
    return f"{{{MARK}}}e" in atoms or path in runtime.routes.paths or (skip is not None and skip(path))


_plain_add_handler = logging.Logger.addHandler


def _add_handler(self: logging.Logger, hdlr: logging.Handler) -> None:
    """
    Add a handler that somebody sets up later, and mute it where it writes to the console.

    No lock is taken here: `basicConfig()` holds that of `logging`, which `apply()` asks for while it has ours.
    """
    _plain_add_handler(self, hdlr)
    takeover = _takeover
    try:
        if takeover is not None and is_console(hdlr):
            takeover._take(self)
    except Exception as error:
        recorder.failed("logs", error)


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
    takeover = _takeover
    if file is not None and takeover is not None and takeover._show_warning is not None:
        takeover._show_warning(message, category, filename, lineno, file, line)
        return
    logger = logging.getLogger("py.warnings")
    if logger.isEnabledFor(logging.WARNING):
        said, where = (category.__name__, message), {"file": f"{filename}:{lineno}"}
        logger.handle(
            logger.makeRecord(logger.name, logging.WARNING, filename, lineno, "%s: %s", said, None, extra=where)
        )
