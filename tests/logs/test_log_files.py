"""
A log file takes whole lines from several processes, starts anew when it is full, and loses none of them.
"""

import fcntl
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from forked import in_child
from obskit.errors import ConfigurationError
from obskit.logs.log_file import CHECK_INTERVAL_SECONDS, LogFile
from obskit.recorder import recorder
from obskit.testing import FakeClock

ROOT = Path(__file__).parents[2]
NOON = 1_793_707_200.0  # 2026-11-03T12:00:00Z
DAY = 86_400


@pytest.fixture
def path(tmp_path):
    return tmp_path / "app.jsonl"


@pytest.fixture
def opened():
    """
    Open log files, and close them all.
    """
    files = []

    def opened(path, *, keep_files=None, **given):
        files.append(LogFile(path, keep_files=keep_files, **given))
        return files[-1]

    yield opened
    for file in files:
        file.close()


def line(number, size=0):
    return json.dumps({"number": number, "text": "x" * size}).encode() + b"\n"


def old(path):
    return sorted(file for file in path.parent.iterdir() if file.name.startswith(path.name + "."))


def numbers(*paths):
    return [json.loads(text)["number"] for path in paths for text in path.read_bytes().splitlines()]


def alone(path):
    """
    Return whether somebody who wants a file for himself gets it: nobody writes to it.
    """
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


# What a line is


def test_a_line_is_in_the_file_at_once(path, opened):
    """
    When `put()` returns, the line is in the file.
    """
    taken = opened(path).put(line(1))

    assert (len(line(1)), line(1)) == (taken, path.read_bytes())


def test_lines_are_added_to_a_file_that_is_there(path, opened):
    """
    A restart goes on with the file of the last run.
    """
    path.write_bytes(line(1))
    opened(path).write(line(2))

    assert [1, 2] == numbers(path)


def test_the_folder_is_made(tmp_path, opened):
    """
    A folder that is missing is made for the owner and the group, and the file is not for everybody.
    """
    path = tmp_path / "var" / "logs" / "app.jsonl"
    opened(path)

    assert (0o750, 0o640) == (stat.S_IMODE(path.parent.stat().st_mode), stat.S_IMODE(path.stat().st_mode))


@pytest.mark.parametrize(("name", "why"), [("file/app.jsonl", "Not a directory"), ("folder", "Is a directory")])
def test_a_path_that_cannot_be_written_is_told_at_once(tmp_path, name, why):
    """
    The error names the path, the reason and what to do.
    """
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigurationError) as raised:
        LogFile(tmp_path / name)

    assert f"log file {str(tmp_path / name)!r} cannot be written: {why}; choose a path where this process may" in str(
        raised.value
    )


def test_a_closed_file_refuses_lines(path, opened):
    """
    After `close()` a line is refused, and what has the descriptor's number by now gets nothing.
    """
    file = opened(path)
    file.close()
    with open(path.parent / "other", "wb"), pytest.raises(ValueError, match="closed"):
        file.put(line(1))

    assert b"" == path.read_bytes() + (path.parent / "other").read_bytes()


# A new file


def test_a_full_file_is_followed_by_a_new_one(path, opened):
    """
    No file grows beyond the limit, no line is missing, and they stand in the order in which they came.
    """
    file = opened(path, rotate_bytes=2000)
    for number in range(100):
        file.write(line(number, 100))

    assert list(range(100)) == numbers(*old(path), path)
    assert 5 < len(old(path))
    assert max(file.stat().st_size for file in [*old(path), path]) <= 2000


def test_a_line_that_is_longer_than_a_file_may_be_has_one_to_itself(path, opened):
    """
    A line is never split between files.
    """
    file = opened(path, rotate_bytes=2000)
    for size in (10, 5000, 10):
        file.write(line(size, size))

    assert [[10], [5000], [10]] == [numbers(file) for file in [*old(path), path]]


def test_the_name_of_an_old_file_is_the_time_of_its_last_line(path, opened):
    """
    A file that was written last on the day before, by whichever process, is put aside with that day in its name.
    """
    path.write_bytes(line(1))
    os.utime(path, (NOON - DAY, NOON - DAY))
    opened(path, rotate_daily=True, clock=FakeClock(NOON)).write(line(2))

    assert (["app.jsonl.20261102T120000.000000Z"], [2]) == ([file.name for file in old(path)], numbers(path))


def test_each_day_has_its_file(path, opened):
    """
    The first line after midnight, in UTC, is the first of a new file; so it is without a line on the day before.
    """
    clock = FakeClock(NOON)
    file = opened(path, rotate_daily=True, clock=clock)
    for moment in (NOON, NOON + DAY / 2 - 0.001, NOON + DAY / 2, NOON + DAY, NOON + 3 * DAY):
        clock.now = moment
        file.write(line(moment))

    assert [[NOON, NOON + DAY / 2 - 0.001], [NOON + DAY / 2, NOON + DAY], [NOON + 3 * DAY]] == [
        numbers(file) for file in [*old(path), path]
    ]


