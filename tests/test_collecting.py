"""
No lock of obskit's waits for its own thread: a garbage collection, or a signal, comes whenever one is taken.
"""

import ast
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
pytestmark = pytest.mark.timeout(600)  # twenty seconds of two processors that nobody else uses
PACKAGE = TESTS.parent / "src" / "obskit"
OURS = {
    "replies": (),
    "files": (),
    "cursors": (),
    "generators": (),
    "coroutines": (),
    "cursors_of_django": ("django",),
    "cursors_of_psycopg": ("psycopg",),
    "streams": ("openai", "httpx"),
    "calls": ("openai", "httpx", "trio"),
}
COUNTED = (
    *("counts", "makes_a_label_set", "observes", "logs", "asks_its_database", "times_a_block", "calls_a_model"),
    "declares_a_metric",
)
READING = ("reads", "reads_the_page", "asks_for_health")
DROPPED = [f"dropped {what}" for what, libraries in OURS.items() if all(map(find_spec, libraries))]
COLLECTED, SIGNALLED = ([f"{way} {what}" for what in (*COUNTED, *READING)] for way in ("collected", "signalled"))
# Figures in memory, and in a file that others read; all lines at once, and through a queue.
ALONE, SHARED = {"log_sample_first": 5, "access_log_sample": {"<unmatched>": 2}}, {"slow_query_ms": 0, "n_plus_one": 3}
# Of cells outside of a family, of a file that is closed, of what SQLAlchemy needs, one that nobody waits for, and those
# of a reply in pieces, of who wants events and of the history, which these scenes do not have. What `start_over()`
# makes is a forked child's.
ELSEWHERE = {
    *("obskit.metrics.cells:Cell.__init__", "obskit.metrics.cells:Cell.reset"),
    *("obskit.metrics.cell_file:CellFile.abandon", "obskit.integrations.sqlalchemy:<module>"),
    "obskit.web.pieces:Pieces.__init__",
    *("obskit.event_exchange:EventFiles.after_fork", "obskit.subscribers:Subscribers.after_fork"),
    *("obskit.history.slot_files:SlotFiles.__init__", "obskit.history.slot_files:SlotFiles.abandon"),
    "obskit.history.queries:History.__init__",
}
KINDS = {"Lock", "RLock", "Condition"}


def played(scenes, settings):
    """
    Play scenes in a process of their own; give what each told, the locks that were made and taken, and the errors.
    """
    command = [sys.executable, TESTS / "collecting.py", json.dumps(settings), *scenes]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def lock_makers():
    """
    List where obskit makes locks, as `module:function`.
    """
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(("obskit", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        tree = ast.parse(path.read_text())
        ours = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == "threading"
            for alias in node.names
        }
        kinds = ours & KINDS | {f"threading.{kind}" for kind in KINDS}
        found |= {f"{module}:{name}" for name in _makers(tree, "", kinds)}
    return found


def _makers(node, inside, kinds):
    for child in ast.iter_child_nodes(node):
        name = inside
        if isinstance(child, (ast.ClassDef, ast.FunctionDef)):
            name = f"{inside}.{child.name}".removeprefix(".")
        if isinstance(child, ast.Call) and ast.unparse(child.func) in kinds:
            yield inside or "<module>"
        yield from _makers(child, name, kinds)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collecting")
    return SHARED | {"metrics_dir": str(folder), "error_file": str(folder / "errors.log")}


@pytest.fixture(scope="module")
def told(shared):
    """
    Return what was told of each scene, by its name.
    """
    alone, errors = played([*DROPPED, *SIGNALLED], {})
    others, other_errors = played(COLLECTED, shared)

    assert (errors, other_errors) == ("", "")
    return {scene["scene"]: scene for scene in (*alone[:-1], *others[:-1])}


def test_every_scene_ends(told):
    """
    Nothing hangs, nothing raises, and what obskit was at is finished as if nothing had come in between.
    """
    assert {scene: (11, [], 0) for scene in (*DROPPED, *SIGNALLED, *COLLECTED)} == {
        name: (scene["own"], scene["unended"], scene["ended twice"]) for name, scene in told.items()
    }


def test_what_is_dropped_ends_once(told):
    """
    What a collection drops while a lock is held is ended, once, and all of it.
    """
    assert [(0, True)] * len(DROPPED) == [(told[name]["kept"], told[name]["dropped"] >= 30) for name in DROPPED]


@pytest.mark.parametrize("what", COUNTED)
@pytest.mark.parametrize("way", ["collected", "signalled"])
def test_what_an_application_does_there_is_recorded(told, way, what):
    """
    What a `__del__`, or a signal's handler, does in the middle of a locked region is recorded, every time.
    """
    scene = told[f"{way} {what}"]

    assert (40, 40) == (scene["acts"], scene[what])


def test_every_lock_is_taken(shared):
    """
    The scenes take every lock that the package makes, but those that only others' tests can.
    """
    taken = set()
    for settings in (ALONE, shared | {"log_queue": 100}):
        told, _ = played(["collected counts", "collected reads"], settings)
        taken |= set(told[-1]["taken"])

    untaken = lock_makers() - taken
    assert {maker for maker in untaken if "start_over" not in maker and "in_child" not in maker} == ELSEWHERE


def test_a_lock_in_a_finaliser_is_found():
    """
    A finaliser that takes a lock which its own thread may hold hangs, and is seen to.
    """
    told, errors = played(["dropped replies"], {"planted": True})

    assert told == []
    assert "in inc" in errors
