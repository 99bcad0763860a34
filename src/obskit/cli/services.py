"""
Which service's state a command is about: `--service` and `--state-dir`, or the only one there is.
"""

from __future__ import annotations

import argparse
import os

from obskit.cli.usage import UsageError, nearest
from obskit.storage.state_folder import StateFolder, base_folder, services_in


def add_service_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Add the two options to a subject's.
    """
    parser.add_argument("--service", metavar="NAME", help="whose state it is; default: the only service there is")
    parser.add_argument(
        "--state-dir",
        metavar="FOLDER",
        help="where state is; default: OBSKIT_STATE_DIR, else STATE_DIRECTORY, else the user's state folder",
    )


def state_folder_of(wanted: argparse.Namespace) -> StateFolder:
    """
    Return the state folder that a command is about, which is there.

    Raises:
        UsageError: There is none, or several and none is named.
    """
    base = base_folder(wanted.state_dir or os.environ.get("OBSKIT_STATE_DIR") or None)
    found = services_in(base)
    names = ", ".join(found)
    if wanted.service is not None:
        if wanted.service not in found:
            known = f"\nThere are: {names}" if found else "; nor of any other"
            raise UsageError(f"no state of {wanted.service!r} in {base}{nearest(wanted.service, found)}{known}")
        return StateFolder(base, wanted.service)
    if not found:
        raise UsageError(
            f"no service has state in {base}: it is made by the first process that keeps any, as the user that runs "
            "it; --state-dir names another folder"
        )
    if len(found) > 1:
        raise UsageError(f"several services have state in {base}: say which with --service\nThere are: {names}")
    return StateFolder(base, next(iter(found)))
