"""
Outgoing calls carry the ids to the hosts of `propagate_to`, and to nobody else.
"""

import asyncio
import importlib
import io
import json
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType

import pytest

import obskit
from obskit.context import current
from obskit.errors import MissingExtraError
from obskit.integrations._outgoing_headers import headers_for, is_allowed, with_headers
from obskit.operation import HttpOperation
from obskit.recorder import recorder
from obskit.testing import isolated_runtime

pytest.importorskip("httpx")
pytest.importorskip("requests")

CLIENTS = ["httpx", "httpx async", "httpx2", "httpx2 async", "requests"]
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Echo(BaseHTTPRequestHandler):
    """
    Answer with the headers that came; `/to/<port>` redirects to that port of another host name.
    """

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.path.removeprefix('/to/')}/")
            body = b""
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def port():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=CLIENTS)
def get(request):
    """
    Yield what calls an address with one of the clients: the headers that arrived.
    """
    name, _, is_async = request.param.partition(" ")
    library = pytest.importorskip(name)
    if name == "requests":
        obskit.instrument_requests()
    else:
        obskit.instrument_httpx()

    async def fetch(url, headers):
        async with library.AsyncClient(follow_redirects=True) as client:
            return (await client.get(url, headers=headers)).json()

    def call(url, headers=None):
        if is_async:
            return asyncio.run(fetch(url, headers))
        if name == "requests":
            with library.Session() as session:
                session.trust_env = False
                return session.get(url, headers=headers, timeout=10).json()
        with library.Client(follow_redirects=True) as client:
            return client.get(url, headers=headers).json()

    yield call
    obskit.uninstrument_requests()
    obskit.uninstrument_httpx()


@pytest.fixture
def in_request():
    class Request(HttpOperation):
        def header(self, name):
            return TRACE if name == "traceparent" else None

    operation = Request("GET", "/")
    operation.correlation_id = "id-1"
    token = current.set(operation)
    yield
    current.reset(token)


def test_allowed_hosts_get_the_ids(get, port, in_request):
    """
    A host on the list gets the correlation id, and the trace that the request came with.
    """
    with isolated_runtime(propagate_to=["127.0.0.1"]):
        arrived = get(f"http://127.0.0.1:{port}/")

    assert ("id-1", TRACE) == (arrived["x-correlation-id"], arrived["traceparent"])


@pytest.mark.parametrize("allowed", [[], ["localhost"], ["127.0.0.1:1"], ["*.127.0.0.1"]])
def test_others_get_nothing(get, port, in_request, allowed):
    """
    By default nobody gets an id, and with a list none but those on it.
    """
    with isolated_runtime(propagate_to=allowed):
        arrived = get(f"http://127.0.0.1:{port}/")

    assert not {"x-correlation-id", "traceparent"} & arrived.keys()


class Frozen(Mapping):
    """
    Headers that cannot be changed, nor copied.
    """

    def __init__(self, given):
        self.given = given

    def __getitem__(self, name):
        return self.given[name]

    def __iter__(self):
        return iter(self.given)

    def __len__(self):
        return len(self.given)


class Prepared:
    """
    A request with headers.
    """


# What an application may leave on a prepared request, of which only some are CaseInsensitiveDicts.
SHAPES = {
    "nothing": lambda given: None,
    "a dict": dict,
    "a proxy": MappingProxyType,
    "a mapping": Frozen,
    "pairs": lambda given: list(given.items()),
    "a tuple of pairs": lambda given: tuple(given.items()),
    "bytes": lambda given: {name.encode(): value.encode() for name, value in given.items()},
}
OWN = {"X-CORRELATION-id": "its own", "Accept": "*/*"}


