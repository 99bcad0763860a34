"""
What spans of every kind of operation are made with, and how they lie between begin and end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from obskit.logs.rendering import as_text
from obskit.operation import Operation
from obskit.recorder import Recorder
from obskit.redaction.redactor import Redactor

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

SCOPE = "obskit"
_PRIMITIVES = (str, bool, int, float)
# Values that redaction handles itself, by the names inside them.
_LOOKED_INTO = (*_PRIMITIVES, Mapping, list, tuple, Set, BaseException)


class Tracing(NamedTuple):
    """
    What a sink makes spans with.

    Attributes:
        context: OpenTelemetry's module of that name.
        trace: Likewise.
        names: Of spans and routes, redacted.
    """

    context: ModuleType
    trace: ModuleType
    tracer: Any
    recorder: Recorder
    redactor: Redactor
    names: Mapping[str, str]

    def now_ns(self) -> Callable[[], int]:
        """
        Return what tells the nanoseconds since the epoch, by the recorder's clock.
        """
        clock = self.recorder.wall_clock
        return lambda: int(clock() * 1e9)

    def free_attributes(self, op: Operation, of_root: bool = False) -> dict[str, Any]:
        """
        Return the bound fields that are plain values, and all extras, redacted as in log lines.
        """
        found: dict[str, Any] = {}
        for bound in (op.root.fields if of_root else None, op.fields):
            if bound:
                plain = {name: value for name, value in bound.items() if isinstance(value, _PRIMITIVES)}
                found.update(self.redactor.fields(plain))
        if op.extra:
            extra = {name: value if isinstance(value, _LOOKED_INTO) else str(value) for name, value in op.extra.items()}
            for name, value in self.redactor.fields(extra).items():
                found[name] = value if isinstance(value, _PRIMITIVES) else as_text(value)
        return found


class SpanScope:
    """
    A span between begin and end of its operation, as `operation.span`.

    Adapters call `enter()` before each piece of the application's code and `leave()` after it, in the same thread or
    task. So the span is OpenTelemetry's current one exactly while the operation is obskit's.
    """

    __slots__ = ("_api", "_context", "_outer", "span", "started_ns")

    def __init__(self, api: ModuleType, context: Context, span: Span, started_ns: int | None) -> None:
        self._api = api
        self._context = context
        self._outer: Context | None = None
        self.span = span
        self.started_ns = started_ns  # None: the span belongs to another instrumentation, which ends it

    def enter(self) -> None:
        """
        Make the span current.
        """
        self._outer = self._api.get_current()
        self._api.attach(self._context)

    def leave(self) -> None:
        """
        Make the context of before current again.

        What the application attached and did not detach is dropped too. `detach()` would log an error where a
        generator or coroutine is closed from another context; attaching the earlier context cannot fail.
        """
        outer, self._outer = self._outer, None
        if outer is not None:
            self._api.attach(outer)


def take_ids(op: Operation, span: Span) -> None:
    """
    Copy the ids of its span to an operation.
    """
    context = span.get_span_context()
    if context.is_valid:
        op.trace_id = f"{context.trace_id:032x}"
        op.span_id = f"{context.span_id:016x}"
        op.sampled = context.trace_flags.sampled


def end(scope: SpanScope, op: Operation) -> None:
    """
    End a span when its operation ended, unless it is another instrumentation's.
    """
    if scope.started_ns is not None:
        scope.span.end(scope.started_ns + int(op.duration_seconds * 1e9))
