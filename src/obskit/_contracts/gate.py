"""
What a gate must keep: it answers at once, from memory, and touches nothing of the request.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from inspect import isawaitable
from typing import Any

from obskit._contracts.trials import busy, expect, in_child, returns, shown, together
from obskit.web.gate import Gate
from obskit.web.replies import Reply, checked
from obskit.web.request import Request

_TIMES = 100  # that each of several threads asks it about every request


class _WatchedRequest(Request):
    """
    A request that tells when it is gone.
    """

    __slots__ = ("__weakref__",)


class _Unread:
    """
    A body that nobody may read: it is the application's.
    """

    def __init__(self) -> None:
        self.is_read = False

    def read(self, size: int = -1) -> bytes:
        self.is_read = True
        return b""

    readline = read


def check_gate(factory: Callable[[], Gate], *, seconds: float = 5.0) -> None:
    """
    Check that a gate of your own decides at once, and in replies that can be sent: `check_gate(lambda: MyGate({...}))`.

    It is asked about requests of all sorts, by several threads at once, and while the process forks.

    Args:
        factory: Makes a gate, as new each time.
        seconds: After which a call, or some hundreds by several threads, counts as slow.

    Raises:
        AssertionError: It says what the gate did, and what was expected.
    """
    gate = returns("the factory", seconds, factory)
    name = f"the gate {type(gate).__name__}"
    expect(callable(getattr(gate, "admit", None)), f"{name} has no admit()")
    for request, body in _requests():
        raw = dict(request.raw)
        what = f"admit() of {name}, for {request.method} {request.path[:40]!r} from {request.client}"
        _check_reply(what, returns(what, seconds, partial(gate.admit, request)))
        expect(not body.is_read, f"{what}, reads the body, which is the application's")
        expect(raw == request.raw, f"{what}, changed the server's environ or scope, which is the application's")
    _check_hold(name, gate)
    together(f"admit() of {name}, asked some hundred times,", seconds, partial(_ask_all, gate, _TIMES))
    with busy(partial(_ask_all, gate, 1)):
        in_child(name, seconds, [("admit()", partial(_ask_all, gate, 1))])


def _check_reply(what: str, reply: Any) -> None:
    if reply is None:
        return
    if isawaitable(reply):
        close = getattr(reply, "close", lambda: None)
        close()
        expect(False, f"{what}, gave something to await: it must be a plain method, which asks nobody")
    expect(isinstance(reply, Reply), f"{what}, gave {shown(reply)}: expected None to let it in, or a Reply")
    expect(isinstance(reply.body, bytes), f"{what}, gave a reply whose body is {shown(reply.body)}: expected bytes")
    try:
        checked(reply)
    except (TypeError, ValueError) as error:
        expect(False, f"{what}, gave a reply that no server can send: {error}")


def _requests() -> Iterator[tuple[Request, _Unread]]:
    for method in ("GET", "HEAD", "POST", "OPTIONS", "BREW"):
        for path, query in (
            ("/", ""),
            ("/items/7", "page=2"),
            ("/\udcff/\x00'\"<%", "a=%00&\udcff"),
            ("/" + "x" * 5000, ""),
        ):
            for client in ("192.0.2.7", "2001:db8::7", None):
                body = _Unread()
                headers = {} if client is None else {"user-agent": "curl/8", "authorization": "Basic \xff"}
                raw = {"REQUEST_METHOD": method, "PATH_INFO": path, "wsgi.input": body}
                yield _WatchedRequest(method, path, query, headers.get, client, raw), body


def _ask_all(gate: Any, times: int) -> None:
    requests = [request for request, _ in _requests()]
    for _ in range(times):
        for request in requests:
            gate.admit(request)


def _check_hold(name: str, gate: Any) -> None:
    held = []
    for request, _ in _requests():
        gate.admit(request)
        held.append(weakref.ref(request))
        del request
    gc.collect()
    kept = sum(reference() is not None for reference in held)
    expect(not kept, f"{name} keeps {kept} of {len(held)} requests alive: take what is wanted of one, and let it go")
