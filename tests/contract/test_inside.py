"""
What lies between obskit and the application hides neither the route nor that the request is observed already.
"""

import asyncio
import contextvars
import io
import sys
import threading

import pytest

import obskit
from obskit.integrations._served_request import MAX_PREFIXES, prefix_label
from obskit.integrations.wsgi import ObskitMiddleware
from obskit.testing import isolated_runtime

from .drivers import CALL, Request, call_asgi, call_wsgi
from .shop import Record
from .stacks import only, stacks

ITEM = "/items/{item_id:int}"


def whole(given):
    return given.copy()


def without_marks(given):
    """
    Copy what a server may have put there, as whoever builds a request anew.
    """
    return {name: value for name, value in given.items() if not name.startswith("obskit")}


def copying(protocol, app, copy):
    """
    Put a middleware around an application that hands on a copy of what the request came with.
    """
    if protocol == "wsgi":
        return lambda environ, start_response: app(copy(environ), start_response)

    async def copied(scope, receive, send):
        await app(copy(scope), receive, send)

    return copied


def mounting(protocol, app, at):
    """
    Put a dispatcher around an application: WSGI's moves the mount from one variable to the other, ASGI's copies.
    """

    def dispatcher(environ, start_response):
        assert environ["PATH_INFO"].startswith(at)
        environ["SCRIPT_NAME"] += at
        environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix(at)
        return app(environ, start_response)

    async def asgi_dispatcher(scope, receive, send):
        await app({**scope, "root_path": scope["root_path"] + at}, receive, send)

    return dispatcher if protocol == "wsgi" else asgi_dispatcher


COPIES = pytest.mark.parametrize("copy", [whole, without_marks])


@stacks()
@COPIES
def test_copies_do_not_hide_the_route(shop, copy):
    """
    Around a middleware that copies, around an application that knows nothing of obskit, the route is told from inside.
    """
    app = obskit.instrument(copying(shop.stack.protocol, shop.stack.build(shop.scene), copy))
    CALL[shop.stack.protocol](app, Request("/items/7"))

    assert shop.records == [Record(endpoint=shop.stack.spell(ITEM), bytes_sent=6)]


@stacks()
@COPIES
def test_copies_between_two_layers(shop, copy):
    """
    Instrumented outside and inside of what copies, a request is one: one record, one line, one id.
    """
    shop.scene.inside = obskit.correlation_id
    app = obskit.instrument(copying(shop.stack.protocol, shop.app, copy))
    reply = CALL[shop.stack.protocol](app, Request("/inside"))

    assert shop.records == [Record(endpoint="/inside", bytes_sent=len(reply.body))]
    assert reply.header("x-correlation-id") == [reply.body.decode()]


@stacks()
@pytest.mark.parametrize("instrumented", [True, False])
def test_mounts_inside(shop, instrumented):
    """
    What a dispatcher inside of obskit mounts is counted with its mount, whether it is instrumented too or not.
    """
    inner = shop.app if instrumented else shop.stack.build(shop.scene)
    app = obskit.instrument(mounting(shop.stack.protocol, inner, "/shop"))
    reply = CALL[shop.stack.protocol](app, Request("/shop/items/7"))

    says_its_own = shop.stack.name == shop.stack.protocol
    assert reply.body == b"item 7" or (reply.status, shop.stack.name) == (404, "asgi")
    if not says_its_own:
        assert shop.records == [Record(endpoint="/shop" + shop.stack.spell(ITEM), bytes_sent=6)]


@stacks("prefix")
def test_prefix_that_a_client_names(shop):
    """
    A mount that a middleware reads from a header, and that the path does not begin with, is no part of any label.
    """
    app = shop.stack.build(shop.scene)

    def believing(environ, start_response):
        environ["SCRIPT_NAME"] = environ["HTTP_X_SCRIPT_NAME"]
        return app(environ, start_response)

    call_wsgi(obskit.instrument(believing), Request("/items/7", headers=(("X-Script-Name", "/chosen"),)))

    assert shop.records == [Record(endpoint=shop.stack.spell(ITEM), bytes_sent=6)]


