"""
Whoever names an event is told of it: at once in this process, and soon of those of others.
"""

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from obskit.catalogue import events
from obskit.catalogue.events import EventKind
from obskit.recorder import recorder
from obskit.storage.state_folder import StateFolder
from obskit.testing import isolated_runtime
from obskit.time.clock import Deadline

TIMEOUT_SECONDS = 60
SERVICE = "subscribed"


@contextmanager
def subscribed(tmp_path=None, **settings):
    """
    Run a block with a runtime of a process that serves, and what is told of events in it.
    """
    given = {"serving": True} if tmp_path is None else {"serving": True, "state_dir": str(tmp_path)}
    with isolated_runtime(**{"service": SERVICE, **given, **settings}) as isolated:
        yield isolated.runtime._assembly.part("subscribers")


def emit(kind=events.UNKNOWN_SDK, message="no", **fields):
    recorder.emit(kind.event(message, fields))


def names_of_threads():
    return {thread.name for thread in threading.enumerate()}


def folder_of(tmp_path):
    return StateFolder(str(tmp_path), SERVICE).path / "events"


class Told:
    """
    Take events, and wait until one is told.
    """

    def __init__(self):
        self.received = []
        self._changed = threading.Condition()

    def __call__(self, received):
        with self._changed:
            self.received.append(received)
            self._changed.notify_all()

    def wait_for(self, message):
        """
        Return the first with this message.
        """
        with self._changed:
            there = self._changed.wait_for(lambda: message in self.messages, TIMEOUT_SECONDS)
            assert there, f"{message} did not come: {self.messages}"
            return next(received for received in self.received if received.event.message == message)

    @property
    def messages(self):
        return [received.event.message for received in self.received]


# In one process


def test_who_names_an_event_is_told_at_once():
    """
    A subscriber is called where the event is emitted, with that event, and for no other.
    """
    told = Told()
    with subscribed() as subscribers:
        subscribers.subscribe([events.UNKNOWN_SDK, events.OLD_PRICES], told, part="test")
        emit(message="one", sdk="openai")
        emit(events.ALONE, "not wanted")
        emit(events.OLD_PRICES, "two")
        [one, two] = told.received

    assert ("one", {"sdk": "openai"}, True, os.getpid()) == (one.event.message, one.event.fields, *one[3:1:-1])
    assert ("ai.old_prices", "WARNING", "two") == (two.event.name, two.event.severity, two.event.message)


def test_no_thread_and_no_file_without_a_subscriber(tmp_path):
    """
    Where nobody wants others' events there is no thread, and nothing is written.
    """
    with subscribed(tmp_path) as subscribers:
        emit()
        subscribers.subscribe([events.UNKNOWN_SDK], Told(), part="test")
        emit()

        assert "obskit-events" not in names_of_threads()
    assert not folder_of(tmp_path).exists()


def threads_of_events():
    return [name for name in names_of_threads() if name.startswith("obskit-event")]


@pytest.mark.parametrize("serving", [None, False])
def test_a_process_that_does_not_serve_starts_nothing(tmp_path, serving):
    """
    Whoever only imports the application, as a command does, has no thread and makes no file, whatever its parts want to
    know and emit, on an event loop too.
    """

    async def on_loop():
        emit()
        return threads_of_events()

    with subscribed(tmp_path, serving=serving) as subscribers:
        subscribers.subscribe([events.UNKNOWN_SDK], Told(), part="test", everywhere=True)
        emit()
        threads = threads_of_events() + asyncio.run(on_loop())

    assert [] == threads
    assert [] == list(tmp_path.iterdir())


def test_what_is_cancelled_is_told_no_more(tmp_path):
    """
    A cancelled subscription is not called, and its thread ends with the last that needs it.
    """
    told = Told()
    with subscribed(tmp_path) as subscribers:
        one = subscribers.subscribe([events.UNKNOWN_SDK], told, part="test", everywhere=True)
        other = subscribers.subscribe([events.UNKNOWN_SDK], Told(), part="test", everywhere=True)
        [thread] = [thread for thread in threading.enumerate() if thread.name == "obskit-events"]
        emit(message="one")
        one.cancel()
        one.cancel()
        emit(message="two")
        is_running = thread.is_alive()
        other.cancel()
        thread.join(TIMEOUT_SECONDS)

    assert (["one"], True, False) == (told.messages, is_running, thread.is_alive())


class Overtaken:
    """
    A yes that comes once another has been faster.
    """

    def __init__(self, faster):
        self._faster = faster

    def __bool__(self):
        faster, self._faster = self._faster, lambda: None
        faster()
        return True


def test_who_subscribes_meanwhile_is_told_too(tmp_path):
    """
    Of two that subscribe at once, the slower does not have what the faster wants of others forgotten.
    """
    with subscribed(tmp_path) as subscribers:

        def subscribe(kind, everywhere):
            subscribers.subscribe([kind], Told(), part="test", everywhere=everywhere)

        subscribe(events.UNKNOWN_SDK, Overtaken(lambda: subscribe(events.ALONE, True)))

        assert {events.UNKNOWN_SDK.name, events.ALONE.name} == subscribers._exchange.wanted


