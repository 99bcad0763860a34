"""
Whatever becomes of the files of a history, each kind that is found in the folder: the application does not notice.
"""

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from wsgiref.util import setup_testing_defaults

import pytest

import obskit
from forked import in_child
from obskit.history.files import SeriesFiles
from obskit.history.reader import FileReader
from obskit.recorder import recorder
from obskit.storage.periods import Span
from obskit.testing import FakeClock, RecordingSink, advance, isolated_runtime

NOON = 1_800_014_400.0
EVERY, SERVED_SECONDS = 30, 65 * 60
EVER = Span(0, 1e11)


def shop(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"soup"]


def ask(app):
    environ, told = {}, []
    setup_testing_defaults(environ)
    body = app(environ, lambda status, headers, exc_info=None: told.append(status))
    return told[0], b"".join(body)


def running(folder, since_noon=0.0, sink=None, **given):
    """
    Run a service that keeps its history in a folder, by a clock that tests move.
    """
    clock = FakeClock(1000.0 + since_noon)
    settings = {"service": "shop", "serving": True, "history": True, "history_every": f"{EVERY}s", **given}
    return isolated_runtime(
        clock=clock,
        wall_clock=lambda: NOON + clock.now - 1000.0,
        state_dir=str(folder),
        strict=False,
        sinks=[] if sink is None else [sink],
        **settings,
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """
    The state of a service that has served for an hour, as it is after its end, and as it is after a kill.
    """
    ended, killed = tmp_path_factory.mktemp("ended") / "state", tmp_path_factory.mktemp("killed") / "state"
    with running(ended):
        obskit.counter("faultless_total", "Before any fault.").inc()  # declared for the file, and so for its process
        advance(f"{SERVED_SECONDS}s")
        shutil.copytree(ended, killed)
    return {"as it runs": ended, "at the start": killed}


# What may happen to a file.


def random_bytes(path):
    path.write_bytes(os.urandom(20_000))


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    os.truncate(path, 0)


def zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


def other_tables(path):
    put_database(path, "CREATE TABLE mine (x); PRAGMA user_version = 1")


def newer_version(path):
    put_database(path, "CREATE TABLE point (x); PRAGMA user_version = 999")


def put_database(path, script):
    path.unlink()
    db = sqlite3.Connection(str(path))
    db.executescript(script)
    db.close()


def removed(path):
    path.unlink()


def folder(path):
    path.unlink()
    path.mkdir()


def link(path):
    path.rename(path.with_name(f"elsewhere-{path.name}"))
    path.symlink_to(path.with_name(f"elsewhere-{path.name}"))


def dangling_link(path):
    path.unlink()
    path.symlink_to("/nonexistent/file")


def fifo(path):
    path.unlink()
    os.mkfifo(path)


IN_PLACE = (random_bytes, cut, empty, zeros)
FAULTS = (*IN_PLACE, other_tables, newer_version, removed, folder, link, dangling_link, fifo)


def spoil(fault, state, is_running):
    """
    Do it to each file that there is. SQLite ends a process whose `-shm` is cut while it is mapped, any library's.
    """
    kinds = set()
    for path in sorted(path for path in Path(state).rglob("*") if path.is_file() and not path.is_symlink()):
        is_mapped = is_running and fault in IN_PLACE and path.name.endswith("-shm")
        if not is_mapped and path.exists():  # SQLite removes what lies beside a file that is put there
            kinds.add(path.suffix)
            fault(path)
    return kinds


def bowls_in(state, step):
    reader = FileReader(SeriesFiles(Path(state) / "shop" / "history", EVERY), lambda error: None)
    return sum(it.point.value for it in reader.points("bowls_total", EVER, step))


@pytest.mark.parametrize("moment", ["as it runs", "at the start"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_no_fault_of_a_file_is_noticed_by_the_application(served, tmp_path, fault, moment):
    """
    Whatever happens to all files at once, answers are the same, each problem is counted and said once, and what is
    counted from then on is kept, once, in steps of any length, without help.
    """
    state, sink = tmp_path / "state", RecordingSink()
    shutil.copytree(served[moment], state)
    if moment == "at the start":
        kinds = spoil(fault, state, is_running=False)
    bowls = obskit.counter("bowls_total", "Bowls.")
    with running(state, SERVED_SECONDS, sink):
        app = obskit.instrument(shop)
        answers = {ask(app)}
        if moment == "as it runs":
            bowls.inc(0)
            advance("1m")
            kinds = spoil(fault, state, is_running=True)
        for _ in range(8):
            bowls.inc()
            advance("30s")
            answers.add(ask(app))
        told = Counter(event.message for event in sink.events if event.name == "history.state")
        counted = sum(recorder.errors.values())
        advance("1m")
    found = [bowls_in(state, step) for step in (EVERY, 60)]

    assert {("200 OK", b"soup")} == answers
    assert [8, 8] == found
    assert {1} >= set(told.values())
    assert counted >= 1 or fault is removed
    assert {".sqlite3", ".lock", ".json"} <= kinds


# The disk, and the folder


def can_mount():
    """
    Return whether this process may mount a small disk.
    """
    with tempfile.TemporaryDirectory() as place:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], stderr=-3).returncode:
            return False
        subprocess.run(["umount", place], check=True)
    return True


def fill(path):
    with suppress(OSError), open(path, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


if os.geteuid() == 0 and shutil.which("mount") and can_mount():

    def test_a_full_disk_is_not_noticed_by_the_application(tmp_path):
        """
        A disk of 8 MB has no room for a while: figures wait, counted and said once, and none is lost.
        """
        disk, sink = tmp_path / "disk", RecordingSink()
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], check=True)
        bowls = obskit.counter("bowls_total", "Bowls.")
        try:
            with running(disk, sink=sink):
                app = obskit.instrument(shop)
                answers = {ask(app)}
                for act in (lambda: None, lambda: fill(disk / "big"), lambda: os.unlink(disk / "big")):
                    act()
                    for _ in range(6):
                        bowls.inc()
                        advance("30s")
                        answers.add(ask(app))
                dropped, told = dict(recorder.dropped), [event.fields["problem"] for event in sink.events[1:]]
            found = [bowls_in(disk, step) for step in (EVERY, 60)]
        finally:
            subprocess.run(["umount", disk], check=True)

        assert {("200 OK", b"soup")} == answers
        assert 6 == dropped["history", "disk_full"]
        assert ["ephemeral", "disk_full"] == told
        assert [18, 18] == found


if os.geteuid() == 0:

    def test_a_folder_of_another_user_is_not_used():
        """
        Its owner could read what is written, or give something else to read: it stays as it is, which is said once.
        """
        with tempfile.TemporaryDirectory() as place:
            os.chmod(place, 0o777)
            theirs = Path(place) / "history"
            theirs.mkdir(mode=0o777)
            os.chmod(theirs, 0o777)
            os.chown(theirs, 4243, 4243)

            def serve():
                os.setgroups([])
                os.setgid(4242)
                os.setuid(4242)
                sink = RecordingSink()
                with running(place, sink=sink, history_dir=str(theirs)):
                    app = obskit.instrument(shop)
                    answers = {ask(app)}
                    advance("5m")
                    answers.add(ask(app))
                return answers, [event.message for event in sink.events if event.name == "history.state"]

            told = in_child(serve)

            assert [] == list(theirs.iterdir())
            assert told.startswith("({('200 OK', b'soup')}, [\"figures are not stored: "), told
            assert 1 == told.count("it belongs to user 4243, and this process is user 4242")
