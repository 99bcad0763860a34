"""
What decorators do with all that may be decorated: each times it as what it is, or refuses it where it is written.
"""

import abc
import asyncio
import copy
import functools
import inspect
import pickle
import typing
from itertools import count

import pytest

import obskit
from obskit.errors import ConfigurationError, NotObservableError
from obskit.observation import kind_of
from obskit.testing import FakeClock, isolated_runtime

_numbers = count()
DECORATORS = {
    "observe": lambda: obskit.observe,
    "observe()": lambda: obskit.observe("plants"),
    "observe_db()": lambda: obskit.observe_db("plants", "select"),
    "observe_ai()": lambda: obskit.observe_ai("plants", "acme", "m"),
    "Histogram.time()": lambda: obskit.histogram(f"plants_{next(_numbers)}_seconds", "Plants.").time(),
    "Heartbeat": lambda: obskit.health.heartbeat(f"plants-{next(_numbers)}", max_age="1h"),
}
TIMERS = [name for name in DECORATORS if name != "Heartbeat"]


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(autouse=True)
def runtime(clock):
    with isolated_runtime(clock=clock) as runtime:
        yield runtime


@pytest.fixture(params=DECORATORS)
def decorate(request):
    made = DECORATORS[request.param]()
    yield made
    if request.param == "Heartbeat":
        obskit.health.remove(next(name for name in list(obskit.health.registry.checks) if name.startswith("plants-")))


class Shop:
    """
    A class whose method is called, synchronously.
    """

    def __init__(self):
        self.opened = 0

    def __call__(self, name: str, number: int = 3) -> tuple[str, int]:
        return name, number

    def reset(self):
        return "reset"


class AsyncShop(Shop):
    async def __call__(self, name: str, number: int = 3) -> tuple[str, int]:
        return name, number


class StreamingShop(Shop):
    async def __call__(self, name: str, number: int = 3):
        yield name, number


class Pages(Shop):
    def __call__(self, name: str, number: int = 3):
        yield name, number


def plain(name: str, number: int = 3) -> tuple[str, int]:
    """
    Return what it was given.
    """
    return name, number


async def coroutine(name: str, number: int = 3) -> tuple[str, int]:
    return name, number


def generator(name: str, number: int = 3):
    yield name, number


async def stream(name: str, number: int = 3):
    yield name, number


@functools.lru_cache
def cached(name: str, number: int = 3):
    return name, number


def called(function, *args):
    """
    Call what is a function of any kind, to its end.
    """
    given = function(*args)
    if inspect.isasyncgen(given):

        async def all_of():
            return [value async for value in given]

        return asyncio.run(all_of())[0]
    if inspect.isgenerator(given):
        return next(iter([*given]))
    return asyncio.run(given) if inspect.iscoroutine(given) else given


@pytest.mark.parametrize("thing", [Shop, dict, 5])
def test_what_no_function_can_stand_for_is_refused(decorate, thing):
    """
    A class would be no class any more, and a number is nothing to call: an error of its own says so, at once.
    """
    with pytest.raises(ConfigurationError) as raised:
        decorate(thing)

    assert thing == 5 or type(raised.value) is NotObservableError


@pytest.mark.parametrize("thing", [property(plain), functools.cached_property(plain), staticmethod(Shop)])
@pytest.mark.parametrize("name", TIMERS)
def test_descriptors_are_refused_but_for_methods(name, thing):
    """
    The decorator belongs under `@property`, and a class inside of a static method is a class.
    """
    with pytest.raises(NotObservableError):
        DECORATORS[name]()(thing)


CALLED = [
    *(plain, coroutine, generator, Shop(), AsyncShop(), StreamingShop(), Pages(), cached, Shop().__call__),
    *(functools.partial(plain, "fern"), functools.partial(AsyncShop(), "fern")),
]