def test_two_files_of_one_moment_have_two_names(path, opened):
    """
    No old file takes the place of another.
    """
    for number in range(3):
        path.write_bytes(line(number))
        os.utime(path, (NOON - DAY, NOON - DAY))
        opened(path, rotate_daily=True, clock=FakeClock(NOON)).write(line(9))
        path.unlink()

    assert [0, 1, 2] == numbers(*old(path))
    assert [f"app.jsonl.20261102T120000.00000{n}Z" for n in range(3)] == [file.name for file in old(path)]


def test_a_link_stays_where_it_is(tmp_path, opened):
    """
    Where the path is a link, the file behind it is put aside, not the link.
    """
    (tmp_path / "real").mkdir()
    path = tmp_path / "app.jsonl"
    path.symlink_to(tmp_path / "real" / "app.jsonl")
    file = opened(path, rotate_bytes=100)
    for number in range(3):
        file.write(line(number, 60))

    assert (True, 2) == (path.is_symlink(), len(old(tmp_path / "real" / "app.jsonl")))


def test_a_rotation_that_another_process_is_at_is_left_to_it(path, opened):
    """
    While the lock is taken the line goes to the file that is there; nobody waits.
    """
    file = opened(path, rotate_bytes=100)
    file.write(line(1, 60))
    folder = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    file.write(line(2, 60))
    os.close(folder)
    file.write(line(3, 60))

    assert [[1, 2], [3]] == [numbers(file) for file in [*old(path), path]]


def test_a_process_that_may_open_no_more_files_keeps_its_own(path, opened):
    """
    What cannot be renewed goes on, is counted and logged once, and is renewed as soon as that is possible.
    """
    clock = FakeClock(NOON)
    file = opened(path, rotate_bytes=100, clock=clock)
    file.write(line(1, 60))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    recorder.strict, before = False, recorder.errors["logs"]
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        file.write(line(2, 60))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    counted = recorder.errors.pop("logs") - before
    clock.advance(CHECK_INTERVAL_SECONDS)
    file.write(line(3, 60))

    assert ([[1, 2], [3]], 1) == ([numbers(file) for file in [*old(path), path]], counted)


# Several processes: here two objects, whose locks and descriptors are as foreign to one another


def test_the_others_follow(path, opened):
    """
    Who finds its file put aside by another goes on in the new one, a second later at the latest; what it
    writes until then is in the old file.
    """
    clock = FakeClock(NOON)
    one, other = opened(path, rotate_bytes=500), opened(path, rotate_bytes=10_000, clock=clock)
    other.write(line(0))
    for number in range(1, 5):
        one.write(line(number, 150))
    other.write(line(5))
    clock.advance(CHECK_INTERVAL_SECONDS)
    other.write(line(6))

    assert [[0, 1, 2, 5], [3, 4, 6]] == [sorted(numbers(file)) for file in [*old(path), path]]


def test_who_may_still_write_to_an_old_file_can_be_seen(path, opened):
    """
    An old file is locked as long as any process has not seen yet that it is one.
    """
    clock = FakeClock(NOON)
    one, other = opened(path, rotate_bytes=100, clock=clock), opened(path, rotate_bytes=100, clock=clock)
    for number in range(2):
        one.write(line(number, 60))
    [put_aside] = old(path)
    before = alone(put_aside)
    clock.advance(CHECK_INTERVAL_SECONDS)
    other.write(line(2))

    assert (False, True) == (before, alone(put_aside))


def test_a_child_has_its_own_hold(path, opened):
    """
    A forked child does not keep its parent's old file from being compressed, and writes where its parent does.
    """
    file = opened(path, rotate_bytes=150)
    file.write(line(1, 60))
    (here, child_says), (child_hears, there) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.close(there)
        os.write(child_says, b".")
        os.read(child_hears, 1)
        file.write(line(3))
        os._exit(0)
    os.close(child_hears)
    os.read(here, 1)
    file.write(line(2, 60))
    free = [alone(path) for path in old(path)]
    os.close(there)
    os.waitpid(child, 0)
    os.close(here)
    os.close(child_says)

    assert ([True], [2, 3]) == (free, numbers(path))


def test_a_child_writes_while_a_thread_of_its_parent_looks(path, opened):
    """
    A fork at a moment when another thread has the lock of the file leaves the child able to write.
    """
    file = opened(path)
    with file._check_lock:
        told = in_child(lambda: file.put(line(1)))

    assert (str(len(line(1))), [1]) == (told, numbers(path))


