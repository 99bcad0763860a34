"""
For how long this process has run, as the health routes say it.
"""

from __future__ import annotations

from obskit.system import sampler


def uptime_seconds() -> float | None:
    """
    Return for how long this process has run, in seconds; None where the platform does not report it.
    """
    found = sampler.process().get("uptime_seconds")
    return None if found is None else round(found, 1)
