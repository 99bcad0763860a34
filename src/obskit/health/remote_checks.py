"""
Checks of other services, over the network.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from obskit.errors import HealthCheckError
from obskit.health.outcome import WARN_MS, Outcome, failed, milliseconds_since, passed, warned
from obskit.outbound import ANYWHERE, request
from obskit.time.clock import clock

_DAY = 86_400.0


def http(url: str, *, status: int | None = None, timeout: float = 2.0, warn_ms: float | None = WARN_MS) -> Http:
    """
    Check a service by a GET; redirects are not followed, and no more than the status is read.

    Args:
        url: `http://` or `https://`.
        status: The one that is expected. None: anything below 400.
        timeout: Seconds for all of it; give the check the same or more.
        warn_ms: An answer that takes this many milliseconds or more is a warning; None: never.
    """
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise HealthCheckError(f"the URL of a check must start with http:// or https://, found {type(url).__name__}")
    return Http(url, status, timeout, warn_ms)


@dataclass(frozen=True)
class Http:
    """
    The check of one service.
    """

    url: str = field(repr=False)
    status: int | None
    timeout: float
    warn_ms: float | None
    is_dependency = True

    def __call__(self) -> Outcome:
        began = clock.monotonic()
        reply = request(
            "GET",
            self.url,
            headers={"User-Agent": "obskit-health"},
            connect_seconds=self.timeout,
            seconds=self.timeout,
            max_reply_bytes=0,
            named=ANYWHERE,  # it is the application's own network that is checked
            by_proxy=False,
        )
        status = reply.status
        details = {"status_code": status, "reply_ms": milliseconds_since(began)}
        well = status < 400 if self.status is None else status == self.status
        return passed(**details) if well else failed(f"answered {status}", **details)


def certificate(
    host: str,
    port: int = 443,
    *,
    warn_days: float = 14.0,
    fail_days: float = 1.0,
    timeout: float = 2.0,
    cafile: str | None = None,
) -> Certificate:
    """
    Check that a server's certificate is valid, and how long it still is. Ask seldom: `every=3600`.

    Args:
        host, port: The server; the name is verified too.
        warn_days, fail_days: With fewer days left it is a warning, or a failure.
        timeout: Seconds for the connection.
        cafile: Authorities to trust. Default: the system's.
    """
    return Certificate(host, port, warn_days, fail_days, timeout, cafile)


@dataclass(frozen=True)
class Certificate:
    """
    The check of one server's certificate.
    """

    host: str = field(repr=False)
    port: int
    warn_days: float
    fail_days: float
    timeout: float
    cafile: str | None = field(repr=False)
    is_dependency = True

    def __call__(self) -> Outcome:
        import socket
        import ssl

        context = ssl.create_default_context(cafile=self.cafile)
        try:
            with (
                socket.create_connection((self.host, self.port), timeout=self.timeout) as plain,
                context.wrap_socket(plain, server_hostname=self.host) as connection,
            ):
                found = connection.getpeercert() or {}
        except ssl.SSLCertVerificationError as error:
            return failed("expired" if error.verify_code == _EXPIRED else "not valid", why=error.verify_message)
        expires_at = float(ssl.cert_time_to_seconds(str(found["notAfter"])))
        left = (expires_at - clock.wall()) / _DAY
        details = {
            "days_left": round(left, 2),
            "expires": str(found["notAfter"]),
            "certificate_expires_at": expires_at,
        }
        if left < self.fail_days:
            return failed("about to expire", **details)
        return warned("soon to expire", **details) if left < self.warn_days else passed(**details)


_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL's x509_vfy.h
