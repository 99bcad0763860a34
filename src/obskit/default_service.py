"""
The name of a service that was given none: its program's, or where that is a server, its project's.

Every application under gunicorn would be called gunicorn, and those of one user would share what goes by that name.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import NamedTuple

# Programs that run applications of any name: servers, workers of queues, frameworks' commands, interpreters, test
# runners, and what is put in front of those.
_RUNNERS = frozenset(
    {
        *("gunicorn", "uvicorn", "hypercorn", "granian", "uwsgi", "waitress", "waitress-serve", "daphne", "cheroot"),
        *("mod_wsgi", "mod_wsgi-express", "passenger-wsgi", "bjoern", "nginx-unit", "wsgiref", "twist", "twistd"),
        *("flask", "fastapi", "django", "django-admin", "manage", "starlette", "alembic", "streamlit"),
        *("celery", "rq", "rqworker", "dramatiq", "huey_consumer", "arq", "taskiq", "procrastinate", "apscheduler"),
        *("python", "pypy", "ipython", "ipykernel_launcher", "jupyter", "jupyter-notebook", "jupyter-lab", "pdb"),
        *("pytest", "py.test", "unittest", "nose2", "tox", "nox", "coverage", "locust", "behave"),
        *("poetry", "uv", "pdm", "hatch", "pipenv", "watchfiles", "watchmedo", "debugpy", "scalene", "memray"),
        *("opentelemetry-instrument", "ddtrace-run", "newrelic-admin", "honcho", "supervisord", "cprofile", "runpy"),
        *("-c", "-m", "-", "obskit"),
    }
)
_without_version = re.compile(r"(python|pypy|pytest|celery|uwsgi)[-_.\d]*").fullmatch
# Folders that hold a project's code, and have no name of its own.
_LAYOUT = ("src", "lib", "tests", "test")
# Folders of which each folder inside is one release of a project, as Capistrano, Deployer, Ansistrano and others make
# them, called by a number, a time or a commit; the one in use is linked as `current` beside them.
_RELEASES, _CURRENT = ("releases", "versions", "deployments"), "current"
_is_release = re.compile(r"([a-z]{1,16}[-_])?v?\d[\w.+-]*|[0-9a-f-]{7,64}", re.ASCII).fullmatch
_HERE = os.path.dirname(os.path.abspath(__file__))
_STDLIB = os.path.dirname(os.path.abspath(os.__file__))
_INSTALLED = ("site-packages", "dist-packages")
_PYPROJECT_BYTES = 1_000_000


class Project(NamedTuple):
    """
    What an application's code is part of.

    Attributes:
        folder: Where it lies.
        name: What it is called: by its `pyproject.toml`, or as it is installed, else as its folder, or as the one
            above its releases; may be empty.
        is_named: Whether its authors gave it the name, so that two copies are the same project.
    """

    folder: Path
    name: str
    is_named: bool


def default_service(environ: Mapping[str, str]) -> str:
    """
    Return OpenTelemetry's name of the service, else the program's; of a server or a runner, the project's.
    """
    if given := environ.get("OTEL_SERVICE_NAME"):
        return given
    program = program_name()
    return (project().name or program) if is_runner(program) else program


def program_name() -> str:
    """
    Return the name of the program that runs; for `python -m` its package's.
    """
    path = Path(sys.argv[0] if sys.argv and sys.argv[0] else "python")
    if path.name == "__main__.py":
        return path.parent.name or path.stem
    name = path.stem if path.suffix in (".py", ".pyc", ".pyw", ".exe") else path.name
    return name.rpartition(" ")[2]  # unittest calls itself "python -m unittest"


def is_runner(program: str) -> bool:
    """
    Return whether a program runs whichever application it is told to.
    """
    name = program.lower()
    found = _without_version(name)
    return (found[1] if found else name) in _RUNNERS


def project() -> Project:
    """
    Return the project of the application that calls.
    """
    return project_of(application_file())


def application_file() -> str:
    """
    Return a file of the application that calls, or that the program was told to run; else of this folder.

    Of files that call each other it is the outermost, since applications call what several of them share; first of
    those below this folder, since debuggers call applications.
    """
    here = os.path.join(_working_folder(), "")
    calling = list(_calling_files())
    below = [file for file in calling if file.startswith(here)]
    return next(iter((*below[::-1], *calling[::-1], *_told_files(), here)))


def _working_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return os.sep


def _calling_files() -> Iterator[str]:
    """
    Yield the application's files whose code is running, the innermost first.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not _is_library(file) and not _is_installed(file) and not _is_command(file):
            yield _absolute(file)
        frame = frame.f_back


