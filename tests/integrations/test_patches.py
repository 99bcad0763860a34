"""
Everything that obskit puts into other libraries looks to them as what stood there.
"""

import asyncio
import contextlib
import copy
import functools
import gc
import inspect
import pickle
import sqlite3
import typing
from importlib import import_module
from importlib.util import find_spec

import pytest

import obskit
from obskit.errors import MissingExtraError
from obskit.integrations._patches import Patches
from obskit.recorder import recorder
from obskit.testing import isolated_runtime
from obskit.wrapper_signatures import accepts_arguments_of, code_signature, with_signature

# Imported first: some hooks wait for that.
LIBRARIES = ("anthropic", "openai", "httpx", "httpx2", "requests", "psycopg", "psycopg_pool", "sqlalchemy", "aiosqlite")
HOOKS = [name for name in obskit.__all__ if name.startswith("instrument_") and name != "instrument_logging"]
KINDS = (
    *(inspect.isfunction, inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction),
    *(inspect.isroutine, inspect.isdatadescriptor, callable),
)


def all_patches():
    return [found for patches in gc.get_objects() if type(patches) is Patches for found in patches]


@pytest.fixture
def patched():
    """
    Yield every patch of every hook whose library is installed: owner, name, what stood there, what stands there.
    """
    for name in filter(find_spec, LIBRARIES):
        import_module(name)
    with isolated_runtime():
        on = []
        for name in HOOKS:
            try:
                getattr(obskit, name)()
            except MissingExtraError:
                continue
            on.append(name)
        sqlite3.connect(":memory:").close()  # aiosqlite is taken up with the first one
        yield all_patches()
        for name in on:
            getattr(obskit, f"un{name}")()


def functions(patched):
    """
    Yield those that stand for a function of Python's, unwrapped of static and class methods.
    """
    for owner, name, before, ours in patched:
        before, now = getattr(before, "__func__", before), getattr(ours, "__func__", ours)
        if inspect.isfunction(before):
            yield f"{owner.__name__}.{name}", before, now


def asked(question, function):
    try:
        return question(function)
    except Exception as error:
        return type(error)


QUESTIONS = {
    "signature": inspect.signature,
    "getfullargspec": lambda f: inspect.getfullargspec(f)[:6],
    "the code's parameters": lambda f: code_signature(f.__code__),
    "__defaults__": lambda f: f.__defaults__,
    "__kwdefaults__": lambda f: f.__kwdefaults__,
    "__name__": lambda f: f.__name__,
    "__qualname__": lambda f: f.__qualname__,
    "__module__": lambda f: f.__module__,
    "__doc__": lambda f: f.__doc__,
    "__annotations__": lambda f: f.__annotations__,
    "type hints": typing.get_type_hints,
    "kinds": lambda f: [kind(f) for kind in KINDS],
    "attributes": lambda f: {name: value for name, value in vars(f).items() if name != "__wrapped__"},
    "__isabstractmethod__": lambda f: getattr(f, "__isabstractmethod__", False),
    "in a cache": lambda f: functools.lru_cache(f).cache_info(),
    "as a partial method": lambda f: inspect.signature(functools.partialmethod(f).func),
}


def test_there_are_patches(patched):
    """
    The list of patches is found, whatever is installed: that of the standard library alone has three.
    """
    found = {(owner.__name__, name) for owner, name, _, _ in patched}

    assert found >= {("sqlite3", "connect"), ("Thread", "start"), ("ThreadPoolExecutor", "submit")}


@pytest.mark.parametrize("question", QUESTIONS)
def test_who_inspects_a_patch_finds_what_stood_there(patched, question):
    """
    Parameters, defaults, kind and name of a function that is patched are those that it had, also in its code.
    """
    ask = QUESTIONS[question]
    wrong = {
        name: (asked(ask, before), asked(ask, now))
        for name, before, now in functions(patched)
        if asked(ask, before) != asked(ask, now)
    }

    assert wrong == {}


