"""
Each mistake has a class of its own, and a message that names what solves it.
"""

import importlib
import inspect
import re
import sys
from importlib import import_module

import pytest
from prometheus_client import CollectorRegistry, Counter

import obskit
from obskit import errors
from obskit.errors import (
    AlreadyConfiguredError,
    ConfigurationError,
    MetricConflictError,
    MissingExtraError,
    ObskitError,
    RouteTakenError,
    UnsupportedApplicationError,
)
from obskit.integrations._route_conflicts import refuse_taken
from obskit.testing import isolated_runtime

CLASSES = {name: cls for name, cls in vars(errors).items() if inspect.isclass(cls)}


def test_the_tree_is_the_one_that_is_drawn():
    """
    The tree at the top of errors.py has every class, under its base, with the built-in base it names.
    """
    drawn = re.findall(r"^    ([| ]*)(?:\+-- )?(\w+Error)(?: \((\w+)\))?", inspect.getdoc(errors) or "", re.M)
    drawn = drawn or re.findall(r"^ *([| ]*)(?:\+-- )?(\w+Error)(?: \((\w+)\))?", errors.__doc__, re.M)
    bases = {}
    path = []
    for indent, name, builtin in drawn:
        depth = 0 if name == "ObskitError" else len(indent) // 4 + 1
        path[depth:] = [name]
        bases[name] = [*path[max(depth - 1, 0) : depth], *([builtin] if builtin else [])]
    bases["ObskitError"] = ["Exception"]

    assert {name: [base.__name__ for base in cls.__bases__] for name, cls in CLASSES.items()} == bases


@pytest.mark.parametrize("cls", CLASSES.values())
def test_one_class_catches_all(cls):
    """
    `except ObskitError` catches everything obskit raises on purpose.
    """
    assert issubclass(cls, ObskitError)


def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [b""]


class Callable:
    """
    A callable that no server could call.
    """

    def __call__(self, only):
        return only


def make_app(settings=None):
    """
    Return an application, as a factory that `flask run` finds.
    """


def make_configured_app(config=None, debug=False):
    """
    Return an application, as a factory that could be called as a WSGI application is.
    """


@pytest.mark.parametrize(
    ("app", "start"),
    [
        (42, "instrument() was given a int; pass the application object itself: "),
        (Callable(), "instrument() was given a Callable; pass the application object itself: "),
        (Callable, "instrument() was given the class Callable; pass an instance of it: "),
        (
            make_app,
            "instrument() was given the function make_app(); call it, and pass the application that it makes: ",
        ),
        (
            make_configured_app,
            "instrument() was given the function make_configured_app(); call it, and pass the application that it "
            "makes: ",
        ),
        ("app:app", "instrument() was given a str; pass the application object itself: "),
        (None, "instrument() was given a NoneType; pass the application object itself: "),
    ],
)
def test_an_unsupported_application(app, start):
    """
    What is no application raises, and says what was given and what can be.
    """
    with isolated_runtime(), pytest.raises(UnsupportedApplicationError) as raised:
        obskit.instrument(app)

    assert str(raised.value) == start + (
        "a Flask, FastAPI or Starlette application, Django's get_wsgi_application() or get_asgi_application(), a WSGI "
        "callable (environ, start_response) or an ASGI callable (scope, receive, send)"
    )


@pytest.mark.parametrize(
    ("integration", "library", "message"),
    [
        ("flask", "flask", "obskit.integrations.flask needs Flask: pip install 'obskit[flask]'"),
        ("starlette", "starlette", "obskit.integrations.starlette needs Starlette: pip install 'obskit[starlette]'"),
        ("fastapi", "fastapi", "obskit.integrations.fastapi needs FastAPI: pip install 'obskit[fastapi]'"),
        ("django", "django", "obskit.integrations.django needs Django: pip install 'obskit[django]'"),
    ],
)
def test_a_missing_extra(monkeypatch, integration, library, message):
    """
    An integration without its library says which command installs it; it is an ImportError too.
    """
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, library, None)
    home = f"obskit.integrations.{integration}"
    for name in [name for name in sys.modules if name == home or name.startswith(home + ".")]:
        monkeypatch.delitem(sys.modules, name)

    with pytest.raises(MissingExtraError) as raised:
        importlib.import_module(home)

    assert message == str(raised.value)
    assert isinstance(raised.value, ImportError)
    assert isinstance(raised.value.__cause__, ImportError)


