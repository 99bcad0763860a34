"""
Serve one stack's application, instrumented and bare, and read what was recorded.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

import obskit
from obskit.operation import HttpOperation
from obskit.testing import IsolatedRuntime, RecordingSink

from .drivers import CALL, TOGETHER, WHOLE, Ending, Reply, Request
from .scene import Scene
from .stack import Stack


@dataclass(frozen=True, kw_only=True)
class Record:
    """
    What an operation says of a request; the defaults are those of an ordinary reply.
    """

    endpoint: str
    bytes_sent: int
    status: int = 200
    method: str = "GET"
    streamed: bool = False
    aborted: bool = False
    exception: str | None = None

    @classmethod
    def of(cls, operation: HttpOperation) -> "Record":
        return cls(**{name: getattr(operation, name) for name in cls.__dataclass_fields__})


def requests_on(page: bytes) -> dict[tuple[str, str, str], float]:
    """
    Read `http_requests_total` off a metrics page: (method, endpoint, status) to count.
    """
    return {
        (sample.labels["method"], sample.labels["endpoint"], sample.labels["status"]): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
        if sample.name == "http_requests_total"
    }


class Shop:
    """
    The application of one stack under one runtime.
    """

    def __init__(self, stack: Stack, scene: Scene, runtime: IsolatedRuntime, sink: RecordingSink) -> None:
        self.stack = stack
        self.scene = scene
        self.runtime = runtime
        self.sink = sink

    @cached_property
    def app(self) -> Any:
        return obskit.instrument(self.stack.build(self.scene))

    def call(self, request: Request, ending: Ending = WHOLE) -> Reply:
        return CALL[self.stack.protocol](self.app, request, ending)

    def get(self, path: str, ending: Ending = WHOLE, **headers: str) -> Reply:
        named = tuple((name.replace("_", "-"), text) for name, text in headers.items())
        return self.call(Request(path, headers=named), ending)

    def call_bare(self, request: Request, ending: Ending = WHOLE) -> Reply:
        """
        Serve the request from a fresh application that obskit has never seen.
        """
        return CALL[self.stack.protocol](self.stack.build(self.scene), request, ending)

    def together(self, *requests: Request) -> list[Reply]:
        return TOGETHER[self.stack.protocol](self.app, requests)

    @property
    def operations(self) -> list[HttpOperation]:
        return [operation for operation in self.sink.operations if isinstance(operation, HttpOperation)]

    @property
    def operation(self) -> HttpOperation:
        (only,) = self.operations
        return only

    @property
    def records(self) -> list[Record]:
        return [Record.of(operation) for operation in self.operations]

    def total(self, metric: str) -> float:
        """
        Scrape a metric, summed over its labels.
        """
        assert self.runtime.registry is not None
        return sum(
            sample.value
            for family in self.runtime.registry.collect()
            for sample in family.samples
            if sample.name == metric
        )

    def books(self) -> dict[str, Any]:
        """
        Count what every output says of the requests so far.
        """
        return {
            "begun": Counter(id(operation) for operation in self.sink.begun if isinstance(operation, HttpOperation)),
            "in progress": self.total("http_requests_in_progress"),
            "requests": self.total("http_requests_total"),
            "durations": self.total("http_request_duration_seconds_count"),
            "first bytes": self.total("http_response_first_byte_seconds_count"),
            "exceptions": self.total("http_exceptions_total"),
            "aborted": self.total("http_responses_aborted_total"),
            "lines": Counter(
                (line["endpoint"], line["status"], line["correlation_id"])
                for line in self.runtime.lines
                if line["message"] == "request"
            ),
        }

    def expected_books(self) -> dict[str, Any]:
        """
        Count the same from the operations that have ended.
        """
        ended = self.operations
        return {
            "begun": Counter({id(operation): 1 for operation in ended}),
            "in progress": 0,
            "requests": len(ended),
            "durations": len(ended),
            "first bytes": sum(op.first_byte_seconds is not None for op in ended),
            "exceptions": sum(op.exception is not None for op in ended),
            "aborted": sum(op.aborted for op in ended),
            "lines": Counter((op.endpoint, op.status, op.correlation_id) for op in ended),
        }
