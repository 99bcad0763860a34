"""
The frameworks' own test clients see an instrumented application as servers do.
"""

import asyncio
import gc

import pytest

from .shop import Record
from .stacks import only


@only("flask")
def test_flask_client(shop):
    """
    Flask's client reads a reply whole.
    """
    reply = shop.app.test_client().get("/items/7")

    assert reply.text == "item 7"
    assert shop.records == [Record(endpoint="/items/<int:item_id>", bytes_sent=6)]


@only("flask")
@pytest.mark.parametrize(
    ("path", "endpoint", "bytes_sent", "aborted"),
    [("/items/7", "/items/<int:item_id>", 6, False), ("/stream", "/stream", 10, True)],
)
def test_flask_client_whose_reply_is_thrown_away(shop, path, endpoint, bytes_sent, aborted):
    """
    Flask's client reads one piece, and neither exhausts nor closes what nobody keeps.
    """
    shop.app.test_client().get(path)
    gc.collect()

    assert shop.records == [Record(endpoint=endpoint, bytes_sent=bytes_sent, aborted=aborted)]


@only("starlette", "fastapi", needs=("httpx2", "httpx"))
@pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient` is deprecated")
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/items/7", {"endpoint": "/items/{item_id:int}", "bytes_sent": 6}),
        ("/stream", {"endpoint": "/stream", "bytes_sent": 60, "streamed": True}),
    ],
)
def test_starlette_client(shop, path, expected):
    """
    Starlette's client runs the lifespan and the application in a thread of its own.
    """
    from starlette.testclient import TestClient

    with TestClient(shop.app) as client:
        reply = client.get(path)

    endpoint = shop.stack.spell(expected["endpoint"])
    assert shop.records == [Record(**expected | {"endpoint": endpoint})]
    assert reply.headers["x-correlation-id"] == shop.operation.correlation_id


@pytest.fixture
def django_client(shop):
    """
    Open Django's test client, which calls no WSGI or ASGI application but the middleware alone.
    """
    from django.test import AsyncClient, Client, override_settings

    from .stacks.django_site import MIDDLEWARE

    client_of = {"django_sync": Client, "django_async": AsyncClient}[shop.stack.name]
    shop.stack.build(shop.scene)
    with override_settings(MIDDLEWARE=["obskit.integrations.django.ObskitMiddleware", *MIDDLEWARE]):
        yield client_of(raise_request_exception=False)


DJANGO_REPLIES = pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/items/7", {"endpoint": "/items/<int:item_id>"}),
        ("/stream", {"endpoint": "/stream", "streamed": True}),
        ("/t/acme/u/7", {"endpoint": "/t/<tenant>/u/<int:uid>"}),
        ("/conflict", {"endpoint": "/conflict", "status": 409}),
        ("/nowhere", {"endpoint": "<unmatched>", "status": 404}),
        ("/boom", {"endpoint": "/boom", "status": 500, "exception": "Boom"}),
    ],
)


@only("django_sync")
@DJANGO_REPLIES
def test_django_client(shop, django_client, path, expected):
    """
    With `ObskitMiddleware` in `MIDDLEWARE`, Django's client is observed as a server is.
    """
    reply = django_client.get(path)
    size = len(reply.getvalue())
    reply.close()

    assert shop.records == [Record(**expected, bytes_sent=size)]
    assert reply.headers["X-Correlation-ID"] == shop.operation.correlation_id


@only("django_async")
@DJANGO_REPLIES
def test_django_async_client(shop, django_client, path, expected):
    """
    With `ObskitMiddleware` in `MIDDLEWARE`, Django's asynchronous client is observed as a server is.
    """

    async def get():
        reply = await django_client.get(path)
        pieces = [piece async for piece in reply] if reply.streaming else [reply.content]
        return reply, b"".join(pieces)

    reply, body = asyncio.run(get())

    assert shop.records == [Record(**expected, bytes_sent=len(body))]
    assert reply.headers["X-Correlation-ID"] == shop.operation.correlation_id


@only("django_sync", "django_async")
def test_django_middleware_inside_of_an_instrumented_application(shop, django_client):
    """
    `MIDDLEWARE` and `instrument()` together count once.
    """
    reply = shop.get("/items/7")

    assert shop.records == [Record(endpoint="/items/<int:item_id>", bytes_sent=6)]
    assert reply.header("x-correlation-id") == [shop.operation.correlation_id]
