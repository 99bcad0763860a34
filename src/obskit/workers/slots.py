"""
Small numbers for the workers of one instance: a new worker takes over that of a dead one.
"""

from __future__ import annotations

import os
from pathlib import Path

from obskit.storage.private_files import fcntl
from obskit.workers.file_lock import open_to_lock

_MAX_SLOTS = 65536


def claim_slot(path: Path) -> tuple[int, int]:
    """
    Lock the first free byte of a file; return the descriptor that keeps it, and the byte's index.

    Such a lock belongs to the process: a forked child does not have it, and it ends with the process.
    """
    descriptor = open_to_lock(path)
    for slot in range(_MAX_SLOTS):
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
            return descriptor, slot
        except (BlockingIOError, PermissionError):
            continue
        except OSError:
            os.close(descriptor)
            raise
    return descriptor, _MAX_SLOTS + os.getpid()
