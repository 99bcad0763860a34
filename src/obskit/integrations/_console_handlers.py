"""
Recognise handlers that write to the console, also through a proxy in place of its stream.
"""

from __future__ import annotations

import codecs
import dis
import io
import logging
import logging.config
import logging.handlers
import sys
from collections.abc import Iterable, Set
from inspect import iscode
from types import FunctionType
from typing import Any

_CONSOLE_NAMES = ("<stdout>", "<stderr>")
_STREAM_NAMES = frozenset(["stdout", "stderr", "__stdout__", "__stderr__"])
# What a proxy's `write()` may ask for, beside what it holds; one that asks for more, such as `open` or `append`, may
# write elsewhere too, or keep what it is given.
_ALLOWED_GLOBALS = frozenset(["sys", "hasattr", "isinstance", "len", "str"])
_ALLOWED_METHODS = frozenset(["write", "flush", "values"])
_FORBIDDEN_OPCODES = (
    "STORE_ATTR",
    "STORE_SUBSCR",
    "STORE_SLICE",
    "STORE_GLOBAL",
    "STORE_DEREF",
    "IMPORT_NAME",
    "YIELD_VALUE",
)
_SCALARS = (type(None), bool, int, float, str)


def is_console(handler: logging.Handler) -> bool:
    """
    Return whether a handler writes to standard output or standard error.
    """
    if not isinstance(handler, logging.StreamHandler) or isinstance(handler, logging.FileHandler):
        return False
    return _is_standard(handler.stream)


def _is_standard(stream: Any, depth: int = 2) -> bool:
    """
    Return whether a stream is standard output or error, or a proxy that does nothing but write to them.
    """
    if stream is None:
        return False
    # Flask's is a proxy that has the name.
    if stream in _standard() or getattr(stream, "name", None) in _CONSOLE_NAMES:
        return True
    return depth > 0 and _is_proxy(stream, depth - 1)


def _standard() -> list[Any]:
    own = [sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__]
    return [part for stream in own for part in (stream, getattr(stream, "buffer", None)) if part is not None]


def _is_proxy(stream: Any, depth: int) -> bool:
    """
    Return whether an object of a Python class holds standard streams, or looks them up each time, and surely does
    nothing but write to them.
    """
    if isinstance(stream, codecs.StreamWriter) and type(stream).__module__.partition(".")[0] == "encodings":
        return _is_standard(stream.stream, depth)
    write = getattr(type(stream), "write", None)
    if not isinstance(write, FunctionType) or isinstance(stream, io.IOBase):
        return False
    held = getattr(stream, "__dict__", {})
    streams = [part for value in held.values() for part in _members(value) if type(part) not in _SCALARS]
    asks = "sys" in write.__code__.co_names and not _STREAM_NAMES.isdisjoint(write.__code__.co_names)
    return (
        (asks or bool(streams))
        and _only_writes(write, held.keys() | _scalar_attributes(type(stream)))
        and all(_is_standard(part, depth) for part in streams)
    )


def _members(value: Any) -> Iterable[Any]:
    if type(value) is dict:
        return value.values() or [value]  # one that is empty may be there to be filled
    return (value or [value]) if type(value) in (list, tuple) else [value]


def _scalar_attributes(cls: type) -> set[str]:
    found = {name: value for here in reversed(cls.__mro__) for name, value in vars(here).items()}
    return {name for name, value in found.items() if type(value) in _SCALARS}


def _only_writes(write: FunctionType, names: Set[str]) -> bool:
    """
    Return whether a function uses only these names, harmless ones and those of streams, and stores nothing.
    """
    code = write.__code__
    steps = list(dis.get_instructions(code))
    called = {step.argval for step in steps if step.opname == "LOAD_GLOBAL"}
    has_more = code.co_freevars or write.__defaults__ or write.__kwdefaults__ or any(map(iscode, code.co_consts))
    return (
        "write" in code.co_names
        and not has_more
        and called <= _ALLOWED_GLOBALS
        and names | _ALLOWED_GLOBALS | _ALLOWED_METHODS | _STREAM_NAMES >= set(code.co_names)
        and not any(step.opname in _FORBIDDEN_OPCODES for step in steps)
    )
