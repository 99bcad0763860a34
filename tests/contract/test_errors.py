"""
An exception counts where it leaves the application or becomes its 500: once, by its class name.
"""

import pytest

from .drivers import Request
from .scene import CHUNKS, Boom, Halfway
from .shop import Record
from .stacks import stacks


@stacks()
def test_body_that_fails_validation(shop):
    """
    The framework's own 400 or 422 is no exception.
    """
    reply = shop.call(Request("/orders", "POST", body=b"no order"))

    assert shop.records == [
        Record(
            method="POST",
            endpoint="/orders",
            status=shop.stack.invalid_status,
            bytes_sent=len(reply.body),
        )
    ]


@stacks()
def test_handled_exception(shop):
    """
    An exception that an error handler turned into a reply is that reply, and nothing more.
    """
    reply = shop.get("/conflict")

    assert reply.body == b"conflict"
    assert shop.records == [Record(endpoint="/conflict", status=409, bytes_sent=8)]


@stacks()
def test_unhandled_exception(shop):
    """
    A request that raises is a 500 with the exception's class name, whoever writes the reply.
    """
    reply = shop.get("/boom")

    assert shop.records == [Record(endpoint="/boom", status=500, bytes_sent=len(reply.body), exception="Boom")]
    assert shop.runtime.value("http_exceptions_total", endpoint="/boom", exception="Boom") == 1
    assert shop.operation.error == "Boom"


class Timeout(BaseException):
    """
    What a server or gevent ends a request with that takes too long.
    """


class GreenletExit(BaseException):
    """
    Greenlet's, by name: a greenlet that is ended.
    """


def raises(error):
    def inside():
        raise error

    return inside


# Django under ASGI runs its views in tasks of their own, out of which Python lets `SystemExit` end the event loop.
@stacks()
@pytest.mark.parametrize(
    "error", [Timeout(), SystemExit(1), KeyboardInterrupt()], ids=lambda error: type(error).__name__
)
def test_what_ends_more_than_the_request(shop, error):
    """
    A worker's timeout, or the process's end, is a failure of the request: 500, with its class and the template.
    """
    shop.scene.inside = raises(error)
    with pytest.raises(type(error)):
        raise shop.get("/inside").error

    name = type(error).__name__
    assert shop.records == [Record(endpoint="/inside", status=500, bytes_sent=0, exception=name)]
    assert shop.runtime.value("http_exceptions_total", endpoint="/inside", exception=name) == 1


@stacks()
@pytest.mark.parametrize("error", [GreenletExit(), GeneratorExit()], ids=lambda error: type(error).__name__)
def test_what_ends_the_request_alone(shop, error):
    """
    A greenlet or a generator that is ended has a request that nobody waits for: 499, no exception.
    """
    shop.scene.inside = raises(error)
    with pytest.raises(type(error)):
        raise shop.get("/inside").error

    assert shop.records == [Record(endpoint="/inside", status=499, bytes_sent=0)]


@stacks("error page")
def test_error_page_carries_the_correlation_id(shop):
    """
    The 500 that the framework writes for an unhandled exception can be found in the logs.
    """
    reply = shop.get("/boom")

    assert reply.status == 500
    assert reply.header("x-correlation-id") == [shop.operation.correlation_id]


@stacks()
def test_generator_that_raises_halfway(shop):
    """
    A reply that breaks off keeps the status that was sent; it is aborted, by that exception.
    """
    reply = shop.get("/halfway")

    assert (reply.status, reply.pieces, type(reply.error)) == (200, [*CHUNKS[:2]], Halfway)
    assert shop.records == [
        Record(endpoint="/halfway", bytes_sent=30, streamed=True, aborted=True, exception="Halfway")
    ]
    assert [line["level"] for line in shop.runtime.lines if line["message"] == "request"] == ["ERROR"]


@stacks()
@pytest.mark.parametrize("path", ["/boom", "/halfway"])
def test_server_sees_the_same_exception(shop, path):
    """
    What the application lets out reaches the server as it is, and nothing else does.
    """
    bare, instrumented = shop.call_bare(Request(path)), shop.get(path)

    assert type(bare.error) is type(instrumented.error)
    assert type(instrumented.error) in (type(None), Boom, Halfway)
