"""
The script that gets Debian's Prometheus: what it says where it cannot. Where it can, tests/signals asks what it got.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "prometheus_of_debian.sh"


def run(tmp_path, *arguments):
    bash = shutil.which("bash")
    command = [bash, SCRIPT, *arguments]
    return subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [[], ["bookworm"], ["bookworm", "there", "more"]])
def test_without_a_suite_and_a_folder_it_says_how_it_is_called(tmp_path, arguments):
    """
    Nothing is fetched and nothing is made unless both are named.
    """
    done = run(tmp_path, *arguments)

    assert (1, "") == (done.returncode, done.stdout)
    assert done.stderr == (
        "prometheus_of_debian.sh: usage: prometheus_of_debian.sh SUITE FOLDER, such as bookworm .prometheus-2.42\n"
    )


@pytest.mark.parametrize("missing", ["apt-get", "apt-cache", "dpkg-deb"])
def test_what_is_not_there_is_named_before_anything_is_made(tmp_path, missing):
    """
    On another system it says what it misses, and leaves no folder.
    """
    for command in {"apt-get", "apt-cache", "dpkg-deb"} - {missing}:
        (tmp_path / command).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / command).chmod(0o755)

    done = run(tmp_path, "bookworm", str(tmp_path / "folder"))

    assert (1, f"prometheus_of_debian.sh: {missing} is needed and not there\n") == (done.returncode, done.stderr)
    assert not (tmp_path / "folder").exists()
