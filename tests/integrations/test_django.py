"""
Prove what Django's requests are recorded as, by `instrument()` and by the middleware, under WSGI and ASGI.
"""

import asyncio
import gc
import io
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from importlib.util import find_spec
from wsgiref.util import FileWrapper

import asgiref.sync
import pytest
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.core.signals import got_request_exception
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import include, path, re_path, resolve, reverse
from django.views.decorators.http import require_GET
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import get_current_span

import contract.stacks.django_site  # noqa: F401  # it configures Django, once a process
import obskit
from contract.drivers import Ending, Request, call_asgi, call_wsgi, environ_of
from contract.stacks.django_async import ClosingHandler
from obskit.context import current
from obskit.errors import AlreadyConfiguredError, ConfigurationError, RouteTakenError, UnknownSettingError
from obskit.integrations import django as module
from obskit.integrations.django.apps import ObskitConfig, check_middleware, check_urls
from obskit.integrations.django.routes import template
from obskit.recorder import recorder
from obskit.testing import FakeClock, FakeIds, isolated_runtime

MIDDLEWARE = "obskit.integrations.django.ObskitMiddleware"
CALLS = {"wsgi": call_wsgi, "asgi": call_asgi}

PATIENCE_SECONDS = 30


class Boom(Exception):
    pass


def ok(request, **parameters):
    return HttpResponse("ok")


async def async_ok(request):
    return HttpResponse(current.get().locate())


def endpoint(request):
    return HttpResponse(current.get().locate())


def identity(request):
    return HttpResponse(obskit.correlation_id())


def boom(request):
    raise Boom


def missing_page(request, exception):
    return HttpResponse("no such page", status=404)


def broken_page(request):
    return HttpResponse("sorry", status=500)


class Site:
    """
    A URLconf, as a module would, and serve it in one of the forms.
    """

    handler404 = staticmethod(missing_page)
    handler500 = staticmethod(broken_page)

    def __init__(self):
        self.urlpatterns = [
            path("", ok),
            path("items/<int:item_id>", ok),
            path("shop/", include(([path("v1/", include([path("things/<slug:name>/", ok)]))], "shop"), namespace="s")),
            re_path(r"^articles/(?P<year>[0-9]{4})/$", ok),
            path("mixed/", include([re_path(r"^(?P<page>\w+)\.html$", ok)])),
            path("safe", require_GET(ok)),
            path("endpoint", endpoint),
            path("endpoint/async", async_ok),
            path("identity", identity),
            path("boom", boom),
        ]

    def add(self, route, view):
        self.urlpatterns.append(path(route, view))


class Served:
    """
    Call the site, in one form, under one protocol.
    """

    def __init__(self, form, protocol):
        self.protocol = protocol
        handler = {"wsgi": WSGIHandler, "asgi": ClosingHandler}[protocol]()
        self.app = obskit.instrument(handler) if form == "instrument" else handler

    def call(self, request, ending=None):
        return CALLS[self.protocol](self.app, request, *([ending] if ending else []))

    def get(self, path, ending=None, **headers):
        named = tuple((name.replace("_", "-"), text) for name, text in headers.items())
        return self.call(Request(path, headers=named), ending)


@pytest.fixture
def site():
    site = Site()
    with override_settings(ROOT_URLCONF=site, MIDDLEWARE=["django.middleware.common.CommonMiddleware"]):
        yield site


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def runtime(sink, clock):
    with isolated_runtime(service="shop", sinks=[sink], clock=clock, ids=FakeIds()) as runtime:
        yield runtime


@pytest.fixture
def with_middleware(site):
    """
    Put obskit's middleware first, as its page says.
    """
    with override_settings(MIDDLEWARE=[MIDDLEWARE, *settings.MIDDLEWARE]):
        yield


@pytest.fixture(params=["wsgi", "asgi"])
def protocol(request):
    return request.param


@pytest.fixture(params=["instrument", "middleware"])
def served(request, protocol, site, runtime):
    with ExitStack() as stack:
        if request.param == "middleware":
            stack.enter_context(override_settings(MIDDLEWARE=[MIDDLEWARE, *settings.MIDDLEWARE]))
        yield Served(request.param, protocol)


@pytest.fixture
def by_middleware(protocol, with_middleware, runtime):
    return Served("middleware", protocol)


def only(sink):
    (operation,) = sink.operations
    return operation


def read(client, path, **options):
    """
    Get a page by Django's own test clients, which go through no handler.
    """
    answer = client.get(path, **options)
    return asyncio.run(answer) if asyncio.iscoroutine(answer) else answer


# Gates


class Doorkeeper:
    """
    Refuse everybody but those with a key, and remember who asked.
    """

    def __init__(self):
        self.asked = []

    def admit(self, request):
        self.asked.append(request)
        reply = obskit.Reply(403, [("X-Reason", "lockout")], b"locked out")
        return None if request.header("x-key") else reply


