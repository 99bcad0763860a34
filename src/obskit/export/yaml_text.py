"""
Write YAML: blocks for people, the same bytes for the same value, and nothing that a reader could take for another type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = "str | int | float | bool | Mapping[str, Value] | Sequence[Value] | None"

_is_duration = re.compile(r"\A(?:[0-9]+(?:ms|[smhdwy]))+\Z").match
# What YAML 1.1 and 1.2 read as text without quotes: no sign of YAML's first, no comment, no mapping, no space last.
_is_plain = re.compile(r"[A-Za-z_(/][ -~]*(?<![: ])").fullmatch
_means_more = re.compile(r": | #").search
_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
_is_one_line = re.compile(r"[ -~\u00a1-\u2027\u202a-\ud7ff\ue000-\ufefe]*").fullmatch


def yaml_text(value: Value) -> str:
    """
    Return a document.
    """
    return "\n".join(_lines(value)) + "\n"


def _lines(value: Value) -> Iterator[str]:
    match value:
        case Mapping() if value:
            for name, inside in value.items():
                yield from _entry(f"{scalar(name)}:", inside)
        case list() | tuple() if value:
            for item in value:
                first, *more = _lines(item)
                yield f"- {first}"
                yield from (f"  {line}" for line in more)
        case _:
            yield scalar(value)


def _entry(name: str, inside: Value) -> Iterator[str]:
    if isinstance(inside, Mapping | list | tuple) and inside:
        yield name
        yield from (f"  {line}" for line in _lines(inside))
    else:
        yield f"{name} {scalar(inside)}"


def scalar(value: Value) -> str:
    """
    Return what fits on one line.
    """
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            text = f"{value:.15g}"
            return text if "." in text or "e" not in text else text.replace("e", ".0e")
        case str():
            return _text(value)
    return "[]" if isinstance(value, Sequence) else "{}"


def _text(text: str) -> str:
    if _is_duration(text):
        return text
    if _is_plain(text) and not _means_more(text) and text.lower() not in _WORDS:
        return text
    if _is_one_line(text):
        return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(sign: str) -> str:
    if sign in '"\\':
        return "\\" + sign
    if sign == "\n":
        return "\\n"
    if _is_one_line(sign):
        return sign
    code = ord(sign)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
