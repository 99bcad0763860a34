"""
What a request shares follows it through threads and tasks, and never leaves it.
"""

import asyncio
import contextvars
import random
import re
import threading

import pytest

import obskit
from forked import in_child
from obskit.context import current
from obskit.correlation_ids import new_id, trace_id_of, valid_id
from obskit.operation import HttpOperation, Operation
from obskit.testing import FakeIds


@pytest.fixture
def request_operation():
    """
    Run the test inside a request with the id `id-1`.
    """
    operation = HttpOperation("GET", "/")
    operation.correlation_id = FakeIds()()
    token = current.set(operation)
    yield operation
    current.reset(token)


def test_outside_of_a_request_there_is_no_id():
    """
    Nothing runs, so there is nothing to tell.
    """
    assert obskit.correlation_id() is None


def test_an_id_holds_in_what_the_request_starts(request_operation):
    """
    Operations inside, threads with a copied context, and tasks see the request's id.
    """
    inner = Operation()
    inner.nest()
    token = current.set(inner)
    seen = [obskit.correlation_id()]
    worker = threading.Thread(
        target=contextvars.copy_context().run, args=(lambda: seen.append(obskit.correlation_id()),)
    )
    worker.start()
    worker.join(10)

    async def task():
        seen.append(await asyncio.create_task(asyncio.to_thread(obskit.correlation_id)))

    asyncio.run(task())
    current.reset(token)

    assert ["id-1", "id-1", "id-1"] == seen


def test_a_new_thread_is_outside(request_operation):
    """
    A thread that copies no context has no id.
    """
    seen = []
    worker = threading.Thread(target=lambda: seen.append(obskit.correlation_id()))
    worker.start()
    worker.join(10)

    assert [None] == seen


def test_bound_fields_belong_to_the_request(request_operation):
    """
    What is bound inside, at any depth and in a worker's copied context, is on the request, the last value first.
    """
    obskit.bind(user="u-7", plan="free")
    inner = Operation()
    inner.nest()
    token = current.set(inner)
    contextvars.copy_context().run(obskit.bind, plan="gold")
    current.reset(token)

    assert {"user": "u-7", "plan": "gold"} == request_operation.fields


def test_unbind_takes_back_what_is_there(request_operation):
    """
    Names that are not bound are ignored.
    """
    obskit.unbind("nothing")
    obskit.bind(user="u-7", plan="free")
    obskit.unbind("plan", "nothing")

    assert {"user": "u-7"} == request_operation.fields


def test_outside_of_a_request_fields_hold_for_the_context():
    """
    A job without an operation can bind too, and nobody else sees it.
    """

    def job():
        obskit.bind(user="u-7")
        obskit.bind(batch=3)
        return current.get().root.fields

    assert contextvars.copy_context().run(job) == {"user": "u-7", "batch": 3}
    assert current.get() is None


def test_ids_are_128_random_bits_whatever_the_application_seeds():
    """
    Ids are 32 hexadecimal digits, and seeding `random` does not make them repeat.
    """
    random.seed(1)
    first = [new_id() for _ in range(100)]
    random.seed(1)
    second = [new_id() for _ in range(100)]

    assert len({*first, *second}) == 200
    assert all(re.fullmatch("[0-9a-f]{32}", made) for made in first)


def test_a_forked_child_makes_other_ids():
    """
    The generator is seeded anew in a child, so that two workers never make the same id.
    """
    theirs = in_child(new_id)

    assert len(theirs) == 32
    assert theirs != new_id()


@pytest.mark.parametrize("good", ["a", "0", "A-1.b_2", "x" * 64, "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"])
def test_a_well_formed_id(good):
    """
    Up to 64 letters, digits, dots, hyphens and underscores, the first of which is a letter or digit.
    """
    assert valid_id(good)


@pytest.mark.parametrize(
    "bad", ["", "-a", ".a", "x" * 65, "a b", "a\n", "a\r\nSet-Cookie: x", "ä", "{a}", "-" * 60_000]
)
def test_a_bad_id(bad):
    """
    Everything else is refused, the trailing newline that `$` would let through included.
    """
    assert not valid_id(bad)


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", TRACE),
        (f"fe-{TRACE}-00f067aa0ba902b7-01-more", TRACE),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE}-00f067aa0ba902b7", None),
        ("", None),
    ],
)
def test_a_traceparent_is_read_by_the_rules(header, expected):
    """
    The trace id of a header that keeps W3C's rules, and of no other.
    """
    assert expected == trace_id_of(header)