@pytest.mark.parametrize("form", ["instrument", "middleware"])
def test_a_gate_refuses(site, protocol, sink, form, caplog):
    """
    The view is not called, the refusal is one operation without a route, and Django writes no line of its own.
    """
    seen, doorkeeper = [], Doorkeeper()
    site.add("seen", lambda request: seen.append("seen") or HttpResponse("ok"))
    middleware = [MIDDLEWARE, *settings.MIDDLEWARE] if form == "middleware" else settings.MIDDLEWARE
    with (
        override_settings(MIDDLEWARE=middleware),
        isolated_runtime(sinks=[sink], gates=[doorkeeper], trusted_proxies=["192.0.2.0/24"]) as runtime,
    ):
        refused = Served(form, protocol).get("/seen", x_forwarded_for="198.51.100.7")
        operation = only(sink)
        admitted = Served(form, protocol).get("/seen", x_key="k")
        lines = [line["status"] for line in runtime.lines if line["message"] == "request"]

    said = [refused.header(name) for name in ("x-reason", "content-type", "content-length")]
    asked = doorkeeper.asked[0]
    assert (403, b"locked out", 200, ["seen"]) == (refused.status, refused.body, admitted.status, seen)
    assert [["lockout"], [], ["10"]] == said
    assert [operation.correlation_id] == refused.header("x-correlation-id")
    assert ("<unmatched>", 403, 10, True) == (
        operation.endpoint,
        operation.status,
        operation.bytes_sent,
        operation.refused,
    )
    assert ([403, 200], []) == (lines, [record for record in caplog.records if record.name == "django.request"])
    assert ("GET", "/seen", "198.51.100.7") == (asked.method, asked.path, asked.client)


def test_a_gate_that_fails_lets_everybody_in(site, with_middleware, protocol, sink):
    """
    Its exception is counted, and the view is called.
    """
    with isolated_runtime(sinks=[sink], strict=False, gates=[type("Broken", (), {"admit": boom})()]):
        assert 200 == Served("middleware", protocol).get("/items/7").status
        assert 1 == recorder.errors["gate"]


def test_a_gate_by_middleware_asks_about_excluded_paths(site, with_middleware, protocol, sink):
    """
    An excluded path is refused like others, and leaves no operation.
    """
    doorkeeper = Doorkeeper()
    with isolated_runtime(sinks=[sink], gates=[doorkeeper], exclude=["/items"]):
        served = Served("middleware", protocol)
        statuses = [served.get("/items/7").status, served.get("/items/7", x_key="k").status]

    assert ([403, 200], 2, []) == (statuses, len(doorkeeper.asked), sink.operations)


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize("exclude", [[], ["/health"]])
def test_a_gate_never_refuses_the_own_urls(site, with_middleware, client, exclude):
    """
    What the URLconf serves of obskit's is reachable where everybody else is locked out.
    """
    site.add("", include("obskit.integrations.django.urls"))
    doorkeeper = Doorkeeper()
    with isolated_runtime(gates=[doorkeeper], exclude=exclude):
        statuses = [read(client(), path).status_code for path in ("/metrics", "/health/live")]

    assert ([200, 200], []) == (statuses, doorkeeper.asked)


def test_two_forms_ask_a_gate_once(site, with_middleware, protocol):
    """
    What stands around Django asks, and the middleware inside does not again.
    """
    doorkeeper = Doorkeeper()
    with isolated_runtime(gates=[doorkeeper]):
        reply = Served("instrument", protocol).get("/items/7", x_key="k")

    assert (200, 1) == (reply.status, len(doorkeeper.asked))


# Routes


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", ("/", 200)),
        ("/items/7", ("/items/<int:item_id>", 200)),
        ("/shop/v1/things/pen/", ("/shop/v1/things/<slug:name>/", 200)),
        ("/articles/2024/", ("/articles/(?P<year>[0-9]{4})/", 200)),
        ("/mixed/about.html", (r"/mixed/(?P<page>\w+)\.html", 200)),
        ("/items/seven", ("<unmatched>", 404)),
        ("/shop/v1/things/pen", ("<unmatched>", 301)),
        ("/boom", ("/boom", 500)),
    ],
)
def test_endpoint_is_the_full_route(served, sink, path, expected):
    """
    Includes and namespaces stand in front, anchors of regular expressions are left out, no value is ever in it.
    """
    with override_settings(APPEND_SLASH=True):
        reply = served.get(path)

    operation = only(sink)
    assert (operation.endpoint, operation.status) == expected
    assert reply.status == expected[1]


def test_wrong_method_keeps_the_route(served, sink):
    """
    Django routes before it looks at the method, so that a 405 has its route.
    """
    served.call(Request("/safe", method="POST"))

    assert (only(sink).endpoint, only(sink).status, only(sink).method) == ("/safe", 405, "POST")


@pytest.mark.parametrize("path", ["/endpoint", "/endpoint/async"])
def test_route_is_known_while_the_view_runs(served, path):
    """
    Queries and AI calls of a view can be labelled with its endpoint.
    """
    assert served.get(path).body.decode() == path


