"""
Each service has one folder for its state on a machine, which is its own, this user's, and made when it is needed.
"""

import json
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from forked import in_child
from obskit.ai.budget_file import file_of
from obskit.errors import StateFolderTakenError
from obskit.recorder import recorder
from obskit.storage import state_folder
from obskit.storage.filesystems import filesystem_of, is_network
from obskit.storage.folder_names import MAX_LENGTH, folder_name, service_name
from obskit.storage.state_folder import (
    MARKER,
    Occupant,
    StateFolder,
    base_folder,
    services_in,
    system_state_dir,
    user_state_dir,
)

NAMES = [
    *(
        "shop",
        "Shop",
        "SHOP",
        "shop ",
        " shop",
        "shop.",
        ".shop",
        "shop-",
        "-shop",
        "shop/api",
        "shop\\api",
        "shop:api",
    ),
    *("", ".", "..", "...", "/", "//", "%", "%25", "%2e", "a%2fb", "a/b", "~", "~root", "$HOME", "a\0b", "a\nb"),
    *("con", "CON", "con.txt", "nul", "com1", "lpt9.log", "console", "ai-budgets-shop.sqlite3", "ai-budgets-"),
    *("café", "cafe\u0301", "CAFÉ", "\u017fhop", "\u212a", "店", "\udc80", "*", "?", "|", "<", ">", '"', "'", ";"),
    *("x" * 100, "x" * 101, "x" * 102, "X" * 100, "店" * 99, "店" * 100, "x" * 300, "x" * 300 + "y"),
    *(f"x{'~' * n}" for n in range(3)),
    folder_name("x" * 300),
]


@pytest.fixture
def told(monkeypatch):
    """
    Collect what is told, with nothing told before.
    """
    events = []
    monkeypatch.setattr(state_folder, "_told", set())
    monkeypatch.setattr(recorder, "emit", events.append)
    return events


def leave_pytest(monkeypatch):
    """
    Hide from the process, for the rest of the test, that it runs pytest, which sets this for each phase anew.
    """
    monkeypatch.delenv("PYTEST_VERSION", raising=False)
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)


# Names


def test_two_names_never_share_a_folder():
    """
    Not those that a file system takes for one, such as `Shop` and `shop`, nor those that look like an escaped one.
    """
    folders = {folder_name(name).lower() for name in NAMES}

    assert len(set(NAMES)) == len(folders)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_each_name_is_one_folder_of_plain_letters(name, tmp_path):
    """
    It is no way out, no hidden or reserved name, is short enough for every file system, and can be made.
    """
    folder = folder_name(name)
    (tmp_path / folder).mkdir()

    assert folder.isascii()
    assert set(folder) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-.%~")
    assert 0 < len(folder) <= MAX_LENGTH
    assert folder[0] not in ".-~"
    assert folder[-1] != "."
    assert not folder.startswith("ai-budgets-")
    assert folder.split(".")[0] not in ("con", "nul", "com1", "lpt9")
    assert [folder] == os.listdir(tmp_path)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_can_be_read_back(name):
    """
    As long as it was short enough to be written whole.
    """
    folder = folder_name(name)

    assert service_name(folder) == (None if "~" in folder else name)


@pytest.mark.parametrize(
    "folder", ["Shop", "%41b%", "%zz", "%ff", "%2E", "a b", "con", "", ".", "..", "ai-budgets-shop"]
)
def test_what_is_no_folder_of_ours_is_no_service(folder):
    """
    A name that this would never have written is not read.
    """
    assert service_name(folder) is None


# Bases


def test_the_setting_comes_first(monkeypatch, tmp_path):
    """
    Then systemd's folder, the first where it is several, then the user's.
    """
    leave_pytest(monkeypatch)
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/shop:/var/lib/shop-2")
    monkeypatch.setenv("XDG_STATE_HOME", "/srv/state")
    assert base_folder(tmp_path) == tmp_path
    assert base_folder(None) == Path("/var/lib/shop")
    monkeypatch.setenv("STATE_DIRECTORY", "")
    assert base_folder(None) == Path("/srv/state/obskit")


@pytest.mark.parametrize("given", ["", "shop", ":/var/lib/shop", "~/shop"])
def test_a_relative_state_directory_is_none(monkeypatch, given):
    """
    What systemd sets is absolute: anything else is not systemd's.
    """
    monkeypatch.setenv("STATE_DIRECTORY", given)

    assert system_state_dir() is None


def test_the_state_folder_is_the_users(monkeypatch):
    """
    By default, state lies where the user's programs keep it.
    """
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_STATE_HOME", "/srv/state")
    assert user_state_dir() == Path("/srv/state/obskit")
    monkeypatch.setenv("XDG_STATE_HOME", "")
    monkeypatch.setenv("HOME", "/srv/shop")
    assert user_state_dir() == Path("/srv/shop/.local/state/obskit")


