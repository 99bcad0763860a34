"""
Prove what is Flask's alone: the contract suite has what it shares with the other frameworks.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Blueprint, Flask, Response, abort, copy_current_request_context, got_request_exception
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import create_environ, run_wsgi_app
from werkzeug.wrappers import Request as PlainRequest
from werkzeug.wrappers import Response as PlainResponse

import obskit
from obskit.errors import RouteTakenError
from obskit.testing import isolated_runtime


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


def seen_by(sink):
    return [(op.endpoint, op.status, op.exception) for op in sink.operations]


@pytest.mark.parametrize("setting", [None, "PROPAGATE_EXCEPTIONS", "TESTING", "DEBUG"])
@pytest.mark.parametrize("error", [LookupError, SystemExit])
def test_an_exception_that_is_let_through(sink, setting, error):
    """
    The request keeps its template where Flask lets the exception through, in every output.
    """
    app = Flask("shop")
    app.config["PROPAGATE_EXCEPTIONS"] = False
    if setting is not None:
        app.config["PROPAGATE_EXCEPTIONS"] = None
        app.config[setting] = True

    @app.get("/plants/<int:plant>")
    def plant(plant):
        raise error("x")

    with isolated_runtime(sinks=[sink]) as runtime:
        try:
            obskit.instrument(app).test_client().get("/plants/7")
        except error:
            pass
        counted = runtime.value("http_exceptions_total", endpoint="/plants/<int:plant>", exception=error.__name__)
        line = runtime.lines[-1]

    assert seen_by(sink) == [("/plants/<int:plant>", 500, error.__name__)]
    assert (counted, line["endpoint"], line["level"]) == (1, "/plants/<int:plant>", "ERROR")


def test_what_a_handler_answers(runtime, sink):
    """
    An exception that a handler answers with a 500 has its name, and with less than that none; neither has abort().
    """
    app = Flask("shop")
    errors = {"lookup": LookupError(), "value": ValueError()}

    @app.get("/<what>")
    def view(what):
        if what.isdigit():
            abort(int(what))
        raise errors[what]

    @app.errorhandler(LookupError)
    def answer(error):
        return "no", 409

    @app.errorhandler(ValueError)
    def give_up(error):
        return "sorry", 500

    client = obskit.instrument(app).test_client()
    for path in ("/lookup", "/value", "/404", "/503"):
        client.get(path)

    assert [found[1:] for found in seen_by(sink)] == [(409, None), (500, "ValueError"), (404, None), (503, None)]


def test_an_extension_that_tells_of_http_errors(runtime, sink):
    """
    Flask-RESTX and Flask-RESTful send `got_request_exception` for their 404s, and put handlers in Flask's place.
    """
    app = Flask("shop")
    before = app.handle_user_exception

    def handle_user_exception(error):
        got_request_exception.send(app, exception=error)
        return "their own page", getattr(error, "code", 500)

    app.handle_user_exception = handle_user_exception
    app.add_url_rule("/gone", "gone", lambda: abort(410))
    app.add_url_rule("/broken", "broken", lambda: {}["x"])
    client = obskit.instrument(app).test_client()
    client.get("/gone")
    client.get("/broken")

    assert before.__self__ is app
    assert seen_by(sink) == [("/gone", 410, None), ("/broken", 500, "KeyError")]


def test_a_copied_request_context(runtime, sink):
    """
    A copy of the request's context, popped in another thread, takes nothing of the request's own route along.
    """
    app = Flask("shop")

    @app.get("/plants/<int:plant>")
    def plant(plant):
        with ThreadPoolExecutor() as pool:
            return pool.submit(copy_current_request_context(ok)).result()

    obskit.instrument(app).test_client().get("/plants/7")

    assert seen_by(sink) == [("/plants/<int:plant>", 200, None)]


@pytest.mark.parametrize("answers", [True, False])
def test_a_middleware_with_a_request_of_its_own(runtime, sink, answers):
    """
    A middleware may make a `werkzeug.Request` for itself: what it answers is unmatched, and what it hands on is not.
    """
    app = Flask("shop")
    app.add_url_rule("/plants/<int:plant>", view_func=lambda plant: "ok")
    inner = app.wsgi_app

    def middleware(environ, start_response):
        asked = PlainRequest(environ)
        assert asked.path
        return (PlainResponse("no") if answers else inner)(environ, start_response)

    app.wsgi_app = middleware
    obskit.instrument(app).test_client().get("/plants/7")

    assert seen_by(sink) == [("<unmatched>" if answers else "/plants/<int:plant>", 200, None)]


class Shortcut(Flask):
    def full_dispatch_request(self):
        return Response("pong")


def maintained():
    app = Flask("shop")
    app.handle_exception = lambda error: Response("maintenance", 503)
    app.add_url_rule("/ping", view_func=lambda: {}["x"])
    return app


@pytest.mark.parametrize(("make", "status"), [(lambda: Shortcut("shop"), 200), (maintained, 503)])
def test_replies_that_are_made_in_other_ways(runtime, sink, make, status):
    """
    An application that answers past `process_response()`, by its class or by itself, is counted with what it answered.
    """
    reply = obskit.instrument(make()).test_client().get("/ping")

    assert (status, status) == (reply.status_code, sink.operations[0].status)
    assert "X-Correlation-ID" in reply.headers


@pytest.mark.parametrize("instrumented", ["outer", "inner", "both"])
def test_applications_beside_each_other(runtime, sink, instrumented):
    """
    Applications under a dispatcher have its mounts in their labels and paths, on whichever side obskit is.
    """
    shop, stock = Flask("shop"), Flask("stock")
    for app in (shop, stock):
        app.add_url_rule("/items/<int:item>", view_func=lambda item: "ok")
    if instrumented != "outer":
        stock = obskit.instrument(stock)
    served = DispatcherMiddleware(shop.wsgi_app, {"/stock": stock})
    if instrumented != "inner":
        shop.wsgi_app = served
        served = obskit.instrument(shop)
    run_wsgi_app(served, create_environ("/stock/items/2"))
    run_wsgi_app(served, create_environ("/items/1"))

    mine = [("/stock/items/<int:item>", 200, None), ("/items/<int:item>", 200, None)]
    assert seen_by(sink) == (mine[:1] if instrumented == "inner" else mine)
    assert sink.operations[0].path == "/stock/items/2"


def test_several_threads_ask_another_application(runtime, sink):
    """
    A view that asks another application of this process, bare, keeps its own route, also where that one breaks.
    """
    app, other = Flask("shop"), Flask("other")
    other.add_url_rule("/broken", view_func=lambda: {}["x"])
    app.add_url_rule("/asks", view_func=lambda: str(other.test_client().get("/broken").status_code))
    obskit.instrument(app).test_client().get("/asks")

    assert seen_by(sink) == [("/asks", 200, None)]


@pytest.mark.parametrize("stops", [True, False], ids=["gunicorn", "Flask's server"])
def test_a_websocket_is_no_request(sink, stops):
    """
    flask-sock answers when all has been said: with an exception on gunicorn, with an empty reply on Flask's server.
    """

    class WebSocketResponse(Response):
        def __call__(self, *args):
            if stops:
                raise StopIteration
            return super().__call__(*args)

    app = Flask("shop")
    app.add_url_rule("/ws", view_func=WebSocketResponse)
    with isolated_runtime(sinks=[sink]) as runtime:
        client = obskit.instrument(app).test_client()
        try:
            client.get("/ws", headers={"Upgrade": "websocket"}, buffered=True)
        except StopIteration:
            assert stops
        lines = [line for line in runtime.lines if line["message"] == "request"]
        counted = runtime.value("http_requests_total", method="GET", endpoint="/ws", status="200")

    [operation] = sink.operations
    assert (lines, counted, operation.upgraded, operation.exception) == ([], None, True, None)


# Endpoints by their names


def shop():
    """
    Return an application with a blueprint, whose views answer, stream, give up and are let through.
    """
    app, plants = Flask("shop"), Blueprint("plants", __name__, url_prefix="/plants")
    app.config["PROPAGATE_EXCEPTIONS"] = False
    plants.add_url_rule("/<int:plant>", "show", lambda plant: "ok")
    plants.add_url_rule("/<int:plant>", "move", lambda plant: "ok", methods=["PUT"])
    plants.add_url_rule("/stream", "stream", lambda: iter(["a", "b"]))
    plants.add_url_rule("/gone", "gone", lambda: abort(410))
    plants.add_url_rule("/broken", "broken", lambda: {}["x"])
    app.register_blueprint(plants)
    app.add_url_rule("/", view_func=ok)
    return app


ASKED = [("GET", path) for path in ("/plants/7", "/plants/stream", "/plants/gone", "/plants/broken", "/", "/nowhere")]
NAMED = [
    ("plants.show", 200, None),
    ("plants.stream", 200, None),
    ("plants.gone", 410, None),
    ("plants.broken", 500, "KeyError"),
    ("ok", 200, None),
    ("<unmatched>", 404, None),
    ("plants.move", 200, None),
]


class Hidden(Flask):
    """
    Answer past what obskit has told it, so that the route is asked for.
    """

    def finalize_request(self, *args, **kwargs):
        return super().finalize_request(*args, **kwargs)


@pytest.mark.parametrize("way", ["told", "asked", "wrapped", "mounted"])
def test_endpoints_are_called_by_their_names(sink, monkeypatch, way):
    """
    With `endpoint_style="name"` metrics and lines have the endpoint's name, whichever way the route is found.
    """
    if way == "asked":
        monkeypatch.setitem(globals(), "Flask", Hidden)
    app, prefix = shop(), ""
    with isolated_runtime(sinks=[sink], endpoint_style="name") as runtime:
        if way == "wrapped":
            served = obskit.instrument(app.wsgi_app)
        elif way == "mounted":
            prefix, served = "/till", DispatcherMiddleware(Flask("outer"), {"/till": obskit.instrument(app)})
        else:
            served = obskit.instrument(app)
        for method, path in (*ASKED, ("PUT", "/plants/7")):
            run_wsgi_app(served, create_environ(prefix + path, method=method), buffered=True)
        counted = runtime.value("http_requests_total", method="PUT", endpoint="plants.move", status="200")
        lines = [line["endpoint"] for line in runtime.lines if line["message"] == "request"]

    assert seen_by(sink) == NAMED
    assert counted == 1
    assert lines == [name for name, *_ in NAMED]


@pytest.mark.parametrize("outer_route", [None, "/till/{path}"])
def test_a_name_in_place_of_a_mount(sink, outer_route):
    """
    Flask below another's mount is known by the name alone, in the request that is observed outside already.
    """
    with isolated_runtime(sinks=[sink], endpoint_style="name"):
        inner = obskit.instrument(shop())

        def outer(environ, start_response):
            if outer_route:
                obskit.set_route(outer_route)
            return inner({**environ, "SCRIPT_NAME": "/till", "PATH_INFO": "/plants/7"}, start_response)

        run_wsgi_app(obskit.instrument(outer), create_environ("/till/plants/7"))

    assert seen_by(sink) == [("plants.show", 200, None)]


def test_the_next_runtime_has_templates_again(sink):
    """
    The style is that of the runtime that stands: an application that is served on has the next one's.
    """
    app = shop()
    for style in ("name", "template", "name"):
        with isolated_runtime(sinks=[sink], endpoint_style=style):
            obskit.instrument(app).test_client().get("/plants/7")

    assert [found[0] for found in seen_by(sink)] == ["plants.show", "/plants/<int:plant>", "plants.show"]


def test_what_the_application_says_goes_before_a_name(sink):
    """
    `set_route()` holds, as over a template.
    """
    app = Flask("shop")
    app.add_url_rule("/any", view_func=lambda: obskit.set_route("/said") or "ok")
    with isolated_runtime(sinks=[sink], endpoint_style="name"):
        obskit.instrument(app).test_client().get("/any")

    assert seen_by(sink) == [("/said", 200, None)]


def test_a_name_is_no_route_for_opentelemetry(sink):
    """
    A span has the name in its own and no `http.route`, and OpenTelemetry's lines have it beside the convention's names.
    """
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with isolated_runtime(endpoint_style="name", tracing=provider, log_schema="otel") as runtime:
        obskit.instrument(shop()).test_client().get("/plants/7")
        line = next(line["Attributes"] for line in runtime.lines if line["Body"] == "request")
    [span] = exporter.get_finished_spans()

    assert (span.name, span.attributes.get("http.route")) == ("GET plants.show", None)
    assert (line["obskit.endpoint"], line.get("http.route")) == ("plants.show", None)
