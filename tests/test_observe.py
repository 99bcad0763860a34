"""
`observe` times whatever the application marks, and the application cannot tell.
"""

import asyncio
import contextlib
import contextvars
import functools
import inspect
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest

import obskit
from obskit.context import current
from obskit.errors import ConfigurationError
from obskit.observation import FunctionOperation
from obskit.operation import HttpOperation
from obskit.testing import FakeClock, isolated_runtime


@pytest.fixture
def clock():
    return FakeClock(100.0)


@pytest.fixture(autouse=True)
def runtime(clock, sink):
    with isolated_runtime(sinks=[sink], clock=clock) as runtime:
        yield runtime


def seen(sink):
    return [(op.function, op.duration_seconds, op.error) for op in sink.operations]


def name_inside():
    """
    Name the operation that is current where this is called.
    """
    op = current.get()
    return None if op is None else op.function


def drain(generator):
    """
    Exhaust a generator and give what it returned.
    """
    values = []
    while True:
        try:
            values.append(next(generator))
        except StopIteration as stop:
            return values, stop.value


def test_a_function(clock, sink, runtime):
    """
    One call is one observation, with the result given through and the metric's labels filled.
    """

    @obskit.observe("add")
    def add(a, b=2):
        clock.advance(1.5)
        return a + b, name_inside()

    assert (3, "add") == add(1)
    assert [("add", 1.5, None)] == seen(sink)
    assert 1.5 == runtime.value("function_duration_seconds_sum", function="add", status="success")


def test_bare_it_is_named_after_the_function(sink):
    """
    `@observe`, `@observe()` and `@observe("name")` differ in the name only.
    """

    @obskit.observe
    def bare(): ...

    @obskit.observe()
    def called(): ...

    bare()
    called()

    here = "test_bare_it_is_named_after_the_function.<locals>."
    assert [here + "bare", here + "called"] == [op.function for op in sink.operations]


def test_an_exception_is_given_through_and_noted(clock, sink, runtime):
    """
    The exception is the application's own object; its class is kept, and the status is `error`.
    """
    mistake = ValueError("no")

    @obskit.observe("job")
    def job():
        clock.advance(1.0)
        raise mistake

    with pytest.raises(ValueError, match="no") as raised:
        job()

    assert mistake is raised.value
    assert [("job", 1.0, "ValueError")] == seen(sink)
    assert 1.0 == runtime.value("function_duration_seconds_count", function="job", status="error")


def test_exits_are_given_through(sink):
    """
    `KeyboardInterrupt` and `SystemExit` pass, and nothing stays current.
    """

    @obskit.observe("job")
    def job():
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        job()

    assert ["SystemExit"] == [op.error for op in sink.operations]
    assert current.get() is None


def test_a_coroutine_function(clock, sink):
    """
    It stays a coroutine function, is timed while it is awaited, and is current inside.
    """

    @obskit.observe("ask")
    async def ask(question):
        clock.advance(1.0)
        await asyncio.sleep(0)
        clock.advance(1.0)
        return question, name_inside()

    assert inspect.iscoroutinefunction(ask)
    assert ("why", "ask") == asyncio.run(ask("why"))
    assert [("ask", 2.0, None)] == seen(sink)


def test_a_coroutine_that_raises(sink):
    """
    Its exception is noted and given through; so is a cancellation.
    """

    @obskit.observe("ask")
    async def ask(error):
        raise error

    for error in (ValueError(), asyncio.CancelledError()):
        with pytest.raises(type(error)):
            asyncio.run(ask(error))

    assert ["ValueError", "CancelledError"] == [op.error for op in sink.operations]


def test_a_coroutine_that_is_dropped_is_no_failure(sink):
    """
    Closing a coroutine half way, in whatever context, ends its operation without an error.
    """

    @obskit.observe("ask")
    async def ask():
        await Pause()

    coroutine = ask()
    contextvars.copy_context().run(coroutine.send, None)
    coroutine.close()

    assert [("ask", 0.0, None)] == seen(sink)


class Pause:
    """
    Hand control back to whoever drives the coroutine.
    """

    def __await__(self):
        yield


def test_tasks_do_not_mix(sink):
    """
    Two tasks that take turns each see their own operation, and their children belong to it.
    """

    @obskit.observe("inner")
    async def inner():
        await asyncio.sleep(0)

    async def outer(name):
        with obskit.observe(name) as op:
            await inner()
            return name_inside(), op

    async def both():
        return await asyncio.gather(outer("a"), outer("b"))

    (name_a, a), (name_b, b) = asyncio.run(both())

    assert ("a", "b") == (name_a, name_b)
    assert {a, b} == {op.parent for op in sink.operations if op.function == "inner"}


