"""
Give each test a shop: one stack's application under a runtime of its own.
"""

import gc
from pathlib import Path

import pytest

from obskit.testing import FakeClock, RecordingSink, isolated_runtime

from .scene import Scene
from .shop import Shop
from .stack import Stack


def pytest_collection_modifyitems(items):
    """
    Let Django's ASGI handler forget to close a request's body when a view or the client breaks off.
    """
    forgotten = "ignore:.*Unclosed file <tempfile.SpooledTemporaryFile"
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings(f"{forgotten}:ResourceWarning"))


@pytest.fixture
def broken(caplog):
    """
    Collect the operations of broken exchanges, and what those left unclosed: it must not warn in somebody else's test.

    Last of all, since the shop and logged exceptions hold it until then.
    """
    operations = []
    yield operations
    if operations:
        operations.clear()
        caplog.get_records("call").clear()
        gc.collect()


@pytest.fixture
def shop(stack: Stack, broken):
    """
    Serve the stack's application; afterwards every output must tell the same story.

    Each operation has begun and ended once, nothing is in progress, and the counters and access lines
    agree with the operations.
    """
    clock, sink = FakeClock(), RecordingSink()
    with isolated_runtime(service="contract", sinks=[sink], clock=clock) as runtime:
        shop = Shop(stack, Scene(clock), runtime, sink)
        yield shop

        assert shop.books() == shop.expected_books()
    vars(shop).clear()  # pytest keeps the shop itself until the test's very end
    broken += [operation for operation in sink.operations if operation.aborted or operation.status >= 499]
