"""
A request of our own ends, reads little, follows nobody, reaches nothing that was not named, and tells the host alone.
"""

import ipaddress
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import traceback
from base64 import b64encode

import pytest

from free_ports import free_port
from obskit import outbound
from obskit.outbound import ANYWHERE, OutboundError, is_inside, request
from obskit.time.clock import Deadline

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
SECRETS = "https://user:s3cret-1@shop.internal/hooks/s3cret-2?token=s3cret-3#s3cret-4"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Kind: Good\r\n\r\nfine"


class Server:
    """
    A server on a real socket that gives each connection to a function, and keeps what was sent.
    """

    def __init__(self, answer, tls=None, reads=True):
        self.answer, self.tls, self.reads = answer, tls, reads
        self.heads = []
        self.stop = threading.Event()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        self.threads = [threading.Thread(target=self.serve, daemon=True)]
        self.threads[0].start()

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            if self.stop.is_set():
                connection.close()
                return
            self.threads.append(threading.Thread(target=self.one, args=(connection,), daemon=True))
            self.threads[-1].start()

    def one(self, connection):
        try:
            with connection:
                if self.tls:
                    connection = self.tls.wrap_socket(connection, server_side=True)
                with connection:
                    if self.reads:
                        self.heads.append(head_of(connection))
                    self.answer(self, connection)
        except OSError:
            pass  # the other side has left

    def close(self):
        self.stop.set()
        self.socket.shutdown(socket.SHUT_RDWR)  # which wakes who waits for the next one
        for thread in self.threads:
            thread.join(10)
        self.socket.close()


def head_of(connection):
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(65_536)
        if not piece:
            return head
        head += piece
    return head


@pytest.fixture
def serve():
    servers = []

    def serve(answer, tls=None, **given):
        if isinstance(answer, bytes):
            content = answer

            def answer(server, connection):
                connection.sendall(content)

        servers.append(Server(answer, tls, **given))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def get(url, **given):
    return request("GET", url, **{"named": LOOPBACK, "seconds": 20.0, **given})


def refused(url, reason, **given):
    """
    Return what a request that gets no reply says.
    """
    with pytest.raises(OutboundError) as caught:
        get(url, **given)
    assert reason == caught.value.reason
    shown = "".join(traceback.format_exception(caught.value))
    assert not any(word in shown.replace(repr(url), "") for word in ("s3cret",))
    return str(caught.value)


# As it should be


def test_a_request_and_its_reply(serve):
    """
    What is sent is what was asked for, with a length; a reply has status, headers and body.
    """
    server = serve(OK)
    reply = get(f"{server.url}/a b/ü?x=1&y=ä#z".replace(" ", "%20"), headers={"X-Own": "1"})
    sent = request("POST", server.url, body=b"{}", headers={"user-agent": "shop"}, named=LOOPBACK)
    lines, posted = (head.decode().split("\r\n") for head in server.heads)

    assert (200, b"fine", True, "Good") == (reply.status, reply.body, reply.is_whole, reply.headers["x-kind"])
    assert "GET /a%20b/%C3%BC?x=1&y=%C3%A4 HTTP/1.1" == lines[0]
    assert {f"Host: 127.0.0.1:{server.port}", "X-Own: 1", "Connection: close"} < set(lines)
    assert any(line.startswith("User-Agent: obskit/") for line in lines)
    assert 200 == sent.status
    assert {"Content-Length: 2", "user-agent: shop"} < set(posted)
    assert not any("obskit" in line for line in posted)


def test_credentials_in_the_url_are_sent_as_such(serve):
    """
    And not with the host.
    """
    server = serve(OK)
    get(server.url.replace("//", "//user:p%40ss@"))

    assert b"Authorization: Basic " + b64encode(b"user:p@ss") in server.heads[0]
    assert f"Host: 127.0.0.1:{server.port}\r\n".encode() in server.heads[0]


