"""
What a sink must keep: it never breaks, holds or changes what it is told of.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from obskit._contracts.trials import busy, expect, in_child, no_thread_left, returns, shown, together
from obskit.ai.ai_operation import AiOperation
from obskit.db.db_operation import DbOperation
from obskit.health.check_operation import CheckOperation
from obskit.jobs import JobOperation
from obskit.observation import FunctionOperation
from obskit.operation import Event, HttpOperation, Operation
from obskit.recorder import Sink, Step, recorder


class _UnheardOfOperation(Operation):
    """
    A kind that no sink knows: others may add some.
    """

    __slots__ = ()


# Kind -> the arguments that make one.
_KINDS: dict[type[Operation], tuple[Any, ...]] = {
    HttpOperation: ("GET", "/items/7"),
    DbOperation: ("sqlite", "items", "select"),
    AiOperation: ("answers", "anthropic", "claude"),
    FunctionOperation: ("checked",),
    JobOperation: ("nightly",),
    CheckOperation: ("database",),
    _UnheardOfOperation: (),
}
_EVENTS = (
    Event("contract.plain", "INFO", "a line"),
    Event("contract.fields", "CRITICAL", "a line\nof two", {"a": 1, "b": [1, {"c": None}], "d": object()}),
    Event("contract.text", "WARNING", "\udcff \u20ac %s {}", {"\udcff": "\udcff", "message": "mine"}),
)
_TIMES = 50  # that each of several threads passes every operation


def check_sink(
    factory: Callable[[], Sink],
    *,
    may_set: Iterable[str] = (),
    keeps_operations: bool = False,
    seconds: float = 5.0,
) -> None:
    """
    Check that a sink of your own breaks, holds and changes nothing: `check_sink(lambda: MySink("/tmp/out"))`.

    It is asked for every kind of operation, and for one that it cannot know; its steps are called with operations that
    went well, that failed and that have nothing set, by several threads at once, while the process forks, and after
    `close()`.

    Args:
        factory: Makes a sink, as new each time.
        may_set: Fields of operations that it sets on purpose.
        keeps_operations: Whether it holds on to operations on purpose, as one for tests may.
        seconds: After which a call counts as one that waits.

    Raises:
        AssertionError: It says which call did what, and what was expected.
    """
    sink = returns("the factory", seconds, factory)
    _check_shape(sink)
    name, may = f"the sink {sink.name!r}", frozenset(may_set)
    with no_thread_left(f"{name} after close()", seconds):
        _check_steps(name, sink, may, seconds)
        _check_events(name, sink, seconds)
        if not keeps_operations:
            _check_hold(name, sink, seconds)
        together(f"a step of {name}", seconds, partial(_pass_all, sink, _TIMES))
        for step in ("flush", "flush", "close", "close"):
            returns(f"{name}.{step}()", seconds, getattr(sink, step))
        returns(f"a step of {name} after close()", seconds, partial(_pass_all, sink, 1))
    _check_fork(name, returns("the factory", seconds, factory), seconds)


def _check_shape(sink: Any) -> None:
    name = getattr(sink, "name", None)
    expect(isinstance(name, str) and name, f"name={shown(name)} of {shown(sink)}: expected a text, for the counts")
    for method in ("bind", "emit", "flush", "close"):
        found = getattr(sink, method, None)
        expect(callable(found), f"the sink {name!r} has no {method}(): derive it from obskit.recorder.Sink")


def _steps(name: str, sink: Sink, kind: type[Operation]) -> tuple[Step | None, Step | None]:
    found: Any = sink.bind(kind)
    is_pair = isinstance(found, tuple) and len(found) == 2
    expect(
        is_pair and all(step is None or callable(step) for step in found),
        f"bind({kind.__name__}) of {name} gave {shown(found)}: expected two, what to call at the start and at the end; "
        "None is nothing",
    )
    start, finish = found
    return start, finish


def _operations(kind: type[Operation], *arguments: Any) -> Iterator[Operation]:
    """
    Make operations of a kind: one that went well, one that failed, and one with little set.
    """
    watched = type(kind.__name__, (kind,), {"__slots__": ("__weakref__",)})
    for state in ("well", "failed", "bare"):
        op: Any = watched(*arguments)
        op.started = recorder.clock()
        if state != "bare":
            op.correlation_id = "0123456789abcdef0123456789abcdef"
        if state == "failed":
            op.error = "ValueError"
            op.fields = {"user": "ann", "\udcff": "\udcff"}
            op.extra["reason"] = "no\nmore"
        if isinstance(op, HttpOperation):
            op.status = {"well": 200, "failed": 500, "bare": 0}[state]
            op.client, op.agent = (None, None) if state == "bare" else ("192.0.2.7", "curl/8 \udcff")
        yield op


def _all_operations() -> Iterator[tuple[type[Operation], Operation]]:
    for kind, arguments in _KINDS.items():
        for op in _operations(kind, *arguments):
            yield kind, op


def _end(op: Operation) -> None:
    op.ended = True
    op.duration_seconds = 0.25


def _pass_all(sink: Sink, times: int) -> None:
    bound = {kind: sink.bind(kind) for kind in _KINDS}
    for _ in range(times):
        for kind, op in _all_operations():
            start, finish = bound[kind]
            if start is not None:
                start(op)
            _end(op)
            if finish is not None:
                finish(op)
    for event in _EVENTS:
        sink.emit(event)


def _check_steps(name: str, sink: Sink, may_set: frozenset[str], seconds: float) -> None:
    for kind, op in _all_operations():
        start, finish = returns(f"bind({kind.__name__}) of {name}", seconds, partial(_steps, name, sink, kind))
        for moment, step in (("start", start), ("end", finish)):
            if moment == "end":
                _end(op)
            if step is None:
                continue
            before = _fields_of(op)
            what = f"the step of {name} at the {moment} of a {kind.__name__}"
            returns(what, seconds, partial(step, op))
            after = _fields_of(op)
            changed = sorted(field for field in before.keys() | after.keys() if before.get(field) != after.get(field))
            wrong = [field for field in changed if field not in may_set]
            expect(not wrong, f"{what} changed {', '.join(wrong)}: operations are the application's and other sinks'")


def _fields_of(op: Operation) -> dict[str, Any]:
    """
    Return what an operation has, with copies of what could be changed in place.
    """
    slots = {name for cls in type(op).__mro__ for name in getattr(cls, "__slots__", ())} - {"__weakref__", "sparse"}
    found = {name: getattr(op, name) for name in slots if hasattr(op, name)} | (op.sparse or {})
    if not found.get("_extra"):  # reading `extra` makes an empty one
        found.pop("_extra", None)
    return {name: _copied(value) for name, value in found.items()}


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(inner) for key, inner in value.items()}
    return list(value) if isinstance(value, list) else value


def _check_events(name: str, sink: Sink, seconds: float) -> None:
    for event in _EVENTS:
        before = _copied(event.fields)
        returns(f"emit() of {name}", seconds, partial(sink.emit, event))
        expect(before == event.fields, f"emit() of {name} changed the fields of an event, which other sinks see too")


def _check_hold(name: str, sink: Sink, seconds: float) -> None:
    held = returns(f"a step of {name}", seconds, partial(_passed, sink))
    returns(f"{name}.flush()", seconds, sink.flush)
    gc.collect()
    kept = sorted({kind.__name__ for kind, reference in held if reference() is not None})
    expect(
        not kept,
        f"{name} keeps operations alive after flush() ({', '.join(kept)}), and with them requests and replies: "
        "take what is wanted of one, and let it go",
    )


def _passed(sink: Sink) -> list[tuple[type[Operation], weakref.ref[Operation]]]:
    """
    Pass operations on, and return what tells whether they are still there.
    """
    held = []
    for kind, op in _all_operations():
        start, finish = sink.bind(kind)
        if start is not None:
            start(op)
        _end(op)
        if finish is not None:
            finish(op)
        held.append((kind, weakref.ref(op)))
    return held


def _check_fork(name: str, sink: Sink, seconds: float) -> None:
    try:
        returns(f"a step of {name}", seconds, partial(_pass_all, sink, 1))
        with busy(partial(_pass_all, sink, 1)):
            for _ in range(3):
                in_child(
                    name,
                    seconds,
                    [("a step", partial(_pass_all, sink, 1)), ("flush()", sink.flush), ("close()", sink.close)],
                )
    finally:
        returns(f"{name}.close()", seconds, sink.close)
