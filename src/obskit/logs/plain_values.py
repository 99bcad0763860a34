"""
Recognise lists and dicts that a line shows as they are: nothing in them is secret, and all of it is plain JSON.

Most are a few numbers and short texts. One pass tells, where redaction and conversion would each make a copy.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from obskit.logs.rendering import MAX_SAFE_INTEGER, VALUE_OVERHEAD
from obskit.redaction.redactor import Redactor

# Deeper ones are looked at by the general way, which knows those that contain themselves.
_MAX_DEPTH = 4
_ALWAYS_PLAIN = frozenset([float, bool, type(None)])
_has_surrogate = re.compile(r"[\ud800-\udfff]").search  # UTF-8 cannot hold one by itself


class Sizes(NamedTuple):
    """
    The size in characters, as a `SizeBudget` counts it, of a value that is plain; 0 of one that is not.
    """

    of_dict: Callable[[dict[Any, Any]], int]
    of_list: Callable[[list[Any]], int]


def plain_sizes(redactor: Redactor) -> Sizes:
    """
    Return what tells the sizes of plain values by this redactor.
    """
    text, safe_names, shorter = redactor.text, redactor.safe_names, redactor.shorter_texts
    least, smaller = 1 - MAX_SAFE_INTEGER, min(redactor.smaller_integers, MAX_SAFE_INTEGER)

    def of_dict(fields: dict[Any, Any], depth: int = _MAX_DEPTH) -> int:
        size = VALUE_OVERHEAD
        try:
            for name, value in fields.items():
                if name not in safe_names:
                    return 0
                kind = type(value)
                if kind is str:
                    if len(value) >= shorter and text(value) is not value:
                        return 0
                    if not value.isascii() and _has_surrogate(value):
                        return 0
                    size += len(value)
                elif kind is int:
                    if not least <= value < smaller:
                        return 0
                elif kind not in _ALWAYS_PLAIN:
                    inside = of_inner(value, depth)
                    if not inside:
                        return 0
                    size += inside - VALUE_OVERHEAD
                size += len(name) + 2 * VALUE_OVERHEAD
        except RuntimeError:  # another thread changes it
            return 0
        return size

    def of_list(items: list[Any], depth: int = _MAX_DEPTH) -> int:
        size = VALUE_OVERHEAD
        for value in items:
            kind = type(value)
            if kind is int:
                if not least <= value < smaller:
                    return 0
            elif kind is str:
                if value[:1] == "-" or (len(value) >= shorter and text(value) is not value):
                    return 0  # an option tells about what follows
                if not value.isascii() and _has_surrogate(value):
                    return 0
                size += len(value)
            elif kind not in _ALWAYS_PLAIN:
                inside = of_inner(value, depth)
                if not inside or may_be_field(value):
                    return 0
                size += inside - VALUE_OVERHEAD
            size += VALUE_OVERHEAD
        return size

    def of_inner(value: Any, depth: int) -> int:
        if depth and type(value) is dict:
            return of_dict(value, depth - 1)
        return of_list(value, depth - 1) if depth and type(value) is list else 0

    def may_be_field(value: Any) -> bool:
        # A pair is one, where it starts with a name.
        return len(value) == 2 and type(value) is list and type(value[0]) is str and value[0] not in safe_names

    return Sizes(of_dict, of_list)
