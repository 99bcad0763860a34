"""
Describe what is observed: operations, which begin and end, and events, which merely happen.

Operations are mutable and slotted, one class a kind; all kinds but HTTP live with what observes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from obskit.http_methods import HTTP_METHODS as HTTP_METHODS
from obskit.http_methods import METHOD_LABELS as METHOD_LABELS
from obskit.http_methods import OTHER as OTHER
from obskit.request_totals import Totals as Totals
from obskit.sparse import Rarely

UNMATCHED = "<unmatched>"
OVERFLOW = "_OVERFLOW"

# The innermost operation of what runs here: a request, a job, a thread or task that copied the context of one.
current: ContextVar[Operation | None] = ContextVar("obskit_operation", default=None)


class Operation:
    """
    Hold what every kind of operation has, and serve as the holder of a job that has no operation.
    """

    __slots__ = ("_root", "correlation_id", "duration_seconds", "ended", "parent", "rare", "span", "started")

    _root: Operation | None
    parent: Operation | None  # what it ran inside of
    started: float  # seconds on the recorder's monotonic clock
    duration_seconds: float  # from begin to end; 0.0 until it has ended
    correlation_id: str | None  # of the request or job; on the root only
    span: Any  # what the span sink keeps between begin and end
    ended: bool  # True from the first end on; later ones do nothing
    rare: dict[str, Any] | None  # the fields below, where one was set; hot code asks for them together
    error = Rarely[str | None](None)  # class name of the exception, or `failed` after `fail()`; None means success
    trace_id = Rarely[str | None](None)  # W3C, hexadecimal, where a trace is known
    span_id = Rarely[str | None](None)
    sampled = Rarely(False)  # True where its span is kept, so that an exemplar leads somewhere
    fields = Rarely[dict[str, Any] | None](None)  # what `obskit.bind()` added; on the root only
    _extra = Rarely[dict[str, Any] | None](None)

    def __init__(self) -> None:
        self._root = self.parent = self.correlation_id = self.span = self.rare = None
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
    Describe one served HTTP request: always the root of what it causes. The protocol adapters subclass it.
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
    streamed = Rarely(False)  # True where the reply went out in more than one piece
    exception = Rarely[str | None](None)  # class name of an exception that left the application or became its 500
    aborted = Rarely(False)  # True where the reply was cut short after its status was sent
    upgraded = Rarely(False)  # True where it became a WebSocket: as on ASGI, that is no request to count
    first_byte_seconds = Rarely[float | None](None)  # to a streamed reply's first byte; None for all others
    totals = Rarely[Totals | None](None)  # what its own queries and AI calls add up to; None where it made none

    def __init__(self, method: str, path: str) -> None:
        self.correlation_id = self.span = self.rare = self.client = self.agent = None
        self.started = self.duration_seconds = 0.0
        self.ended = False
        self.method = METHOD_LABELS[method]
        self.path = path
        self.endpoint = UNMATCHED
        self.status = self.bytes_sent = 0

    def locate(self) -> str:  # the endpoint, as soon as routing is over: while the application runs, it is asked
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
    State a fact that has no duration; a metric of it is its maker's business.
    """

    name: str  # lower case with dots (`health.transition`); a bounded set
    severity: str  # a logging level's name: INFO, WARNING, ERROR, CRITICAL
    message: str  # one line for people
    fields: Mapping[str, Any] = field(default_factory=dict)  # figures and names; never labels
