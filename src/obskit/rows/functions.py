"""
The fields of functions and of jobs.
"""

from __future__ import annotations

from obskit.rows.common import BOUND, CORRELATION_ID, ERROR, EXTRA, ROOT_ID, SECONDS, SPAN_ID, TRACE_ID, UNTOLD
from obskit.rows.field import Field, Rows

JOB = Rows(
    "job",
    (
        CORRELATION_ID,
        TRACE_ID,
        SPAN_ID,
        Field("job", "job", str, "The name that the application gave it.", secret=True, line="job"),
        Field("outcome", "outcome", str, "`success` or `error`.", line="outcome"),
        Field(
            "duration_seconds",
            "duration_seconds",
            float,
            "Milliseconds that it took.",
            line="duration_ms",
            form="milliseconds",
        ),
        Field(
            "error",
            "error",
            str,
            "The class of the exception, or `failed` after `fail()`.",
            line="error",
            span="error.type",
            unset=None,
        ),
        BOUND,
        EXTRA,
    ),
    {**UNTOLD, "function": "the job's name, which names spans"},
)
FUNCTION = Rows(
    "function",
    (
        Field("function", "function", str, "The name that the application gave it.", secret=True),
        Field("outcome", "outcome", str, "`success` or `error`."),
        SECONDS,
        ERROR,
        ROOT_ID,
        Field("trace_id", "trace_id", str, "The W3C trace id.", unset=None),
        Field("span_id", "span_id", str, "The id of its span.", unset=None),
        EXTRA,
    ),
    {**UNTOLD, "correlation_id": "on the root alone", "fields": "on the root alone"},
)
