"""
Who reads the merged cells of an instance, for all of its workers: one of those that serve.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from obskit.recorder import recorder
from obskit.workers.candidates import is_candidate
from obskit.workers.leadership import Leadership

_leadership = Leadership("leader")


def _none() -> None:
    return None


_folder: Callable[[], Path | None] = _none
_scraped_pid = 0


def bind(folder: Callable[[], Path | None]) -> None:
    """
    Take the folder that the instance's workers share; it answers None where this process has its cells for itself.
    """
    global _folder, _scraped_pid
    _folder, _scraped_pid = folder, 0


def unbind() -> None:
    """
    Release the lead to another worker, and drop the folder.
    """
    bind(_none)
    _leadership.release()


def note_scrape() -> None:
    """
    Record that this process reads its instance's cells, as any scrape does, also by a server of its own.
    """
    global _scraped_pid
    _scraped_pid = os.getpid()


def samples() -> bool:
    """
    Return whether this process reads the merged cells of its instance now: the first that serves and asks, until it
    ends. One that shares them with nobody reads its own. Cheap; ask each time before acting.
    """
    if not is_candidate() and _scraped_pid != os.getpid():
        return False
    try:
        folder = _folder()
        return is_candidate() if folder is None else _leadership.is_held(folder)
    except Exception as error:  # the folder was removed, or is full
        recorder.failed("metrics", error)
        return False
