"""
Which server a process works for: asked of real servers' workers, and of the children that they start.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from free_ports import free_port
from obskit.metrics.directory import Directory
from obskit.workers import instance_folders
from obskit.workers.file_lock import locked_file
from obskit.workers.instance_folders import instance_path, is_in_use, open_instance_folder, remove_stale
from obskit.workers.instances import Instance, current_instance, instance_of
from obskit.workers.private_folder import make_private_directory

HERE = Path(__file__).parent
PATIENCE_SECONDS = 40
GUNICORN = ("-m", "gunicorn", "--workers=2", "--bind=127.0.0.1:{port}", "--no-control-socket")
SERVERS = {
    "gunicorn sync": (*GUNICORN, "served:wsgi"),
    "gunicorn gthread": (*GUNICORN, "--worker-class=gthread", "--threads=2", "served:wsgi"),
    "gunicorn preload": (*GUNICORN, "--preload", "served:wsgi"),
    "gunicorn asgi": (*GUNICORN, "--worker-class=asgi", "served:asgi"),
    "gunicorn program": ("served.py", "127.0.0.1:{port}"),
    "uvicorn workers": ("-m", "uvicorn", "--workers=2", "--port={port}", "served:asgi"),
    "uvicorn reload": ("-m", "uvicorn", "--reload", "--port={port}", "served:asgi"),
    "granian wsgi": ("-m", "granian", "--workers=2", "--interface=wsgi", "--port={port}", "served:wsgi"),
    "granian asgi": ("-m", "granian", "--workers=2", "--interface=asgi", "--port={port}", "served:asgi"),
    "hypercorn": ("-m", "hypercorn", "--workers=2", "--bind=127.0.0.1:{port}", "served:asgi"),
}
INSTALLED = [name for name in SERVERS if find_spec(name.split()[0])]


@contextmanager
def serving(arguments, tmp_path):
    """
    Start a server in a session of its own, and yield its process and port.
    """
    port = free_port()
    command = [sys.executable, *(argument.format(port=port) for argument in arguments)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)])}
    with open(tmp_path / "output.txt", "ab") as output:
        process = subprocess.Popen(command, cwd=HERE, env=environ, stdout=output, stderr=output, start_new_session=True)
    try:
        yield process, port
    finally:
        process.terminate()  # a killed server leaves its semaphores in shared memory
        try:
            process.wait(PATIENCE_SECONDS)
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def ask(port, process, tmp_path):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE_SECONDS) as reply:
                return json.load(reply)
        except urllib.error.HTTPError:
            raise AssertionError((tmp_path / "output.txt").read_text()) from None
        except OSError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise AssertionError((tmp_path / "output.txt").read_text()) from None
            time.sleep(0.05)


@pytest.mark.parametrize("name", INSTALLED)
def test_a_servers_workers_are_one_instance_and_their_children_none(tmp_path, name):
    """
    Each worker names the server that started it, from any thread; what he forks, spawns or runs names nobody.
    """
    with serving(SERVERS[name], tmp_path) as (process, port):
        told = [ask(port, process, tmp_path) for _ in range(4)]
        expected = instance_of(name.split()[0], process.pid)

    assert all(process.pid != one["pid"] for one in told)
    assert [expected] * 8 == [Instance(**one[key]) for one in told for key in ("instance", "thread")]
    assert [["None"]] * 4 == [one["children"] for one in told]
    assert {name != "gunicorn preload" and name != "gunicorn program"} == {one["loaded"] for one in told}
    assert {False} == {one["psutil"] for one in told if sys.platform == "linux"}


@pytest.mark.parametrize("name", [name for name in INSTALLED if name == "gunicorn sync"])
def test_two_servers_of_one_shell_are_two_instances(tmp_path, name):
    """
    Two servers that the same process started, of one service, have directories of their own.
    """
    with serving(SERVERS[name], tmp_path) as (one, port), serving(SERVERS[name], tmp_path) as (other, other_port):
        found = [Instance(**ask(*server, tmp_path)["instance"]) for server in ((port, one), (other_port, other))]

    assert [one.pid, other.pid] == [server.pid for server in found]
    assert 2 == len({instance_path("shop", server, 1) for server in found})


@pytest.mark.parametrize("name", [name for name in INSTALLED if name == "gunicorn sync"])
def test_a_server_that_replaces_itself_is_another_instance(tmp_path, name):
    """
    After SIGUSR2 the new gunicorn, a child of the old one with the same command line, has an instance of its own.
    """
    with serving(SERVERS[name], tmp_path) as (process, port):
        old = ask(port, process, tmp_path)["instance"]
        process.send_signal(signal.SIGUSR2)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (new := ask(port, process, tmp_path)["instance"]) == old and time.monotonic() < deadline:
            pass

    assert ("gunicorn", True) == (new["server"], new["pid"] != old["pid"])


@pytest.mark.parametrize("name", [name for name in INSTALLED if name == "uvicorn workers"])
def test_one_worker_in_the_servers_own_process_is_none(tmp_path, name):
    """
    A server without worker processes keeps its figures in memory.
    """
    with serving(("-m", "uvicorn", "--port={port}", "served:asgi"), tmp_path) as (process, port):
        told = ask(port, process, tmp_path)

    assert (process.pid, None, ["None"]) == (told["pid"], told["instance"], told["children"])


def test_a_process_of_no_server_is_none():
    """
    A test run, as any program, works for nobody.
    """
    assert current_instance() is None


def server(**changed):
    fields = {"server": "gunicorn", "pid": 123, "started": "1", "boot": "b", "namespace": "n", **changed}
    return Instance(**fields)


def test_the_place_tells_instances_apart():
    """
    A directory's name has the service, and depends on all that tells instances apart.
    """
    others = [
        instance_path("shop", server(**changed), 1)
        for changed in ({}, {"pid": 124}, {"started": "2"}, {"boot": "c"}, {"namespace": "m"})
    ]

    assert instance_path("shop", server(), 1) == others[0]
    assert 6 == len({*others, instance_path("till", server(), 1)})
    assert {f"obskit-{os.geteuid()}"} == {path.parent.name for path in others}


@pytest.mark.parametrize(
    ("service", "slug"),
    [("Plant Shop", "plant-shop"), ("../../etc", "etc"), ("", "service"), ("é", "service"), ("x" * 300, "x" * 40)],
)
def test_any_service_has_a_place(service, slug):
    """
    A directory's name is short and plain, whatever the service is called.
    """
    assert slug == instance_path(service, server(), 1).name.rsplit("-", 1)[0]


@pytest.fixture
def base(tmp_path, monkeypatch):
    """
    Return a place that no real instance uses.
    """
    monkeypatch.setattr(instance_folders, "root", lambda: tmp_path / "obskit-0")
    return tmp_path / "obskit-0"


@pytest.fixture
def dead():
    """
    Name a server that has ended.
    """
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    found = instance_of("gunicorn", process.pid)
    process.communicate(b"\n")
    return found


def here():
    """
    Name a server that runs.
    """
    return instance_of("gunicorn", os.getpid())


def test_a_directory_is_private_and_says_whose_it_is(base):
    """
    The directory and the one above it are the user's alone, and asking again gives the same.
    """
    paths = [open_instance_folder("shop", here(), 1) for _ in range(2)]

    assert paths[0] == paths[1] == instance_path("shop", here(), 1)
    assert [0o40700] * 2 == [os.stat(path).st_mode for path in (base, paths[0])]
    assert here() == Instance(**json.loads((paths[0] / "instance.json").read_text()))


def test_directories_of_dead_servers_go_when_a_server_starts(base, dead):
    """
    The first worker of an instance removes what instances left that have ended; those that run stay.
    """
    left, running = open_instance_folder("old", dead, 1), open_instance_folder("shop", here(), 1)

    assert not left.exists()
    assert running.exists()
    assert ["lock", running.name] == sorted(os.listdir(base), key=lambda name: (name != "lock", name))


def test_a_directory_with_a_living_worker_stays(base, dead):
    """
    A worker that outlives its server keeps its figures until it ends.
    """
    left = open_instance_folder("old", dead, 1)
    worker = Directory(left).join()
    remove_stale(base)
    assert is_in_use(left)
    worker.close()
    remove_stale(base)

    assert not left.exists()


@pytest.mark.parametrize("changed", [{"namespace": "pid:[1]"}, {"namespace": ""}])
def test_a_directory_of_another_container_stays_for_a_day(base, dead, changed):
    """
    What cannot be known is kept for as long as it may be in use.
    """
    fields = {field: getattr(dead, field) for field in ("server", "pid", "started", "boot", "namespace")}
    path = open_instance_folder("old", Instance(**{**fields, **changed}), 1)
    remove_stale(base)
    assert path.exists()
    os.utime(path, (0, 0))
    remove_stale(base)

    assert not path.exists()


def test_a_directory_of_a_former_boot_goes(base):
    """
    After the machine was started anew, no server of before runs, whoever has its number now.
    """
    fields = {field: getattr(here(), field) for field in ("server", "pid", "started", "namespace")}
    path = open_instance_folder("old", Instance(**fields, boot="another"), 1)
    remove_stale(base)

    assert not path.exists()


def test_a_number_that_is_used_again_is_no_server(base):
    """
    A process with the number of a server, and another start, is not that server.
    """
    fields = {field: getattr(here(), field) for field in ("server", "pid", "boot", "namespace")}
    path = open_instance_folder("old", Instance(**fields, started="1"), 1)
    remove_stale(base)

    assert not path.exists()


@pytest.mark.parametrize("said", [None, "", "[]", "{}", '{"pid": 1}', "{" * 5000, '{"server": 1, "pid": "x"}'])
def test_a_directory_that_does_not_say_whose_it_is_stays_for_a_day(base, said):
    """
    Somebody may be about to say so; after a day nobody is.
    """
    path = base / "shop-0"
    make_private_directory(path)
    if said is not None:
        (path / "instance.json").write_text(said)
    remove_stale(base)
    assert path.exists()
    os.utime(path, (0, 0))
    remove_stale(base)

    assert not path.exists()


def test_what_is_no_directory_of_ours_is_left_alone(base, tmp_path):
    """
    Files, links, and directories with folders in them are not removed, and are no error.
    """
    base.mkdir(mode=0o700)
    (base / "notes").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (base / "link").symlink_to(tmp_path / "elsewhere")
    for path in base.iterdir():
        os.utime(path, (0, 0), follow_symlinks=False)
    remove_stale(base)

    assert ["link", "lock", "notes"] == sorted(os.listdir(base))
    assert (tmp_path / "elsewhere").exists()


def test_somebody_else_at_it_is_left_to_it(base, dead):
    """
    Two servers that start at once do not remove the same directories.
    """
    path = open_instance_folder("old", dead, 1)
    with locked_file(base / "lock"):
        remove_stale(base)
        assert path.exists()
    remove_stale(base)

    assert not path.exists()
