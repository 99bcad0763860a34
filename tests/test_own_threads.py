"""
All our threads are of one kind: they start late, survive forks and errors, and hold nobody up at the end.
"""

import ast
import asyncio
import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

import obskit
from forked import in_child
from obskit import background, forks
from obskit.background import LINES, ORDER, OVER, BackgroundThread, Queue, Ticks, stop_all
from obskit.logs import queued
from obskit.recorder import recorder
from obskit.testing import isolated_runtime
from obskit.time.clock import Deadline, WakeUp

PACKAGE = Path(obskit.__file__).parent
MAKERS = {"Thread", "Timer", "ThreadPoolExecutor", "start_new_thread", "_start_new_thread", "start_joinable_thread"}
MODULES = {"threading", "_thread", "concurrent.futures", "futures", "multiprocessing.pool"}
KINDS = {"BackgroundThread", "Ticks", "Queue"}


def called(node):
    return ast.unparse(node.func).rpartition(".")[2]


def makes_threads(source):
    """
    Yield the lines on which a source makes a thread: calls of what makes one, and classes that are one.
    """
    nodes = list(ast.walk(ast.parse(source)))
    makers = {f"{module}.{name}" for module in MODULES for name in MAKERS}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module in MODULES:
            makers |= {alias.asname or alias.name for alias in node.names if alias.name in MAKERS}
    for node in nodes:
        used = [node.func] if isinstance(node, ast.Call) else node.bases if isinstance(node, ast.ClassDef) else []
        if {ast.unparse(each) for each in used} & makers:
            yield node.lineno


def registers_forks(source):
    nodes = ast.walk(ast.parse(source))
    return sum(isinstance(node, ast.Call) and called(node) == "register_at_fork" for node in nodes)


def sources():
    return {path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8") for path in PACKAGE.rglob("*.py")}


def test_threads_are_made_in_one_file():
    """
    No other file of the library makes a thread.
    """
    assert {"background.py"} == {name for name, source in sources().items() if list(makes_threads(source))}


@pytest.mark.parametrize(
    "source",
    [
        "threading.Thread(target=f).start()",
        "from threading import Timer\nTimer(1, f)",
        "import _thread\n_thread.start_new_thread(f, ())",
        "class Writer(threading.Thread): ...",
        "from threading import Thread as T\nT(target=f)",
        "with futures.ThreadPoolExecutor() as pool: ...",
    ],
)
def test_whatever_makes_a_thread_is_found(source):
    """
    Each way to make one, planted, is seen.
    """
    assert list(makes_threads(source))


def test_forks_are_registered_in_one_place_once():
    """
    The system is asked once for all that is done at a fork.
    """
    assert {"forks.py": 1} == {name: count for name, source in sources().items() if (count := registers_forks(source))}


def test_every_thread_that_stays_has_its_place_at_the_end():
    """
    The order in which threads are stopped names each of them, and none that is not there.
    """
    named = {
        keyword.value.value
        for source in sources().values()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and called(node) in KINDS
        for keyword in node.keywords
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant)
    }

    assert set(ORDER) == named
    assert LINES == ORDER[-1]


class Steps:
    """
    A step that can be seen, and held up.
    """

    def __init__(self, wait=None):
        self.wait, self.taken, self.raises = wait, 0, None
        self.begun, self.go_on = threading.Semaphore(0), threading.Event()
        self.go_on.set()

    def __call__(self):
        self.taken += 1
        self.begun.release()
        assert self.go_on.wait(60)
        if self.raises is not None:
            raise self.raises
        return self.wait


@pytest.fixture
def made():
    """
    Make threads that take steps, and stop them after the test.
    """
    threads, failures = [], []

    def make(step, name="obskit-made", kind=Ticks, **given):
        given = {"step": step, **given} if kind is Ticks else given
        thread = kind(name=name, failed=lambda part, error: failures.append((part, error)), part="made", **given)
        threads.append(thread)
        return thread

    make.failures = failures
    yield make
    for thread in threads:
        if isinstance(getattr(thread, "_step", None), Steps):
            thread._step.go_on.set()
        thread.stop(Deadline(60))


def begun(step):
    assert step.begun.acquire(timeout=60)