@pytest.mark.parametrize("status", [204, 301, 302, 307, 308, 404, 503])
def test_any_status_is_a_reply(serve, status):
    """
    No redirect is followed, least of all to where a cloud keeps its secrets.
    """
    location = "http://169.254.169.254/latest/meta-data/"
    server = serve(f"HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())

    assert (status, location) == (get(server.url).status, get(server.url).headers["location"])
    assert 2 == len(server.heads)


def test_chunks_are_put_together(serve):
    """
    A body without a length is read to its end.
    """
    server = serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

    assert (b"abcde", True) == get(server.url)[2:]


def test_a_refusal_that_comes_before_all_was_sent_is_read(serve):
    """
    A server that wants no large body closes the connection, with an answer.
    """

    def answer(server, connection):
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65_536):
            pass

    assert 413 == request("POST", serve(answer).url, body=bytes(4 << 20), named=LOOPBACK).status


def test_opentelemetry_is_told_to_look_away():
    """
    Within, and no longer.
    """
    from opentelemetry.context import get_value

    with outbound.suppressed():
        assert get_value("suppress_instrumentation") is True
    assert get_value("suppress_instrumentation") is None


# Ends


def endless(server, connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while not server.stop.is_set():
        connection.sendall(b"x" * 65_536)


def endless_head(server, connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while not server.stop.is_set():
        connection.sendall(b"X-Header: " + b"x" * 60_000 + b"\r\n")


def dripping(part):
    """
    Return an answer of which a byte comes now and then.
    """

    def answer(server, connection):
        connection.sendall(part)
        while not server.stop.wait(0.02):
            connection.sendall(b"x")

    return answer


def silent(server, connection):
    server.stop.wait()


def continuing(server, connection):  # less often than the hundred times that later Pythons let pass
    while not server.stop.wait(0.02):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


def resetting(server, connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    connection.close()


def test_no_more_is_read_than_was_asked_for(serve):
    """
    Of a body without an end its beginning is the reply; with 0 nothing of it is read.
    """
    server = serve(endless)

    assert (b"x" * 1_000, False) == get(server.url, max_reply_bytes=1_000)[2:]
    assert (b"", False) == get(server.url, max_reply_bytes=0)[2:]


@pytest.mark.parametrize(
    "answer",
    [silent, dripping(b""), dripping(b"HTTP/1.1 200 OK\r\nX-"), dripping(b"HTTP/1.1 200 OK\r\n\r\n"), continuing],
    ids=["silent", "status", "header", "body", "continue"],
)
def test_the_time_for_all_of_it_is_kept(serve, answer):
    """
    Bytes now and then do not make it longer.
    """
    assert "127.0.0.1: it did not answer in time" == refused(serve(answer).url, "timeout", seconds=0.3)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9\r\n", "protocol"),
        (b"", "protocol"),
        (b"HTTP/1.1 abc OK\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 " + b"x" * 100_000, "protocol"),
        (endless_head, "protocol"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "protocol"),
        (resetting, None),
    ],
    ids=["ssh", "nothing", "status", "line", "headers", "chunk", "reset"],
)
def test_what_is_no_reply_is_told(serve, answer, reason):
    """
    Whatever comes, it is this error.
    """
    with pytest.raises(OutboundError) as caught:
        get(serve(answer).url)

    assert caught.value.reason in ({reason} if reason else {"connect", "protocol"})
    assert str(caught.value).startswith("127.0.0.1: ")


def test_a_body_that_was_cut_is_not_whole(serve):
    """
    The status came, and counts.
    """
    reply = get(serve(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").url)

    assert (200, False) == (reply.status, reply.is_whole)


def test_nobody_listens():
    """
    It is told as such.
    """
    port = free_port()

    assert "127.0.0.1: it refused the connection" == refused(f"http://127.0.0.1:{port}/", "connect")


# Where it may go

INSIDE = [
    *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fe80::1%eth0"),
    *("fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "2001:db8::1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::1", "::127.0.0.1"),
]
OUTSIDE = ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1", "172.32.0.1"]


@pytest.mark.parametrize(("addresses", "expected"), [(INSIDE, True), (OUTSIDE, False)])
def test_addresses_inside_are_known(addresses, expected):
    """
    In whatever form they are written.
    """
    assert {address: expected for address in addresses} == {address: is_inside(address) for address in addresses}


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0", "localhost", "LOCALHOST", "localhost."),
        *("[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "[fe80::1]", "10.0.0.1", "\uff11\uff12\uff17.0.0.1"),
    ],
)
@pytest.mark.parametrize("by", ["itself", "a proxy"])
def test_nothing_inside_is_reached_unnamed(serve, monkeypatch, host, by):
    """
    However it is written, and by way of a proxy neither; nothing is sent.
    """
    proxy = serve(OK)
    if by == "a proxy":
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
    with pytest.raises(OutboundError, match="inside of the network") as caught:
        request("GET", f"http://{host}:9/", seconds=5.0)

    assert caught.value.reason == "address"
    assert [] == [head for head in proxy.heads if head]


@pytest.mark.parametrize(
    "named", [["127.0.0.1"], LOOPBACK, ANYWHERE, ["other", ipaddress.ip_network("127.0.0.1/32")]], ids=str
)
def test_what_was_named_is_reached(serve, named):
    """
    By its host, or by a network.
    """
    assert 200 == get(serve(OK).url, named=named).status


def test_a_name_is_looked_up_once(serve, monkeypatch):
    """
    A name that leads outside when it is looked at, and inside when it is connected to, leads nowhere: the address that
    was looked at is the one that is connected to.
    """
    server = serve(OK)
    asked, reached = [], []
    look_up = socket.getaddrinfo

    def rebinding(host, port, *given, **named):
        asked.append(host)
        return look_up("93.184.216.34" if len(asked) == 1 else "127.0.0.1", server.port, *given, **named)

    def connect(self, address):
        reached.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(OutboundError):
        request("GET", f"http://rebind.example:{server.port}/")

    assert (["rebind.example"], ["93.184.216.34"]) == (asked, reached)
    with pytest.raises(OutboundError, match="inside of the network"):
        request("GET", f"http://rebind.example:{server.port}/")
    assert 1 == len(reached)


def test_the_next_address_is_tried(serve, monkeypatch):
    """
    Of a name with several the first that answers; those inside are passed over.
    """
    server = serve(OK)
    entry = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
    with socket.create_server(("127.0.0.2", 0)) as closed:
        nobody = closed.getsockname()
    found = [(*entry, ("10.0.0.1", 9)), (*entry, nobody), (*entry, ("127.0.0.1", server.port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **named: found)

    assert 200 == get("http://several.example/").status
    assert b"Host: several.example\r\n" in server.heads[0]


# URLs and words


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "s3cret",
            "file:///etc/passwd",
            "ftp://s3cret@host/",
            "http://",
            "https:///s3cret",
            "http://host:s3cret/",
        ),
        *("http://host:99999/s3cret", "http://ho st/s3cret", "http://host/a\r\nX-Evil: s3cret", "http://[::1/s3cret"),
        *("http://host/\0s3cret", "http://a\\@127.0.0.1/s3cret", "http://host/\ts3cret", "gopher://127.0.0.1/s3cret"),
        "http://\ud800/s3cret",
    ],
)
def test_what_is_no_url_is_told_without_it(url):
    """
    A wrong one may have a secret in it as well as a right one.
    """
    refused(url, "url")


@pytest.mark.parametrize("given", [{"X-A": "a\r\nX-Evil: s3cret"}, {"X-A\n": "s3cret"}, {"X-A": "\u20ac s3cret"}])
def test_a_header_with_a_line_break_is_refused(serve, given):
    """
    Nothing is sent.
    """
    server = serve(OK)
    refused(server.url, "url", headers=given)

    assert [] == [head for head in server.heads if head]


@pytest.mark.parametrize("reason", ["resolve", "address", "connect", "timeout", "protocol"])
def test_an_error_tells_the_host_alone(serve, monkeypatch, reason):
    """
    Neither its text nor its traceback has a path, a query, a user or a password.
    """
    answers = {"timeout": silent, "protocol": b"no HTTP s3cret"}
    server = serve(answers.get(reason, OK))
    url = SECRETS.replace("https", "http").replace("shop.internal", f"shop.internal:{server.port}")
    look_up = socket.getaddrinfo

    def looked_up(host, port, *given, **named):
        if reason == "resolve":
            raise socket.gaierror(-2, f"no such name: {url}")
        return look_up("127.0.0.1", 1 if reason == "connect" else port, *given, **named)

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    told = refused(
        url, reason, seconds=0.3 if reason == "timeout" else 20.0, named=() if reason == "address" else LOOPBACK
    )

    assert told.startswith("shop.internal: ")


# Proxies


def test_a_proxy_is_asked_for_plain_http(serve, monkeypatch):
    """
    With the whole URL, and with its own credentials.
    """
    proxy = serve(OK)
    monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//user:pass@"))

    assert 200 == request("GET", "http://user:own@shop.example:81/a?b").status
    assert proxy.heads[0].startswith(b"GET http://shop.example:81/a?b HTTP/1.1\r\nHost: shop.example:81\r\n")
    assert b"Proxy-Authorization: Basic " + b64encode(b"user:pass") in proxy.heads[0]
    assert b"\r\nAuthorization: Basic " + b64encode(b"user:own") in proxy.heads[0]


@pytest.mark.parametrize(
    ("url", "listed"),
    [
        *(("http://127.0.0.1/", "127.0.0.1"), ("http://127.0.0.1/", "*"), ("http://127.0.0.1/", "a, 127.0.0.0/8")),
        *(("http://shop.localhost/", ".localhost"), ("http://shop.localhost/", "localhost")),
    ],
)
def test_who_needs_no_proxy_is_asked_directly(serve, monkeypatch, url, listed):
    """
    Names, their ends, addresses and networks, as curl has it.
    """
    server, proxy = serve(OK), serve(OK)
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", listed)
    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, **given: look_up("127.0.0.1", server.port, **given))
    get(url)

    assert (1, 0) == (len(server.heads), len(proxy.heads))


def test_proxies_are_not_used_unless_they_are_wanted(serve, monkeypatch):
    """
    What checks the own network asks it directly.
    """
    server, proxy = serve(OK), serve(OK)
    monkeypatch.setenv("http_proxy", proxy.url)
    get(server.url, by_proxy=False)

    assert (1, 0) == (len(server.heads), len(proxy.heads))


@pytest.mark.parametrize("url", ["socks5://user:s3cret@127.0.0.1:1080", "https://user:s3cret@127.0.0.1", "http://"])
def test_a_proxy_of_another_kind_is_told(monkeypatch, url):
    """
    Nothing goes past it.
    """
    monkeypatch.setenv("ALL_PROXY", url)

    found = refused("http://shop.example/", "proxy")

    assert "shop.example: the proxy of the environment is no http:// one" in found
    assert "set HTTP_PROXY to the http:// URL of one, or name the host in NO_PROXY" in found


def test_a_proxy_that_refuses_is_told(serve, monkeypatch):
    """
    With its status.
    """
    proxy = serve(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)

    assert "shop.example: the proxy 127.0.0.1 answered 407" == refused("https://shop.example/s3cret", "proxy")
    assert proxy.heads[0].startswith(b"CONNECT shop.example:443 HTTP/1.1\r\nHost: shop.example:443\r\n")
    assert b"s3cret" not in proxy.heads[0]


# Ends


def test_a_name_server_that_does_not_answer_holds_nobody(serve, monkeypatch):
    """
    A look-up that hangs ends with the time of its request; so many threads at most wait for it, and later requests are
    refused until one is over.
    """
    is_over, hanging = threading.Event(), []

    def hang(*given, **named):
        hanging.append(threading.current_thread())
        is_over.wait()
        raise socket.gaierror

    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", hang)
        found = {refused("http://shop.example/s3cret", "resolve", seconds=0.02) for _ in range(7)}
    is_over.set()
    for thread in hanging:
        thread.join()

    assert {"shop.example: its name was not found in time"} == found
    assert 4 == len(hanging)
    assert 200 == get(serve(OK).url).status


def test_what_is_sent_has_one_end(monkeypatch):
    """
    Whoever takes a little now and then does not make the time of a request longer: each piece has what is left of it.
    """

    class Slow:
        left, taken = [], 0

        def settimeout(self, seconds):
            self.left.append(seconds)

        def send(self, content):
            self.taken += len(content)
            return len(content)

    class Counted:
        seconds = 3.0

        def is_over(self):
            return self.seconds <= 0

        def remaining(self):
            self.seconds -= 1
            return self.seconds + 1

    slow = Slow()
    with pytest.raises(TimeoutError):
        outbound._send(slow, bytes(1_000_000), Counted())

    assert ([3.0, 2.0, 1.0], 3 * 16_384) == (slow.left, slow.taken)


# TLS

if shutil.which("openssl"):

    @pytest.fixture(scope="module")
    def certificate(tmp_path_factory):
        folder = tmp_path_factory.mktemp("tls")
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-days", "2", "-subj", "/CN=shop.example", "-addext", "subjectAltName=DNS:shop.example,IP:127.0.0.1"),
                *("-keyout", folder / "key.pem", "-out", folder / "certificate.pem"),
            ],
            check=True,
            capture_output=True,
        )
        return folder

    @pytest.fixture
    def secure(serve, certificate):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate / "certificate.pem", certificate / "key.pem")
        return lambda answer: serve(answer, tls)

    def test_a_certificate_that_nobody_vouches_for_is_refused(secure):
        """
        Nothing is sent.
        """
        server = secure(OK)

        assert "certificate is not valid: self-signed certificate" in refused(f"{server.url}/s3cret", "tls")
        assert [] == server.heads

    def test_a_certificate_of_another_name_is_refused(secure, certificate, monkeypatch):
        """
        Though whoever vouches for it is trusted.
        """
        server, look_up = secure(OK), socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", lambda host, *given, **named: look_up("127.0.0.1", *given, **named))
        trusted = ssl.create_default_context(cafile=certificate / "certificate.pem")

        assert "other.example" in refused(f"https://other.example:{server.port}/", "tls", tls=trusted)
        assert 200 == get(f"https://shop.example:{server.port}/", tls=trusted).status

    @pytest.mark.parametrize("answer", [dripping(b"HTTP/1.1 200 OK\r\nX-"), silent], ids=["header", "silent"])
    def test_the_time_is_kept_under_tls(secure, certificate, answer):
        """
        In whatever part of it.
        """
        trusted = ssl.create_default_context(cafile=certificate / "certificate.pem")

        refused(secure(answer).url, "timeout", tls=trusted, seconds=0.5)

    def test_the_time_for_the_handshake_is_kept(serve):
        """
        A server that takes the connection and never speaks.
        """
        url = serve(silent, reads=False).url.replace("http", "https")

        assert "127.0.0.1: it did not answer in time" == refused(url, "timeout", connect_seconds=0.2)

    def test_a_server_without_tls_is_told(serve):
        """
        It is TLS that failed.
        """
        server = serve(b"HTTP/1.1 400 X\r\n\r\n", reads=False)

        assert "127.0.0.1: TLS failed" in refused(server.url.replace("http", "https"), "tls")

    def test_a_proxy_hands_tls_through(serve, secure, certificate, monkeypatch):
        """
        It sees the host, and neither the path nor what is sent.
        """
        server = secure(OK)

        def tunnel(proxy, connection):
            connection.sendall(b"HTTP/1.1 200 Established\r\n\r\n")
            with socket.create_connection(("127.0.0.1", server.port)) as far:
                back = threading.Thread(target=pump, args=(far, connection), daemon=True)
                back.start()
                pump(connection, far)
                back.join(10)

        proxy = serve(tunnel)
        monkeypatch.setenv("https_proxy", proxy.url)
        trusted = ssl.create_default_context(cafile=certificate / "certificate.pem")
        reply = request("GET", "https://shop.example/s3cret", tls=trusted, headers={"X-A": "s3cret"})

        assert (200, b"fine") == (reply.status, reply.body)
        assert b"s3cret" not in b"".join(proxy.heads)
        assert server.heads[0].startswith(b"GET /s3cret HTTP/1.1\r\nHost: shop.example\r\n")


def pump(source, target):
    try:
        while piece := source.recv(65_536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def test_nothing_is_loaded_before_it_is_needed():
    """
    Whoever sends nothing pays for no TLS and no HTTP.
    """
    program = "import obskit.outbound, sys; print(sorted({'ssl', 'http.client', 'urllib.request'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)

    assert "[]\n" == done.stdout


def test_a_time_that_is_over_is_never_no_time():
    """
    A socket that is given 0 seconds does not wait, and says something else than that the time is over.
    """
    with pytest.raises(TimeoutError):
        outbound._left(Deadline(0.0))
    assert outbound._left(Deadline(60.0)) > 0.0
