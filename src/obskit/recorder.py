"""
Carry operations and events from whoever observes them to the sinks that are on.

Each kind of operation has one `Plan`. Binding it asks every sink once what it wants to do at the start and at the
end of that kind; a sink that is off is not in it. Plans are changed in place, so that middleware and decorators made
before `configure()` follow it, and `shutdown()` too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from time import perf_counter, time
from typing import Any, Protocol

from obskit import context, deferred
from obskit.deferred import drain, waiting
from obskit.loss_counts import Counts
from obskit.operation import Event, Operation

Step = Callable[[Any], object]
nothing: Step = id  # where no sink has a step; hot code leaves the call out


class Sink(Protocol):
    """
    Turn operations and events into one kind of output.

    One whose steps every request pays for says `guards = True`: they catch what they raise, and tell `failed()`.
    One that ends only operations whose `rare` is set says `rarely = True`.
    """

    name: str

    # What to do at the start and at the end of an operation of this kind; None is nothing.
    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]: ...
    def emit(self, event: Event) -> None: ...
    def flush(self) -> None: ...  # put out what is still queued; called before close(), and when the server stops
    def close(self) -> None: ...  # release files, threads and registrations


class Plan:
    """
    Begin and end operations of one kind. Its steps never raise, so that hot code may run them itself.
    """

    __slots__ = ("active", "clock", "finish", "finish_rare", "finish_too", "start")

    active: bool  # False while no runtime stands
    clock: Callable[[], float]
    start: Step
    finish: Step
    finish_too: Step | None  # metrics and lines are what most have
    finish_rare: Step | None  # before the others, and only where the operation's `rare` is set

    def begin(self, operation: Any) -> None:
        if waiting:
            drain()
        self.start(operation)
        operation.started = self.clock()

    def end(self, operation: Any, at: float | None = None) -> None:
        # `at` is a moment that has passed already; only the first end counts.
        if not operation.ended:
            operation.ended = True
            operation.duration_seconds = (self.clock() if at is None else at) - operation.started
            if waiting:
                drain()
            if operation.rare is not None and self.finish_rare is not None:
                self.finish_rare(operation)
            self.finish(operation)
            if self.finish_too is not None:
                self.finish_too(operation)


def _in_turn(steps: Sequence[Step]) -> Step:
    if len(steps) < 2:
        return steps[0] if steps else nothing

    def all_of_them(operation: Any) -> None:
        for step in steps:
            step(operation)

    return all_of_them


class Recorder:
    """
    Hold the plans, the clocks and the guard around every sink. There is one a process.
    """

    def __init__(self) -> None:
        self._plans: dict[type[Operation], Plan] = {}
        self._sinks: tuple[Sink, ...] = ()
        self.strict = False  # re-raise what a sink raises, for tests; in production the guard swallows and counts
        self.reset()

    def reset(self) -> None:
        # Forgets counts and fakes; the plans stay as they are.
        self.clock: Callable[[], float] = perf_counter  # monotonic seconds; what durations are measured with
        self.wall_clock: Callable[[], float] = time  # seconds since the epoch; what lines and rows are stamped with
        self.new_id: Callable[[], str] = context.new_id
        self.errors: Counts[str] = Counts()  # how often each sink, or other guarded part, has raised
        self.dropped: Counts[tuple[str, str]] = Counts()  # what could not be put out, by (sink, reason)

    def plan(self, kind: type[Operation]) -> Plan:
        """
        Give the plan of a kind: always the same object, whatever runtime stands.
        """
        if kind not in self._plans:
            self._plans[kind] = Plan()
            self.rebind(kind)
        return self._plans[kind]

    def bind(self, sinks: Sequence[Sink]) -> None:
        """
        Build every plan from these sinks, in their order; from none, the plans do nothing.
        """
        drain()  # what has ended by now is for those before
        self._sinks = tuple(sinks)
        for kind in self._plans:
            self.rebind(kind)

    def rebind(self, kind: type[Operation]) -> None:  # also for a sink that has come to know what it wants
        if kind not in self._plans:
            return
        asked = [(sink, *sink.bind(kind)) for sink in self._sinks]
        plan = self._plans[kind]
        plan.active, plan.clock = bool(asked), self.clock
        plan.start = _in_turn([self._guarded(sink, start) for sink, start, _ in asked if start])
        rare = [self._guarded(sink, finish) for sink, _, finish in asked if finish and getattr(sink, "rarely", False)]
        finishes = [
            self._guarded(sink, finish) for sink, _, finish in asked if finish and not getattr(sink, "rarely", False)
        ]
        plan.finish_rare = _in_turn(rare) if rare else None
        plan.finish = _in_turn(finishes[:1])
        plan.finish_too = _in_turn(finishes[1:]) if len(finishes) > 1 else None

    def _guarded(self, sink: Sink, step: Step) -> Step:
        if getattr(sink, "guards", False):
            return step

        def guarded(operation: Any) -> None:
            try:
                step(operation)
            except Exception as error:
                self.failed(sink.name, error)

        return guarded

    def emit(self, event: Event) -> None:
        """
        Hand an event to every sink.
        """
        for sink in self._sinks:
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
        if self.errors.inc(part) > 1:
            return
        try:
            logging.getLogger("obskit").error("%s failed; obskit_errors_total counts on", part, exc_info=error)
        except Exception:
            return  # a logging handler that raises must not do what the guard is there to prevent


recorder = Recorder()
deferred.serve(lambda: recorder.clock(), recorder.failed)
