"""
Carry operations and events from whoever observes them to the sinks that are on.

Each kind of operation has one `Plan`. Binding it asks every sink once what it wants to do at the start and at the
end of that kind, and builds two functions from the answers; a sink that is off is not in them. Plans are changed in
place, so that middleware and decorators made before `configure()` follow it, and `shutdown()` too.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from time import perf_counter, time
from typing import Any, Protocol

from obskit import context
from obskit.operation import DbOperation, Event, FunctionOperation, HttpOperation, Operation

Step = Callable[[Any], None]


class Sink(Protocol):
    """
    Turn operations and events into one kind of output.
    """

    name: str

    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]:
        """
        Answer what to do at the start and at the end of an operation of this kind; None is nothing.
        """

    def emit(self, event: Event) -> None:
        """
        Put out one event.
        """

    def flush(self) -> None:
        """
        Put out what is still queued; called after the server has stopped accepting.
        """

    def close(self) -> None:
        """
        Flush and release files, threads and registrations.
        """


def _nothing(operation: Any, at: float | None = None) -> None:
    return None


class Plan:
    """
    Begin and end operations of one kind. `active` is False while no runtime stands.
    """

    __slots__ = ("active", "begin", "end", "kind")

    def __init__(self, kind: type[Operation]) -> None:
        self.kind = kind
        self.clear()

    def clear(self) -> None:
        """
        Do nothing from now on.
        """
        self.active = False
        self.begin: Callable[[Any], None] = _nothing
        self.end: Callable[..., None] = _nothing


class Recorder:
    """
    Hold the plans, the clocks and the guard around every sink. There is one a process.

    Attributes:
        clock: Monotonic seconds; what durations are measured with.
        wall_clock: Seconds since the epoch; what lines and rows are stamped with.
        new_id: Makes a correlation id.
        strict: Re-raise what a sink raises. For tests; in production the guard swallows and counts.
        errors: How often each sink, or other guarded part, has raised.
        dropped: How much each sink could not put out, by (sink, reason).
    """

    def __init__(self) -> None:
        self.plans = {kind: Plan(kind) for kind in (HttpOperation, FunctionOperation, DbOperation)}
        self.sinks: tuple[Sink, ...] = ()
        self.strict = False
        self.reset()

    def reset(self) -> None:
        """
        Forget counts and fakes; the plans stay as they are.
        """
        self.clock: Callable[[], float] = perf_counter
        self.wall_clock: Callable[[], float] = time
        self.new_id: Callable[[], str] = context.new_id
        self.errors: Counter[str] = Counter()
        self.dropped: Counter[tuple[str, str]] = Counter()

    def bind(self, sinks: Sequence[Sink]) -> None:
        """
        Build every plan from these sinks, in their order.
        """
        self.sinks = tuple(sinks)
        for kind, plan in self.plans.items():
            asked = [(sink.name, *sink.bind(kind)) for sink in self.sinks]
            starts = [(name, start) for name, start, _ in asked if start is not None]
            finishes = [(name, finish) for name, _, finish in asked if finish is not None]
            plan.begin = self._beginner(starts)
            plan.end = self._ender(finishes)
            plan.active = True

    def unbind(self) -> None:
        """
        Let every plan do nothing.
        """
        self.sinks = ()
        for plan in self.plans.values():
            plan.clear()

    def _beginner(self, starts: list[tuple[str, Step]]) -> Callable[[Any], None]:
        clock, failed = self.clock, self.failed

        def begin(operation: Any) -> None:
            for name, start in starts:
                try:
                    start(operation)
                except Exception as error:
                    failed(name, error)
            operation.started = clock()

        return begin

    def _ender(self, finishes: list[tuple[str, Step]]) -> Callable[..., None]:
        clock, failed = self.clock, self.failed

        def end(operation: Any, at: float | None = None) -> None:
            if operation.ended:
                return
            operation.ended = True
            operation.duration_seconds = (clock() if at is None else at) - operation.started
            for name, finish in finishes:
                try:
                    finish(operation)
                except Exception as error:
                    failed(name, error)

        return end

    def emit(self, event: Event) -> None:
        """
        Hand an event to every sink.
        """
        for sink in self.sinks:
            try:
                sink.emit(event)
            except Exception as error:
                self.failed(sink.name, error)

    def failed(self, part: str, error: BaseException) -> None:
        """
        Count what a sink, a hook or an adapter raised; log the first of each, never raise.
        """
        if self.strict:
            raise error
        self.errors[part] += 1
        if self.errors[part] == 1:
            _complain("obskit: %s failed and is counted in obskit_errors_total from now on", part, error)

    def drop(self, sink: str, reason: str, count: int = 1) -> None:
        """
        Count what a sink could not put out.
        """
        self.dropped[sink, reason] += count


def _complain(message: str, part: str, error: BaseException) -> None:
    try:
        logging.getLogger("obskit").error(message, part, exc_info=error)
    except Exception:
        return  # a logging handler that raises must not do what the guard is there to prevent


recorder = Recorder()
