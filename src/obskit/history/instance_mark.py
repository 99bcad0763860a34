"""
What the history knows of an instance, in the folder that its workers share: its id, and how far it was sampled.

With it, the folder stays when its server is gone, until the next one has taken what was not stored.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from obskit.workers.file_lock import opened_file
from obskit.workers.instance_folders import KEPT_FILE
from obskit.workers.private_folder import write_new_file

FORMAT = 1
_MARK_BYTES = 4096
_NEW = "kept-new.tmp"


class InstanceMark(NamedTuple):
    """
    How far an instance was sampled.

    Attributes:
        instance: Its id; a folder that is made again has another.
        history: The history folder that has it.
        sequence: Of its last sampling; 0 before the first.
    """

    instance: str
    history: str
    sequence: int

    @classmethod
    def read(cls, folder: Path) -> InstanceMark | None:
        """
        Read a folder's mark; None where it has none, or one that is damaged.
        """
        try:
            with opened_file(folder / KEPT_FILE) as descriptor:
                said = json.loads(os.read(descriptor, _MARK_BYTES))
            mark = cls(said["instance"], said["history"], said["sequence"])
        except (OSError, ValueError, TypeError, LookupError, RecursionError):
            return None
        are_texts = isinstance(mark.instance, str) and isinstance(mark.history, str)
        return mark if are_texts and isinstance(mark.sequence, int) else None

    def write(self, folder: Path) -> None:
        """
        Write it, whole or not at all; one process at a time, the one that samples.

        Raises:
            OSError: It cannot be written.
        """
        new = folder / _NEW
        new.unlink(missing_ok=True)  # of a process that was killed
        write_new_file(new, json.dumps({"format": FORMAT, **self._asdict()}).encode())
        os.replace(new, folder / KEPT_FILE)


def remove_mark(folder: Path) -> None:
    """
    Leave a folder to whoever removes those of servers that are gone.
    """
    (folder / KEPT_FILE).unlink(missing_ok=True)