def test_application_says_its_route(served, site, sink):
    """
    What `obskit.set_route()` says stands, even where Django matched a catch-all.
    """

    def page(request, slug):
        obskit.set_route("/pages/{slug}")
        return HttpResponse("page")

    site.add("<path:slug>", page)
    served.get("/about/us")

    assert only(sink).endpoint == "/pages/{slug}"


@pytest.mark.parametrize(
    ("route", "expected"),
    [(r"^costs\$", r"/costs\$"), (r"^end\Z", "/end"), (r"^$", "/"), ("plain/", "/plain/")],
)
def test_template_of_a_regular_expression(route, expected):
    """
    Anchors go, an escaped dollar stays.
    """
    assert template(route) == expected


# Ids, statuses, exceptions


@pytest.mark.parametrize("path", ["/items/7", "/nowhere", "/boom"])
def test_id_is_accepted_and_answered(served, sink, path):
    """
    The client's id comes back once, on 404s and on 500s of unhandled exceptions too.
    """
    reply = served.get(path, x_correlation_id="c-1")

    assert reply.header("x-correlation-id") == ["c-1"]
    assert only(sink).correlation_id == "c-1"


def test_id_of_the_view_is_replaced(served, site):
    """
    There is one id header, whatever the view has set.
    """
    site.add("own", lambda request: HttpResponse("own", headers={"x-correlation-id": "mine"}))

    assert served.get("/own").header("x-correlation-id") == ["id-1"]


def test_id_is_readable_in_a_synchronous_view(served):
    """
    Under ASGI Django runs the view in a thread, and the id is there too.
    """
    assert served.get("/identity").body == b"id-1"


@pytest.mark.parametrize("debug", [False, True])
def test_unhandled_exception_is_counted_once(served, sink, runtime, debug):
    """
    Django's own 500, with DEBUG or without, names the exception behind it.
    """
    with override_settings(DEBUG=debug):
        reply = served.get("/boom")

    assert (reply.status, only(sink).exception) == (500, "Boom")
    assert runtime.value("http_exceptions_total", endpoint="/boom", exception="Boom") == 1


def test_exception_of_the_error_page(served, site, sink):
    """
    Where the 500 page fails as well, the request is a 500, and ends once.
    """

    def worse(request):
        raise RuntimeError("the page is broken")

    site.handler500 = worse
    served.get("/boom")

    assert (only(sink).status, only(sink).exception) == (500, "RuntimeError")


def test_refused_host(served, sink):
    """
    A host outside of ALLOWED_HOSTS is a 400 with an id, no exception, and no route.
    """
    with override_settings(ALLOWED_HOSTS=["other.example"]):
        reply = served.get("/items/7")

    operation = only(sink)
    assert (reply.status, reply.header("x-correlation-id")) == (400, ["id-1"])
    assert (operation.status, operation.endpoint, operation.exception) == (400, "<unmatched>", None)


@pytest.mark.parametrize("path", ["/nowhere", "/gone", "/boom"])
def test_log_of_django_is_inside_of_the_request(served, site, path, caplog):
    """
    "Not Found: /nowhere" has the correlation id, and comes once.
    """
    site.add("gone", lambda request: HttpResponse(status=410))
    seen = []
    caplog.handler.addFilter(lambda record: seen.append(obskit.correlation_id()) or True)
    served.get(path)

    assert seen == ["id-1"]


def test_by_propagated_exceptions(served, sink):
    """
    With DEBUG_PROPAGATE_EXCEPTIONS the server answers, and the operation is a 500 all the same.
    """
    with override_settings(DEBUG_PROPAGATE_EXCEPTIONS=True):
        reply = served.get("/boom")

    assert isinstance(reply.error, Boom)
    assert (only(sink).status, only(sink).exception) == (500, "Boom")


# Both forms at once, and none


def test_two_forms_count_once(with_middleware, protocol, runtime, sink):
    """
    Inside of `instrument()` the middleware adds nothing, and is no second request.
    """
    reply = Served("instrument", protocol).get("/items/7")

    assert (only(sink).endpoint, only(sink).status) == ("/items/<int:item_id>", 200)
    assert reply.header("x-correlation-id") == ["id-1"]


def test_middleware_tells_a_foreign_wrapper_the_route(with_middleware, protocol, runtime, sink):
    """
    Where the bare WSGI or ASGI middleware is around Django, the Django middleware knows route and exception.
    """
    served = Served("middleware", protocol)
    wrapper = {"wsgi": obskit.integrations.wsgi, "asgi": obskit.integrations.asgi}[protocol].ObskitMiddleware
    served.app = wrapper(served.app)
    served.get("/boom")

    assert (only(sink).endpoint, only(sink).status, only(sink).exception) == ("/boom", 500, "Boom")


def test_middleware_twice_counts_once(with_middleware, protocol, runtime, sink):
    """
    A middleware that is listed twice counts once.
    """
    with override_settings(MIDDLEWARE=[MIDDLEWARE, *settings.MIDDLEWARE]):
        Served("middleware", protocol).get("/items/7")

    assert only(sink).endpoint == "/items/<int:item_id>"


