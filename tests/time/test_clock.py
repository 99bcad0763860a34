"""
There is one clock: nothing reads another, and a test's is told to all.
"""

import ast
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

import obskit
from obskit.health import heartbeat
from obskit.recorder import recorder
from obskit.testing import FakeClock, isolated_runtime
from obskit.time.clock import Deadline, clock, system_clock
from obskit.time.fake_time import FakeTime

PACKAGE = Path(obskit.__file__).parent
ROOM = "time"
# File -> why it reads a clock by itself. What a request pays for keeps `clock.monotonic`, which is the C function.
EXCEPTED: dict[str, str] = {}
CLASSES, METHODS = {"datetime", "date"}, {"now", "utcnow", "today"}


def reads(source):
    """
    Yield the lines on which a source reaches for a clock: the module `time`, and moments that classes make of it.
    """
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names) if any(alias.name == "time" for alias in names):
                yield node.lineno
            case ast.ImportFrom(module="time", level=0):
                yield node.lineno
            case ast.Call(func=ast.Name("import_module" | "__import__"), args=[ast.Constant(value="time"), *_]):
                yield node.lineno
            case ast.Attribute(value=ast.Name(name) | ast.Attribute(attr=name), attr=method) if (
                name in CLASSES and method in METHODS
            ):
                yield node.lineno


def test_nothing_else_reads_a_clock():
    """
    Only the room of time reads the machine's clock, but for what is excepted by name.
    """
    found = {
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] != ROOM and str(path.relative_to(PACKAGE)) not in EXCEPTED
        for line in reads(path.read_text("utf-8"))
    }

    assert set() == found


def test_who_reads_one_is_found():
    """
    The room itself is seen to read one, and each exception still does.
    """
    assert list(reads((PACKAGE / ROOM / "clock.py").read_text("utf-8")))
    assert all(list(reads((PACKAGE / name).read_text("utf-8"))) for name in EXCEPTED)


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "import os, time as t",
        "def f():\n from time import perf_counter_ns",
        "from datetime import datetime\ndatetime.now(UTC)",
        "import datetime\ndatetime.datetime.utcnow()",
        "from datetime import date\ntoday = date.today",
        "from importlib import import_module\nimport_module('time').sleep(1)",
    ],
)
def test_each_way_to_a_clock_is_found(source):
    """
    Whichever way a module reaches for the time, it is seen.
    """
    assert list(reads(source))


@pytest.mark.parametrize("source", ["from obskit.time.clock import clock", "import obskit.time.clock", "self.today()"])
def test_the_door_is_let_through(source):
    """
    Asking the room is no read.
    """
    assert [] == list(reads(source))


def test_the_clock_is_the_systems():
    """
    Without a test's clock, requests are timed by the C functions themselves.
    """
    assert clock.source is system_clock
    assert recorder.clock is clock.monotonic is system_clock.monotonic
    assert recorder.wall_clock is clock.wall is system_clock.wall


def test_a_tests_clock_is_told_to_all():
    """
    Operations, threads and stamps have the test's clock for as long as its block, and the system's after it.
    """
    fake, wall = FakeClock(5.0), FakeClock(1.5)
    with isolated_runtime(clock=fake, wall_clock=wall):
        assert [fake, fake] == [clock.monotonic, recorder.clock]
        assert [wall, wall] == [clock.wall, recorder.wall_clock]
        assert clock.source is not system_clock
    with pytest.raises(obskit.ConfigurationError), isolated_runtime(clock=fake, no_such_setting=1):
        pass

    assert clock.source is system_clock
    assert recorder.clock is system_clock.monotonic


def test_the_wall_follows_the_clock():
    """
    With a monotonic clock alone, the time of day is the system's at first, and goes on as the test says.
    """
    fake = FakeClock()
    before = system_clock.wall()
    with isolated_runtime(clock=fake):
        start = clock.wall()
        fake.advance(3600)

        assert start + 3600 == pytest.approx(clock.wall())
    assert before <= start + 1e-3
    assert start <= system_clock.wall() + 1e-3


def test_an_hour_passes_for_a_heartbeat():
    """
    What is late by the day is late by the test's clock.
    """
    fake = FakeClock()
    with isolated_runtime(clock=fake):
        nightly = heartbeat("nightly", max_age="26h")
        fake.advance(27 * 3600)

        assert "fail" == nightly().status


def test_a_wait_ends_with_its_time():
    """
    Who waits by the test's clock goes on when the test has had that time pass, and not before.
    """
    fake, gone_on = FakeClock(), []
    time, event = FakeTime(fake, None), threading.Event()

    def wait():
        time.wait(event, 60.0)
        gone_on.append(fake.now)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    fake.advance(30)
    fake.advance(30)
    thread.join(30)

    assert [60.0] == gone_on
    assert [] == fake._waiting


def test_a_wait_ends_with_its_event():
    """
    An event ends the wait at once, also one that has come before, and no time passes by it.
    """
    fake, event = FakeClock(), threading.Event()
    event.set()
    FakeTime(fake, None).wait(event, None)
    system_clock.wait(event, 1e12)

    assert 0.0 == fake.now


def test_a_clock_of_another_kind_is_not_moved():
    """
    Only a `FakeClock` can be moved to a moment; a function of the test's own tells what it likes.
    """
    time = FakeTime(lambda: 7.0, None)

    assert 7.0 == time.monotonic()
    with pytest.raises(TypeError, match="expected a FakeClock, found function"):
        time.move_to(8.0)


@pytest.mark.parametrize("wall", [None, FakeClock(100.0)])
def test_both_clocks_are_moved(wall):
    """
    A move of the clock is as long on the wall.
    """
    fake = FakeClock(10.0)
    time = FakeTime(fake, wall)
    before = time.wall()
    time.move_to(70.0)

    assert 70.0 == fake()
    assert before + 60 == pytest.approx(time.wall())


def test_one_clock_for_both_is_moved_once():
    """
    Where a test gives the same clock as both, a minute is a minute.
    """
    fake = FakeClock(10.0)
    time = FakeTime(fake, fake)
    time.move_to(70.0)

    assert (70.0, 70.0) == (time.monotonic(), time.wall())


def test_a_deadline_is_not_hurried():
    """
    How long another process is waited for is not the test's to say.
    """
    fake = FakeClock()
    with isolated_runtime(clock=fake):
        deadline, none = Deadline(1000.0), Deadline(0.0)
        fake.advance(1e6)

        assert not deadline.is_over()
        assert 0 < deadline.remaining() <= 1000.0
        assert none.is_over()
        none.rest(1000.0)
        assert 0.0 == none.remaining()


def test_moments_are_of_this_machine():
    """
    The wall's seconds are those since the epoch.
    """
    assert abs(datetime.now(UTC).timestamp() - system_clock.wall()) < 60
