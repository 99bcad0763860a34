"""
Over a real socket the same is recorded as in the drivers.
"""

from importlib.util import find_spec

import pytest

from .scene import CHUNKS, PIECE
from .servers import SERVERS, get, get_and_leave, serving
from .shop import Record, requests_on
from .stacks import STACKS

served = pytest.mark.parametrize(
    ("stack", "server"),
    [
        pytest.param(stack, server, id=f"{stack.name}-{libraries[0]}")
        for stack in STACKS
        for server, libraries in SERVERS.items()
        if stack.has(server) and all(map(find_spec, libraries))
    ],
)


@served
def test_reply(shop, server):
    """
    A server's reply and its scrape say what was served.
    """
    with serving(server, shop.app) as port:
        reply, body = get(port, "/items/7")
        page = get(port, "/metrics")[1]

    endpoint = shop.stack.spell("/items/{item_id:int}")
    assert body == b"item 7"
    assert shop.records == [Record(endpoint=endpoint, bytes_sent=6)]
    assert reply.headers["X-Correlation-ID"] == shop.operation.correlation_id
    assert requests_on(page) == {("GET", endpoint, "200"): 1}


@served
def test_stream(shop, server):
    """
    A streamed reply arrives whole, and is timed to its end.
    """
    with serving(server, shop.app) as port:
        body = get(port, "/stream")[1]

    assert body == b"".join(CHUNKS)
    assert shop.records == [Record(endpoint="/stream", bytes_sent=60, streamed=True)]
    assert (shop.operation.duration_seconds, shop.operation.first_byte_seconds) == (3.0, 1.0)


@served
def test_client_that_leaves_in_mid_stream(shop, server):
    """
    A connection that is reset ends the operation: aborted, with the status that was sent.
    """
    with serving(server, shop.app) as port:
        get_and_leave(port, "/endless", 2 * len(PIECE))

    sent = shop.operation.bytes_sent
    assert sent >= len(PIECE)
    assert shop.records == [Record(endpoint="/endless", bytes_sent=sent, streamed=True, aborted=True)]