def test_a_patch_is_copied_pickled_and_unwrapped_as_a_function_is(patched):
    """
    A copy of it is itself, its pickle is its name, and what stood there is found behind it.
    """
    wrong = []
    for name, before, now in functions(patched):
        same = copy.copy(now) is now and copy.deepcopy(now) is now
        by_name = "<locals>" in now.__qualname__ or pickle.loads(pickle.dumps(now)) is now
        if not (same and by_name and now.__wrapped__ is before):
            wrong.append(name)

    assert wrong == []


def test_a_patch_has_the_descriptor_that_stood_there(patched):
    """
    A method stays a method, and a static or class method one of its kind.
    """
    kinds = (staticmethod, classmethod)
    wrong = [
        (owner, name)
        for owner, name, before, ours in patched
        if [isinstance(before, kind) for kind in kinds] != [isinstance(ours, kind) for kind in kinds]
    ]

    assert wrong == []


def test_classes_below_a_patched_one_take_it_over_and_may_override_it(patched):
    """
    A class that was derived finds the patch in its parent, by `super()` too.
    """
    wrong = []
    for owner, name, _, ours in patched:
        if inspect.isclass(owner):
            below = type(owner)("Below", (owner,), {"__module__": __name__})
            if inspect.getattr_static(below, name) is not ours or getattr(super(below, below), name) is not ours:
                wrong.append((owner, name))

    assert wrong == []


def test_classes_and_modules_are_patched_in_place(patched):
    """
    No class or module is replaced: whoever imports it, or has done so, has the same.
    """
    wrong = []
    for owner, name, _, _ in patched:
        at = import_module(owner.__module__) if inspect.isclass(owner) else None
        if at is not None and functools.reduce(getattr, owner.__qualname__.split("."), at) is not owner:
            wrong.append((owner, name))

    assert wrong == []
    assert sqlite3.connect is sqlite3.dbapi2.connect


def test_taken_back_a_patch_leaves_nothing():
    """
    What stood there stands there again, or nothing where there was nothing.
    """

    class Owner:
        @staticmethod
        def fixed(number):
            return number

        @classmethod
        def of(cls, number=3):
            return cls, number

        def plain(self, *, number=4):
            return number

    class Below(Owner):
        pass

    before, patches = dict(vars(Owner)), Patches()
    for name in ("fixed", "of", "plain"):
        patches.put(Owner, name, lambda original: lambda *args, **kwargs: ("ours", original(*args, **kwargs)))
    patches.put(Below, "plain", lambda original: lambda *args, **kwargs: ("below", original(*args, **kwargs)))
    patches.put(Owner, "new", lambda original: lambda self: original)

    assert (Owner.fixed(1), Owner().fixed(1)) == (("ours", 1), ("ours", 1))
    assert (Below.of(), Owner.of(2)) == (("ours", (Below, 3)), ("ours", (Owner, 2)))
    assert (Owner().plain(number=5), Below().plain()) == (("ours", 5), ("below", ("ours", 4)))
    assert Owner().new() is None
    patches.restore()
    assert dict(vars(Owner)) == before
    assert "plain" not in vars(Below)


def of_a_later_version(function):
    """
    Make a function with the parameters of another, and one more by name.
    """
    asked = inspect.signature(function)
    kinds = list(asked.parameters.values())
    more = kinds.pop() if kinds and kinds[-1].kind is inspect.Parameter.VAR_KEYWORD else None
    added = inspect.Parameter("added_later", inspect.Parameter.KEYWORD_ONLY, default=None)

    def later(*args, **kwargs): ...

    later.__signature__ = asked.replace(parameters=[*kinds, added, *filter(None, [more])])
    return later


def test_a_parameter_of_a_later_version_breaks_no_call(patched, monkeypatch):
    """
    Whatever is patched may be given a parameter by the next version of its library: what cannot take it is left alone.
    """
    stood = [(owner, name, before) for owner, name, before, _ in patched if inspect.isfunction(before)]
    for name in HOOKS:
        with contextlib.suppress(MissingExtraError):
            getattr(obskit, f"un{name}")()
    later = {(owner, name): of_a_later_version(before) for owner, name, before in stood}
    for (owner, name), function in later.items():
        monkeypatch.setattr(owner, name, function)
    monkeypatch.setattr(recorder, "strict", False)
    for name in HOOKS:
        with contextlib.suppress(MissingExtraError):
            getattr(obskit, name)()
    refusing = []
    for (owner, name), function in later.items():
        stands = vars(owner)[name]
        ours = stands.__globals__.get("_ours", stands)
        vars(ours).pop("__signature__", None)  # what it says for the other, and not what it takes
        if stands is not function and not accepts_arguments_of(function, ours):
            refusing.append((owner, name))
    for name in HOOKS:
        with contextlib.suppress(MissingExtraError):
            getattr(obskit, f"un{name}")()

    assert refusing == []
    assert all(vars(owner)[name] is function for (owner, name), function in later.items())


