"""
Building blocks for applications that configure logging themselves.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, NoReturn

from obskit.logs.current_writer import current_writer
from obskit.logs.structlog_events import add_event, pop_message
from obskit.logs.writer import LEVELS

_SERVER_LOGGERS = ("uvicorn", "uvicorn.access", "gunicorn.error", "gunicorn.access", "_granian", "granian.access")
_HYPERCORN_LOGGERS = ("hypercorn.error", "hypercorn.access")
_LEVEL_ALIASES = {"msg": "INFO", "warn": "WARNING", "exception": "ERROR", "fatal": "CRITICAL", "err": "ERROR"}


def dict_config(level: str = "INFO") -> dict[str, Any]:
    """
    Return a configuration for `logging.config.dictConfig()` that writes every record as obskit's line.

    Servers take it too, and then their main process, which never imports the application, writes such lines as well:
    uvicorn as `log_config`, gunicorn and hypercorn as `logconfig_dict`, granian as `log_dictconfig`.

    Args:
        level: Of the root logger.
    """
    logger = {"handlers": ["obskit"], "level": "INFO", "propagate": False}
    # uvicorn writes its `use_colors` into these two.
    formatters = {name: {"()": "obskit.logs.JsonFormatter"} for name in ("default", "access")}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": formatters,
        "handlers": {"obskit": {"class": "obskit.logs.JsonHandler"}},
        "loggers": {name: dict(logger) for name in (*_SERVER_LOGGERS, *_HYPERCORN_LOGGERS)},
        "root": {"handlers": ["obskit"], "level": level},
    }


def structlog_processor(logger: Any, method_name: str, event_dict: MutableMapping[str, Any]) -> NoReturn:
    """
    Write obskit's line, as the last processor of an application's own structlog configuration.

    What the processors before have put into the event are fields of the line; what they made of an exception is its
    exception, and what `EventRenamer` calls the message is its message. It drops the event when it has written
    it, so no logger factory is asked to.

    Raises:
        structlog.DropEvent: Always; structlog ends the call with it.
    """
    from structlog import DropEvent

    name = event_dict.get("logger") or getattr(logger, "name", None) or "structlog"
    level = str(event_dict.get("level", method_name))
    number = LEVELS.get(_LEVEL_ALIASES.get(level, level).upper(), LEVELS["INFO"])
    writer = current_writer()
    if number >= writer.level_of(str(name)):
        event = dict(event_dict)
        body = writer.start_body(pop_message(event))
        add_event(body, event, writer)
        writer.emitter(str(name), number)(writer.wall_clock(), body)
    raise DropEvent
