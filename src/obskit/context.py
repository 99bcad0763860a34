"""
Read and bind what one request or job shares: its correlation id and its bound fields, which are on the root operation.

Tasks, `to_thread` and the frameworks' thread pools copy the context variable, never the operation: what is bound in a
worker thread is seen by the middleware that made it.
"""

from __future__ import annotations

from typing import Any

from obskit.operation import Operation
from obskit.operation import current as current


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
