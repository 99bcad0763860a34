"""
A reply says what its queries and AI calls took, in `Server-Timing`, where that was asked for and nowhere else.
"""

import pytest

import obskit

from .drivers import Request
from .stacks import only, stacks

OWN = "cache;dur=1"


@pytest.fixture
def settings():
    """
    Ask for the header.
    """
    return {"server_timing": True}


def ask_database(shop) -> None:
    with obskit.observe_db(table="timed_plants", operation="select"):
        shop.scene.clock.advance(0.00625)


def ask_model(shop) -> None:
    with obskit.observe_ai(service="timing", provider="acme", model="m-1"):
        shop.scene.clock.advance(1.5)


def asks(shop, *calls):
    def inside():
        for call in calls:
            call(shop)

    return inside


@stacks()
def test_queries_and_calls_are_told(shop):
    """
    Milliseconds and counts of both, in one header.
    """
    shop.scene.inside = asks(shop, ask_database, ask_database, ask_model)
    reply = shop.get("/inside")

    assert reply.header("server-timing") == ['db;dur=12.5;desc="2 queries", ai;dur=1500.0;desc="1 call"']


@stacks()
def test_only_what_was_asked_is_told(shop):
    """
    One query is no AI call.
    """
    shop.scene.inside = asks(shop, ask_database)
    reply = shop.get("/inside")

    assert reply.header("server-timing") == ['db;dur=6.2;desc="1 query"']


@stacks()
def test_nothing_is_told_of_nothing(shop):
    """
    A request without queries or AI calls has no such header.
    """
    assert shop.get("/items/7").header("server-timing") == []


@stacks()
@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("GET", 304), ("HEAD", 200)])
def test_header_of_the_application_stays(shop, method, status):
    """
    The application's own figures come first, in a 304 and in the reply to HEAD too.
    """
    shop.scene.inside = asks(shop, ask_database)
    shop.scene.status = status
    reply = shop.call(Request("/timed", method))

    assert (reply.status, reply.error) == (status, None)
    assert ", ".join(reply.header("server-timing")) == f'{OWN}, db;dur=6.2;desc="1 query"'


@stacks()
def test_stream_tells_what_is_known_when_it_starts(shop):
    """
    What it asks later is in no header, and on its access line all the same.
    """
    shop.scene.inside = asks(shop, ask_database)
    reply = shop.get("/stream")

    (line,) = [line for line in shop.runtime.lines if line["message"] == "request"]
    assert reply.header("server-timing") == []
    assert line["db_queries"] == 3


@stacks()
def test_requests_do_not_share_figures(shop):
    """
    Each reply tells of its own request.
    """
    shop.scene.inside = asks(shop, ask_database)
    replies = [shop.get("/inside"), shop.get("/items/7"), shop.get("/inside")]

    one = ['db;dur=6.2;desc="1 query"']
    assert [reply.header("server-timing") for reply in replies] == [one, [], one]


@only("starlette", "fastapi", "asgi", "wsgi", "flask")
def test_header_is_sent_once_through_two_layers(shop):
    """
    An application that is wrapped twice tells its figures once.
    """
    module = __import__(f"obskit.integrations.{shop.stack.protocol}", fromlist=["ObskitMiddleware"])
    shop.app = module.ObskitMiddleware(shop.app)
    shop.scene.inside = asks(shop, ask_database)

    assert shop.get("/inside").header("server-timing") == ['db;dur=6.2;desc="1 query"']


class TestOff:
    """
    Without the setting.
    """

    @pytest.fixture
    def settings(self):
        """
        Return the defaults.
        """
        return {}

    @stacks()
    def test_nothing_is_sent(self, shop):
        """
        No client learns what a request cost the server, unless somebody wanted that.
        """
        shop.scene.inside = asks(shop, ask_database, ask_model)

        assert shop.get("/inside").header("server-timing") == []

    @stacks()
    def test_application_is_called_by_itself(self, shop):
        """
        Nothing stands between the middleware and the application that could cost anything.
        """
        front = shop.app
        if shop.stack.name == "flask":
            front = front.extensions["obskit"]
        elif shop.stack.name in ("starlette", "fastapi"):
            shop.get("/items/7")
            front = front.middleware_stack

        assert front.serve == front.app
