"""
Carry a request's ids into the Celery tasks that it sends.

The ids travel as headers of the message. In the worker each task has a holder of its own, as a request has: what is
bound in a task is on its later lines, and what it sends carries the same id.

The processes of a Celery worker serve, so one of them may lead.
"""

from __future__ import annotations

from contextvars import Token
from typing import Any

from obskit.context import current
from obskit.correlation_ids import ID_HEADER, trace_id_of, valid_id
from obskit.errors import MissingExtraError
from obskit.integrations import logging
from obskit.operation import Operation
from obskit.propagation import outgoing_headers
from obskit.recorder import recorder
from obskit.workers.candidates import note_serving

try:
    from celery import signals
except ImportError as error:
    raise MissingExtraError("obskit.instrument_celery() needs Celery: pip install 'obskit[celery]'") from error

# Task id -> the holder's token; a task that was taken over from another process has none.
_running: dict[str, Token[Operation | None]] = {}


def _publish(headers: Any = None, **signal: Any) -> None:
    try:
        there = {str(name).lower() for name in headers}  # a message's names have a case, and `_begin()` sees none
        headers.update({name: value for name, value in outgoing_headers().items() if name.lower() not in there})
    except Exception as error:
        recorder.failed("celery", error)


def _begin(task_id: str = "", task: Any = None, **signal: Any) -> None:
    try:
        request = task.request
        if request.is_eager and current.get() is not None:
            return  # it runs inside of the request
        given = {str(name).lower(): value for name, value in (request.headers or {}).items()}
        holder = Operation()
        holder.started = recorder.clock()  # records that are older are not this task's
        sent, parent = given.get(ID_HEADER.lower()), given.get("traceparent")
        is_valid = isinstance(sent, str) and valid_id(sent)
        holder.correlation_id = sent if is_valid else recorder.new_id()
        if isinstance(parent, str) and (trace_id := trace_id_of(parent)) is not None:
            holder.trace_id = trace_id
        holder.fields = {"task": task.name, "task_id": task_id}
        _running[task_id] = current.set(holder)
    except Exception as error:
        recorder.failed("celery", error)


def _end(task_id: str = "", **signal: Any) -> None:
    token = _running.pop(task_id, None)
    if token is not None:
        try:
            current.reset(token)
        except ValueError:  # a pool of greenlets ends it in another context
            current.set(None)


def _set_up_loggers(**signal: Any) -> None:
    logging.reapply()


def _serve(**signal: Any) -> None:
    note_serving()


_RECEIVERS = (
    # The process that others call the worker, and each of its pool.
    (signals.worker_ready, _serve),
    (signals.worker_process_init, _serve),
    (signals.before_task_publish, _publish),
    (signals.task_prerun, _begin),
    (signals.task_postrun, _end),
    # Celery takes the root logger's handlers away and adds its own.
    (signals.after_setup_logger, _set_up_loggers),
    (signals.after_setup_task_logger, _set_up_loggers),
)


def instrument() -> None:
    """
    Carry the ids from now on; where a process sends tasks, and where it runs them.
    """
    for signal, receiver in _RECEIVERS:
        signal.connect(receiver, weak=False, dispatch_uid=f"obskit{receiver.__name__}")


def uninstrument() -> None:
    """
    Send and run tasks as before.
    """
    for signal, receiver in _RECEIVERS:
        signal.disconnect(receiver, dispatch_uid=f"obskit{receiver.__name__}")
