"""
Exchange events among the processes of a service on this machine, by files in `events/` of its state folder.

Two threads do it in a process that serves: one reads what others write for as long as this process wants to know, one
writes what others want, and ends when that is done.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from obskit.background import BackgroundThread, Queue
from obskit.event_loop import in_event_loop
from obskit.file_modes import make_file
from obskit.operation import Event
from obskit.recorder import recorder
from obskit.redaction.redactor import Redactor
from obskit.service_settings import ServiceSettings
from obskit.storage.appended_records import KEPT_SECONDS, Record, RecordFollower, RecordWriter
from obskit.storage.private_files import make_private_folder, open_existing
from obskit.storage.state_folder import StateFolder
from obskit.time.clock import Clock, Deadline, WakeUp, system_clock
from obskit.workers.candidates import is_candidate

# An event is known elsewhere within a second: half of one until it is read, half for what that takes.
READ_EVERY_SECONDS = 0.5
# Who wants to know says so again and again, and is believed for so long: a process may be killed.
WANTED_EVERY_SECONDS, WANTED_FOR_SECONDS = 20.0, 60.0
# What was said is said anew where the wall clock was set by more than this.
CLOCK_SET_SECONDS = 5.0
# How often whoever has an event asks who wants it.
ASK_EVERY_SECONDS = 0.5
# Events that wait to be written.
QUEUE_SIZE = 1000
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


class EventExchange:
    """
    The events of all processes of a service, of one runtime.

    Args:
        settings: Which service, and where its state is.
        redactor: Takes secrets out of what is written.
        deliver: Called with each event of another process that is wanted, in a thread.
    """

    def __init__(self, settings: ServiceSettings, redactor: Redactor, deliver: Callable[[Received], object]) -> None:
        self._redactor, self._deliver = redactor, deliver
        self.wanted: frozenset[str] = frozenset()
        self._wake_up = WakeUp()
        self._reading = BackgroundThread(name="obskit-events", body=self._read_on, end=self._wake_up.set)
        self._writing: Queue[Record] = Queue(
            name="obskit-event-writer",
            handle=self._write,
            failed=recorder.failed,
            part="subscribers",
            size=QUEUE_SIZE,
            dropped=lambda: _count_lost("queue_full", 1),
        )
        self._files = EventFiles(settings)

    def after_fork(self) -> None:
        """
        Begin anew in a forked child: what has come so far is its parent's.
        """
        self._files.after_fork()

    def follow(self, names: frozenset[str]) -> None:
        """
        Want others' events of these names; of none, the thread ends.
        """
        if names == self.wanted:
            return
        self.wanted = names
        if names:
            self._wake_up.set()
            self.ensure_running()
        else:
            self._reading.stop()

    def ensure_running(self) -> None:
        """
        Start the thread that reads, in a process that serves; where none can be had, the next event tries again.
        """
        if self.wanted and is_candidate():
            self._reading.start()

    def serve(self) -> None:
        """
        Begin with what waits for this process to serve.
        """
        self.ensure_running()
        if self._writing.is_waiting:
            self._writing.start()

    def flush(self, deadline: Deadline) -> None:
        """
        Write what waits to be written.
        """
        self._writing.flush(deadline)

    def stop(self, deadline: Deadline) -> None:
        """
        Read no more. This process's own events stay for those who have not read them yet.
        """
        self.wanted = frozenset()
        self._writing.stop(deadline)
        self._reading.stop(deadline)

    # Writing

    def offer(self, event: Event, at: float) -> None:
        """
        Have an event written down where another process wants it. No event loop waits for that: a thread does it, which
        a process that does not serve has at its end alone.
        """
        self.ensure_running()
        if not self._files.may_be_wanted(event.name):
            return
        is_serving = is_candidate()
        record = self._record(event, at)
        if is_serving or in_event_loop():
            self._writing.put(record, starts=is_serving)
        else:
            self._write(record)

    def _record(self, event: Event, at: float) -> Record:
        return {
            "name": event.name,
            "level": event.severity,
            "message": self._redactor.value(event.message),
            "fields": dict(self._redactor.fields(event.fields)),
            "at": at,
            "pid": os.getpid(),
        }

    def _write(self, record: Record) -> None:
        try:
            if record["name"] in self._files.wanted_elsewhere():
                self._files.append(record)
        except OSError:
            _count_lost("write", 1)

    # Reading

    def _read_on(self) -> None:
        reader = EventReader(self._files, lambda: self.wanted, self._deliver)
        try:
            while self._reading.is_current:
                seconds = READ_EVERY_SECONDS
                try:
                    seconds = reader.look()
                except Exception as error:
                    if self._reading.is_current:  # else what it reads may be gone with the runtime
                        recorder.failed("subscribers", error)
                self._wake_up.wait(seconds)
        finally:
            self._files.say(lambda: self.wanted)


class EventReader:
    """
    Reads what others write from its first look on, and says again and again what is wanted. Of one thread alone.

    Args:
        files: The service's.
        wanted: Returns the names that this process wants to know of.
        deliver: Called with each event.
        clock: The system's: no test can hurry what other processes do.
    """

    def __init__(
        self,
        files: EventFiles,
        wanted: Callable[[], frozenset[str]],
        deliver: Callable[[Received], object],
        clock: Clock = system_clock,
    ) -> None:
        self._files, self._wanted, self._deliver, self._clock = files, wanted, deliver, clock
        self._follower: RecordFollower | None = None
        self._said: frozenset[str] = frozenset()
        self._said_at = self._said_at_wall = 0.0

    def look(self) -> float:
        """
        Read what others have written since; return the seconds until the next look.
        """
        if self._follower is None:
            self._follower = self._files.followed(self._clock)
        wanted = self._wanted()
        if wanted and (wanted != self._said or self._is_forgotten()):
            self._said, self._said_at, self._said_at_wall = wanted, self._clock.monotonic(), self._clock.wall()
            self._files.say(self._wanted)
        records = self._follower.read()
        for record in records:
            if record.get("name") in wanted:
                self._read(record)
        return 0.0 if records else READ_EVERY_SECONDS  # there may be more

    def _is_forgotten(self) -> bool:
        """
        Whether others soon take what was said for that of a process that was killed.
        """
        passed, passed_by_wall = self._clock.monotonic() - self._said_at, self._clock.wall() - self._said_at_wall
        return passed >= WANTED_EVERY_SECONDS or abs(passed_by_wall - passed) > CLOCK_SET_SECONDS

    def _read(self, record: Record) -> None:
        try:
            fields = dict(record["fields"])
            event = Event(str(record["name"]), str(record["level"]), str(record["message"]), fields)
            received = Received(event, float(record["at"]), int(record["pid"]), False)
        except (KeyError, TypeError, ValueError):
            _count_lost("damaged", 1)
            return
        self._deliver(received)


class EventFiles:
    """
    What processes of a service write for each other: a file of events each, and what each wants to know. Thread-safe.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self._state = StateFolder(settings.state_dir, settings.service)
        self._folder = self._state.path / "events"
        self._own = RecordWriter(self._folder)
        self.after_fork()

    def after_fork(self) -> None:
        """
        Ask anew, in a forked child.
        """
        self._saying = Lock()
        self._wanted_elsewhere: frozenset[str] = frozenset()
        self._asked_at = float("-inf")

    # Events

    def append(self, record: Record) -> None:
        """
        Write an event down; without its fields, where it is larger than a record may be, or nothing for JSON.

        Raises:
            OSError: It cannot be written.
        """
        self._state.check()
        try:
            self._own.append(record)
        except (ValueError, TypeError, RecursionError):
            _count_lost("fields", 1)
            self._own.append({**record, "message": str(record["message"])[:1000], "fields": {}})

    def followed(self, clock: Clock) -> RecordFollower:
        """
        Follow the events of others from now on; the folder is made where it is missing.
        """
        self._state.make()
        make_private_folder(self._folder)
        return RecordFollower(self._folder, lambda: self._own.name, _count_lost, clock)

    # Who wants to know

    def may_be_wanted(self, name: str) -> bool:
        """
        Whether another process may want such events, without a look.
        """
        return self._must_ask() or name in self._wanted_elsewhere

    def wanted_elsewhere(self) -> frozenset[str]:
        """
        Return what other processes want to know of.
        """
        if self._must_ask():
            asked_at = system_clock.monotonic()
            self._wanted_elsewhere = self._ask()
            self._asked_at = asked_at  # not before: others that emit meanwhile go by it
        return self._wanted_elsewhere

    def _must_ask(self) -> bool:
        return system_clock.monotonic() - self._asked_at >= ASK_EVERY_SECONDS

    def _ask(self) -> frozenset[str]:
        names: set[str] = set()
        if not self._folder.is_absolute():  # this user has no home folder
            return frozenset()
        own = self._wanted_path().name
        with suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.endswith(_END) and entry.name != own:
                    with suppress(OSError, ValueError):
                        names.update(_names_in(entry.path))
        return frozenset(names)

    def say(self, wanted: Callable[[], frozenset[str]]) -> None:
        """
        Write down what this process wants, whole or not at all, or take it back where that is nothing any more; delete
        what processes have left that are long gone.
        """
        path = self._wanted_path()
        with self._saying:
            names = wanted()
            if not names:
                with suppress(OSError):
                    os.unlink(path)
                return
            new = path.with_suffix(".new")
            with suppress(FileNotFoundError):
                os.unlink(new)
            descriptor = make_file(new, os.O_WRONLY, 0o600)
            try:
                os.write(descriptor, "\n".join(sorted(names)).encode())
            finally:
                os.close(descriptor)
            os.replace(new, path)
        self._clean_up()

    def _clean_up(self) -> None:
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.endswith((_END, ".new")):
                    with suppress(OSError):
                        if system_clock.wall() - os.lstat(entry.path).st_mtime > KEPT_SECONDS:
                            os.unlink(entry.path)

    def _wanted_path(self) -> Path:
        return self._folder / (self._own.name + _END)


def _names_in(path: str) -> list[str]:
    descriptor = open_existing(path)
    try:
        if abs(system_clock.wall() - os.fstat(descriptor).st_mtime) > WANTED_FOR_SECONDS:
            return []
        return os.read(descriptor, 65_536).decode().split("\n")
    finally:
        os.close(descriptor)


def _count_lost(reason: str, count: int) -> None:
    recorder.dropped.inc(("subscribers", reason), count)
