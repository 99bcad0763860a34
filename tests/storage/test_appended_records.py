"""
Records of other processes are read once each, in order, whatever happens to their files.
"""

import json
import os
import signal
import subprocess
import sys

import pytest

from obskit.storage import appended_records
from obskit.storage.appended_records import (
    KEPT_SECONDS,
    READ_WITHIN_SECONDS,
    RECORD_BYTES,
    RecordFollower,
    RecordWriter,
)
from obskit.time.clock import system_clock


class Losses(dict):
    def __call__(self, reason, count):
        self[reason] = self.get(reason, 0) + count


@pytest.fixture
def lost():
    return Losses()


@pytest.fixture
def follower(tmp_path, lost):
    return RecordFollower(tmp_path, lambda: "nobody", lost)


def told(follower):
    """
    Read all there is: of a large file, a piece at a time.
    """
    found = []
    while records := follower.read():
        found += [record["what"] for record in records]
    return found


def path_of(folder, writer):
    return folder / f"{writer.name}.records"


def test_records_are_read_once_in_their_order(tmp_path, follower, lost):
    """
    What is appended comes with the next look, once, and what was there before never does.
    """
    early, late = RecordWriter(tmp_path), RecordWriter(tmp_path)
    early.append({"what": "before"})
    here = RecordFollower(tmp_path, lambda: "nobody", lost)
    for number in range(3):
        early.append({"what": number})
    late.append({"what": "late"})
    first, again = told(here), told(here)
    early.append({"what": 3})

    assert [0, 1, 2, "late"] == sorted(first, key=str)
    assert [0, 1, 2] == [what for what in first if what != "late"]
    assert ([], [3], {}) == (again, told(here), lost)


def test_own_records_are_not_read(tmp_path, lost):
    """
    A process does not read what it has written itself.
    """
    writer = RecordWriter(tmp_path)
    here = RecordFollower(tmp_path, lambda: writer.name, lost)
    writer.append({"what": 1})

    assert told(here) == []


def test_files_are_this_users_alone(tmp_path):
    """
    No other user reads a record.
    """
    writer = RecordWriter(tmp_path)
    writer.append({"what": 1})

    assert 0o600 == path_of(tmp_path, writer).stat().st_mode & 0o777


def test_a_record_in_the_making_is_waited_for(tmp_path, follower, lost):
    """
    The beginning of a line is no record until it is whole.
    """
    path = tmp_path / "1-a.records"
    path.write_bytes(b'{"what":1,"n":1}\n{"what":2,')
    first = told(follower)
    with path.open("ab") as file:
        file.write(b'"n":2}\n')

    assert ([1], [2], {}) == (first, told(follower), lost)


@pytest.mark.parametrize("line", [b"{", b"[]", b"1", b'{"what":1}', b'{"n":"x"}', b"\xff", b"[" * 5000])
def test_damage_is_counted_and_left_behind(tmp_path, follower, lost, line):
    """
    A line that is no record is counted, and those behind it are read.
    """
    (tmp_path / "1-a.records").write_bytes(b'{"what":1,"n":1}\n' + line + b'\n{"what":2,"n":2}\n')

    assert ([1, 2], {"damaged": 1}) == (told(follower), lost)


def test_a_stretch_without_an_end_is_left_behind(tmp_path, follower, lost):
    """
    What is larger than any record, and has no end, is not waited for.
    """
    path = tmp_path / "1-a.records"
    path.write_bytes(b"\0" * (RECORD_BYTES * 3))
    before = told(follower)
    with path.open("ab") as file:
        file.write(b'\n{"what":2,"n":2}\n')

    assert ([], [2], {"damaged": 1}) == (before, told(follower), lost)


def test_a_file_that_is_cut_is_read_from_its_start(tmp_path, follower, lost):
    """
    Records that are written after a truncation come, none of them twice.
    """
    writer = RecordWriter(tmp_path)
    for number in range(5):
        writer.append({"what": number})
    first = told(follower)
    os.truncate(path_of(tmp_path, writer), 0)
    writer.append({"what": "after"})

    assert ([0, 1, 2, 3, 4], ["after"], {}) == (first, told(follower), lost)


