"""
Whatever breaks in obskit, applications answer as they would without it.

Here with raw WSGI and ASGI applications; `tests/contract` does it for the frameworks.
"""

import asyncio
import io
import logging

import pytest

import obskit
from obskit.context import current
from obskit.recorder import recorder
from obskit.testing import LineStream, RecordingSink, isolated_runtime


class Boom(Exception):
    """
    The application's own mistake.
    """


# Path -> status, headers, pieces of body; an exception is raised in its place.
CASES = {
    "/plain": ("200 OK", [("Content-Length", "5")], [b"plain"]),
    "/empty": ("204 No Content", [], []),
    "/absent": ("404 Not Found", [("Content-Length", "2")], [b"no"]),
    "/stream": ("200 OK", [], [b"one", b"two", b"three"]),
    "/error": ("500 Internal Server Error", [("Content-Length", "3")], [b"err"]),
    "/raises": ("", [], [Boom]),
    "/halfway": ("200 OK", [], [b"one", Boom]),
    "/two-ids": ("200 OK", [("X-Correlation-ID", "mine"), ("X-CORRELATION-ID", "too")], [b"ids"]),
}


def pieces(body):
    for piece in body:
        if piece is Boom:
            raise Boom("the application's own")
        yield piece


def wsgi(environ, start_response):
    status, headers, body = CASES[environ["PATH_INFO"]]
    if not status:
        raise Boom("the application's own")
    start_response(status, list(headers))
    return pieces(body)


async def asgi(scope, receive, send):
    status, headers, body = CASES[scope["path"]]
    if not status:
        raise Boom("the application's own")
    named = [(name.lower().encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": int(status[:3]), "headers": named})
    for piece in pieces(body):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


def ask_wsgi(app, path):
    """
    Ask as a server does; give status, headers without ours, pieces, and what was raised.
    """
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "wsgi.input": io.BytesIO(), "REMOTE_ADDR": "203.0.113.7"}
    seen, body, raised = [], [], None

    def start_response(status, headers, exc_info=None):
        seen[:] = [status, headers]
        return body.append

    try:
        reply = app(environ, start_response)
        try:
            body.extend(reply)
        finally:
            getattr(reply, "close", lambda: None)()
    except Exception as error:
        raised = repr(error)
    return [without_id(seen), body, raised]


def ask_asgi(app, path):
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [], "client": ("::1", 5)}
    sent, raised = [], None

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    async def exchange():
        await app(scope, receive, send)

    try:
        asyncio.run(exchange())
    except Exception as error:
        raised = repr(error)
    start = [[message["status"], message["headers"]] for message in sent[:1]]
    return [without_id(start[0]) if start else [], sent[1:], raised]


def without_id(start):
    if not start:
        return []
    status, headers = start
    return [status, [pair for pair in headers if str(pair[0]).lower().strip("b'") != "x-correlation-id"]]


PROTOCOLS = {"wsgi": (wsgi, ask_wsgi), "asgi": (asgi, ask_asgi)}


class Broken:
    """
    Raise wherever a sink may be called.
    """

    name = "broken"

    def bind(self, kind):
        return self.fail, self.fail

    def fail(self, *anything):
        raise RuntimeError("a sink's mistake")

    emit = flush = close = fail


class Full:
    """
    A stream on a disk that has no room.
    """

    def write(self, text):
        raise OSError(28, "No space left on device")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


def raising(operation):
    raise RuntimeError("a hook's mistake")


class Raising(logging.Handler):
    """
    Raise at every record, as a handler of the application's may.
    """

    def emit(self, record):
        raise RuntimeError("a handler's mistake")


# What breaks -> settings that break it, sinks, and the parts whose failures are counted.
BREAKAGES = {
    "nothing": (dict, [], set()),
    "every sink": (lambda: {"log_stream": Full(), "request_hook": raising}, [Broken()], {"logs", "hook", "broken"}),
    "a closed stream": (lambda: {"log_stream": closed()}, [], {"logs"}),
    "a full disk": (lambda: {"log_stream": Full()}, [], {"logs"}),
    "a hook": (lambda: {"request_hook": raising}, [], {"hook"}),
    "a sink": (dict, [Broken()], {"broken"}),
}


@pytest.fixture(params=BREAKAGES)
def breakage(request):
    make, sinks, parts = BREAKAGES[request.param]
    return {"strict": False, "sinks": sinks, **make()}, parts


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("path", CASES)
def test_each_case_answers_as_the_bare_application(protocol, path, breakage):
    """
    Status, headers, pieces of body and exceptions are the application's own, whatever breaks in obskit.
    """
    app, ask = PROTOCOLS[protocol]
    expected = ask(app, path)
    with isolated_runtime(**breakage[0]):
        wrapped = obskit.instrument(app)

        assert expected == ask(wrapped, path)
        assert current.get() is None


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_failures_are_counted_and_logged_once(protocol, breakage, caplog):
    """
    Of three requests each broken part's failures are all on the page, and in one line of the log.
    """
    settings, parts = breakage
    app, ask = PROTOCOLS[protocol]
    with caplog.at_level(logging.ERROR, "obskit"), isolated_runtime(**settings) as isolated:
        wrapped = obskit.instrument(app)
        for _ in range(3):
            ask(wrapped, "/plain")
        counted = {part: isolated.value("obskit_errors_total", sink=part) for part in recorder.errors}
        served = isolated.value("http_requests_total", method="GET", endpoint="<unmatched>", status="200")
        complaints = sorted(record.args[0] for record in caplog.records if record.name == "obskit")

    assert parts == counted.keys()
    assert all(count >= 3.0 for count in counted.values())
    assert sorted(parts) == complaints
    assert 3.0 == served


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_log_handler_that_raises_harms_nobody(protocol):
    """
    The complaint about a broken part goes through the application's handlers, which may be broken too.
    """
    app, ask = PROTOCOLS[protocol]
    expected, handler = ask(app, "/plain"), Raising()
    logging.getLogger("obskit").addHandler(handler)
    try:
        with isolated_runtime(strict=False, sinks=[Broken()]):
            assert expected == ask(obskit.instrument(app), "/plain")
    finally:
        logging.getLogger("obskit").removeHandler(handler)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_runtime_that_breaks_can_be_shut_down(protocol):
    """
    Sinks that raise in `flush()` and `close()` stop neither the shutdown nor the application.
    """
    app, ask = PROTOCOLS[protocol]
    with isolated_runtime(strict=False, sinks=[Broken(), RecordingSink()]):
        wrapped = obskit.instrument(app)
    after = ask(wrapped, "/plain")

    assert ask(app, "/plain") == after
    assert obskit.runtime.current_runtime() is None


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_good_sinks_get_everything(protocol):
    """
    A broken sink costs the others nothing: each request is in the recording and in the lines.
    """
    app, ask = PROTOCOLS[protocol]
    recording, stream = RecordingSink(), LineStream()
    with isolated_runtime(strict=False, sinks=[Broken(), recording], log_stream=stream):
        wrapped = obskit.instrument(app)
        for path in CASES:
            ask(wrapped, path)

    assert list(CASES) == [op.path for op in recording.operations]
    assert list(CASES) == [line["path"] for line in stream.lines if line["message"] == "request"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_our_own_routes_answer_while_sinks_are_broken(protocol):
    """
    The page that tells of the failures is there when they happen.
    """
    app, ask = PROTOCOLS[protocol]
    with isolated_runtime(strict=False, sinks=[Broken()]):
        start, *_ = ask(obskit.instrument(app), "/metrics")

    assert start[0] in (200, "200 OK")
