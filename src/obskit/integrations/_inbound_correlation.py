"""
Correlation ids and traces that clients send with their requests: which are taken, and who is given a fresh one.
"""

from __future__ import annotations

import re

from obskit.correlation_ids import ID_HEADER_LOWER, trace_id_of, valid_id
from obskit.integrations._served_request import ServedOperation
from obskit.logs.writer import CORRELATION_ID_ATTRIBUTE
from obskit.operation import HttpOperation
from obskit.recorder import recorder
from obskit.redaction.redactor import Redactor

ACCEPTED_HEADERS = (ID_HEADER_LOWER, "x-request-id")


def assign_correlation_id(op: ServedOperation, trust: bool) -> None:
    """
    Set a request's correlation id: the client's where it is well formed and trusted, else a fresh one.

    An invalid id is never stored, logged or sent back.
    """
    traceparent = op.header("traceparent") if op.trusts_traces else None
    if traceparent is not None:
        op.trace_id = trace_id_of(traceparent)
        if op.trace_id is not None and int(traceparent[53:55], 16) & 1:  # W3C: the flag `sampled`
            op.sampled = True  # its figures lead to the caller's trace, whether this process makes spans or not
    if trust:
        for name in ACCEPTED_HEADERS:
            given = op.header(name)
            if given is not None and valid_id(given) and (_is_generated_id(given) or _redact(given) is given):
                op.correlation_id = given
                return
        if op.trace_id is not None:
            op.correlation_id = op.trace_id
            return
    op.correlation_id = recorder.new_id()


# Generated ids are not secrets; other well-formed ones may be tokens that a client put there.
_is_generated_id = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE).fullmatch
_redact = Redactor().text


def attach_request_id(error: BaseException, op: HttpOperation) -> None:
    """
    Attach the request's id to an exception that leaves it: the server logs it when the request is over.
    """
    try:
        setattr(error, CORRELATION_ID_ATTRIBUTE, op.correlation_id)
    except Exception:
        pass  # it takes no attributes
