"""
SIGTERM drains where nobody else handles it, and ends the process whatever it was doing.
"""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import obskit
from obskit.testing import isolated_runtime

HERE = Path(__file__).parent
# Nothing but obskit puts the spans out: they wait an hour, and the provider does nothing at exit.
PROGRAM = """
import os, signal, sys, threading
import obskit
import obskit.sigterm
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(), schedule_delay_millis=3_600_000))
settings = dict(tracing=provider, metrics=False, access_log=False)

def refuse(name):
    start = threading.Thread.start
    def refusing(thread):
        if thread.name == name:
            raise RuntimeError("can't start new thread")
        start(thread)
    threading.Thread.start = refusing

def say(word):
    with obskit.observe(word):
        pass

def terminate():
    os.kill(os.getpid(), signal.SIGTERM)

def wait():
    while True:
        signal.pause()

"""
DRAINED, UNDRAINED = (-signal.SIGTERM, True), (-signal.SIGTERM, False)


def ended(program):
    """
    Run a program; give its exit status, and whether the span `last words` came out.
    """
    done = subprocess.run([sys.executable, "-c", PROGRAM + program], capture_output=True, text=True, timeout=120)
    return done.returncode, '"last words"' in done.stdout


def runs(kind):
    done = subprocess.run(
        [sys.executable, HERE / "terminated.py", kind], capture_output=True, text=True, timeout=900, check=True
    )
    return [tuple(line.split(" ", 2)) for line in done.stdout.splitlines()]


def test_it_ends_a_process_at_twenty_random_moments():
    """
    A main loop under a blocking budget and a log queue is ended by SIGTERM whenever it comes, and cuts no line in two.
    """
    found = [run[:2] for run in runs("random")]

    assert [("-15", "True")] * 20 == found


def test_it_ends_a_process_that_holds_any_lock_of_ours():
    """
    For each lock that the main thread takes: SIGTERM comes right after it was taken, and the process ends.
    """
    found = runs("held")

    assert [("-15", "True", run[2]) for run in found] == found
    assert len(found) >= 5


def test_the_interrupted_code_goes_on_while_it_drains():
    """
    The handler returns at once: what was interrupted runs on until all is put out.
    """
    program = """
class Slow:
    name = "slow"
    def bind(self, kind): return None, None
    def emit(self, event): pass
    def close(self): pass
    def flush(self): went_on.wait(60)
went_on = threading.Event()
from obskit.runtime import activate
activate(settings, [Slow()])
say("last words")
terminate()
went_on.set()
wait()
"""
    assert DRAINED == ended(program)


HANGING = """
class Hanging:
    name = "hanging"
    def bind(self, kind): return None, None
    def emit(self, event): pass
    def close(self): pass
    def flush(self):
        reached.set()
        threading.Event().wait()
reached = threading.Event()
from obskit.runtime import activate
activate(settings, [Hanging()])
"""


def test_a_drain_that_hangs_has_a_deadline():
    """
    What cannot be put out keeps no process alive.
    """
    assert DRAINED == ended(f"obskit.sigterm.DEADLINE_SECONDS = 1.0{HANGING}say('last words')\nterminate()\nwait()")


def test_a_second_one_ends_the_process_at_once():
    """
    Whoever asks twice does not wait for the drain.
    """
    program = f"obskit.sigterm.DEADLINE_SECONDS = 3600.0{HANGING}terminate()\nreached.wait()\nterminate()\nwait()"

    assert UNDRAINED == ended(program)


def test_without_its_thread_it_ends_the_process_undrained():
    """
    Where no thread could be started the process ends at once; a forked child that has nothing of its own puts out
    nothing.
    """
    alone = "refuse('obskit-sigterm')\nobskit.configure(**settings)\nsay('last words')\nterminate()\nwait()"
    child = """
obskit.configure(**settings)
child = os.fork()
if not child:
    terminate()
    wait()
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
os._exit(-status)
"""

    assert UNDRAINED == ended(alone)
    assert (signal.SIGTERM, False) == ended(child)


@pytest.mark.parametrize("way", ["obskit.get_logger('shop').info('a line')", "obskit.configure()", "pass"])
def test_a_forked_child_drains_once_it_has_something_of_its_own(way):
    """
    A child whose queue takes a line, or that calls `configure()`, has a thread for SIGTERM too; one that only makes
    spans gets it with the signal.
    """
    program = f"""
obskit.configure(log_queue=100, **settings)
child = os.fork()
if not child:
    {way}
    say("last words")
    terminate()
    wait()
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
os._exit(-status)
"""

    assert (signal.SIGTERM, True) == ended(program)


def test_a_drain_that_gets_no_thread_is_done_all_the_same():
    """
    The thread that waits for the signal drains by itself then.
    """
    refused = "refuse('obskit-drain')\nobskit.configure(**settings)\nsay('last words')\nterminate()\nwait()"

    assert DRAINED == ended(refused)


def test_a_program_that_ends_meanwhile_ends_by_the_signal():
    """
    As uvicorn does: it raises the signal for us once it has stopped, and comes to its end. Its status is the signal's.
    """
    assert DRAINED == ended("obskit.configure(**settings)\nsay('last words')\nsignal.raise_signal(signal.SIGTERM)")


def test_a_handler_of_somebody_else_may_call_ours():
    """
    One that was put in front of ours, and calls it, drains.
    """
    program = """
obskit.configure(**settings)
ours = signal.getsignal(signal.SIGTERM)
signal.signal(signal.SIGTERM, lambda *args: ours(*args))
say("last words")
terminate()
wait()
"""
    assert DRAINED == ended(program)


def test_a_second_runtime_drains_too():
    """
    `shutdown()` gives the signal back, and the next `configure()` takes it again.
    """
    program = """
for turn in range(3):
    obskit.configure(**settings)
    obskit.shutdown()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert not [thread for thread in threading.enumerate() if thread.name == "obskit-sigterm" and thread.join(60)]
obskit.configure(**settings)
say("last words")
terminate()
wait()
"""
    assert DRAINED == ended(program)


def test_a_thread_that_configures_leaves_the_signal_alone():
    """
    Only the main thread may set a handler.
    """
    program = """
thread = threading.Thread(target=lambda: obskit.configure(**settings))
thread.start()
thread.join()
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
say("last words")
terminate()
wait()
"""
    assert UNDRAINED == ended(program)


def test_a_test_of_an_application_keeps_its_signal():
    """
    An isolated runtime takes the signal back when it ends.
    """
    before = signal.getsignal(signal.SIGTERM)
    with isolated_runtime(log_queue=10):
        obskit.get_logger("shop").info("a line")

    assert before is signal.getsignal(signal.SIGTERM)
