"""
Prove that ASGI applications on Trio's event loop are observed as those on asyncio's.

The contract suite serves the frameworks by hypercorn's Trio worker.
"""

import pytest
import trio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import obskit
from contract.drivers import WHOLE, Request, converse_on, scope_of
from obskit.testing import RecordingSink

pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")


class FlushedSink(RecordingSink):
    flushed = 0

    def flush(self):
        self.flushed += 1


@pytest.fixture
def sink():
    return FlushedSink()


async def shop(scope, receive, send):
    obskit.set_route("/plants/{plant}")
    await trio.lowlevel.checkpoint()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"fern"})


async def ask(app, path, messages):
    async def receive():
        await trio.sleep_forever()

    async def send(message):
        messages.append(message)

    await app(scope_of(Request(path), WHOLE), receive, send)


@pytest.mark.parametrize(
    ("path", "inside"), [("/metrics", b'endpoint="/plants/{plant}"'), ("/health", b'"status"'), ("/plants/7", b"fern")]
)
def test_requests_and_own_routes(runtime, path, inside):
    """
    Requests are answered and counted, and so are `/metrics` and the health routes, which are rendered in a thread.
    """
    app, messages = obskit.instrument(shop), []
    trio.run(ask, app, "/plants/7", [])
    trio.run(ask, app, path, messages)

    assert messages[0]["status"] == 200
    assert inside in b"".join(message.get("body", b"") for message in messages[1:])


def test_the_lifespan_drains(runtime, sink):
    """
    What is queued goes out when the application has shut down.
    """

    async def lifespan(scope, receive, send):
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    sent, error = converse_on(
        trio.run, obskit.instrument(lifespan), {"type": "lifespan"}, [{"type": "lifespan.shutdown"}]
    )

    assert (sent, error) == ([{"type": "lifespan.shutdown.complete"}], None)
    assert sink.flushed == 1


def test_a_cancelled_request(runtime, sink):
    """
    A request that Trio cancels before there was a status is 499: no 500, no exception.
    """

    async def wait(scope, receive, send):
        await trio.sleep_forever()

    async def cancelled():
        with trio.move_on_after(0):
            await ask(obskit.instrument(wait), "/", [])

    trio.run(cancelled)

    assert [(op.status, op.exception) for op in sink.operations] == [(499, None)]


def test_a_view_in_a_thread(runtime, sink):
    """
    A synchronous view, which AnyIO runs in a thread of Trio's, reads the request's id.
    """

    def view(request):
        return PlainTextResponse(obskit.correlation_id())

    app = obskit.instrument(Starlette(routes=[Route("/id", view)]))
    with TestClient(app, backend="trio") as client:
        reply = client.get("/id")

    assert reply.text == reply.headers["x-correlation-id"] == sink.operations[0].correlation_id
    assert sink.flushed == 1