def test_under_pytest_it_is_a_temporary_one_which_is_told_once(told):
    """
    A suite that configures obskit writes nothing where the application's own state is; its children share the folder.
    """
    folder, again = StateFolder(None, "shop"), StateFolder(None, "shop-2")
    for each in (folder, again, folder):
        each.open()

    assert user_state_dir() not in folder.path.parents
    assert folder.base == again.base
    assert in_child(lambda: str(StateFolder(None, "shop").base)) == str(folder.base)
    assert [("state.folder", "INFO", "temporary")] == [
        (event.name, event.severity, event.fields["problem"]) for event in told
    ]
    assert str(folder.base) in told[0].message


def test_the_temporary_one_goes_with_the_process(tmp_path):
    """
    A suite leaves no folder behind.
    """
    (tmp_path / "test_it.py").write_text(
        "from obskit.storage.state_folder import StateFolder\n"
        "def test_it():\n"
        "    path = StateFolder(None, 'shop').open()\n"
        "    assert path.is_dir()\n"
        "    print(f'<{path}>')\n"
    )
    command = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    made = Path(done.stdout.partition("<")[2].partition(">")[0])

    assert 0 == done.returncode
    assert made.is_absolute()
    assert not made.parent.exists()


def test_what_pytest_starts_has_its_own(tmp_path):
    """
    A server that a test starts is no test: its workers share one folder, whoever imports what.
    """
    program = "from obskit.storage.state_folder import base_folder; print(base_folder(None))"
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)

    assert f"{tmp_path / 'obskit'}\n" == done.stdout


# Making it


def test_nothing_is_made_before_it_is_opened(tmp_path):
    """
    Not by importing, nor by asking where it is.
    """
    StateFolder(tmp_path / "state", "shop").occupant()
    services_in(tmp_path / "state")
    file_of(tmp_path / "state", "shop")

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_it_is_this_users_alone(tmp_path, umask):
    """
    Whatever the umask; what lies open is closed.
    """
    os.chmod(tmp_path, 0o755)
    before = os.umask(umask)
    try:
        folders = [StateFolder(tmp_path / "a" / "state", "shop"), StateFolder(tmp_path, "open")]
        folders[1].path.mkdir()
        os.chmod(folders[1].path, 0o777)
        opened = [folder.open() for folder in folders]
    finally:
        os.umask(before)

    assert opened == [tmp_path / "a" / "state" / "shop", tmp_path / "open"]
    assert [0o700, 0o700] == [stat.S_IMODE(path.stat().st_mode) for path in opened]
    assert [0o600, 0o600] == [stat.S_IMODE((path / MARKER).stat().st_mode) for path in opened]
    assert [[MARKER], [MARKER]] == [os.listdir(path) for path in opened]
    assert 0o755 == stat.S_IMODE(tmp_path.stat().st_mode)


def in_the_way(path, kind):
    path.parent.mkdir(parents=True)
    match kind:
        case "file":
            path.write_text("")
        case "link":
            (path.parent / "elsewhere").mkdir()
            path.symlink_to(path.parent / "elsewhere")
        case "dangling link":
            path.symlink_to(path.parent / "elsewhere")
        case "fifo":
            os.mkfifo(path)


@pytest.mark.parametrize("kind", ["file", "link", "dangling link", "fifo"])
def test_what_is_in_the_way_is_told_once(tmp_path, told, kind):
    """
    Nothing is made through a link, and nothing breaks.
    """
    folder = StateFolder(tmp_path / "state", "shop")
    in_the_way(folder.path, kind)
    before = sorted(folder.base.rglob("*"))

    assert [None, None] == [folder.open(), folder.open()]
    assert before == sorted(folder.base.rglob("*"))
    assert ["unusable"] == [event.fields["problem"] for event in told]
    assert str(folder.path) in told[0].message
    os.rename(folder.path, tmp_path / "away")
    assert folder.path == folder.open()
    in_the_way(tmp_path / "again" / "x", "file")
    os.rename(folder.path, tmp_path / "good")
    os.rename(tmp_path / "again" / "x", folder.path)
    assert folder.open() is None
    assert 2 == len(told)


def test_a_user_without_a_home_is_told(told, monkeypatch, tmp_path):
    """
    Nothing is made in a folder that is called `~`.
    """
    monkeypatch.chdir(tmp_path)

    assert StateFolder("~/.local/state/obskit", "shop").open() is None
    assert "this user has no home folder: set state_dir" in told[0].message
    assert [] == list(tmp_path.iterdir())


