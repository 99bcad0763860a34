"""
The signatures of wrappers, made those of what they replace: frameworks read from a function how to call it, or what it
is.

`functools.wraps` does that for those who ask `inspect.signature`. SQLAlchemy and others read the code itself: the names
of its parameters, and its kind.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR, CO_VARARGS, CO_VARKEYWORDS, Parameter, signature
from textwrap import indent
from types import CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

_KINDS = CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR
_ASYNC_GENERATOR = """
values = _ours({arguments})
step, sent = values.asend, None
while True:
    try:
        value = await step(sent)
    except StopAsyncIteration:
        return
    try:
        step, sent = values.asend, (yield value)
    except GeneratorExit:
        await values.aclose()
        raise
    except BaseException as thrown:
        step, sent = values.athrow, thrown
"""
# Kind -> how a function of that kind is begun, and its body.
_FORWARDS = {
    0: ("def", "return _ours({arguments})"),
    CO_COROUTINE: ("async def", "return await _ours({arguments})"),
    CO_GENERATOR: ("def", "return (yield from _ours({arguments}))"),
    CO_ASYNC_GENERATOR: ("async def", _ASYNC_GENERATOR),
}


def with_signature(original: Any, ours: Any) -> Any:
    """
    Return `ours` with the name, the parameters, their defaults and the kind of `original`.

    It is `ours` itself where that has the same parameters already; otherwise it costs a call more. What is not written
    in Python says nothing of itself but its name and signature.
    """
    _like(original, ours)
    if type(original) is not FunctionType or type(ours) is not FunctionType:
        return ours
    if code_signature(original.__code__) != code_signature(ours.__code__):
        ours = _like(original, _forwarding(original.__code__.co_name, code_signature(original.__code__), ours))
    ours.__defaults__, ours.__kwdefaults__ = original.__defaults__, original.__kwdefaults__
    return ours


def _like(original: Any, ours: Any) -> Any:
    # From Python 3.14 on `wraps` copies what makes the annotations; those that are written down already have no maker.
    wraps(original)(ours)
    if getattr(original, "__annotate__", None) is None and hasattr(original, "__annotations__"):
        ours.__annotations__ = original.__annotations__
    return ours


def accepts_arguments_of(original: Any, ours: Any) -> bool:
    """
    Return whether `ours` takes all that `original` takes: a later version of a library may have given it a parameter.

    What tells no signature takes whatever it is given.
    """
    try:
        theirs, own = signature(original).parameters.values(), signature(ours, follow_wrapped=False)
    except (TypeError, ValueError):
        return True
    positional = [p for p in theirs if p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
    try:
        own.bind(*positional, **{p.name: p for p in theirs if p.kind is Parameter.KEYWORD_ONLY})
    except TypeError:
        return False
    return True


def refusing_as(function: Callable[..., Any], ours: Any) -> Any:
    """
    Return `ours`, which runs first when it is awaited or iterated, such that arguments which `function` refuses are
    refused by the call, as there.

    It has the parameters that the call of `function` really takes, whatever is said of them elsewhere.
    """
    called = _bare(function)
    try:
        parameters = list(signature(called, follow_wrapped=False).parameters.values())
    except (TypeError, ValueError):  # written in C, or an object that is called by another
        return ours
    found = _signature_of(parameters, ours.__code__.co_flags & _KINDS)
    forward = _forwarding(str(getattr(function, "__name__", "call")), found, ours)
    forward.__qualname__ = getattr(called, "__qualname__", forward.__qualname__)  # as messages have it
    _like(function, forward)
    defaults = {p.name: p.default for p in parameters if p.default is not Parameter.empty}
    forward.__defaults__ = tuple(defaults[name] for name in found.names[: found.positional] if name in defaults)
    forward.__kwdefaults__ = {
        name: defaults[name]
        for name in found.names[found.positional : found.positional + found.named]
        if name in defaults
    }
    return forward


def _bare(function: Any) -> Any:
    """
    Return a function without `__wrapped__` and `__signature__`, which may describe another.
    """
    if type(function) is FunctionType:
        bare = FunctionType(function.__code__, {}, function.__name__, function.__defaults__, function.__closure__)
        bare.__kwdefaults__ = function.__kwdefaults__
        return bare
    if isinstance(function, MethodType):
        return MethodType(_bare(function.__func__), function.__self__)
    if isinstance(function, partial):
        return partial(_bare(function.func), *function.args, **function.keywords)
    call = type(function).__call__
    return MethodType(_bare(call), function) if type(call) is FunctionType else function


class CodeSignature(NamedTuple):
    """
    What frameworks read from a function's code: the names and kinds of its parameters, and what a call returns.
    """

    positional_only: int
    positional: int
    named: int
    flags: int
    names: tuple[str, ...]


def code_signature(code: CodeType) -> CodeSignature:
    """
    Return what frameworks read from this code.
    """
    flags = code.co_flags & (_KINDS | CO_VARARGS | CO_VARKEYWORDS)
    stars = bool(flags & CO_VARARGS) + bool(flags & CO_VARKEYWORDS)
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + stars]
    return CodeSignature(code.co_posonlyargcount, code.co_argcount, code.co_kwonlyargcount, flags, names)


def _signature_of(parameters: list[Parameter], flags: int) -> CodeSignature:
    first, rest, more, named, most = (
        [parameter.name for parameter in parameters if parameter.kind is kind]
        for kind in (
            *(Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.VAR_POSITIONAL),
            *(Parameter.KEYWORD_ONLY, Parameter.VAR_KEYWORD),
        )
    )
    flags |= (CO_VARARGS if more else 0) | (CO_VARKEYWORDS if most else 0)
    return CodeSignature(len(first), len(first) + len(rest), len(named), flags, (*first, *rest, *named, *more, *most))


def _forwarding(name: str, found: CodeSignature, ours: Callable[..., Any]) -> Any:
    positional = list(found.names[: found.positional])
    named = found.names[found.positional : found.positional + found.named]
    rest = list(found.names[found.positional + found.named :])
    more = [f"*{rest.pop(0)}"] if found.flags & CO_VARARGS else []
    most = [f"**{rest.pop(0)}"] if found.flags & CO_VARKEYWORDS else []
    slash = ["/"] if found.positional_only else []
    star = more or (["*"] if named else [])
    parameters = [*positional[: found.positional_only], *slash, *positional[found.positional_only :]]
    given = ", ".join([*positional, *more, *(f"{name}={name}" for name in named), *most])
    begin, body = _FORWARDS[found.flags & _KINDS]
    source = f"{begin} forward({', '.join([*parameters, *star, *named, *most])}):\n"
    source += indent(body.strip().format(arguments=given), "    ")
    namespace: dict[str, Any] = {"_ours": ours}
    exec(compile(source, f"<obskit: {name}>", "exec"), namespace)  # names of a function's own
    return namespace["forward"]
