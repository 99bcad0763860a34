"""
obskit's own routes: what they answer, in which form, and to whom.
"""

import gzip
import hmac
import json
import logging

import pytest
from prometheus_client import Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import obskit
from contract.drivers import Request as ClientRequest
from contract.drivers import call_wsgi
from obskit.errors import ConfigurationError
from obskit.operation import HttpOperation
from obskit.recorder import recorder
from obskit.testing import FakeClock, isolated_runtime
from obskit.web import access
from obskit.web.replies import status_line
from obskit.web.request import Request

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
# What Prometheus 3 sends.
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


@pytest.fixture
def isolated():
    with isolated_runtime(wall_clock=FakeClock(1.5)) as isolated:
        operation = HttpOperation("GET", "/")
        operation.status = 200
        recorder.plan(HttpOperation).end(operation)
        yield isolated


def ask(isolated, path="/metrics", method="GET", query="", client="127.0.0.1", **headers):
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return isolated.runtime.routes.answer(Request(method, path, query, given.get, client))


def below(prefix):
    return {prefix, *(f"{prefix}/{name}" for name in ("detailed", "live", "ready", "startup"))}


def header(reply, name):
    [value] = [value for given, value in reply.headers if given.lower() == name]
    return value


@pytest.mark.parametrize("accept", ["", "*/*", "text/html", "text/plain;version=0.0.4"])
def test_the_page_is_text_for_whoever_asks_for_nothing_else(isolated, accept):
    """
    Browsers, curl and older servers get the text format.
    """
    reply = ask(isolated, accept=accept)

    assert (200, "text/plain") == (reply.status, header(reply, "content-type").partition(";")[0])
    assert "http_requests" in {family.name for family in parse_text(reply.body.decode())}


@pytest.mark.parametrize("accept", [OPENMETRICS, PROMETHEUS])
def test_the_page_is_openmetrics_for_whoever_prefers_it(isolated, accept):
    """
    A server that asks for OpenMetrics gets it, whole, to the last line.
    """
    reply = ask(isolated, accept=accept)

    assert header(reply, "content-type").startswith("application/openmetrics-text")
    assert reply.body.endswith(b"# EOF\n")
    assert "http_requests" in {family.name for family in parse_openmetrics(reply.body.decode())}


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("br, gzip, deflate", True),
        ("gzip;q=0.5", True),
        ("gzip; q=0.001", True),
        ("*", True),
        ("*;q=0, gzip", True),
        ("br;q=1.0, *;q=0.1", True),
        ("", False),
        ("br", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("gzip;q=0, *", False),
        ("*;q=0", False),
    ],
)
def test_the_page_is_packed_where_that_is_accepted(isolated, accepted, packed):
    """
    `Accept-Encoding` is read with its qualities; the length is that of what is sent.
    """
    reply = ask(isolated, accept_encoding=accepted)
    names = dict(reply.headers)
    body = gzip.decompress(reply.body) if packed else reply.body

    assert packed == ("Content-Encoding" in names)
    assert str(len(reply.body)) == names["Content-Length"]
    assert "Accept, Accept-Encoding" == names["Vary"]
    assert b"http_requests_total" in body


def test_some_series_only(isolated):
    """
    `name[]` asks for series by name, once or more, as in `prometheus_client`'s own page.
    """
    query = "name[]=http_requests_total&name%5B%5D=obskit_build_info&name[]=no_such_thing"
    families = list(parse_text(ask(isolated, query=query).body.decode()))

    assert {"http_requests", "obskit_build_info"} == {family.name for family in families}


def test_the_applications_own_metrics_are_on_the_page(isolated):
    """
    What is made with `prometheus_client` is on the same page.
    """
    Counter("ovens_opened", "Ovens.", registry=isolated.registry).inc(2)

    assert b"ovens_opened_total 2.0" in ask(isolated).body


@pytest.mark.parametrize("path", ["/metrics", "/health", "/health/live"])
def test_head_is_get_without_the_body(isolated, path):
    """
    The head says how long the body would be.
    """
    same = "name[]=obskit_build_info"  # a figure that is the same with each scrape
    head, get = ask(isolated, path, "HEAD", same), ask(isolated, path, query=same)

    assert (get.status, get.headers, b"") == (head.status, head.headers, head.body)


@pytest.mark.parametrize("path", ["/metrics", "/health"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get"])
def test_other_methods_are_refused(isolated, path, method):
    """
    405 says which methods there are, and tells nothing else.
    """
    reply = ask(isolated, path, method)

    assert (405, "GET, HEAD", b"method not allowed\n") == (reply.status, header(reply, "allow"), reply.body)
    assert str(len(reply.body)) == header(reply, "content-length")


@pytest.mark.parametrize("path", ["/health", "/health/live"])
def test_health(isolated, path):
    """
    A process that answers is alive; the reply says so and when.
    """
    reply = ask(isolated, path)

    assert (200, "application/json") == (reply.status, header(reply, "content-type"))
    assert {"status": "pass", "timestamp": "1970-01-01T00:00:01.500000Z"} == json.loads(reply.body)


@pytest.mark.parametrize("path", ["/metrics", "/health"])
def test_nothing_is_kept_by_caches(isolated, path):
    """
    Figures are of now.
    """
    assert "no-store" == header(ask(isolated, path), "cache-control")


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Bearer s3cret", 200),
        ("bearer s3cret", 200),
        ("Digest s3cret", 401),
        ("Bearer s3cre", 401),
        ("Bearer s3cret ", 401),
        ("bearers3cret", 401),
        ("Basic s3cret", 401),
        ("s3cret", 401),
        ("", 401),
        ("Bearer \u20ac", 401),
    ],
)
def test_a_token(authorization, status):
    """
    With `metrics_token` the page is for whoever sends it; the others are asked for it, and see no figure.
    """
    with isolated_runtime(metrics_token="s3cret") as isolated:
        reply = ask(isolated, authorization=authorization)

    assert status == reply.status
    assert status == 200 or (b"a bearer token is needed\n", "Bearer") == (
        reply.body,
        header(reply, "www-authenticate"),
    )


