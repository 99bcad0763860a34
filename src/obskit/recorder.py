"""
Pass operations and events from what observes them to the sinks that are on.

Each kind of operation has one `Plan`. Binding it asks every sink once what to call at the start and at the end of that
kind. Plans are changed in place, so middleware and decorators made before `configure()` or `shutdown()` follow it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from obskit import deferred_endings
from obskit.correlation_ids import new_id
from obskit.deferred_endings import drain, waiting
from obskit.loss_counts import LossCounts
from obskit.operation import Event, Operation
from obskit.time.clock import clock

Step = Callable[[Any], object]
no_op: Step = id  # where no sink has a step: the builtin costs least, and hot code leaves the call out


class Sink(Protocol):
    """
    One kind of output: metrics, lines, spans. Deriving from it gives `emit()`, `flush()` and `close()` that do nothing.

    A sink whose steps every request pays for sets `guards = True`: they catch what they raise, and report it to
    `failed()`. One that only wants operations whose `sparse` is set sets `sparse_only = True`. What is looked up of a
    request for it is in `wants`: `client`, `agent`; a sink without the attribute is given both.
    """

    name: str

    # What to call at the start and at the end of an operation of this kind; None: nothing.
    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]: ...

    def emit(self, event: Event) -> None:
        return

    def flush(self) -> None:  # write what is queued; called before close(), and when the server stops
        return

    def close(self) -> None:  # release files, threads and registrations
        return


class Plan:
    """
    How operations of one kind begin and end. Its steps never raise, so hot code may call them directly.
    """

    __slots__ = ("active", "clock", "finish", "finish_sparse", "finish_too", "start")

    active: bool  # False while no runtime is active
    clock: Callable[[], float]
    start: Step
    finish: Step
    finish_too: Step | None  # metrics and lines are two, and most have both
    finish_sparse: Step | None  # before the others, and only where the operation's `sparse` is set

    def __init__(self) -> None:
        self.active, self.clock = False, clock.monotonic
        self.start = self.finish = no_op
        self.finish_too = self.finish_sparse = None

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
            if operation.sparse is not None and self.finish_sparse is not None:
                self.finish_sparse(operation)
            self.finish(operation)
            if self.finish_too is not None:
                self.finish_too(operation)


def _in_turn(steps: Sequence[Step]) -> Step:
    if len(steps) < 2:
        return steps[0] if steps else no_op

    def all_of_them(operation: Any) -> None:
        for step in steps:
            step(operation)

    return all_of_them


class Recorder:
    """
    The plans, the clocks and the guard around every sink; one for each process.
    """

    def __init__(self) -> None:
        self._plans: dict[type[Operation], Plan] = {}
        self._sinks: tuple[Sink, ...] = ()
        self.strict = False  # re-raise what a sink raises, for tests; in production the guard swallows and counts
        self.reset()

    def reset(self) -> None:
        # Forgets counts and fakes; the plans stay as they are.
        self.clock: Callable[[], float] = clock.monotonic  # monotonic seconds; what durations are measured with
        self.wall_clock: Callable[[], float] = clock.wall  # since the epoch; what lines and rows are stamped with
        self.new_id: Callable[[], str] = new_id
        self.errors: LossCounts[str] = LossCounts()  # how often each sink, or other guarded part, has raised
        self.dropped: LossCounts[tuple[str, str]] = LossCounts()  # what could not be put out, by (sink, reason)

    def plan(self, kind: type[Operation]) -> Plan:
        """
        Return the plan of a kind: always the same object, whichever runtime is active.
        """
        plan = self._plans.get(kind)
        if plan is None:
            plan = self._plans.setdefault(kind, Plan())  # which does nothing until it is bound
            self.rebind(kind)
        return plan

    def bind(self, sinks: Sequence[Sink]) -> None:
        """
        Rebuild every plan from these sinks, in their order; without sinks, the plans do nothing.
        """
        drain()  # what has ended so far belongs to the sinks before
        self._sinks = tuple(sinks)
        bound: set[type[Operation]] = set()
        while new := [kind for kind in list(self._plans) if kind not in bound]:  # to bind imports, and others do too
            for kind in new:
                self.rebind(kind)
            bound.update(new)

    def rebind(self, kind: type[Operation]) -> None:  # also by a sink whose steps have changed
        if kind not in self._plans:
            return
        asked = [(sink, *self._asked(sink, kind)) for sink in self._sinks]
        plan = self._plans[kind]
        plan.active, plan.clock = bool(asked), self.clock
        plan.start = _in_turn([self._guarded(sink, start) for sink, start, _ in asked if start])
        finishes: dict[bool, list[Step]] = {False: [], True: []}
        for sink, _, finish in asked:
            if finish:
                finishes[getattr(sink, "sparse_only", False)].append(self._guarded(sink, finish))
        plan.finish_sparse = _in_turn(finishes[True]) if finishes[True] else None
        plan.finish = _in_turn(finishes[False][:1])
        plan.finish_too = _in_turn(finishes[False][1:]) if len(finishes[False]) > 1 else None

    def _asked(self, sink: Sink, kind: type[Operation]) -> tuple[Step | None, Step | None]:
        try:
            return sink.bind(kind)
        except Exception as error:
            self.failed(sink.name, error)
            return None, None

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
deferred_endings.bind_recorder(lambda: recorder.clock(), recorder.failed)
