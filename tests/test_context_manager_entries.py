"""
One block object that many enter at once: each exit ends the entry that it belongs to, or none.
"""

import asyncio
import contextvars
import threading
from contextlib import AsyncExitStack, ExitStack, suppress

import pytest

import obskit
from obskit.recorder import recorder
from obskit.testing import FakeClock, isolated_runtime

KINDS = {
    "observe": lambda: obskit.observe("x"),
    "observe_db": lambda: obskit.observe_db(table="x", operation="select"),
    "observe_ai": lambda: obskit.observe_ai(service="x"),
    "time": lambda: obskit.histogram("x_seconds", "X.", labels=["status"]).time(),
}
error = ValueError("a")


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(autouse=True)
def runtime(sink, clock):
    with isolated_runtime(sinks=[sink], clock=clock) as runtime:
        yield runtime


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def block(kind):
    return KINDS[kind]()


@pytest.fixture
def left(kind, sink, runtime):
    """
    Return what blocks took by their ends: for a histogram the sums, by status.
    """

    def read():
        if kind == "time":
            sums = {status: runtime.value("x_seconds_sum", status=status) for status in ("error", "success")}
            return [seconds for seconds in sums.items() if seconds[1] is not None]
        return [("error" if op.error else "success", op.duration_seconds) for op in sink.operations]

    return read


BOTH = [("error", 2.0), ("success", 9.0)]


def entered(block):
    with block:
        yield


async def entered_async(block):
    async with block:
        yield


def test_generators_that_others_leave(block, clock, left):
    """
    A `with` in a generator is left by that generator, whoever closes it, in whatever order.
    """
    first, second = entered(block), entered(block)
    contextvars.copy_context().run(next, first)
    clock.advance(1)
    contextvars.copy_context().run(next, second)
    clock.advance(1)
    with pytest.raises(ValueError, match="a"):
        first.throw(error)
    clock.advance(8)
    contextvars.copy_context().run(next, second, None)

    assert left() == BOTH


def test_a_generator_that_is_left_inside_of_another_entry(block, clock, left):
    """
    A generator that is closed where another entry of the same block runs ends its own.
    """
    first = entered(block)
    contextvars.copy_context().run(next, first)
    clock.advance(1)
    with block:
        clock.advance(1)
        with pytest.raises(ValueError, match="a"):
            first.throw(error)
        clock.advance(8)

    assert left() == BOTH


def test_threads(block, clock, left):
    """
    Threads leave what they entered.
    """
    steps = [threading.Event() for _ in range(4)]

    def run(enter, leave, raises):
        try:
            assert steps[enter].wait(30)
            with block:
                steps[enter + 1].set()
                assert steps[leave].wait(30)
                clock.advance(1 if raises else 8)
                if raises:
                    raise error
        except ValueError:
            pass
        finally:
            steps[min(leave + 1, 3)].set()

    first, second = threading.Thread(target=run, args=(0, 2, True)), threading.Thread(target=run, args=(1, 3, False))
    first.start()
    second.start()
    clock.advance(0)
    steps[0].set()
    first.join(30)
    second.join(30)

    assert left() == [("error", 1.0), ("success", 9.0)]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "time"], indirect=True)
def test_tasks(block, clock, left):
    """
    Tasks leave what they entered, by `async with` too.
    """

    async def run():
        gate, second_gate = asyncio.Event(), asyncio.Event()

        async def first():
            async with block:
                await gate.wait()
                raise error

        async def second():
            async with block:
                await second_gate.wait()

        one = asyncio.create_task(first())
        await asyncio.sleep(0)
        clock.advance(1)
        other = asyncio.create_task(second())
        await asyncio.sleep(0)
        clock.advance(1)
        gate.set()
        with pytest.raises(ValueError, match="a"):
            await one
        clock.advance(8)
        second_gate.set()
        await other

    asyncio.run(run())

    assert left() == BOTH


def test_nested_in_itself(block, clock, left, kind):
    """
    A block that is entered inside of itself is left from the inside out; of nested `observe_db` and `observe_ai` the
    innermost counts.
    """
    with block:
        clock.advance(1)
        with suppress(ValueError), block:
            clock.advance(2)
            raise error
        clock.advance(6)

    assert left() == [("error", 2.0)] + ([("success", 9.0)] if kind in ("observe", "time") else [])


def test_exit_stacks(block, clock, left):
    """
    What a stack has entered, it leaves from the inside out.
    """
    with suppress(ValueError), ExitStack() as stack:
        stack.enter_context(block)
        clock.advance(2)
        raise error

    assert left() == [("error", 2.0)]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "time"], indirect=True)
def test_asynchronous_exit_stacks(block, clock, left):
    """
    An asynchronous stack does too.
    """

    async def run():
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(block)
            clock.advance(2)

    asyncio.run(run())

    assert left() == [("success", 2.0)]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "time"], indirect=True)
def test_an_exit_that_may_be_of_several(block, clock, left):
    """
    An exit that nobody can tell the entry of ends none, until only one is left; then it ends that, as of its moment.
    """
    first, second, third = (contextvars.copy_context() for _ in range(3))
    first.run(block.__enter__)
    clock.advance(1)
    second.run(block.__enter__)
    clock.advance(1)
    third.run(block.__exit__, ValueError, error, None)
    assert left() == []

    clock.advance(8)
    second.run(block.__exit__, None, None, None)

    assert sorted(left()) == BOTH


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "time"], indirect=True)
def test_exits_that_stay_untold(block, clock, left):
    """
    Where every exit may be of several entries, none is ended, and they are counted as dropped.
    """
    for context in (contextvars.copy_context(), contextvars.copy_context()):
        context.run(block.__enter__)
    for context in (contextvars.copy_context(), contextvars.copy_context()):
        context.run(block.__exit__, None, None, None)

    assert (left(), recorder.dropped["observe", "ambiguous"], block._entries._open) == ([], 2, [])


def test_an_exit_without_an_entry(block, left):
    """
    An exit of what nobody has entered, or has left already, raises nothing.
    """
    block.__exit__(None, None, None)
    with block:
        pass
    block.__exit__(None, None, None)

    assert len(left()) == 1