def test_a_line_after_the_torn_one_of_a_killed_process_is_written_again(path, opened):
    """
    A process that is killed in the middle of its write leaves the start of a line: the line that another puts behind
    it is there once more on a line of its own.
    """
    file = opened(path)
    with open(path, "ab", buffering=0) as victim:
        file.write(line(1))
        victim.write(b'{"number": 2, "te')
        file.write(line(3))
        file.write(line(4))
        victim.write(line(5))
        file.write(line(6))

    assert [1, 3, 4, 5, 6] == numbers_of_whole(path)


def numbers_of_whole(path):
    found = []
    for text in path.read_bytes().splitlines():
        try:
            found.append(json.loads(text)["number"])
        except ValueError:
            continue
    return found


def test_lines_of_threads_are_all_there(path, opened):
    """
    Eight threads that write while files come and go lose nothing.
    """
    file, gate = opened(path, rotate_bytes=20_000), threading.Barrier(8)

    def work(start):
        gate.wait(10)
        for number in range(start, start + 500):
            file.write(line(number, 100))

    threads = [threading.Thread(target=work, args=(start * 500,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert list(range(4000)) == sorted(numbers(*old(path), path))


def whole_lines(*options):
    """
    Run the benchmark of that name, and give its last row by column.
    """
    command = [sys.executable, "-m", "bench", "whole_lines", "--runs", "1", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=True)
    head, *_, row = done.stdout.splitlines()
    return dict(zip(head.split(), row.split(), strict=True))


@pytest.mark.parametrize("to", ["file", "gzip"])
def test_four_processes_lose_and_tear_nothing(to):
    """
    Four processes, 3,000 lines each, a new file each 100 kB: none is lost, torn or there twice.
    """
    row = whole_lines("--lines", "3000", "--rotate-bytes", "100000", "--longest", "2000", "--to", to)

    assert ("0", "0", "0") == (row["lost"], row["torn"], row["doubled"])
    assert int(row["files"]) > 30


def test_four_processes_with_very_long_lines_lose_and_tear_nothing():
    """
    Lines up to 64 kB are whole too.
    """
    row = whole_lines("--lines", "1000", "--to", "file")

    assert ("0", "0", "0") == (row["lost"], row["torn"], row["doubled"])


KILLED = """
import json, os, sys
from obskit.logs.log_file import LogFile

file, number = LogFile(sys.argv[1], rotate_bytes=20_000, keep_files=None), 0
while True:
    file.write(json.dumps({"number": number, "text": "x" * 300}).encode() + b"\\n")
    os.write(1, b".")
    number += 1
"""


def test_what_was_written_outlives_a_kill(path):
    """
    `kill -9` in the middle of work loses no line that `write()` has taken.
    """
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE) as process:
        taken = len(process.stdout.read(500))
        process.send_signal(signal.SIGKILL)
        taken += len(process.stdout.read())

    assert list(range(taken)) == sorted(numbers_of(path))[:taken]


def numbers_of(path):
    # Between the rename and the first line of the new file there is none.
    files = [file for file in [*old(path), path] if file.exists()]
    return [number for file in files for number in numbers_of_whole(file)]


# From outside


def test_a_file_that_is_renamed_from_outside(path, opened):
    """
    After logrotate's rename, with or without a new file in its place, lines go to the path within a second.
    """
    clock = FakeClock(NOON)
    file = opened(path, clock=clock)
    for number, made in enumerate([False, True]):
        file.write(line(number))
        path.rename(path.parent / f"moved{number}")
        if made:
            path.touch()
        clock.advance(CHECK_INTERVAL_SECONDS)
    file.write(line(2))

    assert [[0], [1], [2]] == [numbers(path.parent / name) for name in ("moved0", "moved1", "app.jsonl")]


def test_a_file_that_is_truncated_from_outside(path, opened):
    """
    After logrotate's copytruncate the file starts over, without a hole.
    """
    file = opened(path)
    file.write(line(1, 1000))
    os.truncate(path, 0)
    file.write(line(2))

    assert line(2) == path.read_bytes()


def test_a_folder_that_is_removed(tmp_path, opened):
    """
    A folder that somebody deletes is made again.
    """
    clock, path = FakeClock(NOON), tmp_path / "logs" / "app.jsonl"
    file = opened(path, clock=clock)
    path.unlink()
    path.parent.rmdir()
    clock.advance(CHECK_INTERVAL_SECONDS)
    file.write(line(1))

    assert [1] == numbers(path)


def test_a_full_disk_tears_nothing_and_passes(path, opened):
    """
    Where the disk takes only the start of a line, the start is taken back and the line refused; when there is space
    again, lines are taken. Here the disk's size is the process's limit for files.
    """
    file = opened(path)
    file.write(line(1))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, limits[1]))
    try:
        for number in (2, 3):
            with pytest.raises(OSError, match="in part only"):
                file.write(line(number))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    file.write(line(4))

    assert line(1) + line(4) == path.read_bytes()
