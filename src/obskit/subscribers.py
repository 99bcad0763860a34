"""
Pass events on to parts that have named them: those of this process at once, and those of the service's other processes
on this machine within a second.

    subscribers.subscribe([events.HEALTH_TRANSITION], self._note, part="alerts", everywhere=True)

A process writes its events down for others only while one of them wants to know, and reads others' only while it does.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from obskit.background import BackgroundThread
from obskit.catalogue.events import EventKind
from obskit.components import Assembly, Component
from obskit.file_modes import make_file, make_folder
from obskit.operation import Event, HttpOperation, Operation
from obskit.recorder import Sink, Step, recorder
from obskit.redaction.redactor import Redactor
from obskit.redaction.settings import RedactionSettings
from obskit.service_settings import ServiceSettings
from obskit.storage.appended_records import KEPT_SECONDS, RecordFollower, RecordWriter
from obskit.storage.private_files import open_existing
from obskit.storage.state_folder import StateFolder
from obskit.time.clock import Deadline, WakeUp, system_clock

# An event is known elsewhere within a second: half of one until it is read, half for what that takes.
READ_EVERY_SECONDS = 0.5
# Who wants to know says so again and again, and is believed for so long: a process may be killed.
WANTED_EVERY_SECONDS, WANTED_FOR_SECONDS = 20.0, 60.0
# How often whoever has an event asks who wants it.
ASK_EVERY_SECONDS = 0.5
# Of events that subscribers emit because of events.
MAX_DEPTH = 4
_END = ".wanted"


class Received(NamedTuple):
    """
    An event, as a subscriber is told of it.

    Attributes:
        event: The event.
        at: When it was emitted: seconds since the epoch.
        process: Where, as the id of the process.
        is_own: Whether that is this process.
    """

    event: Event
    at: float
    process: int
    is_own: bool


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
        self._exchange = _Exchange(service, Redactor(redaction.redact_keys), self._deliver)
        self._sink = _EventSink(self._emitted, self._exchange)
        self._lock = threading.RLock()
        assembly.watchers.append(self._sink)

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
            everywhere: Those of the service's other processes on this machine too, of which some may be lost.
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

    def stop(self, deadline: Deadline) -> None:
        """
        End every subscription.
        """
        self._exchange.stop(deadline)
        with self._lock:
            self._take(())

    def after_fork(self) -> None:
        """
        Read others' events in the child too, from its first request or event on.
        """
        self._lock, self._depth = threading.RLock(), {}
        self._exchange.start_over()
        self._sink.has_begun = False
        recorder.rebind(HttpOperation)


class _EventSink(Sink):
    """
    Passes events on, and has the thread of the exchange begin with the first request after a fork.
    """

    name = "subscribers"
    wants = frozenset[str]()

    def __init__(self, emitted: Callable[[Event], object], exchange: _Exchange) -> None:
        self._emitted, self._exchange = emitted, exchange
        self.has_begun = False

    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]:
        """
        Have a step at the start of the next request, where a thread is due.
        """
        is_awaited = kind is HttpOperation and not self.has_begun and self._exchange.is_due
        return (self._begin if is_awaited else None), None

    def _begin(self, operation: object) -> None:
        self.has_begun = True  # where no thread can be had, the next event tries again
        self._exchange.ensure_running()
        recorder.rebind(HttpOperation)

    def emit(self, event: Event) -> None:
        """
        Pass it on.
        """
        self._emitted(event)


class _Exchange:
    """
    The events of all processes of a service on this machine, in `events/` of its state folder.
    """

    def __init__(self, settings: ServiceSettings, redactor: Redactor, deliver: Callable[[Received], object]) -> None:
        self._settings, self._redactor, self._deliver = settings, redactor, deliver
        self._wanted: frozenset[str] = frozenset()
        self._others_want: frozenset[str] = frozenset()
        self._asked_at = float("-inf")
        self._folder: Path | None = None
        self._writer: RecordWriter | None = None
        self._wake_up = WakeUp()
        self._thread = BackgroundThread(name="obskit-events", body=self._run, end=self._wake_up.set)
        self.start_over()

    def start_over(self) -> None:
        """
        Begin anew, as a forked child does: what has come so far is its parent's.
        """
        self._follower: RecordFollower | None = None
        self._said_at = float("-inf")

    @property
    def is_due(self) -> bool:
        """
        Whether somebody wants others' events, and nobody reads them.
        """
        return bool(self._wanted) and (not self._thread.is_running or self._thread.is_of_parent)

    def follow(self, names: frozenset[str]) -> None:
        """
        Want others' events of these names; of none, the thread ends.
        """
        if names == self._wanted:
            return
        had_any, self._wanted, self._said_at = bool(self._wanted), names, float("-inf")
        if names:
            self._wake_up.set()
            self.ensure_running()
        elif had_any:
            self._thread.stop()
            self._want_nothing()

    def ensure_running(self) -> None:
        """
        Start the thread where one is due; where none can be had, the next event or request tries again.
        """
        if self.is_due:
            self._thread.start()

    def stop(self, deadline: Deadline) -> None:
        """
        Read no more. This process's own events stay for those who have not read them yet.
        """
        had_any, self._wanted = bool(self._wanted), frozenset()
        self._thread.stop(deadline)
        if had_any:
            self._want_nothing()

    def _want_nothing(self) -> None:
        self.start_over()
        with suppress(OSError):
            os.unlink(self._wanted_path())

    # Writing

    def offer(self, event: Event, at: float) -> None:
        """
        Write an event down, where another process wants it.
        """
        self.ensure_running()
        if event.name not in self._names_wanted_elsewhere():
            return
        try:
            self._own_file().append(self._record(event, at))
        except (ValueError, TypeError, RecursionError):  # larger than a record may be, or nothing for JSON
            with suppress(OSError, ValueError):
                self._own_file().append(self._record(Event(event.name, event.severity, event.message[:1000]), at))
            recorder.dropped.inc(("subscribers", "fields"))
        except OSError:
            recorder.dropped.inc(("subscribers", "write"))

    def _record(self, event: Event, at: float) -> dict[str, Any]:
        return {
            "name": event.name,
            "level": event.severity,
            "message": self._redactor.value(event.message),
            "fields": dict(self._redactor.fields(event.fields)),
            "at": at,
            "pid": os.getpid(),
        }

    def _own_file(self) -> RecordWriter:
        if self._writer is None:
            self._writer = RecordWriter(self._path())
        return self._writer

    def _path(self) -> Path:
        if self._folder is None:
            self._folder = StateFolder(self._settings.state_dir, self._settings.service).path / "events"
        return self._folder

    def _wanted_path(self) -> Path:
        return self._path() / (self._own_file().name + _END)

    def _names_wanted_elsewhere(self) -> frozenset[str]:
        now = system_clock.monotonic()
        if now - self._asked_at >= ASK_EVERY_SECONDS:
            self._asked_at = now
            self._others_want = self._ask()
        return self._others_want

    def _ask(self) -> frozenset[str]:
        names: set[str] = set()
        if not self._path().is_absolute():  # this user has no home folder
            return frozenset()
        own = self._wanted_path().name
        with suppress(OSError), os.scandir(self._path()) as entries:
            for entry in entries:
                if entry.name.endswith(_END) and entry.name != own:
                    with suppress(OSError, ValueError):
                        names.update(_names_in(entry.path))
        return frozenset(names)

    # Reading

    def _run(self) -> None:
        # By the system's clock: no test can hurry what other processes do.
        while self._thread.is_current:
            seconds = READ_EVERY_SECONDS
            try:
                seconds = self._look()
            except Exception as error:
                if self._thread.is_current:  # else what it reads may be gone with the runtime
                    recorder.failed("subscribers", error)
            self._wake_up.wait(seconds)

    def _look(self) -> float:
        """
        Read what others have written since; return the seconds until the next look.
        """
        follower = self._follower  # another thread may end this one meanwhile
        if follower is None:
            StateFolder(self._settings.state_dir, self._settings.service).make()
            make_folder(self._path(), 0o700)
            follower = self._follower = RecordFollower(self._path(), lambda: self._own_file().name, _count_lost)
        if system_clock.monotonic() - self._said_at >= WANTED_EVERY_SECONDS:
            self._said_at = system_clock.monotonic()
            self._say_what_is_wanted()
        records = follower.read()
        for record in records:
            self._read(record)
        return 0.0 if records else READ_EVERY_SECONDS  # there may be more

    def _read(self, record: Mapping[str, Any]) -> None:
        name = record.get("name")
        if name not in self._wanted:
            return
        try:
            fields = dict(record["fields"])
            event = Event(str(name), str(record["level"]), str(record["message"]), fields)
            received = Received(event, float(record["at"]), int(record["pid"]), False)
        except (KeyError, TypeError, ValueError):
            _count_lost("damaged", 1)
            return
        self._deliver(received)

    def _say_what_is_wanted(self) -> None:
        """
        Write the names down, whole or not at all, and delete what processes have left that are long gone.
        """
        path = self._wanted_path()
        new = path.with_suffix(".new")
        with suppress(FileNotFoundError):
            os.unlink(new)
        descriptor = make_file(new, os.O_WRONLY, 0o600)
        try:
            os.write(descriptor, "\n".join(sorted(self._wanted)).encode())
        finally:
            os.close(descriptor)
        os.replace(new, path)
        with os.scandir(self._path()) as entries:
            for entry in entries:
                if entry.name.endswith((_END, ".new")):
                    with suppress(OSError):
                        if system_clock.wall() - os.lstat(entry.path).st_mtime > KEPT_SECONDS:
                            os.unlink(entry.path)


def _names_in(path: str) -> list[str]:
    descriptor = open_existing(path)
    try:
        if system_clock.wall() - os.fstat(descriptor).st_mtime > WANTED_FOR_SECONDS:
            return []
        return os.read(descriptor, 65_536).decode().split("\n")
    finally:
        os.close(descriptor)


def _count_lost(reason: str, count: int) -> None:
    recorder.dropped.inc(("subscribers", reason), count)
