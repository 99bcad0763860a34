"""
Build the same small service on every framework, and drive it in process.
"""

from __future__ import annotations

import asyncio
import io
import sys
import types
from collections.abc import Callable
from typing import Any

FRAMEWORKS = ("wsgi", "asgi", "flask", "starlette", "fastapi", "django", "django_asgi")
WSGI = ("wsgi", "flask", "django")
HEADERS = {"host": "bench.local", "user-agent": "bench/1.0", "accept": "*/*", "accept-encoding": "gzip, deflate"}


def _wsgi(routes: int) -> Any:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "18")])
        return [b'{"id":7,"ok":true}']

    return app


def _asgi(routes: int) -> Any:
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start)
        await send({"type": "http.response.body", "body": b'{"id":7,"ok":true}'})

    return app


def _flask(routes: int) -> Any:
    from flask import Flask, jsonify

    app = Flask("bench")
    for number in range(routes):
        app.add_url_rule(f"/filler{number}/<int:x>", f"filler{number}", lambda x: "")

    @app.get("/items/<int:item_id>")
    def item(item_id: int) -> Any:
        return jsonify(id=item_id, ok=True)

    return app


def _starlette(routes: int) -> Any:
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def item(request: Any) -> Any:
        return JSONResponse({"id": request.path_params["item_id"], "ok": True})

    filler = [Route(f"/filler{number}/{{item_id:int}}", item) for number in range(routes)]
    return Starlette(routes=[*filler, Route("/items/{item_id:int}", item)])


def _fastapi(routes: int) -> Any:
    from fastapi import FastAPI

    app = FastAPI()

    async def filler(x: int) -> Any:
        return {}

    for number in range(routes):
        app.add_api_route(f"/filler{number}/{{x}}", filler)

    @app.get("/items/{item_id}")
    async def item(item_id: int) -> Any:
        return {"id": item_id, "ok": True}

    return app


def _django(routes: int, asynchronous: bool = False) -> Any:
    import django
    from django.conf import settings

    if not settings.configured:
        settings.configure(
            SECRET_KEY="bench", ALLOWED_HOSTS=["*"], ROOT_URLCONF="bench_urls", DATABASES={}, LOGGING_CONFIG=None
        )
        django.setup()
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import JsonResponse
    from django.urls import path

    def item(request: Any, item_id: int) -> Any:
        return JsonResponse({"id": item_id, "ok": True})

    async def async_item(request: Any, item_id: int) -> Any:
        return JsonResponse({"id": item_id, "ok": True})

    view = async_item if asynchronous else item
    urls = types.ModuleType("bench_urls")
    filler = [path(f"filler{number}/<int:item_id>", view) for number in range(routes)]
    urls.urlpatterns = [*filler, path("items/<int:item_id>", view)]  # type: ignore[attr-defined]
    sys.modules["bench_urls"] = urls
    return ASGIHandler() if asynchronous else WSGIHandler()


_BUILDERS: dict[str, Callable[[int], Any]] = {
    "wsgi": _wsgi,
    "asgi": _asgi,
    "flask": _flask,
    "starlette": _starlette,
    "fastapi": _fastapi,
    "django": _django,
    "django_asgi": lambda routes: _django(routes, asynchronous=True),
}


def build(framework: str, routes: int = 0) -> Any:
    """
    Build the service, with so many other routes in front of the one that is asked for.
    """
    return _BUILDERS[framework](routes)


class WsgiDriver:
    """
    Serve requests to a WSGI application in this thread, as a server would.
    """

    def __init__(self) -> None:
        self._environs = [self._environ(f"/items/{number}") for number in range(64)]

    def _environ(self, path: str) -> dict[str, Any]:
        headers = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in HEADERS.items()}
        return {
            "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": "",
            "SERVER_NAME": "bench.local", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1", "wsgi.version": (1, 0), "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr, "wsgi.multithread": False, "wsgi.multiprocess": True,
            "wsgi.run_once": False, **headers,
        }  # fmt: skip

    def run(self, app: Any, requests: int, clock: Callable[[], int]) -> int:
        """
        Return the nanoseconds that so many requests took.
        """
        environs = self._environs

        def start_response(status: str, headers: Any, exc_info: Any = None) -> None:
            return None

        started = clock()
        for number in range(requests):
            environ = environs[number & 63].copy()
            environ["wsgi.input"] = io.BytesIO()
            reply = app(environ, start_response)
            for _ in reply:
                pass
            close = getattr(reply, "close", None)
            if close is not None:
                close()
        return clock() - started


class AsgiDriver:
    """
    Serve requests to an ASGI application in one event loop, as a server would.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._scopes = [self._scope(f"/items/{number}") for number in range(64)]

    def _scope(self, path: str) -> dict[str, Any]:
        return {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
            "method": "GET", "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
            "root_path": "", "client": ("127.0.0.1", 50000), "server": ("127.0.0.1", 80),
            "headers": [(name.encode(), value.encode()) for name, value in HEADERS.items()],
        }  # fmt: skip

    def run(self, app: Any, requests: int, clock: Callable[[], int]) -> int:
        """
        Return the nanoseconds that so many requests took.
        """
        return self._loop.run_until_complete(self._run(app, requests, clock))

    async def _run(self, app: Any, requests: int, clock: Callable[[], int]) -> int:
        scopes = self._scopes

        async def send(message: Any) -> None:
            pass

        started = clock()
        for number in range(requests):
            scope = scopes[number & 63].copy()
            scope["headers"] = list(scope["headers"])
            await app(scope, _receiver(), send)
        return clock() - started


def _receiver() -> Any:
    first = True

    async def receive() -> Any:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.get_running_loop().create_future()

    return receive


def driver(framework: str) -> WsgiDriver | AsgiDriver:
    """
    Return the driver that fits the framework.
    """
    return WsgiDriver() if framework in WSGI else AsgiDriver()
