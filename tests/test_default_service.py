"""
A service that nobody has named is called after its program, and where that runs any application, after its project.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from obskit.default_service import is_runner, program_name, project, project_of
from obskit.settings import Settings


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    """
    Work in a folder that has none of this project's code.
    """
    monkeypatch.chdir(tmp_path)


def call_from(file):
    """
    Return the project as code of this file sees it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("found = project()\n")
    names = {"project": project}
    exec(compile(file.read_text(), str(file), "exec"), names)
    return names["found"]


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        *(("srv/shop/releases/20261130", "shop"), ("srv/shop/current", "shop"), ("srv/shop/releases/3/src", "shop")),
        *(("srv/releases/3/shop", "shop"), ("srv/shop/current/src", "shop"), ("srv/releases", "releases")),
        *(("srv/deployments/till", "till"), ("srv/shop/releases/v1.2-rc1", "shop"), ("srv/3", "3")),
    ],
)
def test_a_release_is_called_after_its_project(tmp_path, folder, name):
    """
    Not by its number, which is another one soon.
    """
    assert name == call_from(tmp_path / folder / "run.py").name


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("/opt/shop/serve.py", "serve"),
        ("/opt/shop/bin/nightly", "nightly"),
        ("/opt/shop/bin/till.v2", "till.v2"),
        ("/opt/plants/__main__.py", "plants"),
        ("/usr/bin/gunicorn", "gunicorn"),
        ("/lib/uvicorn/__main__.py", "uvicorn"),
        ("python -m unittest", "unittest"),
        ("", "python"),
        ("-c", "-c"),
    ],
)
def test_a_program_has_a_name(monkeypatch, program, expected):
    """
    What `python -m` runs is called after its package, not `__main__`.
    """
    monkeypatch.setattr(sys, "argv", [program])

    assert expected == program_name()


@pytest.mark.parametrize(
    "program",
    [
        *("gunicorn", "uvicorn", "hypercorn", "granian", "uwsgi", "waitress-serve", "daphne", "flask", "django-admin"),
        *("manage", "celery", "python", "python3", "python3.13", "pypy3", "pytest", "py.test", "-c", "uWSGI", "Celery"),
        *("fastapi", "unittest", "mod_wsgi", "alembic", "ipython", "coverage"),
    ],
)
def test_what_runs_any_application_is_a_runner(program):
    """
    Servers, frameworks' commands, workers of queues and interpreters say nothing of what they run.
    """
    assert is_runner(program)


@pytest.mark.parametrize(
    "program", ["shop", "nightly", "pythonic", "gunicorns", "flask-shop", "celery-shop", "manager"]
)
def test_what_is_a_program_of_its_own_is_no_runner(program):
    """
    A name that only begins as a runner's is the application's own.
    """
    assert not is_runner(program)


@pytest.mark.parametrize(
    ("pyproject", "expected"),
    [
        ('[project]\nname = "plant-shop"', ("plant-shop", True)),
        ('[tool.poetry]\nname = "plant-shop"', ("plant-shop", True)),
        ("[tool.ruff]\nline-length = 1", ("garden", False)),
        ("[project", ("garden", False)),
        ("project = 3", ("garden", False)),
        ("[project]\nname = 3", ("garden", False)),
        ("\0" * 1_000_001, ("garden", False)),
        (None, ("garden", False)),
    ],
)
def test_a_project_has_the_name_of_its_pyproject(tmp_path, pyproject, expected):
    """
    Without a file that can be read and has a name, it is called after the folder that holds the code.
    """
    (tmp_path / "garden" / ".git").mkdir(parents=True)
    if pyproject is not None:
        write(tmp_path / "garden" / "pyproject.toml", pyproject)

    assert (tmp_path / "garden", *expected) == call_from(tmp_path / "garden" / "web.py")


def test_the_nearest_pyproject_with_a_name_counts(tmp_path):
    """
    Of a repository with several projects each has its own name, and one without takes that of the whole.
    """
    write(tmp_path / "pyproject.toml", '[project]\nname = "whole"')
    write(tmp_path / "till" / "pyproject.toml", '[project]\nname = "till"')
    write(tmp_path / "shop" / "pyproject.toml", "[tool.ruff]")
    names = [call_from(tmp_path / part / "web.py").name for part in ("till", "shop")]

    assert ["till", "whole"] == names


@pytest.mark.parametrize(
    "file", ["web.py", "shop/web.py", "shop/views/web.py", "src/shop/web.py", "src/web.py", "tests/test_web.py"]
)
def test_every_file_of_a_project_gives_the_same(tmp_path, file):
    """
    The server, the workers of a queue and the scripts of one project have one name, wherever their code lies.
    """
    (tmp_path / "garden" / ".git").mkdir(parents=True)
    for package in ("shop", "shop/views", "src/shop"):
        write(tmp_path / "garden" / package / "__init__.py")

    assert (tmp_path / "garden", "garden", False) == call_from(tmp_path / "garden" / file)


