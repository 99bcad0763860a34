"""
A gate refuses a request before the application sees it, and what it refuses is recorded once.
"""

import http.client
import socket
from collections import Counter

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import obskit
from obskit.integrations import asgi, wsgi
from obskit.recorder import recorder
from obskit.testing import FakeClock, RecordingSink, isolated_runtime

from .cases import LIFESPAN, WEBSOCKET, cases_of
from .drivers import CALL, Request, converse, environ_of
from .scene import Scene
from .servers import serving
from .shop import Record, Shop
from .stacks import only, stacks

REFUSED = obskit.Reply(403, [("Content-Type", "text/plain"), ("X-Reason", "lockout")], b"locked out\n")


class Doorkeeper:
    """
    A gate that does what the test says, and remembers what it was asked.
    """

    def __init__(self) -> None:
        self.asked: list = []
        self.decide = lambda request: REFUSED

    def admit(self, request):
        self.asked.append(request)
        return self.decide(request)


@pytest.fixture
def doorkeeper():
    return Doorkeeper()


@pytest.fixture
def settings(doorkeeper):
    """
    Put the gate in front of the application.
    """
    return {"gates": [doorkeeper]}


def refusal(**differs) -> Record:
    return Record(**{"endpoint": "<unmatched>", "status": 403, "bytes_sent": len(REFUSED.body), **differs})


@stacks()
@pytest.mark.parametrize("path", ["/inside", "/nowhere"])
def test_a_refused_request_is_one_operation(shop, doorkeeper, path):
    """
    It is unmatched whatever its path, has the gate's reply and the id of its one line, and nothing inside is called.
    """
    seen = []
    shop.scene.inside = lambda: seen.append("inside")
    reply = shop.get(path)
    (line,) = [line for line in shop.runtime.lines if line["message"] == "request"]

    assert (403, b"locked out\n") == (reply.status, reply.body)
    assert [["text/plain"], ["lockout"], ["11"]] == list(
        map(reply.header, ("content-type", "x-reason", "content-length"))
    )
    assert [shop.operation.correlation_id] == reply.header("x-correlation-id")
    assert [refusal()] == shop.records
    assert shop.operation.refused
    assert (True, "<unmatched>", 403) == (line["refused"], line["endpoint"], line["status"])
    assert ([], 1) == (seen, len(doorkeeper.asked))


@stacks()
def test_head_has_no_body(shop):
    """
    The reply to HEAD says the length, and has nothing after it.
    """
    reply = shop.call(Request("/items/7", "HEAD"))

    assert (403, b"", ["11"]) == (reply.status, reply.body, reply.header("content-length"))
    assert [refusal(method="HEAD", bytes_sent=0)] == shop.records


@stacks()
@pytest.mark.parametrize("status", [204, 302, 404, 429, 503])
def test_every_status_of_a_gate_is_counted(shop, doorkeeper, status):
    """
    A 404 or 503 of a gate is a refusal, no missing page and no exception; a 204 has neither body nor length.
    """
    doorkeeper.decide = lambda request: obskit.Reply(status, [("Retry-After", "60")], b"later")
    reply = shop.get("/items/7")
    size = 0 if status == 204 else 5

    assert (status, ["60"]) == (reply.status, reply.header("retry-after"))
    assert ([] if status == 204 else ["5"]) == reply.header("content-length")
    assert [refusal(status=status, bytes_sent=size)] == shop.records
    assert shop.operation.refused


@stacks()
def test_what_is_let_in_is_the_bare_application_s(stack):
    """
    Every case of the contract has the bare application's reply behind a gate that lets it in.
    """
    scene, doorkeeper = Scene(FakeClock()), Doorkeeper()
    doorkeeper.decide = lambda request: None
    bare_app = stack.build(scene)
    bare = {str(case): case.play(stack, bare_app, scene) for case in cases_of(stack)}
    with isolated_runtime(clock=scene.clock, gates=[doorkeeper]):
        app = obskit.instrument(stack.build(scene))
        found = {str(case): case.play(stack, app, scene) for case in cases_of(stack)}

    assert bare == found
    assert len(bare) == len(doorkeeper.asked)


BAD_ANSWERS = {
    "no reply": lambda: "403",
    "status in text": lambda: obskit.Reply("403", [], b""),
    "no status of a reply": lambda: obskit.Reply(101, [], b""),
    "status that is none": lambda: obskit.Reply(True, [], b""),
    "text for a body": lambda: obskit.Reply(403, [], "no"),
    "line end in a header": lambda: obskit.Reply(403, [("X-Reason", "a\r\nSet-Cookie: b")], b""),
    "line end in a name": lambda: obskit.Reply(403, [("X:\n", "a")], b""),
    "no headers": lambda: obskit.Reply(403, None, b""),
    "header that is bytes": lambda: obskit.Reply(403, [(b"x-reason", b"a")], b""),
    "header that no server can send": lambda: obskit.Reply(403, [("X-Reason", "\u2603")], b""),
    "an exception": lambda: 1 / 0,
    "a coroutine": lambda: no_wait(),
}


