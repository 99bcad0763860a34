"""
HTTP requests of our own: to who is told of an alert, to what a check asks.

Each has an end, however slowly it is answered; reads no more than it was told to; follows no redirect; reaches nothing
inside of the network that was not named; and says in its errors which host it was, and nothing else of the URL.

They wait, so only our own threads make them.
"""

from __future__ import annotations

import io
import ipaddress
import os
import re
import socket
from base64 import b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit

from obskit._version import __version__
from obskit.bounded_calls import BusyError, Lane, TooLateError
from obskit.time.clock import Deadline

if TYPE_CHECKING:
    import ssl
    from http.client import HTTPResponse

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ANYWHERE: tuple[Network, ...] = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
MAX_REPLY_BYTES = 65_536
_PORTS = {"http": 80, "https": 443}
_NOT_IN_A_URL = re.compile(r"[\x00-\x20\x7f]")
_KEPT_OF_A_PATH = "/%:=&?~+!$,;'@()*[]"
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # IPv4 within IPv6, RFC 6052
# One that hangs keeps its place: so many threads at most wait for a name server that does not answer.
_look_ups = Lane(4, may_hold_loop=True, name="obskit-look-up")
_PIECE_BYTES = 16_384
_LEAST_SECONDS = 0.001  # 0 would mean not to wait at all, which is another error


class OutboundError(OSError):
    """
    Report a request that got no reply. Its text names the host, and nothing else of the URL.

    Attributes:
        reason: `url`, `resolve`, `address`, `connect`, `proxy`, `tls`, `timeout` or `protocol`.
    """

    def __init__(self, reason: str, host: str, why: str) -> None:
        super().__init__(f"{host}: {why}" if host else why)
        self.reason = reason


