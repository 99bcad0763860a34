"""
What a route answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus


@dataclass(slots=True)
class Reply:
    """
    What a route of obskit's answers, or a gate.

    Attributes:
        status: An HTTP status.
        headers: In their order; `Content-Length` is added where the body is whole.
        body: All of it, or its pieces: a generator is asked for one at a time, sent before the next is made, and closed
            when the client leaves. A gate's is whole.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes | Iterable[bytes] = b""


NO_STORE = ("Cache-Control", "no-store")
TEXT = ("Content-Type", "text/plain; charset=utf-8")
_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
_valid_name = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_valid_value = re.compile(r"[\t\x20-\x7e\x80-\xff]*").fullmatch


def text(status: int, words: str, *headers: tuple[str, str]) -> Reply:
    """
    Answer with a few words, which no cache keeps.
    """
    return Reply(status, [*headers, TEXT, NO_STORE], words.encode())


def status_line(status: int) -> str:
    """
    Return the status as WSGI wants it: `200 OK`.
    """
    return _LINES.get(status, f"{status} ")


def checked(reply: object) -> Reply:
    """
    Return what a handler gave, where a server can send it.

    Raises:
        TypeError, ValueError: It cannot, and what is wrong.
    """
    if not isinstance(reply, Reply):
        raise TypeError(f"a handler gave a {type(reply).__name__}: expected a Reply")
    if type(reply.status) is not int or not 200 <= reply.status <= 599:
        raise ValueError(f"status={reply.status!r} of a reply: expected 200 to 599")
    if isinstance(reply.body, str) or not (isinstance(reply.body, bytes) or hasattr(reply.body, "__iter__")):
        raise TypeError(f"the body of a reply is a {type(reply.body).__name__}: expected bytes, or an iterable of them")
    for name, value in reply.headers:
        if not (_valid_name(name) and _valid_value(value)):  # a line end in one would begin another
            raise ValueError(f"the header {name!r} of a reply has a name or a value that no header can have")
    return reply