def test_one_that_raises_keeps_nobody_from_being_told():
    """
    What a subscriber raises is counted under its part, and the others are called.
    """

    def fail(received):
        raise OSError("no")

    told = Told()
    with subscribed(strict=False) as subscribers:
        subscribers.subscribe([events.UNKNOWN_SDK], fail, part="broken")
        subscribers.subscribe([events.UNKNOWN_SDK], told, part="test")
        emit(message="one")
        emit(message="two")
        errors = dict(recorder.errors)

    assert (["one", "two"], {"broken": 2}) == (told.messages, errors)


def test_events_because_of_events_have_an_end():
    """
    A subscriber that emits what it is told of is not called for ever; what is left out is counted.
    """
    with subscribed() as subscribers:
        told = Told()

        def again(received):
            told(received)
            emit()

        subscribers.subscribe([events.UNKNOWN_SDK], again, part="test")
        emit()
        dropped = dict(recorder.dropped)
        emit()

    assert (8, {("subscribers", "depth"): 1}) == (len(told.received), dropped)


def test_kinds_of_others_are_told():
    """
    A kind that is not in the catalogue, as an application's part has one, is told as any other.
    """
    kind, told = EventKind("toy.broken", ("ERROR",), "A toy broke."), Told()
    with subscribed() as subscribers:
        subscribers.subscribe([kind], told, part="test")
        emit(kind, "broken")

    assert ["broken"] == told.messages


def test_nobody_is_told_after_the_runtime():
    """
    A subscription ends with its runtime, and no thread is left.
    """
    told = Told()
    with subscribed() as subscribers:
        subscribers.subscribe([events.UNKNOWN_SDK], told, part="test", everywhere=True)
    with subscribed():
        emit()

    assert told.received == []


# Among processes

OTHER = f"""
import sys, threading
import obskit
from obskit.catalogue import events
from obskit.recorder import recorder
obskit.configure(service="{SERVICE}", state_dir=sys.argv[1], log_file="/dev/null")
print("ready", flush=True)
for line in sys.stdin:
    recorder.emit(events.UNKNOWN_SDK.event(line.strip(), {{"sdk": "openai", "password": "hunter2", "odd": object}}))
    print("said", flush=True)
"""


@contextmanager
def other(tmp_path):
    """
    Run another process of the service, which emits an event for each line that it is given.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert "ready\n" == process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def say(process, message):
    process.stdin.write(message + "\n")
    process.stdin.flush()
    assert "said\n" == process.stdout.readline()


def wait_until_wanted(tmp_path, by=1):
    """
    Wait until so many processes have said what they want.
    """
    deadline = Deadline(TIMEOUT_SECONDS)
    while len(list(folder_of(tmp_path).glob("*.wanted"))) < by:
        assert not deadline.is_over()
        deadline.rest(0.01)


def test_events_of_other_processes_arrive(tmp_path):
    """
    What another process of the service emits comes to who wants it everywhere, without secrets, and to no other.
    """
    everywhere, here = Told(), Told()
    with subscribed(tmp_path) as subscribers:
        subscribers.subscribe([events.UNKNOWN_SDK], everywhere, part="test", everywhere=True)
        subscribers.subscribe([events.UNKNOWN_SDK], here, part="test")
        wait_until_wanted(tmp_path)
        with other(tmp_path) as process:
            for number in range(20):
                say(process, f"event {number}")
            found = everywhere.wait_for("event 19")

            assert [f"event {number}" for number in range(20)] == everywhere.messages
            assert (False, process.pid) == (found.is_own, found.process)
    assert here.received == []
    assert ("WARNING", "openai") == (found.event.severity, found.event.fields["sdk"])
    assert "hunter2" not in str(found)


def test_a_process_that_is_killed_keeps_nobody(tmp_path):
    """
    What a killed process has emitted arrives, and so does what others emit after it.
    """
    told = Told()
    with subscribed(tmp_path) as subscribers:
        subscribers.subscribe([events.UNKNOWN_SDK], told, part="test", everywhere=True)
        wait_until_wanted(tmp_path)
        with other(tmp_path) as one, other(tmp_path) as two:
            say(one, "before")
            one.send_signal(signal.SIGKILL)
            say(two, "after")
            told.wait_for("before")
            told.wait_for("after")


def test_nothing_is_written_for_who_is_gone(tmp_path):
    """
    Where who wanted to know ended without a word, a process soon writes nothing down for it any more.
    """
    folder = folder_of(tmp_path)
    folder.mkdir(parents=True)
    gone = folder / "1-gone.wanted"
    gone.write_text(events.UNKNOWN_SDK.name)
    os.utime(gone, (0, 0))
    with other(tmp_path) as process:
        say(process, "for nobody")

    assert list(folder.glob("*.records")) == []


def emit_until_answered(message, answers):
    """
    Emit again and again: a process asks at most twice a second who wants its events.
    """
    emit(message=message)
    while not select.select([answers], [], [], 0.2)[0]:
        emit(message=message)


CHILD = f"""
import json, os, sys, threading
import obskit
from obskit.catalogue import events
from obskit.operation import HttpOperation
from obskit.recorder import recorder

