"""
What may refuse a request before the application sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import iscoroutine
from typing import Protocol

from obskit.recorder import recorder
from obskit.web.replies import Reply, checked
from obskit.web.request import Request

_BODILESS = (204, 205, 304)
_OURS = ("content-length", "transfer-encoding")


class Gate(Protocol):
    """
    What the setting `gates` takes: it decides, for each request, whether the application is to see it.

    It is asked in the server's thread or on its event loop, by several threads at once: it answers from memory, and
    waits for nothing. What it raises lets the request in, as does whatever is no reply; both are counted in
    `obskit_errors_total`.
    """

    def admit(self, request: Request) -> Reply | None:
        """
        Return None to let a request in, or what refuses it: a status from 200 on, and a body that is whole.
        """


def refusal(gates: Sequence[Gate], describe: Callable[[], Request]) -> Reply | None:
    """
    Return the reply of the first gate that refuses a request, as it is sent; None where all let it in.
    """
    for gate in gates:
        try:
            request = describe()
            reply: object = gate.admit(request)
            if iscoroutine(reply):
                reply.close()
                raise TypeError("it is a coroutine function, and must be a plain one")
            if reply is not None:
                return _sendable(checked(reply), request.method)
        except Exception as error:
            recorder.failed("gate", error)
    return None


def _sendable(reply: Reply, method: str) -> Reply:
    """
    Return what a gate gave, with its length, and without the body where none may follow.

    Raises:
        TypeError: Its body comes in pieces.
    """
    if not isinstance(reply.body, bytes):
        raise TypeError(f"the body of a gate's reply is a {type(reply.body).__name__}: expected bytes")
    headers = [(name, value) for name, value in reply.headers if name.lower() not in _OURS]
    if reply.status in _BODILESS:
        return Reply(reply.status, headers, b"")
    headers.append(("Content-Length", str(len(reply.body))))
    return Reply(reply.status, headers, b"" if method == "HEAD" else reply.body)