async def no_wait():
    return None


@stacks()
@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_a_gate_that_fails_lets_everybody_in(stack, answer):
    """
    What a gate raises, and what no server can send, is counted; the request is served, and the next gate is asked.
    """
    first, second, sink = Doorkeeper(), Doorkeeper(), RecordingSink()
    first.decide, second.decide = lambda request: answer(), lambda request: None
    scene = Scene(FakeClock())
    with isolated_runtime(strict=False, clock=scene.clock, sinks=[sink], gates=[first, second]) as runtime:
        shop, before = Shop(stack, scene, runtime, sink), Counter(recorder.errors)
        reply = shop.get("/items/7")

        assert (200, b"item 7") == (reply.status, reply.body)
        assert {"gate": 1} == Counter(recorder.errors) - before
        assert [stack.spell("/items/{item_id:int}")] == [op.endpoint for op in shop.operations]
        assert not shop.operation.refused
        assert 1 == len(second.asked)


@only("wsgi", "asgi")
def test_the_first_refusal_counts(stack):
    """
    Gates are asked in their order, and none after the one that refuses.
    """
    gates = [Doorkeeper(), Doorkeeper(), Doorkeeper()]
    gates[0].decide = lambda request: None
    with isolated_runtime(gates=gates):
        reply = CALL[stack.protocol](obskit.instrument(stack.build(Scene(FakeClock()))), Request("/items/7"))

    assert (403, [1, 1, 0]) == (reply.status, [len(gate.asked) for gate in gates])


@stacks()
def test_what_a_gate_is_told(shop, doorkeeper):
    """
    Method, path below the deployment's prefix, headers and the client's address.
    """
    shop.call(Request("/caf%C3%A9", "POST", headers=(("X-Key", "k"),), body=b"{}", root="/shop"))
    (asked,) = doorkeeper.asked

    assert ("POST", "/caf%C3%A9", "", "192.0.2.7") == (asked.method, asked.path, asked.query, asked.client)
    assert ("k", None) == (asked.header("x-key"), asked.header("x-none"))


@stacks()
@pytest.mark.parametrize("path", ["/metrics", "/health", "/health/live"])
def test_obskit_s_own_routes_are_never_refused(shop, doorkeeper, path):
    """
    Whoever scrapes or probes is let in where everybody else is locked out; those routes have rules of their own.
    """
    assert 200 == shop.get(path).status
    assert [] == doorkeeper.asked


@stacks()
def test_an_excluded_path_is_refused_too(stack):
    """
    What is not observed is not seen by the application either, and leaves as little behind as where it is let in.
    """
    scene, doorkeeper, sink = Scene(FakeClock()), Doorkeeper(), RecordingSink()
    with isolated_runtime(gates=[doorkeeper], exclude=("/items",), sinks=[sink]) as runtime:
        shop = Shop(stack, scene, runtime, sink)
        refused = shop.get("/items/7")
        doorkeeper.decide = lambda request: None
        admitted = shop.get("/items/7")

        assert [(403, b"locked out\n"), (200, b"item 7")] == [(it.status, it.body) for it in (refused, admitted)]
        assert (2, []) == (len(doorkeeper.asked), shop.operations)


@only("wsgi", "asgi")
@pytest.mark.parametrize("excluded", [(), ("/items",)])
@pytest.mark.parametrize("admits", [True, False])
def test_one_request_is_asked_about_once(stack, excluded, admits):
    """
    Of two middlewares around one application, the outer asks.
    """
    doorkeeper = Doorkeeper()
    doorkeeper.decide = lambda request: None if admits else REFUSED
    wrap = {"wsgi": wsgi, "asgi": asgi}[stack.protocol].ObskitMiddleware
    with isolated_runtime(gates=[doorkeeper], exclude=excluded):
        reply = CALL[stack.protocol](wrap(wrap(stack.build(Scene(FakeClock())))), Request("/items/7"))

    assert (200 if admits else 403, 1) == (reply.status, len(doorkeeper.asked))


@only("wsgi")
def test_the_body_of_a_refused_upload_is_not_read(stack, settings):
    """
    Nothing is asked of `wsgi.input`.
    """

    class Unread:
        def __getattr__(self, name):
            raise AssertionError(f"{name} of the body was asked for")

    with isolated_runtime(**settings):
        environ = environ_of(Request("/upload", "POST")) | {"wsgi.input": Unread(), "CONTENT_LENGTH": "1000000"}
        app, started = obskit.instrument(stack.build(Scene(FakeClock()))), []
        body = app(environ, lambda status, headers: started.append(status))

        assert ([b"locked out\n"], ["403 Forbidden"]) == (list(body), started)


