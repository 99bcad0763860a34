"""
The script that gets an interpreter of Debian's: what it says where it cannot. `.ci/run` shows where it can.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "python_of_debian.sh"


def run(tmp_path, *arguments):
    bash = shutil.which("bash")
    environ = {"PATH": str(tmp_path), "VENV": "nowhere"}
    return subprocess.run([bash, SCRIPT, *arguments], env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [[], ["3.14"], ["3.14", "there", "more"]])
def test_without_a_version_and_a_folder_it_says_how_it_is_called(tmp_path, arguments):
    """
    Nothing is fetched and nothing is made unless both are named.
    """
    done = run(tmp_path, *arguments)

    assert (1, "") == (done.returncode, done.stdout)
    assert "python_of_debian.sh: usage: python_of_debian.sh VERSION FOLDER, such as 3.14 .python-3.14\n" == done.stderr


@pytest.mark.parametrize("missing", ["apt-get", "dpkg-deb", "patchelf"])
def test_what_is_not_there_is_named_before_anything_is_made(tmp_path, missing):
    """
    On another system, or without the requirements of development, it says what it misses, and leaves no folder.
    """
    for command in {"apt-get", "dpkg-deb", "patchelf"} - {missing}:
        (tmp_path / command).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / command).chmod(0o755)

    done = run(tmp_path, "3.14", str(tmp_path / "folder"))

    assert (1, f"python_of_debian.sh: {missing} is needed and not there\n") == (done.returncode, done.stderr)
    assert not (tmp_path / "folder").exists()