def test_handler_instrumented_twice_counts_once(site, protocol, runtime, sink):
    """
    Wrapping the same handler again wraps what is wrapped.
    """
    served = Served("instrument", protocol)
    served.app = obskit.instrument(served.app)
    served.get("/items/7")

    assert only(sink).endpoint == "/items/<int:item_id>"


def test_excluded_path(site, with_middleware, sink):
    """
    An excluded path is served, unrecorded, and gets no id.
    """
    with isolated_runtime(sinks=[sink], exclude=["/items"]):
        reply = read(Client(), "/items/7")

    assert (reply.status_code, reply.has_header("X-Correlation-ID"), sink.operations) == (200, False, [])


def test_disabled(site, with_middleware, protocol):
    """
    With `enabled=False` Django leaves the middleware out.
    """
    with isolated_runtime(enabled=False):
        reply = Served("middleware", protocol).get("/items/7")

    assert (reply.body, reply.header("x-correlation-id")) == (b"ok", [])


def test_after_shutdown(site, with_middleware, protocol, sink):
    """
    A middleware that outlives its runtime lets everything through.
    """
    with isolated_runtime(sinks=[sink]):
        served = Served("middleware", protocol)

    assert (served.get("/items/7").body, sink.operations) == (b"ok", [])


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_test_clients(with_middleware, runtime, sink, client):
    """
    Django's test clients go through no handler; the middleware does the whole job.
    """
    reply = read(client(), "/items/7")

    assert reply.headers["X-Correlation-ID"] == "id-1"
    assert (only(sink).endpoint, only(sink).status, only(sink).bytes_sent) == ("/items/<int:item_id>", 200, 2)
    assert len(sink.begun) == 1


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_test_clients_raise(with_middleware, runtime, sink, client):
    """
    `raise_request_exception` works as ever, and the 500 behind it is recorded.
    """
    with pytest.raises(Boom):
        read(client(), "/boom")

    assert (only(sink).status, only(sink).exception) == (500, "Boom")


def test_client_behind_a_trusted_proxy(site, with_middleware, sink):
    """
    The client's address is read through proxies that are trusted.
    """
    with isolated_runtime(sinks=[sink], trusted_proxies=["127.0.0.0/8"]):
        read(Client(), "/items/7?q=1", headers={"x-forwarded-for": "203.0.113.9", "user-agent": "tests"})
        operation = only(sink)

        assert (operation.client, operation.query, operation.scheme) == ("203.0.113.9", "q=1", "http")
        assert operation.header("user-agent") == "tests"


@pytest.mark.parametrize("own", [None, "cache;dur=1"])
def test_server_timing_by_middleware(site, with_middleware, protocol, clock, own):
    """
    The middleware adds what a request asked to what the view says of itself, and an asynchronous request's too.
    """

    def page(request):
        with obskit.observe_db(table="timed_by_middleware", operation="select"):
            clock.advance(0.25)
        return HttpResponse("ok", headers={"Server-Timing": own} if own else {})

    site.add("timed", page)
    with isolated_runtime(server_timing=True, clock=clock):
        reply = Served("middleware", protocol).get("/timed")
    with isolated_runtime(clock=clock):
        plain = Served("middleware", protocol).get("/timed")

    figures = 'db;dur=250.0;desc="1 query"'
    assert reply.header("server-timing") == [f"{own}, {figures}" if own else figures]
    assert plain.header("server-timing") == ([own] if own else [])


def test_path_that_is_not_ascii(by_middleware, sink):
    """
    The path of the line is the decoded one.
    """
    spelled = "/café" if by_middleware.protocol == "asgi" else "/café".encode().decode("latin-1")
    by_middleware.get(spelled)

    assert only(sink).path == "/café"


def test_no_thread_is_added_under_asgi(site, runtime, sink, monkeypatch):
    """
    The middleware costs no thread hop: a request makes as many as without it.
    """
    hops = []
    original = asgiref.sync.SyncToAsync.__call__

    def count(self, *args, **kwargs):
        hops.append(self.func)
        return original(self, *args, **kwargs)

    async def view(request):
        return HttpResponse("ok")

    site.add("async", view)
    monkeypatch.setattr(asgiref.sync.SyncToAsync, "__call__", count)
    counts = []
    for middleware in ([], [MIDDLEWARE]):
        hops.clear()
        with override_settings(MIDDLEWARE=middleware):
            Served("middleware", "asgi").get("/async")
        counts.append(len(hops))

    assert (counts[0], len(sink.operations)) == (counts[1], 1)


# Streams and files


