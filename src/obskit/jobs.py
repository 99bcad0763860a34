"""
Jobs: what runs outside of requests, such as a nightly script or a queue's task, each with an id and a line of its own.
"""

from __future__ import annotations

from obskit.context import current
from obskit.errors import ConfigurationError
from obskit.observation import Observation
from obskit.operation import Operation
from obskit.recorder import recorder

MAX_NAME = 100


class JobOperation(Operation):
    """
    One run of a job; `job` is the name that the application gave it. It is the root of what it causes.
    """

    __slots__ = ("job",)

    def __init__(self, job: str) -> None:
        super().__init__()
        self.job = job
        self.correlation_id = recorder.new_id()
        self.fields = {"job": job}
        outer = current.get()
        if outer is not None and outer.root.correlation_id is not None:
            self.fields["parent_correlation_id"] = outer.root.correlation_id

    @property
    def function(self) -> str:  # what spans are named by
        return self.job


_plan = recorder.plan(JobOperation)


def job(name: str) -> Observation:
    """
    Run a job with an id of its own: `@obskit.job("nightly-backup")`, `with obskit.job("nightly-backup") as run:`.

    The id is on every line that is logged meanwhile, beside `job`, on spans, and on calls to the hosts of
    `propagate_to`; `obskit.correlation_id()` gives it. Where the job runs inside of a request, or of another job, the
    id of that stays on the lines as `parent_correlation_id`. When it ends, one line of the logger `obskit.job` says
    how long it took and how it ended. Works on functions, coroutine functions and generators, as `observe()` does.

    Args:
        name: One of a bounded set, up to 100 characters.

    Raises:
        ConfigurationError: The name is not a string, is empty or too long.
    """
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        shown = repr(name)
        raise ConfigurationError(
            f"job({shown[:80]}): expected a name of 1 to {MAX_NAME} characters, found {type(name).__name__}: write "
            '@obskit.job("nightly-backup")'
        )
    return Observation(lambda: JobOperation(name), _plan)