def test_what_was_read_before_a_cut_is_not_read_again(tmp_path, follower, lost):
    """
    A file that is cut to its first lines has nothing new in them.
    """
    writer = RecordWriter(tmp_path)
    writer.append({"what": 0})
    size = path_of(tmp_path, writer).stat().st_size
    writer.append({"what": 1})
    first = told(follower)
    os.truncate(path_of(tmp_path, writer), size)

    assert ([0, 1], [], {}) == (first, told(follower), lost)


def test_a_deleted_file_is_made_anew(tmp_path, follower, lost):
    """
    Where a file is deleted, the next record makes another; what was in it and not read is counted.
    """
    writer = RecordWriter(tmp_path)
    writer.append({"what": 0})
    first = told(follower)
    writer.append({"what": "never read"})
    path_of(tmp_path, writer).unlink()
    writer.append({"what": 2})

    assert ([0], [2], {"missed": 1}) == (first, told(follower), lost)


def test_files_are_put_aside_when_they_are_large(tmp_path, follower, lost, monkeypatch):
    """
    However much is written, a writer has two files of bounded size, and who follows reads every record.
    """
    monkeypatch.setattr(appended_records, "FILE_BYTES", 2000)
    monkeypatch.setattr(appended_records, "CHUNK_BYTES", 500)
    writer, found = RecordWriter(tmp_path), []
    for number in range(500):
        writer.append({"what": number})
        if number % 20 == 0:
            found += told(follower)
    found += told(follower)

    assert (list(range(500)), {}) == (found, lost)
    assert 2 == len(list(tmp_path.iterdir()))
    assert max(path.stat().st_size for path in tmp_path.iterdir()) < 2100


