"""
Every way to instrument an application observes it alike, and two ways at once count once.
"""

from importlib import import_module

import pytest

import obskit

from .drivers import CALL, Request
from .shop import Record, requests_on
from .stacks import only


def by_extension(app, module):
    module.Obskit().init_app(app)
    return app


def by_middleware(app, module):
    app.add_middleware(module.ObskitMiddleware)
    return app


def by_wrapping(app, module):
    return module.ObskitMiddleware(app)


WAYS = {
    "wsgi": by_wrapping,
    "asgi": by_wrapping,
    "flask": by_extension,
    "starlette": by_middleware,
    "fastapi": by_middleware,
}


@pytest.fixture
def app(shop):
    """
    Instrument the application by the framework's own habit.
    """
    name = shop.stack.name
    module = import_module(f"obskit.integrations.{name}")
    return WAYS[name](shop.stack.build(shop.scene), module)


@only(*WAYS)
def test_habit_of_the_framework(shop, app):
    """
    The extension, `add_middleware()` and the bare middleware do what `instrument()` does.
    """
    call = CALL[shop.stack.protocol]
    reply = call(app, Request("/t/acme/u/7"))
    page = call(app, Request("/metrics")).body

    endpoint = shop.stack.spell("/t/{tenant}/u/{uid:int}")
    assert shop.records == [Record(endpoint=endpoint, bytes_sent=6)]
    assert reply.header("x-correlation-id") == [shop.operation.correlation_id]
    assert requests_on(page) == {("GET", endpoint, "200"): 1}


@only(*WAYS)
def test_habit_and_instrument_count_once(shop, app):
    """
    An application that has the middleware and goes through `instrument()` too is counted once.
    """
    reply = CALL[shop.stack.protocol](obskit.instrument(app), Request("/items/7"))

    endpoint = shop.stack.spell("/items/{item_id:int}")
    assert shop.records == [Record(endpoint=endpoint, bytes_sent=6)]
    assert reply.header("x-correlation-id") == [shop.operation.correlation_id]


@only(*WAYS)
def test_habit_records_an_unhandled_exception(shop, app):
    """
    Inside of a framework's own error page the exception is recorded all the same.
    """
    CALL[shop.stack.protocol](app, Request("/boom"))

    operation = shop.operation
    assert (operation.endpoint, operation.status, operation.exception) == ("/boom", 500, "Boom")