def test_a_token_of_other_letters():
    """
    A token outside of ASCII is compared as the bytes that a client sends.
    """
    with isolated_runtime(metrics_token="schlüssel") as isolated:
        assert 200 == ask(isolated, authorization="Bearer " + "schlüssel".encode().decode("latin-1")).status


def test_a_token_is_compared_in_constant_time(monkeypatch):
    """
    The comparison is `hmac.compare_digest`, over all of what was given.
    """
    compared = []

    def compare(given, wanted):
        compared.append((given, wanted))
        return hmac.compare_digest(given, wanted)

    monkeypatch.setattr(access, "hmac", type("hmac", (), {"compare_digest": staticmethod(compare)}))
    with isolated_runtime(metrics_token="s3cret") as isolated:
        ask(isolated, authorization="Bearer wrong")

    assert [(b"Bearer wrong", b"Bearer s3cret")] == compared


@pytest.mark.parametrize(
    ("client", "status"),
    [
        ("10.1.2.3", 200),
        ("::ffff:10.1.2.3", 200),
        ("2001:db8::5", 200),
        ("11.0.0.1", 403),
        ("2001:db9::5", 403),
        ("testclient", 403),
        ("", 403),
        (None, 403),
    ],
)
def test_networks(client, status):
    """
    With `metrics_networks` the page is for addresses in them; an unknown address is in none.
    """
    with isolated_runtime(metrics_networks=("10.0.0.0/8", "2001:db8::/32")) as isolated:
        reply = ask(isolated, client=client)

    assert status == reply.status
    assert status == 200 or reply.body == b"this address may not read the metrics\n"


@pytest.mark.parametrize(
    ("client", "authorization", "status"),
    [("10.1.2.3", "", 200), ("11.0.0.1", "Bearer s3cret", 200), ("11.0.0.1", "", 401)],
)
def test_a_token_or_a_network(client, authorization, status):
    """
    Where both are set, either is enough.
    """
    with isolated_runtime(metrics_networks=("10.0.0.0/8",), metrics_token="s3cret") as isolated:
        assert status == ask(isolated, client=client, authorization=authorization).status


def test_health_needs_no_token():
    """
    A probe has none; what it learns is the status.
    """
    with isolated_runtime(metrics_token="s3cret") as isolated:
        assert 200 == ask(isolated, "/health").status


@pytest.mark.parametrize(
    ("settings", "paths"),
    [
        ({}, {"/metrics", *below("/health")}),
        ({"metrics_path": "/api/metrics", "health_path": "/api/up"}, {"/api/metrics", *below("/api/up")}),
        ({"metrics_path": None}, below("/health")),
        ({"health_path": None}, {"/metrics"}),
        ({"metrics": False}, below("/health")),
        ({"enabled": False}, set()),
    ],
)
def test_paths_are_settings(settings, paths):
    """
    Routes are where the settings say, or nowhere.
    """
    with isolated_runtime(**settings) as isolated:
        assert paths == isolated.runtime.routes.paths.keys()


@pytest.mark.parametrize("health", sorted(below("/up")))
def test_two_routes_on_one_path_are_refused(health):
    """
    A metrics page on a health route is an error that names both settings.
    """
    wrong = pytest.raises(ConfigurationError, match=r"metrics_path=.*health_path=")
    with wrong, isolated_runtime(metrics_path=health, health_path="/up"):
        pass


def test_a_collector_that_raises(caplog):
    """
    An application's collector that fails costs its own figures, and is counted.
    """

    class Broken:
        def describe(self):
            return []

        def collect(self):
            raise RuntimeError("no database")

    with isolated_runtime(strict=False) as isolated, caplog.at_level(logging.CRITICAL, "obskit"):
        app = obskit.instrument(lambda environ, start_response: [])
        isolated.registry.register(Broken())
        reply = call_wsgi(app, ClientRequest("/metrics"))
        errors = recorder.errors["metrics_page"]

    assert (None, 200, 1) == (reply.error, reply.status, errors)
    assert b"obskit_build_info" in reply.body
    assert b"no database" not in reply.body


@pytest.mark.parametrize(
    ("status", "line"),
    [(200, "200 OK"), (405, "405 Method Not Allowed"), (503, "503 Service Unavailable"), (799, "799 ")],
)
def test_a_status_has_a_line(status, line):
    """
    WSGI wants a status with a space after it, whatever the reason.
    """
    assert line == status_line(status)