def test_a_full_disk_costs_one_record(tmp_path, follower, lost, monkeypatch):
    """
    A record of which the disk took half spoils none of those after it.
    """
    writer, write = RecordWriter(tmp_path), os.write
    writer.append({"what": 1})
    with monkeypatch.context() as patched:
        patched.setattr(appended_records.os, "write", lambda to, line: write(to, line[: len(line) // 2]))
        writer.append({"what": 2})
    writer.append({"what": 3})

    assert ([1, 3], {"damaged": 1, "missed": 1}) == (told(follower), lost)


def test_a_record_has_a_bound(tmp_path, follower):
    """
    One that is too large is refused, and those after it are numbered on.
    """
    writer = RecordWriter(tmp_path)
    with pytest.raises(ValueError, match="a record has at most 16384 bytes"):
        writer.append({"what": "x" * RECORD_BYTES})
    writer.append({"what": 1})

    assert [1] == told(follower)


def fifo(path):
    os.mkfifo(path)


def link(path):
    path.with_name("elsewhere").write_text('{"what":1,"n":1}\n')
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("plant", [fifo, link, lambda path: path.mkdir(), lambda path: path.symlink_to("nowhere")])
def test_what_is_no_file_is_not_read(tmp_path, follower, lost, plant):
    """
    A FIFO, a folder or a link in the place of a file is neither followed nor waited at.
    """
    plant(tmp_path / "1-a.records")
    writer = RecordWriter(tmp_path)
    writer.append({"what": 2})

    assert ([2], {}) == (told(follower), lost)


def test_a_folder_that_is_gone_has_nothing(tmp_path, lost):
    """
    Where the folder is deleted, nothing is read, and nothing raised.
    """
    folder = tmp_path / "events"
    folder.mkdir()
    here = RecordFollower(folder, lambda: "nobody", lost)
    folder.rmdir()

    assert told(here) == []
    with pytest.raises(OSError, match="No such file"):
        RecordWriter(folder).append({"what": 1})


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


@pytest.fixture
def clock():
    return SetClock()


def test_old_files_are_deleted(tmp_path, lost, clock):
    """
    What nobody has written to for an hour goes, once all have had a minute to read it; its writer makes another with
    its next record.
    """
    here, writer = RecordFollower(tmp_path, lambda: "nobody", lost, clock), RecordWriter(tmp_path)
    writer.append({"what": 1})
    found = told(here)
    clock.passed += KEPT_SECONDS + 1
    found += told(here)
    clock.passed += READ_WITHIN_SECONDS
    found += told(here)
    left = list(tmp_path.iterdir())
    writer.append({"what": 2})
    clock.passed = 0

    assert ([1], [], [2]) == (found, left, told(here))


@pytest.mark.parametrize("hours", [-50, -2, 2, 50])
def test_no_record_is_deleted_unread_where_the_clock_is_set(tmp_path, follower, lost, clock, hours):
    """
    However far the wall clock is set, another process reads what was written before; what stays long is deleted still.
    """
    other, writer = RecordFollower(tmp_path, lambda: "nobody", lost, clock), RecordWriter(tmp_path)
    writer.append({"what": 1})
    clock.set_by += hours * 3600
    first, second = told(other), told(follower)
    clock.passed += READ_WITHIN_SECONDS
    other.read()

    assert ([1], [1], {}) == (first, second, lost)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("do", ["write", "follow", "read"])
def test_a_folder_that_is_a_link_is_not_used(tmp_path, lost, do):
    """
    Whoever may put a link in the folder's place has nothing written, read or deleted where that leads.
    """
    there, folder = tmp_path / "there", tmp_path / "events"
    there.mkdir()
    old = there / "1-a.records"
    old.write_text('{"what":1,"n":1}\n')
    os.utime(old, (0, 0))
    clock = SetClock()
    if do != "read":
        folder.symlink_to(there)
    follower = RecordFollower(folder, lambda: "nobody", lost, clock)
    if do == "read":
        folder.symlink_to(there)
    for _ in range(2):
        clock.passed += READ_WITHIN_SECONDS
        assert [] == follower.read()
    if do == "write":
        with pytest.raises(NotADirectoryError, match="it is a link"):
            RecordWriter(folder).append({"what": 2})

    assert [old] == list(there.iterdir())


def test_a_forked_child_has_a_file_of_its_own(tmp_path, follower, lost):
    """
    A child's records are in its own file, numbered from one.
    """
    writer = RecordWriter(tmp_path)
    writer.append({"what": "parent"})
    child = os.fork()
    if child == 0:
        writer.append({"what": "child"})
        os._exit(0)
    os.waitpid(child, 0)
    writer.append({"what": "parent"})

    assert ["child", "parent", "parent"] == sorted(told(follower))
    assert (2, {}) == (len(list(tmp_path.glob("*.records"))), lost)


KILLED = """
import itertools, os, sys
from pathlib import Path
from obskit.storage.appended_records import RecordWriter
writer = RecordWriter(Path(sys.argv[1]))
for number in itertools.count():
    writer.append({"what": number, "padding": "x" * 5000})
    if number == 50:
        print("going", flush=True)
"""


def test_a_writer_that_is_killed_spoils_nothing(tmp_path, follower, lost):
    """
    Whatever a process was at when it is killed, what it has written is read, and so is what others write.
    """
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    RecordWriter(tmp_path).append({"what": "other"})
    found = told(follower)
    numbers = [what for what in found if what != "other"]

    assert "other" in found
    assert list(range(len(numbers))) == numbers
    assert len(numbers) > 50
    assert lost == {}


def test_several_threads_write_whole_records(tmp_path, follower, lost):
    """
    Records of several threads are each whole, and in the order of their numbers.
    """
    from concurrent.futures import ThreadPoolExecutor

    writer = RecordWriter(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: writer.append({"what": number}), range(200)))
    numbers = [json.loads(line)["n"] for line in path_of(tmp_path, writer).read_text().splitlines()[1:]]

    assert list(range(1, 201)) == numbers
    assert (list(range(200)), {}) == (sorted(told(follower)), lost)