@only("wsgi", "asgi", needs=["uvicorn"])
def test_a_refused_upload_on_a_server(shop, doorkeeper, stack):
    """
    A client that has sent a part of its body gets the refusal, and the server goes on serving.
    """
    with serving(stack.protocol, shop.app) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(
                b"POST /upload HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
            )
            refused = http.client.HTTPResponse(client)
            refused.begin()
            answers = [(refused.status, refused.read())]
        doorkeeper.decide = lambda request: None
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/items/7", headers={"Connection": "close"})
        answers.append((connection.getresponse().status, b""))
        connection.close()

    assert [(403, b"locked out\n"), (200, b"")] == answers
    assert [(True, 403), (False, 200)] == [(op.refused, op.status) for op in shop.operations]


@only("wsgi", "flask")
def test_a_handshake_over_wsgi_is_a_request(shop):
    """
    What asks for a WebSocket and is refused became none: it is counted as the reply that it got.
    """
    reply = shop.get("/inside", upgrade="websocket", connection="Upgrade")

    assert (403, [refusal()]) == (reply.status, shop.records)
    assert (False, True) == (shop.operation.upgraded, shop.operation.refused)


@stacks("asgi", "websocket")
def test_a_handshake_is_refused_before_it_is_accepted(shop, doorkeeper):
    """
    Servers answer such a close with 403. Handshakes over ASGI are no requests, and leave no operation.
    """
    scope, incoming = WEBSOCKET
    sent, error = converse(shop.app, dict(scope), incoming)
    (asked,) = doorkeeper.asked

    assert ([{"type": "websocket.close", "code": 1008}], None) == (sent, error)
    assert ("GET", "/ws", "192.0.2.7") == (asked.method, asked.path, asked.client)
    assert [] == shop.operations


@only("asgi")
def test_a_handshake_is_asked_about_once(stack):
    """
    Two middlewares around one application ask once, and what they let in is the bare application's.
    """
    doorkeeper, scene = Doorkeeper(), Scene(FakeClock())
    doorkeeper.decide = lambda request: None
    scope, incoming = WEBSOCKET
    bare = converse(stack.build(scene), dict(scope), incoming)
    with isolated_runtime(gates=[doorkeeper]):
        app = asgi.ObskitMiddleware(asgi.ObskitMiddleware(stack.build(scene)))
        found = converse(app, dict(scope), incoming)

    assert bare == found
    assert 1 == len(doorkeeper.asked)


@stacks("asgi")
def test_a_lifespan_is_never_refused(stack, doorkeeper, settings):
    """
    The application starts and stops, and no gate is asked.
    """
    scene = Scene(FakeClock())
    scope, incoming = LIFESPAN
    bare = converse(stack.build(scene), dict(scope), incoming)
    with isolated_runtime(**settings):
        found = converse(obskit.instrument(stack.build(scene)), dict(scope), incoming)

    assert bare == found
    assert [] == doorkeeper.asked


@only("flask")
def test_the_route_of_another_request_is_not_taken(shop):
    """
    One that is current in Flask around the call, and asks for the same, lends the refused one no route.
    """
    app = shop.app
    with app.test_request_context("/items/7"):
        shop.get("/items/7", host="localhost")

    assert [refusal()] == shop.records


@only("asgi", needs=["starlette"])
def test_the_mount_around_the_middleware_is_no_route(stack, settings):
    """
    Where a router outside has matched the mount, a refused request is unmatched all the same.
    """
    from starlette.applications import Starlette
    from starlette.routing import Mount

    sink = RecordingSink()
    with isolated_runtime(sinks=[sink], **settings):
        inner = asgi.ObskitMiddleware(stack.build(Scene(FakeClock())))
        reply = CALL["asgi"](Starlette(routes=[Mount("/partners/{partner}", inner)]), Request("/partners/7/items/7"))

    assert (403, ["<unmatched>"]) == (reply.status, [op.endpoint for op in sink.operations])


@stacks()
def test_the_span_says_so(stack, settings):
    """
    A refused request has its span, marked, and without an error.
    """
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with isolated_runtime(tracing=provider, **settings):
        CALL[stack.protocol](obskit.instrument(stack.build(Scene(FakeClock()))), Request("/items/7"))
    (span,) = exporter.get_finished_spans()

    assert (True, 403, "GET") == (
        span.attributes["obskit.refused"],
        span.attributes["http.response.status_code"],
        span.name,
    )


@stacks()
def test_gates_go_with_their_runtime(stack, doorkeeper, settings):
    """
    After `shutdown()` nothing is refused, nor by a runtime without gates, which calls the application directly.
    """
    with isolated_runtime(**settings):
        app = obskit.instrument(stack.build(Scene(FakeClock())))
        statuses = [CALL[stack.protocol](app, Request("/items/7")).status]
    statuses.append(CALL[stack.protocol](app, Request("/items/7")).status)
    with isolated_runtime():
        statuses.append(CALL[stack.protocol](app, Request("/items/7")).status)

    assert [403, 200, 200] == statuses
    assert 1 == len(doorkeeper.asked)


@only("wsgi", "asgi")
def test_without_gates_nothing_stands_in_front(stack):
    """
    What is called for a request is the application itself.
    """
    with isolated_runtime():
        middleware = obskit.instrument(stack.build(Scene(FakeClock())))

        assert (middleware.app, middleware.app) == (middleware.serve, middleware.serve_unobserved)
