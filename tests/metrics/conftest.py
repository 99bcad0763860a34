"""
Let no test's metrics reach the next test.
"""

import pytest
from workers import Worker

from obskit.metrics import declare
from obskit.metrics.queries import queries


@pytest.fixture(autouse=True)
def declarations():
    """
    Forget what the test declares, its queries included.
    """
    before, asked = dict(declare.declared), list(queries._queries)
    yield
    declare.declared.clear()
    declare.declared.update(before)
    queries._queries[:] = asked


@pytest.fixture
def fork():
    """
    Fork workers, and kill those that are left when the test ends.
    """
    workers = []

    def start(work):
        workers.append(Worker(work))
        return workers[-1]

    yield start
    for worker in workers:
        if worker.pid:
            worker.kill()