@stacks("prefix")
def test_prefixes_that_do_not_end(shop, monkeypatch):
    """
    Where an application takes tenants for mounts, labels have the first of them, and the others none.
    """
    monkeypatch.setattr("obskit.integrations._served_request.MAX_PREFIXES", 2)
    monkeypatch.setattr("obskit.integrations._served_request._prefixes", set())
    for tenant in ("/a", "/b", "/c", "/a"):
        shop.call(Request("/items/7", root=tenant))

    item = shop.stack.spell(ITEM)
    assert [record.endpoint for record in shop.records] == ["/a" + item, "/b" + item, item, "/a" + item]


def test_each_runtime_shows_the_first_prefixes_of_its_own():
    """
    A shutdown forgets which prefixes have been shown.
    """
    with isolated_runtime():
        front = ObskitMiddleware(lambda environ, start_response: [])
        before = [prefix_label(f"/{number}") for number in range(MAX_PREFIXES + 1)]

    assert not front.active
    assert (before[-2:], prefix_label("/late")) == ([f"/{MAX_PREFIXES - 1}", ""], "/late")


# Bridges, as a2wsgi, asgiref and Starlette have them: what they build knows nothing of the request that it came from


def asgi_over(app):
    """
    Serve a WSGI application over ASGI, in a thread with the request's context.
    """

    async def bridge(scope, receive, send):
        root = scope["root_path"]
        environ = {
            "REQUEST_METHOD": scope["method"],
            "SCRIPT_NAME": root,
            "PATH_INFO": scope["path"].removeprefix(root),
            "QUERY_STRING": scope["query_string"].decode(),
            "SERVER_NAME": "shop.example",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
            "wsgi.input": io.BytesIO(),
            **{"HTTP_" + name.decode().upper().replace("-", "_"): value.decode() for name, value in scope["headers"]},
        }
        started = []
        body = await asyncio.to_thread(lambda: b"".join(app(environ, lambda *start: started.append(start))))
        status, headers = started[0][:2]
        named = [(name.lower().encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": int(status[:3]), "headers": named})
        await send({"type": "http.response.body", "body": body})

    return bridge


def wsgi_over(app):
    """
    Serve an ASGI application over WSGI, in an event loop of its own with the request's context.
    """

    def bridge(environ, start_response):
        headers = [
            (name[5:].lower().replace("_", "-").encode(), text.encode())
            for name, text in environ.items()
            if name.startswith("HTTP_")
        ]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": environ["REQUEST_METHOD"],
            "scheme": "http",
            "path": environ["SCRIPT_NAME"] + environ["PATH_INFO"],
            "raw_path": (environ["SCRIPT_NAME"] + environ["PATH_INFO"]).encode(),
            "root_path": environ["SCRIPT_NAME"],
            "query_string": environ["QUERY_STRING"].encode(),
            "headers": headers,
            "client": ("192.0.2.7", 1),
            "server": ("shop.example", 80),
        }
        reply = []

        unread = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive():
            return unread.pop() if unread else await asyncio.Event().wait()

        async def send(message):
            reply.append(message)

        asyncio.run(app(scope, receive, send))
        start_response(str(reply[0]["status"]) + " ", [(n.decode(), t.decode()) for n, t in reply[0]["headers"]])
        return [b"".join(message.get("body", b"") for message in reply[1:])]

    return bridge


def bridged(shop, request):
    """
    Serve a request through a bridge, instrumented at both of its ends.
    """
    if shop.stack.protocol == "wsgi":
        return call_asgi(obskit.instrument(asgi_over(shop.app)), request)
    return call_wsgi(obskit.instrument(wsgi_over(shop.app)), request)


@stacks()
def test_bridges_count_once(shop):
    """
    WSGI inside of ASGI, and the reverse: one request, one line, one id, and the route of the inner application.
    """
    shop.scene.inside = obskit.correlation_id
    reply = bridged(shop, Request("/inside"))

    assert shop.records == [Record(endpoint="/inside", bytes_sent=len(reply.body))]
    assert reply.header("x-correlation-id") == [reply.body.decode()]


@pytest.mark.filterwarnings("ignore:Uvicorn's native WSGI implementation:DeprecationWarning")
@only("wsgi", "flask", "django_sync", needs=["uvicorn"])
def test_uvicorn_s_own_bridge_counts_once(shop):
    """
    The thread that it calls the application in knows which request it is for.
    """
    from uvicorn.middleware.wsgi import _WSGIMiddleware

    shop.scene.inside = obskit.correlation_id
    bridge = _WSGIMiddleware(shop.app)
    reply = call_asgi(obskit.instrument(bridge), Request("/inside"))
    bridge.executor.shutdown()

    assert shop.records == [Record(endpoint="/inside", bytes_sent=len(reply.body))]
    assert reply.header("x-correlation-id") == [reply.body.decode()]


@stacks()
def test_bridges_keep_the_template(shop):
    """
    Behind a bridge the label is the template, and what no route matched is unmatched.
    """
    bridged(shop, Request("/t/acme/u/7"))
    bridged(shop, Request("/nowhere"))

    found = [record.endpoint for record in shop.records]
    assert found == [shop.stack.spell("/t/{tenant}/u/{uid:int}"), "<unmatched>"]


@stacks("wsgi")
def test_bridge_in_a_mount_with_a_parameter(shop):
    """
    A WSGI application that Starlette mounts has the mount's path in front, never the value in it.
    """
    starlette = pytest.importorskip("starlette.applications")
    routing = pytest.importorskip("starlette.routing")
    if shop.stack.name == "wsgi":
        return  # it says its own route

    outer = starlette.Starlette(routes=[routing.Mount("/{tenant}", asgi_over(shop.app))])
    call_asgi(obskit.instrument(outer), Request("/acme/items/7"))

    assert [record.endpoint for record in shop.records] == ["/{tenant}" + shop.stack.spell(ITEM)]


# Requests that the application makes to itself, or to another, are others


@stacks()
@pytest.mark.parametrize("instrumented", [True, False])
def test_a_request_to_another_application_is_another(shop, instrumented):
    """
    What a view asks another application in this process leaves the view's own route and status alone.
    """
    other = shop.stack.build(shop.scene)
    if instrumented:
        other = obskit.instrument(other)
    seen = []

    def ask():
        thread_free = CALL[shop.stack.protocol]
        if shop.stack.protocol == "wsgi":
            seen.append(thread_free(other, Request("/items/7")).status)
        else:
            asking = threading.Thread(target=lambda: seen.append(thread_free(other, Request("/items/7")).status))
            asking.start()
            asking.join()

    shop.scene.inside = ask
    shop.get("/inside")

    mine = Record(endpoint="/inside", bytes_sent=0)
    others = [Record(endpoint=shop.stack.spell(ITEM), bytes_sent=6)] if instrumented else []
    if shop.stack.name in ("wsgi", "asgi") and not instrumented:
        return  # what is said by `set_route()` is said of whatever is current
    assert (seen, shop.records) == ([200], [*others, mine])


@stacks()
@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        ((("User-Agent", "browser"),), (("User-Agent", "client"),)),
        ((), (("User-Agent", "client"),)),
        ((("X-Correlation-ID", "outer"),), (("X-Correlation-ID", "inner"),)),
    ],
)
def test_a_request_in_the_same_words_by_another_client(shop, outer, inner):
    """
    What a view asks another application for, under the path and host that it was asked by itself, is observed too.
    """
    other, asked = obskit.instrument(shop.stack.build(shop.scene)), []

    def ask():
        if asked:
            return
        asked.append(True)
        run = contextvars.copy_context().run
        call = CALL[shop.stack.protocol]
        asking = threading.Thread(target=run, args=(call, other, Request("/inside", headers=inner)))
        asking.start()
        asking.join()

    shop.scene.inside = ask
    shop.call(Request("/inside", headers=outer))

    assert [record.endpoint for record in shop.records] == ["/inside", "/inside"]