@pytest.mark.parametrize("shape", SHAPES)
def test_headers_of_any_shape_get_what_they_lack(shape, in_request):
    """
    Whatever headers are, and however written, an id of the application's own stays the only one, a missing one is
    added, and what was given is not changed.
    """
    given = SHAPES[shape](OWN)
    request = Prepared()
    request.headers = given
    with isolated_runtime(propagate_to=["127.0.0.1"]):
        added = headers_for("http", "127.0.0.1", 80, given)
        sent = with_headers(request, added)

    pairs = sent.headers.items() if hasattr(sent.headers, "keys") else sent.headers
    names = [name.decode() if isinstance(name, bytes) else name for name, _ in pairs]
    ids = [name for name in names if name.lower() == "x-correlation-id"]

    assert ["X-Correlation-ID" if given is None else "X-CORRELATION-id"] == ids
    assert "traceparent" in names
    assert given is request.headers
    assert SHAPES[shape](OWN) == given or isinstance(given, Frozen)


@pytest.mark.parametrize("shape", ["nothing", "a dict", "bytes"])
def test_a_prepared_request_is_sent_whatever_its_headers_are(shape, port, in_request):
    """
    `requests` sends what it would send without us, with the ids where there were none.
    """
    requests = pytest.importorskip("requests")
    obskit.instrument_requests()
    prepared = requests.PreparedRequest()
    prepared.prepare_url(f"http://127.0.0.1:{port}/", None)
    prepared.method, prepared.headers = "GET", SHAPES[shape](OWN)
    try:
        with isolated_runtime(propagate_to=["127.0.0.1"]), requests.Session() as session:
            arrived = session.get_adapter(prepared.url).send(prepared, timeout=10).json()
    finally:
        obskit.uninstrument_requests()

    assert arrived["x-correlation-id"] == ("id-1" if shape == "nothing" else "its own")
    assert TRACE == arrived["traceparent"]


def test_a_double_at_the_adapter_gets_what_the_session_gives(monkeypatch, in_request):
    """
    What a test has put in the adapter's place may take the rest by keywords alone, as sessions give it.
    """
    requests = pytest.importorskip("requests")
    seen = []

    def double(self, request, **given):
        seen.append((request.headers["x-correlation-id"], sorted(given)))
        reply = requests.Response()
        reply.status_code, reply.raw, reply.url = 200, io.BytesIO(), request.url
        return reply

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", double)
    obskit.instrument_requests()
    try:
        with isolated_runtime(propagate_to=["127.0.0.1"]), requests.Session() as session:
            session.trust_env = False
            session.get("http://127.0.0.1/")
    finally:
        obskit.uninstrument_requests()

    assert seen == [("id-1", ["cert", "proxies", "stream", "timeout", "verify"])]


def test_headers_that_nobody_has_thought_of_stop_no_call(in_request):
    """
    A call is made as it is where its headers cannot be read, and the failure is counted.
    """
    httpx = pytest.importorskip("httpx")
    obskit.instrument_httpx()
    try:
        with isolated_runtime(propagate_to=["127.0.0.1"], strict=False):
            transport = httpx.MockTransport(lambda request: httpx.Response(200, text=repr(request.headers)))
            request = httpx.Request("GET", "http://127.0.0.1/")
            request.headers = 7
            text = transport.handle_request(request).text
            failed = recorder.errors["outgoing"]
    finally:
        obskit.uninstrument_httpx()

    assert ("7", 1) == (text, failed)


def test_a_redirect_to_another_host_does_not_take_them_along(get, port, in_request):
    """
    Each hop is judged by its own host: what was sent to an allowed one does not follow to the next.
    """
    with isolated_runtime(propagate_to=["127.0.0.1"]):
        arrived = get(f"http://127.0.0.1:{port}/to/{port}")

    assert f"localhost:{port}" == arrived["host"]
    assert not {"x-correlation-id", "traceparent"} & arrived.keys()


def test_a_redirect_to_an_allowed_host_gets_them(get, port, in_request):
    """
    A hop to a host on the list has the ids, wherever it came from.
    """
    with isolated_runtime(propagate_to=["localhost"]):
        arrived = get(f"http://127.0.0.1:{port}/to/{port}")

    assert "id-1" == arrived["x-correlation-id"]


def test_the_applications_own_headers_stay(get, port, in_request):
    """
    A header that the application sets itself is not replaced.
    """
    with isolated_runtime(propagate_to=["127.0.0.1"]):
        arrived = get(f"http://127.0.0.1:{port}/", {"x-correlation-id": "mine"})

    assert ("mine", TRACE) == (arrived["x-correlation-id"], arrived["traceparent"])


