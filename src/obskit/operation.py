"""
What is observed: operations, which begin and end, and events, which have no duration.

Operations are mutable and slotted, one class for each kind; every kind but HTTP is defined by what observes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from obskit.http_methods import HTTP_METHODS as HTTP_METHODS
from obskit.http_methods import METHOD_LABELS as METHOD_LABELS
from obskit.http_methods import OTHER as OTHER
from obskit.request_totals import RequestTotals as RequestTotals
from obskit.sparse_field import SparseField

UNMATCHED = "<unmatched>"
OVERFLOW = "_OVERFLOW"

# The innermost operation that runs here: a request's, a job's, or in a thread or task the one whose context it copied.
current: ContextVar[Operation | None] = ContextVar("obskit_operation", default=None)


class Operation:
    """
    What every kind of operation has; a plain one holds the bound fields of a thread or task that has no other.
    """

    __slots__ = ("_root", "correlation_id", "duration_seconds", "ended", "parent", "span", "sparse", "started")

    _root: Operation | None
    parent: Operation | None  # what it ran inside of
    started: float  # seconds on the recorder's monotonic clock
    duration_seconds: float  # from begin to end; 0.0 until it has ended
    correlation_id: str | None  # of the request or job; on the root only
    span: Any  # the span sink's own, between begin and end
    ended: bool  # True from the first end on; later ones do nothing
    sparse: dict[str, Any] | None  # the fields below, where one was set; hot code asks for them together
    error = SparseField[str | None](None)  # class name of the exception, or `failed` after `fail()`; None means success
    trace_id = SparseField[str | None](None)  # W3C, hexadecimal, where a trace is known
    span_id = SparseField[str | None](None)
    sampled = SparseField(False)  # True where its span is kept, so that an exemplar leads somewhere
    fields = SparseField[dict[str, Any] | None](None)  # what `obskit.bind()` added; on the root only
    _extra = SparseField[dict[str, Any] | None](None)

    def __init__(self) -> None:
        self._root = self.parent = self.correlation_id = self.span = self.sparse = None
        self.started = self.duration_seconds = 0.0
        self.ended = False

    @property
    def root(self) -> Operation:  # the outermost; never a slot of its own, or each request were cyclic garbage
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
            self.parent, self._root = parent, parent.root


class HttpOperation(Operation):
    """
    One served HTTP request: always the root of what it causes. The protocol adapters subclass it.
    """

    __slots__ = ("agent", "bytes_sent", "client", "endpoint", "method", "path", "status")

    method: str  # one of HTTP_METHODS, or OTHER
    path: str  # decoded, as it came; for log lines and spans only
    endpoint: str  # the route template with a leading slash, or UNMATCHED
    status: int  # as sent; 500 for an exception before that, 499 where the client left before that, 0 until then
    client: str | None  # address, unmasked, through trusted proxies; None where unknown, or no sink asks for it
    agent: str | None  # the client's User-Agent, likewise
    bytes_sent: int  # of body, handed to the server
    parent = _root = None
    streamed = SparseField(False)  # True where the reply went out in more than one piece
    exception = SparseField[str | None](None)  # class name of an exception that left the application or became its 500
    raised_at = SparseField[str | None](None)  # the application's innermost file and function that it came through
    aborted = SparseField(False)  # True where the reply was cut short after its status was sent
    refused = SparseField(False)  # True where a gate answered, and the application never saw it
    upgraded = SparseField(False)  # True where it became a WebSocket: as on ASGI, that is not a request to count
    first_byte_seconds = SparseField[float | None](None)  # to a streamed reply's first byte; None for all others
    totals = SparseField[RequestTotals | None](None)  # of its queries and AI calls; None where it made none

    def __init__(self, method: str, path: str) -> None:
        self.correlation_id = self.span = self.sparse = self.client = self.agent = None
        self.started = self.duration_seconds = 0.0
        self.ended = False
        self.method = METHOD_LABELS[method]
        self.path = path
        self.endpoint = UNMATCHED
        self.status = self.bytes_sent = 0

    def locate(self) -> str:  # the endpoint; while the application runs, as far as it has been routed
        return self.endpoint

    def header(self, name: str) -> str | None:  # of the request, by its lower-case name; None where there is none
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


@dataclass(frozen=True, slots=True)
class Event:
    """
    A fact that has no duration. Whoever emits it also counts it, where it has a metric.
    """

    name: str  # lower case with dots (`health.transition`); one of a bounded set
    severity: str  # a logging level's name: INFO, WARNING, ERROR, CRITICAL
    message: str  # one line for people
    fields: Mapping[str, Any] = field(default_factory=dict)  # figures and names; never labels
