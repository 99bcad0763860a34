"""
Folders that processes of one user share, and that no other user can write to.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from obskit.file_modes import make_file, make_folder


class DirectoryError(OSError):
    """
    A directory cannot be trusted or created; the message says what to do.
    """


def make_private_directory(path: Path) -> None:
    """
    Create a directory that only this user may enter, or check that no other user can write to the existing one.

    Raises:
        DirectoryError: It belongs to another user, is a link, or is writable by others; or it cannot be created.
    """
    try:
        make_folder(path.parent, 0o700)
        make_folder(path, 0o700)
        state, above = path.lstat(), path.parent.stat()
    except OSError as error:
        raise _untrusted(path, f"it cannot be made: {error.strerror}", error.errno) from error
    if stat.S_ISLNK(state.st_mode):
        raise _untrusted(path, "it is a symbolic link: name the directory itself")
    if state.st_uid != os.geteuid():
        raise _untrusted(path, f"it belongs to user {state.st_uid}, and this process is user {os.geteuid()}")
    if state.st_mode & 0o022:
        raise _untrusted(path, f"others may write there, mode {stat.S_IMODE(state.st_mode):o}: chmod 700 it")
    if above.st_mode & 0o002 and not above.st_mode & stat.S_ISVTX:
        raise _untrusted(path, f"anybody may replace it, by the mode of {path.parent}: chmod o-w that")


def _untrusted(path: Path, why: str, number: int | None = None) -> DirectoryError:
    return DirectoryError(number or errno.EPERM, f"the workers' values cannot be kept there, since {why}", str(path))


def write_new_file(path: Path, content: bytes) -> None:
    """
    Create a new file, readable by this user only.
    """
    with open(make_file(path, os.O_WRONLY, 0o600), "wb") as file:
        file.write(content)
