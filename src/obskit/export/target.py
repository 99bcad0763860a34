"""
Which versions of Prometheus files are written for.
"""

from __future__ import annotations

import re

from obskit.errors import ExportError

# Minor versions by major one; `keep_firing_for` came with 2.42.
_KNOWN = {2: range(42, 56), 3: range(0, 6)}
OLDEST = "2.42"
_parts = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})(?:\.[0-9]{1,4})?").fullmatch


def check_target(version: object) -> None:
    """
    Refuse a version that files are not known to be read by.

    Raises:
        ExportError: It is none, older than what the files need, or newer than what they were tried with.
    """
    found = _parts(version) if isinstance(version, str) else None
    if found is None:
        raise ExportError(f"target={version!r} is no version of Prometheus: write it as {OLDEST!r}")
    major, minor = int(found[1]), int(found[2])
    if minor not in _KNOWN.get(major, ()):
        known = ", ".join(f"{it}.{minors[0]} to {it}.{minors[-1]}" for it, minors in _KNOWN.items())
        raise ExportError(
            f"target={version!r}: files are written for Prometheus {known}; a newer one reads those of the last"
        )