def test_a_generator_is_timed_from_first_to_last(clock, sink):
    """
    It stays a generator function; the clock runs from the first value asked for to the end.
    """

    @obskit.observe("rows")
    def rows(count):
        for number in range(count):
            clock.advance(1.0)
            yield number
        return "all"

    generator = rows(2)
    clock.advance(50.0)

    assert inspect.isgeneratorfunction(rows)
    assert ([0, 1], "all") == drain(generator)
    assert [("rows", 2.0, None)] == seen(sink)


def test_a_generator_that_nobody_starts_is_not_observed(sink):
    """
    Making a generator runs nothing, so there is nothing to tell.
    """

    @obskit.observe("rows")
    def rows():
        yield 1

    rows()

    assert [] == sink.begun


def refusing_function(name):
    return name


async def refusing_coroutine(name):
    return name


def refusing_generator(name):
    yield name


async def refusing_stream(name):
    yield name


async def first_of(stream):
    return await anext(stream)


@pytest.mark.parametrize(
    ("function", "run"),
    [
        (refusing_function, str),
        (refusing_coroutine, asyncio.run),
        (refusing_generator, list),
        (refusing_stream, lambda stream: asyncio.run(first_of(stream))),
    ],
    ids=["function", "coroutine", "generator", "async generator"],
)
@pytest.mark.parametrize("observe", [obskit.observe, obskit.observe_db("plants", "select")], ids=["observe", "db"])
def test_refused_arguments_leave_nothing_open(sink, observe, function, run):
    """
    Arguments that the function does not take raise what they do, and whatever has begun for the call is ended.
    """
    with pytest.raises(TypeError, match=r"missing 1 required positional argument: 'name'"):
        run(observe(function)())

    assert [op for op in sink.begun if not op.ended] == []


def test_send_and_throw_reach_a_generator(sink):
    """
    What is sent is the value of `yield`, and what is thrown is raised there, and may be caught.
    """

    @obskit.observe("echo")
    def echo():
        got = yield "ready"
        try:
            yield got
        except KeyError as error:
            yield f"caught {error}"

    generator = echo()
    answers = [next(generator), generator.send("sent"), generator.throw(KeyError("thrown"))]

    assert ["ready", "sent", "caught 'thrown'"] == answers
    assert ([], None) == drain(generator)
    assert [None] == [op.error for op in sink.operations]


def test_what_is_thrown_and_not_caught_fails_a_generator(sink):
    """
    An exception that comes back out is the operation's error.
    """

    @obskit.observe("rows")
    def rows():
        yield 1

    generator = rows()
    next(generator)
    with pytest.raises(KeyError):
        generator.throw(KeyError("x"))

    assert ["KeyError"] == [op.error for op in sink.operations]


def test_leaving_a_generator_is_no_failure(sink):
    """
    `close()` and a `break` end it with success, and its `finally` runs in its own context.
    """
    cleaned = []

    @obskit.observe("rows")
    def rows():
        try:
            yield 1
            yield 2
        finally:
            cleaned.append(name_inside())

    for _ in rows():
        break
    generator = rows()
    next(generator)
    generator.close()

    assert ["rows", "rows"] == cleaned
    assert [None, None] == [op.error for op in sink.operations]


def test_a_generator_that_will_not_close_is_told_as_python_does(sink):
    """
    A generator that yields in answer to `close()` raises `RuntimeError`, as without us.
    """

    @obskit.observe("stubborn")
    def stubborn():
        for _ in range(2):
            with contextlib.suppress(GeneratorExit):
                yield 1

    generator = stubborn()
    next(generator)
    with pytest.raises(RuntimeError, match="generator ignored GeneratorExit"):
        generator.close()


def test_between_yields_the_context_is_the_callers():
    """
    The operation is current only while the generator works: its caller, and a second generator, do not see it.
    """

    @obskit.observe("one")
    def one():
        yield name_inside()
        yield name_inside()

    @obskit.observe("two")
    def two():
        yield name_inside()
        yield name_inside()

    first, second = one(), two()
    inside = [next(first), next(second), name_inside(), next(first), next(second), name_inside()]

    assert ["one", "two", None, "one", "two", None] == inside
    assert [[], []] == [list(first), list(second)]


def test_an_async_generator(clock, sink):
    """
    It stays one, takes `asend()` and `athrow()`, and is timed to its end.
    """

    @obskit.observe("stream")
    async def stream():
        clock.advance(1.0)
        got = yield name_inside()
        try:
            yield got
        except KeyError:
            yield "caught"

    async def use():
        generator = stream()
        answers = [
            await anext(generator),
            name_inside(),
            await generator.asend("sent"),
            await generator.athrow(KeyError()),
        ]
        return answers, [rest async for rest in generator]

    assert inspect.isasyncgenfunction(stream)
    assert (["stream", None, "sent", "caught"], []) == asyncio.run(use())
    assert [("stream", 1.0, None)] == seen(sink)


