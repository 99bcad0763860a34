"""
What is written gets its rights whatever the umask, keeps them, and is nobody else's.
"""

import gzip
import json
import os
import re
import stat
import tempfile
from pathlib import Path

import pytest

import obskit
from forked import in_child
from obskit.ai.ledger import Ledger
from obskit.errors import ConfigurationError
from obskit.file_modes import make_file, make_folder, refuse_foreign
from obskit.health.heartbeats import Heartbeat
from obskit.logs.log_file import LogFile
from obskit.recorder import recorder
from obskit.testing import isolated_runtime
from obskit.workers.private_folder import make_private_directory

PACKAGE = Path(obskit.__file__).parent
ROOT = os.geteuid() == 0
SOMEBODY, ELSE = 4242, 4243
LINE = b'{"number": 1}\n'


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def as_user(user, work):
    """
    Call a function in a forked child that is another user's.
    """

    def in_the_child():
        recorder.strict = False
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
        return work()

    return in_child(in_the_child)


@pytest.fixture
def open_folder():
    """
    Yield a folder in which every user may make files; pytest's own are closed to others, one level higher under xdist.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)


def log_file(folder):
    LogFile(folder / "new" / "logs" / "app.jsonl").close()
    return {"new": 0o755, "new/logs": 0o750, "new/logs/app.jsonl": 0o640}


def opened_ledger(folder):
    ledger = Ledger(folder / "ai-budgets-shop.sqlite3", lambda kind, message: None, lambda crossing: None)
    ledger.figures("day", 0.0, 0.0)
    return ledger


def state(folder):
    opened_ledger(folder / "new" / "state").close()
    return {"new": 0o755, "new/state": 0o700}


def heartbeat(folder):
    Heartbeat(60.0, str(folder / "nightly")).beat()
    return {"nightly": 0o644}


def metrics(folder):
    make_private_directory(folder / "new" / "metrics")
    return {"new": 0o700, "new/metrics": 0o700}


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
@pytest.mark.parametrize("write", [log_file, state, heartbeat, metrics])
def test_the_umask_decides_nothing(tmp_path, write, umask):
    """
    Files and folders have the rights that the pages name, with a strict umask and with none.
    """
    os.chmod(tmp_path, 0o755)
    before = os.umask(umask)
    try:
        expected = write(tmp_path)
    finally:
        os.umask(before)

    assert expected == {name: mode(tmp_path / name) for name in expected}


def test_a_folder_keeps_the_group_of_the_one_above(tmp_path):
    """
    Where a folder gives its group to what is made in it, so do those that are made.
    """
    os.chmod(tmp_path, 0o2755)
    make_folder(tmp_path / "a" / "b", 0o750)

    assert (0o2755, 0o2750) == (mode(tmp_path / "a"), mode(tmp_path / "a" / "b"))


def test_a_file_in_place_of_a_folder_is_an_error(tmp_path):
    """
    A path that is taken by a file is told, and the file stays.
    """
    (tmp_path / "taken").write_text("theirs")
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "taken", 0o700)


@pytest.mark.parametrize("to", ["elsewhere", "nowhere"])
def test_a_new_file_goes_through_no_link(tmp_path, to):
    """
    A link, also one that leads nowhere, is not followed.
    """
    (tmp_path / "elsewhere").write_text("theirs")
    os.symlink(tmp_path / to, tmp_path / "link")
    with pytest.raises(FileExistsError):
        make_file(tmp_path / "link", os.O_WRONLY, 0o600)

    assert ["elsewhere", "link"] == sorted(os.listdir(tmp_path))


@pytest.mark.parametrize("rights", [0o600, 0o640, 0o644, 0o660, 0o664, 0o666])
def test_a_rotation_keeps_the_rights(tmp_path, rights):
    """
    A new file has the rights of the one before, and so has its compressed form.
    """
    path = tmp_path / "app.jsonl"
    path.touch()
    os.chmod(path, rights)
    file = LogFile(path, rotate_bytes=20, gzip=True)
    for _ in range(3):
        file.write(LINE)
    file._rotated.stop()
    file._rotated._stopped = False
    file._rotated.run_once()
    file.close()
    old = [name for name in tmp_path.iterdir() if name != path]

    assert {rights} == {mode(path), *map(mode, old)}
    assert 2 == len(old)
    assert LINE == gzip.decompress(old[0].read_bytes())


def test_a_file_that_was_moved_away_is_followed_by_one_like_it(tmp_path):
    """
    Logrotate with `nocreate`, or a hand, that takes the file away leaves its rights behind.
    """
    path = tmp_path / "app.jsonl"
    file = LogFile(path, rotate_bytes=None)
    os.chmod(path, 0o664)
    os.rename(path, tmp_path / "app.jsonl.1")
    file._left = -1
    file.write(LINE)
    file.close()

    assert (0o664, LINE) == (mode(path), path.read_bytes())


if ROOT:

    def test_root_gives_a_new_file_to_whom_the_old_one_belonged(open_folder):
        """
        A command that root runs once does not take the log file away from its workers.
        """
        path = open_folder / "app.jsonl"
        path.touch(0o644)
        os.chown(path, SOMEBODY, ELSE)
        file = LogFile(path, rotate_bytes=20)
        for _ in range(3):
            file.write(LINE)
        file.close()
        made = [(name.stat().st_uid, name.stat().st_gid) for name in open_folder.iterdir()]

        def write():
            file = LogFile(path)
            file.write(LINE)
            return path.read_bytes() == 2 * LINE

        assert [(SOMEBODY, ELSE)] * 3 == made
        assert "True" == as_user(SOMEBODY, write)

    def others_log(folder):
        LogFile(folder / "app.jsonl")

    def others_state(folder):
        opened_ledger(folder / "state").close()

    def others_heartbeat(folder):
        Heartbeat(60.0, str(folder / "nightly")).beat()

    OTHERS = {others_log: "app.jsonl", others_state: "state", others_heartbeat: "nightly"}

    @pytest.mark.parametrize("use", OTHERS)
    def test_what_belongs_to_another_user_is_refused(open_folder, use):
        """
        A log file, state folder or heartbeat of another user's is refused, whatever its rights; root's own are taken,
        and root takes everybody's.
        """
        path = open_folder / OTHERS[use]
        path.mkdir() if use is others_state else path.touch()
        os.chmod(path, 0o777)
        told = {}
        for owner in (SOMEBODY, ELSE, 0):
            os.chown(path, owner, owner)
            told[owner] = as_user(SOMEBODY, lambda: use(open_folder)).splitlines()[-1]
            for left in path.iterdir() if use is others_state else ():
                left.unlink()
        os.chown(path, ELSE, ELSE)
        use(open_folder)

        assert ("None", "None") == (told[SOMEBODY], told[0])
        assert f"it belongs to user {ELSE}, and this process is user {SOMEBODY}" in told[ELSE]

    def test_a_folder_in_which_nobody_can_rotate_is_told(open_folder):
        """
        A process that may write to the file and not rename it says so at `configure()`; without rotation it need not.
        """
        folder = open_folder / "theirs"
        folder.mkdir()
        os.chmod(folder, 0o755)
        path = folder / "app.jsonl"
        path.touch()
        os.chown(path, SOMEBODY, SOMEBODY)

        with isolated_runtime():
            pass  # so that all is imported: the child may not read where Python lies

        def configure(**given):
            with isolated_runtime(metrics=False, log_file=str(path), **given):
                pass
            lines = path.read_text().splitlines()
            os.truncate(path, 0)
            return "".join(f"{line['level']} {line['logger']} {line['message']}" for line in map(json.loads, lines))

        told = as_user(SOMEBODY, configure)

        assert told.startswith(f"WARNING obskit.logs log file {path} will never be rotated, since user {SOMEBODY} ")
        assert "" == as_user(SOMEBODY, lambda: configure(log_rotate_bytes=None))

    def test_a_file_of_roots_in_a_folder_with_the_sticky_bit_is_told(open_folder):
        """
        In a folder such as `/tmp`, a file that root made can be written to and not be renamed.
        """
        os.chmod(open_folder, 0o1777)
        path = open_folder / "app.jsonl"
        path.touch()
        os.chmod(path, 0o666)

        told = as_user(SOMEBODY, lambda: LogFile(path).notice())

        assert "will never be rotated" in told


def test_a_log_file_that_is_refused_is_a_configuration_error(open_folder):
    """
    What is refused is told at `configure()`, with what to do.
    """
    os.chmod(open_folder, 0o755)
    (open_folder / "taken").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        LogFile(open_folder / "taken" / "app.jsonl")


def test_what_is_roots_is_trusted(tmp_path):
    """
    A user's own things and root's are no reason to refuse.
    """
    assert refuse_foreign(os.stat(tmp_path), tmp_path) is None
    assert refuse_foreign(os.stat("/"), "/") is None


# Ways to make a file or a folder that ask the umask. Files of workers' figures, locks and backups are 0600 or the like.
MAKES = re.compile(r"\.mkdir\(|os\.makedirs\(|\.touch\(|O_CREAT|open\([^)\n]*[\"'][wax]b?\+?[\"']")
EXCUSED = {
    "file_modes.py": 2,  # what makes them
    "metrics/cell_file.py": 1,  # 0600, in a folder that only this user may enter
    "workers/file_lock.py": 1,  # likewise
    "logs/targets.py": 1,  # a device or a FIFO that is there
    "_history_day.py": 1,  # a device
    "export/directory.py": 1,  # files of a developer's project, which follow the umask as his others
}


def test_nothing_else_makes_files():
    """
    Every file and folder of the package is made where its rights are set, but for the exceptions, each with its reason.
    """
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        count = sum(1 for row in path.read_text().splitlines() if MAKES.search(row))
        if count:
            found[str(path.relative_to(PACKAGE))] = count

    assert EXCUSED == found
