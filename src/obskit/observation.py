"""
Time any function or block the application marks.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Token
from types import FrameType, TracebackType
from typing import Any, Literal, ParamSpec, Protocol, TypeVar, overload

from obskit.context import current
from obskit.context_manager_entries import BlockEntries
from obskit.deferred_endings import end_later
from obskit.errors import ConfigurationError, NotObservableError
from obskit.operation import Operation
from obskit.recorder import recorder
from obskit.wrapper_signatures import refusing_as

P = ParamSpec("P")
R = TypeVar("R")
Block = TypeVar("Block", bound=Operation)


class FunctionOperation(Operation):
    """
    One call of a function, or one block; `function` is the name that the application gave it.
    """

    __slots__ = ("function",)

    def __init__(self, function: str) -> None:
        super().__init__()
        self.function = function
        self.nest()


_plan = recorder.plan(FunctionOperation)


class Lifecycle(Protocol):
    """
    What begins and ends operations: a recorder's plan, or what decides whether one is recorded at all.
    """

    def begin(self, operation: Any) -> None:
        """
        Start the clock.
        """

    def end(self, operation: Any, at: float | None = None) -> None:
        """
        Stop it, once; at a moment that has passed, where that is given.
        """


class Observation:
    """
    Operations of one kind: a decorator, and a context manager whose value is the operation.

    Args:
        new: Makes the operation of one call.
        plan: Begins and ends it.
    """

    def __init__(self, new: Callable[[], Operation], plan: Lifecycle) -> None:
        self._new = new
        self._plan = plan
        self._entries: BlockEntries[tuple[Operation, Token[Operation | None]]] = BlockEntries()

    def __enter__(self) -> Any:  # _enter(), without the call
        op = self._new()
        self._plan.begin(op)
        self._entries.put(sys._getframe(1), (op, enter(op)))
        return op

    def _enter(self, frame: FrameType) -> Operation:
        op = self._new()
        self._plan.begin(op)
        self._entries.put(frame, (op, enter(op)))
        return op

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit(error)

    def _exit(self, error: BaseException | None) -> None:
        found = self._entries.take(3, _runs_here)
        if found is not None:
            op, token = found
            leave(op, token)
            finish(op, error, self._plan)
        else:
            self._note(None if error is None or isinstance(error, GeneratorExit) else type(error).__name__)
        if self._entries.ambiguous:
            self._entries.resolve()

    def _note(self, error: str | None) -> None:
        at = recorder.clock()

        def end(found: tuple[Operation, Token[Operation | None]]) -> None:
            if error is not None:
                found[0].error = error
            self._plan.end(found[0], at)

        self._entries.add_ambiguous(end)

    async def __aenter__(self) -> Any:
        return self._enter(sys._getframe(1))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit(error)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        return decorated(function, self._new, self._plan)


def _runs_here(entered: tuple[Operation, Token[Operation | None]]) -> bool:
    op = current.get()
    while op is not None and op is not entered[0]:
        op = op.parent
    return op is not None


class UnrecordedOperation(Operation):
    """
    The operation of queries that are not recorded: a pool's ping of its connection, or a health check's.

    It has the ids of what runs here, and is the root of what it asks, so that no request counts that.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        around = current.get()
        self.parent = around or _NOBODY
        self.correlation_id = around.root.correlation_id if around is not None else None


_NOBODY = Operation()


@contextmanager
def unrecorded() -> Iterator[None]:
    """
    Record no query of the block.
    """
    token = current.set(UnrecordedOperation())
    try:
        yield
    finally:
        current.reset(token)


def enter(op: Operation) -> Token[Operation | None]:
    """
    Make an operation, and its span, what runs here.
    """
    token = current.set(op)
    if op.span is not None:
        op.span.enter()
    return token


def leave(op: Operation, token: Token[Operation | None]) -> None:
    """
    Restore what ran here before, where that context is still there.
    """
    if op.span is not None:
        op.span.leave()
    try:
        current.reset(token)
    except ValueError:
        pass  # FastAPI leaves a dependency that yields in another thread; a dropped coroutine is closed anywhere