def test_stream_is_measured_to_its_last_byte(by_middleware, site, clock, sink):
    """
    A stream ends with its last piece; its first byte is a figure of its own, its id readable throughout.
    """
    seen = []

    def pieces():
        for _ in range(3):
            clock.advance(1)
            seen.append(obskit.correlation_id())
            yield b"12345"

    async def flowing():
        for piece in pieces():
            yield piece

    site.add("stream", lambda request: StreamingHttpResponse(flowing() if served_async else pieces()))
    served_async = by_middleware.protocol == "asgi"
    reply = by_middleware.get("/stream")

    operation = only(sink)
    assert reply.body == b"12345" * 3
    assert (operation.duration_seconds, operation.first_byte_seconds, operation.bytes_sent) == (3, 1, 15)
    assert (operation.streamed, operation.aborted, seen) == (True, False, ["id-1"] * 3)


def test_span_is_current_in_view_and_stream(site, with_middleware, protocol, sink):
    """
    OpenTelemetry's current span is the request's, for as long as the application works for it.
    """
    seen = []

    def look():
        seen.append(f"{get_current_span().get_span_context().span_id:016x}")
        return b"1"

    def pieces():
        yield look()

    async def flowing():
        yield look()

    def stream(request):
        look()
        return StreamingHttpResponse(flowing() if protocol == "asgi" else pieces())

    site.add("stream", stream)
    with isolated_runtime(sinks=[sink], tracing=TracerProvider()):
        Served("middleware", protocol).get("/stream")

    assert seen == [only(sink).span_id] * 2
    assert get_current_span().get_span_context().span_id == 0


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume:Warning")
def test_stream_of_the_other_kind(by_middleware, site, clock, sink):
    """
    Django gathers it whole before the first byte goes out: that is its first byte, and closing it is its end.
    """
    seen = []

    def pieces():
        for _ in range(2):
            clock.advance(1)
            seen.append(obskit.correlation_id())
            yield b"12345"

    async def flowing():
        for piece in pieces():
            yield piece

    site.add("stream", lambda request: StreamingHttpResponse(pieces() if served_async else flowing()))
    served_async = by_middleware.protocol == "asgi"
    reply = by_middleware.get("/stream")

    operation = only(sink)
    assert reply.body == b"12345" * 2
    assert (operation.first_byte_seconds, operation.bytes_sent, operation.aborted) == (2, 10, False)
    assert seen == ["id-1"] * 2


def test_stream_that_breaks(by_middleware, site, sink):
    """
    An exception in mid-stream keeps the status that was sent: aborted, and the exception is named.
    """

    def pieces():
        yield b"12345"
        raise Boom

    async def flowing():
        for piece in pieces():
            yield piece

    served_async = by_middleware.protocol == "asgi"
    site.add("stream", lambda request: StreamingHttpResponse(flowing() if served_async else pieces()))
    reply = by_middleware.get("/stream")

    operation = only(sink)
    assert isinstance(reply.error, Boom)
    assert (operation.status, operation.aborted, operation.exception, operation.bytes_sent) == (200, True, "Boom", 5)


def test_stream_that_is_left(by_middleware, site, sink):
    """
    A client that leaves in mid-stream makes it aborted, not a failure.
    """

    def pieces():
        while True:
            yield b"x" * 1000

    async def flowing():
        for piece in pieces():
            yield piece
            await asyncio.sleep(0)

    served_async = by_middleware.protocol == "asgi"
    site.add("stream", lambda request: StreamingHttpResponse(flowing() if served_async else pieces()))
    by_middleware.get("/stream", Ending(pieces=2, send_raises=False))

    operation = only(sink)
    assert (operation.status, operation.aborted, operation.exception) == (200, True, None)


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_stream_that_nobody_reads(with_middleware, runtime, site, sink, client):
    """
    A reply that a test throws away ends with it: nothing stays in progress.
    """

    async def flowing():
        yield b"1"

    site.add("stream", lambda request: StreamingHttpResponse(flowing() if client is AsyncClient else iter([b"1"])))
    reply = read(client(), "/stream")
    del reply
    # The thread that answered holds the reply until it looks for more work, which may be a moment after its answer.
    until = time.monotonic() + PATIENCE_SECONDS
    while not sink.operations and time.monotonic() < until:
        gc.collect()

    assert (only(sink).status, only(sink).aborted) == (200, True)


def test_middleware_without_a_server(runtime, sink):
    """
    Called as unit tests do, with nobody to close its response, a request has ended when it is answered.
    """
    middleware = module.ObskitMiddleware(lambda request: HttpResponse("ok"))
    reply = middleware(RequestFactory().get("/items/7"))

    assert (reply.content, only(sink).status, only(sink).bytes_sent) == (b"ok", 200, 2)


def file_reply(request):
    return FileResponse(io.BytesIO(b"x" * 10_000), filename="report.txt")


