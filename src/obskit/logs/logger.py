"""
Application loggers with structlog's methods that write obskit's lines.

structlog's own way from a call to a line is a chain of processors; here one function does their work. Each logger name
has a class, whose methods are made anew by every `configure()`: a logger that is kept, or bound, follows without a
look at a setting in any call. structlog's global configuration is neither read nor changed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from threading import RLock
from typing import Any, cast

from structlog import BoundLoggerBase
from structlog.typing import FilteringBoundLogger

from obskit.forks import at_fork
from obskit.logs.current_writer import current_writer, subscribe
from obskit.logs.json_handler import forward_to_logging
from obskit.logs.rendering import as_text, to_jsonable
from obskit.logs.sampling import SAMPLED_OUT
from obskit.logs.writer import LEVELS, Writer, level_name
from obskit.redaction.redactor import Redactor

Method = Callable[..., Any]

_METHODS = {
    "debug": "DEBUG",
    "info": "INFO",
    "msg": "INFO",
    "warning": "WARNING",
    "warn": "WARNING",
    "error": "ERROR",
    "critical": "CRITICAL",
    "fatal": "CRITICAL",
}


class NamedLogger:
    """
    What structlog calls the wrapped logger: a name; nothing is written through it.
    """

    def __init__(self, name: str) -> None:
        self.name = name


class BoundLogger(BoundLoggerBase):
    """
    A logger with its bound fields. Each logger name has a subclass, which has the methods.
    """

    def new(self, **new_values: Any) -> BoundLogger:
        """
        Return a logger with these fields only; this one keeps its own.
        """
        return type(self)(self._logger, self._processors, new_values)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (self._logger.name, dict(self._context))


def _unpickle(name: str, context: dict[str, Any]) -> BoundLogger:
    return _class_of(name)(NamedLogger(name), (), context)


def get_logger(name: str | None = None, **initial_values: Any) -> FilteringBoundLogger:
    """
    Return a logger with structlog's methods, whose lines are obskit's: `log.info("paid", order=17)`.

    It may be made at import. Before `configure()` its lines go to standard output, with the settings of the
    environment; from then on with those of `configure()`, and after `shutdown()` in the same form to standard output
    again. It writes with `enabled=False` too, since its lines are the application's. It never raises: what cannot be
    written is counted in `obskit_dropped_total`. The standard library's handlers see nothing of it, unless
    `log_through_logging` is on.

    Args:
        name: In the line's `logger`, with dots from the general to the special; it chooses the level (`log_levels`)
            and the file (`log_channels`). Default: the name of the calling module. Each name keeps a few kilobytes,
            so it must not be made from data.
        **initial_values: Fields of every line of this logger.
    """
    if name is None:
        name = str(sys._getframe(1).f_globals.get("__name__", "root"))
    return cast(FilteringBoundLogger, _class_of(name)(NamedLogger(name), (), initial_values))


_lock = RLock()  # a finaliser may ask for a logger while its thread is here
_classes: dict[str, type[BoundLogger]] = {}
_writer: Writer | None = None


def _class_of(name: str) -> type[BoundLogger]:
    found = _classes.get(name)
    if found is not None:
        return found
    with _lock:
        if name not in _classes:
            made = type("BoundLogger", (BoundLogger,), {"__module__": __name__})
            _install_methods(made, name)
            _classes[name] = made
        return _classes[name]


def _on_writer_changed(writer: Writer | None) -> None:
    """
    Bind the methods of every logger to this writer.
    """
    global _writer
    with _lock:
        _writer = writer
        for name, cls in list(_classes.items()):
            _install_methods(cls, name)


def _install_methods(cls: type[BoundLogger], name: str) -> None:
    methods = _lazy_methods() if _writer is None else _level_methods(_writer, name)
    for method, function in methods.items():
        setattr(cls, method, function)


def _level_methods(writer: Writer, name: str) -> dict[str, Method]:
    threshold = writer.level_of(name)
    levels = {
        level: _method(writer, name, level) if number >= threshold else _no_op for level, number in LEVELS.items()
    }
    methods: dict[str, Method] = {method: levels[level] for method, level in _METHODS.items()}
    methods["exception"] = _exception_method(levels["ERROR"])
    methods["log"] = _log_method(levels)
    methods |= {"a" + method: _async_method(function) for method, function in methods.items()}
    methods["is_enabled_for"] = lambda self, level: level >= threshold
    methods["get_effective_level"] = lambda self: threshold
    return methods


def _lazy_methods() -> dict[str, Method]:
    """
    Return the methods of loggers before the first line, which reads the environment.
    """
    names = [*_METHODS, "exception", "log"]
    return {
        name: _on_first_use(name)
        for name in [*names, *("a" + name for name in names), "is_enabled_for", "get_effective_level"]
    }


def _on_first_use(name: str) -> Method:
    def first_use(self: BoundLogger, /, *args: Any, **kw: Any) -> Any:
        current_writer()
        return getattr(self, name)(*args, **kw)

    return first_use


def _no_op(self: BoundLogger, event: object = None, /, *args: object, **kw: object) -> None:
    return  # the level is disabled


def _method(writer: Writer, name: str, level: str) -> Method:
    start_body, add, clock = writer.start_body, writer.add, writer.wall_clock
    render_line, target = writer.route(name, LEVELS[level])
    sampler, callsite, failed = writer.sampler, writer.callsite, writer.failed
    special = sampler is not None or callsite is not None
    forwards = writer.settings.log_through_logging

    def write(self: BoundLogger, event: Any = None, /, *args: Any, **kw: Any) -> None:
        try:
            now, left_out = clock(), 0
            if event is None and "event" in kw:
                event = kw.pop("event")
            if sampler is not None:
                left_out = sampler.admit((name, level, event if type(event) is str else as_text(event)), now)
                if left_out == SAMPLED_OUT:
                    return
            if args:
                event = _interpolated(event, args, kw, writer.redactor)
            body = start_body(event if type(event) is str else as_text(event))
            if self._context:
                add(body, self._context)
            if kw:
                add(body, kw)
            if special:
                if left_out:
                    body["left_out"] = left_out
                if callsite is not None:
                    callsite(body)
            line = render_line(now, body)
            taken = target.put(line)
            if taken != len(line):
                target.write_rest(line, taken)
            if forwards:
                forward_to_logging(name, LEVELS[level], body, kw.get("exc_info"))
        except Exception as error:
            failed(error)

    return write


def _interpolated(event: Any, args: tuple[Any, ...], kw: dict[str, Any], redactor: Redactor) -> Any:
    """
    Format a message with its arguments as structlog does; arguments that do not fit become a field.
    """
    try:
        return event % (args[0] if len(args) == 1 and isinstance(args[0], Mapping) and args[0] else args)
    except Exception:
        kw["args"] = to_jsonable(redactor.arguments(as_text(event), args))
        return event


def _exception_method(error: Method) -> Method:
    def exception(self: BoundLogger, event: Any = None, /, *args: Any, **kw: Any) -> None:
        kw.setdefault("exc_info", True)
        error(self, event, *args, **kw)

    return exception


def _log_method(levels: Mapping[str, Method]) -> Method:
    def log(self: BoundLogger, level: int | str, event: Any = None, /, *args: Any, **kw: Any) -> None:
        name = level.upper() if isinstance(level, str) else level_name(level)
        levels.get(name, _no_op)(self, event, *args, **kw)

    return log


def _async_method(method: Method) -> Method:
    """
    Return structlog's asynchronous variant of a method; one write needs no thread.
    """

    async def async_method(self: BoundLogger, /, *args: Any, **kw: Any) -> None:
        method(self, *args, **kw)

    return async_method


def _unlock_in_child() -> None:
    global _lock
    _lock = RLock()  # a thread of the parent may have been at it


at_fork(after_in_child=_unlock_in_child)
subscribe(_on_writer_changed)
