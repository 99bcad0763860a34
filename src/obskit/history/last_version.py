"""
Which version of the service was seen last, so that a new one is told once, by whichever process is the first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from obskit.file_modes import make_file
from obskit.storage.private_files import FileLock, open_existing

VERSION_FILE = "version"
MAX_BYTES = 1024
PATIENCE_SECONDS = 2.0


@contextmanager
def version_before(folder: Path, version: str) -> Iterator[str | None]:
    """
    Enclose what tells that another version runs: yields the one before, to one process at a time, or None where there
    is nothing to tell. It is noted once that has ended, so that a process which is killed meanwhile leaves it to the
    next.

    Args:
        folder: The history folder.
        version: As the setting has it; what is beyond 1,024 bytes is left out.

    Raises:
        OSError: The file cannot be read or written.
    """
    path, lock = folder / VERSION_FILE, FileLock(folder / f"{VERSION_FILE}.lock")
    told = version.encode("utf-8", "replace")[:MAX_BYTES]
    if not lock.acquire(PATIENCE_SECONDS):
        yield None  # whoever holds it tells the same
        return
    try:
        before = _read(path)
        yield before.decode("utf-8", "replace") if before not in (None, told) else None
        if before != told:
            _write(path, told)
    finally:
        lock.close()


def _read(path: Path) -> bytes | None:
    try:
        with open(open_existing(path), "rb") as file:
            return file.read(MAX_BYTES)
    except FileNotFoundError:
        return None


def _write(path: Path, told: bytes) -> None:
    new = path.with_name(f"{VERSION_FILE}.new")
    with suppress(FileNotFoundError):
        os.unlink(new)  # of a process that was killed
    with open(make_file(new, os.O_WRONLY, 0o600), "wb") as file:
        file.write(told)
    os.replace(new, path)