@pytest.mark.parametrize("form", ["instrument", "middleware"])
def test_file_goes_to_the_server_as_it_is(site, runtime, sink, form):
    """
    The server gets its own `wsgi.file_wrapper` back, without which it would not use `sendfile`.
    """
    site.add("file", file_reply)
    with override_settings(MIDDLEWARE=[MIDDLEWARE] if form == "middleware" else []):
        app = Served(form, "wsgi").app
        environ = environ_of(Request("/file")) | {"wsgi.file_wrapper": FileWrapper}
        body = app(environ, lambda status, headers, exc_info=None: None)
        before = list(sink.operations)
        body.close()

    assert (type(body), before, body.filelike.closed) == (FileWrapper, [], True)
    assert (only(sink).endpoint, only(sink).status, only(sink).bytes_sent) == ("/file", 200, 10_000)


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume:Warning")
def test_file_without_a_file_wrapper(by_middleware, site, sink):
    """
    Where the server has no `wsgi.file_wrapper`, a file is a stream.
    """
    site.add("file", file_reply)
    reply = by_middleware.get("/file")

    operation = only(sink)
    assert (len(reply.body), operation.bytes_sent, operation.aborted) == (10_000, 10_000, False)


@pytest.mark.parametrize("form", ["instrument", "middleware"])
def test_client_that_leaves_before_an_answer(site, runtime, sink, form):
    """
    Django cancels the view: 499, no exception.
    """
    reached = asyncio.Event()

    async def wait(request):
        reached.set()
        await asyncio.Event().wait()

    site.add("wait", wait)
    with override_settings(MIDDLEWARE=[MIDDLEWARE] if form == "middleware" else []):
        Served(form, "asgi").get("/wait", Ending(cancel_when=reached.wait))

    operation = only(sink)
    assert (operation.endpoint, operation.status, operation.exception) == ("/wait", 499, None)
    assert len(sink.begun) == 1


# Settings, checks and commands


def app_config():
    return ObskitConfig("obskit.integrations.django", module)


def test_settings_are_arguments():
    """
    `settings.OBSKIT` is what `configure()` is given when Django starts.
    """
    with override_settings(OBSKIT={"service": "shop", "metrics": False, "access_log": False}):
        app_config().ready()
    runtime = obskit.configure()
    obskit.shutdown()

    assert runtime.settings.service == "shop"


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"servce": "shop"}, UnknownSettingError),
        ({"max_label_sets": "many"}, ConfigurationError),
        (["service"], ConfigurationError),
        ({"service": "other"}, AlreadyConfiguredError),
    ],
)
def test_wrong_settings_stop_the_start(runtime, given, error):
    """
    What `configure()` refuses, Django refuses to start with.
    """
    with override_settings(OBSKIT=given), pytest.raises(error):
        app_config().ready()


@pytest.mark.parametrize(("middleware", "expected"), [([], ["obskit.W001"]), ([MIDDLEWARE], [])])
def test_check_of_the_middleware(middleware, expected):
    """
    The app without its middleware is a warning that gives the line to add.
    """
    with override_settings(MIDDLEWARE=middleware):
        warnings = check_middleware(None)

    assert [warning.id for warning in warnings] == expected
    assert all(MIDDLEWARE in warning.hint for warning in warnings)


@pytest.mark.parametrize(
    ("given", "middleware", "route", "expected"),
    [
        ({}, [MIDDLEWARE], None, ["obskit.W002"]),
        ({}, [MIDDLEWARE], "", []),
        ({}, [MIDDLEWARE], "ops/", []),
        ({}, [], None, []),
        ({"metrics_path": None, "health_path": None}, [MIDDLEWARE], None, []),
    ],
)
def test_check_of_the_urls(site, given, middleware, route, expected):
    """
    The middleware without the URLs is a warning that says which paths nobody answers, and gives the line to add.
    """
    if route is not None:
        site.add(route, include("obskit.integrations.django.urls"))
    with isolated_runtime(**given), override_settings(MIDDLEWARE=middleware):
        warnings = check_urls(None)

    assert [warning.id for warning in warnings] == expected
    assert all(
        "/health, /health/detailed, /health/live, /health/ready, /health/startup, /metrics" in warning.msg
        for warning in warnings
    )
    assert all('include("obskit.integrations.django.urls")' in warning.hint for warning in warnings)


def test_check_of_urls_that_cannot_be_imported(runtime):
    """
    A broken URLconf is reported by Django's own checks, and by them alone.
    """
    with override_settings(ROOT_URLCONF="no.such.urls", MIDDLEWARE=[MIDDLEWARE]):
        assert check_urls(None) == []


PROJECT = f"""
SECRET_KEY = "x"
INSTALLED_APPS = ["obskit.integrations.django"]
MIDDLEWARE = ["{MIDDLEWARE}"]
OBSKIT = {{"service": "shop"}}
ROOT_URLCONF = "project_urls"
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}}
USE_TZ = True
"""
URLS = """
from django.urls import include, path
urlpatterns = [path("", include("obskit.integrations.django.urls"))]
"""
HOOKS = "from obskit.runtime import current_runtime; print(current_runtime().hooks)"
THREADS = "import threading, obskit; print(threading.active_count(), obskit.configure().settings.service)"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["check"], "System check identified no issues (0 silenced).\n"),
        (["migrate", "--verbosity", "0"], ""),
        (["shell", "--verbosity", "0", "--command", THREADS], "1 shop\n"),
        (["shell", "--verbosity", "0", "--command", HOOKS], "['django.databases']\n"),
    ],
)
def test_commands(tmp_path, command, expected):
    """
    `manage.py` commands start no thread, time the databases, and nothing is added to what they print.
    """
    (tmp_path / "project_settings.py").write_text(PROJECT)
    (tmp_path / "project_urls.py").write_text(URLS)
    done = subprocess.run(
        [sys.executable, "-m", "django", *command, "--settings", "project_settings"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
    )

    assert (done.stdout, done.stderr) == (expected, "")


def test_without_django():
    """
    Without Django the message says what to install.
    """
    source = "import sys; sys.modules['django'] = None; import obskit.integrations.django"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, text=True)

    assert "obskit.integrations.django needs Django: pip install 'obskit[django]'" in done.stderr