if os.geteuid() == 0:

    @pytest.mark.parametrize("others", ["base", "service"])
    def test_another_users_folder_is_not_used(others):
        """
        Neither one of the service's name, nor one in which another user could replace it; root's own is taken.
        """
        somebody, other = 4242, 4243
        with tempfile.TemporaryDirectory() as place:
            os.chmod(place, 0o777)
            folder = StateFolder(Path(place) / "state", "shop")
            folder.make()

            def opened():
                os.setgroups([])
                os.setgid(somebody)
                os.setuid(somebody)
                return folder.open()

            os.chown(folder.base, somebody, somebody)
            os.chown(folder.path, somebody, somebody)
            assert str(folder.path) == in_child(opened)
            for owner, expected in ((other, "None"), (0, str(folder.path))):
                found = folder.base if others == "base" else folder.path
                os.chown(found, owner, owner)
                os.chmod(found, 0o777)
                assert expected == in_child(opened)


# Whom it serves


@pytest.fixture
def projects(tmp_path):
    found = [tmp_path / name / "shop" for name in ("one", "two")]
    for folder in found:
        folder.mkdir(parents=True)
    return found


def test_a_second_application_that_nobody_named_is_refused(tmp_path, projects):
    """
    The error says where both are, and what to set; the first goes on, through a link to its folder too.
    """
    one, two = projects
    (tmp_path / "link").symlink_to(one)
    folder = StateFolder(tmp_path / "state", "shop")
    assert folder.path == folder.open(one, is_named=False)
    with pytest.raises(StateFolderTakenError, match=r"configure\(service='shop-2'\)") as caught:
        StateFolder(tmp_path / "state", "shop").open(two, is_named=False)

    assert all(str(place) in str(caught.value) for place in (folder.path, one, two))
    assert folder.path == folder.open(tmp_path / "link", is_named=False)
    assert Occupant("shop", str(one)) == folder.occupant()


def test_projects_that_were_given_one_name_share_the_folder(tmp_path, projects):
    """
    As a site and its workers do, and the versions of a site during a change; the first is remembered.
    """
    folder = StateFolder(tmp_path / "state", "shop")

    assert [folder.path] * 3 == [folder.open(projects[0]), folder.open(projects[1]), folder.open()]
    assert Occupant("shop", str(projects[0])) == folder.occupant()
    with pytest.raises(StateFolderTakenError):
        folder.open(projects[1], is_named=False)


def test_a_project_that_is_gone_gives_its_folder_up(tmp_path, projects):
    """
    One that was moved takes its state along.
    """
    folder = StateFolder(tmp_path / "state", "shop")
    folder.open(projects[0], is_named=False)
    projects[0].rmdir()

    assert folder.path == folder.open(projects[1], is_named=False)
    assert Occupant("shop", str(projects[1])) == folder.occupant()


def test_a_new_release_is_remembered(tmp_path):
    """
    The folder is of the latest release, so that it is not given up with the first.
    """
    first, second = (tmp_path / "shop" / "releases" / number for number in ("1", "2"))
    first.mkdir(parents=True)
    second.mkdir()
    folder = StateFolder(tmp_path / "state", "shop")
    folder.open(first, is_named=False)
    folder.open(second, is_named=False)
    folder.open()

    assert Occupant("shop", str(second)) == folder.occupant()


def test_the_project_is_filled_in(tmp_path, projects):
    """
    Whoever came first may not have known it.
    """
    folder = StateFolder(tmp_path / "state", "shop")
    folder.open()
    assert Occupant("shop", None) == folder.occupant()
    folder.open(projects[0])
    assert Occupant("shop", str(projects[0])) == folder.occupant()


def damage(marker, kind):
    match kind:
        case "empty":
            marker.write_text("")
        case "cut":
            marker.write_text('{"format": 1, "serv')
        case "bytes":
            marker.write_bytes(bytes(range(256)) * 400)
        case "deep":
            marker.write_text("[" * 60_000)
        case "others":
            marker.write_text('{"service": 4, "project": []}')
        case "list":
            marker.write_text("[1]")
        case "fifo":
            os.mkfifo(marker)
        case "link":
            (marker.parent.parent / "secret").write_text(json.dumps({"service": "shop", "project": "/"}))
            marker.symlink_to(marker.parent.parent / "secret")


@pytest.mark.parametrize("kind", ["empty", "cut", "bytes", "deep", "others", "list", "fifo", "link"])
def test_a_damaged_marker_is_written_anew(tmp_path, projects, kind):
    """
    It stops nobody, nothing is waited for, and nothing is read or written through a link.
    """
    folder = StateFolder(tmp_path / "state", "shop")
    folder.make()
    damage(folder.path / MARKER, kind)
    assert folder.occupant() is None
    assert folder.path == folder.open(projects[0], is_named=False)

    assert Occupant("shop", str(projects[0])) == folder.occupant()
    assert stat.S_ISREG(os.lstat(folder.path / MARKER).st_mode)
    assert [MARKER] == os.listdir(folder.path)


