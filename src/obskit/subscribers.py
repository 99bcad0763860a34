"""
Pass events on to parts that have named them: those of this process at once, and those of the service's other processes
on this machine within a second.

    subscribers.subscribe([events.HEALTH_TRANSITION], self._note, part="alerts", everywhere=True)

Those of others come once this process serves. It writes its own down for them only while one of them wants to know, and
reads theirs only while it does.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from obskit.catalogue.events import EventKind
from obskit.components import Assembly, Component
from obskit.event_exchange import EventExchange, Received
from obskit.operation import Event, Operation
from obskit.recorder import Sink, Step, recorder
from obskit.redaction.redactor import Redactor
from obskit.redaction.settings import RedactionSettings
from obskit.service_settings import ServiceSettings
from obskit.time.clock import Deadline
from obskit.workers.candidates import when_serving

# Of events that subscribers emit because of events.
MAX_DEPTH = 4


@dataclass(eq=False)
class Subscription:
    """
    What somebody wants to be told of, until it is cancelled.
    """

    names: frozenset[str]
    call: Callable[[Received], object]
    part: str
    everywhere: bool
    _end: Callable[[Subscription], object] = field(repr=False)

    def cancel(self) -> None:
        """
        Call no more.
        """
        self._end(self)


class Subscribers(Component):
    """
    Who wants to be told of which events, of one runtime. Thread-safe.
    """

    name = "subscribers"

    def __init__(self, assembly: Assembly) -> None:
        service, redaction = assembly.settings.of(ServiceSettings), assembly.settings.of(RedactionSettings)
        self._subscriptions: tuple[Subscription, ...] = ()
        self._by_name: Mapping[str, tuple[Subscription, ...]] = {}
        self._depth: dict[int, int] = {}  # by thread
        self._exchange = EventExchange(service, Redactor(redaction.redact_keys), self._deliver)
        self._sink = _EventSink(self._emitted)
        self._lock = threading.RLock()
        assembly.watchers.append(self._sink)

    def start(self) -> None:
        """
        Read others' events from when this process serves on: importing an application starts no thread.
        """
        when_serving(self._exchange.serve, self.name)

    def subscribe(
        self, kinds: Iterable[EventKind], call: Callable[[Received], object], *, part: str, everywhere: bool = False
    ) -> Subscription:
        """
        Have a function called with each event of these kinds.

        It is called where the event is emitted, be that in a request or on an event loop, so it may not wait; with
        those of other processes it is called in a thread. What it raises is counted.

        Args:
            kinds: From `obskit.catalogue.events`.
            call: Called with each.
            part: Whose it is, in `obskit_errors_total`.
            everywhere: Those of the service's other processes on this machine too, of which some may be lost; they come
                once this process serves.
        """
        made = Subscription(frozenset(kind.name for kind in kinds), call, part, everywhere, self._cancel)
        with self._lock:
            self._take((*self._subscriptions, made))
        self._follow()
        return made

    def _cancel(self, subscription: Subscription) -> None:
        with self._lock:
            self._take(tuple(known for known in self._subscriptions if known is not subscription))
        self._follow()

    def _take(self, subscriptions: tuple[Subscription, ...]) -> None:
        names = {name for subscription in subscriptions for name in subscription.names}
        self._subscriptions = subscriptions
        self._by_name = {name: tuple(each for each in subscriptions if name in each.names) for name in names}

    def _follow(self) -> None:
        # Without the lock: a thread may start. Whoever has changed them meanwhile may have been faster.
        names = None
        while names != (now := self._wanted_everywhere()):
            names = now
            self._exchange.follow(now)

    def _wanted_everywhere(self) -> frozenset[str]:
        return frozenset().union(*(each.names for each in self._subscriptions if each.everywhere))

    def _emitted(self, event: Event) -> None:
        at = recorder.wall_clock()
        self._deliver(Received(event, at, os.getpid(), True))
        self._exchange.offer(event, at)

    def _deliver(self, received: Received) -> None:
        wanted = self._by_name.get(received.event.name)
        if not wanted:
            return
        thread = threading.get_ident()
        depth = self._depth.get(thread, 0)
        if depth >= MAX_DEPTH:
            recorder.dropped.inc((self.name, "depth"))
            return
        self._depth[thread] = depth + 1
        try:
            for subscription in wanted:
                if not (received.is_own or subscription.everywhere):
                    continue
                try:
                    subscription.call(received)
                except Exception as error:
                    recorder.failed(subscription.part, error)
        finally:
            if depth:
                self._depth[thread] = depth
            else:
                self._depth.pop(thread, None)

    def flush(self, deadline: Deadline) -> None:
        """
        Write down what others want to know.
        """
        self._exchange.flush(deadline)

    def stop(self, deadline: Deadline) -> None:
        """
        End every subscription.
        """
        self._exchange.stop(deadline)
        with self._lock:
            self._take(())

    def after_fork(self) -> None:
        """
        Read others' events in the child too, once it serves.
        """
        self._lock, self._depth = threading.RLock(), {}
        self._exchange.after_fork()


class _EventSink(Sink):
    """
    Passes events on.
    """

    name = "subscribers"
    wants = frozenset[str]()

    def __init__(self, emitted: Callable[[Event], object]) -> None:
        self._emitted = emitted

    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]:
        """
        Have no step: operations are none of its.
        """
        return None, None

    def emit(self, event: Event) -> None:
        """
        Pass it on.
        """
        self._emitted(event)
