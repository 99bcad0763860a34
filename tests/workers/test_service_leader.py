"""
A service's leader has a lock in the folder of its state, which is made when a process that serves asks first.
"""

import os
import shutil
import subprocess
import sys

import pytest

from obskit.catalogue import events
from obskit.storage import filesystems
from obskit.testing import RecordingSink, isolated_runtime
from obskit.workers import service_leader
from obskit.workers.leadership import ASK_EVERY_SECONDS, Leadership
from obskit.workers.service_leader import leads


def test_nothing_is_made_before_somebody_asks(tmp_path):
    """
    A process that does not serve makes no folder, one that does makes its service's, for this user alone.
    """
    state = tmp_path / "state"
    with isolated_runtime(state_dir=str(state), service="shop"):
        asked, made = leads(), state.exists()
    with isolated_runtime(state_dir=str(state), service="shop", serving=True):
        served = leads()

    assert (False, False, True) == (asked, made, served)
    assert [0o40700, 0o100600] == [os.stat(state / name).st_mode for name in ("shop", "shop/leader")]


def test_nobody_leads_without_a_runtime(tmp_path):
    """
    `shutdown()` leaves the lead to others, and the next `configure()` asks for it anew.
    """
    other = Leadership("leader")
    told = []
    for _ in range(2):
        with isolated_runtime(state_dir=str(tmp_path), service="shop", serving=True):
            told += [leads(), other.is_held(tmp_path / "shop")]
        told += [leads(), other.is_held(tmp_path / "shop")]
        other.release()

    assert [True, False, False, True] * 2 == told


def test_each_service_has_its_leader(tmp_path):
    """
    One of another name does not lead this one.
    """
    with isolated_runtime(state_dir=str(tmp_path), service="shop", serving=True):
        assert leads()
        assert Leadership("leader").is_held(tmp_path / "shop") is False
    with isolated_runtime(state_dir=str(tmp_path), service="till", serving=True):
        assert leads()


def test_a_folder_that_was_removed_is_made_anew(tmp_path):
    """
    What leads notices that its lock keeps nobody out any more, and asks in the new folder.
    """
    other = Leadership("leader")
    with isolated_runtime(state_dir=str(tmp_path), service="shop", serving=True):
        assert leads()
        shutil.rmtree(tmp_path / "shop")

        assert [True, False] == [leads(), other.is_held(tmp_path / "shop")]


def test_a_folder_that_cannot_be_used_is_told_once(tmp_path):
    """
    Nobody leads there, nothing breaks, and once it can be used, somebody does.
    """
    sink = RecordingSink()
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "leader").mkdir()
    with isolated_runtime(sinks=[sink], state_dir=str(tmp_path), service="shop", serving=True):
        before = [leads() for _ in range(3)]
        (tmp_path / "shop" / "leader").rmdir()
        after = leads()

    assert ([False] * 3, True) == (before, after)
    assert ["workers.no_leader"] == [event.name for event in sink.events if event.name.startswith("workers")]
    assert str(tmp_path / "shop" / "leader") in sink.events[-1].message


def test_a_file_system_of_a_network_is_told_once(tmp_path, monkeypatch):
    """
    Where the state lies on one, locks may hold for all machines or for none: whoever leads there says so.
    """
    mounts, sink = tmp_path / "mounts", RecordingSink()
    mounts.write_text(f"server:/state {tmp_path} nfs4 rw 0 0\n/dev/sda1 / ext4 rw 0 0\n")
    monkeypatch.setattr(filesystems, "MOUNTS", mounts)
    with isolated_runtime(sinks=[sink], state_dir=str(tmp_path), service="shop", serving=True):
        asked = [leads() for _ in range(3)]
    told = [event.message for event in sink.events if event.name == events.NETWORK_FOLDER.name]

    assert [True] * 3 == asked
    assert [
        f"{tmp_path / 'shop'} is on a file system of a network (nfs4), where locks hold for all machines or for "
        "none: set state_dir (OBSKIT_STATE_DIR) to a folder of this machine"
    ] == told


def test_the_first_that_asks_after_a_death_leads(tmp_path):
    """
    No question more than one is needed, and who asks as often as is said takes over within 5 seconds, also where it has
    just asked.
    """
    with isolated_runtime(state_dir=str(tmp_path), service="shop", serving=True):
        with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as holder:
            has_led = holder.stdout.readline()
            while_it_lives = [leads() for _ in range(3)]
            holder.kill()
        after = leads()

    assert (b"True\n", [False] * 3, True) == (has_led, while_it_lives, after)
    assert ASK_EVERY_SECONDS < 5


