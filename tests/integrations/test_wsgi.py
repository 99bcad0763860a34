"""
WSGI applications that break PEP 3333 behave as without obskit, and are recorded as what the client saw.
"""

import collections
import functools
import gc
import io
import itertools
import sys

import pytest

import obskit
from contract.drivers import Request, environ_of
from obskit.testing import RecordingSink, isolated_runtime

ROOT = Request("/")


def serve(app, request=ROOT):
    """
    Serve as a lenient server: give what it was told, the body, and the one operation that was recorded.
    """
    sink, told = RecordingSink(), []
    with isolated_runtime(sinks=[sink]):

        def start_response(status, headers, exc_info=None):
            told.append((status, list(headers)))

        body = obskit.instrument(app)(environ_of(request), start_response)
        pieces = list(body)
        body.close()
    [operation] = sink.operations
    return told, b"".join(pieces), operation


def test_an_application_that_returns_none():
    """
    What is no iterable is an exception of the application's: 500 and `TypeError`, not a client that left.
    """
    sink = RecordingSink()

    def app(environ, start_response):
        start_response("200 OK", [])

    with isolated_runtime(sinks=[sink]):
        wrapped = obskit.instrument(app)
        with pytest.raises(TypeError):
            wrapped(environ_of(Request("/")), lambda status, headers, exc_info=None: None)

    [operation] = sink.operations
    assert (500, "TypeError", False) == (operation.status, operation.exception, operation.aborted)


def test_an_error_after_the_first_byte_keeps_the_status():
    """
    `start_response` with `exc_info` cannot take back what was sent; before the first byte it can.
    """

    def app(environ, start_response):
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/late":
            yield b"a"
        try:
            raise KeyError("x")
        except KeyError:
            start_response("503 Busy", [], sys.exc_info())
        yield b"b"

    assert [200, 503] == [serve(app, Request(path))[2].status for path in ("/late", "/early")]


def test_a_body_without_a_start():
    """
    A reply that was never started is the server's to refuse; obskit hands it on.
    """
    _, body, operation = serve(lambda environ, start_response: [b"ok"])

    assert (b"ok", 500) == (body, operation.status)


@pytest.mark.parametrize("length", [2, "2", "two", -1, None])
def test_a_length_of_any_kind(length):
    """
    A `Content-Length` that is no text, or no number, goes to the server as it is.
    """

    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", length)])
        return [b"ok"]

    [(_, headers)], body, operation = serve(app)

    assert ("Content-Length", length) in headers
    assert (b"ok", 200, 2, False) == (body, operation.status, operation.bytes_sent, operation.aborted)


def test_headers_that_are_read_once():
    """
    Headers from a generator reach the server whole, with the correlation id, and end the reply by their length.
    """

    def app(environ, start_response):
        start_response("200 OK", (pair for pair in [("X-One", "1"), ("Content-Length", "2"), ("X-Two", "2")]))
        return [b"ok"]

    [(_, headers)], body, operation = serve(app)

    assert [("X-One", "1"), ("Content-Length", "2"), ("X-Two", "2")] == headers[:3]
    assert ["X-Correlation-ID"] == [name for name, _ in headers[3:]]
    assert (b"ok", 200) == (body, operation.status)


@pytest.mark.parametrize(("status", "recorded"), [(204, (204, -1)), (None, (-1,)), ("", (-1,)), ("abc", (-1,))])
def test_a_status_of_any_kind(status, recorded):
    """
    A status that is no status line goes to the server as it is, and is counted under its number or as other.
    """

    def app(environ, start_response):
        start_response(status, [])
        return [b"ok"]

    [(told, _)], body, operation = serve(app)

    assert (status, b"ok") == (told, body)
    assert operation.status in recorded


def test_a_path_outside_of_latin_1():
    """
    A server that decodes the path itself is served all the same.
    """

    def app(environ, start_response):
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    _, body, operation = serve(app, Request("/\u20ac/x"))

    assert ("/\u20ac/x".encode(), 200) == (body, operation.status)


class Sealed:
    """
    A file as a server in C makes it: it takes no attributes.
    """

    __slots__ = ("file",)

    def __init__(self, file, size=8192):
        self.file = file

    def __iter__(self):
        return iter(lambda: self.file.read(4), b"")


