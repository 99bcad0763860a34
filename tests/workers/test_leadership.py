"""
At most one process leads, whatever happens to it, its children, its descriptors and its folder.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys

import pytest

from obskit.workers.leadership import Leadership

PATIENCE_SECONDS = 40
HOLD = """
import os, signal, sys
from pathlib import Path
from obskit.workers.leadership import Leadership

leadership = Leadership("leader")
folder = Path(sys.argv[1])

def say(word):
    os.write(1, f"{word}\\n".encode())

for line in sys.stdin:
    match line.strip():
        case "ask":
            say(leadership.is_held(folder))
        case "let go":
            leadership.release()
            say("gone")
        case "fork":
            if not os.fork():
                say(os.getpid())  # by now it has let go of what its parent has
                signal.pause()
"""


class Process:
    """
    A process that asks when it is told to.
    """

    def __init__(self, folder):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell(self, word):
        print(word, file=self.process.stdin, flush=True)

    def hear(self):
        return self.process.stdout.readline().strip()

    def ask(self, word="ask"):
        self.tell(word)
        return self.hear()

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)
        self.process.stdin.close()
        self.process.stdout.close()  # which a child of its may hold open


@pytest.fixture
def start(tmp_path):
    """
    Return what starts processes, which are gone when the test is over.
    """
    started = []

    def one():
        started.append(Process(tmp_path))
        return started[-1]

    yield one
    for process in started:
        process.kill()


@pytest.fixture
def leadership():
    """
    Yield one that is released.
    """
    made = Leadership("leader")
    yield made
    made.release()


def forked(answer, fork=os.fork):
    """
    Return what a forked child answers.
    """
    reader, writer = os.pipe()
    child = fork()
    if not child:
        try:
            os.write(writer, repr(answer()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        text = said.read()
    os.waitpid(child, 0)
    return text


def test_one_of_two_has_it_until_it_lets_go(tmp_path, leadership):
    """
    Whoever asks first has it, and the other one as soon as it is free.
    """
    other = Leadership("leader")
    asked = [one.is_held(tmp_path) for one in (leadership, other, leadership)]
    leadership.release()
    after = [one.is_held(tmp_path) for one in (other, leadership)]
    other.release()

    assert ([True, False, True], [True, False]) == (asked, after)


def test_each_folder_has_one(tmp_path, leadership):
    """
    Who asks in another folder lets go of the first.
    """
    for name in ("shop", "till"):
        (tmp_path / name).mkdir()
    other = Leadership("leader")

    assert leadership.is_held(tmp_path / "shop")
    assert leadership.is_held(tmp_path / "till")
    assert other.is_held(tmp_path / "shop")
    other.release()


def test_a_killed_process_has_it_no_more(tmp_path, start, leadership):
    """
    The next that asks has it, though a child of the killed one lives on.
    """
    process = start()
    assert ("True", False) == (process.ask(), leadership.is_held(tmp_path))
    child = int(process.ask("fork"))
    process.kill()
    try:
        assert leadership.is_held(tmp_path)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_stopped_process_keeps_it(tmp_path, start, leadership):
    """
    What it does on waking is safe: nobody has acted in its place, and its answer is still true.
    """
    process = start()
    assert "True" == process.ask()
    process.process.send_signal(signal.SIGSTOP)
    os.waitpid(process.process.pid, os.WUNTRACED)
    assert not leadership.is_held(tmp_path)
    process.tell("ask")
    process.process.send_signal(signal.SIGCONT)

    assert ("True", False) == (process.hear(), leadership.is_held(tmp_path))


@pytest.mark.parametrize("fork", [os.fork, ctypes.PyDLL(None).fork], ids=["Python's", "the system's"])
def test_a_child_does_not_have_it(tmp_path, leadership, fork):
    """
    A child asks anew, also where a server forks past Python's hooks; the parent keeps what it has.
    """
    assert leadership.is_held(tmp_path)
    others = Leadership("leader")

    assert "False" == forked(lambda: leadership.is_held(tmp_path), fork)
    assert "None" == forked(leadership.release, fork)
    assert (True, False) == (leadership.is_held(tmp_path), others.is_held(tmp_path))


def test_a_folder_that_is_made_anew_has_one_leader(tmp_path, leadership):
    """
    Whoever led in a folder that was removed leads no more, and asks with the others for the new one.
    """
    folder = tmp_path / "shop"
    folder.mkdir()
    other = Leadership("leader")
    assert leadership.is_held(folder)
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError):
        leadership.is_held(folder)
    folder.mkdir()

    assert [True, False] == [one.is_held(folder) for one in (other, leadership)]
    other.release()


def test_a_file_that_is_replaced_has_one_leader(tmp_path, leadership):
    """
    The lock on a file that nobody else would open is none.
    """
    other = Leadership("leader")
    assert leadership.is_held(tmp_path)
    (tmp_path / "leader").unlink()

    assert [True, False] == [one.is_held(tmp_path) for one in (other, leadership)]
    other.release()


def test_closed_descriptors_are_noticed(tmp_path):
    """
    What closes all descriptors, as a program that becomes a daemon, leads no more until it asks anew, and whatever has
    the number of its descriptor now stays open.
    """

    def closed():
        leadership, other = Leadership("leader"), Leadership("leader")
        led = leadership.is_held(tmp_path)
        os.closerange(3, 256)
        taken = [os.open(tmp_path, os.O_RDONLY) for _ in range(20)]
        found = [one.is_held(tmp_path) for one in (other, leadership)]
        leadership.release()
        return led, found, [os.fstat(number).st_ino for number in taken] == [os.stat(tmp_path).st_ino] * 20

    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writer, 1)
        os.write(1, repr(closed()).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)

    assert b"(True, [True, False], True)" == os.read(reader, 1000)
    os.close(reader)


HAMMER = """
import os, sys
from pathlib import Path
from obskit.workers.leadership import Leadership

leadership, folder, led = Leadership("leader"), Path(sys.argv[1]), 0
while led < 200:
    if leadership.is_held(folder):
        os.close(os.open(folder / "acting", os.O_CREAT | os.O_EXCL))  # fails where another one acts
        assert leadership.is_held(folder)
        os.unlink(folder / "acting")
        led += 1
        if led % 50 == 0:
            os.unlink(folder / "leader")  # as whoever tidies up
        leadership.release()
print(led)
"""


def test_two_never_act_at_once(tmp_path):
    """
    Processes that take it and let it go as fast as they can act one after another, also when the file goes away.
    """
    processes = [
        subprocess.Popen([sys.executable, "-c", HAMMER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]

    assert ["200\n"] * 3 == [process.communicate(timeout=PATIENCE_SECONDS)[0] for process in processes]