def block_around(kind: type[Block], operation: Operation | None) -> Block | None:
    """
    Find the innermost block of this kind that is open: an operation, or one that it runs in.
    """
    while operation is not None:
        if type(operation) is kind and not operation.ended:
            return operation
        operation = operation.parent
    return None


def finish(op: Operation, error: BaseException | None, plan: Lifecycle) -> None:
    """
    End an operation with the exception that ended it, if one did. Leaving a generator early is no failure.
    """
    if isinstance(error, GeneratorExit):  # a garbage collection may have closed the generator
        end_later(op, plan.end, recorder.clock())
        return
    if error is not None:
        op.error = type(error).__name__
    plan.end(op)


def recorded(op: Operation, seconds: float, plan: Lifecycle) -> None:
    """
    Begin and end an operation that took so long and has just ended.

    Raises:
        ConfigurationError: The seconds are no time.
    """
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not 0 <= seconds < float("inf"):
        raise ConfigurationError(f"record(seconds={seconds!r}): expected seconds, 0 or more")
    plan.begin(op)
    now = recorder.clock()
    op.started = now - seconds
    plan.end(op, now)


def decorated(function: Callable[P, R], new: Callable[[], Operation], plan: Lifecycle) -> Callable[P, R]:
    """
    Wrap a function, coroutine function, generator or asynchronous generator, and keep what it is.

    Raises:
        NotObservableError: It is nothing that a function can stand for.
    """
    if isinstance(function, (classmethod, staticmethod)):
        return type(function)(decorated(function.__func__, new, plan))
    wrap = _WRAPPERS[kind_of(function)]
    return as_called(function, wrap(function, new, plan))


Kind = Literal["function", "coroutine", "generator", "async generator"]


def kind_of(function: object) -> Kind:
    """
    Return what a call gives: of a function, or of a partial or an object that is called like one.

    Raises:
        NotObservableError: It is a class, which would not be one any more, or cannot be called.
    """
    if isinstance(function, type):
        raise NotObservableError(
            f"expected a function to time, found the class {function.__name__}, which would be no class any more: "
            "decorate its methods, or time a block"
        )
    if not callable(function):
        raise NotObservableError(f"expected a function to time, found {function!r}: decorate the function itself")
    called: Any = function
    while isinstance(called, functools.partial):
        called = called.func
    if not _is_plain(called):
        called = type(called).__call__
    if inspect.isasyncgenfunction(called):
        return "async generator"
    if inspect.isgeneratorfunction(called):
        return "generator"
    if inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(function):
        return "coroutine"
    return "function"


def as_called(function: Callable[P, R], ours: Callable[..., Any]) -> Callable[P, R]:
    """
    Return `ours` such that it refuses arguments as `function` does, and has its other methods too: `cache_clear()`
    of a cached one.
    """
    if inspect.isgeneratorfunction(ours) or inspect.isasyncgenfunction(ours) or inspect.iscoroutinefunction(ours):
        ours = refusing_as(function, ours)
    kind = type(function)
    for name in () if _is_plain(function) else dir(kind):
        if not name.startswith("_") and not hasattr(ours, name) and callable(getattr(kind, name)):
            setattr(ours, name, getattr(function, name))
    return ours


def _is_plain(function: object) -> bool:
    return inspect.isfunction(function) or inspect.ismethod(function) or inspect.isbuiltin(function)


def _function(function: Callable[P, R], new: Callable[[], Operation], plan: Lifecycle) -> Callable[P, R]:
    @functools.wraps(function)
    def observed(*args: P.args, **kwargs: P.kwargs) -> R:
        op = new()
        plan.begin(op)
        token = enter(op)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            op.error = type(error).__name__
            raise
        finally:
            leave(op, token)
            plan.end(op)
        return result

    return observed