class Lazy(Sealed):
    """
    A file that takes attributes, as those of servers in Python.
    """

    def close(self):
        self.file.close()


def the_file_itself(file, size=8192):
    """
    Return the file, as uWSGI's wrapper does.
    """
    return file


@pytest.mark.parametrize(
    "wrapper",
    [Sealed, Lazy, lambda file, size=8192: Sealed(file), the_file_itself, functools.partial(Lazy), type],
    ids=["class", "class with close", "function", "same object", "partial", "no wrapper of ours"],
)
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "not closed"])
def test_a_file_that_the_server_sends(wrapper, closed):
    """
    A server knows by identity what its `wsgi.file_wrapper` made: the very object comes back, and is recorded once.
    """
    made, sink = [], RecordingSink()

    def app(environ, start_response):
        assert environ["wsgi.file_wrapper"] is wrapper or not isinstance(wrapper, type)
        start_response("200 OK", [("Content-Length", "10")])
        made.append(environ["wsgi.file_wrapper"](io.BytesIO(b"x" * 10)))
        return made[0] if wrapper is not type else io.BytesIO(b"x" * 10)

    with isolated_runtime(sinks=[sink]):
        environ = environ_of(ROOT) | {"wsgi.file_wrapper": wrapper}
        body = obskit.instrument(app)(environ, lambda status, headers, exc_info=None: None)
        is_same, in_environ = body is made[0], environ["wsgi.file_wrapper"]
        if closed and hasattr(body, "close"):
            body.close()
        del body
        made.clear()
        gc.collect()

    [operation] = sink.operations
    assert (is_same, in_environ) == (wrapper is not type, wrapper)
    assert operation.status == 200
    if closed and wrapper is not type:
        assert (operation.bytes_sent, operation.aborted) == (10, False)


def test_a_body_of_bytes():
    """
    UWSGI sends bytes that are returned as they are: they stay what they are.
    """
    sink = RecordingSink()

    def app(environ, start_response):
        start_response("200 OK", [])
        return b"whole"

    with isolated_runtime(sinks=[sink]):
        body = obskit.instrument(app)(environ_of(ROOT), lambda status, headers, exc_info=None: None)

    [operation] = sink.operations
    assert (body, operation.bytes_sent, operation.streamed) == (b"whole", 5, False)


def test_a_piece_without_a_length():
    """
    What a server makes of pieces that are no bytes is its business: uWSGI's event loops wait with them.
    """

    def app(environ, start_response):
        start_response("200 OK", [])
        return iter([b"a", None, b"b"])

    sink = RecordingSink()
    with isolated_runtime(sinks=[sink]):
        pieces = list(obskit.instrument(app)(environ_of(ROOT), lambda status, headers, exc_info=None: None))

    [operation] = sink.operations
    assert (pieces, operation.bytes_sent, operation.exception) == ([b"a", None, b"b"], 2, None)


@pytest.mark.parametrize(
    "take",
    [
        lambda body: b"".join(body),
        lambda body: b"".join(iter(iter(body))),
        lambda body: b"".join(itertools.chain([next(pieces := iter(body))], pieces)),
    ],
    ids=["join", "iter", "peek"],
)
def test_an_iterator_that_is_asked_for_itself_goes_on(sink, take):
    """
    Who takes an iterator of an iterator, as `join()`, `chain()` and test clients do, has each piece once, and the
    request ends with the last.
    """

    def app(environ, start_response):
        start_response("200 OK", [])
        return [b"hello", b" ", b"world"]

    with isolated_runtime(sinks=[sink]):
        body = obskit.instrument(app)(environ_of(ROOT), lambda status, headers, exc_info=None: None)
        sent = take(body)
        [operation] = sink.operations

    assert (sent, operation.bytes_sent, operation.aborted) == (b"hello world", 11, False)


@pytest.mark.parametrize("kind", [list, tuple, collections.deque])
def test_pieces_that_are_counted_while_they_are_sent(kind):
    """
    A server may add up the lengths of all pieces when it sends the first, as gevent's does: none is lost.
    """

    def app(environ, start_response):
        start_response("200 OK", [])
        return kind([b"hello", b" world"])

    with isolated_runtime():
        body = obskit.instrument(app)(environ_of(ROOT), lambda status, headers, exc_info=None: None)
        sent = [(piece, len(body), sum(len(counted) for counted in body)) for piece in body]

    assert sent == [(b"hello", 2, 11), (b" world", 2, 11)]


