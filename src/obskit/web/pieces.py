"""
A reply in pieces: the next is made when the one before has been taken, so that an export of any size needs little room.
"""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import Any, TypeAlias

from obskit import background
from obskit.bounded_calls import Lane
from obskit.event_loop import beside, within
from obskit.recorder import recorder

Message: TypeAlias = MutableMapping[str, Any]

TAKE_SECONDS = 60.0  # for a client to take a piece: one that stands still for longer is cut off


class ReplyCutError(Exception):
    """
    A piece could not be made: the server must not end the reply as if it were whole. What happened has been logged.
    """


class Pieces:
    """
    The pieces that a handler's iterable makes, in the context of its request and in the turns of its lane.

    Args:
        body: What the handler gave.
        lane: Where pieces take their turns.
        seconds: How long to wait for a turn and, on an event loop, for a piece.

    Attributes:
        is_over: Whether there are no more, or nobody wants them.
    """

    def __init__(self, body: Iterable[bytes], lane: Lane, seconds: float) -> None:
        self._lane, self._seconds = lane, seconds
        self._context = contextvars.copy_context()
        self._lock = Lock()
        self._is_busy = self._is_closed = self.is_over = False
        self._body = iter(body)
        self._close_body: Callable[[], object] | None = getattr(self._body, "close", None)
        self._first: bytes | None = None

    def begin(self) -> None:
        """
        Make the first piece, in the handler's own turn: what fails there can still be told in the reply.
        """
        try:
            self._first = self._make()
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """
        Return the next piece, made here.

        Raises:
            ReplyCutError: It could not be made.
        """
        if self._first is not None:
            return self._take_first()
        if self.is_over:
            raise StopIteration
        try:
            piece = self._lane.run(self._make, self._seconds)
        except Exception as error:
            raise self._cut(error) from None
        if piece is None:
            raise StopIteration
        return piece

    async def take(self) -> bytes | None:
        """
        Return the next piece, made in a thread; None after the last.

        Raises:
            ReplyCutError: It could not be made, or not in time.
        """
        if self._first is not None:
            return self._take_first()
        if self.is_over:
            return None
        try:
            return await self._lane.run_async(self._make, self._seconds)
        except Exception as error:
            raise self._cut(error) from None

    def _take_first(self) -> bytes:
        piece, self._first = self._first, None
        assert piece is not None
        return piece

    def _cut(self, error: Exception) -> ReplyCutError:
        self.close()
        recorder.failed("web", error)
        return ReplyCutError("a reply was cut short")

    def _make(self) -> bytes | None:
        """
        Return the next piece that is not empty; None where there is none, or the client has left.
        """
        with self._lock:
            if self._is_closed:
                return None
            self._is_busy = True
        try:
            return self._context.run(self._next)
        finally:
            with self._lock:
                self._is_busy = False
                closes = self._is_closed
            if closes:
                self._end()

    def _next(self) -> bytes | None:
        for piece in self._body:
            if not isinstance(piece, bytes):
                raise TypeError(f"a piece of a reply is a {type(piece).__name__}: expected bytes")
            if piece:
                return piece
        self._is_closed = True
        return None

    def close(self) -> None:
        """
        Close the handler's generator, here, or where a piece is being made, after that.
        """
        with self._lock:
            self._is_closed = True
            if self._is_busy:
                return
        self._end()

    def close_soon(self) -> None:
        """
        Close it in a thread, and wait for nothing: an event loop must not be held.
        """
        if background.start(self.close, name="obskit-web-close", ends=True) is None:
            self.close()

    def _end(self) -> None:
        with self._lock:
            if self.is_over:
                return
            self.is_over = True
        if self._close_body is not None:
            try:
                self._context.run(self._close_body)
            except Exception as error:
                recorder.failed("web", error)


async def send_pieces(
    pieces: Pieces,
    start: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """
    Send a reply over ASGI, one piece at a time, until its end or until the client leaves.

    Args:
        pieces: The body; closed afterwards.
        start: The message that the reply begins with.
        receive: The server's, which says when the client has left.
        send: The server's.

    Raises:
        ReplyCutError: A piece could not be made.
    """
    has_left = False

    async def watch() -> None:
        nonlocal has_left
        with suppress(Exception):
            while (await receive())["type"] != "http.disconnect":
                pass
            has_left = True

    try:
        async with beside(watch):
            await send(start)
            while (piece := await pieces.take()) is not None and not has_left:
                await within(
                    TAKE_SECONDS, partial(send, {"type": "http.response.body", "body": piece, "more_body": True})
                )
            if not has_left:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
    except OSError:  # it has left, or stands still
        return
    finally:
        pieces.close_soon()
