"""
Describe the small application that every stack builds, and let a test steer its inside.

    GET, HEAD  /items/{item_id:int}           "item 7"
    GET        /api/v1/things/{thing_id:int}  "thing 7", two levels of router, blueprint or include
    GET        /t/{tenant}/u/{uid:int}        "acme 7", below a mount whose path has a parameter
    GET        /sub/things/{thing_id:int}     "thing 7", in a sub-application (where there is such a thing)
    POST       /orders                        "ordered 2" for {"quantity": 2}, else 400 or 422
    POST       /upload                        the length of the body
    GET        /absent                        404 by the view itself
    GET        /conflict                      ValueError, which an error handler turns into 409
    GET        /boom                          Boom, which nobody handles
    GET        /moved                         302 to /items/7
    GET        /own-id                        sets `X-Correlation-ID: mine`
    GET        /stream, /endless, /halfway    streamed replies: see `Scene`
    GET        /inside                        what `Scene.inside()` answers
    GET        /inside/thread                 the same, from a thread of the framework's pool (ASGI)
    GET, HEAD  /timed                         the same, with `Server-Timing: cache;dur=1` and the status `Scene.status`
    GET        /meet/{size:int}               waits in `Scene.meet()`, then `size` bytes
    GET        /background                    "done", then runs `Scene.later()` (where there is such a thing)
    WebSocket  /ws                            accepts, answers one text in upper case, closes
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

CHUNKS = (b"a" * 10, b"b" * 20, b"c" * 30)
OWN_TIMING = {"Server-Timing": "cache;dur=1"}
PIECE = b"x" * 16384
# Where nothing cuts it short, an endless reply still ends; 160 MB overfill any socket's buffers.
PIECES = 10_000


class Boom(Exception):
    pass


class Halfway(Exception):
    pass


class Clock(Protocol):
    def advance(self, seconds: float) -> None: ...


@dataclass
class Scene:
    """
    Stand between a test and the inside of the application.

    Attributes:
        clock: What the runtime measures with; each streamed chunk takes one second of it.
        inside: Called by `/inside` and `/timed`, and before each chunk of `/stream`.
        status: What `/timed` answers.
        later: Called in a background task, after the reply.
        meet: Called by `/meet`, awaited on ASGI stacks.
    """

    clock: Clock
    inside: Callable[[], str | None] = lambda: ""
    status: int = 200
    later: Callable[[], Any] = lambda: None
    meet: Callable[[], Any] = lambda: None

    def look(self) -> str:
        return self.inside() or ""

    def stream(self) -> Iterator[bytes]:
        for chunk in CHUNKS:
            self.inside()
            self.clock.advance(1.0)
            yield chunk

    def endless(self) -> Iterator[bytes]:
        for _ in range(PIECES):
            yield PIECE

    def halfway(self) -> Iterator[bytes]:
        yield from CHUNKS[:2]
        raise Halfway


async def flowing(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """
    Yield chunks as an asynchronous view does, letting other tasks run after each.
    """
    for chunk in chunks:
        yield chunk
        await breathe()


async def breathe() -> None:
    """
    Yield to other tasks, on whatever event loop.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        await import_module("trio").lowlevel.checkpoint()
    else:
        await asyncio.sleep(0)