def _told_files() -> Iterator[str]:
    """
    Yield files of modules that have been imported, and that the command line or a framework's variable names.
    """
    told = [os.environ.get(name, "") for name in ("DJANGO_SETTINGS_MODULE", "FLASK_APP")]
    for text in (*told, *sys.argv[1:]):
        file = getattr(sys.modules.get(_around_module("", text)), "__file__", None) or ""
        if file and (_is_installed(file) or not _is_library(file)):
            yield _absolute(file)


def _absolute(file: str) -> str:
    return os.path.normpath(os.path.join(_working_folder(), file))


# `--app=shop.web:make_app` names the module `shop.web`.
_around_module = re.compile(r"^--?[\w-]+=|\.py$|:.*$", re.ASCII).sub


def _is_library(file: str) -> bool:
    return file.startswith(("<", _HERE + os.sep, _STDLIB + os.sep))


def _is_installed(file: str) -> bool:
    return any(f"{os.sep}{folder}{os.sep}" in file for folder in _INSTALLED)


def _is_command(file: str) -> bool:
    """
    Return whether a file is the command that runs, as it lies among others: `/srv/shop/.venv/bin/gunicorn`.
    """
    path = _absolute(file)
    is_among_others = os.path.basename(os.path.dirname(path)) in ("bin", "Scripts")
    return is_among_others and path == _absolute(sys.argv[0]) and is_runner(program_name())


@lru_cache(16)
def project_of(file: str) -> Project:
    """
    Return the project that a file belongs to.
    """
    folder, package = os.path.split(os.path.splitext(file)[0])
    while os.path.isfile(os.path.join(folder, "__init__.py")) and package:
        folder, package = os.path.split(folder)
    if os.path.basename(folder) in _INSTALLED:
        return Project(Path(folder, package), package, True)
    for parent in (Path(folder), *Path(folder).parents):
        if name := _name_in(parent / "pyproject.toml"):
            return Project(parent, name, True)
        if os.path.exists(parent / ".git"):  # a path that may not be looked at is none
            break
    if os.path.basename(folder) in _LAYOUT:
        folder = os.path.dirname(folder)
    return Project(Path(folder), _named_folder(Path(folder)).name, False)


def _named_folder(folder: Path) -> Path:
    """
    Return the folder that a project is called after: of a release, the one above all releases.
    """
    if folder.parent.name in _RELEASES and _is_release(folder.name):
        return folder.parent.parent
    return folder.parent if folder.name == _CURRENT else folder


def is_same_project(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """
    Return whether two folders are of one project: they are one, or lie at the same place in two of its releases.
    """
    return _without_release(Path(one)) == _without_release(Path(other))


def _without_release(folder: Path) -> tuple[str, ...]:
    pairs = zip(("", *folder.parts), folder.parts, strict=False)
    return tuple(part for above, part in pairs if above not in _RELEASES or not _is_release(part))


def _name_in(pyproject: Path) -> str | None:
    """
    Read a project's name; None where the file is missing, or has none.
    """
    try:
        if pyproject.stat().st_size > _PYPROJECT_BYTES:
            return None
        import tomllib  # which only a service without a name pays for

        found = tomllib.loads(pyproject.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    for tables in (("project",), ("tool", "poetry")):
        at: object = found
        for table in tables:
            at = at.get(table) if isinstance(at, dict) else None
        name = at.get("name") if isinstance(at, dict) else None
        if isinstance(name, str) and name:
            return name
    return None
