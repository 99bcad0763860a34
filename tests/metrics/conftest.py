"""
Fork workers for the tests of what they count together.
"""

import pytest

from workers import Worker


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
