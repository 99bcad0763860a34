"""
A request ends when its last byte is sent or its client is gone, once, and says which.
"""

import asyncio

import pytest

from obskit.context import current

from .drivers import Ending, Request
from .scene import CHUNKS, PIECE
from .shop import Record
from .stack import UNMATCHED
from .stacks import stacks

WHEN_GONE = pytest.mark.parametrize("raises", [True, False], ids=["send raises", "send ignores"])


@stacks()
def test_stream_is_timed_to_its_last_byte(shop):
    """
    The duration is the whole stream's, the first byte has its own, and sizes are what was sent.
    """
    reply = shop.get("/stream")

    assert reply.body == b"".join(CHUNKS)
    assert shop.records == [Record(endpoint="/stream", bytes_sent=60, streamed=True)]
    assert (shop.operation.duration_seconds, shop.operation.first_byte_seconds) == (3.0, 1.0)


@stacks()
def test_whole_reply_has_no_first_byte(shop):
    """
    The first byte of a reply in one piece is no figure of its own.
    """
    shop.scene.inside = lambda: shop.scene.clock.advance(2.0)
    shop.get("/inside")

    assert (shop.operation.duration_seconds, shop.operation.first_byte_seconds) == (2.0, None)


@stacks("wsgi")
def test_client_that_closes_a_wsgi_stream(shop):
    """
    A WSGI client that leaves in mid-stream leaves the status as it was sent: aborted, no exception.
    """
    shop.get("/endless", Ending(pieces=2))

    assert shop.records == [Record(endpoint="/endless", bytes_sent=2 * len(PIECE), streamed=True, aborted=True)]


@stacks("wsgi")
@pytest.mark.parametrize(
    ("path", "pieces", "record"),
    [
        pytest.param("/items/7", 0, {"bytes_sent": 0, "aborted": True}, id="unread"),
        pytest.param("/items/7", 1, {"bytes_sent": 6}, id="read to the declared length"),
        pytest.param(
            "/endless",
            2,
            {"bytes_sent": 2 * len(PIECE), "streamed": True, "aborted": True},
            id="stream",
        ),
    ],
)
def test_reply_that_is_neither_exhausted_nor_closed(shop, path, pieces, record):
    """
    A WSGI reply that its server forgets ends with the declared length or the garbage collector.
    """
    shop.get(path, Ending(pieces=pieces, close=False))

    if shop.stack.has("whole replies") and pieces == 0:
        record = {"bytes_sent": 6}  # it lies in memory, and has been handed over whole
    endpoint = shop.stack.spell(path.replace("7", "{item_id:int}"))
    assert shop.records == [Record(endpoint=endpoint, **record)]
    assert current.get() is None


@stacks("asgi")
@WHEN_GONE
def test_client_that_leaves_an_asgi_stream(shop, raises):
    """
    An ASGI client that leaves in mid-stream leaves the status as it was sent: aborted, no exception.
    """
    reply = shop.get("/endless", Ending(pieces=2, send_raises=raises))

    assert shop.records == [Record(endpoint="/endless", bytes_sent=len(reply.body), streamed=True, aborted=True)]


@stacks("asgi")
@WHEN_GONE
def test_client_that_leaves_before_a_status(shop, raises):
    """
    A client that leaves while its body is awaited is 499, whatever the framework says to nobody.
    """
    request, ending = Request("/upload", "POST"), Ending(upload_breaks=True, send_raises=raises)
    reply = shop.call(request, ending)

    endpoint = UNMATCHED if shop.stack.has("late routing") else "/upload"
    assert shop.records == [Record(method="POST", endpoint=endpoint, status=499, bytes_sent=len(reply.body))]


@stacks("asgi")
def test_request_that_is_cancelled_before_a_status(shop):
    """
    A cancelled request is 499: no 500, no exception.
    """
    arrived = asyncio.Event()

    async def wait_forever():
        arrived.set()
        await asyncio.Event().wait()

    shop.scene.meet = wait_forever
    reply = shop.get("/meet/7", Ending(cancel_when=arrived.wait))

    assert isinstance(reply.error, asyncio.CancelledError)
    endpoint = shop.stack.spell("/meet/{size:int}")
    assert shop.records == [Record(endpoint=endpoint, status=499, bytes_sent=0)]


@stacks("asgi")
def test_request_that_is_cancelled_in_mid_stream(shop):
    """
    A stream that the server cancels keeps its status: aborted, no exception.
    """
    flowing = asyncio.Event()
    endless = shop.scene.endless

    def pieces():
        for number, piece in enumerate(endless()):
            if number == 2:
                flowing.set()
            yield piece

    shop.scene.endless = pieces
    reply = shop.get("/endless", Ending(cancel_when=flowing.wait))

    assert shop.records == [Record(endpoint="/endless", bytes_sent=len(reply.body), streamed=True, aborted=True)]


@stacks("background")
def test_background_task_is_not_in_the_duration(shop):
    """
    Work after the reply is not the client's time.
    """
    shop.scene.later = lambda: shop.scene.clock.advance(10.0)
    shop.get("/background")

    assert shop.records == [Record(endpoint="/background", bytes_sent=4)]
    assert shop.operation.duration_seconds == 0.0


@stacks()
def test_request_is_in_progress_while_it_is_answered(shop):
    """
    The gauge is one inside of the request, and back at zero after.
    """
    seen = []
    shop.scene.inside = lambda: seen.append(shop.total("http_requests_in_progress"))
    shop.get("/inside")

    assert seen == [1]
    assert shop.total("http_requests_in_progress") == 0
