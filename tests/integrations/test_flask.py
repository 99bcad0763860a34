"""
Prove what is Flask's alone: the contract suite has what it shares with the other frameworks.
"""

import pytest
from flask import Blueprint, Flask

import obskit
from obskit.errors import RouteTakenError


def ok():
    return "ok"


def warnings_of(sink):
    return [event.message for event in sink.events if event.name == "obskit.route_taken"]


def test_a_route_that_is_taken(runtime):
    """
    An application that answers one of obskit's paths is refused.
    """
    app = Flask("shop")
    app.add_url_rule("/health", view_func=ok)

    with pytest.raises(RouteTakenError, match="has a route /health itself"):
        obskit.instrument(app)


def test_routes_that_are_taken_later(runtime, sink):
    """
    A route that comes after `instrument()` and is hidden by one of obskit's is told when it is added, once.
    """
    app = obskit.instrument(Flask("shop"))
    app.add_url_rule("/plants", view_func=ok)
    told_before = warnings_of(sink)
    app.add_url_rule("/metrics", view_func=ok, methods=["GET"])
    app.add_url_rule("/metrics", "again", ok, methods=["POST"])
    live = Blueprint("live", __name__)
    live.add_url_rule("/live", view_func=ok)
    app.register_blueprint(live, url_prefix="/health")
    reply = app.test_client().get("/metrics")

    assert told_before == []
    assert reply.text != "ok"
    assert warnings_of(sink) == [
        "the application has a route /metrics itself: give obskit another place with "
        "metrics_path='/obskit/metrics', or metrics_path=None to mount none; until then one of the two is hidden",
        "the application has a route /health/live itself: give obskit another place with "
        "health_path='/obskit/health', or health_path=None to mount none; until then one of the two is hidden",
    ]


def test_a_route_that_comes_when_nothing_stands(runtime, sink):
    """
    After `shutdown()` a route of the application's at one of obskit's paths is its own.
    """
    app = obskit.instrument(Flask("shop"))
    obskit.shutdown()
    app.add_url_rule("/metrics", view_func=ok)

    assert app.test_client().get("/metrics").text == "ok"
    assert warnings_of(sink) == []


class InItsPlace:
    """
    Stand in a response's place, with what is public of it.
    """

    def __init__(self, response):
        self._inside = response

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._inside, name)

    def __call__(self, environ, start_response):
        return self._inside(environ, start_response)


def test_what_takes_a_response_s_place(runtime, sink):
    """
    What the application answers with need not be a response of Werkzeug's own making.
    """
    app = obskit.instrument(Flask("shop"))
    app.add_url_rule("/plants/<int:number>", view_func=lambda number: ("grown", 201))
    app.after_request(InItsPlace)
    reply = app.test_client().get("/plants/7", headers={"X-Correlation-ID": "seven"})

    [op] = sink.operations
    assert (reply.status_code, reply.text, reply.headers["X-Correlation-ID"]) == (201, "grown", "seven")
    assert (op.status, op.endpoint, op.bytes_sent, op.aborted) == (201, "/plants/<int:number>", 5, False)


@pytest.mark.parametrize("spelling", ["X-Correlation-ID", "x-correlation-id", "X-CORRELATION-Id"])
def test_an_id_that_the_application_sets_is_replaced(runtime, spelling):
    """
    A reply has one correlation id, however the application has written the header's name.
    """
    app = obskit.instrument(Flask("shop"))
    app.add_url_rule("/", view_func=lambda: ("ok", {spelling: "its-own"}))
    reply = app.test_client().get("/", headers={"X-Correlation-ID": "ours"})

    assert reply.headers.getlist("X-Correlation-ID") == ["ours"]
