"""
A request ends when its last byte is sent or its client is gone, once, and says which.
"""

import asyncio

import pytest

import obskit
from obskit.context import current

from .drivers import Ending, Request, call_asgi
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


@pytest.fixture
def between(stack):
    """
    Return the ASGI messages of a reply, as middleware passes them on: in one piece, and then an empty last one.
    """

    def middleware(app, pause):
        async def apart(scope, receive, send):
            async def send_apart(message):
                if message["type"] != "http.response.body" or message.get("more_body"):
                    await send(message)
                    return
                await send({**message, "more_body": True})
                await pause()
                await send({"type": "http.response.body"})

            await app(scope, receive, send_apart)

        return apart

    return middleware


@stacks("asgi")
def test_declared_length_is_an_end(shop, between):
    """
    A reply whose declared length is reached is whole, whatever comes after: a client that leaves, a background task.
    """

    async def pause():
        shop.scene.clock.advance(10.0)

    reply = call_asgi(
        obskit.instrument(between(shop.stack.build(shop.scene), pause)), Request("/items/7"), Ending(pieces=1)
    )

    assert reply.body == b"item 7"
    assert shop.records == [Record(endpoint=shop.stack.spell("/items/{item_id:int}"), bytes_sent=6)]
    assert (shop.operation.duration_seconds, shop.operation.first_byte_seconds) == (0.0, None)


@stacks("asgi")
def test_whole_reply_in_a_message_that_is_not_the_last(shop, between):
    """
    A reply without a length that is whole in its first message is no stream.
    """

    async def pause():
        pass

    shop.scene.inside = lambda: shop.scene.clock.advance(1.0)
    app = between(shop.stack.build(shop.scene), pause)

    async def without_length(scope, receive, send):
        async def send_on(message):
            if "headers" in message:
                headers = [pair for pair in message["headers"] if pair[0].lower() != b"content-length"]
                message = {**message, "headers": headers}
            await send(message)

        await app(scope, receive, send_on)

    call_asgi(obskit.instrument(without_length), Request("/inside"))

    assert (shop.operation.streamed, shop.operation.first_byte_seconds) == (False, None)
    assert shop.operation.duration_seconds == 1.0


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
