"""
WSGI applications that break PEP 3333 behave as without obskit, and are recorded as what the client saw.
"""

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
