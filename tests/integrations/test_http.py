"""
What WSGI and ASGI do alike: who the client is behind proxies, and which paths are left out.
"""

import ipaddress

import pytest
from opentelemetry import baggage, propagate
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import obskit
from contract.drivers import Request, call_asgi, call_wsgi
from obskit.integrations._client_address import client_address
from obskit.testing import RecordingSink, isolated_runtime

PRIVATE = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "fd00::/8")))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("198.51.100.1", "203.0.113.7", "198.51.100.1"),
        ("fd00::1", "2001:db8::7", "2001:db8::7"),
        (None, "203.0.113.7", None),
        ("unix:", "203.0.113.7", "unix:"),
    ],
)
def test_the_client_is_the_first_that_no_trusted_proxy_is(peer, forwarded, client):
    """
    Addresses are believed from the right, as far as the network before them is trusted.
    """
    assert client == client_address(peer, forwarded, PRIVATE)


@pytest.mark.parametrize(
    ("peer", "forwarded"),
    [
        ("::ffff:10.0.0.1", "203.0.113.7"),
        ("::ffff:a00:1", "203.0.113.7, ::ffff:10.0.0.2"),
    ],
)
def test_ipv4_in_ipv6_is_of_ipv4_networks(peer, forwarded):
    """
    A socket for both versions writes IPv4 as IPv6; the proxy is trusted all the same.
    """
    assert "203.0.113.7" == client_address(peer, forwarded, PRIVATE)


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("203.0.113.7:5678", "203.0.113.7"),
        ("[2001:db8::7]:80", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("203.0.113.7:5678, 10.0.0.2:80, [fd00::2]:80", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("::1", "::1"),
    ],
)
def test_ports_of_hops_are_left_out(forwarded, client):
    """
    Some proxies write `address:port`; the client is the address.
    """
    assert client == client_address("10.0.0.1", forwarded, PRIVATE)


@pytest.mark.parametrize(
    "hop", ["", "unknown", "203.0.113.7:", "203.0.113.7:http", "203.0.113.7:123456", "[::1", "[]:80", ":80", "[x]:80"]
)
def test_what_is_no_address_ends_the_search(hop):
    """
    The last hop that is known is the client then.
    """
    assert "10.0.0.2" == client_address("10.0.0.1", f"203.0.113.7, {hop}, 10.0.0.2", PRIVATE)


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


async def asgi(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


BOTH = pytest.mark.parametrize(("app", "call"), [(wsgi, call_wsgi), (asgi, call_asgi)], ids=["wsgi", "asgi"])


@BOTH
@pytest.mark.parametrize("root", ["", "/mnt"])
@pytest.mark.parametrize(
    ("exclude", "path", "observed"),
    [
        ("/static", "/static", 0),
        ("/static", "/static/x", 0),
        ("/static/", "/static/x", 0),
        ("/static", "/statically", 1),
        ("/static", "/static.css", 1),
        ("/static", "/api/static/x", 1),
        ("/", "/anything", 0),
    ],
)
def test_an_excluded_prefix_ends_with_a_segment(app, call, root, exclude, path, observed):
    """
    A prefix is the path itself or what lies below it, behind a deployment prefix too.
    """
    sink = RecordingSink()
    with isolated_runtime(sinks=[sink], exclude=(exclude,)):
        reply = call(obskit.instrument(app), Request(path, root=root))

    assert (b"ok", observed) == (reply.body, len(sink.operations))


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01")
STATE = [("tracestate", "a=1"), ("tracestate", "b=2")]


def spans_of(app, call, headers, **settings):
    """
    Serve one request, and give its span, its operation, and what it would send on.
    """
    spans, provider, seen, sink = InMemorySpanExporter(), TracerProvider(), [], RecordingSink()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    looked = looking(app, lambda: seen.append((obskit.outgoing_headers(), baggage.get_all())))
    with isolated_runtime(tracing=provider, sinks=[sink], **settings):
        call(obskit.instrument(looked), Request("/", headers=headers))
    [span], [operation], [inside] = spans.get_finished_spans(), sink.operations, seen
    return span, operation, *inside


def looking(app, look):
    if app is wsgi:
        return lambda environ, start_response: (look(), wsgi(environ, start_response))[1]

    async def looked(scope, receive, send):
        look()
        await asgi(scope, receive, send)

    return looked


@BOTH
def test_what_a_trace_brings_along(app, call):
    """
    All lines of `tracestate` count, and baggage is current inside.
    """
    span, operation, sent, carried = spans_of(app, call, [PARENT, *STATE, ("baggage", "tenant=acme")])

    assert (f"{span.context.trace_id:032x}", dict(span.context.trace_state)) == (TRACE, {"a": "1", "b": "2"})
    assert (dict(carried), operation.trace_id) == ({"tenant": "acme"}, TRACE)
    assert sent["traceparent"].split("-")[1] == TRACE


@BOTH
def test_traces_of_strangers(app, call):
    """
    With `trust_inbound_traces=False` a request begins a trace of its own, in spans, lines and outgoing headers.
    """
    headers = [PARENT, *STATE, ("baggage", "tenant=acme")]
    span, operation, sent, carried = spans_of(app, call, headers, trust_inbound_traces=False)

    assert (span.parent, dict(carried)) == (None, {})
    assert TRACE not in {f"{span.context.trace_id:032x}", operation.trace_id, sent["traceparent"].split("-")[1]}


@BOTH
@pytest.mark.parametrize("trusted", [True, False])
def test_traces_without_a_tracer(app, call, trusted):
    """
    A sampled `traceparent` leads to its trace from lines, outgoing headers and exemplars, where this process has none.
    """
    seen = []
    with isolated_runtime(trust_inbound_traces=trusted) as runtime:
        served = obskit.instrument(looking(app, lambda: seen.append(obskit.outgoing_headers().get("traceparent"))))
        call(served, Request("/", headers=[PARENT]))
        line = runtime.lines[-1]
        page = call(served, Request("/metrics", headers=[("Accept", "application/openmetrics-text")])).body.decode()

    assert (seen, line.get("trace_id")) == (([PARENT[1]], TRACE) if trusted else ([None], None))
    assert (f'trace_id="{TRACE}"' in page) is trusted


@BOTH
def test_the_propagators_that_are_asked_for(app, call, monkeypatch):
    """
    `OTEL_PROPAGATORS` is asked where it names others than W3C's two.
    """
    monkeypatch.setenv("OTEL_PROPAGATORS", "none")
    before = propagate.get_global_textmap()  # which OpenTelemetry has read the variable for, once in a process
    propagate.set_global_textmap(CompositePropagator([]))
    try:
        span, _, _, carried = spans_of(app, call, [PARENT, ("baggage", "tenant=acme")])
    finally:
        propagate.set_global_textmap(before)

    assert (span.parent, dict(carried)) == (None, {})
