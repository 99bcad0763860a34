"""
The category of a line, by its logger and its level: what a log store splits lines by.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from obskit.logs.server_access import ACCESS_PARSERS, ALL_SERVER_LOGGERS

_ERROR = 40
# By logger, and for those below it; obskit's own stand without their prefix.
_BY_LOGGER = {
    "access": "request",
    **dict.fromkeys(ACCESS_PARSERS, "request"),
    **dict.fromkeys(("performance", "security", "audit", "business"), ""),
    "django.request": "request",
    "django.security": "security",
}
_SYSTEM_LOGGERS = frozenset(["obskit", "py.warnings", "py.exceptions", *ALL_SERVER_LOGGERS])


def category_of(logger: str, level: int, channels: Collection[str]) -> str:
    """
    Return the category of the lines of one logger and level.

    Args:
        logger: The logger's name.
        level: By logging's numbers.
        channels: Names of loggers that have a file of their own: each is a category.
    """
    for name in (*_with_parents(logger), *_with_parents(logger.removeprefix("obskit."))):
        if name in _BY_LOGGER:
            return _BY_LOGGER[name] or name
        if name in channels:
            return name
    if level >= _ERROR:
        return "error"
    return "application" if _SYSTEM_LOGGERS.isdisjoint(_with_parents(logger)) else "system"


def _with_parents(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition(".")[0]