UPGRADE = Request("/", headers=(("Upgrade", "WebSocket"), ("Connection", "Upgrade")))


def talk(app, request):
    """
    Serve as a server that hands its socket to the application; give what was recorded of it, and what is in progress.
    """
    with isolated_runtime(strict=False) as runtime:
        try:
            body = obskit.instrument(app)(environ_of(request), lambda status, headers, exc_info=None: None)
            list(body)
            body.close()
        except StopIteration:
            pass
        page = runtime.value("http_requests_in_progress", method="GET") or 0.0
        lines = [(line["status"], line.get("exception")) for line in runtime.lines if line["message"] == "request"]
        return lines, page, runtime.value("http_exceptions_total", endpoint="<unmatched>", exception="StopIteration")


def takes_over(environ, start_response):
    return []


def takes_over_and_stops(environ, start_response):
    raise StopIteration


def switches(environ, start_response):
    start_response("101 Switching Protocols", [("Upgrade", "websocket")])
    return []


def answers(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]


def breaks(environ, start_response):
    raise LookupError


@pytest.mark.parametrize("app", [takes_over, takes_over_and_stops, switches])
def test_a_websocket_is_no_request(app):
    """
    A connection that became a WebSocket is none, whatever ends it: no line, no count, nothing in progress.
    """
    assert ([], 0.0, None) == talk(app, UPGRADE)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("app", [takes_over, switches, answers])
def test_a_websocket_is_not_in_progress(app, shared, tmp_path):
    """
    While it is open a WebSocket is no request in progress, of one process or of several, and other requests are.
    """
    seen, folder = [], {"metrics_dir": str(tmp_path / "figures")} if shared else {}

    def counting(environ, start_response):
        seen.append(runtime.value("http_requests_in_progress", method="GET") or 0.0)
        return app(environ, start_response)

    with isolated_runtime(strict=False, **folder) as runtime:
        served = obskit.instrument(counting)
        for request in (UPGRADE, ROOT, UPGRADE, UPGRADE):
            body = served(environ_of(request), lambda status, headers, exc_info=None: None)
            list(body)
            body.close()
        seen.append(runtime.value("http_requests_in_progress", method="GET"))

    assert [0.0, 1.0, 0.0, 0.0, 0.0] == seen


@pytest.mark.parametrize(
    ("app", "request_", "lines"),
    [
        (answers, UPGRADE, [(200, None)]),
        (takes_over, ROOT, [(500, None)]),
        (takes_over_and_stops, ROOT, [(500, {"type": "StopIteration"})]),
    ],
)
def test_a_header_alone_hides_nothing(app, request_, lines):
    """
    Who asks for a WebSocket and gets a page is a request, and who asks for none and gets nothing is a failed one.
    """
    assert lines == talk(app, request_)[0]


def test_a_request_that_asks_for_a_websocket_and_fails():
    """
    An exception is one, also where a WebSocket was asked for.
    """
    sink = RecordingSink()
    with isolated_runtime(sinks=[sink]), pytest.raises(LookupError):
        obskit.instrument(breaks)(environ_of(UPGRADE), lambda status, headers, exc_info=None: None)

    [operation] = sink.operations
    assert (500, "LookupError", False) == (operation.status, operation.exception, operation.upgraded)


@pytest.mark.parametrize(("several", "shared", "told"), [(True, False, 1), (True, True, 0), (False, False, 0)])
def test_processes_that_are_not_known(several, shared, told, tmp_path):
    """
    Where a server says that it runs several processes, and each counts for itself, a scrape warns, and the next not.
    """
    sink = RecordingSink()
    with isolated_runtime(sinks=[sink], **({"metrics_dir": str(tmp_path / "figures")} if shared else {})):
        app = obskit.instrument(answers)
        for _ in range(2):
            environ = environ_of(Request("/metrics")) | {"wsgi.multiprocess": several}
            app(environ, lambda status, headers, exc_info=None: None)

    assert told == [event.name for event in sink.events].count("metrics.alone")
