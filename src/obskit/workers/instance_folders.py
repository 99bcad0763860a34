"""
The folders that the workers of one instance share, and removal of those whose server is gone.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from dataclasses import asdict
from pathlib import Path

from obskit.time.clock import clock
from obskit.workers.file_lock import is_file_unlocked, locked_file
from obskit.workers.instances import Instance
from obskit.workers.private_folder import make_private_directory, write_new_file

_SHARED_MEMORY = "/dev/shm"
# The file in a folder that names its instance.
_INSTANCE_FILE = "instance.json"
_REMOVED_SUFFIX = ".gone"
# By writing this file, somebody asks that a folder stays when its server is gone, until he has taken what he wants.
KEPT_FILE = "kept.json"
# Seconds without a change after which the folder of an unknown server, or of another container's, is removed.
_ABANDONED_SECONDS = 86400


def instance_path(service: str, instance: Instance, layout: int) -> Path:
    """
    Return the path of an instance's folder, another one for each layout of what is kept there.

    It is in shared memory where possible: write-back of a disk file's page can block an update.
    """
    digest = hashlib.sha256(repr((layout, service, instance.key)).encode()).hexdigest()[:16]
    slug = re.sub(r"[^a-z0-9]+", "-", service.lower()).strip("-")[:40] or "service"
    return root() / f"{slug}-{digest}"


def root() -> Path:
    """
    Return the parent of the folders of all instances of this user.
    """
    usable = os.path.isdir(_SHARED_MEMORY) and os.access(_SHARED_MEMORY, os.W_OK | os.X_OK)
    return Path(_SHARED_MEMORY if usable else tempfile.gettempdir()) / f"obskit-{os.geteuid()}"


def open_instance_folder(service: str, instance: Instance, layout: int) -> Path:
    """
    Return the folder of an instance; on creating it, also remove those of servers that are gone.

    Raises:
        DirectoryError: It cannot be trusted or created.
    """
    path = instance_path(service, instance, layout)
    make_private_directory(path.parent)
    make_private_directory(path)
    if not (path / _INSTANCE_FILE).exists():
        _write_instance(path, instance)
        remove_stale(path.parent, path)
    return path


def _write_instance(path: Path, instance: Instance) -> None:
    temporary = path / f"{os.urandom(8).hex()}.tmp"
    try:
        write_new_file(temporary, json.dumps(asdict(instance)).encode())
        os.rename(temporary, path / _INSTANCE_FILE)
    except OSError:  # full or read-only, which creating the first worker's file reports
        pass


def remove_stale(base: Path, own: Path | None = None) -> None:
    """
    Remove the folders of instances whose server is gone, unless another process does.
    """
    try:
        with locked_file(base / "lock") as alone:
            for path in base.iterdir() if alone else ():
                if path != own and path.is_dir() and not path.is_symlink() and _is_stale(path):
                    _remove(path)
    except OSError:
        pass


def is_in_use(path: Path) -> bool:
    """
    Return whether a living worker has a file in a folder: it holds that file's lock.
    """
    return any(not is_file_unlocked(file) for file in path.glob("worker-*"))


def _is_stale(path: Path) -> bool:
    """
    Return whether no worker will use a folder again.
    """
    if path.name.endswith(_REMOVED_SUFFIX):
        return True
    ended = _has_ended(path)
    if ended is None:
        ended = clock.wall() - path.stat().st_mtime > _ABANDONED_SECONDS
    return ended and not is_in_use(path) and not _is_kept(path)


def _has_ended(path: Path) -> bool | None:
    """
    Return whether a folder's server has ended; None where that cannot be known.
    """
    try:
        with open(path / _INSTANCE_FILE, "rb") as file:
            return Instance(**json.loads(file.read(4096))).has_ended()
    except (OSError, ValueError, TypeError):
        return None


def _is_kept(path: Path) -> bool:
    try:
        return 0 <= clock.wall() - (path / KEPT_FILE).lstat().st_mtime < _ABANDONED_SECONDS
    except OSError:
        return False


def ended_folders() -> list[Path]:
    """
    List the folders that somebody has asked to keep, whose server is gone and which no worker uses.
    """
    found = []
    try:
        for path in root().iterdir():
            if not path.is_symlink() and (path / KEPT_FILE).is_file() and _has_ended(path) and not is_in_use(path):
                found.append(path)
    except OSError:  # there is none yet
        pass
    return found


def _remove(path: Path) -> None:
    gone = path
    if not path.name.endswith(_REMOVED_SUFFIX):
        gone = path.with_name(f"{path.name}.{os.urandom(4).hex()}{_REMOVED_SUFFIX}")
    try:
        os.rename(path, gone)
        for file in gone.iterdir():
            file.unlink()
        gone.rmdir()
    except OSError:  # the next instance tries again
        pass
