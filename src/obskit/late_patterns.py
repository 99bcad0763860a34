"""
Patterns that are compiled when they are first used: most applications meet few of the texts that they are for.
"""

from __future__ import annotations

import re
from typing import Any, cast

_METHODS = ("finditer", "fullmatch", "match", "search", "split", "sub")


class LatePattern:
    """
    Stands for a pattern. Once it is compiled, its methods are the pattern's own. Two threads may both compile it.
    """

    __slots__ = ("_given", *_METHODS)

    def __init__(self, text: str, flags: int) -> None:
        self._given = text, flags

    def __getattr__(self, name: str) -> Any:
        pattern = re.compile(*self._given)
        for method in _METHODS:
            setattr(self, method, getattr(pattern, method))
        return getattr(pattern, name)


def late(text: str, flags: int = 0) -> re.Pattern[str]:
    """
    Return a pattern that is compiled with the first call of one of its methods. Call them as `pattern.search(text)`: to
    take one of them compiles it.
    """
    return cast("re.Pattern[str]", LatePattern(text, flags))
