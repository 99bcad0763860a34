"""
List what a client may do, for tests that hold the instrumented application against the bare one.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .drivers import CALL, WHOLE, Ending, Request
from .scene import PIECE, Scene
from .stack import Stack


@dataclass(frozen=True)
class Case:
    """
    One exchange.

    Attributes:
        set: Sets the scene, and says how the exchange ends.
        needs: The ability of a stack without which there is no such exchange.
    """

    request: Request
    set: Callable[[Scene], Ending] = lambda scene: WHOLE
    needs: str = ""
    note: str = ""

    def __str__(self) -> str:
        request = self.request
        return f"{request.method} {request.root}{request.path} {request.body[:2].decode()} {self.note}".strip()

    def play(self, stack: Stack, app: Any, scene: Scene) -> dict[str, Any]:
        """
        Return what the server was given of the reply, without the correlation id.
        """
        reply = CALL[stack.protocol](app, self.request, self.set(scene))
        return {
            "status": reply.status,
            "headers": [pair for pair in reply.headers if pair[0].lower() != "x-correlation-id"],
            "pieces": reply.pieces,
            "error": type(reply.error),
        }


def leaves_after(pieces: int, send_raises: bool = True) -> Callable[[Scene], Ending]:
    return lambda scene: Ending(pieces=pieces, send_raises=send_raises)


def breaks_upload(scene: Scene) -> Ending:
    return Ending(upload_breaks=True)


def cancels_inside(scene: Scene) -> Ending:
    arrived = asyncio.Event()

    async def wait_forever() -> None:
        arrived.set()
        await asyncio.Event().wait()

    scene.meet = wait_forever
    return Ending(cancel_when=arrived.wait)


def looks_from_inside(scene: Scene) -> Ending:
    scene.inside = lambda: "seen"
    return WHOLE


CASES = [
    Case(Request("/items/7")),
    Case(Request("/items/7", "HEAD")),
    Case(Request("/items/7", "OPTIONS")),
    Case(Request("/items/7", "DELETE")),
    Case(Request("/items/7", "BREW")),
    Case(Request("/items/7", root="/shop")),
    Case(Request("/api/v1/things/7")),
    Case(Request("/t/acme/u/7")),
    Case(Request("/sub/things/7"), needs="sub-application"),
    Case(Request("/nowhere")),
    Case(Request("/orders", "POST", body=b'{"quantity": 2}')),
    Case(Request("/orders", "POST", body=b"no order")),
    Case(Request("/upload", "POST", body=PIECE)),
    Case(Request("/absent")),
    Case(Request("/conflict")),
    Case(Request("/boom")),
    Case(Request("/moved")),
    Case(Request("/own-id")),
    Case(Request("/inside"), looks_from_inside),
    Case(Request("/inside/thread"), looks_from_inside, needs="asgi"),
    Case(Request("/background"), needs="background"),
    Case(Request("/stream")),
    Case(Request("/halfway")),
    Case(Request("/endless"), leaves_after(2), note="and leave"),
    Case(Request("/endless"), leaves_after(2, send_raises=False), needs="asgi", note="and leave unnoticed"),
    Case(Request("/upload", "POST"), breaks_upload, needs="asgi", note="and leave"),
    Case(Request("/meet/7"), cancels_inside, needs="asgi", note="and be cancelled"),
]


def cases_of(stack: Stack) -> list[Case]:
    return [case for case in CASES if not case.needs or stack.has(case.needs)]


# Scope and messages of connections that are no requests, for `converse()`.
LIFESPAN = (
    {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}},
    [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}],
)
WEBSOCKET = (
    {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/ws",
        "raw_path": b"/ws",
        "root_path": "",
        "query_string": b"",
        "headers": [],
        "client": ("192.0.2.7", 50000),
        "server": ("shop.example", 80),
        "subprotocols": [],
        "state": {},
    },
    [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "hello"}],
)
