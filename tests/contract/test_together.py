"""
Requests that run at once, applications that share a process, and layers that overlap are each counted once.
"""

import asyncio
import threading
from functools import partial

import obskit

from .drivers import CALL, Request
from .shop import Record, requests_on
from .stacks import only, stacks

SIZES = range(1, 6)
BARRIER = {"wsgi": partial(threading.Barrier, timeout=10), "asgi": asyncio.Barrier}


@stacks()
def test_concurrent_requests_do_not_mix(shop):
    """
    Requests that are all inside of the application at once keep their ids, sizes and endpoints.
    """
    shop.scene.meet = BARRIER[shop.stack.protocol](len(SIZES)).wait
    requests = [Request(f"/meet/{size}", headers=(("X-Correlation-ID", f"c-{size}"),)) for size in SIZES]
    replies = shop.together(*requests)

    endpoint = shop.stack.spell("/meet/{size:int}")
    said = {op.correlation_id: Record.of(op) for op in shop.operations}
    assert said == {f"c-{size}": Record(endpoint=endpoint, bytes_sent=size) for size in SIZES}
    assert [r.header("x-correlation-id") for r in replies] == [[f"c-{size}"] for size in SIZES]


@stacks()
def test_two_applications_share_a_runtime(shop):
    """
    Each application of a process is counted once, and each answers with the page of both.
    """
    apps = [shop.app, obskit.instrument(shop.stack.build(shop.scene))]
    call = CALL[shop.stack.protocol]
    for app in apps:
        call(app, Request())

    pages = [call(app, Request("/metrics")).body for app in apps]

    endpoint = shop.stack.spell("/items/{item_id:int}")
    assert len(shop.operations) == 2
    assert [requests_on(page) for page in pages] == [{("GET", endpoint, "200"): 2}] * 2


@stacks()
def test_instrumented_twice_is_counted_once(shop):
    """
    `instrument(instrument(app))` is `instrument(app)`.
    """
    app = obskit.instrument(shop.app)
    reply = CALL[shop.stack.protocol](app, Request())

    assert shop.app is app
    assert len(shop.operations) == 1
    assert len(reply.header("x-correlation-id")) == 1


@stacks()
def test_wrapper_around_an_instrumented_application_is_counted_once(shop):
    """
    The layers that see a request agree on one operation, and the inner one's route is not lost.
    """
    inner = shop.app
    wrapped = {
        "wsgi": lambda environ, start_response: inner(environ, start_response),
        "asgi": lambda scope, receive, send: inner(scope, receive, send),
    }[shop.stack.protocol]
    reply = CALL[shop.stack.protocol](obskit.instrument(wrapped), Request())

    assert shop.records == [Record(endpoint=shop.stack.spell("/items/{item_id:int}"), bytes_sent=6)]
    assert reply.header("x-correlation-id") == [shop.operation.correlation_id]


@only("flask")
def test_raw_wrap_of_an_instrumented_flask_application(shop):
    """
    `instrument(app.wsgi_app)` around an instrumented Flask application is the same layer again.
    """
    reply = CALL["wsgi"](obskit.instrument(shop.app.wsgi_app), Request())

    assert shop.records == [Record(endpoint="/items/<int:item_id>", bytes_sent=6)]
    assert len(reply.header("x-correlation-id")) == 1
