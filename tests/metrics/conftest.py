"""
Let no test's metrics reach the next test.
"""

import pytest

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