class Reply(NamedTuple):
    """
    What was answered, whatever the status.

    Attributes:
        status: Of redirects too.
        headers: By their names in small letters; the last of several.
        body: Its first bytes, as many as were asked for.
        is_whole: Whether nothing of the body was left out.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_whole: bool


def request(
    method: str,
    url: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    connect_seconds: float = 5.0,
    seconds: float = 15.0,
    max_reply_bytes: int = MAX_REPLY_BYTES,
    named: Collection[str | Network] = (),
    by_proxy: bool = True,
    tls: ssl.SSLContext | None = None,
) -> Reply:
    """
    Make a request, and wait for its reply.

    Args:
        method: Such as `POST`.
        url: `http://` or `https://`; a user and password in it are sent by Basic authentication.
        body: Sent with its length.
        headers: Further ones.
        connect_seconds: For the look-up of the name, and the same again for the connection, and for TLS.
        seconds: For all of it, from the look-up to the last byte that is read.
        max_reply_bytes: Of the body; what is beyond is not read, and 0 reads nothing of it.
        named: Hosts, and networks, that may be reached although they are inside of the network: private, loopback,
            link-local ones. `ANYWHERE` is all.
        by_proxy: Whether the proxies of the environment are used (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`,
            `NO_PROXY`). The proxy then looks names up, and decides what may be reached.
        tls: In place of the system's authorities.

    Raises:
        OutboundError: No reply came: it is not known whether what was sent has arrived.
    """
    target = _read(url)
    deadline = Deadline(seconds)
    with suppressed(), _errors_of(target.host):
        proxy = _proxy_of(target) if by_proxy else None
        plain = _connect(proxy or target, named if proxy is None else ANYWHERE, connect_seconds, deadline)
        with _closing(plain):
            connection: Any = plain
            if proxy is not None:
                _refuse_inside(target, named)
                if target.scheme == "https":
                    _tunnel(plain, target, proxy, deadline)
            if target.scheme == "https":
                plain.settimeout(min(connect_seconds, _left(deadline)))
                connection = (tls or _tls()).wrap_socket(plain, server_hostname=target.host)
            with _closing(connection):
                path = target.path if proxy is None or target.scheme == "https" else target.origin + target.path
                given = _headers(target, proxy if target.scheme == "http" else None, headers or {}, body)
                head = _head(method, path, given)
                with suppress(BrokenPipeError, ConnectionResetError):  # it may have answered before it had all
                    _send(connection, head + (body or b""), deadline)
                return _receive(connection, method, max_reply_bytes, deadline)


@contextmanager
def suppressed() -> Iterator[None]:
    """
    Hide what is done within from OpenTelemetry's instrumentations; obskit's own do not see a plain socket.
    """
    from opentelemetry import context

    token = context.attach(context.set_value("suppress_instrumentation", True))
    try:
        yield
    finally:
        context.detach(token)


# The URL


class _Target(NamedTuple):
    scheme: str
    host: str
    port: int
    path: str
    credentials: str | None  # as Basic authentication has them

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def _read(url: str) -> _Target:
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise OutboundError("url", "", "the URL cannot be read") from None
    if parts.scheme not in _PORTS or not host or _NOT_IN_A_URL.search(url) or "\\" in parts.netloc:
        raise OutboundError("url", "", "the URL is none of http:// or https:// with a host, or has blanks in it")
    try:
        host = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        raise OutboundError("url", "", "the host of the URL cannot be a name") from None
    path = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_KEPT_OF_A_PATH)
    port = _PORTS[parts.scheme] if port is None else port
    return _Target(parts.scheme, host.rstrip(".").lower() or host, port, path, _credentials(parts))


def _credentials(parts: SplitResult) -> str | None:
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + b64encode(pair.encode()).decode("ascii")


# Addresses


def is_inside(address: str) -> bool:
    """
    Return whether an address is none of the internet: private, loopback, link-local, multicast, reserved; or such a one
    in the form of IPv6.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    return any(
        not one.is_global or one.is_multicast or one.is_reserved or getattr(one, "is_site_local", False)
        for one in _forms(ip)
    )


def _forms(ip: Address) -> list[Address]:
    if isinstance(ip, ipaddress.IPv4Address):
        return [ip]
    if ip.ipv4_mapped is not None:
        return [ip.ipv4_mapped]
    if ip in _TRANSLATED:
        return [ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)]
    inner = [ip.sixtofour, *(ip.teredo or ())]
    return [ip, *(one for one in inner if one is not None)]


def _is_named(address: str, host: str, named: Collection[str | Network]) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    for one in named:
        if isinstance(one, str):
            if one.rstrip(".").lower() == host:
                return True
        elif any(form is not None and form.version == one.version and form in one for form in (ip, mapped)):
            return True
    return False


def _connect(
    target: _Target, named: Collection[str | Network], connect_seconds: float, deadline: Deadline
) -> socket.socket:
    """
    Connect to the first address that may be reached: to the address that was looked at, not to the name again.
    """
    found = _addresses_of(target, min(connect_seconds, _left(deadline)))
    may = [
        entry for entry in found if _is_named(str(entry[4][0]), target.host, named) or not is_inside(str(entry[4][0]))
    ]
    if not may:
        why = "its address is inside of the network (private, loopback or link-local), and nobody has named it"
        raise OutboundError("address", target.host, why)
    limit, failure = Deadline(min(connect_seconds, deadline.remaining())), OSError()
    for tried, (family, kind, protocol, _, address) in enumerate(may):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(_left(limit) / (len(may) - tried))  # so that the last one is tried too
            connection.connect(address)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure


def _addresses_of(target: _Target, seconds: float) -> Sequence[tuple[Any, ...]]:
    # In a thread: a look-up takes as long as the system likes, and nothing ends it.
    try:
        return _look_ups.run_within(
            lambda: socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM), seconds
        )
    except (BusyError, TooLateError):
        raise OutboundError("resolve", target.host, "its name was not found in time") from None
    except (OSError, UnicodeError):
        raise OutboundError("resolve", target.host, "its name is not known") from None


def _refuse_inside(target: _Target, named: Collection[str | Network]) -> None:
    """
    Refuse an address, written as one or in any way that systems read as one, before a proxy is asked for it.
    """
    try:
        address = socket.inet_ntoa(socket.inet_aton(target.host)) if ":" not in target.host else target.host
        inside = is_inside(address)
    except (OSError, ValueError):
        address, inside = "127.0.0.1", target.host == "localhost" or target.host.endswith(".localhost")
    if inside and not _is_named(address, target.host, named):
        why = "its address is inside of the network (private, loopback or link-local), and nobody has named it"
        raise OutboundError("address", target.host, why)


# Proxies


def _proxy_of(target: _Target) -> _Target | None:
    from urllib import request as standard

    known = standard.getproxies_environment()
    url = known.get(target.scheme) or known.get("all")
    bypass: Any = vars(standard)["proxy_bypass_environment"]  # which typeshed leaves out
    if not url or bypass(f"{target.host}:{target.port}", known):
        return None
    if _is_in_networks(target.host, known.get("no", "")):
        return None
    proxy: _Target | None
    try:
        proxy = _read(url if "://" in url else f"http://{url}")
    except OutboundError:
        proxy = None
    if proxy is None or proxy.scheme != "http":
        # A URL of https:// is asked through an http:// proxy too: what is said inside of the tunnel is TLS.
        variable = f"{target.scheme}_proxy".upper()
        why = (
            f"the proxy of the environment is no http:// one, and no other, such as https:// or socks5://, is known: "
            f"set {variable} to the http:// URL of one, or name the host in NO_PROXY"
        )
        raise OutboundError("proxy", target.host, why)
    return proxy


def _is_in_networks(host: str, listed: str) -> bool:
    for one in re.split(r"[,\s]+", listed):
        with suppress(ValueError):
            if ipaddress.ip_address(host) in ipaddress.ip_network(one.strip("[]"), strict=False):
                return True
    return False


def _tunnel(connection: socket.socket, target: _Target, proxy: _Target, deadline: Deadline) -> None:
    name = f"[{target.host}]:{target.port}" if ":" in target.host else f"{target.host}:{target.port}"
    given = {"Host": name, **({"Proxy-Authorization": proxy.credentials} if proxy.credentials else {})}
    _send(connection, _head("CONNECT", name, given), deadline)
    with closing(_begun(connection, "CONNECT", deadline)) as reply:
        pass  # nothing comes after its head
    if not 200 <= reply.status < 300:
        raise OutboundError("proxy", target.host, f"the proxy {proxy.host} answered {reply.status}")


# What goes over the line


def _headers(target: _Target, proxy: _Target | None, given: Mapping[str, str], body: bytes | None) -> dict[str, str]:
    headers = {
        "Host": target.authority,
        "User-Agent": f"obskit/{__version__}",
        "Accept-Encoding": "identity",
        "Connection": "close",
        **({"Authorization": target.credentials} if target.credentials else {}),
        **({"Proxy-Authorization": proxy.credentials} if proxy is not None and proxy.credentials else {}),
    }
    own = {name.lower() for name in given}
    length = {} if body is None else {"Content-Length": str(len(body))}
    return {**{name: value for name, value in headers.items() if name.lower() not in own}, **given, **length}


def _head(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if any("\r" in line or "\n" in line or "\0" in line for line in lines):
        raise OutboundError("url", "", "the method or a header has a line break in it")
    try:
        return "\r\n".join([*lines, "", ""]).encode("latin-1")
    except UnicodeEncodeError:
        raise OutboundError("url", "", "a header has signs that HTTP has none for") from None


def _send(connection: socket.socket, content: bytes, deadline: Deadline) -> None:
    # Piece by piece, each with what is left: over TLS `sendall()` gives each of them the time of all.
    rest = memoryview(content)
    while rest:
        connection.settimeout(_left(deadline))
        rest = rest[connection.send(rest[:_PIECE_BYTES]) :]


class _Incoming(io.RawIOBase):
    """
    What comes over a connection, until the time is over: a byte now and then does not make it longer.
    """

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._connection, self._deadline = connection, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(_left(self._deadline))
        return self._connection.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:  # what http.client asks of a socket
        return io.BufferedReader(self)


def _begun(connection: socket.socket, method: str, deadline: Deadline) -> HTTPResponse:
    from http.client import HTTPResponse

    response = HTTPResponse(_Incoming(connection, deadline), method=method)  # type: ignore[arg-type]
    try:
        response.begin()
    except BaseException:
        response.close()
        raise
    return response


def _receive(connection: socket.socket, method: str, max_bytes: int, deadline: Deadline) -> Reply:
    found: list[bytes] = []
    left = max_bytes + 1 if max_bytes else 0
    with closing(_begun(connection, method, deadline)) as response:
        while left and (piece := response.read(min(left, 16_384))):
            found.append(piece)
            left -= len(piece)
        is_cut = bool(response.length)
    body = b"".join(found)
    headers = {name.lower(): value for name, value in response.headers.items()}
    is_whole = bool(max_bytes) and len(body) <= max_bytes and not is_cut
    return Reply(response.status, headers, body[:max_bytes], is_whole)


def _left(deadline: Deadline) -> float:
    """
    Return the seconds that are left.

    Raises:
        TimeoutError: None are.
    """
    if deadline.is_over():
        raise TimeoutError
    return max(_LEAST_SECONDS, deadline.remaining())


def _tls() -> ssl.SSLContext:
    import ssl

    return ssl.create_default_context()


@contextmanager
def _closing(connection: socket.socket) -> Iterator[None]:
    try:
        yield
    finally:
        with suppress(OSError):
            connection.close()


@contextmanager
def _errors_of(host: str) -> Iterator[None]:
    """
    Put each error into words that have nothing of the URL but its host: those of the libraries quote what they were
    given.
    """
    import ssl
    from http.client import HTTPException

    try:
        yield
    except OutboundError as error:
        if host in str(error):
            raise
        raise OutboundError(error.reason, host, str(error)) from None
    except TimeoutError:
        raise OutboundError("timeout", host, "it did not answer in time") from None
    except ssl.SSLCertVerificationError as error:
        raise OutboundError("tls", host, f"its certificate is not valid: {error.verify_message}") from None
    except ssl.SSLError as error:
        raise OutboundError("tls", host, f"TLS failed: {error.reason or type(error).__name__}") from None
    except HTTPException:
        raise OutboundError("protocol", host, "what it answered is no HTTP, or was cut") from None
    except ConnectionRefusedError:
        raise OutboundError("connect", host, "it refused the connection") from None
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else type(error).__name__
        raise OutboundError("connect", host, f"the connection failed: {why}") from None
