"""
What WSGI and ASGI do alike: who the client is behind proxies, and which paths are left out.
"""

import ipaddress

import pytest

import obskit
from contract.drivers import Request, call_asgi, call_wsgi
from obskit.integrations._http import client_address
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
