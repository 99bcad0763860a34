"""
Find the folder in which the processes of a service on this machine share their state: `<state_dir>/<service>/`.

It is made when there is something to write, for this user alone, and remembers which service it is of and which project
it serves, so that a second application of the same name is told apart.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from obskit.catalogue import events
from obskit.default_service import is_same_project
from obskit.errors import StateFolderTakenError
from obskit.file_modes import make_file, refuse_foreign
from obskit.forks import at_exit
from obskit.recorder import recorder
from obskit.storage.folder_names import folder_name, service_name
from obskit.storage.private_files import check_folder, make_private_folder

MARKER = "service.json"
FORMAT = 1  # of the marker
_MARKER_BYTES = 65_536
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class Occupant(NamedTuple):
    """
    Whom a folder says that it is of.
    """

    service: str
    project: str | None  # the folder of the application's code; None where nobody has told


class StateFolder:
    """
    The folder of one service. Nothing is looked at, or made, before `open()`.

    Args:
        state_dir: The setting; None for what the system, or else the user, has for state.
        service: The service's name.
    """

    def __init__(self, state_dir: str | os.PathLike[str] | None, service: str) -> None:
        self.service = service
        self.base = base_folder(state_dir)
        self.path = self.base / folder_name(service)

    def open(self, project: str | os.PathLike[str] | None = None, *, is_named: bool = True) -> Path | None:
        """
        Make the folder where it is missing, and remember whom it serves. Neither waits for another process.

        Args:
            project: The folder of the application's code.
            is_named: Whether somebody has chosen the service's name: two projects that were given the same name share
                the folder, as a site and its workers do. One that has its name by default may not share another's, but
                for that of another release of its own.

        Returns:
            Its path; None where it cannot be used, which is told once.

        Raises:
            StateFolderTakenError: It serves another project.
        """
        try:
            self.make()
        except OSError as error:
            message = f"{self.path} cannot be used, so no state is kept in it: {error.strerror or error}"
            _tell_once("unusable", self.path, "WARNING", message)
            return None
        _told.discard(("unusable", self.path))
        self._claim(None if project is None else os.path.realpath(project), is_named)
        return self.path

    def make(self) -> None:
        """
        Make the folder where it is missing.

        Raises:
            OSError: It cannot be made, or it is not this user's.
        """
        if not self.base.is_absolute():
            raise FileNotFoundError(
                errno.ENOENT, "this user has no home folder: set state_dir (OBSKIT_STATE_DIR)", str(self.base)
            )
        make_private_folder(self.path)
        self.check()
        if self.base == _temporary:
            message = f"under pytest, state is kept in {self.base}, which goes with this process"
            _tell_once("temporary", self.base, "INFO", message)

    def check(self) -> None:
        """
        Refuse the folder where it is a link by now, or another user's.

        Raises:
            OSError: It is, or it is missing.
        """
        refuse_foreign(os.stat(self.base), self.base)  # who could put another folder in place of this one
        check_folder(self.path)

    def occupant(self) -> Occupant | None:
        """
        Read whom the folder says that it is of; None where nothing is said, or what is said is damaged.
        """
        return read_occupant(self.path)

    def _claim(self, project: str | None, is_named: bool) -> None:
        is_first = not os.path.lexists(self.path / MARKER)  # asked before it is read
        known = self.occupant()
        served = None if known is None or known.service != self.service else known.project
        is_other = served is not None and project is not None and not is_same_project(served, project)
        if served is not None and (is_other or project is None) and os.path.isdir(served):
            if is_other and not is_named:
                raise StateFolderTakenError(
                    f"{self.path} keeps the state of the application in {served}, and the one in {project} is called "
                    f"{self.service!r} too, as nobody has named it. Where it is another application, give it a name of "
                    f"its own, such as configure(service={self.service + '-2'!r}) or OBSKIT_SERVICE={self.service}-2; "
                    f"where it is the same, give both its name: configure(service={self.service!r}) or "
                    f"OBSKIT_SERVICE={self.service}"
                )
            return
        if known != (now := Occupant(self.service, project or served)):
            with suppress(OSError):  # a folder that can only be read: whoever writes a file in it tells
                if not self._remember(now, is_first=is_first):
                    self._claim(project, is_named)

    def _remember(self, occupant: Occupant, *, is_first: bool) -> bool:
        """
        Write whom the folder serves, whole or not at all; False where another process was faster.
        """
        marker, new = self.path / MARKER, self.path / f"{MARKER}.{os.getpid()}.new"
        with suppress(FileNotFoundError):
            os.unlink(new)  # of a process that was killed, and whose id this one has
        with open(make_file(new, os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
            json.dump({"format": FORMAT, **occupant._asdict()}, file)
        try:
            if is_first:
                try:
                    os.link(new, marker)
                    return True
                except FileExistsError:
                    return False
                except OSError:  # a file system without further names of a file
                    pass
            os.replace(new, marker)
            return True
        finally:
            with suppress(FileNotFoundError):
                os.unlink(new)


def base_folder(state_dir: str | os.PathLike[str] | None) -> Path:
    """
    Return the folder that has one folder a service; it starts with `~` if the user has no home.

    Args:
        state_dir: The setting. Where it is None: the first of systemd's `$STATE_DIRECTORY`, else the user's, in whose
            place pytest gets a temporary one.
    """
    if state_dir is not None:
        return Path(state_dir)
    return system_state_dir() or (_temporary_folder() if is_pytest() else user_state_dir())


def system_state_dir() -> Path | None:
    """
    Return what systemd has made for this service's state (`StateDirectory=`), the first where it is several.
    """
    first = os.environ.get("STATE_DIRECTORY", "").split(os.pathsep)[0]
    return Path(first) if os.path.isabs(first) else None


def user_state_dir() -> Path:
    """
    Return the folder for this user's application state; it starts with `~` if the user has no home.
    """
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/AppData/Local")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Application Support")
    else:
        given = os.environ.get("XDG_STATE_HOME", "")
        base = given if os.path.isabs(given) else os.path.expanduser("~/.local/state")
    return Path(base) / "obskit"


def former_bases(state_dir: str | os.PathLike[str] | None) -> list[Path]:
    """
    Return where earlier versions, which did not know systemd's folder, have kept state.
    """
    return [] if state_dir is not None or is_pytest() else [user_state_dir()]


def services_in(base: str | os.PathLike[str]) -> dict[str, Path]:
    """
    Find the services that have a folder here, by name. A folder that does not say whose it is goes by its own name.
    """
    found = {}
    with suppress(OSError), os.scandir(base) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                occupant = read_occupant(Path(entry.path))
                service = occupant.service if occupant is not None else service_name(entry.name)
                if service is not None and folder_name(service) == entry.name:
                    found[service] = Path(entry.path)
    return dict(sorted(found.items()))


def read_occupant(folder: Path) -> Occupant | None:
    """
    Read whom a folder says that it is of; None where nothing is said, or what is said is damaged.
    """
    try:
        descriptor = os.open(folder / MARKER, os.O_RDONLY | _NO_LINK)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        said = json.loads(os.read(descriptor, _MARKER_BYTES))
        service, project = said["service"], said["project"]
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None
    finally:
        os.close(descriptor)
    if not isinstance(service, str) or not isinstance(project, str | None):
        return None
    return Occupant(service, project)


# Under pytest

_temporary: Path | None = None
_temporary_pid = 0


def is_pytest() -> bool:
    """
    Return whether this process runs pytest, and is not only started by it.
    """
    return "_pytest" in sys.modules and ("PYTEST_CURRENT_TEST" in os.environ or "PYTEST_VERSION" in os.environ)


def _temporary_folder() -> Path:
    """
    Return a folder for this process and those that it forks; whoever writes makes it.
    """
    global _temporary, _temporary_pid
    if _temporary is None:
        import tempfile  # which nobody else pays for

        _temporary_pid = os.getpid()
        _temporary = Path(tempfile.gettempdir()) / f"obskit-pytest-{os.urandom(8).hex()}"
    return _temporary


def _remove_temporary() -> None:
    if _temporary is not None and _temporary_pid == os.getpid():
        from shutil import rmtree

        rmtree(_temporary, ignore_errors=True)


at_exit(_remove_temporary)  # registered before the runtime's own end, so done after it

# What was told

_told: set[tuple[str, Path]] = set()


def _tell_once(problem: str, path: Path, level: str, message: str) -> None:
    if (problem, path) not in _told:
        _told.add((problem, path))
        recorder.emit(events.STATE_FOLDER.event(message, {"problem": problem}, level=level))
