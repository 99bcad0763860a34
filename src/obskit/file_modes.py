"""
Make files and folders with the rights that they are to have, whatever the umask, and use none of somebody else's.

The umask can only take rights away, and a service's is anything from 0 to 0077: what is made is given its rights after.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

_FOLLOWS_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_CLOSED_IN_CHILDREN = getattr(os, "O_CLOEXEC", 0)


def make_folder(path: str | os.PathLike[str], mode: int) -> None:
    """
    Make a folder where it is missing, with these rights; those above it that are missing get 0755.

    Raises:
        OSError: It cannot be made.
    """
    folder, missing = os.path.abspath(path), []
    while not os.path.isdir(folder) and folder != os.path.dirname(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for folder in reversed(missing):
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            if not os.path.isdir(folder):
                raise
            continue  # another process was faster
        group = os.stat(folder).st_mode & stat.S_ISGID  # of the folder above, for what is made below
        os.chmod(folder, (mode if folder == missing[0] else 0o755) | group)


def make_file(path: str | os.PathLike[str], flags: int, mode: int, like: os.stat_result | None = None) -> int:
    """
    Make a file that is not there, through no link, and open it.

    Args:
        path: The file.
        flags: As for `os.open()`, beside those that make it.
        mode: Its rights.
        like: A file whose rights, group and, where this process is root, owner it gets in their place.

    Raises:
        OSError: It cannot be made; FileExistsError: something is there.
    """
    new = os.O_CREAT | os.O_EXCL | _FOLLOWS_NO_LINK | _CLOSED_IN_CHILDREN
    descriptor = os.open(path, flags | new, mode)
    try:
        if like is not None:
            make_alike(descriptor, like)
        elif hasattr(os, "fchmod"):
            os.fchmod(descriptor, mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def make_alike(descriptor: int, like: os.stat_result) -> None:
    """
    Set a file's mode and group to another's, and its owner too where this process is root.
    """
    with suppress(OSError):  # it is no group of this user's
        os.fchown(descriptor, like.st_uid if os.geteuid() == 0 else -1, like.st_gid)
    os.fchmod(descriptor, like.st_mode & 0o777)


def refuse_foreign(found: os.stat_result, path: str | os.PathLike[str]) -> None:
    """
    Refuse what belongs to another user, who could read it, or give it away. What is root's is trusted, and root is.

    Raises:
        PermissionError: It does.
    """
    user = os.geteuid() if hasattr(os, "geteuid") else 0
    if user != 0 and found.st_uid not in (0, user):
        why = f"it belongs to user {found.st_uid}, and this process is user {user}"
        raise PermissionError(errno.EPERM, why, os.fspath(path))