# Obskit's own routes


@pytest.fixture
def own(site, with_middleware, runtime):
    site.add("", include("obskit.integrations.django.urls"))


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize("path", ["/metrics", "/health/live"])
def test_urls(own, sink, client, path):
    """
    The URLconf serves obskit's routes, and they are not recorded.
    """
    reply = read(client(enforce_csrf_checks=True), path)

    assert (reply.status_code, sink.begun) == (200, [])
    assert reply.content


def test_urls_answer_other_methods(own):
    """
    HEAD has no body; anything else is refused by the route, not by CSRF protection.
    """
    client = Client(enforce_csrf_checks=True)
    with override_settings(MIDDLEWARE=[*settings.MIDDLEWARE, "django.middleware.csrf.CsrfViewMiddleware"]):
        head, post = client.head("/metrics"), client.post("/metrics")

    assert (head.status_code, head.content, int(head.headers["Content-Length"]) > 0) == (200, b"", True)
    assert (post.status_code, post.headers["Allow"]) == (405, "GET, HEAD")


def test_urls_hide_nothing(own, site, sink):
    """
    Routes after the include are found, and recorded.
    """
    site.add("after", ok)
    reply = read(Client(), "/after")

    assert (reply.content, only(sink).endpoint) == (b"ok", "/after")


def test_urls_below_a_prefix(site, with_middleware, runtime, sink):
    """
    Included below a prefix they answer there, unrecorded, and `reverse()` knows where.
    """
    site.add("ops/", include("obskit.integrations.django.urls"))
    there, nowhere = read(Client(), "/ops/metrics"), read(Client(), "/metrics")

    assert (there.status_code, nowhere.status_code) == (200, 404)
    assert [operation.path for operation in sink.operations] == ["/metrics"]
    assert reverse("obskit", args=["health/live"]) == "/ops/health/live"


def test_urls_where_the_settings_put_them(site, with_middleware, sink):
    """
    `metrics_path` moves the route, whenever the URLconf was imported.
    """
    site.add("", include("obskit.integrations.django.urls"))
    with isolated_runtime(sinks=[sink], metrics_path="/internal/metrics"):
        statuses = [read(Client(), path).status_code for path in ("/internal/metrics", "/metrics")]

    assert statuses == [200, 404]


def test_urls_need_no_login(own):
    """
    Django's LoginRequiredMiddleware lets scrapers through; obskit has a token of its own.
    """
    match = resolve("/metrics")

    assert match.func.login_required is False


def test_same_path_as_the_application(own, site, sink):
    """
    Where the URLs are not included, a `/metrics` of the application is a page like any other.
    """
    site.urlpatterns[:] = [path("metrics", ok)]
    read(Client(), "/metrics")

    assert only(sink).endpoint == "/metrics"


@pytest.mark.parametrize("first", ["obskit", "application"])
@pytest.mark.parametrize("below", ["", "ops/"])
def test_same_path_beside_the_own_urls(own, site, sink, first, below):
    """
    Where the URLconf has obskit's route and the application's, the first request tells that one hides the other.
    """
    site.urlpatterns[:] = [path(below, include("obskit.integrations.django.urls")), path(f"{below}metrics", ok)]
    if first == "application":
        site.urlpatterns.reverse()
    client = Client()
    bodies = [read(client, f"/{below}metrics").content for _ in range(2)]

    assert [body == b"ok" for body in bodies] == [first == "application"] * 2
    assert [event.message for event in sink.events if event.name == "obskit.route_taken"] == [
        f"the application has a route /{below}metrics itself: give obskit another place with "
        "metrics_path='/obskit/metrics', or metrics_path=None to mount none; until then one of the two is hidden"
    ]


def test_route_of_the_application_is_refused(site, protocol, runtime):
    """
    `instrument()` does not hide a route that the URLconf has.
    """
    site.add("metrics", ok)

    with pytest.raises(RouteTakenError, match="metrics_path="):
        Served("instrument", protocol)


def test_include_and_instrument(own, protocol, runtime, sink):
    """
    The URLs in the URLconf do not keep `instrument()` from answering in front.
    """
    reply = Served("instrument", protocol).get("/metrics")

    assert (reply.status, sink.begun) == (200, [])


