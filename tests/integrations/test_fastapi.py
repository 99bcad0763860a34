"""
Prove which template a FastAPI application's requests get, and that its own features stay what they are.
"""

import http.client
import importlib
import sys
import warnings
from contextlib import asynccontextmanager

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import PlainTextResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from fastapi.testclient import TestClient
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.routing import Host, Mount, Route

import obskit
from contract.servers import get, get_and_leave, serving
from obskit.context import current
from obskit.errors import RouteTakenError, UnsupportedApplicationError
from obskit.integrations import fastapi as module
from obskit.integrations.fastapi import ObskitMiddleware, route_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`"),
    pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated"),
]
# 0.137 made an included router one route; before, its routes were copied, and its mounts were not served.
KEEPS_ROUTERS = hasattr(APIRouter, "matches")


async def ok():
    return "ok"


async def plain(request):
    return PlainTextResponse("plain")


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


def router(path="/things/{thing_id}", **options):
    made = APIRouter(**options)
    made.add_api_route(path, ok)
    return made


def sub():
    app = FastAPI()
    app.add_api_route("/u/{uid}", ok)
    return app


def test_included_routers(runtime, sink):
    """
    Prefixes of routers, nested ones and such with parameters, are part of the template, in front of empty paths too.
    """
    app, outer = FastAPI(), APIRouter(prefix="/outer")
    outer.include_router(router(prefix="/inner"), prefix="/mid/{x}")
    outer.include_router(router(""), prefix="/empty")
    app.include_router(outer, prefix="/api")
    app.add_api_route("/items/{item_id}", plain, methods=["POST"])
    ask(obskit.instrument(app), "/api/outer/mid/1/inner/things/2", "/api/outer/empty", "/api/outer/no", "/items/1")

    assert endpoints(sink) == [
        *("/api/outer/mid/{x}/inner/things/{thing_id}", "/api/outer/empty", "<unmatched>", "/items/{item_id}"),
    ]


def test_router_that_is_included_twice(runtime, sink):
    """
    One router under two prefixes has two templates, for both kinds of route, and for a wrong method.
    """
    app, shared = FastAPI(), router()
    shared.add_route("/plain/{x}", plain)
    app.include_router(shared, prefix="/v1")
    app.include_router(shared, prefix="/v2/{y}")
    obskit.instrument(app)
    ask(app, "/v1/things/1", "/v2/0/things/1", "/v1/plain/1", "/v2/0/plain/1")
    ask(app, "/v2/0/things/1", method="DELETE")

    assert endpoints(sink) == [
        *("/v1/things/{thing_id}", "/v2/{y}/things/{thing_id}", "/v1/plain/{x}", "/v2/{y}/plain/{x}"),
        "/v2/{y}/things/{thing_id}",
    ]


def test_mount_in_an_included_router(runtime, sink):
    """
    A mount keeps the prefix its router was included with, and the application in it its own routers.

    A FastAPI that does not serve such mounts has no route there.
    """
    inner = FastAPI()
    inner.include_router(router(), prefix="/in")
    outer = APIRouter()
    outer.mount("/m/{z}", inner)
    outer.mount("/files", StaticFiles(directory="."))
    app = FastAPI()
    app.include_router(outer, prefix="/api")
    ask(obskit.instrument(app), "/api/m/Z/in/things/1", "/api/m/Z/no", "/api/files/pyproject.toml")

    served = ["/api/m/{z}/in/things/{thing_id}", "<unmatched>", "/api/files/{path}"]
    assert endpoints(sink) == (served if KEEPS_ROUTERS else ["<unmatched>"] * 3)


def test_mounts(runtime, sink):
    """
    FastAPI leaves no word of a mount in the scope; the template holds it all the same, with its placeholders.
    """
    shared, app = sub(), FastAPI()
    app.mount("/t/{tenant}", shared)
    app.mount("/s", shared)
    app.mount("/starlette", Starlette(routes=[Route("/x/{y:int}", plain), Mount("/deep/{z}", shared)]))
    app.mount("/files", StaticFiles(directory="."))
    app.router.routes.append(Host("{shop}.example", Starlette(routes=[Route("/in/{host}", plain)])))
    obskit.instrument(app)
    ask(app, "/t/acme/u/7", "/s/u/7", "/starlette/x/7", "/starlette/deep/0/u/7", "/files/pyproject.toml", "/t/acme/no")
    ask(app, "/in/1", base_url="http://a.example")

    assert endpoints(sink) == [
        *("/t/{tenant}/u/{uid}", "/s/u/{uid}", "/starlette/x/{y:int}", "/starlette/deep/{z}/u/{uid}"),
        *("/files/{path}", "<unmatched>", "/in/{host}"),
    ]


def test_fastapi_below_starlette(runtime, sink):
    """
    The plain routes of a mounted FastAPI application are not taken for the mount that Starlette left in the scope.
    """
    inner = sub()
    inner.add_route("/plain/{x}", plain)
    app = Starlette(routes=[Mount("/m/{z}", inner)])
    ask(obskit.instrument(app), "/m/Z/u/7", "/m/Z/plain/1", "/m/Z/no")

    assert endpoints(sink) == ["/m/{z}/u/{uid}", "/m/{z}/plain/{x}", "<unmatched>"]


def test_root_path(runtime, sink):
    """
    The deployment's prefix, as an argument or from the server, is no part of the endpoint.
    """
    app = FastAPI(root_path="/prefix")
    app.add_api_route("/x/{y}", ok)
    app.mount("/t/{tenant}", sub())
    obskit.instrument(app)
    ask(app, "/x/1", "/prefix/x/1", "/prefix/t/acme/u/7")

    assert endpoints(sink) == ["/x/{y}", "/x/{y}", "/t/{tenant}/u/{uid}"]
    assert ask(app, "/prefix/metrics").status_code == 200


def test_routes_that_are_added_later(runtime, sink):
    """
    Routes, routers and mounts that come after the first request are named, and so are new routes of old routers.
    """
    app, api = obskit.instrument(FastAPI()), router()
    app.add_api_route("/x/{y}", ok)
    ask(app, "/x/1")
    app.include_router(api, prefix="/api")
    ask(app, "/api/things/1")
    app.mount("/m/{z}", sub())
    ask(app, "/m/1/u/2")

    assert endpoints(sink) == ["/x/{y}", "/api/things/{thing_id}", "/m/{z}/u/{uid}"]


def test_routes_that_are_added_to_an_included_router(runtime, sink):
    """
    A router that grows after it was included has its new routes named, where FastAPI serves them.
    """
    app, api = obskit.instrument(FastAPI()), router()
    app.include_router(api, prefix="/api")
    ask(app, "/api/things/1")
    api.add_api_route("/more/{x}", ok)
    ask(app, "/api/more/1")

    assert endpoints(sink) == ["/api/things/{thing_id}", "/api/more/{x}" if KEEPS_ROUTERS else "<unmatched>"]


def test_frontend(runtime, sink, tmp_path):
    """
    A frontend is its place and the rest of the path, in included routers and mounts too.
    """
    pytest.importorskip("fastapi", minversion="0.138", reason="the first with frontends")
    (tmp_path / "index.html").write_text("page")
    api, inner, app = APIRouter(), FastAPI(), FastAPI()
    api.frontend("/ui", directory=tmp_path)
    inner.frontend("/", directory=tmp_path)
    app.include_router(api, prefix="/api")
    app.mount("/t/{tenant}", inner)
    app.frontend("/", directory=tmp_path)
    obskit.instrument(app)
    ask(app, "/", "/index.html", "///index.html", "/api/ui/index.html", "/t/acme/index.html")

    assert endpoints(sink) == ["/{path}", "/{path}", "/{path}", "/api/ui/{path}", "/t/{tenant}/{path}"]


def test_documentation_stays(runtime, sink):
    """
    The schema is the bare application's, and its pages are served and counted as routes.
    """
    bare, app = sub(), obskit.instrument(sub())

    assert app.openapi() == bare.openapi()
    assert ask(app, "/docs", "/openapi.json").json() == bare.openapi()
    assert endpoints(sink) == ["/docs", "/openapi.json"]


def test_lifespan_and_dependencies(runtime, sink):
    """
    FastAPI's client, lifespan, overrides, and dependencies with `yield` work; all of them know the request.
    """
    order = []

    @asynccontextmanager
    async def lifespan(app):
        order.append("up")
        yield
        order.append("down")

    def wanted():
        raise AssertionError("the override was lost")

    def real():
        order.append(obskit.correlation_id())
        yield route_of(current.get().root.scope)
        order.append("closed")

    app = obskit.instrument(FastAPI(lifespan=lifespan))
    app.dependency_overrides[wanted] = real

    @app.get("/x/{y}")
    def view(y: int, route: str = Depends(wanted)):
        return route

    with TestClient(app) as client:
        reply = client.get("/x/1")

    assert reply.json() == "/x/{y}"
    assert order == ["up", reply.headers["x-correlation-id"], "closed", "down"]


def test_endings_of_errors(runtime, sink):
    """
    `HTTPException` and validation are replies; what became a 500 or above is counted once, with the header.
    """
    app = obskit.instrument(FastAPI())

    class Order(BaseModel):
        quantity: int

    @app.exception_handler(KeyError)
    async def answer(request: Request, error: KeyError):
        return PlainTextResponse("handled", 502)

    @app.get("/raise/{what}")
    async def view(what: str):
        raise {"key": KeyError(), "value": ValueError(), "group": ExceptionGroup("g", [ValueError()])}.get(
            what, HTTPException(503)
        )

    @app.get("/order")
    async def order(order: Order):
        return order

    paths = ["/raise/key", "/raise/http", "/raise/value", "/raise/group", "/order"]
    replies = [ask(app, path, raises=False) for path in paths]

    assert [(op.status, op.exception) for op in sink.operations] == [
        *((502, "KeyError"), (503, None), (500, "ValueError"), (500, "ExceptionGroup"), (422, None)),
    ]
    assert all("x-correlation-id" in reply.headers for reply in replies)


def test_http_middleware(runtime, sink):
    """
    `@app.middleware("http")` may be added after `instrument()`, and does not hide the route, or the background task.
    """
    app, seen = obskit.instrument(FastAPI()), []

    @app.middleware("http")
    async def middleware(request: Request, call_next):
        return await call_next(request)

    @app.get("/x/{y}")
    async def view(y: int, tasks: BackgroundTasks):
        tasks.add_task(lambda: seen.append(obskit.correlation_id()))

    reply = ask(app, "/x/1")

    assert endpoints(sink) == ["/x/{y}"]
    assert seen == [reply.headers["x-correlation-id"]]


def test_long_form(runtime, sink):
    """
    `add_middleware(ObskitMiddleware)` knows the templates as `instrument()` does, and both together count once.
    """
    app = FastAPI()
    app.include_router(router(), prefix="/api")
    app.mount("/t/{tenant}", sub())
    app.add_middleware(ObskitMiddleware)
    ask(obskit.instrument(app), "/api/things/1", "/t/acme/u/7", "/no")

    assert endpoints(sink) == ["/api/things/{thing_id}", "/t/{tenant}/u/{uid}", "<unmatched>"]


def test_sub_application_that_is_instrumented_too(runtime, sink):
    """
    A request that passes two instrumented applications is one.
    """
    app = obskit.instrument(FastAPI())
    app.mount("/t/{tenant}", obskit.instrument(sub()))
    ask(app, "/t/acme/u/7")

    assert endpoints(sink) == ["/t/{tenant}/u/{uid}"]


def test_route_that_is_taken(runtime):
    """
    A health route of the application's own, in an included router, is refused.
    """
    app = FastAPI()
    app.include_router(router("/live"), prefix="/health")

    with pytest.raises(RouteTakenError, match="has a route /health/live itself"):
        obskit.instrument(app)


def test_websocket(runtime, sink):
    """
    A WebSocket of an included router passes, and is no request.
    """
    app, api = obskit.instrument(FastAPI()), APIRouter()

    @api.websocket("/ws/{x}")
    async def echo(websocket: WebSocket, x: int):
        await websocket.accept()
        await websocket.send_text(str(x))
        await websocket.close()

    app.include_router(api, prefix="/api")
    with TestClient(app) as client, client.websocket_connect("/api/ws/1") as websocket:
        assert websocket.receive_text() == "1"

    assert sink.operations == []


def test_on_a_server(runtime, sink):
    """
    On uvicorn: a synchronous view in its thread knows its id, a stream arrives whole, one that is left is aborted.
    """
    app = obskit.instrument(FastAPI())

    @app.get("/id/{x}")
    def view(x: int):
        return PlainTextResponse(obskit.correlation_id())

    @app.get("/stream/{size}")
    def stream(size: int):
        return StreamingResponse(b"x" * 1000 for _ in range(size))

    with serving("asgi", app) as port:
        reply, body = get(port, "/id/1")
        _, whole = get(port, "/stream/5")
        get_and_leave(port, "/stream/1000000", 5000)

    assert body.decode() == reply.headers["X-Correlation-ID"]
    assert len(whole) == 5000
    assert [(op.endpoint, op.status, op.aborted, op.exception) for op in sink.operations] == [
        ("/id/{x}", 200, False, None),
        ("/stream/{size}", 200, False, None),
        ("/stream/{size}", 200, True, None),
    ]


def test_client_that_leaves_during_its_upload(runtime, sink):
    """
    On uvicorn, FastAPI calls a body that broke off a bad one: a 400 to nobody, which is a 499.
    """
    app = obskit.instrument(FastAPI())

    @app.post("/upload")
    async def upload(body: dict):
        return body

    with serving("asgi", app) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.putrequest("POST", "/upload")
        connection.putheader("Content-Length", "100")
        connection.putheader("Content-Type", "application/json")
        connection.endheaders(b'{"ten": 10')
        while not sink.begun:
            get(port, "/health")
        connection.close()

    assert [(op.endpoint, op.status, op.aborted, op.exception) for op in sink.operations] == [
        ("/upload", 499, False, None)
    ]


def test_missing_extra(monkeypatch):
    """
    Without FastAPI the message says which extra to install.
    """
    monkeypatch.setitem(sys.modules, "fastapi", None)
    spec = importlib.util.find_spec(module.__name__)

    with pytest.raises(obskit.errors.MissingExtraError, match=r"pip install 'obskit\[fastapi\]'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_a_router_is_no_application(runtime):
    """
    A router that can be called, and that nobody serves by itself, is refused.
    """
    with pytest.raises(UnsupportedApplicationError, match="given a APIRouter; pass the application that includes it"):
        obskit.instrument(APIRouter())
