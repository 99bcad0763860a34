"""
A queue keeps a slow output out of the way, is bounded, and loses nothing at an orderly end.
"""

import asyncio
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from importlib import import_module
from importlib.util import find_spec

import pytest

from forked import in_child
from obskit.logs import queued
from obskit.logs.queued import QueuedTarget
from obskit.logs.stream import LineStream
from obskit.recorder import recorder

try:
    import trio
except ImportError:
    trio = None

INFO, WARNING = 20, 30


class Output:
    """
    A target that writes one line for each permit, and all of them once it is let go.
    """

    def __init__(self):
        self.lines, self.threads = [], set()
        self.flushed = self.closed = False
        self.at_work, self._go, self._free = threading.Semaphore(0), threading.Semaphore(0), False

    def write(self, line):
        self.at_work.release()
        if not self._free:
            self._go.acquire(timeout=30)
        self.threads.add(threading.current_thread().name)
        self.lines.append(line)

    def permit(self):
        self._go.release()

    def free(self):
        self._free = True
        self._go.release()

    def flush(self):
        self.flushed = True

    def close(self):
        self.closed = True


@pytest.fixture
def output():
    output = Output()
    yield output
    output.free()


@pytest.fixture
def make():
    """
    Make queues, and close them all.
    """
    made = []

    def make(*given):
        made.append(QueuedTarget(*given))
        return made[-1]

    yield make
    for queue in made:
        queue.close()


@pytest.fixture
def dropped():
    """
    Count what is dropped in this test.
    """
    recorder.dropped.clear()
    yield recorder.dropped
    recorder.dropped.clear()


def line(number):
    return b"%d\n" % number


def test_no_thread_without_a_line(make, output):
    """
    The thread starts with the first line.
    """
    queue = make(output)
    before = queue.thread.running
    queue.put(line(1))
    output.free()
    queue.flush()

    assert (None, {"obskit-log-queue"}) == (before, output.threads)


def test_who_logs_does_not_wait(make, output):
    """
    Lines are taken while the output is stuck, and come out in their order.
    """
    queue = make(output)
    taken = [queue.put(line(number)) for number in range(100)]
    stuck = list(output.lines)
    output.free()
    queue.flush()

    assert ([], [len(line(number)) for number in range(100)]) == (stuck, taken)
    assert [line(number) for number in range(100)] == output.lines


def test_what_finds_no_place_is_counted(make, output, dropped):
    """
    A queue of ten that is full drops lines, and counts each; nothing is raised.
    """
    queue = make(output, 10)
    queue.put(line(0))
    output.at_work.acquire(timeout=30)
    for number in range(1, 16):
        queue.put(line(number))
    output.free()
    queue.flush()

    assert ([line(number) for number in range(11)], {("logs", "queue_full"): 5}) == (output.lines, dropped)


def test_a_warning_goes_before_all_that_wait(make, output):
    """
    A line of WARNING is written when its call returns, by the same thread as all others.
    """
    queue = make(output)
    for number in range(100):
        queue.put(line(number))
    output.at_work.acquire(timeout=30)
    output.permit()
    output.permit()
    queue.for_level(WARNING).write(b"warning\n")
    first = list(output.lines)
    output.free()
    queue.flush()

    assert b"warning\n" in first
    assert len(first) <= 3
    assert ({"obskit-log-queue"}, 101) == (output.threads, len(output.lines))


def test_levels_below_warning_are_queued(make, output):
    """
    The level says which way a line takes.
    """
    queue = make(output)

    assert queue is queue.for_level(INFO) is queue.for_level(WARNING).for_level(INFO)
    assert queue is not queue.for_level(WARNING)


def test_a_warning_to_an_output_that_is_stuck_does_not_hold_its_caller_for_ever(make, output, monkeypatch):
    """
    After a time the caller goes on; the line is written when the output can.
    """
    monkeypatch.setattr(queued, "SYNC_TIMEOUT_SECONDS", 0.01)
    queue = make(output)
    queue.for_level(WARNING).write(b"warning\n")
    stuck = list(output.lines)
    output.free()
    queue.flush()

    assert ([], [b"warning\n"]) == (stuck, output.lines)


def test_an_output_that_is_known_to_be_stuck_holds_nobody(make, output, monkeypatch):
    """
    Once somebody has waited in vain nobody does, until the output takes a line again.
    """
    queue = make(output)
    monkeypatch.setattr(queued, "SYNC_TIMEOUT_SECONDS", 0.01)
    queue.for_level(WARNING).write(line(0))
    monkeypatch.setattr(queued, "SYNC_TIMEOUT_SECONDS", 3600)
    caller = threading.Thread(target=queue.for_level(WARNING).write, args=(line(1),))
    caller.start()
    caller.join(30)
    is_held = caller.is_alive()
    stuck = list(output.lines)
    output.free()
    queue.flush()
    queue.for_level(WARNING).write(line(2))

    assert ([], False) == (stuck, is_held)
    assert [line(number) for number in range(3)] == output.lines