def test_leaving_an_async_generator_is_no_failure(sink):
    """
    `aclose()` ends it with success, and its `finally` runs, awaits and sees its own context.
    """
    cleaned = []

    @obskit.observe("stream")
    async def stream():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            cleaned.append(name_inside())

    async def use():
        generator = stream()
        await anext(generator)
        await generator.aclose()

    asyncio.run(use())

    assert ["stream"] == cleaned
    assert [("stream", 0.0, None)] == seen(sink)


def test_an_async_generator_that_raises(sink):
    """
    Its exception is noted and given through.
    """

    @obskit.observe("stream")
    async def stream():
        yield 1
        raise ValueError("half way")

    async def use():
        return [value async for value in stream()]

    with pytest.raises(ValueError, match="half way"):
        asyncio.run(use())

    assert ["ValueError"] == [op.error for op in sink.operations]


def test_a_block(clock, sink):
    """
    `with` gives the operation: `extra` goes to lines and spans, `fail()` marks a failure that raised nothing.
    """
    with obskit.observe("optimise") as op:
        clock.advance(2.0)
        op.extra["shelves"] = 12
        op.fail("no solution")

    assert [("optimise", 2.0, "failed")] == seen(sink)
    assert {"shelves": 12, "reason": "no solution"} == op.extra


def test_an_asynchronous_block(clock, sink):
    """
    `async with` does the same.
    """

    async def use():
        async with obskit.observe("optimise") as op:
            clock.advance(2.0)
            return op

    assert asyncio.run(use()) is sink.operations[0]
    assert [("optimise", 2.0, None)] == seen(sink)


def test_a_block_that_raises(sink):
    """
    The exception passes, and its class is the error.
    """
    with pytest.raises(KeyError), obskit.observe("block"):
        raise KeyError("x")

    assert ["KeyError"] == [op.error for op in sink.operations]


def test_a_reason_in_a_function_is_kept(sink):
    """
    Code inside reaches its operation through the block it opened; a function that fails quietly says so too.
    """

    @obskit.observe("job")
    def job():
        current.get().fail("nothing to do")

    job()

    assert [("job", 0.0, "failed")] == seen(sink)


def test_one_observation_is_used_again_and_in_itself(clock, sink):
    """
    The same object serves several blocks, nested ones too, each with its own time.
    """
    observation = obskit.observe("again")
    with observation as outer:
        clock.advance(1.0)
        with observation as inner:
            clock.advance(1.0)
    with observation as last:
        pass

    assert [("again", 1.0, None), ("again", 2.0, None), ("again", 0.0, None)] == seen(sink)
    assert (outer, None) == (inner.parent, last.parent)


def test_recursion(clock, sink):
    """
    Each call of a function that calls itself is an observation, and a child of its caller.
    """

    @obskit.observe("descend")
    def descend(depth):
        clock.advance(1.0)
        return descend(depth - 1) if depth else "bottom"

    assert "bottom" == descend(3)
    assert [1.0, 2.0, 3.0, 4.0] == [op.duration_seconds for op in sink.operations]
    assert [*sink.begun[:3]] == [op.parent for op in sink.begun[1:]]


def test_threads_do_not_mix(sink):
    """
    One observation in eight threads at once: each block sees its own operation, and each ends once.
    """
    observation, gate = obskit.observe("shared"), threading.Barrier(8)

    def work(_):
        with observation as op:
            gate.wait(10)
            return current.get() is op

    with ThreadPoolExecutor(8) as pool:
        alone = list(pool.map(work, range(8)))

    assert [True] * 8 == alone
    assert 8 == len({id(op) for op in sink.operations})
    assert all(op.ended for op in sink.operations)


def test_a_block_may_end_in_another_thread(sink):
    """
    FastAPI enters a dependency that yields in one thread and leaves it in another; the block ends all the same.
    """
    observation = obskit.observe("dependency")
    worker = threading.Thread(target=observation.__enter__)
    worker.start()
    worker.join(10)
    observation.__exit__(None, None, None)

    assert [("dependency", 0.0, None)] == seen(sink)


def test_a_block_ends_its_own_where_another_was_left_elsewhere(sink):
    """
    What ran inside, and could not give its place back, is looked through; another's block goes on.
    """
    observation, elsewhere = obskit.observe("shared"), contextvars.copy_context()
    here = contextvars.copy_context()
    op = here.run(observation.__enter__)
    inside = obskit.observe("inside")
    here.run(inside.__enter__)
    elsewhere.run(inside.__exit__, None, None, None)
    other = elsewhere.run(observation.__enter__)
    here.run(observation.__exit__, None, None, None)

    assert (True, False) == (op.ended, other.ended)
    elsewhere.run(observation.__exit__, None, None, None)
    assert other.ended


