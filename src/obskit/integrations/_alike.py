"""
Give a function in the place of another the other's outside: what frameworks read from a function to know how to call
it, or what it is.

`functools.wraps` does that for those who ask `inspect.signature`. SQLAlchemy and others read the code itself: the names
of its parameters, and its kind.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR, CO_VARARGS, CO_VARKEYWORDS, Parameter, signature
from textwrap import indent
from types import CodeType, FunctionType
from typing import Any

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


def alike(original: Any, ours: Any) -> Any:
    """
    Give `ours` with the name, the parameters, their defaults and the kind of `original`.

    It is `ours` itself where that has the same parameters already; otherwise it costs a call more. What is not written
    in Python says nothing of itself but its name and signature.
    """
    _like(original, ours)
    if type(original) is not FunctionType or type(ours) is not FunctionType:
        return ours
    if outside(original.__code__) != outside(ours.__code__):
        ours = _like(original, _forwarding(original.__code__, ours))
    ours.__defaults__, ours.__kwdefaults__ = original.__defaults__, original.__kwdefaults__
    return ours


def _like(original: Any, ours: Any) -> Any:
    # From Python 3.14 on `wraps` copies what makes the annotations; those that are written down already have no maker.
    wraps(original)(ours)
    if getattr(original, "__annotate__", None) is None and hasattr(original, "__annotations__"):
        ours.__annotations__ = original.__annotations__
    return ours


def fits(original: Any, ours: Any) -> bool:
    """
    Tell whether `ours` takes all that `original` takes: a later version of a library may have given it a parameter.

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


def outside(code: CodeType) -> tuple[object, ...]:
    """
    Give what others read from a function's code: the names and kinds of its parameters, and what a call gives.
    """
    flags = code.co_flags & (_KINDS | CO_VARARGS | CO_VARKEYWORDS)
    return code.co_posonlyargcount, code.co_argcount, code.co_kwonlyargcount, flags, _names(code)


def _names(code: CodeType) -> tuple[str, ...]:
    stars = bool(code.co_flags & CO_VARARGS) + bool(code.co_flags & CO_VARKEYWORDS)
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + stars]


def _forwarding(code: CodeType, ours: Callable[..., Any]) -> Any:
    names = list(_names(code))
    positional, named = names[: code.co_argcount], names[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    rest = names[code.co_argcount + code.co_kwonlyargcount :]
    more = [f"*{rest.pop(0)}"] if code.co_flags & CO_VARARGS else []
    most = [f"**{rest.pop(0)}"] if code.co_flags & CO_VARKEYWORDS else []
    slash = ["/"] if code.co_posonlyargcount else []
    star = more or (["*"] if named else [])
    parameters = [*positional[: code.co_posonlyargcount], *slash, *positional[code.co_posonlyargcount :]]
    given = ", ".join([*positional, *more, *(f"{name}={name}" for name in named), *most])
    begin, body = _FORWARDS[code.co_flags & _KINDS]
    source = f"{begin} forward({', '.join([*parameters, *star, *named, *most])}):\n"
    source += indent(body.strip().format(arguments=given), "    ")
    namespace: dict[str, Any] = {"_ours": ours}
    exec(compile(source, f"<obskit: {code.co_name}>", "exec"), namespace)  # names of a function's own
    return namespace["forward"]
