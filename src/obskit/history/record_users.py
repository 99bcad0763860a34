"""
Whose a record is: a keyed hash of the user that was bound, which is the same each time and leads to nobody.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from contextlib import suppress
from pathlib import Path

from obskit.file_modes import make_file
from obskit.storage.private_files import open_existing

KEY_FILE = "users.key"
KEY_BYTES = 32


def users_key(folder: Path) -> bytes:
    """
    Return the key of a history folder, which is made where it is missing: all processes have the first one's.

    Raises:
        OSError: It cannot be made or read, or is no key.
    """
    path = folder / KEY_FILE
    if not os.path.lexists(path):
        new = path.with_name(f"{KEY_FILE}.{os.getpid()}.new")
        with suppress(FileNotFoundError):
            os.unlink(new)  # of a process that was killed
        with open(make_file(new, os.O_WRONLY, 0o600), "wb") as file:
            file.write(os.urandom(KEY_BYTES))
        with suppress(FileExistsError):
            os.link(new, path)
        os.unlink(new)
    with open(open_existing(path), "rb") as file:
        key = file.read(KEY_BYTES + 1)
    if len(key) != KEY_BYTES:
        raise OSError(f"{path} is no key of {KEY_BYTES} bytes")
    return key


def hashed_user(key: bytes, user: str) -> str:
    """
    Return what stands for a user in records: 16 hexadecimal digits.
    """
    return hmac.new(key, user.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:16]
