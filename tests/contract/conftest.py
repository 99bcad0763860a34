"""
A shop for each test: one stack's application under a runtime of its own.
"""

import pytest

from obskit.testing import FakeClock, RecordingSink, isolated_runtime

from .scene import Scene
from .shop import Shop
from .stack import Stack


@pytest.fixture
def settings():
    """
    Return the settings of the runtime; a file of tests may have its own.
    """
    return {}


@pytest.fixture
def shop(stack: Stack, settings):
    """
    Serve the stack's application; afterwards every output must tell the same story.

    Each operation has begun and ended once, nothing is in progress, and the counters and access lines
    agree with the operations.
    """
    clock, sink = FakeClock(), RecordingSink()
    with isolated_runtime(service="contract", sinks=[sink], clock=clock, **settings) as runtime:
        shop = Shop(stack, Scene(clock), runtime, sink)
        yield shop

        assert shop.books() == shop.expected_books()
