"""
Give the directory where the workers of one instance keep their figures, and remove those that nobody comes back to.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from obskit.metrics.cell_format import VERSION
from obskit.metrics.directory import Directory, held, is_in_use, make, write
from obskit.metrics.instances import Instance

_SHARED_MEMORY = "/dev/shm"
# The file in a directory that says whose it is.
_WHOSE = "instance.json"
_GONE = ".gone"
# Seconds without a change after which the directory of a server in another container, or nobody knows which, may go.
_FORGOTTEN = 86400


def place(service: str, instance: Instance) -> Path:
    """
    Give the directory of an instance.

    It lies in memory where there is such a place: writing a page of a disk file back can hold an update up.
    """
    digest = hashlib.sha256(repr((VERSION, service, instance.key)).encode()).hexdigest()[:16]
    slug = re.sub(r"[^a-z0-9]+", "-", service.lower()).strip("-")[:40] or "service"
    return base() / f"{slug}-{digest}"


def base() -> Path:
    """
    Give the directory that holds those of all instances of this user.
    """
    usable = os.path.isdir(_SHARED_MEMORY) and os.access(_SHARED_MEMORY, os.W_OK | os.X_OK)
    return Path(_SHARED_MEMORY if usable else tempfile.gettempdir()) / f"obskit-{os.geteuid()}"


def directory(service: str, instance: Instance, *, max_label_sets: int = 10_000) -> Directory:
    """
    Give the directory of an instance, made if it is not there; then those of servers that are gone are removed.

    Args:
        max_label_sets: As the directory has it.

    Raises:
        DirectoryError: It cannot be trusted or made.
    """
    path = place(service, instance)
    make(path.parent)
    found = Directory(path, max_label_sets=max_label_sets)
    if not (path / _WHOSE).exists():
        _sign(path, instance)
        remove_left_over(path.parent, path)
    return found


def _sign(path: Path, instance: Instance) -> None:
    temporary = path / f"{os.urandom(8).hex()}.tmp"
    try:
        write(temporary, json.dumps(asdict(instance)).encode())
        os.rename(temporary, path / _WHOSE)
    except OSError:  # full, or read-only, which the first worker's file will tell
        pass


def remove_left_over(base: Path, own: Path | None = None) -> None:
    """
    Remove the directories of instances whose server is gone, unless somebody else is at it.
    """
    try:
        with held(base / "lock") as alone:
            for path in base.iterdir() if alone else ():
                if path != own and path.is_dir() and not path.is_symlink() and _is_left_over(path):
                    _remove(path)
    except OSError:
        pass


def _is_left_over(path: Path) -> bool:
    """
    Tell whether nobody will come back to a directory.
    """
    if path.name.endswith(_GONE):
        return True
    try:
        with open(path / _WHOSE, "rb") as file:
            ended = Instance(**json.loads(file.read(4096))).has_ended()
    except (OSError, ValueError, TypeError):
        ended = None
    if ended is None:
        ended = time.time() - path.stat().st_mtime > _FORGOTTEN
    return ended and not is_in_use(path)


def _remove(path: Path) -> None:
    gone = path if path.name.endswith(_GONE) else path.with_name(f"{path.name}.{os.urandom(4).hex()}{_GONE}")
    try:
        os.rename(path, gone)
        for file in gone.iterdir():
            file.unlink()
        gone.rmdir()
    except OSError:  # the next instance tries again
        pass
