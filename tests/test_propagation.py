"""
Outgoing calls carry the ids of the request that makes them.
"""

import subprocess
import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from obskit.context import current
from obskit.correlation_ids import trace_id_of, valid_id
from obskit.observation import FunctionOperation
from obskit.operation import HttpOperation
from obskit.propagation import baggage, outgoing_headers

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


class Request(HttpOperation):
    __slots__ = ("headers",)

    def __init__(self, **headers):
        super().__init__("GET", "/")
        self.headers = headers
        self.correlation_id = "id-1"

    def header(self, name):
        return self.headers.get(name)


@pytest.fixture
def running():
    """
    Make operations current, each inside of the one before.
    """
    tokens = []
    yield lambda operation: tokens.append(current.set(operation))
    while tokens:
        current.reset(tokens.pop())


def test_outside_of_a_request_there_are_none():
    """
    Where nothing runs, there is nothing to pass on.
    """
    assert outgoing_headers() == {}


def test_the_correlation_id_is_passed_on(running):
    """
    A request without a trace passes its correlation id on, from the functions that it calls too.
    """
    running(Request())
    running(FunctionOperation("parse"))

    assert outgoing_headers() == {"X-Correlation-ID": "id-1"}


def test_a_trace_that_came_in_goes_out_as_it_is(running):
    """
    A service without spans hands the trace through, so that it does not break there.
    """
    running(Request(traceparent=PARENT, tracestate="shop=1"))

    assert outgoing_headers() == {"X-Correlation-ID": "id-1", "traceparent": PARENT, "tracestate": "shop=1"}


@pytest.mark.parametrize(
    "traceparent",
    ["", "junk", PARENT.replace("4b", "ZZ"), f"00-{'0' * 32}-00f067aa0ba902b7-01", PARENT + "-" + "x" * 500],
)
def test_a_malformed_trace_is_not_passed_on(running, traceparent):
    """
    What breaks the W3C rules ends here, and its tracestate too.
    """
    running(Request(traceparent=traceparent, tracestate="shop=1"))

    assert outgoing_headers() == {"X-Correlation-ID": "id-1"}


def test_an_endless_tracestate_is_not_passed_on(running):
    """
    A tracestate longer than the 512 characters of the W3C rules is dropped, the trace goes on.
    """
    running(Request(traceparent=PARENT, tracestate="shop=" + "1" * 600))

    assert outgoing_headers() == {"X-Correlation-ID": "id-1", "traceparent": PARENT}


def test_the_current_span_is_the_parent_of_the_next_service(running):
    """
    Where a span is current, the traceparent names it, not the one that came in.
    """
    running(Request(traceparent=PARENT))
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    with tracer.start_as_current_span("call") as span:
        headers = outgoing_headers()
    context = span.get_span_context()

    assert headers == {
        "X-Correlation-ID": "id-1",
        "traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}",
    }


def test_a_span_outside_of_a_request_is_passed_on():
    """
    A script with a span of its own gets its trace, and no correlation id.
    """
    span = trace.NonRecordingSpan(trace.SpanContext(int(TRACE, 16), 1, False, trace.TraceFlags(1)))
    with trace.use_span(span):
        headers = outgoing_headers()

    assert {"traceparent": f"00-{TRACE}-{1:016x}-01"} == headers


def test_opentelemetry_is_not_imported():
    """
    Passing ids on imports no OpenTelemetry where the application has not.
    """
    script = "import sys, obskit; obskit.outgoing_headers(); print([m for m in sys.modules if 'opentelemetry' in m])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("tenant=acme", {"tenant": "acme"}),
        ("a=1,b=2;property, c = 3 ", {"a": "1", "b": "2", "c": "3"}),
        ("name=caf%C3%A9", {"name": "caf\u00e9"}),
        ("empty=", {"empty": ""}),
        ('novalue,=x,a b=1,c=x y,d="q"', {}),
        (",".join(f"k{number}=1" for number in range(500)), {f"k{number}": "1" for number in range(180)}),
        ("a=" + "x" * 9000, {}),
    ],
)
def test_baggage(given, expected):
    """
    Baggage is read by W3C's rules, within its limits; what breaks them is left out.
    """
    assert expected == baggage(Request(baggage=given))


@pytest.mark.parametrize(
    ("parent", "valid"),
    [
        (PARENT, True),
        (PARENT + "-extra", False),
        (PARENT + "-", False),
        ("01" + PARENT[2:] + "-extra", True),
        ("ff" + PARENT[2:], False),
    ],
)
def test_versions_of_traceparent(parent, valid):
    """
    Version 00 ends with its flags; later versions may go on.
    """
    assert valid is (trace_id_of(parent) is not None)


def test_ids_with_colons():
    """
    An id may have colons after its first character, as URNs have.
    """
    assert valid_id("urn:id:7")
    assert not valid_id(":7")
