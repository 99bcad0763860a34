"""
What workers have counted is in the history once, whoever of them is killed, at whatever moment, the sampler included.
"""

import http.client
import os
import signal
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from free_ports import free_port
from obskit.history.files import SeriesFiles
from obskit.history.instance_mark import InstanceMark
from obskit.history.reader import FileReader
from obskit.metrics.directory import Directory
from obskit.storage.periods import Span
from obskit.testing import FakeClock, advance, isolated_runtime
from obskit.time.clock import Deadline, system_clock
from obskit.workers import instance_folders

TESTS = Path(__file__).parent
PATIENCE_SECONDS = 60
EVER = Span(0, 1e11)
SERVERS = {
    "gunicorn": ["gunicorn", "--workers=4", "--no-control-socket", "--bind=127.0.0.1:{port}", "counting_app:wsgi"],
    "preload": [
        *("gunicorn", "--workers=4", "--no-control-socket", "--preload"),
        *("--bind=127.0.0.1:{port}", "counting_app:wsgi"),
    ],
    "uvicorn": ["uvicorn", "--workers=4", "--port={port}", "counting_app:asgi"],
    "uvicorn alone": ["uvicorn", "--port={port}", "counting_app:asgi"],
}
INSTALLED = [kind for kind, (module, *_) in SERVERS.items() if find_spec(module)]
WITH_WORKERS = [kind for kind in INSTALLED if kind != "uvicorn alone"]


class Served:
    """
    A server, of four workers most of the time, and a client that counts what it was answered.
    """

    def __init__(self, kind, service, state_dir, every="1s"):
        self.port = free_port()
        environ = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
        environ |= {"OBSKIT_STATE_DIR": str(state_dir), "PYTHONPATH": str(TESTS), "SERVICE_OF_TEST": service}
        environ |= {"EVERY_OF_TEST": every}
        command = [sys.executable, "-m", *(word.format(port=self.port) for word in SERVERS[kind])]
        self.process = subprocess.Popen(command, env=environ, stdout=-3, stderr=-3)
        self.answered, self.unanswered, self.pids = 0, 0, set()
        self._is_over = threading.Event()
        self._client = threading.Thread(target=self._ask)

    def _ask(self):
        while not self._is_over.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
            try:
                connection.request("GET", "/soup", headers={"Connection": "close"})
                self.pids.add(int(connection.getresponse().read()))
                self.answered += 1
            except (OSError, http.client.HTTPException, ValueError):
                self.unanswered += 1
                system_clock.wait(self._is_over, 0.02)
                self._is_over.is_set()
            finally:
                connection.close()

    def __enter__(self):
        self._client.start()
        return self

    def __exit__(self, *_):
        self._is_over.set()
        self._client.join()
        self.process.terminate()
        self.process.wait(PATIENCE_SECONDS)


def history_of(state_dir, service, every=1):
    return SeriesFiles(Path(state_dir) / service / "history", every)


def increments(files):
    """
    Return what the history has counted: plates, and observations with the sum of their buckets and their sum.
    """

    def fail(error):
        raise error

    reader = FileReader(files, fail)
    found = {}
    for step in (files.every, 60, 3600):
        ovens = [it.point for it in reader.points("oven_seconds", EVER, step)]
        found[step] = (
            sum(it.point.value for it in reader.points("plates_total", EVER, step)),
            sum(it.n for it in ovens),
            sum(it.value for it in ovens),
        )
    return found


def folders_of(files):
    """
    Return the folders of instances that this history samples.
    """
    found = []
    for folder in instance_folders.root().iterdir():
        mark = InstanceMark.read(folder)
        if mark is not None and mark.history == str(files.folder):
            found.append(folder)
    return found


def cells_of(folders):
    """
    Return what the workers have counted, as their own files say it.
    """
    plates = observed = seconds = 0
    for folder in folders:
        families = Directory(folder).snapshot().families
        plates += sum(row[0] for row in families["plates_total"].rows)
        observed += sum(row[0] for row in families["oven_seconds"].rows)
        seconds += sum(row[1] for row in families["oven_seconds"].rows)
    return plates, observed, seconds


def until(condition):
    deadline = Deadline(PATIENCE_SECONDS)
    while not condition():
        assert not deadline.is_over()
        deadline.rest(0.02)


def stored_steps(files):
    """
    Return the steps that were sampled so far.
    """
    return {it.at for it in FileReader(files, lambda error: None).samplings(EVER, files.every)}


def kill(pid):
    """
    Kill a process, and count it, if it is there still.
    """
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1


def take_what_is_left(service, state_dir):
    """
    Have another process of the service start, which takes what the ended instances have left.
    """
    with isolated_runtime(
        clock=FakeClock(), service=service, serving=True, state_dir=str(state_dir), history=True, history_every="1s"
    ):
        advance("3s")


@pytest.mark.parametrize("kind", WITH_WORKERS)
def test_nothing_is_lost_or_doubled_where_workers_are_killed(tmp_path, kind):
    """
    Workers are killed under load, the one that samples among them, and then the whole server: the increments are what
    the cells say, to the last one, in steps of whatever length, and the client's count but for requests in flight.
    """
    service = f"kills-{kind}-{os.urandom(4).hex()}"
    files, kills = history_of(tmp_path, service), 0
    with Served(kind, service, tmp_path) as served:
        until(lambda: len(served.pids) >= 3 and stored_steps(files))
        for _ in range(2):
            before = stored_steps(files)
            victims, served.pids = served.pids, set()
            for pid in victims:  # whichever of them samples
                kills += kill(pid)
            until(lambda: len(served.pids) >= 3 and stored_steps(files) - before)  # noqa: B023
        folders = folders_of(files)
        server = psutil.Process(served.process.pid)
        processes = [server, *server.children(recursive=True)]  # those too that have answered nothing yet
        for process in processes:
            kills += kill(process.pid)
        psutil.wait_procs(processes, timeout=PATIENCE_SECONDS)  # a lock is there until its process is gone
    counted = cells_of(folders)
    take_what_is_left(service, tmp_path)

    assert {1: counted, 60: counted, 3600: counted} == increments(files)
    assert counted[0] == counted[1] == counted[2] / 0.125
    assert served.answered <= counted[0] <= served.answered + kills
    assert [] == folders_of(files)


@pytest.mark.parametrize("kind", INSTALLED[:1])
def test_two_instances_at_once_and_a_graceful_end(tmp_path, kind):
    """
    Two servers of one service overlap, as for a blue and a green one; both end as asked: neither is doubled or lost.
    """
    service = f"blue-{os.urandom(4).hex()}"
    files = history_of(tmp_path, service)
    with Served(kind, service, tmp_path) as blue:
        until(lambda: blue.answered > 20 and stored_steps(files))
        with Served(kind, service, tmp_path) as green:
            until(lambda: green.answered > 20 and len(files.slots()) == 2)
    take_what_is_left(service, tmp_path)

    assert {(blue.answered + green.answered,) * 2} == {found[:2] for found in increments(files).values()}
    assert (0, 0) == (blue.process.returncode, green.process.returncode)


@pytest.mark.parametrize("kind", INSTALLED)
def test_what_was_counted_is_stored_when_the_server_ends(tmp_path, kind):
    """
    A server that is asked to end has stored everything by then: in a container, no other process ever takes the rest.
    """
    service = f"ends-{os.urandom(4).hex()}"
    files = history_of(tmp_path, service, every=30)
    with Served(kind, service, tmp_path, every="30s") as served:
        until(lambda: served.answered > 20)

    assert {(served.answered,) * 2} == {found[:2] for found in increments(files).values()}
