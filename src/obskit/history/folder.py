"""
The history folder: of one service, for this user alone, on a disk of this machine.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from obskit.file_modes import make_file, make_folder, refuse_foreign
from obskit.storage.filesystems import EPHEMERAL, filesystem_of, is_network
from obskit.storage.state_folder import MARKER, Occupant, read_occupant


class FolderError(OSError):
    """
    Report a folder that is not for this history; the message says what to do.
    """


def own_folder(path: Path, service: str) -> Path:
    """
    Make the folder where it is missing, and check that it is this service's.

    Args:
        path: An absolute path.
        service: Whose history it is to have.

    Raises:
        FolderError: It is a link, another user's, another service's, or on a file system of a network.
        OSError: It cannot be made.
    """
    make_folder(path, 0o700)
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise FolderError(errno.ENOTDIR, "it is a link, and should be a folder", str(path))
    refuse_foreign(found, path)
    if os.name == "posix" and found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) & 0o077:
        os.chmod(path, stat.S_IMODE(found.st_mode) & 0o700)
    if is_network(kind := filesystem_of(path)):
        why = f"it is on a file system of a network ({kind}), where locks hold for all machines or for none"
        raise FolderError(errno.ENOTSUP, f"{why}: set history_dir to a folder of this machine", str(path))
    _claim(path, service)
    return path


def _claim(path: Path, service: str) -> None:
    """
    Write whose history it is, where nobody has; whoever comes second finds the first.
    """
    with suppress(FileExistsError):
        new = path / f"{MARKER}.{os.getpid()}.new"
        with suppress(FileNotFoundError):
            os.unlink(new)  # of a process that was killed
        if not os.path.lexists(path / MARKER):
            with open(make_file(new, os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
                json.dump({"format": 1, **Occupant(service, None)._asdict()}, file)
            try:
                os.link(new, path / MARKER)
            finally:
                os.unlink(new)
    occupant = read_occupant(path)
    if occupant is not None and occupant.service != service:
        why = f"it has the history of {occupant.service!r}: give {service!r} a history_dir of its own"
        raise FolderError(errno.EEXIST, why, str(path))


def goes_with(path: Path) -> str | None:
    """
    Return the file system's type where the folder goes with the container or the machine's memory, else None.
    """
    kind = filesystem_of(path)
    return kind if kind in EPHEMERAL else None


def opener(
    history_dir: str | None, service: str, open_state_folder: Callable[[], Path | None]
) -> Callable[[], Path | None]:
    """
    Return what makes the folder where it is missing; it answers None where the state folder, which has told why, cannot
    be used.
    """

    def open_folder() -> Path | None:
        if history_dir is not None:
            return own_folder(Path(history_dir), service)
        state = open_state_folder()
        return None if state is None else own_folder(state / "history", service)

    return open_folder
