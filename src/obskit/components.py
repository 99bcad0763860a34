"""
What a runtime is made of: parts that are started in order, and flushed and stopped in the reverse one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, ClassVar, Protocol, TypeVar

from obskit.deferred_endings import drain
from obskit.fields import Section
from obskit.recorder import Sink, recorder
from obskit.time.clock import Deadline

P = TypeVar("P", bound=Section)
# How long a runtime may take to flush and stop what waits for others: less than servers and orchestrators wait.
DEADLINE_SECONDS = 8.0
# What a sink that does not say what it wants may read: those of others are older than the question.
EVERYTHING = frozenset({"client", "agent"})


class Component(Protocol):
    """
    A part of a runtime. Its constructor is given the assembly, and takes from it what the part needs: its settings,
    and parts that were started before it.

    Steps do nothing unless they are overridden. What one raises is counted under `name` and stops no other; what
    `start()` raises ends the assembly.

    Attributes:
        name: In `obskit_errors_total`, and for parts that are started later.
        section: The settings that come with a part which is none of obskit's own.
    """

    name: ClassVar[str]
    section: ClassVar[type[Section] | None] = None

    def start(self) -> None:
        """
        Start the part. Where this raises, nothing that was started is left.
        """
        return

    def flush(self, deadline: Deadline) -> None:
        """
        Write what is queued. A part that waits for others does so no longer than the deadline says.
        """
        return

    def stop(self, deadline: Deadline) -> None:
        """
        Flush, and release all that is held and all that was registered elsewhere. It may come without a `start()`
        that was successful, and twice.
        """
        return

    def after_fork(self) -> None:
        """
        Start over in a forked child: threads are gone, and what the parent counted is the parent's.
        """
        return


class Settings(Protocol):
    """
    The settings, of which a part is given its own.

    Attributes:
        given: Names of those that somebody has given, as an argument or a variable.
    """

    @property
    def given(self) -> frozenset[str]: ...

    def of(self, part: type[P], /) -> P:
        """
        Return the settings of one part.
        """


# Makes a part of an assembly, or adds sinks to it; None where the settings ask for nothing.
Maker = Callable[["Assembly"], Component | None]


class Assembly:
    """
    The parts of one runtime, as they are started.

    Attributes:
        settings: `settings.of(LogSettings)` is the part that a component reads.
        sinks: The outputs, filled by the parts; `Recording` binds them.
        watchers: Sinks of parts that put nothing out, bound after those; whoever adds one ends it.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.sinks: list[Sink] = []
        self.watchers: list[Sink] = []
        self._parts: list[Component] = []

    def start(self, makers: Iterable[str | Maker]) -> None:
        """
        Make and start each part, given as `module:name` or as what makes it.
        """
        for maker in makers:
            part = imported(maker)(self)
            if part is not None:
                self._parts.append(part)  # before its start, so that what it began before it failed is ended
                part.start()

    def part(self, name: str) -> Any:
        """
        Return the first part of this name that was made before; None where there is none.
        """
        return next((part for part in self._parts if part.name == name), None)

    def flush(self) -> None:
        """
        Write what is queued.
        """
        deadline = Deadline(DEADLINE_SECONDS)
        run_all([(part.name, partial(part.flush, deadline)) for part in self._backwards()])

    def stop(self) -> None:
        """
        Stop each part and forget it.
        """
        deadline = Deadline(DEADLINE_SECONDS)
        parts = self._backwards()
        try:
            run_all([(part.name, partial(part.stop, deadline)) for part in parts])
        finally:
            self._parts.clear()
            self.sinks.clear()
            self.watchers.clear()

    def after_fork(self) -> None:
        """
        Start over in a forked child, each part from the first to the last.
        """
        run_all([(part.name, part.after_fork) for part in self._parts])

    def _backwards(self) -> list[Component]:
        # What makes operations and events comes before what they go to.
        return self._parts[::-1]


class Outputs(Component):
    """
    The sinks, which are flushed and closed in their order, once no plan has steps of theirs.
    """

    name = "outputs"

    def __init__(self, assembly: Assembly) -> None:
        self._sinks = assembly.sinks

    def flush(self, deadline: Deadline) -> None:
        """
        Flush each sink.
        """
        run_all([(sink.name, sink.flush) for sink in self._sinks])

    def stop(self, deadline: Deadline) -> None:
        """
        Flush each sink, then close each.
        """
        flushes, closes = [(sink.name, sink.flush) for sink in self._sinks], [(s.name, s.close) for s in self._sinks]
        run_all([*flushes, *closes])

    def after_fork(self) -> None:
        """
        Start over in a forked child, each sink that keeps something of its process.
        """
        run_all([(sink.name, sink.after_fork) for sink in self._sinks if hasattr(sink, "after_fork")])

    @property
    def wants(self) -> frozenset[str]:
        """
        What the sinks read of a request that has to be looked up for them: `client`, `agent`.
        """
        return frozenset().union(*(getattr(sink, "wants", EVERYTHING) for sink in self._sinks))


class Recording(Component):
    """
    The steps of the sinks in the recorder's plans.
    """

    name = "runtime"

    def __init__(self, assembly: Assembly) -> None:
        self._sinks, self._watchers = assembly.sinks, assembly.watchers

    def start(self) -> None:
        """
        Bind the sinks.
        """
        recorder.bind([*self._sinks, *self._watchers])

    def flush(self, deadline: Deadline) -> None:
        """
        End operations that were dropped before their end.
        """
        drain()

    def stop(self, deadline: Deadline) -> None:
        """
        End operations that were dropped, and replace the steps of all plans by none.
        """
        recorder.bind(())


def imported(maker: str | Maker) -> Maker:
    """
    Return what makes a part, which may be given as `module:name`.
    """
    if not isinstance(maker, str):
        return maker
    module, _, attribute = maker.partition(":")
    made: Maker = getattr(importlib.import_module(module), attribute)
    return made


def run_all(steps: Sequence[tuple[str, Callable[[], object]]]) -> None:
    """
    Take each step, whatever one of them raises; raise the first error at the end, where the recorder is strict.
    """
    raised: Exception | None = None
    for name, step in steps:
        try:
            step()
        except Exception as error:
            try:
                recorder.failed(name, error)
            except Exception as first:  # in strict mode, for tests
                raised = raised or first
    if raised is not None:
        raise raised
