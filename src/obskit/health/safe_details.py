"""
Redact what a check reports before it is shown.

Beside what is secret in a line, everything of a URL that has a user goes: host and database are no business of a
status page either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from obskit.late_patterns import late
from obskit.redaction.redactor import Redactor
from obskit.redaction.text_truncation import redact_and_truncate

HIDDEN = "[redacted]"
MAX_TEXT = 500
_MAX_DEPTH = 4
# Whether there is a user or not, a URL is gone through once.
_url = late(r"\b[a-z][a-z0-9+.-]{0,30}://[^\s'\"<>@]*+(@)?+[^\s'\"<>]*+", re.IGNORECASE)
_default = Redactor()


def redacted(text: str, redactor: Redactor = _default) -> str:
    """
    Return a text without what looks like a secret, and without what drivers quote, truncated to 500 characters.
    """
    redact = redactor.traceback_of_any_length
    shown, missing = redact_and_truncate(text, MAX_TEXT, lambda seen: redact(_url.sub(_without_user, seen)))
    return shown[: MAX_TEXT - 3] + "..." if missing else shown


def _without_user(url: re.Match[str]) -> str:
    return HIDDEN if url[1] else url[0]


def without_secrets(details: Any, redactor: Redactor = _default) -> Any:
    """
    Return details as JSON values, without secrets.
    """
    return _as_json(redactor.value(details), redactor, _MAX_DEPTH)


def _as_json(value: Any, redactor: Redactor, depth: int) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        if not depth:
            return f"[{len(value)} fields cut]"
        return {redacted(str(name), redactor): _as_json(inner, redactor, depth - 1) for name, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_as_json(inner, redactor, depth - 1) for inner in value] if depth else f"[{len(value)} items cut]"
    return redacted(str(value), redactor)