def in_asyncio(work):
    async def main():
        work()

    asyncio.run(main())


def in_trio(work):
    async def main():
        work()

    trio.run(main)


@pytest.mark.parametrize("run", [in_asyncio, in_trio] if trio is not None else [in_asyncio])
def test_an_event_loop_never_waits(make, output, run):
    """
    A WARNING that is logged in an event loop is taken at once while the output is stuck, and is the next to come out.
    """
    queue = make(output)
    queue.put(line(0))
    output.at_work.acquire(timeout=30)
    queue.put(line(1))
    run(lambda: queue.for_level(WARNING).write(b"warning\n"))
    stuck = list(output.lines)
    output.free()
    queue.flush()

    assert ([], [line(0), b"warning\n", line(1)]) == (stuck, output.lines)


def test_urgent_lines_are_bounded_too(make, output, dropped):
    """
    What finds no place among the lines that go first is counted, like others.
    """
    queue = make(output, 10)
    queue.put(line(0))
    output.at_work.acquire(timeout=30)
    in_asyncio(lambda: [queue.for_level(WARNING).write(line(number)) for number in range(1, 16)])
    output.free()
    queue.flush()

    assert ([line(number) for number in range(11)], {("logs", "queue_full"): 5}) == (output.lines, dropped)


def test_an_output_that_raises_costs_its_lines_only(make, dropped):
    """
    Each line that the output refused is counted by its reason, the error is logged once, and the next are written.
    """

    class Broken(Output):
        def write(self, line):
            if len(self.threads) < 2:
                self.threads.add(len(self.threads))
                raise ConnectionResetError(104, "gone")
            self.lines.append(line)

    recorder.strict, broken = False, Broken()
    queue = make(broken)
    for number in range(4):
        queue.put(line(number))
    queue.flush()
    failures = recorder.errors.pop("logs")

    assert ({("logs", "ECONNRESET"): 2}, 2, [line(2), line(3)]) == (dropped, failures, broken.lines)


def test_closing_writes_what_is_queued(make, output):
    """
    `close()` drains, flushes and closes the output, ends the thread, and later lines are written at once.
    """
    queue = make(output)
    for number in range(100):
        queue.put(line(number))
    thread = queue.thread.running
    output.free()
    queue.close()
    queue.put(line(100))

    assert [line(number) for number in range(101)] == output.lines
    assert (True, True, False) == (output.flushed, output.closed, thread.is_alive())


def test_what_cannot_be_drained_in_time_is_counted(make, output, dropped, monkeypatch):
    """
    An output that is stuck at the end holds the process for a while only, and what it did not take is counted.
    """
    monkeypatch.setattr(queued, "DRAIN_TIMEOUT_SECONDS", 0.01)
    queue = make(output)
    for number in range(10):
        queue.put(line(number))
    output.at_work.acquire(timeout=30)
    queue.close()

    assert ({("logs", "flush_timeout"): 9}, True) == (dropped, output.closed)


def test_a_child_has_a_queue_of_its_own(make, output):
    """
    After a fork the parent writes what was queued before, once, and the child what it queues itself.
    """
    queue = make(output)
    for number in range(10):
        queue.put(line(number))
    output.at_work.acquire(timeout=30)
    output.permit()
    output.at_work.acquire(timeout=30)

    def in_the_child():
        output._free = True
        output.lines.clear()
        queue.put(line(10))
        queue.close()
        return output.lines

    output.permit()
    told = in_child(in_the_child)
    output.free()
    queue.flush()

    assert (str([line(10)]), [line(number) for number in range(10)]) == (told, output.lines)


def test_a_fork_in_the_middle_of_a_line_leaves_the_child_able_to_write(make, tmp_path):
    """
    The output of a child is not held by a thread that only its parent has: a fork waits for the line's end.
    """

    class Locked(Output):
        def __init__(self):
            super().__init__()
            self.lock = threading.Lock()

        def write(self, line):
            with self.lock:
                super().write(line)

    output = Locked()
    queue = make(output)
    queue.put(line(1))
    output.at_work.acquire(timeout=30)
    forking = threading.Timer(0.05, output.free)
    forking.start()
    told = in_child(lambda: (output.write(line(2)), queue.close(), output.lines)[-1])
    forking.join()

    assert str([line(1), line(2)]) == told