def threads():
    return [thread.name for thread in threading.enumerate() if thread.name == "obskit-events"]

def tell(received):
    if os.getpid() != parent:
        print(json.dumps([received.event.message, received.is_own]), flush=True)

parent = os.getpid()
runtime = obskit.configure(service="{SERVICE}", state_dir=sys.argv[1], log_file="/dev/null")
runtime._assembly.part("subscribers").subscribe([events.UNKNOWN_SDK], tell, part="test", everywhere=True)

def serve():
    plan, operation = recorder.plan(HttpOperation), HttpOperation("GET", "/")
    plan.begin(operation)
    plan.end(operation)
    return threads()

found = [threads(), serve()]
if os.fork():
    os.wait()
    os._exit(0)
print(json.dumps([*found, threads(), serve()]), flush=True)
for line in sys.stdin:
    recorder.emit(events.UNKNOWN_SDK.event(line.strip()))
"""


def test_a_forked_child_tells_and_is_told(tmp_path):
    """
    A process reads from its first request on; its child has no thread of it, reads from a first request of its own on,
    and is read by others.
    """
    told = Told()
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    with subscribed(tmp_path) as subscribers:
        subscribers.subscribe([events.UNKNOWN_SDK], told, part="test", everywhere=True)
        wait_until_wanted(tmp_path)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            threads = json.loads(process.stdout.readline())
            process.stdin.write("of the child\n")
            process.stdin.flush()
            own = json.loads(process.stdout.readline())
            found = told.wait_for("of the child")
            wait_until_wanted(tmp_path, by=3)
            emit_until_answered("of the test", process.stdout)
            other = json.loads(process.stdout.readline())
            process.stdin.close()
            process.stdout.read()

    assert [[], ["obskit-events"], [], ["obskit-events"]] == threads
    assert ["of the child", True] == own
    assert ["of the test", False] == other
    assert not found.is_own
    assert found.process not in (os.getpid(), process.pid)


@pytest.mark.parametrize("is_serving", [True, False])
def test_no_event_loop_waits_for_a_file(tmp_path, is_serving):
    """
    What is emitted on an event loop is written by a thread: at once where the process serves, else at its end.
    """
    command = [sys.executable, "-c", ON_LOOP, str(tmp_path), json.dumps(is_serving)]
    told = Told()
    with subscribed(tmp_path) as subscribers:
        subscribers.subscribe([events.UNKNOWN_SDK], told, part="test", everywhere=True)
        wait_until_wanted(tmp_path)
        touched, has_started = json.loads(subprocess.check_output(command, text=True, timeout=TIMEOUT_SECONDS))
        told.wait_for("late")

    assert [] == touched
    assert is_serving or not has_started
    assert ["early", "late"] == told.messages


ON_LOOP = f"""
import asyncio, json, sys, threading
import obskit
from obskit.catalogue import events
from obskit.recorder import recorder

obskit.configure(service="{SERVICE}", state_dir=sys.argv[1], serving=json.loads(sys.argv[2]), log_file="/dev/null")
touched, started, loop_thread, is_on_loop = [], [], threading.get_ident(), False

def watch(event, args):
    if is_on_loop and event.startswith("_thread.start_"):
        started.append(event)
    if is_on_loop and threading.get_ident() == loop_thread:
        if event in ("open", "os.scandir", "os.listdir", "os.rename", "os.remove") and sys.argv[1] in str(args[0]):
            touched.append([event, str(args[0])])

async def main():
    global is_on_loop
    is_on_loop = True
    recorder.emit(events.UNKNOWN_SDK.event("early"))
    recorder.emit(events.UNKNOWN_SDK.event("late"))
    is_on_loop = False

sys.addaudithook(watch)
asyncio.run(main())
obskit.shutdown()
print(json.dumps([touched, bool(started)]))
"""


@pytest.mark.parametrize("plant", [lambda path: path.write_text(""), lambda path: path.symlink_to("/nowhere")])
def test_a_folder_that_cannot_be_used_breaks_nothing(tmp_path, plant):
    """
    Where the folder of events is none, events of this process are told as ever, and the failure is counted.
    """
    folder = folder_of(tmp_path)
    folder.parent.mkdir(parents=True)
    plant(folder)
    told = Told()
    with subscribed(tmp_path, strict=False) as subscribers:
        subscribers.subscribe([events.UNKNOWN_SDK], told, part="test", everywhere=True)
        emit(message="here")

    assert ["here"] == told.messages
