"""
Where the state that processes share lies by default.
"""

from __future__ import annotations

import os
import sys


def default_state_dir() -> str:
    """
    Return the folder for this user's application state; it starts with `~` if the user has no home.
    """
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/AppData/Local")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Application Support")
    else:
        given = os.environ.get("XDG_STATE_HOME", "")
        base = given if os.path.isabs(given) else os.path.expanduser("~/.local/state")
    return os.path.join(base, "obskit")