@pytest.mark.parametrize("function", CALLED, ids=lambda function: type(function).__name__)
@pytest.mark.parametrize("name", TIMERS)
def test_it_gives_what_the_function_gives(name, function):
    """
    Called, awaited or iterated, it gives the same, and is of the kind that the function or its `__call__` is.
    """
    given = () if isinstance(function, functools.partial) else ("fern",)
    decorated = DECORATORS[name]()(function)
    inner = function.func if isinstance(function, functools.partial) else function
    inner = inner if inspect.isroutine(inner) else type(inner).__call__

    assert called(decorated, *given) == ("fern", 3)
    assert inspect.iscoroutinefunction(decorated) is inspect.iscoroutinefunction(inner)
    assert inspect.isgeneratorfunction(decorated) is inspect.isgeneratorfunction(inner)
    assert inspect.isasyncgenfunction(decorated) is inspect.isasyncgenfunction(inner)
    assert inspect.signature(decorated) == inspect.signature(function)


def injected(function):
    """
    Return a function its first argument, and say that it has its signature, as many decorators do.
    """

    @functools.wraps(function)
    async def inner(*args, **kwargs):
        return await function("fern", *args, **kwargs)

    return inner


async def positional(name, /, *, number=3):
    return name, number


LATE = [coroutine, generator, stream, positional, AsyncShop(), StreamingShop(), Pages(), AsyncShop().__call__]
LATE += [functools.partial(coroutine, number=4), functools.partial(Pages(), "fern")]
WRONG = [((), {}), (("fern", 3, 4), {}), (("fern",), {"name": "fern"}), (("fern",), {"colour": "green"})]


def refusal(function, args, kwargs):
    """
    Return what a call raises, by itself, before anything is awaited or iterated.
    """
    try:
        given = function(*args, **kwargs)
    except TypeError as error:
        return str(error)
    if inspect.iscoroutine(given):
        given.close()
    return None


@pytest.mark.parametrize("function", LATE, ids=lambda function: getattr(function, "__name__", type(function).__name__))
def test_arguments_are_refused_where_the_function_refuses_them(decorate, runtime, function):
    """
    The call raises what it raises undecorated, though no code of the function runs before it is awaited or iterated;
    nothing has begun then.
    """
    if kind_of(function) == "async generator" and type(decorate) is obskit.health.Heartbeat:
        function = coroutine  # it refuses the others where they are decorated
    decorated = decorate(function)
    raised = [refusal(function, *wrong) for wrong in WRONG]
    found = [refusal(decorated, *wrong) for wrong in WRONG]

    assert [message is None for message in found] == [message is None for message in raised]
    assert found == raised or not inspect.isfunction(function)
    assert raised.count(None) < len(WRONG)
    assert runtime.value("function_duration_seconds_count", function=function_name(function), status="error") is None


def function_name(function):
    return getattr(function, "__qualname__", type(function).__name__)


def test_what_a_decorator_hands_in_is_not_asked_of_the_caller(decorate):
    """
    Arguments are judged by what the call takes, not by the signature that another decorator has put there.
    """
    decorated = decorate(injected(coroutine))

    assert asyncio.run(decorated(5)) == ("fern", 5)
    assert asyncio.run(decorated(number=7)) == ("fern", 7)


@pytest.mark.parametrize("name", ["args", "kwargs", "values", "step", "sent", "value", "thrown", "forward", "function"])
def test_a_parameter_may_have_any_name(decorate, name):
    """
    What is in our own code does not get in the way of a function's parameters, or of their defaults.
    """
    made = {}
    exec(f"async def late({name}=[1], *, other: int = 2):\n return {name}, other", made)
    decorated = decorate(made["late"])

    assert asyncio.run(decorated()) == ([1], 2)
    assert asyncio.run(decorated(**{name: 5, "other": 6})) == (5, 6)
    assert asyncio.run(decorated())[0] is made["late"].__defaults__[0]


@pytest.mark.parametrize("kind", [AsyncShop, StreamingShop, Pages])
def test_an_object_is_timed_to_the_end_of_what_its_call_gives(runtime, clock, kind):
    """
    Not the making of a coroutine or a generator is timed, but what it does.
    """

    class Slow(kind):
        pass

    if kind is AsyncShop:

        async def call(self):
            clock.advance(2.0)
            return "fern", 3
    elif kind is Pages:

        def call(self):
            clock.advance(2.0)
            yield "fern", 3
    else:

        async def call(self):
            clock.advance(2.0)
            yield "fern", 3

    Slow.__call__ = call
    called(obskit.observe("slow")(Slow()))

    assert runtime.value("function_duration_seconds_sum", function="slow", status="success") == 2.0