HOLDER = """
import signal, sys
import obskit
from obskit.workers.service_leader import leads

obskit.configure(state_dir=sys.argv[1], service="shop", serving=True, log_file="/dev/null")
print(leads(), flush=True)
signal.pause()
"""
UNNAMED = """
import sys
import obskit
from obskit.workers.service_leader import leads

sys.argv = ["gunicorn", "web:app"]
obskit.configure(state_dir=sys.path[0], serving=True, log_stream=sys.stderr)
print(leads(), obskit.configure().settings.service)
"""


def test_a_second_application_of_one_name_is_told_to_take_another(tmp_path):
    """
    Two that nobody has named, in folders of one name, do not share a leader: the second says how to name it.
    """
    found = []
    for place in ("one", "two"):
        (tmp_path / place / "web").mkdir(parents=True)
        (tmp_path / place / "web" / "run.py").write_text(UNNAMED.replace("sys.path[0]", repr(str(tmp_path / "state"))))
        done = subprocess.run(
            [sys.executable, str(tmp_path / place / "web" / "run.py")], capture_output=True, text=True, check=True
        )
        found.append((done.stdout.strip(), "configure(service='web-2')" in done.stderr))

    assert [("True web", False), ("False web", True)] == found


def ran_in(folder, state, **environ):
    """
    Configure in a folder; return whether that process leads, its service, and what was said.
    """
    folder.mkdir(parents=True)
    (folder / "run.py").write_text(UNNAMED.replace("sys.path[0]", repr(str(state))))
    command, given = [sys.executable, str(folder / "run.py")], {**os.environ, **environ}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=given)
    return done.stdout.strip(), done.stderr


@pytest.mark.parametrize("place", ["shop/releases/{}", "srv/releases/{}/shop", "srv/versions/{}/shop/src"])
def test_releases_of_a_project_that_nobody_named_are_one_service(tmp_path, place):
    """
    A new release takes the lead over, whatever its folder is called, and so does the one before it again; an
    application of the same name elsewhere does not.
    """
    state = tmp_path / "state"
    found = [ran_in(tmp_path / place.format(release), state) for release in ("20261129", "b5f2c1d", "3")]
    elsewhere, said = ran_in(tmp_path / "other" / place.format("3"), state)

    assert [("True shop", "")] * 3 == found
    assert "False shop" == elsewhere
    assert "give both its name: configure(service='shop') or OBSKIT_SERVICE=shop" in said


@pytest.mark.parametrize("variable", ["OBSKIT_SERVICE", "OTEL_SERVICE_NAME"])
def test_who_says_the_name_shares_it(tmp_path, variable):
    """
    Two folders of one name that are told the same name, though it is their own, are one service.
    """
    state, said = tmp_path / "state", {variable: "web"}
    found = [ran_in(tmp_path / place / "web", state, **said) for place in ("one", "two")]

    assert [("True web", "")] * 2 == found


def test_copies_of_a_named_project_are_one_service(tmp_path):
    """
    Two releases of a project lie in folders of their own, and the second waits for the lead of the first.
    """
    found = []
    for place in ("releases/1", "releases/2"):
        folder = tmp_path / place
        folder.mkdir(parents=True)
        (folder / "pyproject.toml").write_text('[project]\nname = "web"')
        (folder / "run.py").write_text(UNNAMED.replace("sys.path[0]", repr(str(tmp_path / "state"))))
        done = subprocess.run([sys.executable, str(folder / "run.py")], capture_output=True, text=True, check=True)
        found.append((done.stdout.strip(), done.stderr))

    assert [("True web", "")] * 2 == found


BARE = """
import sys
sys.modules["fcntl"] = None
import obskit
from obskit.workers.service_leader import leads

obskit.configure(state_dir=sys.argv[1], service="shop", serving=True)
print([leads() for _ in range(3)])
"""


def test_without_locks_nobody_leads(tmp_path):
    """
    A system without locks that end with their process has no leader, and says so once.
    """
    said = subprocess.check_output([sys.executable, "-c", BARE, str(tmp_path)], text=True)

    assert 1 == said.count("this system has no locks that end with their process")
    assert "[False, False, False]" == said.splitlines()[-1]


@pytest.mark.parametrize("step", ["leads", "unbind"])
def test_asking_waits_for_no_process(tmp_path, step):
    """
    Another holder makes neither question nor end wait.
    """
    other = Leadership("leader")
    with isolated_runtime(state_dir=str(tmp_path), service="shop", serving=True):
        (tmp_path / "shop").mkdir()
        assert other.is_held(tmp_path / "shop")

        assert not getattr(service_leader, step)()
    other.release()
