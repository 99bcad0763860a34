"""
Prove what is ASGI's alone, whatever the framework.
"""

import asyncio
import gc
import socket
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import pytest
from opentelemetry.sdk.trace import TracerProvider

import obskit
from contract.drivers import WHOLE, Request, call_asgi, scope_of
from contract.servers import get, serving
from obskit.testing import RecordingSink, isolated_runtime


def test_a_drain_without_threads():
    """
    Where no thread is to be had for draining, it is done without one, and the application shuts down.
    """
    sent, drained = [], []

    async def lifespan(scope, receive, send):
        await send({"type": "lifespan.shutdown.complete"})

    async def send(message):
        sent.append(message["type"])

    async def shut_down(app):
        spent = ThreadPoolExecutor()
        spent.shutdown()
        asyncio.get_running_loop().set_default_executor(spent)
        await app({"type": "lifespan"}, None, send)

    sink = RecordingSink()
    sink.flush = lambda: drained.append(sent[:])
    with isolated_runtime(sinks=[sink]):
        asyncio.run(shut_down(obskit.instrument(lifespan)))

        assert ["lifespan.shutdown.complete"] == sent
        assert [[]] == drained


@pytest.mark.parametrize("path", ["/", "/metrics", "/health"])
@pytest.mark.parametrize("missing", ["headers", "client", "query_string", "root_path", "scheme", "server", "raw_path"])
def test_a_scope_without(path, missing):
    """
    What a server leaves out of a request's scope is nothing to stumble over.
    """

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    def leaving_out(scope, receive, send):
        del scope[missing]
        return observed(scope, receive, send)

    with isolated_runtime(tracing=TracerProvider(), trusted_proxies=["192.0.2.0/24"], log_query_string=True):
        observed = obskit.instrument(app)
        reply = call_asgi(leaving_out, Request(path))

    assert (reply.status, reply.error) == (200, None)


@pytest.mark.parametrize("path", ["/", "/metrics"])
def test_headers_that_can_be_read_once(path):
    """
    ASGI asks for an iterable of headers; where it is an iterator, the application sees all of them still.
    """
    seen = []

    async def app(scope, receive, send):
        seen.append(dict(scope["headers"])[b"user-agent"])
        await send({"type": "http.response.start", "status": 200, "headers": iter([(b"x-a", b"1")])})
        await send({"type": "http.response.body", "body": b"ok"})

    def once(scope, receive, send):
        scope["headers"] = iter(scope["headers"])
        return observed(scope, receive, send)

    with isolated_runtime(tracing=TracerProvider()) as runtime:
        observed = obskit.instrument(app)
        reply = call_asgi(once, Request(path, headers=(("User-Agent", "curl/8"),)))
        agents = [line["user_agent"] for line in runtime.lines if line["message"] == "request"]

    assert (reply.status, reply.error) == (200, None)
    if path == "/":
        assert (seen, agents, reply.header("x-a")) == ([b"curl/8"], ["curl/8"], ["1"])


def test_repeated_headers_are_one_list():
    """
    Each line of a header counts, as on WSGI, where the server joins them.
    """

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    with isolated_runtime(trusted_proxies=["192.0.2.0/24", "10.0.0.0/8"], log_client="full") as runtime:
        observed = obskit.instrument(app)
        call_asgi(
            observed, Request("/", headers=(("X-Forwarded-For", "198.51.100.7"), ("X-Forwarded-For", "10.0.0.1")))
        )

    assert runtime.lines[-1]["client"] == "198.51.100.7"


class Sizes(list):
    """
    A client that takes messages, and keeps their sizes.
    """

    async def send(self, message):
        if message["type"] == "http.response.body":
            self.append((len(message["body"]), message.get("more_body", False)))


def large_page():
    """
    Make a page of about 4 MB.
    """
    sizes = obskit.histogram("sizes", "Large labels.", labels=("name",))
    for number in range(1000):
        sizes.labels(name=f"{number:0250}").observe(1)


def test_a_large_page_goes_out_in_pieces():
    """
    No message of a page is longer than 64 kB, and the last says so.
    """
    sizes = Sizes()
    with isolated_runtime():
        large_page()
        app = obskit.instrument(answer_nothing)
        asyncio.run(app(scope_of(Request("/metrics"), WHOLE), None, sizes.send))

    assert max(sizes)[0] == 65536 < 4_000_000 < sum(size for size, _ in sizes)
    assert [more for _, more in sizes] == [True] * (len(sizes) - 1) + [False]


def test_a_large_page_asks_nothing_of_the_pool_of_the_application():
    """
    The application's threads may all be busy, just when somebody looks at its metrics.
    """
    asked = []

    class Pool(ThreadPoolExecutor):
        def submit(self, call, /, *args, **kwargs):
            asked.append(call)
            return super().submit(call, *args, **kwargs)

    async def ask(app):
        asyncio.get_running_loop().set_default_executor(Pool())
        await app(scope_of(Request("/metrics"), WHOLE), None, sizes.send)

    sizes = Sizes()
    with isolated_runtime():
        large_page()
        asyncio.run(ask(obskit.instrument(answer_nothing)))

    assert len(sizes) > 1
    assert asked == []


def test_the_end_of_the_lifespan_asks_nothing_of_the_pool():
    """
    An application whose threads are all busy shuts down, and what is queued is written.
    """
    refused = []

    class Pool(ThreadPoolExecutor):
        def submit(self, call, /, *args, **kwargs):
            refused.append(call)
            raise RuntimeError("no thread is free")

    async def live(app):
        asyncio.get_running_loop().set_default_executor(Pool())
        told = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

        async def receive():
            return next(told)

        async def send(message):
            sent.append(message["type"])

        await app({"type": "lifespan"}, receive, send)

    async def answer(scope, receive, send):
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})

    sent = []
    with isolated_runtime():
        asyncio.run(live(obskit.instrument(answer)))

    assert (["lifespan.startup.complete", "lifespan.shutdown.complete"], []) == (sent, refused)


async def answer_nothing(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


@pytest.mark.parametrize("server", ["asgi"] if find_spec("uvicorn") else [])
def test_clients_that_never_read(server):
    """
    Twelve clients that ask a real server for a page of 4 MB and read nothing of it cost less than three of them would.
    """
    with isolated_runtime():
        large_page()
        try:
            with serving(server, obskit.instrument(answer_nothing)) as port:
                get(port, "/metrics")
                gc.collect()
                tracemalloc.start()
                clients = [ask_and_wait(port) for _ in range(12)]
                gc.collect()
                grown, _ = tracemalloc.get_traced_memory()
                for client in clients:
                    client.close()
        finally:
            tracemalloc.stop()  # once no thread works without the lock of the interpreter: CPython gh-128679

    assert grown < 12_000_000


def ask_and_wait(port):
    """
    Ask for the page, and read no more than its first byte.
    """
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.recv(1) == b"H"
    return client
