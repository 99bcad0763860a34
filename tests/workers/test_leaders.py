"""
One process leads a service on a machine, whatever serves it: under real servers, killed, stopped and replaced.
"""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from free_ports import free_port

HERE = Path(__file__).parent
PATIENCE_SECONDS = 40
GUNICORN = ("-m", "gunicorn", "--bind=127.0.0.1:{port}", "--no-control-socket", "--log-level=warning", "--timeout=0")
ONE_WORKER = (*GUNICORN, "--workers=1", "led:wsgi")
TWO_WORKERS = (*GUNICORN, "--workers=2", "led:wsgi")
CELERY = ("-m", "celery", "-A", "led", "worker", "--pool=prefork", "--concurrency=2", "--loglevel=warning")
UWSGI = (
    *("--http-socket=127.0.0.1:{port}", "--master", "--processes=2", "--enable-threads", "--die-on-term"),
    "--module=led:wsgi",
)
BESIDE = Path(sys.executable).with_name("uwsgi")
# The program, or None where it is not installed, and its arguments.
LOADED_BEFORE_FORKS = {
    "gunicorn": (find_spec("gunicorn") and sys.executable, (*TWO_WORKERS[:-1], "--preload", "led:wsgi")),
    "uwsgi": (str(BESIDE) if BESIDE.exists() else shutil.which("uwsgi"), UWSGI),
}
needs_gunicorn = pytest.mark.parametrize("server", ["gunicorn"] if find_spec("gunicorn") else [])


class Machine:
    """
    What runs on a machine: its processes, and what they have noted.
    """

    def __init__(self, folder):
        self.folder, self.started = folder, []

    @contextmanager
    def running(self, arguments, program=sys.executable, **environ):
        """
        Start a program in a session of its own; yield it.
        """
        port = free_port()
        started = Running(self, [program, *(part.format(port=port) for part in arguments)], port, environ)
        self.started.append(started)
        try:
            yield started
        finally:
            started.end()

    @property
    def environ(self):
        given = {name: text for name, text in os.environ.items() if not name.startswith(("PYTEST", "OBSKIT"))}
        path = os.pathsep.join([str(HERE), *filter(None, sys.path)])
        here = {"LED_FOLDER": str(self.folder), "OBSKIT_STATE_DIR": str(self.folder / "state")}
        return {**given, "PYTHONPATH": path, **here}

    def notes(self, what):
        """
        Return the processes that have noted this, in order.
        """
        try:
            lines = (self.folder / "notes").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [note["pid"] for note in map(json.loads, lines) if note["what"] == what]

    def until(self, condition):
        """
        Look until there is something true, whatever breaks meanwhile.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                if found := condition():
                    return found
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.01)
        raise AssertionError("\n".join(started.output.read_text()[-2000:] for started in self.started))

    def leader(self, beside=()):
        """
        Return the process that was the latest to lead, once it is none of these.
        """
        return self.until(lambda: (led := self.notes("leads")) and led[-1] not in beside and led[-1])

    def run(self, program, **environ):
        """
        Run a script to its end, and return what it says last.
        """
        command = [sys.executable, "-c", program]
        said = subprocess.check_output(command, text=True, env={**self.environ, **environ}, cwd=HERE)
        return said.splitlines()[-1]


class Running:
    """
    A program that runs on the machine.
    """

    def __init__(self, machine, command, port, environ):
        self.machine, self.port = machine, port
        self.output = machine.folder / f"output-{port}.txt"
        with open(self.output, "wb") as file:
            self.process = subprocess.Popen(
                command,
                cwd=HERE,
                env={**machine.environ, **environ},
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def visit(self, path="/"):
        """
        Return what a worker says.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            with connection.getresponse() as reply:
                return json.loads(reply.read())
        finally:
            connection.close()

    def workers(self, number):
        """
        Visit until this many have answered.
        """
        found = {}

        def all_of_them():
            said = self.visit()
            found[said["pid"]] = said
            return len(found) >= number and found

        return self.machine.until(all_of_them)

    def kill(self):
        """
        Kill it with all of its workers.
        """
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_SECONDS)

    def end(self):
        try:
            self.process.terminate()
            self.process.wait(PATIENCE_SECONDS)
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


@pytest.fixture
def machine(tmp_path):
    """
    Yield a machine on which never two lead at once.
    """
    found = Machine(tmp_path)
    yield found
    assert [] == found.notes("two lead")


@needs_gunicorn
def test_two_servers_of_one_service_have_one_leader(machine, server):
    """
    Of the workers of two servers one leads; one of each samples its own server's cells. When the leader is killed,
    another process leads, and when its whole server is, one of the other's.
    """
    with machine.running(TWO_WORKERS) as one, machine.running(TWO_WORKERS) as other:
        pids = {running: set(running.workers(2)) for running in (one, other)}
        first = machine.leader()
        answers = [said["leads"] for running in (one, other) for said in running.workers(2).values()]
        sampling = machine.until(lambda: len(found := set(machine.notes("samples"))) == 2 and found)
        os.kill(first, signal.SIGKILL)
        second = machine.leader({first})
        led, left = (one, other) if second in pids[one] or second not in pids[other] else (other, one)
        if second not in pids[one] | pids[other]:  # a worker that was started in place of the first
            led, left = (one, other) if first in pids[one] else (other, one)
        led.kill()
        third = machine.leader({first, second})
        lives = set(left.workers(2))

    assert 1 == sum(answers)
    assert [1, 1] == [len(sampling & pids[running]) for running in (one, other)]
    assert third in lives


