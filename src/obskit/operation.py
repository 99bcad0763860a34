"""
Describe what is observed: operations, which begin and end, and events, which merely happen.

Operations are mutable and slotted, one class a kind; all kinds but HTTP live with what observes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from obskit.context import current

UNMATCHED = "<unmatched>"
OTHER = "_OTHER"
OVERFLOW = "_OVERFLOW"
# RFC 9110 section 9 and RFC 5789: the methods that get a label of their own; every other is `_OTHER`.
HTTP_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
_METHOD_LABELS = {method: method for method in HTTP_METHODS}


class Operation:
    """
    Hold what every kind of operation has, and serve as the holder of a job that has no operation.
    """

    __slots__ = (
        "_extra", "_root", "correlation_id", "duration_seconds", "ended", "error", "fields", "parent",
        "span", "span_id", "started", "trace_id",
    )  # fmt: skip

    _root: Operation | None
    parent: Operation | None  # what it ran inside of
    started: float  # seconds on the recorder's monotonic clock
    duration_seconds: float  # from begin to end; 0.0 until it has ended
    error: str | None  # class name of the exception, or `failed` after `fail()`; None means success
    correlation_id: str | None  # of the request or job; on the root only
    trace_id: str | None  # W3C, hexadecimal, where a trace is known
    span_id: str | None
    fields: dict[str, Any] | None  # what `obskit.bind()` added; on the root only
    _extra: dict[str, Any] | None
    span: Any  # what the span sink keeps between begin and end
    ended: bool  # True from the first end on; later ones do nothing

    def __init__(self) -> None:
        # Chains, and no super().__init__() below, since every request pays for this.
        self._root = self.parent = self.error = self.correlation_id = self.trace_id = self.span_id = None
        self.fields = self.span = self._extra = None
        self.started = self.duration_seconds = 0.0
        self.ended = False

    @property
    def root(self) -> Operation:  # the outermost of this request or job; itself where there is none
        # Never a slot that refers to itself: each request would be garbage that only a collection can free.
        return self if self._root is None else self._root

    @property
    def extra(self) -> dict[str, Any]:  # free fields for logs, spans and stored rows; never labels
        if self._extra is None:
            self._extra = {}
        return self._extra

    @property
    def outcome(self) -> str:  # the `status` label of functions, queries and AI calls
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
            self._root = parent.root


class HttpOperation(Operation):
    """
    Describe one served HTTP request: always the root of what it causes.

    The protocol adapters subclass it: what they know but rarely need is a property, and costs nothing until read.
    """

    __slots__ = (
        "aborted", "agent", "bytes_sent", "client", "endpoint", "exception", "first_byte_seconds", "method", "path",
        "status", "streamed", "totals",
    )  # fmt: skip

    method: str  # one of HTTP_METHODS, or OTHER
    path: str  # decoded, as it came; for log lines and spans only
    endpoint: str  # the route template with a leading slash, or UNMATCHED
    status: int  # as sent; 500 for an exception before that, 499 where the client left before that, 0 until then
    client: str | None  # address, unmasked, through trusted proxies; None where unknown, or no sink asks for it
    agent: str | None  # the client's User-Agent, likewise
    exception: str | None  # class name of an exception that left the application or became its 500
    streamed: bool  # True where the reply went out in more than one piece
    aborted: bool  # True where the reply was cut short after its status was sent
    first_byte_seconds: float | None  # to the first byte of a streamed reply's body; None for all others
    bytes_sent: int  # of body, handed to the server
    totals: Totals | None  # what its own queries and AI calls add up to; None where it made none

    def __init__(self, method: str, path: str) -> None:
        self._root = self.parent = self.error = self.correlation_id = self.trace_id = self.span_id = None
        self.fields = self.span = self._extra = None
        self.client = self.agent = self.exception = self.first_byte_seconds = self.totals = None
        self.started = self.duration_seconds = 0.0
        self.ended = self.streamed = self.aborted = False
        self.method = _METHOD_LABELS.get(method, OTHER)
        self.path = path
        self.endpoint = UNMATCHED
        self.status = self.bytes_sent = 0

    def header(self, name: str) -> str | None:
        """
        Read a request header by its lower-case name; None where the client sent none.
        """
        return None

    @property
    def query(self) -> str:  # raw, without the question mark
        return ""

    @property
    def scheme(self) -> str:  # `http` or `https`, as the server says
        return "http"

    @property
    def raw_method(self) -> str:  # as the client wrote it
        return self.method


class Totals:
    """
    Add up the queries and AI calls that one request made.
    """

    __slots__ = ("ai_calls", "ai_cost_usd", "db_queries", "db_seconds")

    def __init__(self) -> None:
        self.db_queries = self.ai_calls = 0
        self.db_seconds = self.ai_cost_usd = 0.0


@dataclass(frozen=True, slots=True)
class Event:
    """
    State a fact that has no duration, for logs and stored rows; a metric of it is its maker's business.
    """

    name: str  # lower case with dots (`health.transition`); a bounded set
    severity: str  # a logging level's name: INFO, WARNING, ERROR, CRITICAL
    message: str  # one line for people
    fields: Mapping[str, Any] = field(default_factory=dict)  # figures and names; never labels
