"""
Prove which template a Starlette application's requests get, and how its stack is wrapped.
"""

import asyncio
import copy
import http.client
import inspect
import logging
import threading
import warnings
from contextlib import asynccontextmanager
from importlib.metadata import version

import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import BaseRoute, Host, Match, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient

import obskit
from contract.drivers import Request, call_asgi
from contract.servers import get_and_leave, serving
from obskit.context import current
from obskit.errors import RouteTakenError
from obskit.integrations import starlette as module
from obskit.integrations._starlette_routes import RouteTemplates
from obskit.integrations.starlette import ObskitMiddleware, route_of
from obskit.operation import UNMATCHED
from obskit.runtime import current_runtime
from obskit.testing import isolated_runtime

pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")

# 1.7 said first which route it had chosen; before, there was the endpoint alone.
LEAVES_ROUTE = tuple(map(int, version("starlette").split(".")[:2])) >= (1, 7)


async def ok(request):
    return PlainTextResponse("ok")


async def other(request):
    return PlainTextResponse("other")


async def asgi_ok(scope, receive, send):
    await PlainTextResponse("ok")(scope, receive, send)


def instrumented(*routes, **options):
    return obskit.instrument(Starlette(routes=routes, **options))


def ask(app, *paths, method="GET", raises=True, **options):
    """
    Send requests, and give the last reply.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = TestClient(app, raise_server_exceptions=raises, follow_redirects=False, **options)
    for path in paths:
        reply = client.request(method, path)
    return reply


def endpoints(sink):
    return [operation.endpoint for operation in sink.operations]


def sub(path="/u/{uid:int}", endpoint=ok):
    return Starlette(routes=[Route(path, endpoint)])


SHARED = sub()
STATIC = StaticFiles(directory=".")


class Opaque:
    """
    Wrap an application under a name that nobody can guess.
    """

    def __init__(self, wrapped):
        self.wrapped = wrapped

    async def __call__(self, scope, receive, send):
        await self.wrapped(scope, receive, send)


class Page(HTTPEndpoint):
    async def get(self, request):
        return PlainTextResponse("page")


class Bare(BaseRoute):
    """
    Match by hand, and leave no endpoint.
    """

    path = "/bare/{anything}"

    def matches(self, scope):
        return (Match.FULL if scope["path"].startswith("/bare/") else Match.NONE), {}

    async def handle(self, scope, receive, send):
        await asgi_ok(scope, receive, send)


@pytest.mark.parametrize(
    ("route", "path", "expected"),
    [
        pytest.param(Route("/items/{item_id:int}", ok), "/items/7", "/items/{item_id:int}", id="route"),
        pytest.param(Route("/files/{path:path}", ok), "/files/a/b/c", "/files/{path:path}", id="path"),
        pytest.param(Route("/page/{n}", Page), "/page/7", "/page/{n}", id="class"),
        pytest.param(Route("/app/{n}", Opaque(asgi_ok)), "/app/7", "/app/{n}", id="application"),
        pytest.param(Mount("/a", routes=[Route("/", ok)]), "/a/", "/a/", id="mount's root"),
        pytest.param(Mount("", routes=[Route("/x", ok)]), "/x", "/x", id="empty mount"),
        pytest.param(Mount("/t/{t}", routes=[Route("/u/{u}", ok)]), "/t/acme/u/7", "/t/{t}/u/{u}", id="mount"),
        pytest.param(Mount("/t/{t}", SHARED), "/t/acme/u/7", "/t/{t}/u/{uid:int}", id="sub-application"),
        pytest.param(
            Mount("/a/{x}", routes=[Mount("/b/{x:int}", routes=[Route("/c/{x}", ok)])]),
            *("/a/1/b/2/c/3", "/a/{x}/b/{x:int}/c/{x}"),
            id="nested mounts that repeat a name",
        ),
        pytest.param(Mount("/cors", CORSMiddleware(SHARED)), "/cors/u/7", "/cors/u/{uid:int}", id="middleware"),
        pytest.param(
            Mount("/own", routes=[Route("/x/{y}", ok)], middleware=[Middleware(CORSMiddleware)]),
            *("/own/x/1", "/own/x/{y}"),
            id="mount with middleware",
        ),
        pytest.param(Host("{name}.shop.example", SHARED), "/u/7", "/u/{uid:int}", id="host"),
        pytest.param(Host("a.shop.example", asgi_ok), "/u/7", "/{path}", id="host of a foreign application"),
        pytest.param(Mount("/static", STATIC), "/static/pyproject.toml", "/static/{path}", id="files"),
        pytest.param(Mount("/static", STATIC), "/static/none", "/static/{path}", id="files not found"),
        pytest.param(Mount("/t/{t}/x", asgi_ok), "/t/acme/x/y/z", "/t/{t}/x/{path}", id="foreign application"),
        pytest.param(
            Bare(), "/bare/7", "/bare/{anything}" if LEAVES_ROUTE else "<unmatched>", id="route without endpoint"
        ),
    ],
)
def test_endpoint_is_the_whole_template(runtime, sink, route, path, expected):
    """
    Every kind of route is counted under its template as Starlette writes it, values of mounts left out.

    A mount of an application without routes is `<mount>/{path}`, as its `path_format`, and as FastAPI's spans say:
    a plain `/static` would be one with a `Route("/static")`.
    """
    reply = ask(instrumented(route), path, base_url="http://a.shop.example")

    assert reply.status_code in (200, 404)
    assert endpoints(sink) == [expected]


def test_endpoint_does_not_hold_the_deployment_prefix(runtime, sink):
    """
    `root_path` is no part of the endpoint, whether the proxy took it off the path or not, below mounts too.
    """
    app = instrumented(Route("/x/{y}", ok), Mount("/t/{t}", SHARED), Mount("/s", SHARED))
    ask(app, "/x/1", "/prefix/x/1", "/prefix/t/acme/u/7", "/prefix/s/u/7", root_path="/prefix")

    assert endpoints(sink) == ["/x/{y}", "/x/{y}", "/t/{t}/u/{uid:int}", "/s/u/{uid:int}"]


def test_what_is_mounted_twice_is_told_apart(runtime, sink):
    """
    One application under two mounts has two templates, whichever of them the path went through.
    """
    app = instrumented(
        Mount("/one/{x}", SHARED), Mount("/two", SHARED), Mount("/a", STATIC), Mount("/b", STATIC), Route("/c", SHARED)
    )
    ask(app, "/one/1/u/7", "/two/u/7", "/two/no", "/a/no", "/b/no", "/b/pyproject.toml")

    assert endpoints(sink) == [
        *("/one/{x}/u/{uid:int}", "/two/u/{uid:int}", "<unmatched>", "/a/{path}", "/b/{path}", "/b/{path}"),
    ]


def test_one_handler_on_several_routes_is_told_apart(runtime, sink):
    """
    Of the routes of one function the one that routing chose is named, by path and then by method.
    """
    app = instrumented(
        Route("/a/{x}", ok),
        Route("/b/{x}", ok),
        Route("/c/{x:int}", ok, methods=["POST"]),
        Route("/c/{x}", ok, methods=["GET"]),
    )
    ask(app, "/a/1", "/b/1", "/c/1")
    ask(app, "/c/1", method="POST")
    ask(app, "/c/1", method="DELETE")

    assert endpoints(sink) == ["/a/{x}", "/b/{x}", "/c/{x}", "/c/{x:int}", "/c/{x:int}"]


def test_no_route_is_unmatched(runtime, sink):
    """
    What no route matched has no template: at the top, in a mount, and where a slash is missing.
    """
    app = instrumented(Route("/x", ok), Mount("/t/{t}", SHARED), Mount("/r", routes=[Route("/x", ok)]))
    ask(app, "/no", "/t/acme/no", "/r/no", "/x/", "/t/acme")

    assert set(endpoints(sink)) == {"<unmatched>"}


def test_wrong_method_has_the_route_it_was_meant_for(runtime, sink):
    """
    A 405 is counted under the first route whose path fits.
    """
    app = instrumented(Route("/x/{y}", ok, methods=["POST"]), Mount("/m", routes=[Route("/x/{y}", ok)]))

    assert ask(app, "/x/1").status_code == 405
    assert ask(app, "/m/x/1", method="PUT").status_code == 405
    assert endpoints(sink) == ["/x/{y}", "/m/x/{y}"]


def test_routes_that_are_added_later(runtime, sink):
    """
    Routes, mounts, and routes of mounted applications that come after the first request are named too.
    """
    late = Starlette()
    app = instrumented(Route("/x", ok), Mount("/late", late))
    ask(app, "/x", "/late/y/1")
    late.add_route("/y/{z}", other)
    ask(app, "/late/y/1")
    app.mount("/more", Starlette(routes=[Route("/w/{v}", other)]))
    ask(app, "/more/w/1")

    assert endpoints(sink) == ["/x", "<unmatched>", "/late/y/{z}", "/more/w/{v}"]


def test_mount_behind_middleware_that_hides_its_application(runtime, sink):
    """
    Routes that no walk can find are joined to the template of their mount; the table is not read for each request.

    Where Starlette leaves the endpoint alone, one that the table has too is taken for its route there.
    """
    app = instrumented(Route("/x", ok), Mount("/t/{t}", Opaque(sub())), Mount("/raw", Opaque(asgi_ok)))
    ask(app, *["/t/acme/u/7"] * 3, "/raw/y")
    templates = app.router._obskit_templates

    hidden = "/t/{t}/u/{uid:int}" if LEAVES_ROUTE else "/x"
    assert endpoints(sink) == [hidden] * 3 + ["/raw/{path}"]
    assert len(templates._unindexed) == (1 if LEAVES_ROUTE else 0)


def test_reading_the_table_again_is_bounded(monkeypatch):
    """
    Endpoints that are new with each request do not make the table be read for ever.
    """
    templates = RouteTemplates(Router([Mount("/t/{t}", Opaque(asgi_ok))]))
    reads = []
    monkeypatch.setattr(templates, "_index_table", lambda: reads.append(1))
    scope = {"path": "/t/acme/x", "root_path": "/t/acme", "app_root_path": "", "method": "GET"}
    found = {templates.find({**scope, "endpoint": object()}) for _ in range(300)}

    assert found == {"/t/{t}/{path}"}
    assert len(reads) == 100


def test_application_that_is_mounted_in_itself(runtime, sink):
    """
    A route table that goes round in a circle is walked once.
    """
    app = instrumented(Route("/x", ok))
    app.mount("/again", app.router)
    ask(app, "/x")

    assert endpoints(sink) == ["/x"]


def test_endpoint_is_known_while_the_handler_runs(runtime):
    """
    `route_of(scope)` answers from routing on, in a thread of the pool too, and None before.
    """
    seen = []

    def before(app):
        async def middleware(scope, receive, send):
            if scope["type"] == "http":
                seen.append(route_of(scope))
            await app(scope, receive, send)

        return middleware

    def handler(request):
        seen.append(route_of(current.get().root.scope))
        return PlainTextResponse(obskit.correlation_id())

    app = instrumented(Mount("/t/{t}", routes=[Route("/x/{y}", handler)]), middleware=[Middleware(before)])
    reply = ask(app, "/t/acme/x/1")

    assert seen == [None, "/t/{t}/x/{y}"]
    assert reply.text == reply.headers["x-correlation-id"]


def test_websockets_pass(runtime, sink):
    """
    A WebSocket is no request, and shares its path with none.
    """

    async def echo(websocket):
        await websocket.accept()
        await websocket.send_text("hi")
        await websocket.close()

    app = instrumented(WebSocketRoute("/x/{y}", echo), Route("/x/{z}", ok))
    with TestClient(app) as client, client.websocket_connect("/x/1") as websocket:
        assert websocket.receive_text() == "hi"

    ask(app, "/x/1")

    assert endpoints(sink) == ["/x/{z}"]


def test_instrument_is_in_place_and_once(runtime, sink):
    """
    The application comes back itself; twice is once, also for a mounted application that is instrumented.
    """
    inner = obskit.instrument(sub())
    app = instrumented(Mount("/sub", inner))

    assert obskit.instrument(obskit.instrument(app)) is app
    ask(app, "/sub/u/7")

    assert endpoints(sink) == ["/sub/u/{uid:int}"]


def test_only_the_mounted_application_is_instrumented(runtime, sink):
    """
    A mounted application that is observed by itself is counted under its whole template.
    """
    app = Starlette(routes=[Mount("/t/{t}", obskit.instrument(sub())), Route("/x", ok)])
    ask(app, "/t/acme/u/7", "/x")

    assert endpoints(sink) == ["/t/{t}/u/{uid:int}"]


def test_application_that_has_started(runtime, sink):
    """
    An application that was served before is observed from now on.
    """
    app = Starlette(routes=[Route("/x", ok)])
    ask(app, "/x")
    obskit.instrument(app)
    reply = ask(app, "/x")
    app.middleware_stack = None
    ask(app, "/x")

    assert "x-correlation-id" in reply.headers
    assert endpoints(sink) == ["/x", "/x"]


def test_add_middleware_behaves_as_bare(runtime, sink):
    """
    Middleware may be added until the first request, inside of obskit's; after that Starlette refuses.
    """
    app = instrumented(Route("/x", ok))
    app.add_middleware(CORSMiddleware, allow_origins=["*"])
    ask(app, "/x")

    with pytest.raises(RuntimeError, match="Cannot add middleware"):
        app.add_middleware(CORSMiddleware)

    assert endpoints(sink) == ["/x"]


def test_error_page_carries_the_correlation_id(runtime, sink):
    """
    `instrument()` sits outside of the server-error middleware; `add_middleware` inside, and still counts the 500.
    """

    async def boom(request):
        raise ValueError

    outside = instrumented(Route("/boom", boom))
    inside = Starlette(routes=[Route("/boom", boom)], middleware=[Middleware(ObskitMiddleware)])
    replies = [ask(app, "/boom", raises=False) for app in (outside, inside)]

    assert [reply.headers.get("x-correlation-id") is not None for reply in replies] == [True, False]
    assert [(op.endpoint, op.status, op.exception) for op in sink.operations] == [("/boom", 500, "ValueError")] * 2


def test_long_form_finds_the_route(runtime, sink):
    """
    `add_middleware(ObskitMiddleware)`, and the middleware around other ASGI middleware, know the templates too.
    """
    app = Starlette(routes=[Mount("/t/{t}", SHARED), Mount("/a", asgi_ok)])
    app.add_middleware(ObskitMiddleware)
    wrapped = obskit.instrument(Opaque(Starlette(routes=[Mount("/s/{t}", SHARED)])))
    ask(app, "/t/acme/u/7", "/a/b", "/no")
    ask(wrapped, "/s/acme/u/7")

    assert endpoints(sink) == ["/t/{t}/u/{uid:int}", "/a/{path}", "<unmatched>", "/s/{t}/u/{uid:int}"]


@pytest.mark.parametrize(
    ("route", "path"),
    [
        (Route("/metrics", ok), "/metrics"),
        (Mount("/metrics", asgi_ok), "/metrics"),
        (Mount("/health", routes=[Route("/live", ok)]), "/health/live"),
    ],
)
def test_route_that_is_taken(runtime, route, path):
    """
    An application that answers one of obskit's paths is refused, and left as it was.
    """
    app = Starlette(routes=[route])

    with pytest.raises(RouteTakenError, match=f"has a route {path} itself"):
        obskit.instrument(app)

    assert ask(app, "/nowhere").headers.get("x-correlation-id") is None


def test_refusal_leaves_no_runtime():
    """
    The runtime that was made for the application that is refused goes with it.
    """
    registry = CollectorRegistry()
    with pytest.raises(RouteTakenError):
        obskit.instrument(Starlette(routes=[Route("/metrics", ok)]), registry=registry, access_log=False)

    assert current_runtime() is None
    assert list(registry.collect()) == []


def hidden(sink):
    return [event.message.split()[5] for event in sink.events if event.name == "obskit.route_taken"]


def test_routes_that_are_taken_later(runtime, sink):
    """
    Routes that come after `instrument()` and are hidden by obskit's are told when the application starts, once.

    An error at that point would be taken by uvicorn for a missing lifespan, and every request would fail.
    """
    app = instrumented()
    app.add_route("/metrics", ok)
    app.add_route("/health", ok)
    reply = ask(app, "/metrics", "/nowhere", "/metrics")

    assert reply.text != "ok"
    assert sorted(hidden(sink)) == ["/health", "/metrics"]


def test_route_that_is_taken_after_the_start(runtime, sink):
    """
    A route that a lifespan adds, or anything after it, is told with the next request that is routed.
    """

    @asynccontextmanager
    async def lifespan(app):
        app.add_route("/metrics", ok)
        yield

    app = obskit.instrument(Starlette(lifespan=lifespan, routes=[Route("/plants", ok)]))
    with TestClient(app) as client:
        for _ in range(2):
            client.get("/plants")
            app.add_route("/plants/new", ok)

    assert hidden(sink) == ["/metrics"]


@pytest.mark.parametrize("form", ["add_middleware", "callable"])
def test_route_that_is_taken_behind_the_middleware(runtime, sink, form):
    """
    The forms that cannot refuse an application tell of the routes they hide, through other middleware too.
    """
    app = served = Starlette(routes=[Route("/metrics", ok)])
    app.add_middleware(CORSMiddleware)
    if form == "add_middleware":
        app.add_middleware(ObskitMiddleware)
    else:
        served = ObskitMiddleware(app)
    reply = ask(served, "/nowhere", "/metrics")

    assert reply.text != "ok"
    assert hidden(sink) == ["/metrics"]


def test_catch_all_is_not_taken(runtime, sink):
    """
    A route for everything, as of a single-page application, does not claim obskit's paths.
    """
    app = instrumented(Route("/{path:path}", ok))

    assert "http_requests" in ask(app, "/any/thing", "/metrics").text
    assert endpoints(sink) == ["/{path:path}"]


PATHS_OF_ERRORS = ("/key", "/index", "/http", "/value")


def test_handled_exceptions_are_not_counted(runtime, sink):
    """
    What an exception handler answers below 500, and `HTTPException`, are replies; what became a 500 is counted once.
    """

    async def raise_(request):
        errors = {"key": KeyError, "index": IndexError, "value": ValueError}
        raise errors.get(request.path_params["what"], HTTPException(503))

    async def answer(request, error):
        return PlainTextResponse("handled", 409 if isinstance(error, IndexError) else 500)

    handlers = {KeyError: answer, IndexError: answer, Exception: answer}
    ask(instrumented(Route("/{what}", raise_), exception_handlers=handlers), *PATHS_OF_ERRORS, raises=False)

    assert [(op.status, op.exception) for op in sink.operations] == [
        *((500, "KeyError"), (409, None), (503, None), (500, "ValueError")),
    ]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_ends_the_event_loop_behind_a_middleware(runtime, sink, error):
    """
    A middleware may run what is inside in a task, as for a time limit, and ours is cancelled: yet it has failed.
    """

    async def ends(request):
        raise error

    class InTask:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await asyncio.create_task(self.app(scope, receive, send))

    app = instrumented(Route("/ends", ends), middleware=[Middleware(InTask)])
    with pytest.raises(error):
        raise call_asgi(app, Request("/ends")).error

    assert [("/ends", 500, error.__name__)] == [(op.endpoint, op.status, op.exception) for op in sink.operations]


def test_exceptions_that_another_application_handles(runtime, sink):
    """
    What an application that a view asks by itself catches does not name the view's own 503.
    """

    async def breaks(request):
        raise KeyError

    async def sorry(request, error):
        return PlainTextResponse("sorry", 500)

    inner = Starlette(routes=[Route("/inner", breaks)], exception_handlers={KeyError: sorry})

    async def outer(request):
        scope = {"type": "http", "method": "GET", "path": "/inner", "headers": [], "query_string": b""}
        sent = []

        async def send(message):
            sent.append(message.get("status"))

        await inner(scope, request.receive, send)
        return PlainTextResponse("", 503) if sent[0] == 500 else PlainTextResponse("nothing was caught")

    ask(instrumented(Route("/outer", outer)), "/outer")

    assert [("/outer", 503, None)] == [(op.endpoint, op.status, op.exception) for op in sink.operations]


def test_exception_group(runtime, sink):
    """
    A group of exceptions is counted as what it is.
    """

    async def boom(request):
        raise ExceptionGroup("two", [ValueError(), KeyError()])

    ask(instrumented(Route("/boom", boom)), "/boom", raises=False)

    assert [(op.status, op.exception) for op in sink.operations] == [(500, "ExceptionGroup")]


def test_route_table_that_raises(sink):
    """
    A surprise in the route table is counted, and the request is answered.
    """

    class Surprise(Route):
        @property
        def path(self):
            if self.angry:
                raise ValueError
            return "/x"

        @path.setter
        def path(self, path):
            self.angry = False

    route = Surprise("/x", ok)
    with isolated_runtime(sinks=[sink], strict=False):
        app = instrumented(route)
        app.router.routes.insert(0, route)  # so that the table is read again
        route.angry = True
        logging.getLogger("obskit").addHandler(quiet := logging.NullHandler())
        reply = ask(app, "/x")
        logging.getLogger("obskit").removeHandler(quiet)

        assert reply.text == "ok"
        assert endpoints(sink) == ["<unmatched>"]


def test_other_router_is_nobody_s_business():
    """
    Only Starlette's routers are read: another framework's key of the same name is no route.
    """
    assert route_of({"router": object(), "endpoint": ok}) is None
    assert route_of({}) is None


def test_lifespan_runs(runtime):
    """
    Startup and shutdown pass, and the state they leave is the application's.
    """
    order = []

    @asynccontextmanager
    async def lifespan(app):
        order.append("up")
        yield {"answer": 42}
        order.append("down")

    async def state(request):
        return PlainTextResponse(str(request.state.answer))

    with TestClient(instrumented(Route("/state", state), lifespan=lifespan)) as client:
        assert client.get("/state").text == "42"

    assert order == ["up", "down"]


class Passing(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        return await call_next(request)


async def endless(request):
    async def pieces():
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0.001)

    return StreamingResponse(pieces(), media_type="text/event-stream")


@pytest.mark.parametrize("middleware", [[], [Middleware(Passing)]], ids=["bare", "BaseHTTPMiddleware"])
def test_client_that_leaves_a_stream(runtime, sink, middleware):
    """
    On uvicorn, a reader of events that closes its connection leaves the status that was sent, and aborts.

    `BaseHTTPMiddleware` ends such a reply as if it were whole, and uvicorn swallows what is sent to nobody.
    """
    app = instrumented(Route("/events/{n}", endless), middleware=middleware)
    with serving("asgi", app) as port:
        get_and_leave(port, "/events/1", 5000)

    assert [(op.endpoint, op.status, op.aborted, op.streamed, op.exception) for op in sink.operations] == [
        ("/events/{n}", 200, True, True, None)
    ]


def test_client_that_leaves_during_its_upload(runtime, sink):
    """
    On uvicorn, a client that goes before its body is whole is a 499, whatever is then said to nobody.
    """

    begun = threading.Event()

    async def upload(request):
        begun.set()
        try:
            await request.body()
        except ClientDisconnect:
            raise HTTPException(400) from None

    with serving("asgi", instrumented(Route("/upload", upload, methods=["POST"]))) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.putrequest("POST", "/upload")
        connection.putheader("Content-Length", "100")
        connection.endheaders(b"ten bytes.")
        begun.wait(10)
        connection.close()

    assert [(op.status, op.aborted, op.exception) for op in sink.operations] == [(499, False, None)]


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/slow", (499, False)), ("/stream", (200, True))],
    ids=["before the status", "in mid-stream"],
)
def test_client_that_nobody_listens_for(runtime, sink, path, expected):
    """
    On uvicorn, whose `send` says nothing, an application that never asks for a disconnect is recorded as it was.
    """
    begun, left = threading.Event(), threading.Event()

    async def wait(scope, receive, send):
        start = {"type": "http.response.start", "status": 200, "headers": []}
        if scope["path"] == "/stream":
            await send(start)
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
        begun.set()
        await asyncio.to_thread(left.wait, 10)
        await asyncio.sleep(0.05)  # the loop has yet to read that the connection was closed
        if scope["path"] == "/slow":
            await send(start)
        await send({"type": "http.response.body", "body": b"last"})

    with serving("asgi", instrumented(Mount("", wait))) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path)
        begun.wait(10)
        connection.close()
        left.set()

    assert [(op.status, op.aborted) for op in sink.operations] == [expected]


def test_requests_of_one_connection(runtime, sink):
    """
    On uvicorn, requests that share a connection are each counted, with ids of their own; threads know them.
    """

    def in_thread(request):
        return PlainTextResponse(obskit.correlation_id())

    with serving("asgi", instrumented(Route("/x/{n}", in_thread))) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        pairs = []
        for n in range(3):
            connection.request("GET", f"/x/{n}")
            reply = connection.getresponse()
            pairs.append((reply.read().decode(), reply.headers["X-Correlation-ID"]))
        connection.close()

    assert [body for body, _ in pairs] == [header for _, header in pairs]
    assert len({header for _, header in pairs}) == 3
    assert [(op.endpoint, op.status, op.aborted) for op in sink.operations] == [("/x/{n}", 200, False)] * 3


def test_background_task_below_http_middleware(runtime, sink):
    """
    A background task runs after the operation has ended, below `BaseHTTPMiddleware` too, and knows the id.
    """
    seen = []

    async def later():
        seen.append((len(sink.operations), obskit.correlation_id()))

    async def handler(request):
        return PlainTextResponse("ok", background=BackgroundTask(later))

    for middleware in ([], [Middleware(Passing)]):
        ask(instrumented(Route("/x", handler), middleware=middleware), "/x")

    assert [made for _, made in seen] == [op.correlation_id for op in sink.operations]
    assert seen[0][0] == 1


def test_application_may_be_copied(runtime, sink):
    """
    What is remembered of a route table is not carried into another one.
    """
    app = Starlette(routes=[Route("/x", ok)])
    app.add_middleware(ObskitMiddleware)
    ask(app, "/x")
    twin = Starlette(routes=copy.copy(app.routes))
    twin.add_middleware(ObskitMiddleware)
    twin.add_route("/y", other)
    ask(twin, "/x", "/y")

    assert endpoints(sink) == ["/x", "/x", "/y"]


def test_missing_extra(monkeypatch):
    """
    Without Starlette the message says which extra to install.
    """
    import importlib
    import sys

    monkeypatch.setitem(sys.modules, "starlette.applications", None)
    spec = importlib.util.find_spec(module.__name__)

    with pytest.raises(obskit.errors.MissingExtraError, match=r"pip install 'obskit\[starlette\]'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


@pytest.mark.parametrize(
    ("inner", "path", "expected"),
    [
        (Mount("/", routes=[Route("/y/{id}", ok)]), "/x/y/1", "/x/y/{id}"),
        (Mount("/", routes=[Route("/y/{id}", ok)]), "/x/none", UNMATCHED),
        (Mount("/deep", routes=[Route("/y/{id}", ok)]), "/x/deep/y/1", "/x/deep/y/{id}"),
        (Mount("/deep", routes=[Route("/y/{id}", ok)]), "/x/deep/none", UNMATCHED),
        (Mount("/deep", routes=[Route("/y/{id}", ok)]), "/x/none", UNMATCHED),
        (Route("/y/{id}", ok), "/x/y/1", "/x/y/{id}"),
        (Route("/y/{id}", ok), "/x/none", UNMATCHED),
    ],
)
def test_a_route_in_the_place_of_an_application(runtime, sink, inner, path, expected):
    """
    A mount, or a route, may be what is mounted: its path is part of the template, and what it refuses is unmatched.
    """
    ask(instrumented(Mount("/x", inner)), path)

    assert endpoints(sink) == [expected]


def test_one_application_mounted_openly_and_in_a_closure(runtime, sink):
    """
    An application that the table shows below one mount, and that another hides, has the mount that was asked for.
    """
    sub = Starlette(routes=[Route("/y/{id}", ok)])

    async def closure(scope, receive, send):
        await sub(scope, receive, send)

    app = instrumented(Mount("/internal", sub), Mount("/partners/{partner}", closure), Route("/y/{id}", ok))
    ask(app, "/internal/y/1", "/partners/acme/y/2", "/y/3", "/internal/none", "/partners/acme/none")

    assert endpoints(sink) == ["/internal/y/{id}", "/partners/{partner}/y/{id}", "/y/{id}", UNMATCHED, UNMATCHED]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/open/y/1", "/open/{path}"),
        ("/closed/y/1", "/closed/y/{id}"),
        ("/closed/none", UNMATCHED),
        ("/closed/y/1/", UNMATCHED),
        ("/sub/open/none", "/sub/open/{path}"),
        ("/sub/closed/none", UNMATCHED),
        ("/sub/none", UNMATCHED),
    ],
)
def test_what_a_closure_hides(runtime, sink, path, expected):
    """
    What a mounted application without routes answers has the mount's template, and what a hidden router refuses none.
    """
    inner = Starlette(routes=[Route("/y/{id}", ok)])

    async def closure(scope, receive, send):
        await inner(scope, receive, send)

    async def answers(scope, receive, send):
        await PlainTextResponse("ok")(scope, receive, send)

    mounts = [Mount("/open", answers), Mount("/closed", closure)]
    ask(instrumented(*mounts, Mount("/sub", Starlette(routes=mounts))), path)

    assert endpoints(sink) == [expected]


def test_the_routes_of_a_prefix_that_begins_as_obskits(runtime, sink):
    """
    `/m` is no prefix of `/metrics`: a proxy that takes the prefix off leaves obskit's routes as they are.
    """
    app = instrumented(Route("/x", ok))
    replies = [ask(app, path, root_path="/m").status_code for path in ("/metrics", "/m/metrics", "/health")]

    assert replies == [200, 200, 200]


def test_routers_are_what_they_were(runtime):
    """
    What obskit puts in a router's place takes and gives the same, as others see it.
    """
    instrumented(Route("/x", ok))

    assert inspect.iscoroutinefunction(Router.__call__)
    assert [*inspect.signature(Router.__call__).parameters] == ["self", "scope", "receive", "send"]


def test_what_is_no_request_of_an_application_inside_raises_its_own(runtime, sink):
    """
    A lifespan that a view starts, and a WebSocket that it opens, break with their own exception.
    """

    @asynccontextmanager
    async def broken(app):
        raise RuntimeError("the database is down")
        yield

    async def closing(websocket):
        raise ValueError("mine")

    inner = Starlette(lifespan=broken, routes=[WebSocketRoute("/w", closing)])
    raised = []

    async def starts(request):
        for scope in ({"type": "lifespan", "state": {}}, {"type": "websocket", "path": "/w", "headers": []}):
            try:
                await inner(scope, request.receive, request._send)
            except Exception as error:
                raised.append(repr(error))
        return PlainTextResponse("ok")

    ask(instrumented(Route("/starts", starts)), "/starts")

    assert ["RuntimeError('the database is down')", "ValueError('mine')"] == raised


def test_a_view_that_asks_its_own_application_keeps_its_route(runtime, sink):
    """
    A batch that hands copies of its scope to the application, with other paths, is counted by its own template.
    """

    async def batch(request):
        replies = []

        async def take(message):
            replies.append(message)

        await app({**request.scope, "path": "/one"}, request.receive, take)
        return PlainTextResponse(str(len(replies)))

    app = instrumented(Route("/one", ok), Route("/batch", batch))

    assert "2" == ask(app, "/batch").text
    assert ["/batch"] == endpoints(sink)


def test_headers_of_an_application_inside_stay_to_be_read(runtime, sink):
    """
    An application that a view asks for the same path finds the headers that it was given, in whatever can be read once.
    """

    async def echo(request):
        return PlainTextResponse(request.headers.get("x-plant", "none"))

    async def asks(request):
        replies = []

        async def take(message):
            replies.append(message)

        headers = iter([(b"x-plant", b"fern"), (b"host", b"testserver")])
        scope = {"type": "http", "method": "GET", "path": "/same", "query_string": b"", "headers": headers}
        await Starlette(routes=[Route("/same", echo)])(scope, request.receive, take)
        return PlainTextResponse(replies[-1]["body"])

    assert "fern" == ask(instrumented(Route("/same", asks)), "/same").text


def test_what_is_asked_after_a_reply_is_another_request(runtime, sink):
    """
    A server may begin the next request of a connection inside of the reply before it, whose background work goes on.
    """
    words = {"type": "http", "method": "GET", "path": "/down", "query_string": b"", "headers": [(b"host", b"a")]}
    left = ["again", "once more"]

    async def again():
        if left:
            left.pop()
            await app(dict(words), no_messages, nowhere)

    async def down(request):
        return PlainTextResponse("no", 503, background=BackgroundTask(again))

    async def no_messages():
        return {"type": "http.request", "body": b""}

    async def nowhere(message):
        pass

    app = instrumented(Route("/down", down))
    asyncio.run(app(dict(words), no_messages, nowhere))

    assert [503] * 3 == [operation.status for operation in sink.operations]
