"""
Each request has one correlation id: the client's where it is well formed, in every place a person looks.
"""

import re

import pytest

import obskit
from obskit.correlation_ids import valid_id

from .drivers import Request
from .stacks import stacks

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
BAD_IDS = {
    "60 KB": "a" * 60_000,
    "65 characters": "a" * 65,
    "CRLF": "abc\r\nSet-Cookie: a=b",
    "line feed at the end": "abc\n",
    "non-ASCII": "caf\u00e9",
    "leading hyphen": "-rf",
    "blank inside": "a b",
    "empty": "",
}


@stacks()
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X_Correlation_ID": "c-1", "X_Request_ID": "r-1", "traceparent": PARENT}, "c-1"),
        ({"X_Request_ID": "r-1", "traceparent": PARENT}, "r-1"),
        ({"traceparent": PARENT}, TRACE),
    ],
    ids=["X-Correlation-ID", "X-Request-ID", "traceparent"],
)
def test_client_chooses_the_id(shop, headers, expected):
    """
    The most special header wins; the reply and the operation carry the same id.
    """
    reply = shop.get("/items/7", **headers)

    assert reply.header("x-correlation-id") == [expected]
    assert shop.operation.correlation_id == expected


@stacks()
@pytest.mark.parametrize("bad", BAD_IDS.values(), ids=BAD_IDS.keys())
@pytest.mark.parametrize("header", ["X-Correlation-ID", "X-Request-ID"])
def test_bad_id_is_replaced(shop, header, bad):
    """
    An id that could break a header, a line or a budget is never kept, echoed or logged.
    """
    reply = shop.call(Request("/items/7", headers=((header, bad),)))

    fresh = shop.operation.correlation_id
    assert valid_id(fresh)
    assert fresh != bad
    assert reply.header("x-correlation-id") == [fresh]
    assert not any(bad and bad in str(said) for said in (*reply.headers, *shop.runtime.lines))


@stacks()
@pytest.mark.parametrize(
    "parent",
    ["", "00", PARENT.upper(), PARENT.replace("00-", "ff-", 1), f"00-{'0' * 32}-b7ad6b7169203331-01"],
)
def test_bad_traceparent_is_ignored(shop, parent):
    """
    A `traceparent` outside of the W3C rules gives no id.
    """
    reply = shop.get("/items/7", traceparent=parent)

    (fresh,) = reply.header("x-correlation-id")
    assert re.fullmatch("[0-9a-f]{32}", fresh)
    assert fresh not in parent.lower()


@stacks()
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/items/7"),
        ("GET", "/nowhere"),
        ("GET", "/absent"),
        ("POST", "/items/7"),
        ("GET", "/conflict"),
        ("GET", "/moved"),
        ("GET", "/stream"),
        ("HEAD", "/items/7"),
        ("OPTIONS", "/items/7"),
    ],
)
def test_every_reply_carries_the_id(shop, method, path):
    """
    Errors, redirects and streams can be found in the logs by the header, which is there once.
    """
    reply = shop.call(Request(path, method))

    assert reply.header("x-correlation-id") == [shop.operation.correlation_id]


@stacks()
def test_header_of_the_application_is_replaced(shop):
    """
    Two ids in one reply would be none.
    """
    reply = shop.get("/own-id")

    assert reply.header("x-correlation-id") == [shop.operation.correlation_id]
    assert shop.operation.correlation_id != "mine"


@stacks()
def test_id_is_readable_in_a_view(shop):
    """
    `obskit.correlation_id()` answers inside of a request, and nothing outside of one.
    """
    shop.scene.inside = obskit.correlation_id
    reply = shop.get("/inside", X_Correlation_ID="c-1")

    assert reply.body == b"c-1"
    assert obskit.correlation_id() is None


@stacks("asgi")
def test_id_is_readable_in_a_pool_thread(shop):
    """
    A synchronous view of an asynchronous framework runs in a thread, and knows its request.
    """
    shop.scene.inside = obskit.correlation_id
    reply = shop.get("/inside/thread", X_Correlation_ID="c-1")

    assert reply.body == b"c-1"


@stacks()
def test_id_is_readable_while_streaming(shop):
    """
    The generator of a streamed reply runs after the view, and still knows its request.
    """
    seen = []
    shop.scene.inside = lambda: seen.append(obskit.correlation_id())
    shop.get("/stream", X_Correlation_ID="c-1")

    assert seen == ["c-1"] * 3


@stacks("background")
def test_id_is_readable_in_a_background_task(shop):
    """
    Work after the reply still belongs to its request.
    """
    seen = []
    shop.scene.later = lambda: seen.append(obskit.correlation_id())
    shop.get("/background", X_Correlation_ID="c-1")

    assert seen == ["c-1"]


@stacks()
def test_bound_fields_reach_the_access_line(shop):
    """
    What a view binds is on its request's line, and not on the next one's.
    """
    shop.scene.inside = lambda: obskit.bind(user="u-7")
    shop.get("/inside")
    shop.get("/items/7")

    lines = [line for line in shop.runtime.lines if line["message"] == "request"]
    assert [line.get("user") for line in lines] == ["u-7", None]
