"""
A sub-interpreter, as mod_wsgi makes them, ends without ending its process.
"""

import ast
import subprocess
import sys
from pathlib import Path

import obskit
from obskit.interpreters import IS_MAIN

HERE = Path(__file__).parent
PACKAGE = Path(obskit.__file__).parent
STARTERS = {"Thread", "Timer", "start_new_thread"}


def test_it_ends_and_has_answered():
    """
    With spans, a log queue, a gauge that asks, checks and a dropped generator it answers, keeps no daemon thread, says
    so once, and ends; the program goes on.
    """
    done = subprocess.run([sys.executable, HERE / "interpreters.py"], capture_output=True, text=True, timeout=110)
    told = [line for line in done.stdout.splitlines() if not line.startswith("{")]

    assert (done.returncode, done.stderr) == (0, "")
    assert told == [
        *("/metrics 200", "/health/ready 200", "/health/ready 200", "daemons []"),
        *("['this is a sub-interpreter', 'a line', 'at once']", "ended"),
    ]


def test_this_is_the_main_one():
    """
    Elsewhere nothing changes.
    """
    assert IS_MAIN is True


def test_whatever_starts_a_thread_asks_where_it_is():
    """
    Threads are started in one file alone, which looks at which interpreter it is in.
    """
    found = {}
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text("utf-8")
        nodes = list(ast.walk(ast.parse(text)))
        ours = {
            alias.asname or alias.name
            for node in nodes
            if isinstance(node, ast.ImportFrom) and node.module in ("threading", "_thread")
            for alias in node.names
        }
        called = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
        theirs = {f"{module}.{name}" for module in ("threading", "_thread") for name in STARTERS}
        if called & (ours & STARTERS | theirs):
            found[path.relative_to(PACKAGE).as_posix()] = "IS_MAIN" in text

    assert found == {"background.py": True}
