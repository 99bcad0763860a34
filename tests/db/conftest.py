"""
For tests of queries: a clock that stands still, and a request to run in.
"""

from contextlib import contextmanager

import pytest

from obskit.context import current
from obskit.operation import HttpOperation
from obskit.recorder import recorder
from obskit.testing import FakeClock


@pytest.fixture
def clock():
    return FakeClock(100.0)


@pytest.fixture
def in_request():
    """
    Yield a function that makes a request current for a block, and ends it.
    """

    @contextmanager
    def in_request(endpoint="/plants/{id}"):
        operation = HttpOperation("GET", "/plants/7")
        operation.endpoint, operation.correlation_id, operation.status = endpoint, "id-7", 200
        recorder.plan(HttpOperation).begin(operation)
        token = current.set(operation)
        try:
            yield operation
        finally:
            current.reset(token)
            recorder.plan(HttpOperation).end(operation)

    return in_request