PROGRAM = """
import os, signal, sys, time
from obskit.logs.queued import QueuedTarget
from obskit.logs.stream import LineStream

class Slow:
    def __init__(self, path):
        self.file = open(path, "ab", buffering=0)
    def write(self, line):
        time.sleep(0.0002)
        self.file.write(line)
    def flush(self): pass
    def close(self): pass

queue = QueuedTarget(Slow(sys.argv[1]))
for number in range(2000):
    queue.put(b"%d\\n" % number)
{end}
"""


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise ValueError('an error')"])
def test_the_end_of_the_process_writes_what_is_queued(tmp_path, end):
    """
    A process that ends, exits or fails with 2,000 lines in the queue leaves them all in the file.
    """
    subprocess.run([sys.executable, "-c", PROGRAM.format(end=end), tmp_path / "out"], stderr=subprocess.DEVNULL)

    assert [line(number) for number in range(2000)] == (tmp_path / "out").read_bytes().splitlines(keepends=True)


def test_what_was_written_through_outlives_a_kill(tmp_path):
    """
    A WARNING is in the file when its call returns, whatever happens to those that wait.
    """
    end = "queue.for_level(30).write(b'warning\\n'); os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", PROGRAM.format(end=end), tmp_path / "out"], stderr=subprocess.DEVNULL)
    written = (tmp_path / "out").read_bytes().splitlines(keepends=True)

    assert b"warning\n" in written
    assert len(written) < 2000


def test_a_signals_handler_may_log(make, output):
    """
    A handler that interrupts a call which logs can log itself, at any level.
    """
    output.free()
    queue = make(output)
    handled = threading.Semaphore(0)

    def handle(number, frame):
        queue.put(b"queued\n")
        queue.for_level(WARNING).write(b"through\n")
        handled.release()

    def interrupt():
        for _ in range(100):
            os.kill(os.getpid(), signal.SIGUSR1)
            handled.acquire(timeout=30)

    before, sent, number = signal.signal(signal.SIGUSR1, handle), threading.Thread(target=interrupt), 0
    sent.start()
    while sent.is_alive():
        queue.for_level(WARNING if number % 10 == 0 else INFO).put(line(number))
        number += 1
    signal.signal(signal.SIGUSR1, before)
    queue.flush()

    assert (100, 100) == (output.lines.count(b"queued\n"), output.lines.count(b"through\n"))
    assert 200 + number == len(output.lines)


def test_a_stream_can_be_the_output(make, tmp_path):
    """
    What lines go to without a queue, they go to behind one.
    """
    with open(tmp_path / "out", "w") as stream:
        queue = make(LineStream(stream))
        queue.write(line(1))
        queue.close()

    assert line(1) == (tmp_path / "out").read_bytes()


@pytest.mark.parametrize("library", list(filter(find_spec, ["multiprocessing", "billiard"])))
@pytest.mark.parametrize("end", [lambda: None, lambda: sys.exit(3), lambda: 1 / 0], ids=["return", "exit", "raise"])
def test_a_child_of_multiprocessing_writes_what_is_queued(make, tmp_path, end, library, capfd):
    """
    A child that `multiprocessing` or Celery's pool forks and that returns, exits or fails leaves its lines in the file,
    though no `atexit` function runs there; and so does a child of its own.
    """
    context = import_module(library).get_context("fork")
    with open(tmp_path / "out", "ab", buffering=0) as file:
        queue = make(LineStream(file))
        queue.put(line(0))
        queue.flush()

        def work(number):
            if number < 3:
                child = context.Process(target=work, args=(number + 1,))
                child.start()
                child.join(60)
            for _ in range(100):
                queue.put(line(number))
            end()

        child = context.Process(target=work, args=(1,))
        child.start()
        child.join(60)
    written = (tmp_path / "out").read_bytes().splitlines(keepends=True)

    assert [line(0), *[line(number) for number in (3, 2, 1) for _ in range(100)]] == written


CHILD = """
import multiprocessing, sys
{at_import}

def work(path):
    import obskit
    obskit.configure(log_file=path, log_queue=100_000)
    for number in range(100):
        obskit.get_logger("shop").info("x", number=number)

if __name__ == "__main__":
    child = multiprocessing.get_context(sys.argv[1]).Process(target=work, args=(sys.argv[2],))
    child.start()
    child.join(60)
"""


@pytest.mark.parametrize("at_import", ["", "import obskit"])
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_child_that_imports_obskit_itself_writes_what_is_queued(tmp_path, method, at_import):
    """
    A child that has obskit from no parent leaves its lines in the file, however it was started, and whether its program
    imports obskit or its function does.
    """
    program, log = tmp_path / "program.py", tmp_path / "log"
    program.write_text(CHILD.format(at_import=at_import))
    subprocess.run([sys.executable, str(program), method, str(log)], check=True, timeout=120)
    numbers = [found["number"] for found in map(json.loads, log.read_text().splitlines()) if "number" in found]

    assert list(range(100)) == numbers
