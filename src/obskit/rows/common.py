"""
Fields that operations of several kinds have.
"""

from __future__ import annotations

from obskit.rows.field import Field

# What the operations of every kind have.
UNTOLD = {
    "_root": "the request or job, whose fields are told in its own row",
    "ended": "true of all that are told",
    "parent": "an operation",
    "sampled": "decides for exemplars",
    "span": "the span sink's own",
    "sparse": "holds other fields",
    "started": "seconds on a clock that means nothing elsewhere",
}
CORRELATION_ID = Field(
    "correlation_id",
    "correlation_id",
    str,
    "Its id, as in the `X-Correlation-ID` header of the reply.",
    line="correlation_id",
    on="every, in a request or task",
    span="obskit.correlation_id",
    unset=None,
    at_begin=True,
)
TRACE_ID = Field(
    "trace_id",
    "trace_id",
    str,
    "The W3C trace id: 32 hexadecimal digits.",
    line="trace_id",
    on="every, in a trace",
    unset=None,
)
SPAN_ID = Field(
    "span_id",
    "span_id",
    str,
    "The id of the current span, on access lines of the request's: 16 digits.",
    line="span_id",
    on="every, with a span",
    unset=None,
)
SECONDS = Field("duration_seconds", "duration_seconds", float, "Seconds that it took.")
ERROR = Field(
    "error", "error", str, "The class of the exception, or `failed` after `fail()`.", span="error.type", unset=None
)
ROOT_ID = Field("correlation_id", "root.correlation_id", str, "The id of the request or job that made it.", unset=None)
BOUND = Field("bound", "fields", dict, "What `obskit.bind()` added.", secret=True, unset=None)
ROOT_BOUND = Field("bound", "root.fields", dict, "What `obskit.bind()` added to the request.", secret=True, unset=None)
EXTRA = Field("extra", "_extra", dict, "What the application put into `extra`.", secret=True, unset=None)
