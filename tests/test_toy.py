"""
A part that a stranger writes has all that ours have: a setting, a thread, a file by day, a leader's job, a route for
operators, an event. It takes under 60 lines in a folder of its own, and one line outside.
"""

import gc
import http.client
import os
import signal
import subprocess
import sys
import threading
import weakref
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest

import obskit
from free_ports import free_port
from obskit import runtime
from obskit.errors import AlreadyConfiguredError, ConfigurationError, UnknownSettingError
from obskit.recorder import recorder
from obskit.storage.state_folder import StateFolder
from obskit.testing import FakeClock, advance, isolated_runtime
from obskit.time.clock import Deadline
from obskit.web.request import Request
from obskit.workers.service_leader import leads

TESTS = Path(__file__).parent
LINE = "toy.component:Toy"
PATIENCE_SECONDS = 60


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """
    Have the one line outside.
    """
    monkeypatch.setattr(runtime, "COMPONENTS", (*runtime.COMPONENTS, LINE))
    monkeypatch.syspath_prepend(str(TESTS))


def folder_of(state_dir, service="toys"):
    return StateFolder(str(state_dir), service).path / "toy"


def lines_in(folder):
    """
    Return the process that wrote each line, by the names of its files.
    """
    return [int(path.suffixes[0][1:]) for path in folder.glob("*.txt") for _ in path.read_text().splitlines()]


def asked(isolated, token=None):
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    return isolated.runtime.routes.answer(Request("POST", "/toy", "", headers.get, "192.0.2.1"))


def test_it_takes_few_lines():
    """
    All of it, its setting included, is in one folder, and short.
    """
    lines = [line for path in (TESTS / "toy").glob("*.py") for line in path.read_text().splitlines()]

    assert 0 < len(lines) < 60


def test_its_settings_are_read_as_ours(monkeypatch):
    """
    Arguments, variables, errors and joins know the settings that come with a part.
    """
    monkeypatch.setenv("OBSKIT_TOY_EVERY", "90s")
    with isolated_runtime(toy_token="t0ken") as isolated:
        settings = isolated.settings
        obskit.configure(toy_every="90s")
        with pytest.raises(AlreadyConfiguredError, match="toy_every"):
            obskit.configure(toy_every="1h")

    assert (timedelta(seconds=90), "t0ken") == (settings.toy_every, settings.toy_token)
    assert "t0ken" not in repr(settings)
    with (
        pytest.raises(ConfigurationError, match=r"toy_every=5: expected a length of time"),
        isolated_runtime(toy_every=5),
    ):
        pass
    with pytest.raises(UnknownSettingError, match="did you mean 'toy_every'"):
        obskit.configure(toy_evry="1s")


def test_it_runs_by_the_clock_of_a_test(tmp_path):
    """
    Its thread, its file by day and its event follow a fake clock; its route is for operators.
    """
    with isolated_runtime(
        clock=FakeClock(), service="toys", serving=True, toy_token="t0ken", state_dir=str(tmp_path), toy_every="6h"
    ) as isolated:
        toy = isolated.runtime._assembly.part("toy")
        advance("3d")
        statuses = [asked(isolated, token).status for token in (None, "wrong", "t0ken")]
        files = sorted(path.name for path in folder_of(tmp_path).iterdir())
        heard = [received.event.fields for received in toy.heard]

    assert [401, 401, 200] == statuses
    assert len(files) in (3, 4)
    assert len(files) == len(set(files))
    assert {os.getpid()} == set(lines_in(folder_of(tmp_path)))
    assert len(heard) == len(lines_in(folder_of(tmp_path))) >= 12
    assert {"leader": os.getpid()} == heard[0]


def test_a_process_that_does_not_serve_does_not_count(tmp_path):
    """
    The leader's job is done by no process that only imports.
    """
    with isolated_runtime(clock=FakeClock(), service="toys", serving=False, state_dir=str(tmp_path)):
        advance("1h")

    assert not folder_of(tmp_path).exists()


def test_nothing_is_left_of_it(tmp_path):
    """
    After `shutdown()` its thread has ended and nothing points to it; the next runtime has one of its own.
    """
    given = {"service": "toys", "serving": True, "state_dir": str(tmp_path)}
    with isolated_runtime(**given) as isolated:
        first = weakref.ref(isolated.runtime._assembly.part("toy"))
        [thread] = [thread for thread in threading.enumerate() if thread.name == "toy"]
    thread.join(PATIENCE_SECONDS)
    del isolated
    gc.collect()
    with isolated_runtime(**given) as isolated:
        second = isolated.runtime._assembly.part("toy")

    assert (None, False) == (first(), thread.is_alive())
    assert second is not None


def test_a_forked_child_has_its_own_thread(tmp_path):
    """
    A child that serves has a thread of its own in place of its parent's, and does not lead beside it.
    """
    with isolated_runtime(service="toys", serving=True, state_dir=str(tmp_path)) as isolated:
        toy = isolated.runtime._assembly.part("toy")
        is_leader = leads()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                [thread] = [thread for thread in threading.enumerate() if thread.name == "toy"]
                code = 0 if (thread is toy._thread.running, leads()) == (True, False) else 2
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)

    assert (True, 0) == (is_leader, os.waitstatus_to_exitcode(status))
    assert {} == recorder.errors


def visit(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", "/", headers={"Connection": "close"})
        return int(connection.getresponse().read())
    finally:
        connection.close()


def until(condition, port):
    """
    Visit until something is so; a server that is starting answers nobody yet.
    """
    deadline = Deadline(PATIENCE_SECONDS)
    while not condition():
        assert not deadline.is_over()
        try:
            visit(port)
        except OSError:
            pass
        deadline.rest(0.05)


@pytest.mark.parametrize("server", ["gunicorn"] if find_spec("gunicorn") else [])
def test_one_of_four_workers_counts_and_another_when_it_is_killed(tmp_path, server):
    """
    Under a server with four workers one counts; when it is killed, one other does.
    """
    port = free_port()
    command = [sys.executable, "-m", server, f"--bind=127.0.0.1:{port}", "--workers=4", "--no-control-socket"]
    environ = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
    environ |= {"OBSKIT_STATE_DIR": str(tmp_path), "PYTHONPATH": str(TESTS)}
    folder = folder_of(tmp_path)
    with subprocess.Popen([*command, "toy_app:wsgi"], env=environ, stdout=-3, stderr=-3) as process:
        try:
            until(lambda: len(lines_in(folder)) >= 3, port)
            [first] = set(lines_in(folder))
            os.kill(first, signal.SIGKILL)
            until(lambda: len(set(lines_in(folder))) == 2, port)
        finally:
            process.terminate()

    assert 2 == len(set(lines_in(folder)))