@pytest.mark.parametrize("name", TIMERS)
def test_an_object_keeps_what_else_it_can_do(name):
    """
    Its other methods are there, as those of a cached function are.
    """
    shop, cache = DECORATORS[name]()(Shop()), DECORATORS[name]()(functools.lru_cache(plain))
    cache("fern"), cache("fern")

    assert (shop.reset(), shop.opened) == ("reset", 0)
    assert cache.cache_info().hits == 1
    cache.cache_clear()
    assert cache.cache_info().hits == 0


@pytest.mark.parametrize("name", TIMERS)
def test_methods_stay_what_they_are(name):
    """
    Static, class and abstract methods, on either side of the decorator, and what overrides them.
    """
    decorate = DECORATORS[name]()

    class Base(abc.ABC):
        @decorate
        @staticmethod
        def outer_static(number):
            return number

        @staticmethod
        @decorate
        def inner_static(number):
            return number

        @decorate
        @classmethod
        def outer_class(cls):
            return cls

        @classmethod
        @decorate
        def inner_class(cls):
            return cls

        @decorate
        @abc.abstractmethod
        def abstract(self):
            return "base"

        @property
        @decorate
        def value(self):
            return 7

        @decorate
        def plain(self, number):
            return number

    class Below(Base):
        def abstract(self):
            return "below " + super().abstract()

        def plain(self, number):
            return super().plain(number) + 1

    below = Below()

    assert Base.__abstractmethods__ == {"abstract"}
    assert (Base.outer_static(1), below.outer_static(2), below.inner_static(3)) == (1, 2, 3)
    assert (Base.outer_class(), below.outer_class(), below.inner_class()) == (Base, Below, Below)
    assert (below.abstract(), below.value, below.plain(1)) == ("below base", 7, 2)


@obskit.observe("found_by_name")
def found_by_name(name: "str", number: "int" = 3) -> "tuple[str, int]":
    return name, number


def test_a_decorated_function_is_inspected_copied_and_pickled_as_before():
    """
    Hints, name, cache, partial method and single dispatch work with it; its pickle is its name.
    """
    dispatched = functools.singledispatch(obskit.observe(plain))
    dispatched.register(int, lambda number: number + 1)
    observed = obskit.observe(functools.singledispatch(plain))

    assert typing.get_type_hints(found_by_name) == {"name": str, "number": int, "return": tuple[str, int]}
    assert (copy.copy(found_by_name), copy.deepcopy(found_by_name)) == (found_by_name, found_by_name)
    assert pickle.loads(pickle.dumps(found_by_name)) is found_by_name
    assert functools.lru_cache(found_by_name)("fern") == ("fern", 3)
    assert dispatched(1) == 2
    assert observed.register is not None
    assert type("Holder", (), {"pm": functools.partialmethod(obskit.observe(lambda self, n: n), 4)})().pm() == 4
    assert (obskit.observe(plain).__doc__, obskit.observe(plain).__wrapped__) == (plain.__doc__, plain)


@pytest.mark.parametrize("name", TIMERS)
def test_an_asynchronous_generator_hears_what_is_sent_and_thrown(name):
    """
    Values that are sent and exceptions that are thrown arrive, and leaving it closes it at once.
    """
    heard = []

    @DECORATORS[name]()
    async def echo():
        try:
            for _ in range(2):
                try:
                    heard.append((yield "next"))
                except KeyError:
                    heard.append("KeyError")
        finally:
            heard.append("closed")

    async def use():
        values = echo()
        assert await anext(values) == "next"
        assert await values.asend(1) == "next"
        with pytest.raises(StopAsyncIteration):
            await values.athrow(KeyError())
        left = echo()
        await anext(left)
        await left.aclose()
        heard.append("after")

    asyncio.run(use())

    assert heard == [1, "KeyError", "closed", "closed", "after"]


def test_the_query_of_a_gauge_is_no_asynchronous_object():
    """
    It would give a coroutine where a number is expected.
    """
    with pytest.raises(ConfigurationError, match="must be a plain function"):
        obskit.gauge("plants_now", "Plants.", query=AsyncShop())