def test_outside_of_a_request_nothing_is_sent(get, port):
    """
    Where there is no request there is no id.
    """
    with isolated_runtime(propagate_to=["127.0.0.1"]):
        arrived = get(f"http://127.0.0.1:{port}/")

    assert "x-correlation-id" not in arrived


def test_without_a_runtime_nothing_is_sent(get, port, in_request):
    """
    After `shutdown()` calls are as the application makes them.
    """
    assert "x-correlation-id" not in get(f"http://127.0.0.1:{port}/")


def test_transports_of_tests_are_covered(in_request):
    """
    An application that tests with a mock transport sees what would be sent; its own request object does not change.
    """
    import httpx

    obskit.instrument_httpx()
    seen = []

    def handler(request):
        seen.append(dict(request.headers))
        return httpx.Response(200, content=request.read())

    with (
        isolated_runtime(propagate_to=["stock.internal"]),
        httpx.Client(transport=httpx.MockTransport(handler)) as client,
    ):
        reply = client.post("https://stock.internal/plants", content=b"fern")
    obskit.uninstrument_httpx()

    assert (["id-1"], b"fern") == ([headers["x-correlation-id"] for headers in seen], reply.content)
    assert "x-correlation-id" not in reply.request.headers


def test_it_can_be_undone():
    """
    Afterwards the libraries are as they were, whatever was done twice.
    """
    import httpx
    import requests

    def state():
        return (
            httpx.HTTPTransport.handle_request,
            httpx.AsyncHTTPTransport.handle_async_request,
            requests.adapters.HTTPAdapter.send,
        )

    before = state()
    for _ in "12":
        obskit.instrument_httpx()
        obskit.instrument_requests()
    changed = state()
    for _ in "12":
        obskit.uninstrument_httpx()
        obskit.uninstrument_requests()

    assert all(new is not old for new, old in zip(changed, before, strict=True))
    assert before == state()


@pytest.mark.parametrize(
    ("allowed", "host", "port", "expected"),
    [
        (("stock.internal",), "stock.internal", 443, True),
        (("stock.internal",), "stock.internal.", 443, True),
        (("stock.internal",), "stock.internal.evil.example", 443, False),
        (("stock.internal",), "evilstock.internal", 443, False),
        (("stock.internal",), "x.stock.internal", 443, False),
        (("*.shop.example",), "a.shop.example", 80, True),
        (("*.shop.example",), "a.b.shop.example", 80, True),
        (("*.shop.example",), "shop.example", 80, False),
        (("*.shop.example",), "evilshop.example", 80, False),
        (("localhost:8080",), "localhost", 8080, True),
        (("localhost:8080",), "localhost", 80, False),
        (("stock.internal:443",), "stock.internal", 443, True),
        (("[::1]",), "::1", 80, True),
        (("[::1]:8080",), "::1", 8080, True),
        (("[::1]:8080",), "::1", 80, False),
        (("*.shop.example:8443",), "a.shop.example", 8443, True),
    ],
)
def test_hosts(allowed, host, port, expected):
    """
    A host matches as a whole, below a star, and with its port where the list has one.
    """
    assert expected is is_allowed(allowed, host, port)


@pytest.mark.parametrize(
    ("name", "hidden", "message"),
    [
        ("requests", ("requests", "requests.adapters"), "obskit.instrument_requests() needs requests"),
        ("celery", ("celery",), r"obskit.instrument_celery() needs Celery: pip install 'obskit[celery]'"),
    ],
)
def test_a_missing_library_is_named(monkeypatch, name, hidden, message):
    """
    Where the library is not installed, the message says what to install.
    """
    for module in hidden:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"obskit.integrations.{name}", raising=False)
    with pytest.raises(MissingExtraError) as raised:
        importlib.import_module(f"obskit.integrations.{name}")

    assert message in str(raised.value)


def test_without_httpx(monkeypatch):
    """
    `instrument_httpx()` needs one of both libraries.
    """
    monkeypatch.setattr("obskit.integrations.httpx.LIBRARIES", ("no_such_library",))
    with pytest.raises(MissingExtraError, match="pip install httpx"):
        obskit.instrument_httpx()
