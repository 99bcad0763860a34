"""
What a line shows of an exception.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any

from obskit.redaction.text_truncation import MAX_TEXT


def exception_from(given: Any) -> BaseException | None:
    """
    Return the exception in a caller's `exc_info`; None where there is none.
    """
    if isinstance(given, BaseException):
        return given
    found = given if isinstance(given, tuple) else sys.exc_info() if given else ()
    return next((part for part in found if isinstance(part, BaseException)), None)


def traceback_of(error: BaseException, redact: Callable[[str], str]) -> str:
    """
    Format a traceback; a part that is too long is truncated on its own, so that the others stay.
    """
    try:
        parts = traceback.format_exception(error)
        return "".join([part if len(part) <= MAX_TEXT else redact(part) for part in parts])
    except Exception:
        return "<a traceback that cannot be shown>"


def message_of(error: BaseException) -> str:
    """
    Return what an exception says, whatever its `__str__()` does.
    """
    try:
        return str.__str__(str(error))
    except Exception:
        return "<a message that cannot be shown>"