@pytest.mark.parametrize("form", ["instrument", "middleware"])
def test_urlconf_that_cannot_be_imported(runtime, protocol, sink, form):
    """
    It is Django's to report, with the first request; that request is a 500.
    """
    with override_settings(ROOT_URLCONF="no.such.urls", MIDDLEWARE=[MIDDLEWARE] if form == "middleware" else []):
        Served(form, protocol).get("/")

    assert (only(sink).status, only(sink).exception) == (500, "ModuleNotFoundError")


class Handing:
    """
    Hand requests on to another handler, as Django's of static files does.
    """

    def __call__(self, environ, start_response):
        return self.application(environ, start_response)


class HandingOn(Handing, WSGIHandler):
    def __init__(self, application):
        self.application = application
        super().__init__()


def test_a_handler_that_hands_requests_on(site, runtime, sink):
    """
    What another handler answers inside is counted with its status and route, and has its id.
    """
    reply = call_wsgi(obskit.instrument(HandingOn(WSGIHandler())), Request("/items/7"))

    assert (200, ["id-1"]) == (reply.status, reply.header("x-correlation-id"))
    assert [(200, "/items/<int:item_id>")] == [(op.status, op.endpoint) for op in sink.operations]


def test_a_signal_without_a_request_breaks_nothing(site, runtime):
    """
    `got_request_exception` may be sent by others, with a request that none came with.
    """

    def sends(request):
        for made in (HttpRequest(), object(), None):
            got_request_exception.send(sender=None, request=made)
        return HttpResponse("fine")

    site.add("sends", sends)

    assert b"fine" == call_wsgi(obskit.instrument(WSGIHandler()), Request("/sends")).body


def test_a_request_inside_of_a_request(site, runtime, sink):
    """
    What a view asks its own handler for, with a copy of what it was asked with, leaves its own request as it is.
    """
    handler = WSGIHandler()

    def asks(request):
        environ = {**request.META, "PATH_INFO": "/boom" if "bad" in request.GET else "/items/7"}
        inner = handler.get_response(WSGIRequest(environ))
        return HttpResponse(b"outer " + str(inner.status_code).encode(), status=203)

    site.add("asks", asks)
    reply = call_wsgi(obskit.instrument(handler), Request("/asks"))

    assert (203, b"outer 200") == (reply.status, reply.body)
    assert [("/asks", 203, 9)] == [(op.endpoint, op.status, op.bytes_sent) for op in sink.operations]


if find_spec("rest_framework"):

    @pytest.mark.parametrize(
        ("error", "status", "named"),
        [(Boom(), 500, "Boom"), (Boom(), 409, None), (Http404(), 404, None), ("APIException", 500, None)],
    )
    def test_what_rest_framework_catches(served, site, sink, error, status, named):
        """
        A catch-all handler of Django REST framework that answers with a 500 names its exception; its own are answers.
        """
        from rest_framework import exceptions, renderers, response, views

        class View(views.APIView):
            authentication_classes = permission_classes = throttle_classes = ()
            renderer_classes = (renderers.JSONRenderer,)

            def perform_authentication(self, request):
                pass

            def get_exception_handler(self):
                return lambda exc, context: response.Response({"sorry": True}, status=status)

            def get(self, request):
                raise exceptions.APIException() if error == "APIException" else error

        site.add("caught", View.as_view())
        fresh = Served("middleware" if MIDDLEWARE in settings.MIDDLEWARE else "instrument", served.protocol)

        assert status == fresh.get("/caught").status
        operation = only(sink)
        assert ("/caught", status, named) == (operation.endpoint, operation.status, operation.exception)


if find_spec("ninja"):

    class NinjaHandled(Exception):
        pass

    @pytest.mark.parametrize(
        ("error", "status", "named"),
        [("own", 500, "NinjaHandled"), ("own", 409, None), ("HttpError", 503, None), ("Http404", 404, None)],
    )
    @pytest.mark.parametrize("kind", ["sync", "async"])
    def test_what_ninja_answers(served, site, sink, error, status, named, kind):
        """
        A handler of Django Ninja that answers with a 500 names its exception; their own are answers.
        """
        import ninja

        raised = {
            "own": NinjaHandled(),
            "HttpError": ninja.errors.HttpError(503, "closed"),
            "Http404": Http404(),
        }[error]
        api = ninja.NinjaAPI(urls_namespace=f"{kind}-{error}-{status}")

        def item(request, item_id: int):
            raise raised

        async def async_item(request, item_id: int):
            raise raised

        api.get("/items/{item_id}")(item if kind == "sync" else async_item)
        if error == "own":
            api.exception_handler(Exception)(lambda request, exc: HttpResponse("sorry", status=status))
        site.add("api/", api.urls)
        fresh = Served("middleware" if MIDDLEWARE in settings.MIDDLEWARE else "instrument", served.protocol)

        assert status == fresh.get("/api/items/7").status
        operation = only(sink)
        assert ("/api/items/<item_id>", status, named) == (operation.endpoint, operation.status, operation.exception)
