"""
Take secrets out of what a check says before anybody reads it.

Two nets: values that look like one (a URL with a user, `password=...`), and keys that are called like one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "[redacted]"
MAX_TEXT = 500
_MAX_DEPTH = 4
_KEY = r"[\w.-]*(?:passw(?:or)?d|passwd|pwd|secret|token|api[-_]?key|access[-_]?key|credential|authorization)[\w.-]*"
_secret_key = re.compile(_KEY, re.IGNORECASE).fullmatch
_PATTERNS = (
    # Everything of a URL that has a user: host and database are no business of a status page either.
    (re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]*@[^\s'\"<>]*", re.IGNORECASE), HIDDEN),
    (
        re.compile(rf"(\b{_KEY}['\"]?\s*[=:]\s*)(?:(?:bearer|basic)\s+)?(?:'[^']*'|\"[^\"]*\"|[^\s,;&)]+)", re.I),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"\b(?:sk|pk|rk|ghp|gho|xox[abp]|AKIA)[-_]?[A-Za-z0-9_-]{12,}"), HIDDEN),
)


def redacted(text: str) -> str:
    """
    Give a text without what looks like a secret, cut to 500 characters.
    """
    text = text[: 4 * MAX_TEXT]
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."


def without_secrets(value: Any, depth: int = _MAX_DEPTH) -> Any:
    """
    Give details as JSON can say them, without secrets.
    """
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if depth and isinstance(value, Mapping):
        return {
            str(key): HIDDEN if _secret_key(str(key)) else without_secrets(inner, depth - 1)
            for key, inner in value.items()
        }
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        return [without_secrets(inner, depth - 1) for inner in value]
    return redacted(str(value))