def test_a_folder_in_place_of_the_marker_stops_nobody(tmp_path, projects):
    """
    What cannot be remembered is not, and the folder is used.
    """
    folder = StateFolder(tmp_path / "state", "shop")
    (folder.path / MARKER).mkdir(parents=True)

    assert folder.path == folder.open(projects[0], is_named=False)
    assert [MARKER] == os.listdir(folder.path)


def test_two_that_start_at_once_agree(tmp_path, projects, monkeypatch):
    """
    Who comes second between the look and the writing is told of the first.
    """
    folder = StateFolder(tmp_path / "state", "shop")
    look = StateFolder.occupant
    seen = []

    def looked(self):
        found = look(self)
        if not seen:
            seen.append(found)
            StateFolder(tmp_path / "state", "shop").open(projects[0], is_named=False)
        return found

    monkeypatch.setattr(StateFolder, "occupant", looked)
    with pytest.raises(StateFolderTakenError):
        folder.open(projects[1], is_named=False)

    assert [None] == seen
    assert [MARKER] == os.listdir(folder.path)


def test_the_services_of_a_base_are_found_by_name(tmp_path):
    """
    Those that say who they are, and those that a name can be read of; never what a link leads to, or what is no folder.
    """
    for name in ("shop", "Shop", "x" * 300):
        StateFolder(tmp_path, name).open()
    StateFolder(tmp_path, "till").make()
    (tmp_path / "ai-budgets-shop.sqlite3").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "shop")
    (tmp_path / "Other").mkdir()
    (tmp_path / "liar").mkdir()
    (tmp_path / "liar" / MARKER).write_text('{"service": "shop", "project": null}')

    assert {name: tmp_path / folder_name(name) for name in ("Shop", "shop", "till", "x" * 300)} == services_in(tmp_path)
    assert {} == services_in(tmp_path / "missing")


# The file of budgets, which was there first


def test_a_budgets_file_at_its_former_place_stays_there(tmp_path, monkeypatch):
    """
    In the state folder itself, or in the user's where systemd's is the default now; a new one is in the service's.
    """
    leave_pytest(monkeypatch)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "system"))
    new = tmp_path / "system" / "shop" / "ai-budgets.sqlite3"
    assert file_of(None, "shop") == new
    for former in (tmp_path / "user" / "obskit", tmp_path / "system"):
        former.mkdir(parents=True)
        (former / "ai-budgets-shop.sqlite3").write_text("")
        assert file_of(None, "shop") == former / "ai-budgets-shop.sqlite3"
        assert file_of(tmp_path / "other", "shop") == tmp_path / "other" / "shop" / "ai-budgets.sqlite3"
    new.parent.mkdir()
    new.write_text("")
    assert file_of(None, "shop") == new


def test_services_of_similar_names_do_not_share_a_budgets_file(tmp_path):
    """
    As they did where the names differed in capitals and signs alone.
    """
    assert 3 == len({file_of(tmp_path, name) for name in ("Shop API", "shop-api", "shop_api")})


# File systems


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        *(("/", "overlay"), ("/var/lib/shop", "ext4"), ("/var/library", "overlay"), ("/a b/c", "tmpfs")),
        *(("/tab\there", "nfs4"), ("/back\\slash/x", "cifs")),
    ],
)
def test_the_file_system_is_that_of_the_longest_mount(path, kind, tmp_path):
    """
    A path is on what is mounted nearest above it.
    """
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "over / overlay rw 0 0\n/dev/vda /var/lib ext4 rw 0 0\ntmpfs /a\\040b tmpfs rw 0 0\n"
        "h:/x /tab\\011here nfs4 rw 0 0\n//h/x /back\\134slash cifs rw 0 0\n"
    )

    assert filesystem_of(path, str(mounts)) == kind


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        *(("nfs", True), ("nfs4", True), ("cifs", True), ("9p", True), ("fuse.sshfs", True), ("fuse.s3fs", True)),
        *(("ext4", False), ("xfs", False), ("overlay", False), ("tmpfs", False), ("fuseblk", False), (None, False)),
        *(("fuse.fuse-overlayfs", False), ("fuse.gocryptfs", False), ("zfs", False), ("btrfs", False)),
    ],
)
def test_file_systems_of_networks_are_known(kind, expected):
    """
    Those of a disk are none, though a program keeps them.
    """
    assert is_network(kind) is expected