def test_inside_a_request_it_is_the_requests_child(sink):
    """
    The root is the request, which carries the id.
    """
    request = HttpOperation("GET", "/")
    token = current.set(request)
    with obskit.observe("block") as op:
        pass
    current.reset(token)

    assert (request, request) == (op.parent, op.root)


class Reader:
    """
    Have every sort of method.
    """

    @obskit.observe("method")
    def method(self, plate):
        return self, plate

    @classmethod
    @obskit.observe("inside classmethod")
    def inner_class(cls, plate):
        return cls, plate

    @obskit.observe("around classmethod")
    @classmethod
    def outer_class(cls, plate):
        return cls, plate

    @staticmethod
    @obskit.observe("inside staticmethod")
    def inner_static(plate):
        return plate

    @obskit.observe("around staticmethod")
    @staticmethod
    def outer_static(plate):
        return plate

    @property
    @obskit.observe("property")
    def plate(self):
        return "XY-1"


def test_methods(sink):
    """
    Methods, class methods and static methods are observed in either order of the decorators.
    """
    reader = Reader()

    assert (reader, 1) == reader.method(1)
    assert [(Reader, 1)] * 2 == [Reader.inner_class(1), reader.outer_class(1)]
    assert [1, 1, "XY-1"] == [reader.inner_static(1), Reader.outer_static(1), reader.plate]
    assert 6 == len(sink.operations)


def test_callables_without_a_name(sink):
    """
    A partial is observed too, under the name of its class.
    """
    double = obskit.observe(functools.partial(lambda a, b: a * b, 2))

    assert 6 == double(3)
    assert [("partial", 0.0, None)] == seen(sink)


def test_a_function_keeps_what_it_is():
    """
    Name, documentation, signature, annotations and attributes stay.
    """

    def plain(a: int, /, b: str = "x", *rest: float, c: bool, **more: object) -> list[int]:
        """
        Return what it does.
        """

    plain.attribute = 1
    observed = obskit.observe("job")(plain)

    assert inspect.signature(plain) == inspect.signature(observed)
    assert (plain.__name__, plain.__doc__, plain.__module__) == (
        observed.__name__,
        observed.__doc__,
        observed.__module__,
    )
    assert (1, plain) == (observed.attribute, observed.__wrapped__)


def test_without_a_runtime_it_only_calls(runtime, sink):
    """
    After `shutdown()` a decorated function, generator and block still work, and tell nobody.
    """
    obskit.shutdown()

    @obskit.observe("job")
    def job():
        return 1

    @obskit.observe("rows")
    def rows():
        yield 1

    with obskit.observe("block") as op:
        values = [job(), *rows()]

    assert [1, 1] == values
    assert isinstance(op, FunctionOperation)
    assert [] == sink.operations


@pytest.mark.parametrize("name", [5, b"parse", ["parse"], 0.5])
def test_a_name_is_a_string(name):
    """
    What is neither a name nor a function is refused where it is written, with what to write.
    """
    with pytest.raises(ConfigurationError) as raised:
        obskit.observe(name)

    assert str(raised.value) == (
        f"observe({name!r}): expected a name, found {type(name).__name__}: write @observe, or @observe('parse_dex')"
    )


@pytest.mark.parametrize(
    "decorator", [obskit.observe("parse"), obskit.observe(), obskit.observe_db("plants", "select")]
)
def test_what_is_decorated_can_be_called(decorator):
    """
    A decorator refuses what it could never time, at once.
    """
    with pytest.raises(
        ConfigurationError, match=r"^expected a function to time, found 5: decorate the function itself$"
    ):
        decorator(5)


@obskit.observe("failing_coroutine")
async def failing_coroutine():
    raise LookupError


@obskit.observe("failing_generator")
def failing_generator():
    yield 1
    raise LookupError


@obskit.observe("failing_stream")
async def failing_stream():
    yield 1
    raise LookupError


async def _exhaust_stream():
    async for _ in failing_stream():
        pass


@pytest.mark.parametrize(
    "fail",
    [
        lambda: asyncio.run(failing_coroutine()),
        lambda: list(failing_generator()),
        lambda: asyncio.run(_exhaust_stream()),
    ],
    ids=["coroutine", "generator", "async_generator"],
)
def test_an_exception_that_was_handled_is_in_no_cycle(fail):
    """
    What an observed function raised keeps none of the wrapper's frames, so a request's objects go with the handler.
    """
    with pytest.raises(LookupError) as raised:
        fail()
    frames = [frame for frame, _ in traceback.walk_tb(raised.value.__traceback__)]
    held = [frame.f_code.co_name for frame in frames if raised.value in frame.f_locals.values()]

    assert "observed" in [frame.f_code.co_name for frame in frames]
    assert "observed" not in held