@pytest.mark.parametrize(
    ("settings", "routes", "message"),
    [
        (
            {},
            ["/", "/metrics"],
            "the application has a route /metrics itself: give obskit another place with "
            "metrics_path='/obskit/metrics', or metrics_path=None to mount none",
        ),
        (
            {},
            ["/health/live"],
            "the application has a route /health/live itself: give obskit another place with "
            "health_path='/obskit/health', or health_path=None to mount none",
        ),
    ],
)
def test_a_route_that_is_taken(settings, routes, message):
    """
    A route of the application's at one of obskit's paths is an error that names the setting which moves ours.
    """
    with isolated_runtime(**settings) as isolated, pytest.raises(RouteTakenError) as raised:
        refuse_taken(isolated.runtime, routes)

    assert message == str(raised.value)


@pytest.mark.parametrize("settings", [{"metrics_path": "/obskit/metrics"}, {"metrics_path": None}])
def test_a_route_that_is_taken_no_more(settings):
    """
    What the message proposes solves it.
    """
    with isolated_runtime(**settings) as isolated:
        refuse_taken(isolated.runtime, ["/metrics", "/healthy", "/metrics/own"])

    assert obskit.runtime.current_runtime() is None


def test_a_metric_name_that_the_application_has_registered():
    """
    A metric of the application's own under one of our names is an error that names both settings that solve it.
    """
    import_module("obskit.integrations.wsgi")  # so that requests are observed
    registry = CollectorRegistry()
    Counter("http_requests_total", "Requests.", registry=registry)

    with pytest.raises(MetricConflictError) as raised, isolated_runtime(registry=registry):
        pass

    assert "the metric 'http_requests_total' is registered already, by the application or another library" in str(
        raised.value
    )
    assert "namespace='...'" in str(raised.value)
    assert "metric_names={'http_requests_total': 'other_name'}" in str(raised.value)


@pytest.mark.parametrize("settings", [{"namespace": "shop"}, {"metric_names": {"http_requests_total": None}}])
def test_a_metric_name_that_is_solved(settings):
    """
    What the message proposes solves it.
    """
    registry = CollectorRegistry()
    own = Counter("http_requests_total", "Requests.", registry=registry)
    with isolated_runtime(registry=registry, **settings):
        own.inc()

        assert registry.get_sample_value("http_requests_total") == 1.0


def test_a_second_configure_that_disagrees():
    """
    It says which setting, both values, and what to do.
    """
    with isolated_runtime(service="shop"), pytest.raises(AlreadyConfiguredError) as raised:
        obskit.configure(service="till")

    assert str(raised.value) == (
        "obskit is configured already, with service='shop'; this call asks for 'till'. Give the same settings, or "
        "call obskit.shutdown() first"
    )


def test_a_second_configure_does_not_tell_the_token():
    """
    Two tokens that differ are an error that shows neither.
    """
    with isolated_runtime(metrics_token="first-one"), pytest.raises(AlreadyConfiguredError) as raised:
        obskit.configure(metrics_token="second-one")

    assert "metrics_token=<hidden>; this call asks for <hidden>" in str(raised.value)


def test_configuration_errors_come_from_configure_and_never_from_a_request():
    """
    A wrong setting raises before anything stands, so that no request meets it.
    """
    with pytest.raises(ConfigurationError):
        obskit.instrument(wsgi, max_label_sets="many")

    assert obskit.runtime.current_runtime() is None
