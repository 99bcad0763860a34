"""
The label of each HTTP method.
"""

from __future__ import annotations

OTHER = "_OTHER"
# RFC 9110 section 9 and RFC 5789: the methods that get a label of their own; every other is `_OTHER`.
HTTP_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")


class _Labels(dict[str, str]):
    def __missing__(self, method: str) -> str:
        return OTHER


METHOD_LABELS = _Labels(zip(HTTP_METHODS, HTTP_METHODS, strict=True))
