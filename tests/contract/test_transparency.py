"""
What the client and the server see of an instrumented application is what they saw before, plus one header.
"""

from wsgiref.validate import validator

import pytest

import obskit

from .cases import LIFESPAN, WEBSOCKET, cases_of
from .drivers import CALL, Request, call_wsgi, converse
from .shop import requests_on
from .stacks import STACKS, stacks


@pytest.mark.parametrize(
    ("stack", "case"),
    [pytest.param(stack, case, id=f"{case}-{stack.name}") for stack in STACKS for case in cases_of(stack)],
)
def test_reply_is_the_bare_application_s(shop, case):
    """
    Status, headers and pieces pass unchanged; `X-Correlation-ID` is all that is new.
    """
    bare = case.play(shop.stack, shop.stack.build(shop.scene), shop.scene)
    instrumented = case.play(shop.stack, shop.app, shop.scene)

    assert instrumented == bare


@stacks("wsgi")
@pytest.mark.parametrize("path", ["/items/7", "/stream", "/nowhere", "/moved", "/metrics", "/health"])
def test_wsgi_is_kept_to_the_letter(shop, path):
    """
    The standard library's validator finds nothing: PEP 3333 holds, obskit's own routes included.
    """
    reply = call_wsgi(validator(shop.app), Request(path))

    assert reply.error is None


@stacks("asgi")
@pytest.mark.parametrize(("scope", "incoming"), [LIFESPAN, WEBSOCKET], ids=["lifespan", "websocket"])
def test_other_scopes_pass_unchanged(shop, scope, incoming):
    """
    Lifespan and WebSocket connections are the application's alone: same messages, same refusal.
    """
    bare = converse(shop.stack.build(shop.scene), dict(scope), incoming)
    instrumented = converse(shop.app, dict(scope), incoming)

    assert instrumented == bare
    assert shop.operations == []


@stacks()
@pytest.mark.parametrize(
    ("path", "type_"),
    [
        ("/metrics", "text/plain"),
        ("/health", "application/json"),
        ("/health/live", "application/json"),
    ],
)
@pytest.mark.parametrize("root", ["", "/shop"], ids=["at the root", "below a prefix"])
def test_obskit_s_own_routes_are_answered_and_not_recorded(shop, path, type_, root):
    """
    Scrapes and probes are no traffic of the application's.
    """
    reply = shop.call(Request(path, root=root))

    assert reply.status == 200
    assert reply.header("content-type")[0].startswith(type_)
    assert shop.operations == []


@stacks()
def test_metrics_page_shows_the_requests(shop):
    """
    What was served is on the next page, under its template.
    """
    shop.get("/items/7")
    page = shop.get("/metrics").body

    endpoint = shop.stack.spell("/items/{item_id:int}")
    assert requests_on(page) == {("GET", endpoint, "200"): 1}


@stacks()
def test_nothing_is_done_while_no_runtime_stands(shop):
    """
    After `shutdown()` an instrumented application is the bare one: no header, no route.
    """
    app = shop.app
    obskit.shutdown()
    call = CALL[shop.stack.protocol]

    assert call(app, Request()).header("x-correlation-id") == []
    assert call(app, Request("/metrics")).status == 404
