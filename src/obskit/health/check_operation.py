"""
The operation of one run of a check.
"""

from __future__ import annotations

from obskit.operation import Operation


class CheckOperation(Operation):
    """
    One run: it begins with the check, and ends with its answer or with its timeout, whichever comes first.
    """

    __slots__ = ("certificate_expires_at", "component", "status", "timed_out")

    component: str  # the check's registered name: a bounded set
    status: str  # of the component after this run: what probes see from now on
    timed_out: bool  # True where it had not answered in time
    certificate_expires_at: float | None  # seconds since the epoch, where it looked at one

    def __init__(self, component: str) -> None:
        super().__init__()
        self.component = component
        self.status = "pass"
        self.timed_out = False
        self.certificate_expires_at = None
