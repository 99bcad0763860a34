"""
What is wanted is known to others in time, and what they write is read in time, whatever becomes of clocks.
"""

import os

import pytest

from obskit.catalogue import events
from obskit.event_exchange import (
    ASK_EVERY_SECONDS,
    QUEUE_SIZE,
    READ_EVERY_SECONDS,
    WANTED_EVERY_SECONDS,
    WANTED_FOR_SECONDS,
    EventFiles,
    EventReader,
)
from obskit.recorder import recorder
from obskit.service_settings import ServiceSettings
from obskit.testing import isolated_runtime
from obskit.time.clock import system_clock

NAME = events.UNKNOWN_SDK.name


def files_in(tmp_path):
    return EventFiles(ServiceSettings(service="shop", state_dir=str(tmp_path)))


class SetClock:
    """
    A clock whose two times a test moves each by itself.
    """

    def __init__(self):
        self.passed = self.set_by = 0.0

    def monotonic(self):
        return self.passed

    def wall(self):
        return system_clock.wall() + self.passed + self.set_by


def record(number):
    return {"name": NAME, "level": "INFO", "message": str(number), "fields": {}, "at": 0.0, "pid": 1}


def test_an_event_is_read_with_the_next_look(tmp_path):
    """
    What another process has written comes with one look, all of it, and looks are so close that it is there in a
    second.
    """
    received, others = [], files_in(tmp_path)
    reader = EventReader(files_in(tmp_path), lambda: frozenset({NAME}), received.append)
    first = reader.look()
    is_known = NAME in others.wanted_elsewhere()
    for number in range(100):
        others.append(record(number))
    again, last = reader.look(), reader.look()

    assert is_known
    assert [str(number) for number in range(100)] == [each.event.message for each in received]
    assert [READ_EVERY_SECONDS, 0.0, READ_EVERY_SECONDS] == [first, again, last]
    assert READ_EVERY_SECONDS + ASK_EVERY_SECONDS <= 1


@pytest.mark.parametrize("moved", [{"passed": WANTED_EVERY_SECONDS}, {"set_by": 7200.0}, {"set_by": -7200.0}])
def test_what_is_wanted_is_said_again_in_time(tmp_path, moved):
    """
    It is said again before it is taken for that of a killed process, at once where the wall clock was set.
    """
    clock, wanted = SetClock(), frozenset({NAME})
    reader = EventReader(files_in(tmp_path), lambda: wanted, id, clock)
    reader.look()
    [path] = tmp_path.glob("*/events/*.wanted")
    os.utime(path, (0, 0))
    reader.look()
    before = path.stat().st_mtime
    for name, by in moved.items():
        setattr(clock, name, by)
    reader.look()

    assert (0, True) == (before, path.stat().st_mtime > 0)
    assert WANTED_EVERY_SECONDS < WANTED_FOR_SECONDS


@pytest.mark.parametrize("seconds", [-2 * WANTED_FOR_SECONDS, 2 * WANTED_FOR_SECONDS])
def test_who_said_so_at_another_time_is_not_believed(tmp_path, seconds):
    """
    What was said long ago is not wanted, nor what was said at a time that is still to come.
    """
    here, there = files_in(tmp_path), files_in(tmp_path)
    EventReader(there, lambda: frozenset({NAME}), id).look()
    [path] = tmp_path.glob("*/events/*.wanted")
    moment = system_clock.wall() + seconds
    os.utime(path, (moment, moment))

    assert frozenset() == here.wanted_elsewhere()


def test_what_is_wanted_no_more_is_taken_back_at_the_end(tmp_path):
    """
    Of two threads of one process the one that ends leaves what the other has said.
    """
    files, wanted = files_in(tmp_path), {NAME}
    EventReader(files, lambda: frozenset(wanted), id).look()
    files.say(lambda: frozenset(wanted))
    left = list(tmp_path.glob("*/events/*.wanted"))
    wanted.clear()
    files.say(lambda: frozenset(wanted))

    assert (1, []) == (len(left), list(tmp_path.glob("*/events/*.wanted")))


@pytest.mark.parametrize("at", ["shop", "shop/events"])
def test_nothing_is_done_through_a_link(tmp_path, at):
    """
    A link in the place of the service's folder, or of the one of events, is refused by who writes and who reads.
    """
    there = tmp_path / "there"
    (there / "events").mkdir(parents=True)
    files = files_in(tmp_path / "state")
    link = tmp_path / "state" / at
    link.parent.mkdir(parents=True)
    link.symlink_to(there if at == "shop" else there / "events")
    with pytest.raises(NotADirectoryError, match="it is a link"):
        files.append(record(1))
    with pytest.raises(OSError, match=r"link|File exists"):
        EventReader(files, lambda: frozenset({NAME}), id).look()

    assert [there / "events"] == list(there.rglob("*"))


def test_what_waits_for_a_thread_is_bounded(tmp_path):
    """
    Where more is emitted on an event loop than waits, the rest is counted.
    """
    import asyncio

    async def emit():
        for _ in range(QUEUE_SIZE + 5):
            recorder.emit(events.UNKNOWN_SDK.event("no"))

    with isolated_runtime(service="shop", state_dir=str(tmp_path), serving=False):
        asyncio.run(emit())
        dropped = dict(recorder.dropped)

    assert 5 == dropped[("subscribers", "queue_full")]
