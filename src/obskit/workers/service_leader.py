"""
Who judges, sends, schedules and cleans up for a service on this machine: one of its processes that serve, over all
its servers, workers of queues and scripts.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from obskit.catalogue import events
from obskit.errors import ConfigurationError
from obskit.operation import Event
from obskit.recorder import recorder
from obskit.storage.filesystems import filesystem_of, is_network
from obskit.workers.candidates import is_candidate
from obskit.workers.leadership import Leadership

_leadership = Leadership("leader")


def _none() -> None:
    return None


# Makes the service's folder where it is missing; None where it cannot be used, which it has told.
_open_folder: Callable[[], Path | None] = _none
_folder: Path | None = None
_told = ""


def bind(open_folder: Callable[[], Path | None]) -> None:
    """
    Take what opens the service's state folder; it is opened when a process that serves asks first.
    """
    global _open_folder, _folder, _told
    _open_folder, _folder, _told = open_folder, None, ""


def unbind() -> None:
    """
    Leave the lead to another process, and forget the folder.
    """
    bind(_none)
    _leadership.release()


def leads() -> bool:
    """
    Return whether this process leads its service now: the first that serves and asks, until it ends. Never two do.

    Cheap, and true at the moment of the answer: ask each time before acting, also after having been stopped or asleep.
    Who asks every `leadership.ASK_EVERY_SECONDS` takes over within 5 seconds of the leader's death.
    """
    if not is_candidate():
        return False
    try:
        return _is_held()
    except (OSError, ConfigurationError) as error:
        _tell_once(events.NO_LEADER.event(f"this process cannot lead its service: {error}"))
        return False


def _is_held() -> bool:
    global _folder
    if _folder is not None:
        try:
            return _leadership.is_held(_folder)
        except FileNotFoundError:  # it was removed
            pass
    folder = _folder = _open_folder()
    if folder is None:
        return False
    if is_network(kind := filesystem_of(folder)):
        message = (
            f"{folder} is on a file system of a network ({kind}), where locks hold for all machines or for none: set "
            "state_dir (OBSKIT_STATE_DIR) to a folder of this machine"
        )
        _tell_once(events.NETWORK_FOLDER.event(message))
    return _leadership.is_held(folder)


def _tell_once(event: Event) -> None:
    global _told
    if event.message != _told:
        _told = event.message
        recorder.emit(event)