@needs_gunicorn
def test_a_stopped_leader_is_the_leader_when_it_wakes(machine, server):
    """
    While it is stopped nobody acts in its place, so that what it does on waking is done once.
    """
    with machine.running(ONE_WORKER) as one:
        one.workers(1)
        leader = machine.leader()
        with machine.running(ONE_WORKER) as other:
            other.workers(1)
            os.kill(leader, signal.SIGSTOP)
            asked = [*other.workers(1).values()]
            os.kill(leader, signal.SIGCONT)
            woken = one.workers(1)

    assert [False] == [said["leads"] for said in asked]
    assert {leader: True} == {pid: said["leads"] for pid, said in woken.items()}


@needs_gunicorn
def test_a_new_release_takes_over_when_the_old_one_has_gone(machine, server):
    """
    While both serve the old one leads; it gives the lead up as it ends.
    """
    with machine.running(TWO_WORKERS) as blue:
        blue.workers(2)
        first = machine.leader()
        with machine.running(TWO_WORKERS) as green:
            both = green.workers(2)
            blue.process.terminate()
            blue.process.wait(PATIENCE_SECONDS)
            second = machine.leader({first})

    assert {False} == {said["leads"] for said in both.values()}
    assert second in both


@pytest.mark.parametrize("server", [name for name, program in LOADED_BEFORE_FORKS.items() if program[0]])
def test_a_server_that_loads_the_application_before_it_forks_does_not_lead(machine, server):
    """
    The process that only forks workers never asks, and they keep nothing of it, also under uWSGI, which tells Python of
    no fork. When the one that leads is killed, another one does.
    """
    program, arguments = LOADED_BEFORE_FORKS[server]
    with machine.running(arguments, program=program) as running:
        workers = set(running.workers(2))
        first = machine.leader()
        os.kill(first, signal.SIGKILL)
        second = machine.leader({first})

    assert first in workers
    assert running.process.pid not in (first, second)


@pytest.mark.parametrize("server", ["gunicorn"] if find_spec("gunicorn") and find_spec("celery") else [])
def test_a_server_and_a_worker_of_a_queue_have_one_leader(machine, server):
    """
    They have one name, by their project, and what outlives the other leads.
    """
    with machine.running(CELERY) as queue:
        first = machine.leader()  # from its start on, without a request or a task
        with machine.running(TWO_WORKERS) as web:
            said = web.workers(2)
            queue.kill()
            second = machine.leader({first})
            with machine.running(CELERY):
                web.process.terminate()
                web.process.wait(PATIENCE_SECONDS)
                third = machine.leader({first, second})

    assert {("obskit", False)} == {(one["service"], one["leads"]) for one in said.values()}
    assert second in said
    assert third not in said


@pytest.mark.parametrize("server", ["uvicorn"] if find_spec("uvicorn") else [])
def test_a_worker_leads_from_its_start_on(machine, server):
    """
    ASGI's start-up is enough: a server that nobody visits has a leader, and another one once that is killed.
    """
    with machine.running(("-m", "uvicorn", "--workers=2", "--port={port}", "--log-level=warning", "led:asgi")):
        first = machine.leader()
        os.kill(first, signal.SIGKILL)

        assert first != machine.leader({first})


@needs_gunicorn
def test_workers_that_cannot_share_their_cells_have_one_leader(machine, server):
    """
    Each samples its own cells, which nobody else can read, and one leads all the same.
    """
    (machine.folder / "file").write_text("in the way")
    with machine.running(TWO_WORKERS, OBSKIT_METRICS_DIR=str(machine.folder / "file" / "metrics")) as running:
        workers = running.workers(2)
        machine.until(lambda: set(machine.notes("samples")) == set(workers))
        machine.leader()
        answers = [said["leads"] for said in running.workers(2).values()]

    assert 1 == sum(answers)


SCRIPT = """
import sys
import led
from obskit.workers.service_leader import leads
print(leads())
"""


@needs_gunicorn
def test_a_script_that_runs_every_ten_seconds_never_asks(machine, server):
    """
    It neither leads nor makes a folder. One that takes part by its setting leads where nobody else does, and only then.
    """
    alone = [machine.run(SCRIPT) for _ in range(2)]
    folders = (machine.folder / "state").exists()
    job = machine.run(SCRIPT, OBSKIT_SERVING="1")
    with machine.running(ONE_WORKER) as running:
        running.workers(1)
        machine.leader()
        during = [machine.run(SCRIPT, OBSKIT_SERVING=text) for text in ("none", "1", "none", "1")]
        [answer] = running.workers(1).values()

    assert (["False"] * 2, False, "True") == (alone, folders, job)
    assert (["False"] * 4, True) == (during, answer["leads"])
