"""
The scripts that get programs of Debian's: what they say where they cannot. `.ci/run` shows where they can.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
NEEDED = {"apt-get", "apt-cache", "dpkg-deb", "patchelf"}
USAGE = {
    "debian_packages.sh": "SUITE FOLDER PACKAGE..., such as trixie .redis redis-server redis-tools",
    "python_of_debian.sh": "VERSION FOLDER, such as 3.14 .python-3.14",
}
ARGUMENTS = {"debian_packages.sh": ["trixie", "there", "redis-server"], "python_of_debian.sh": ["3.14", "there"]}


def run(tmp_path, script, *arguments):
    """
    Run a script with nothing on the path but a folder.
    """
    environ = {"PATH": str(tmp_path), "VENV": "nowhere"}
    command = [shutil.which("bash"), SCRIPTS / script, *arguments]
    return subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", USAGE)
@pytest.mark.parametrize("named", [0, 1])
def test_without_all_of_its_arguments_it_says_how_it_is_called(tmp_path, script, named):
    """
    Nothing is fetched and nothing is made unless all is named.
    """
    done = run(tmp_path, script, *ARGUMENTS[script][:named])

    assert (1, "") == (done.returncode, done.stdout)
    assert f"{script}: usage: {script} {USAGE[script]}\n" == done.stderr


@pytest.mark.parametrize("script", USAGE)
@pytest.mark.parametrize("missing", sorted(NEEDED))
def test_what_is_not_there_is_named_before_anything_is_made(tmp_path, script, missing):
    """
    On another system, or without the requirements of development, it says what it misses, and leaves no folder.
    """
    for command in NEEDED - {missing}:
        (tmp_path / command).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / command).chmod(0o755)

    done = run(tmp_path, script, *ARGUMENTS[script])

    assert (1, f"debian_packages.sh: {missing} is needed and not there\n") == (done.returncode, done.stderr)
    assert not (tmp_path / "there").exists()
