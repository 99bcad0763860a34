"""
Describe what is observed: operations, which begin and end, and events, which merely happen.

Operations are mutable and slotted, one class a kind. Metric labels are read from their fields; `extra` feeds log
lines, spans and stored rows, never labels. Durations are seconds on a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from obskit.context import current

UNMATCHED = "<unmatched>"
OTHER = "_OTHER"
OVERFLOW = "_OVERFLOW"
# What a header may add to every line of a log that is kept for months.
MAX_USER_AGENT = 256
# RFC 9110 section 9 and RFC 5789: the methods that get a label of their own; every other is `_OTHER`.
HTTP_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
METHOD_LABELS = {method: method for method in HTTP_METHODS}


class Operation:
    """
    Hold what every kind of operation has, and serve as the holder of a job that has no operation.

    Attributes:
        root: The outermost operation of this request or job; itself where there is none.
        parent: The operation this one ran inside of, or None.
        started: Reading of the recorder's monotonic clock, in seconds, when it began.
        duration_seconds: Seconds from begin to end; 0.0 until it has ended.
        error: Class name of the exception, or `failed` after `fail()`; None means success.
        correlation_id: The id of the request or job; on the root only.
        trace_id, span_id: W3C ids in hexadecimal where a trace is known, else None.
        fields: What `obskit.bind()` added; on the root only.
        extra: Free fields for logs, spans and stored rows; never labels.
        span: What the span sink keeps between begin and end.
        ended: True from the first end on; later ones do nothing.
    """

    __slots__ = (
        "correlation_id", "duration_seconds", "ended", "error", "extra", "fields", "parent", "root",
        "span", "span_id", "started", "trace_id",
    )  # fmt: skip

    root: Operation
    parent: Operation | None
    started: float
    duration_seconds: float
    error: str | None
    correlation_id: str | None
    trace_id: str | None
    span_id: str | None
    fields: dict[str, Any] | None
    extra: dict[str, Any]
    span: Any
    ended: bool

    def __init__(self) -> None:
        # Chains, since they are the cheapest way to fill slots, and every request pays for this.
        self.root = self
        self.parent = self.error = self.correlation_id = self.trace_id = self.span_id = self.fields = self.span = None
        self.started = self.duration_seconds = 0.0
        self.extra = {}
        self.ended = False

    @property
    def outcome(self) -> str:
        """
        Say `success` or `error`: the `status` label of functions, queries and AI calls.
        """
        return "success" if self.error is None else "error"

    def fail(self, reason: str) -> None:
        """
        Mark a failure that raised nothing. The reason goes to logs and spans, never to labels.
        """
        self.error = "failed"
        self.extra["reason"] = reason

    def nest(self) -> None:
        """
        Place a new operation under the one that runs here, and share its root.
        """
        parent = current.get()
        if parent is not None:
            self.parent = parent
            self.root = parent.root


class HttpOperation(Operation):
    """
    Describe one served HTTP request: always the root of what it causes.

    The protocol adapters subclass it: what they know but rarely need is read when asked for, and costs nothing else.

    Attributes:
        method: One of `HTTP_METHODS`, or `_OTHER`.
        endpoint: The route template with a leading slash, or `<unmatched>`.
        path: The decoded path as it came; for log lines and spans only.
        status: What was sent; 500 for an exception before that, 499 where the client left before that, 0 until then.
        exception: Class name of an exception that left the application or became its 500.
        streamed: True where the reply went out in more than one piece.
        aborted: True where the reply was cut short after its status was sent.
        first_byte_seconds: Seconds to the first byte of a streamed reply's body; None for all others.
        bytes_sent: Bytes of body handed to the server.
        totals: What the request's own queries and AI calls add up to; None where it made none.
    """

    __slots__ = (
        "aborted", "bytes_sent", "endpoint", "exception", "first_byte_seconds", "method", "path", "status",
        "streamed", "totals",
    )  # fmt: skip

    exception: str | None
    first_byte_seconds: float | None
    totals: Totals | None

    def __init__(self, method: str, path: str) -> None:
        self.root = self
        self.parent = self.error = self.correlation_id = self.trace_id = self.span_id = self.fields = self.span = None
        self.exception = self.first_byte_seconds = self.totals = None
        self.started = self.duration_seconds = 0.0
        self.extra = {}
        self.ended = self.streamed = self.aborted = False
        self.method = METHOD_LABELS.get(method, OTHER)
        self.path = path
        self.endpoint = UNMATCHED
        self.status = self.bytes_sent = 0

    def header(self, name: str) -> str | None:
        """
        Read a request header by its lower-case name; None where the client sent none.
        """
        return None

    @property
    def client(self) -> str | None:
        """
        Read the client's address, unmasked, through trusted proxies; None where the server does not tell.
        """
        return None

    @property
    def user_agent(self) -> str | None:
        """
        Read the client's `User-Agent`, cut to 256 characters.
        """
        return None

    @property
    def query(self) -> str:
        """
        Read the raw query string, without the question mark.
        """
        return ""

    @property
    def scheme(self) -> str:
        """
        Read `http` or `https`, as the server says.
        """
        return "http"

    @property
    def raw_method(self) -> str:
        """
        Read the method as the client wrote it.
        """
        return self.method


class Totals:
    """
    Add up the queries and AI calls that one request made.
    """

    __slots__ = ("ai_calls", "ai_cost_usd", "db_queries", "db_seconds")

    def __init__(self) -> None:
        self.db_queries = self.ai_calls = 0
        self.db_seconds = self.ai_cost_usd = 0.0


class FunctionOperation(Operation):
    """
    Describe one call of a function, or one block, named `function`, that the application marked with `observe`.
    """

    __slots__ = ("function",)

    def __init__(self, function: str) -> None:
        super().__init__()
        self.function = function
        self.nest()


class DbOperation(Operation):
    """
    Describe one database query, or one function that makes a known one.

    Attributes:
        system: The OpenTelemetry `db.system.name` (`sqlite`, `postgresql`, ...), or `unknown`.
        table: The main table, or an empty string where it is not known.
        operation: The statement's verb in lower case (`select`), or an empty string.
    """

    __slots__ = ("operation", "system", "table")

    def __init__(self, system: str, table: str, operation: str) -> None:
        super().__init__()
        self.system = system
        self.table = table
        self.operation = operation
        self.nest()


@dataclass(frozen=True, slots=True)
class Event:
    """
    State a fact that has no duration.

    Attributes:
        name: What happened, in lower case with dots (`health.transition`); a bounded set.
        severity: A logging level's name: `INFO`, `WARNING`, `ERROR`, `CRITICAL`.
        message: One line for people.
        fields: Figures and names; never labels.
    """

    name: str
    severity: str
    message: str
    fields: Mapping[str, Any] = field(default_factory=dict)