TOLD = """
import json, os, sys
from importlib import import_module
from obskit.default_service import project

sys.path.insert(0, sys.argv[1])
import_module(sys.argv[2])
for told in sys.argv[3:]:
    sys.argv = ["uvicorn", "--port=0", told]
    print(json.dumps([str(project().folder), *project()[1:]]))
"""


def told(path, module, *arguments):
    """
    Return the projects that a server finds by its command line, with no code of the application's that calls.
    """
    command = [sys.executable, "-c", TOLD, str(path), module, *arguments]
    return [json.loads(line) for line in subprocess.check_output(command, text=True, cwd=path).splitlines()]


@pytest.mark.parametrize("part", ["x" * 300, "x\0"])
def test_a_folder_that_cannot_be_looked_at_has_a_name(part):
    """
    Where the system tells nothing of a folder, for want of rights or by its name, that keeps nobody from configuring.
    """
    assert ("/" + part, part, False) == (str(project_of(f"/{part}/web.py").folder), *project_of(f"/{part}/web.py")[1:])


def test_an_installed_application_is_called_after_its_package(tmp_path):
    """
    A server that imports what is installed tells it by the name that it was given.
    """
    folder = tmp_path / "lib" / "site-packages"
    write(folder / "plant_shop" / "web.py")
    write(folder / "plant_shop" / "__init__.py")

    assert [[str(folder / "plant_shop"), "plant_shop", True]] == told(folder, "plant_shop.web", "plant_shop.web:app")


def test_a_module_that_a_server_was_told_to_run_says_it(tmp_path):
    """
    Where no code of the application calls, as in a framework's own start, the command line names some.
    """
    file = write(tmp_path / "garden" / "garden_web.py")
    arguments = ("garden_web:app", "--app=garden_web", "garden_web.py", "garden_web")

    assert [[str(tmp_path / "garden"), "garden", False]] * 4 == told(file.parent, "garden_web", *arguments)


def test_what_applications_share_is_not_their_project(tmp_path):
    """
    The application that calls a library of its repository, which configures for it, has the name.
    """
    for name in ("common", "till"):
        write(tmp_path / name / "pyproject.toml", f'[project]\nname = "{name}"')
    library = write(tmp_path / "common" / "observing.py", "def find():\n    return project()\n")
    caller = write(tmp_path / "till" / "web.py", "found = find()\n")
    names = {"project": project}
    for file in (library, caller):
        exec(compile(file.read_text(), str(file), "exec"), names)

    assert "till" == names["found"].name


def test_what_calls_from_outside_of_the_folder_is_not_the_project(tmp_path, monkeypatch):
    """
    A debugger, or whatever else runs applications, lies elsewhere than where one works.
    """
    debugger = write(tmp_path / "opt" / "debugger" / "run.py", "found = call_from(file)\n")
    monkeypatch.chdir(write(tmp_path / "garden" / "README").parent)
    names = {"call_from": call_from, "file": tmp_path / "garden" / "web.py"}
    exec(compile(debugger.read_text(), str(debugger), "exec"), names)

    assert "garden" == names["found"].name


ELSEWHERE = """
import sys
from obskit.default_service import default_service, project

file, sys.argv = sys.argv[1], sys.argv[2:]
names = {"project": project, "default_service": default_service}
exec(compile("print(project().name, default_service({}))", file, "exec"), names)
"""


@pytest.mark.parametrize(
    ("file", "program", "expected"),
    [
        ("/web.py", "/usr/bin/gunicorn", " gunicorn"),  # the root folder has no name to give
        ("/srv/garden/web.py", "/usr/bin/gunicorn", "garden garden"),
        ("/srv/garden/web.py", "/srv/garden/web.py", "garden web"),
        ("/srv/garden/bin/web", "/srv/garden/bin/web", "bin web"),
        # `.venv/bin/gunicorn` is a file of the project's that says nothing of it, so the folder that one works in does
        ("/srv/garden/.venv/bin/gunicorn", "/srv/garden/.venv/bin/gunicorn", "work work"),
    ],
)
def test_a_program_that_lies_elsewhere(tmp_path, file, program, expected):
    """
    The code that calls says the project's name, which counts where the program has none of its own.
    """
    command = [sys.executable, "-c", ELSEWHERE, file, program]
    folder = tmp_path / "work"
    folder.mkdir()

    assert expected == subprocess.check_output(command, text=True, cwd=folder).rstrip("\n")


def test_settings_have_the_name(monkeypatch):
    """
    This test run, which pytest runs, is called after the project that it tests.
    """
    monkeypatch.chdir(Path(__file__).parent)

    assert "obskit" == Settings.read({}, environ={}).service
