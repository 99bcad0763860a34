"""
Read and bind what one request or job shares: its correlation id and its bound fields, which are on the root operation.

Tasks, `to_thread` and the frameworks' thread pools copy the context variable, never the operation: what is bound in a
worker thread is seen by the middleware that made it.
"""

from __future__ import annotations

import random
import re
from itertools import repeat
from typing import Any

from obskit.forks import at_fork
from obskit.operation import Operation
from obskit.operation import current as current

# `uuid.UUID()` is no check: it drops hyphens and braces, so 60 KB of them pass. A fullmatch with a length is.
valid_id = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}").fullmatch
# W3C Trace Context, level 2: version 00-fe, 16 bytes of trace id, 8 of span id, flags; neither id all zero. Version 00
# has no more than that; later ones may.
_valid_traceparent = re.compile(
    r"(?:00(?!.{54})|(?!ff|00)[0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?"
).fullmatch

# A generator of its own: an application that seeds `random` must not make ids repeat, nor two forked workers.
_random = random.Random()
at_fork(after_in_child=_random.seed)
# Makes 32 hexadecimal digits, not a secret. A chain of C iterators: a Python function costs three times as much, and
# formatting the number twice as much as writing its bytes.
new_id = map(bytes.hex, map(int.to_bytes, map(_random.getrandbits, repeat(128)), repeat(16))).__next__


def trace_id_of(traceparent: str) -> str | None:
    """
    Read the trace id of a `traceparent` header; None where it breaks the W3C rules.
    """
    match = _valid_traceparent(traceparent)
    return match[1] if match else None


def correlation_id() -> str | None:
    """
    Read the correlation id of the request or job that runs here, or None outside of one.

    Threads of the framework's pool, tasks that the request started and its background tasks have the same.
    """
    operation = current.get()
    return operation.root.correlation_id if operation is not None else None


def bind(**fields: Any) -> None:
    """
    Add fields to every later log line, span and record of this request or job, or of this thread or task outside of
    one. They never become metric labels.
    """
    holder = _root()
    holder.fields = {**holder.fields, **fields} if holder.fields else fields


def unbind(*names: str) -> None:
    """
    Remove bound fields; names that are not bound are ignored.
    """
    holder = _root()
    holder.fields = {name: value for name, value in (holder.fields or {}).items() if name not in names}


def _root() -> Operation:
    operation = current.get()
    if operation is None:
        operation = Operation()
        current.set(operation)
    return operation.root
