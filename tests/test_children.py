"""
A child process that ends as its library ends it, or by SIGTERM, puts out what it has.
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import children

HERE = Path(__file__).parent
WAYS = [way for way in children.WAYS if find_spec("celery") or not way.startswith(("billiard", "celery"))]


@pytest.mark.parametrize("way", WAYS)
def test_what_a_child_has_to_say_comes_out(way):
    """
    The span that a child made last is put out once, and the child ends as it would have without us.
    """
    done = subprocess.run([sys.executable, HERE / "children.py", way], capture_output=True, text=True, timeout=110)
    expected = [] if "pool" in way else ["exit code -15" if "SIGTERM" in way else "exit code 0"]

    assert done.stderr == ""
    assert (1, expected) == (
        done.stdout.count('"last words"'),
        [line for line in done.stdout.splitlines() if line.startswith("exit")],
    )