def test_a_thread_starts_late_and_once(made):
    """
    Making one starts nothing; however many ask, one runs.
    """
    step = Steps()
    thread = made(step)
    before = thread.is_running
    askers = [threading.Thread(target=thread.start) for _ in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(60)
    begun(step)

    assert (False, True, 1) == (before, thread.is_running, step.taken)
    assert ["obskit-made"] == [one.name for one in threading.enumerate() if one.name == "obskit-made"]


def test_no_wake_is_lost(made):
    """
    One that comes in the middle of a step has it take another; several are one.
    """
    step = Steps()
    thread = made(step)
    step.go_on.clear()
    thread.start()
    begun(step)
    for _ in range(5):
        thread.wake()
    step.go_on.set()
    begun(step)
    thread.stop(Deadline(60))

    assert 2 == step.taken


def test_a_step_that_raises_costs_one_step(made):
    """
    What a step raises is counted; the next wake has it take another.
    """
    step = Steps()
    step.raises = OSError("away")
    thread = made(step)
    thread.start()
    begun(step)
    thread.wake()
    begun(step)
    thread.stop(Deadline(60))

    assert [("made", step.raises)] * 2 == made.failures


def test_a_step_that_raises_is_taken_again(made):
    """
    Without a wake it is tried again later, and not at once.
    """
    step = Steps()
    step.raises = OSError("away")
    thread = made(step)
    with background.moved_by_a_test():
        thread.start()
        assert thread.take_due_step(Deadline(60))
        assert thread.take_due_step(Deadline(60))

        assert 1 == step.taken
        assert 0 < thread.next_step < float("inf")


def test_a_thread_ends_when_nothing_is_left(made):
    """
    A step may say that all is done: the thread ends, and the next need starts another.
    """
    step = Steps(OVER)
    thread = made(step)
    ended = []
    for _ in range(2):
        thread.wake()
        thread.start()
        begun(step)
        running = [one for one in threading.enumerate() if one.name == "obskit-made"]
        for one in running:
            one.join(60)
        ended.append(thread.is_running)

    assert ([False, False], 2) == (ended, step.taken)


def test_a_step_that_hangs_holds_nobody_up(made):
    """
    A stop waits as long as its deadline; a new thread is not held up by the one that hangs.
    """
    step = Steps()
    thread = made(step)
    step.go_on.clear()
    thread.start()
    begun(step)
    ended = [thread.stop(), thread.stop(Deadline(0.01))]
    thread.start()
    begun(step)
    step.go_on.set()

    assert (False, True) == (ended[0], ended[1])  # after the first there is none to stop
    assert 2 == step.taken


def test_a_stop_that_waits_gives_up(made):
    """
    Past its deadline a stop returns, and says that the thread goes on.
    """
    step = Steps()
    thread = made(step)
    step.go_on.clear()
    thread.start()
    begun(step)

    assert not thread.stop(Deadline(0.01))


def test_a_start_that_is_interrupted_is_tried_again(made, monkeypatch):
    """
    Where a signal's handler raises in the middle of a start, the next need starts the thread.
    """
    step = Steps()
    thread = made(step)

    def interrupted(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            thread.start()
    started = thread.start()
    begun(step)

    assert started


def test_a_thread_waits_with_locks_of_its_own(made):
    """
    What a thread waits with is made when it starts: gevent may have replaced locks since the import.
    """
    thread = made(Steps())
    locks = [(thread._turn, thread._wake_up)]
    for _ in range(2):
        thread.start()
        locks.append((thread._turn, thread._wake_up))
        thread.stop(Deadline(60))

    assert 6 == len({id(lock) for pair in locks for lock in pair})


def test_what_is_of_no_use_at_the_end_is_not_waited_for(made):
    """
    A question to a database that hangs does not hold up the end; what is to be kept is worked off before.
    """
    kept, hangs, go_on, asked = [], [], threading.Event(), threading.Event()
    queue = made(None, kind=Queue, name="obskit-kept", handle=kept.append, size=10, dropped=int)
    other = made(
        None,
        kind=Queue,
        name="obskit-asked",
        handle=lambda item: asked.set() or go_on.wait(60) or hangs.append(item),
        size=10,
        dropped=int,
        drained=False,
    )
    for item in range(5):
        queue.put(item)
    other.put(1)
    assert asked.wait(60)
    deadline = Deadline(60)
    ended = [thread.stop(deadline if thread.drained else None) for thread in (queue, other)]
    go_on.set()

    assert ([0, 1, 2, 3, 4], [True, False]) == (kept, ended)
    assert not deadline.is_over()


def test_all_are_stopped_in_their_order_within_one_deadline(made, monkeypatch):
    """
    Lines come last; one that hangs takes what is left of the deadline, and the others are still told to end.
    """
    order, stop = [], BackgroundThread.stop

    def noted(thread, deadline=None):
        order.append(thread.name)
        return stop(thread, deadline)

    def body(wake_up):
        wake_up.wait(60)

    threads, wake_ups = [], []
    for name in (LINES, "obskit-another", "obskit-budgets", "obskit-health"):
        wake_up = WakeUp()
        wake_ups.append(wake_up)
        end = (lambda: None) if name == "obskit-health" else wake_up.set
        threads.append(BackgroundThread(name=name, body=partial(body, wake_up), end=end))
    monkeypatch.setattr(background, "_threads", set(threads))
    monkeypatch.setattr(BackgroundThread, "stop", noted)
    assert all([thread.start() for thread in threads])
    running = [thread.running for thread in threads]
    deadline = Deadline(0.05)
    ended = stop_all(deadline)
    for wake_up in wake_ups:
        wake_up.set()
    for thread in running:
        thread.join(60)

    assert (False, True) == (ended, deadline.is_over())
    assert ["obskit-health", "obskit-budgets", "obskit-another", LINES] == order
    assert [] == [thread for thread in running if thread.is_alive()]


def test_an_event_loop_never_waits(made):
    """
    Where a loop runs, stopping and flushing return at once, with what was not done yet.
    """
    step, answer = Steps(), threading.Event()
    thread = made(step)
    queue = made(None, kind=Queue, handle=lambda item: answer.wait(60), size=10, dropped=int)
    step.go_on.clear()
    thread.start()
    begun(step)
    queue.put(1)

    async def ask():
        return thread.stop(Deadline(3600)), queue.flush(Deadline(3600))

    asked = asyncio.run(ask())
    answer.set()

    assert (False, False) == asked
    assert queue.flush(Deadline(60))


def test_a_queue_works_off_in_order(made):
    """
    Items are handled one after another; what one raises costs that one, and what does not fit is counted.
    """
    handled, dropped, go_on = [], [], threading.Event()

    def handle(item):
        assert go_on.wait(60)
        handled.append(item)
        if item == 2:
            raise ValueError(item)

    queue = made(None, kind=Queue, handle=handle, size=5, dropped=lambda: dropped.append(1))
    queue.put(0)
    while queue._items:  # until the thread has it
        threading.Event().wait(0.001)
    for item in range(1, 9):
        queue.put(item)
    go_on.set()
    flushed = queue.flush(Deadline(60))

    assert (True, [0, 1, 2, 3, 4, 5], 3) == (flushed, handled, len(dropped))
    assert ["2"] == [str(error) for _, error in made.failures]
    assert queue.flush(Deadline(60))


def test_a_fork_in_the_middle_of_a_step(made):
    """
    The child has no thread, and no lock of its parent's; its own starts with the next need. The parent's goes on.
    """
    step = Steps()
    thread = made(step)
    step.go_on.clear()
    thread.start()
    begun(step)

    def work():
        before = thread.is_running
        step.begun, step.go_on = threading.Semaphore(0), threading.Event()
        step.go_on.set()
        started = thread.start()
        begun(step)
        return before, started, step.taken, thread.stop(Deadline(60))

    told = in_child(work)
    step.go_on.set()
    thread.wake()
    begun(step)

    assert "(False, True, 2, True)" == told
    assert thread.is_running


UNTOLD = """
import ctypes, io, os, threading
from obskit.background import Ticks
from obskit.logs.queued import QueuedTarget
from obskit.time.clock import Deadline

class Output:
    def __init__(self):
        self.lines, self.written = [], threading.Semaphore(0)
    def write(self, line):
        self.lines.append(line)
        self.written.release()
    def notice(self): return None
    def flush(self): pass
    def close(self): pass

taken = threading.Semaphore(0)
ticks = Ticks(name="obskit-made", step=taken.release, failed=print, part="made")
output = Output()
queue = QueuedTarget(output)
ticks.start()
queue.put(b"parent's")
assert taken.acquire(timeout=60) and output.written.acquire(timeout=60)
child = ctypes.CDLL(None).fork()
if not child:
    taken, output.lines = threading.Semaphore(0), []
    ticks._step = taken.release
    queue.write_sync(b"child's")
    well = ticks.start() and taken.acquire(timeout=60)
    well = well and output.written.acquire(timeout=60) and output.lines == [b"child's"]
    os._exit(0 if well else 1)
print(os.waitpid(child, 0)[1])
"""


def test_a_fork_that_python_is_not_told_of():
    """
    Where a server forks past Python, as uWSGI does, a thread that went with the parent is seen to be gone.
    """
    done = subprocess.run([sys.executable, "-c", UNTOLD], capture_output=True, text=True, timeout=100)

    assert ("0\n", "") == (done.stdout, done.stderr)


FORKS = """
import os, sys, threading
from obskit.background import Ticks
from obskit.forks import fork_steps
from obskit.time.clock import Deadline
import obskit
obskit.configure(service="shop", log_stream=open(os.devnull, "w"), log_queue=100)
taken = threading.Semaphore(0)
ticks = Ticks(name="obskit-made", step=lambda: taken.release() or 0.0005, failed=print, part="made")
ticks.start()
obskit.get_logger("shop").info("the first line")
before = len(fork_steps), len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
bad = 0
for number in range(1000):
    obskit.get_logger("shop").info("a line")
    child = os.fork()
    if not child:
        well = not ticks.is_running
        if number % 50 == 0:
            taken = threading.Semaphore(0)
            well = well and ticks.start() and taken.acquire(timeout=60)
            obskit.get_logger("shop").info("a line of the child's")
        os._exit(0 if well else 1)
    bad += os.waitpid(child, 0)[1] != 0
after = len(fork_steps), len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
taken = threading.Semaphore(0)
names = sorted(one.name for one in threading.enumerate())
print(bad, before == after or (before, after), taken.acquire(timeout=60), names)
"""


def test_a_thousand_forks():
    """
    Forks at any moment, with threads at work, leave nothing behind, and no child waits for what it has not.
    """
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=240)

    names = "['MainThread', 'obskit-log-queue', 'obskit-made', 'obskit-sigterm']"
    assert (f"0 True True {names}\n", 0) == (done.stdout, done.returncode), done.stderr


LATE = """
import atexit, sys
from obskit.background import Ticks, start
from obskit.time.clock import Deadline

def late():
    ticks = Ticks(name="obskit-late", step=lambda: None, failed=print, part="late")
    told = ticks.start() in (True, False), ticks.stop(Deadline(60)), start(int, name="obskit-late") is None
    print(told[:2])

atexit.register(late)
"""


def test_at_the_end_of_the_interpreter():
    """
    A start that comes too late says so, and raises nothing.
    """
    done = subprocess.run([sys.executable, "-W", "error", "-c", LATE], capture_output=True, text=True, timeout=60)

    assert ("(True, True)\n", "", 0) == (done.stdout, done.stderr, done.returncode)


def test_steps_of_a_fork_are_all_taken():
    """
    What one step raises does not keep the others from theirs.
    """
    taken = []
    forks._take_all([lambda: taken.append(1), None, lambda: taken.append(2)])
    with pytest.raises(ZeroDivisionError):
        forks._take_all([lambda: 1 / 0, lambda: taken.append(3)])

    assert [1, 2, 3] == taken
    assert len(forks.fork_steps) > 10


def test_a_disk_that_has_stopped_holds_nobody_up(monkeypatch, tmp_path):
    """
    Where lines go to is stopped (SIGSTOP): requests go on, the end waits for its deadline, and what was not written is
    counted; whole lines arrive once it goes on.
    """
    monkeypatch.setattr(queued, "DRAIN_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(queued, "SYNC_TIMEOUT_SECONDS", 0.05)
    with open(tmp_path / "lines", "wb") as kept:
        reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=kept)
    stream = os.fdopen(reader.stdin.fileno(), "w", closefd=False)
    os.kill(reader.pid, signal.SIGSTOP)
    with isolated_runtime(log_stream=stream, log_queue=500):
        for number in range(300):
            obskit.get_logger("shop").info("x" * 1000, number=number)
        obskit.get_logger("shop").error("after it")
        dropped = recorder.dropped
        writing = [thread for thread in threading.enumerate() if thread.name == LINES]
    os.kill(reader.pid, signal.SIGCONT)
    for thread in writing:
        thread.join(60)
    stream.close()
    reader.stdin.close()
    reader.wait(60)
    lines = (tmp_path / "lines").read_bytes().splitlines()

    assert 1 == len(writing)
    assert [] == [thread for thread in writing if thread.is_alive()]
    assert dropped[("logs", "flush_timeout")] > 0
    assert lines
    assert all(line.startswith(b"{") and line.endswith(b"}") for line in lines)
