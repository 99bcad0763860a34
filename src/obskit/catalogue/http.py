"""
The metrics of served HTTP requests.
"""

from obskit.catalogue.spec import Metric

REQUESTS = Metric("http_requests_total", "counter", "HTTP requests.", labels=("method", "endpoint", "status"))
DURATION = Metric(
    "http_request_duration_seconds",
    "histogram",
    "Duration of HTTP requests in seconds, from arrival to the last byte of the reply.",
    labels=("method", "endpoint"),
)
FIRST_BYTE = Metric(
    "http_response_first_byte_seconds",
    "histogram",
    "Seconds from a request's arrival to the first byte of a streamed reply.",
    labels=("method", "endpoint"),
    note="streamed replies only",
)
IN_PROGRESS = Metric(
    "http_requests_in_progress", "gauge", "HTTP requests in progress.", labels=("method",), unit="count"
)
EXCEPTIONS = Metric(
    "http_exceptions_total",
    "counter",
    "Exceptions that left the application or became a reply of 500 or above.",
    labels=("endpoint", "exception"),
)
ABORTED = Metric(
    "http_responses_aborted_total",
    "counter",
    "Replies aborted after their status was sent, by the client or by an exception.",
    labels=("endpoint",),
)
# Powers of four from 256 B to 16 MiB: nine bounds that tell an API reply from a download.
_SIZES = tuple(float(256 * 4**power) for power in range(9))
REQUEST_SIZE = Metric(
    "http_request_size_bytes",
    "histogram",
    "Declared size of request bodies in bytes.",
    labels=("method", "endpoint"),
    buckets=_SIZES,
    note="with `size_metrics=True`",
)
RESPONSE_SIZE = Metric(
    "http_response_size_bytes",
    "histogram",
    "Size of response bodies in bytes, as handed to the server.",
    labels=("method", "endpoint"),
    buckets=_SIZES,
    note="with `size_metrics=True`",
)

# The cells of the histogram have one label more, the counter's last: both are made of them, so that they agree.
COUNTED = {DURATION.name: (DURATION, REQUESTS)}

METRICS = (REQUESTS, DURATION, FIRST_BYTE, IN_PROGRESS, EXCEPTIONS, ABORTED, REQUEST_SIZE, RESPONSE_SIZE)