def test_what_has_unknown_parameters_is_left_alone_and_told():
    """
    Such a function stays as it is, and the failure is counted and logged.
    """

    class Owner:
        def send(self, request, *, later=None):
            return request, later

    before, patches = Owner.send, Patches()
    with isolated_runtime(strict=False) as runtime:
        patches.put(Owner, "send", lambda original: lambda self, request: original(self, request))
        told = runtime.value("obskit_errors_total", sink="patches")

    assert (Owner.send, told) == (before, 1.0)
    assert list(patches) == []


def plain(a, b=2, *rest, c, d=4, **more): ...
async def coroutine(a, /, b=2, *, c=3): ...  # fmt: skip
def no_arguments(): ...  # fmt: skip
def only_star(*args): ...  # fmt: skip
def only_named(*, a, b=1): ...  # fmt: skip
def positional_only(a, b=1, /): ...  # fmt: skip
def generator(a=1, *, b=2): yield a, b  # fmt: skip


async def async_generator(a=1, *, b=2): yield a, b  # fmt: skip


@pytest.mark.parametrize(
    "original",
    [plain, coroutine, no_arguments, only_star, only_named, positional_only, generator, async_generator],
)
def test_any_shape_of_function_is_met(original):
    """
    Whatever the parameters and the kind, the one in its place has the same, and is called with the same.
    """
    ours = with_signature(original, lambda *args, **kwargs: (args, kwargs))

    assert code_signature(ours.__code__) == code_signature(original.__code__)
    assert inspect.getfullargspec(ours) == inspect.getfullargspec(original)


def test_arguments_come_through_as_they_were_given():
    """
    Positions, names, defaults and the rest arrive where the original would have them.
    """
    ours = with_signature(plain, lambda *args, **kwargs: (args, kwargs))

    assert ours(1, c=3) == ((1, 2), {"c": 3, "d": 4})
    assert ours(1, 5, 6, 7, c=3, d=0, e=9) == ((1, 5, 6, 7), {"c": 3, "d": 0, "e": 9})
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'c'"):
        ours(1)


def test_a_generator_hears_what_is_sent_and_thrown():
    """
    Values that are sent, exceptions that are thrown, closing and the returned value pass through.
    """
    heard = []

    def echo(count):
        try:
            for _ in range(count):
                try:
                    heard.append((yield "next"))
                except KeyError:
                    heard.append("KeyError")
        finally:
            heard.append("closed")
        return "done"

    ours = with_signature(echo, lambda *args: echo(*args))
    values = ours(2)
    assert next(values) == "next"
    assert values.send(1) == "next"
    with pytest.raises(StopIteration, match="done"):
        values.throw(KeyError())
    left = ours(1)
    next(left)
    left.close()

    assert heard == [1, "KeyError", "closed", "closed"]


async def heard_of(values, heard):
    assert await anext(values) == "next"
    assert await values.asend(1) == "next"
    with pytest.raises(StopAsyncIteration):
        await values.athrow(KeyError())


def test_an_asynchronous_generator_hears_what_is_sent_and_thrown():
    """
    The same of asynchronous ones.
    """
    heard = []

    async def echo(count):
        try:
            for _ in range(count):
                try:
                    heard.append((yield "next"))
                except KeyError:
                    heard.append("KeyError")
        finally:
            heard.append("closed")

    ours = with_signature(echo, lambda *args, **kwargs: echo(*args, **kwargs))

    async def use():
        await heard_of(ours(2), heard)
        left = ours(1)
        await anext(left)
        await left.aclose()

    asyncio.run(use())

    assert heard == [1, "KeyError", "closed", "closed"]