def _coroutine(function: Callable[..., Any], new: Callable[[], Operation], plan: Lifecycle) -> Callable[..., Any]:
    @functools.wraps(function)
    async def observed(*args: Any, **kwargs: Any) -> Any:
        op = new()
        plan.begin(op)
        token = enter(op)
        error: BaseException | None = None
        try:
            return await function(*args, **kwargs)
        except BaseException as raised:
            error = raised
            raise
        finally:
            leave(op, token)
            finish(op, error, plan)
            error = None  # its traceback holds this frame

    return observed


def _generator(function: Callable[..., Any], new: Callable[[], Operation], plan: Lifecycle) -> Callable[..., Any]:
    """
    Observe from the first value asked for to the last; the operation is current only while the generator works.
    """

    @functools.wraps(function)
    def observed(*args: Any, **kwargs: Any) -> Any:
        generator = function(*args, **kwargs)  # or arguments are refused: then nothing has begun
        op = new()
        plan.begin(op)
        step, sent = generator.send, None
        error: BaseException | None = None
        try:
            while True:
                token = enter(op)
                try:
                    value = step(sent)
                except StopIteration as stop:
                    return stop.value
                finally:
                    leave(op, token)
                try:
                    step, sent = generator.send, (yield value)
                except BaseException as thrown:
                    step, sent = generator.throw, thrown
        except BaseException as raised:
            error = raised
            raise
        finally:
            finish(op, error, plan)
            error = sent = None  # its traceback holds this frame

    return observed


def _async_generator(function: Callable[..., Any], new: Callable[[], Operation], plan: Lifecycle) -> Callable[..., Any]:
    @functools.wraps(function)
    async def observed(*args: Any, **kwargs: Any) -> Any:
        generator = function(*args, **kwargs)  # or arguments are refused: then nothing has begun
        op = new()
        plan.begin(op)
        step, sent = generator.asend, None
        error: BaseException | None = None
        try:
            while True:
                token = enter(op)
                try:
                    value = await step(sent)
                except StopAsyncIteration:
                    return
                finally:
                    leave(op, token)
                try:
                    step, sent = generator.asend, (yield value)
                except BaseException as thrown:
                    step, sent = generator.athrow, thrown
        except BaseException as raised:
            error = raised
            raise
        finally:
            finish(op, error, plan)
            error = sent = None  # its traceback holds this frame

    return observed


_WRAPPERS: dict[Kind, Callable[..., Any]] = {
    "function": _function,
    "coroutine": _coroutine,
    "generator": _generator,
    "async generator": _async_generator,
}


@overload
def observe(name: str | None = None) -> Observation: ...


@overload
def observe(name: Callable[P, R]) -> Callable[P, R]: ...


def observe(name: str | Callable[P, R] | None = None) -> Observation | Callable[P, R]:
    """
    Time a function or a block: `@observe`, `@observe("parse_dex")`, `with observe("parse_dex") as op:`.

    Works on functions, coroutine functions, generators and asynchronous generators, and keeps their signature. A
    generator is timed from the first value that is asked for to its end. Static and class methods stay ones, whichever
    decorator is the outer one; a partial, or an object that is called, becomes a function with its methods.

    Args:
        name: The `function` label; one of a bounded set. Default: the function's qualified name. A block needs one.

    Returns:
        The decorator, which is a context manager too and may be used many times; or, used bare, the function.

    Raises:
        NotObservableError: What is decorated is a class, or nothing that can be called, such as a property.
        ConfigurationError: The name is not a string.
    """
    if name is None or isinstance(name, str):
        return _NamedObservation(name)
    function: Any = name
    if callable(function) or hasattr(type(function), "__get__"):
        own_name = _name_of(function)
        return decorated(function, lambda: FunctionOperation(own_name), _plan)
    raise ConfigurationError(
        f"observe({name!r}): expected a name, found {type(name).__name__}: write @observe, or @observe('parse_dex')"
    )


class _NamedObservation(Observation):
    """
    Observes functions under their own names where no name was given.
    """

    def __init__(self, name: str | None) -> None:
        super().__init__(lambda: FunctionOperation(name or "<block>"), _plan)
        self._name = name

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        name = self._name or _name_of(function)
        return decorated(function, lambda: FunctionOperation(name), _plan)


def _name_of(function: object) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))
